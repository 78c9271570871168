// The picture of training runs: loss and validation loss above, the learning rate below, over the same steps. Lines differ by dashes and
// markers, too, so that they can be told apart without colours.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "draw/curves.h"
#include "draw/gnuplot.h"

enum {
  WIDTH = 960,
  HEIGHT = 600,
  LEFT = 88,
  MARGIN = 24,
  TOP = 92,
  BOTTOM = 56,
  RATES = 96,
  GAP = 20,
  LEGEND_ROW = 18
};
enum { SMOOTHED = 60, COLUMNS = 800, MARKERS = 40, TITLE = 100, LABEL = 28, CHARACTER = 7, SAMPLE = 64 };

// One run's styles. Those that share dashes have other markers.
static const char *const colors[] = {"#0b3d91", "#d55e00", "#00785a", "#a0457a", "#3f8fc4", "#7a5c00"};
static const char *const dashes[] = {"solid", "(10,5)", "(2,4)", "(12,4,2,4)"};
static const int shapes[TOOL_MOST_RUNS] = {6, 4, 8, 12, 7, 5, 9, 13, 10, 1, 2, 11};

typedef struct picture {
  const tool_run *runs;
  size_t count;
  double x0, x1, y0, y1, rate;  // ends of the axes; the largest rate
  bool logarithmic, rates;      // the losses' axis; whether there is a panel of rates
  double right, bottom;         // edges of the panel of losses
} picture;

static const char *color_of(size_t run) { return colors[run % (sizeof colors / sizeof *colors)]; }
static const char *dash_of(size_t run) { return dashes[run % (sizeof dashes / sizeof *dashes)]; }

// ---------------------------------------------------------------- axes

typedef struct range {
  double low, high;
} range;

static void widen(range *r, double value) {
  r->low = fmin(r->low, value);
  r->high = fmax(r->high, value);
}

static void choose_steps(picture *p, range steps) {
  const double span = steps.high - steps.low;
  p->x0 = steps.low < steps.high / 10 && steps.low >= 0 ? 0 : steps.low;
  p->x1 = steps.high + span * 0.01;
  if (span > 0) return;
  p->x0 = steps.low - 0.5;  // a single step
  p->x1 = steps.high + 0.5;
}

static void choose_losses(picture *p, range losses) {
  p->logarithmic = losses.low > 0 && losses.high > losses.low * 20;
  if (p->logarithmic) {
    p->y0 = losses.low / 1.15;
    p->y1 = losses.high * 1.15;
    return;
  }
  const double span = losses.high - losses.low;
  const double room = span > 0 ? span * 0.05 : fmax(fabs(losses.high) * 0.1, 1e-6);
  p->y0 = losses.low >= 0 ? fmax(losses.low - room, 0) : losses.low - room;
  p->y1 = losses.high + room;
}

// Returns whether there is anything to draw.
static bool choose_axes(picture *p) {
  range steps = {INFINITY, -INFINITY}, losses = steps, rates = steps;
  for (size_t run = 0; run < p->count; run++) {
    for (int which = 0; which < TOOL_CURVES; which++) {
      const tool_points *points = &p->runs[run].points[which];
      for (size_t i = 0; i < points->count; i++) {
        widen(&steps, (double)points->at[i].step);
        widen(which == TOOL_CURVE_RATE ? &rates : &losses, points->at[i].value);
      }
    }
  }
  if (!(losses.low <= losses.high)) return false;
  p->rates = rates.low <= rates.high;
  p->rate = rates.high > 0 ? rates.high : 1;
  p->bottom = p->rates ? BOTTOM + RATES + GAP : BOTTOM;
  choose_steps(p, steps);
  choose_losses(p, losses);
  return true;
}

// ---------------------------------------------------------------- data

static void put_block(FILE *f, const char *name, size_t run) { fprintf(f, "$%s%zu << END\n", name, run); }

