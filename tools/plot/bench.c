// heed plot bench: how much of the device's peak each case reached, of benches side by side.
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plot/plot.h"
#include "cli/files.h"
#include "draw/gnuplot.h"

enum {
  FILES = 4,
  LABEL = 72,
  WIDTH = 1032,
  LEFT = 432,
  RIGHT = 964,
  TOP = 72,
  BOTTOM = 56,
  BAR = 14,
  ROW_GAP = 12,
  LINE = 18
};

// Dark, hatched, light, hatched the other way: they differ without colours, too.
static const struct {
  const char *fill, *color;
} styles[FILES] = {
    {"solid 1.0", "#0b3d91"}, {"pattern 4", "#d55e00"}, {"solid 0.35", "#3f8fc4"}, {"pattern 5", "#00785a"}};

typedef struct row {
  char label[LABEL * 2];
  char *key;               // operator, dtype and shape
  double fraction[FILES];  // NaN: the file has no such row
} row;

typedef struct table {
  const plot_call *call;
  row *rows;
  size_t count, room;
  char devices[FILES][96];
} table;

// ---------------------------------------------------------------- reading

// Tells whether a number says nothing that is not said already: one batch, keys like queries, no causal mask.
static bool is_plain(json_t *shape, const char *name, const json_t *value) {
  if (strcmp(name, "batch") == 0) return json_integer_value(value) == 1;
  if (strcmp(name, "causal") == 0) return json_integer_value(value) == 0;
  return strncmp(name, "kv_", 3) == 0 && json_equal(json_object_get(shape, name + 3), value);
}

// Names what a shape sets apart: numbers and lists by name, flags that are set, choices but "none" and "auto".
static void put_shape(json_t *shape, char *text, size_t size) {
  const char *name;
  json_t *value, *part;
  size_t used = strlen(text), i;
  json_object_foreach(shape, name, value) {
    if (used >= size) return;
    if (json_is_integer(value) && !is_plain(shape, name, value))
      used += (size_t)snprintf(text + used, size - used, " %s %lld", name, (long long)json_integer_value(value));
    if (json_is_true(value)) used += (size_t)snprintf(text + used, size - used, " %s", name);
    const char *choice = json_string_value(value);
    if (choice && strcmp(choice, "none") != 0 && strcmp(choice, "auto") != 0)
      used += (size_t)snprintf(text + used, size - used, " %s", choice);
    json_array_foreach(value, i, part) {
      if (used < size)
        used +=
            (size_t)snprintf(text + used, size - used, "%s%lld", i ? "-" : " ", (long long)json_integer_value(part));
    }
  }
}

static row *find_row(table *t, const char *key) {
  for (size_t i = 0; i < t->count; i++)
    if (strcmp(t->rows[i].key, key) == 0) return &t->rows[i];
  return NULL;
}

// Takes the key.
static int add_row(table *t, char *key, const char *label, row **out) {
  if (t->count == t->room) {
    const size_t room = t->room * 2 + 32;
    row *grown = realloc(t->rows, room * sizeof *grown);
    if (!grown) {
      free(key);
      return tool_fail(t->call->command, "out of memory");
    }
    t->rows = grown;
    t->room = room;
  }
  *out = &t->rows[t->count++];
  **out = (row){.key = key};
  for (int file = 0; file < FILES; file++) (*out)->fraction[file] = NAN;
  snprintf((*out)->label, sizeof(*out)->label, "%s", label);
  return TOOL_DONE;
}

