// heed run attention --plot: the weights of the first batch as a heat map, a panel for each head. Light is little and dark is much, so that
// it reads without colours.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/run.h"
#include "cli/gnuplot.h"

enum { PANELS = 36, CELLS = 256, SIDE = 220, LEFT = 60, RIGHT = 96, TOP = 76, BOTTOM = 56, ACROSS = 44, DOWN = 44 };

// float weights [heads, queries, keys], of which the first `panels` heads are drawn
typedef struct heat_map {
  const float *weights;
  int64_t heads, queries, keys;
  int panels, columns, rows;
  double panel_height, width, height;
  double low, high;  // ends of the palette
} heat_map;

// How many positions share a cell: a picture shows only so many.
static int64_t block_of(int64_t length) { return (length - 1) / CELLS + 1; }

static void arrange(heat_map *m) {
  m->panels = m->heads < PANELS ? (int)m->heads : PANELS;
  m->columns = (int)ceil(sqrt((double)m->panels));
  m->rows = (m->panels - 1) / m->columns + 1;
  m->panel_height = fmin(fmax(SIDE * (double)m->queries / (double)m->keys, 40), 2 * SIDE);
  m->width = LEFT + RIGHT + (SIDE + ACROSS) * m->columns - ACROSS;
  m->height = TOP + BOTTOM + (m->panel_height + DOWN) * m->rows - DOWN;
}

// Of softmax's weights from 0 to the largest; of scores, which can be negative, from the smallest. Those of keys that are not attended are
// -inf and stay white.
static void choose_palette(heat_map *m) {
  const int64_t count = m->panels * m->queries * m->keys;
  m->low = 0;
  m->high = -INFINITY;
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(m->weights[i])) continue;
    m->low = fmin(m->low, (double)m->weights[i]);
    m->high = fmax(m->high, (double)m->weights[i]);
  }
  if (!(m->high > m->low)) m->high = m->low + 1;
}

// ---------------------------------------------------------------- the script

// The largest weight of each cell: a mean would hide a single key that is attended among many that are not.
static void put_head(FILE *f, const heat_map *m, int head) {
  const int64_t down = block_of(m->queries), across = block_of(m->keys);
  fprintf(f, "$head%d << END\n", head);
  for (int64_t query = 0; query < m->queries; query += down) {
    for (int64_t key = 0; key < m->keys; key += across) {
      float largest = -INFINITY;
      for (int64_t q = query; q < query + down && q < m->queries; q++)
        for (int64_t k = key; k < key + across && k < m->keys; k++)
          largest = fmaxf(largest, m->weights[(head * m->queries + q) * m->keys + k]);
      if (isfinite(largest))
        fprintf(f, "%.5g ", (double)largest);
      else
        fputs("NaN ", f);
    }
    fputc('\n', f);
  }
  fputs("END\n", f);
}

static void put_frame(FILE *f, const heat_map *m, const run_call *run, const char *what) {
  char text[192];
  gnuplot_put_terminal(f, run->settings.plot, m->width, m->height);
  fprintf(f, "set label 'attention: %s' at screen %.5f,%.5f font ',16' textcolor rgb '#202020'\n", what, 16 / m->width,
          1 - 22 / m->height);
  size_t used = (size_t)snprintf(text, sizeof text, "first batch");
  if (m->panels < m->heads)
    used += (size_t)snprintf(text + used, sizeof text - used, ", %d of %lld heads", m->panels, (long long)m->heads);
  if (block_of(m->queries) > 1 || block_of(m->keys) > 1)
    snprintf(text + used, sizeof text - used, ", largest of each %lld x %lld", (long long)block_of(m->queries),
             (long long)block_of(m->keys));
  fprintf(f, "set label '%s' at screen %.5f,%.5f textcolor rgb '#505050'\n", text, 16 / m->width, 1 - 46 / m->height);
  fprintf(f, "set multiplot\nunset key\nset palette gray negative\nset cbrange [%.6g:%.6g]\n", m->low, m->high);
  fputs("set border lc rgb '#404040'\nset tics nomirror out scale 0.5 textcolor rgb '#404040'\n", f);
  fprintf(f, "set colorbox user origin screen %.5f,%.5f size screen %.5f,%.5f\n", (m->width - RIGHT + 20) / m->width,
          BOTTOM / m->height, 14 / m->width, fmin(m->height - TOP - BOTTOM, 1.5 * SIDE) / m->height);
  // A cell lies around its number, and the last one may be of fewer positions.
  const int64_t down = block_of(m->queries), across = block_of(m->keys);
  fprintf(f, "set xrange [-0.5:%.6g]\nset yrange [%.6g:-0.5]\n",
          (double)((m->keys - 1) / across * across + across) - 0.5,
          (double)((m->queries - 1) / down * down + down) - 0.5);
  fprintf(f, "set xtics 0,%.6g\nset ytics 0,%.6g\n", fmax(gnuplot_round((double)m->keys / 5, true), 1),
          fmax(gnuplot_round((double)m->queries / 5, true), 1));
}

