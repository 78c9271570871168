#include "draw/heat_map.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "cli/tool.h"
#include "draw/gnuplot.h"

// In points. PITCH: from one label to the next; LETTER: of a label's characters; AXIS: what stands beside a panel but for labels.
enum { CELLS = 256, SIDE = 220, PITCH = 13, LETTER = 6, AXIS = 60, RIGHT = 96, TOP = 76, TITLE = 28 };

typedef struct layout {
  const heat_map *map;
  int panels, columns, rows;
  double panel_width, panel_height, left, below, width, height;
  double low, high;      // ends of the palette
  int64_t across, down;  // positions that share a cell
} layout;

static int64_t block_of(int64_t length) { return (length - 1) / CELLS + 1; }

static void arrange(const heat_map *map, layout *l) {
  const double labels = map->labels ? (double)map->label_width * LETTER : 0;
  *l = (layout){.map = map, .across = block_of(map->keys), .down = block_of(map->queries)};
  l->panels = map->panels < HEAT_MAP_PANELS ? (int)map->panels : HEAT_MAP_PANELS;
  l->columns = map->columns ? map->columns : (int)ceil(sqrt((double)l->panels));
  if (l->columns > l->panels) l->columns = l->panels;
  l->rows = (l->panels - 1) / l->columns + 1;
  l->panel_width = SIDE;
  l->panel_height = fmin(fmax(SIDE * (double)map->queries / (double)map->keys, 40), 2 * SIDE);
  if (map->labels) l->panel_width = l->panel_height = fmax(SIDE, PITCH * (double)map->keys);
  l->left = map->labels ? labels + 40 : AXIS;  // where every panel has its labels, there is room for them beside each
  l->below = map->labels ? labels + 36 : AXIS - 4;
  const double across = map->labels ? l->left : 44, down = map->labels ? l->below + TITLE : 44;
  l->width = l->left + RIGHT + (l->panel_width + across) * l->columns - across;
  l->height = TOP + l->below + (l->panel_height + down) * l->rows - down;
}

// Of weights from 0 to the largest; of scores, which can be negative, from the smallest.
static void choose_palette(layout *l) {
  const int64_t count = l->panels * l->map->queries * l->map->keys;
  l->high = -INFINITY;
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(l->map->values[i])) continue;
    l->low = fmin(l->low, (double)l->map->values[i]);
    l->high = fmax(l->high, (double)l->map->values[i]);
  }
  if (!(l->high > l->low)) l->high = l->low + 1;
}

// ---------------------------------------------------------------- the script

// The largest value of each cell: a mean would hide a single key that is attended among many that are not.
static void put_values(FILE *f, const layout *l, int panel) {
  const heat_map *m = l->map;
  fprintf(f, "$panel%d << END\n", panel);
  for (int64_t query = 0; query < m->queries; query += l->down) {
    for (int64_t key = 0; key < m->keys; key += l->across) {
      float largest = -INFINITY;
      for (int64_t q = query; q < query + l->down && q < m->queries; q++)
        for (int64_t k = key; k < key + l->across && k < m->keys; k++)
          largest = fmaxf(largest, m->values[(panel * m->queries + q) * m->keys + k]);
      if (isfinite(largest))
        fprintf(f, "%.5g ", (double)largest);
      else
        fputs("NaN ", f);
    }
    fputc('\n', f);
  }
  fputs("END\n", f);
}

static void put_headings(FILE *f, const layout *l) {
  const heat_map *m = l->map;
  char text[256];
  fputs("set label ", f);
  gnuplot_put_text(f, m->title);
  fprintf(f, " at screen %.5f,%.5f font ',16' textcolor rgb '#202020'\n", 16 / l->width, 1 - 22 / l->height);
  size_t used = (size_t)snprintf(text, sizeof text, "%s", m->note);
  if (used < sizeof text && l->panels < m->panels)
    used +=
        (size_t)snprintf(text + used, sizeof text - used, ", %d of %lld %s", l->panels, (long long)m->panels, m->unit);
  if (used < sizeof text && (l->down > 1 || l->across > 1))
    snprintf(text + used, sizeof text - used, ", largest of each %lld x %lld", (long long)l->down,
             (long long)l->across);
  fputs("set label ", f);
  gnuplot_put_text(f, text);
  fprintf(f, " at screen %.5f,%.5f textcolor rgb '#505050'\n", 16 / l->width, 1 - 46 / l->height);
}

// In a label of an axis, % begins a format.
static void put_label(FILE *f, const char *label) {
  char text[256];
  size_t used = 0;
  for (; *label && used + 3 < sizeof text; label++) {
    if (*label == '%') text[used++] = '%';
    text[used++] = *label;
  }
  text[used] = '\0';
  gnuplot_put_text(f, text);
}