static void put_point(FILE *f, int64_t step, double value) { fprintf(f, "%lld %.9g\n", (long long)step, value); }

// The smallest and the largest of the points in each column of the picture, in their order: what a line through all of them would cover.
static void put_all(FILE *f, const picture *p, const tool_points *points) {
  const tool_point *at = points->at;
  const double column = points->count > COLUMNS ? (p->x1 - p->x0) / COLUMNS : 0;
  for (size_t from = 0, to; from < points->count; from = to) {
    size_t low = from, high = from;
    for (to = from + 1; to < points->count && (double)(at[to].step - at[from].step) < column; to++) {
      if (at[to].value < at[low].value) low = to;
      if (at[to].value > at[high].value) high = to;
    }
    const size_t first = low < high ? low : high, last = low < high ? high : low;
    put_point(f, at[first].step, at[first].value);
    if (last != first) put_point(f, at[last].step, at[last].value);
  }
  fputs("END\n", f);
}

// The mean around each point. In the beginning, where losses fall fast, it is of as many points before as behind, so that the line begins
// with the data.
static void put_smoothed(FILE *f, const tool_points *points, const double *sums) {
  const size_t end = points->count - 1, half = points->count / 40, stride = points->count / COLUMNS + 1;
  for (size_t i = 0;; i = i + stride < end ? i + stride : end) {
    const size_t before = i < half ? i : half, behind = end - i < before ? end - i : before;
    put_point(f, points->at[i].step, (sums[i + behind + 1] - sums[i - before]) / (double)(before + behind + 1));
    if (i == end) break;
  }
  fputs("END\n", f);
}

static int put_data(FILE *f, const picture *p, const char *command) {
  for (size_t run = 0; run < p->count; run++) {
    const tool_points *points = p->runs[run].points, *loss = &points[TOOL_CURVE_LOSS];
    put_block(f, "loss", run);
    put_all(f, p, loss);
    put_block(f, "validation", run);
    put_all(f, p, &points[TOOL_CURVE_VALIDATION]);
    put_block(f, "rate", run);
    put_all(f, p, &points[TOOL_CURVE_RATE]);
    if (loss->count < SMOOTHED) continue;
    double *sums = malloc((loss->count + 1) * sizeof *sums);
    if (!sums) return tool_fail(command, "out of memory");
    sums[0] = 0;
    for (size_t i = 0; i < loss->count; i++) sums[i + 1] = sums[i] + loss->at[i].value;
    put_block(f, "smooth", run);
    put_smoothed(f, loss, sums);
    free(sums);
  }
  return TOOL_DONE;
}

// ---------------------------------------------------------------- the frame

static void put_label(FILE *f, double x, double y, const char *text, const char *style) {
  fputs("set label ", f);
  gnuplot_put_text(f, text);
  fprintf(f, " at screen %.5f,%.5f noenhanced front %s\n", x / WIDTH, y / HEIGHT, style);
}

// Cut to a number of bytes, between characters.
static const char *cut(const char *text, size_t most, char *to) {
  size_t length = strlen(text);
  if (length <= most) return text;
  for (length = most - 3; length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80;) length--;
  sprintf(to, "%.*s...", (int)length, text);
  return to;
}

static void put_heading(FILE *f, const picture *p, const char *title) {
  char text[160], heading[TITLE + 1];
  put_label(f, LEFT, HEIGHT - 24, cut(title, TITLE, heading), "font ',16' textcolor rgb '#202020'");
  if (p->count > 1) return;
  const tool_points *loss = &p->runs[0].points[TOOL_CURVE_LOSS], *all = &p->runs[0].points[TOOL_CURVE_VALIDATION];
  size_t used = 0, lowest = 0;
  *text = '\0';
  if (loss->count)
    used = (size_t)snprintf(text, sizeof text, "loss %.5g at step %lld", loss->at[loss->count - 1].value,
                            (long long)loss->at[loss->count - 1].step);
  for (size_t i = 1; i < all->count; i++)
    if (all->at[i].value < all->at[lowest].value) lowest = i;
  if (all->count)
    snprintf(text + used, sizeof text - used, "%slowest validation loss %.5g at step %lld", used ? "; " : "",
             all->at[lowest].value, (long long)all->at[lowest].step);
  put_label(f, LEFT, HEIGHT - 50, text, "textcolor rgb '#505050'");
}