static int add_measurement(table *t, size_t file, const json_t *object) {
  const char *op = json_string_value(json_object_get(object, "op"));
  const char *dtype = json_string_value(json_object_get(object, "dtype"));
  const char *device = json_string_value(json_object_get(object, "device"));
  json_t *shape = json_object_get(object, "shape");
  const json_t *fraction = json_object_get(object, "peak_fraction");
  if (!op || !dtype || !json_is_object(shape) || !json_is_number(fraction)) return TOOL_DONE;
  char *text = json_dumps(shape, JSON_COMPACT | JSON_SORT_KEYS), *key = NULL, label[LABEL * 2];
  if (!text || asprintf(&key, "%s %s %s", op, dtype, text) < 0) key = NULL;
  free(text);
  if (!key) return tool_fail(t->call->command, "out of memory");
  snprintf(label, sizeof label, "%s %s", op, dtype);
  put_shape(shape, label, sizeof label);
  row *at = find_row(t, key);
  if (at)
    free(key);
  else
    TOOL_TRY(add_row(t, key, label, &at));
  at->fraction[file] = json_number_value(fraction);
  if (device) snprintf(t->devices[file], sizeof t->devices[file], "%s", device);
  return TOOL_DONE;
}

static int read_objects(table *t, size_t file, FILE *from, const char *name) {
  size_t before = 0;
  json_error_t error;
  int status = TOOL_DONE;
  for (;;) {
    int next = getc(from);
    while (next == ' ' || next == '\t' || next == '\n' || next == '\r') next = getc(from);
    if (next == EOF || status != TOOL_DONE) break;
    ungetc(next, from);
    json_t *object = json_loadf(from, JSON_DISABLE_EOF_CHECK, &error);
    if (!object)
      return tool_fail(t->call->command,
                       "%s: object %zu is no JSON (%s); the file must be what heed bench --json prints", name,
                       before + 1, error.text);
    status = add_measurement(t, file, object);
    json_decref(object);
    before++;
  }
  if (status == TOOL_DONE && ferror(from))
    return tool_fail(t->call->command, "%s: cannot read: %s", name, strerror(errno));
  return status;
}

static int read_file(table *t, size_t file) {
  const char *path = t->call->files[file], *name = tool_input_name(path);
  FILE *from = tool_is_dash(path) ? stdin : fopen(path, "re");
  if (!from) return tool_fail(t->call->command, "%s: cannot read: %s", name, strerror(errno));
  const int status = read_objects(t, file, from, name);
  if (from != stdin) fclose(from);
  TOOL_TRY(status);
  for (size_t i = 0; i < t->count; i++)
    if (!isnan(t->rows[i].fraction[file])) return TOOL_DONE;
  return tool_fail(t->call->command, "%s holds no case with a peak_fraction; it must be what heed bench --json prints",
                   name);
}

// ---------------------------------------------------------------- drawing

static double height_of_row(const table *t) { return BAR * (double)t->call->count + ROW_GAP; }

static double height_of(const table *t) {
  return TOP + LINE * (double)t->call->count + BOTTOM + height_of_row(t) * (double)t->count;
}

static void put_label(FILE *f, double x, double y, const char *text, const char *style) {
  fputs("set label ", f);
  gnuplot_put_text(f, text);
  fprintf(f, " at %.5g,%.5g noenhanced front %s\n", x, y, style);
}

// Cut to the room beside the bars, at a character.
static void put_name(FILE *f, double y, const char *label, const char *style) {
  char text[LABEL + 1];
  size_t length = strlen(label);
  if (length > LABEL - 14)
    for (length = LABEL - 14; length > 0 && ((unsigned char)label[length] & 0xc0) == 0x80;) length--;
  snprintf(text, sizeof text, "%.*s%s", (int)length, label, label[length] ? "..." : "");
  put_label(f, 0, y, text, style);
}

// The axis counts rows from above. Row i lies in [i, i + 1], and its bars fill it but for the gap.
static void put_bars(FILE *f, const table *t) {
  const double bar = BAR / height_of_row(t), gap = ROW_GAP / height_of_row(t);
  for (size_t file = 0; file < t->call->count; file++) {
    fprintf(f, "$bars%zu << END\n", file);
    for (size_t i = 0; i < t->count; i++) {
      const double value = t->rows[i].fraction[file], top = (double)i + gap / 2 + bar * (double)file;
      if (isfinite(value))
        fprintf(f, "%.6g %.6g 0 %.6g %.6g %.6g\n", value / 2, top + bar / 2, value, top + bar * 0.06, top + bar * 0.94);
    }
    fputs("END\n", f);
  }
}