static void put_tics(FILE *f, const char *axis, int64_t length, const heat_map *m) {
  if (!m->labels) {
    fprintf(f, "set %s 0,%.6g\n", axis, fmax(gnuplot_round((double)length / 5, true), 1));
    return;
  }
  fprintf(f, "set %s font ',10' %s(", axis, *axis == 'x' ? "rotate by 90 right " : "");
  for (int64_t i = 0; i < length; i++) {
    fputs(i ? ", " : "", f);
    put_label(f, m->labels[i]);
    fprintf(f, " %lld", (long long)i);
  }
  fputs(")\n", f);
}

static void put_frame(FILE *f, const char *path, const layout *l) {
  const heat_map *m = l->map;
  gnuplot_put_terminal(f, path, l->width, l->height);
  put_headings(f, l);
  fputs(
      m->are_weights ? "set palette functions 1-sqrt(gray),1-sqrt(gray),1-sqrt(gray)\n" : "set palette gray negative\n",
      f);
  fprintf(f, "set multiplot\nunset key\nset cbrange [%.6g:%.6g]\n", l->low, l->high);
  fputs("set border lc rgb '#404040'\nset tics nomirror out scale 0.5 textcolor rgb '#404040'\n", f);
  fprintf(f, "set colorbox user origin screen %.5f,%.5f size screen %.5f,%.5f\n", (l->width - RIGHT + 20) / l->width,
          l->below / l->height, 14 / l->width, fmin(l->height - TOP - l->below, 1.5 * SIDE) / l->height);
  // A cell lies around its number, and the last one may be of fewer positions.
  fprintf(f, "set xrange [-0.5:%.6g]\nset yrange [%.6g:-0.5]\n",
          (double)((m->keys - 1) / l->across * l->across + l->across) - 0.5,
          (double)((m->queries - 1) / l->down * l->down + l->down) - 0.5);
  put_tics(f, "xtics", m->keys, m);
  put_tics(f, "ytics", m->queries, m);
}

// Below the panels of the lowest row and beside those of the first column. gnuplot reckons with wider labels than there are, so the names
// of axes with labels are put here.
static void name_axes(FILE *f, const layout *l, int panel, double left, double top) {
  const bool is_lowest = panel + l->columns >= l->panels, is_first = panel % l->columns == 0;
  if (!l->map->labels) {
    fputs(is_lowest ? "set xlabel 'key'\n" : "unset xlabel\n", f);
    fputs(is_first ? "set ylabel 'query'\n" : "unset ylabel\n", f);
    return;
  }
  if (is_lowest)
    fprintf(f, "set label 'key' at screen %.5f,%.5f center\n", (left + l->panel_width / 2) / l->width,
            (top - l->panel_height - l->below + 14) / l->height);
  if (is_first)
    fprintf(f, "set label 'query' at screen %.5f,%.5f center rotate\n", (left - l->left + 16) / l->width,
            (top - l->panel_height / 2) / l->height);
}

static void put_panel(FILE *f, const layout *l, int panel) {
  const heat_map *m = l->map;
  const int column = panel % l->columns, row = panel / l->columns;
  const double left = l->left + (l->panel_width + (m->labels ? l->left : 44)) * column;
  const double top = l->height - TOP - (l->panel_height + (m->labels ? l->below + TITLE : 44)) * row;
  char name[64] = "";
  m->name(panel, name, sizeof name, m->user);
  fprintf(f, "set lmargin at screen %.5f\nset rmargin at screen %.5f\n", left / l->width,
          (left + l->panel_width) / l->width);
  fprintf(f, "set tmargin at screen %.5f\nset bmargin at screen %.5f\n", top / l->height,
          (top - l->panel_height) / l->height);
  fputs("set title ", f);
  gnuplot_put_text(f, name);
  fputs(" offset 0,-0.7\n", f);
  name_axes(f, l, panel, left, top);
  fprintf(f, "plot $panel%d matrix using ($1*%lld+%g):($2*%lld+%g):3 with image\n", panel, (long long)l->across,
          (double)(l->across - 1) / 2, (long long)l->down, (double)(l->down - 1) / 2);
  fputs("unset label\n", f);  // of the picture or of the panel
  if (panel == 0) fputs("unset colorbox\n", f);
}

int heat_map_draw(const char *command, const char *option, const char *path, const heat_map *map) {
  layout l;
  FILE *script = tmpfile();
  if (!script) return tool_fail(command, "%s %s: cannot make a temporary file: %s", option, path, strerror(errno));
  arrange(map, &l);
  choose_palette(&l);
  for (int panel = 0; panel < l.panels; panel++) put_values(script, &l, panel);
  put_frame(script, path, &l);
  for (int panel = 0; panel < l.panels; panel++) put_panel(script, &l, panel);
  fputs("unset multiplot\n", script);
  const int status = gnuplot_draw(command, option, path, script);
  fclose(script);
  return status;
}