static void put_frame(FILE *f, const picture *p, const char *path, const char *title) {
  gnuplot_put_terminal(f, path, WIDTH, HEIGHT);
  put_heading(f, p, title);
  fputs("set multiplot\nset border 3 lc rgb '#404040'\nset tics nomirror out textcolor rgb '#404040'\n", f);
  fputs("set grid xtics ytics mxtics mytics back dt solid lc rgb '#d0d0d0' lw 0.7, dt solid lc rgb '#e8e8e8' lw 0.6\n",
        f);
  fprintf(f, "set lmargin at screen %.5f\nset rmargin at screen %.5f\nset xrange [%.9g:%.9g]\n", (double)LEFT / WIDTH,
          p->right / WIDTH, p->x0, p->x1);
  fprintf(f, "set xtics %.9g format '%%.0f'\n", fmax(gnuplot_round((p->x1 - p->x0) / 8, true), 1));
  if (p->count > 1)
    fprintf(f, "set key at screen %.5f,%.5f left top Left reverse vertical samplen 4\n", (p->right + 12) / WIDTH,
            1 - (double)(TOP - LEGEND_ROW) / HEIGHT);
  else
    fprintf(f, "set key at screen %.5f,%.5f left top Left reverse horizontal samplen 4 width 2\n",
            (double)(LEFT - 8) / WIDTH, 1 - (double)(TOP - 30) / HEIGHT);
}

// The axis's name stands at the picture's edge, where numbers of any length do not reach it.
static void put_panel(FILE *f, double bottom, double top, const char *name) {
  put_label(f, 16, (bottom + top) / 2, name, "center rotate by 90");
  fprintf(f, "set bmargin at screen %.5f\nset tmargin at screen %.5f\n", bottom / HEIGHT, top / HEIGHT);
}

// gnuplot's own xlabel would lie lower, and in an SVG below the edge.
static void put_step(FILE *f, const picture *p) { put_label(f, (LEFT + p->right) / 2, 12, "step", "center"); }

// ---------------------------------------------------------------- lines

typedef struct legend {
  FILE *f;
  const char *before;  // what separates a line from the one before
} legend;

static void put_title(const legend *l, const picture *p, size_t run, const char *what) {
  char text[LABEL + 1], title[LABEL + 32];
  const char *label = p->count > 1 ? cut(p->runs[run].label, LABEL, text) : "";
  snprintf(title, sizeof title, "%s%s%s", label, *label ? ": " : "", what);
  fputs(" title ", l->f);
  gnuplot_put_text(l->f, title);
}

// How many points put_smoothed() or put_all() writes of a loss, about.
static size_t samples_of(const tool_points *loss) {
  return loss->count < SMOOTHED ? loss->count : loss->count / (loss->count / COLUMNS + 1);
}

static void put_loss(legend *l, const picture *p, size_t run) {
  const tool_points *points = &p->runs[run].points[TOOL_CURVE_LOSS];
  const bool smooth = points->count >= SMOOTHED, alone = p->count == 1;
  if (points->count == 0) return;
  if (alone && smooth) {
    fprintf(l->f, "%s$loss%zu with lines lw 0.7 lc rgb '#8fa8d0'", l->before, run);
    put_title(l, p, run, "loss of a step");
    l->before = ", ";
  }
  fprintf(l->f, "%s$%s%zu with ", l->before, smooth ? "smooth" : "loss", run);
  if (alone && smooth)
    fputs("lines", l->f);
  else if (alone)
    fputs("linespoints pt 7 ps 0.5", l->f);
  else if (p->runs[run].points[TOOL_CURVE_VALIDATION].count > 0)
    fputs("lines", l->f);  // the markers are on the other line
  else
    fprintf(l->f, "linespoints pt %d ps 0.9 pi %zu", shapes[run], samples_of(points) / 8 + 1);
  fprintf(l->f, " dt %s lw 1.8 lc rgb '%s'", dash_of(run), color_of(run));
  put_title(l, p, run, smooth && alone ? "smoothed" : alone ? "loss of a step" : "loss");
  l->before = ", ";
}