static void put_panel(FILE *f, const heat_map *m, int head) {
  const int column = head % m->columns, row = head / m->columns;
  const double left = LEFT + (SIDE + ACROSS) * column, top = m->height - TOP - (m->panel_height + DOWN) * row;
  const int64_t down = block_of(m->queries), across = block_of(m->keys);
  fprintf(f, "set lmargin at screen %.5f\nset rmargin at screen %.5f\n", left / m->width, (left + SIDE) / m->width);
  fprintf(f, "set tmargin at screen %.5f\nset bmargin at screen %.5f\n", top / m->height,
          (top - m->panel_height) / m->height);
  fprintf(f, "set title 'head %d' offset 0,-0.7\n", head);
  fputs(head + m->columns >= m->panels ? "set xlabel 'key'\n" : "unset xlabel\n", f);
  fputs(column == 0 ? "set ylabel 'query'\n" : "unset ylabel\n", f);
  fprintf(f, "plot $head%d matrix using ($1*%lld+%g):($2*%lld+%g):3 with image\n", head, (long long)across,
          (double)(across - 1) / 2, (long long)down, (double)(down - 1) / 2);
  if (head == 0) fputs("unset colorbox\nunset label\n", f);
}

static int draw(const run_call *run, const heat_map *m) {
  const char *path = run->settings.plot, *const kinds[] = {"softmax of the scores", "softmax of the scores", "scores",
                                                           "capped scores", "masked scores"};
  FILE *script = tmpfile();
  if (!script)
    return tool_fail(run->args->command, "--plot %s: cannot make a temporary file: %s", path, strerror(errno));
  for (int head = 0; head < m->panels; head++) put_head(script, m, head);
  put_frame(script, m, run, kinds[run->settings.weights]);
  for (int head = 0; head < m->panels; head++) put_panel(script, m, head);
  fputs("unset multiplot\n", script);
  const int status = gnuplot_draw(run->args->command, "--plot", path, script);
  fclose(script);
  return status;
}

int run_plot_attention(run_call *run, const heed_tensor *weights) {
  const int64_t *dims = heed_tensor_dims(weights);
  heat_map m = {.heads = dims[1], .queries = dims[2], .keys = dims[3]};
  heed_tensor *first = NULL;
  if (heed_tensor_count(weights) == 0)
    return tool_fail(run->args->command, "--plot %s: there are no weights to draw", run->settings.plot);
  const int64_t count = m.heads * m.queries * m.keys;
  RUN_TRY(run, heed_tensor_slice(weights, 0, 0, 1, &first));
  TOOL_TRY(run_own(run, first));
  float *values = malloc((size_t)count * sizeof *values);
  if (!values) return tool_fail(run->args->command, "out of memory");
  const heed_status read = heed_tensor_download_f32(first, values, count);
  int status = read == HEED_OK ? TOOL_DONE : tool_fail_status(run->args->command, read);
  m.weights = values;
  arrange(&m);
  if (status == TOOL_DONE) {
    choose_palette(&m);
    status = draw(run, &m);
  }
  free(values);
  return status;
}