static double largest_of(const table *t) {
  double largest = 1;
  for (size_t i = 0; i < t->count; i++)
    for (size_t file = 0; file < t->call->count; file++) largest = fmax(largest, t->rows[i].fraction[file]);
  return largest;
}

static void put_frame(FILE *f, const table *t, double height) {
  const double bottom = BOTTOM / height, top = 1 - (TOP + LINE * (double)t->call->count) / height;
  gnuplot_put_terminal(f, t->call->output, WIDTH, height);
  fprintf(f,
          "set lmargin at screen %.5f\nset rmargin at screen %.5f\nset bmargin at screen %.5f\nset tmargin at screen "
          "%.5f\n",
          (double)LEFT / WIDTH, (double)RIGHT / WIDTH, bottom, top);
  fprintf(
      f, "set label 'part of the peak that each case reached' at screen %.5f,%.5f font ',16' textcolor rgb '#202020'\n",
      24.0 / WIDTH, 1 - 26 / height);
  fprintf(f, "set key at screen %.5f,%.5f left top Left reverse vertical samplen 3\n", 16.0 / WIDTH, 1 - 48 / height);
  fprintf(f, "set xrange [0:%.6g]\nset yrange [%zu:0]\nunset ytics\nset border 3 lc rgb '#404040'\n",
          largest_of(t) * 1.08, t->count);
  fputs("set xtics nomirror out textcolor rgb '#404040'\nset grid xtics back dt solid lc rgb '#d0d0d0' lw 0.7\n", f);
  // gnuplot's own xlabel would lie lower, and in an SVG below the edge.
  fprintf(f, "set label 'part of the peak of the device: multiply-adds, or bytes copied' at screen %.5f,%.5f center\n",
          (LEFT + RIGHT) / 2.0 / WIDTH, 12 / height);
  fprintf(f, "set arrow from 1,0 to 1,%zu nohead front dt (6,4) lc rgb '#404040'\n", t->count);
  for (size_t i = 0; i < t->count; i++)
    put_name(f, (double)i + 0.5, t->rows[i].label, "right offset character -1,0 textcolor rgb '#202020'");
}

static void put_plot(FILE *f, const table *t) {
  const char *before = "plot ";
  for (size_t file = 0; file < t->call->count; file++) {
    char title[256];
    snprintf(title, sizeof title, "%.64s: %s", t->call->labels[file], t->devices[file]);
    fprintf(f, "%s$bars%zu using 1:2:3:4:5:6 with boxxyerror fs %s border lc rgb '%s' lc rgb '%s' title ", before, file,
            styles[file].fill, styles[file].color, styles[file].color);
    gnuplot_put_text(f, title);
    fprintf(f, ", $bars%zu using 4:2:(sprintf('%%.2f',$4)) with labels left offset character 0.4,0 font ',10' notitle",
            file);
    before = ", ";
  }
  fputc('\n', f);
}

static int draw_table(const table *t) {
  const plot_call *call = t->call;
  FILE *script = tmpfile();
  if (!script)
    return tool_fail(call->command, "-o %s: cannot make a temporary file: %s", call->output, strerror(errno));
  put_bars(script, t);
  put_frame(script, t, height_of(t));
  put_plot(script, t);
  const int status = gnuplot_draw(call->command, "-o", call->output, script);
  fclose(script);
  return status;
}

static int draw(const plot_call *call) {
  table t = {.call = call};
  int status = TOOL_DONE;
  for (size_t file = 0; file < call->count && status == TOOL_DONE; file++) status = read_file(&t, file);
  if (status == TOOL_DONE) status = draw_table(&t);
  for (size_t i = 0; i < t.count; i++) free(t.rows[i].key);
  free(t.rows);
  return status;
}

const plot_kind plot_bench = {
    .name = "bench",
    .summary = "benches side by side, by what heed bench --json prints",
    .about =
        "Draws a bar for each case and FILE: the part of the device's peak that it\n"
        "reached. Each FILE is what heed bench --json printed; -: standard input.\n",
    .least = 1,
    .most = FILES,
    .draw = draw,
};