static void put_validation(legend *l, const picture *p, size_t run) {
  const tool_points *points = &p->runs[run].points[TOOL_CURVE_VALIDATION];
  if (points->count == 0) return;
  const bool alone = p->count == 1;
  fprintf(l->f, "%s$validation%zu with linespoints dt %s lw 1.2 pt %d ps 0.9 pi %zu lc rgb '%s'", l->before, run,
          alone ? dashes[1] : dash_of(run), shapes[run], points->count / MARKERS + 1, color_of(alone ? 1 : run));
  put_title(l, p, run, "validation loss");
  l->before = ", ";
}

static void put_losses(FILE *f, const picture *p) {
  put_panel(f, p->bottom, HEIGHT - TOP, "loss (nats)");
  if (p->logarithmic) fputs("set logscale y 10\n", f);
  fprintf(f, "set yrange [%.9g:%.9g]\nset format y '%%g'\n", p->y0, p->y1);
  if (p->logarithmic) gnuplot_put_log_tics(f, "ytics", p->y0, p->y1);
  if (p->rates)
    fputs("set format x ''\n", f);
  else
    put_step(f, p);
  legend l = {.f = f, .before = "plot "};
  for (size_t run = 0; run < p->count; run++) {
    put_loss(&l, p, run);
    put_validation(&l, p, run);
  }
  fputc('\n', f);
}

static void put_rates(FILE *f, const picture *p) {
  if (!p->rates) return;
  fputs("unset label\nunset logscale y\nunset key\nset format x '%.0f'\n", f);
  put_step(f, p);
  put_panel(f, BOTTOM, BOTTOM + RATES, "learning rate");
  fprintf(f, "set yrange [0:%.9g]\nset ytics %.9g\n", p->rate * 1.1, gnuplot_round(p->rate / 2, false));
  const char *before = "plot ";
  for (size_t run = 0; run < p->count; run++) {
    const size_t count = p->runs[run].points[TOOL_CURVE_RATE].count;
    if (count == 0) continue;
    fprintf(f, "%s$rate%zu with %s dt %s lw 1.5 lc rgb '%s'", before, run, count < 2 ? "points pt 7 ps 0.5" : "lines",
            dash_of(run), color_of(run));
    before = ", ";
  }
  fputc('\n', f);
}

int tool_runs_draw(const char *command, const char *option, const char *path, const char *title, const tool_run *runs,
                   size_t count) {
  picture p = {.runs = runs, .count = count, .right = WIDTH - MARGIN};
  if (!choose_axes(&p)) return TOOL_DONE;
  double longest = 0;
  for (size_t run = 0; run < count; run++)
    longest = fmax(longest, (double)strlen(runs[run].label ? runs[run].label : ""));
  if (count > 1) p.right -= SAMPLE + CHARACTER * (fmin(longest, LABEL) + (double)strlen(": validation loss"));
  FILE *script = tmpfile();
  if (!script) return tool_fail(command, "%s %s: cannot make a temporary file: %s", option, path, strerror(errno));
  int status = put_data(script, &p, command);
  put_frame(script, &p, path, title);
  put_losses(script, &p);
  put_rates(script, &p);
  fputs("unset multiplot\n", script);
  if (status == TOOL_DONE) status = gnuplot_draw(command, option, path, script);
  fclose(script);
  return status;
}
