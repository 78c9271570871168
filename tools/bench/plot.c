// The roofline plot of heed bench: the measurements and the two limits of the device, its multiply-adds and its memory, on logarithmic axes
// (Williams, Waterman and Patterson, 2009). gnuplot.c runs gnuplot.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "draw/gnuplot.h"
#include "cli/tool.h"

static const char option[] = "--plot";

enum { WIDTH = 1280, LEFT = 84, RIGHT = 800, TOP = 84, BOTTOM = 64, LEGEND = 836, ROW = 19, ROWS = 26 };

typedef struct point {
  const bench_record *record;
  double x, y;         // operations a byte, GFLOP/s
  double px, py;       // the same in pixels, from the lower left
  double lx, ly;       // middle of its number
  int digits, number;  // as in the legend
} point;

typedef struct plot {
  double x0, x1, y0, y1;  // ends of the axes
  double height;
  const bench_peak *peak;
  point points[BENCH_MAX_CASES];
  size_t count;
} plot;

// Colours that most eyes can tell apart (Okabe and Ito), and a shape for each.
typedef struct mark {
  const char *op, *color;
  int shape;  // gnuplot's point type
} mark;
static const mark marks[] = {{"gemm", "#0072b2", 5},     {"attention", "#d55e00", 7},      {"mha", "#009e73", 9},
                             {"softmax", "#cc79a7", 13}, {"cross_entropy", "#56b4e9", 15}, {"mlp", "#8c6d00", 11}};

static const mark *mark_of(const char *op) {
  for (size_t i = 0; i < sizeof marks / sizeof *marks; ++i)
    if (strcmp(marks[i].op, op) == 0) return &marks[i];
  return &marks[0];
}

// ---------------------------------------------------------------- axes

static void choose_axes(plot *p) {
  const double ridge = p->peak->gflops / p->peak->gbytes_s;
  double left = ridge / 8, right = ridge * 8, low = p->peak->gflops / 20, high = p->peak->gflops;
  for (size_t i = 0; i < p->count; ++i) {
    left = fmin(left, p->points[i].x / 1.5);
    right = fmax(right, p->points[i].x * 1.5);
    low = fmin(low, p->points[i].y / 1.5);
    high = fmax(high, p->points[i].y);
  }
  p->x0 = gnuplot_round(left, false);
  p->x1 = gnuplot_round(right, true);
  p->y0 = gnuplot_round(low, false);
  p->y1 = gnuplot_round(high * 1.6, true);
}

static double pixel_x(const plot *p, double x) { return LEFT + log(x / p->x0) / log(p->x1 / p->x0) * (RIGHT - LEFT); }
static double pixel_y(const plot *p, double y) {
  return BOTTOM + log(y / p->y0) / log(p->y1 / p->y0) * (p->height - TOP - BOTTOM);
}

// ---------------------------------------------------------------- numbers beside points

static bool overlap(double x, double y, double half_width, double half_height, double x2, double y2, double half_width2,
                    double half_height2) {
  return fabs(x - x2) < half_width + half_width2 && fabs(y - y2) < half_height + half_height2;
}

// Tells whether the number of points[at], centred at (x, y), is clear of frame, points, roofs and earlier numbers.
static bool is_clear(const plot *p, size_t at, double x, double y) {
  const double half_width = 4.5 * p->points[at].digits + 1, half_height = 7;
  if (x < LEFT + 12 || x > RIGHT - 12 || y < BOTTOM + 10 || y > p->height - TOP - 10) return false;
  for (size_t i = 0; i < p->count; ++i) {
    const point *other = &p->points[i];
    if (overlap(x, y, half_width, half_height, other->px, other->py, 6, 6)) return false;
    if (i < at && overlap(x, y, half_width, half_height, other->lx, other->ly, 4.5 * other->digits + 1, 7))
      return false;
  }
  for (double dx = -half_width; dx <= half_width; dx += half_width) {
    const double intensity = p->x0 * pow(p->x1 / p->x0, (x + dx - LEFT) / (RIGHT - LEFT));
    const double roof = pixel_y(p, fmin(p->peak->gflops, p->peak->gbytes_s * intensity));
    if (fabs(y - roof) < half_height + 2) return false;
  }
  return true;
}

// Puts the number near its point, in the first direction and at the first distance where nothing is in the way.
static void place_numbers(plot *p) {
  for (size_t i = 0; i < p->count; ++i) {
    point *at = &p->points[i];
    at->lx = at->px;
    at->ly = at->py + 14;
    bool placed = false;
    for (double distance = 14; distance < 160 && !placed; distance += 4) {
      for (int step = 0; step < 16 && !placed; ++step) {
        // Above first, then to both sides in turn.
        const double turn = (step % 2 ? 1 : -1) * ((step + 1) / 2) * M_PI / 8;
        const double x = at->px + distance * sin(turn), y = at->py + distance * cos(turn);
        placed = is_clear(p, i, x, y);
        if (placed) at->lx = x, at->ly = y;
      }
    }
  }
}

static void place(plot *p, const bench_record *records, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const bench_record *r = &records[i];
    point at = {.record = r, .number = (int)i + 1, .digits = i < 9 ? 1 : 2};
    at.x = r->flops / r->bytes;
    at.y = r->flops / r->median_ms * 1e-6;
    if (at.x > 0 && at.y > 0 && isfinite(at.x) && isfinite(at.y)) p->points[p->count++] = at;
  }
  p->height = TOP + BOTTOM + ROW * fmax(ROWS, (double)p->count + 4);
  choose_axes(p);
  for (size_t i = 0; i < p->count; ++i) {
    p->points[i].px = pixel_x(p, p->points[i].x);
    p->points[i].py = pixel_y(p, p->points[i].y);
  }
  place_numbers(p);
}

// ---------------------------------------------------------------- the script

// Three digits, and no exponent.
static const char *rate_text(double rate, char text[32]) {
  snprintf(text, 32, rate >= 100 ? "%.0f" : rate >= 10 ? "%.1f" : "%.2f", rate);
  return text;
}

static void put_label(FILE *f, const plot *p, double x, double y, const char *text, const char *style) {
  fputs("set label ", f);
  gnuplot_put_text(f, text);
  fprintf(f, " at screen %.5f,%.5f noenhanced front %s\n", x / WIDTH, y / p->height, style);
}

static void put_frame(FILE *f, const plot *p, const char *path) {
  gnuplot_put_terminal(f, path, WIDTH, p->height);
  fputs("unset key\nset logscale xy 10\nset border 3 lc rgb '#404040'\n", f);
  fprintf(f, "set lmargin at screen %.5f\nset rmargin at screen %.5f\n", (double)LEFT / WIDTH, (double)RIGHT / WIDTH);
  fprintf(f, "set bmargin at screen %.5f\nset tmargin at screen %.5f\n", BOTTOM / p->height, 1 - TOP / p->height);
  // A little wider, because rounding could otherwise lose the tics at the ends.
  fprintf(f, "set xrange [%.7g:%.7g]\nset yrange [%.7g:%.7g]\n", p->x0 * 0.9999, p->x1 * 1.0001, p->y0 * 0.9999,
          p->y1 * 1.0001);
  fputs("set format '%g'\nset tics nomirror out textcolor rgb '#404040'\n", f);
  gnuplot_put_log_tics(f, "xtics", p->x0, p->x1);
  gnuplot_put_log_tics(f, "ytics", p->y0, p->y1);
  fputs("set grid xtics ytics mxtics mytics back dt solid lc rgb '#c8c8c8' lw 0.7, dt solid lc rgb '#e4e4e4' lw 0.6\n",
        f);
  fputs("set xlabel 'arithmetic intensity (FLOP/byte)'\nset ylabel 'GFLOP/s' offset 1\n", f);
}

static void put_roofs(FILE *f, const plot *p) {
  char text[128], rate[32];
  const double gflops = p->peak->gflops, gbytes = p->peak->gbytes_s, ridge = gflops / gbytes;
  snprintf(text, sizeof text, "multiply-add peak %s GFLOP/s", rate_text(gflops, rate));
  put_label(f, p, RIGHT - 8, pixel_y(p, gflops) + 11, text, "right textcolor rgb '#404040'");
  // The memory roof's name runs along it, over its lower half.
  const double from_x = fmax(p->x0, p->y0 / gbytes);
  const double x = pixel_x(p, from_x), y = pixel_y(p, from_x * gbytes);
  const double along = atan2(pixel_y(p, gflops) - y, pixel_x(p, ridge) - x);
  char style[96];
  snprintf(style, sizeof style, "left rotate by %.2f textcolor rgb '#404040'", along * 180 / M_PI);
  snprintf(text, sizeof text, "memory %s GB/s", rate_text(gbytes, rate));
  put_label(f, p, x + 16 * cos(along) - 11 * sin(along), y + 16 * sin(along) + 11 * cos(along), text, style);
}

static void put_numbers(FILE *f, const plot *p) {
  for (size_t i = 0; i < p->count; ++i) {
    const point *at = &p->points[i];
    const char *color = mark_of(at->record->op)->color;
    const double dx = at->lx - at->px, dy = at->ly - at->py, distance = hypot(dx, dy);
    char text[16], style[64];
    if (distance > 17)
      fprintf(f, "set arrow from screen %.5f,%.5f to screen %.5f,%.5f nohead front lc rgb '%s' lw 0.6\n",
              (at->px + dx * 5 / distance) / WIDTH, (at->py + dy * 5 / distance) / p->height,
              (at->lx - dx * 8 / distance) / WIDTH, (at->ly - dy * 8 / distance) / p->height, color);
    snprintf(text, sizeof text, "%d", at->number);
    snprintf(style, sizeof style, "center textcolor rgb '%s'", color);
    put_label(f, p, at->lx, at->ly, text, style);
  }
}

static void put_legend(FILE *f, const plot *p) {
  static const char *const heading = "textcolor rgb '#404040'";
  double y = p->height - TOP - 4;
  put_label(f, p, LEGEND + 44, y, "case", heading);
  put_label(f, p, WIDTH - 84, y, "GFLOP/s", "right textcolor rgb '#404040'");
  put_label(f, p, WIDTH - 24, y, "of roof", "right textcolor rgb '#404040'");
  for (size_t i = 0; i < p->count; ++i) {
    const point *at = &p->points[i];
    const mark *its = mark_of(at->record->op);
    char text[160], style[96];
    y -= ROW;
    fprintf(f, "set label '' at screen %.5f,%.5f point pt %d ps 0.9 lc rgb '%s' front\n", (double)LEGEND / WIDTH,
            y / p->height, its->shape, its->color);
    snprintf(style, sizeof style, "right textcolor rgb '%s'", its->color);
    snprintf(text, sizeof text, "%d", at->number);
    put_label(f, p, LEGEND + 34, y, text, style);
    snprintf(text, sizeof text, "%s %s", at->record->op, at->record->shape_text);
    put_label(f, p, LEGEND + 44, y, text, "textcolor rgb '#202020'");
    put_label(f, p, WIDTH - 84, y, rate_text(at->y, text), "right textcolor rgb '#202020'");
    const double share = 100 * at->y / fmin(p->peak->gflops, p->peak->gbytes_s * at->x);
    snprintf(text, sizeof text, share < 9.95 ? "%.1f %%" : "%.0f %%", share);
    put_label(f, p, WIDTH - 24, y, text, "right textcolor rgb '#202020'");
  }
}

static void put_title(FILE *f, const plot *p, const heed_device_info *device) {
  char text[512];
  put_label(f, p, LEFT, p->height - 28, device->name, "font ',17' textcolor rgb '#202020'");
  snprintf(text, sizeof text, "%s%sheed %s, driver %s", p->count ? p->points[0].record->dtype : "",
           p->count ? ", " : "", heed_version(), device->driver);
  put_label(f, p, LEFT, p->height - 54, text, "textcolor rgb '#606060'");
}

static void put_data(FILE *f, const plot *p) {
  const double gflops = p->peak->gflops, gbytes = p->peak->gbytes_s;
  fputs("$roof << END\n", f);
  fprintf(f, "%g %g\n%g %g\n%g %g\nEND\n", p->x0 * 0.9999, p->x0 * 0.9999 * gbytes, gflops / gbytes, gflops,
          p->x1 * 1.0001, gflops);
  fprintf(f, "plot $roof using 1:2 with filledcurves y1=%.7g fc rgb '#f4f4f4', ", p->y1 * 1.0001);
  fputs("$roof using 1:2 with lines lw 2 lc rgb '#606060'", f);
  for (size_t i = 0; i < p->count; ++i) {
    const mark *its = mark_of(p->points[i].record->op);
    // A white rim separates points that lie on each other.
    for (int rim = 1; rim >= 0; --rim)
      fprintf(f, ", '+' using (%g):(%g) every ::0::0 with points pt %d ps %g lc rgb '%s'", p->points[i].x,
              p->points[i].y, its->shape, rim ? 1.6 : 1.1, rim ? "white" : its->color);
  }
  fputc('\n', f);
}

int bench_plot_check(const char *command, const char *path) { return gnuplot_check(command, option, path); }

int bench_plot_write(const char *command, const char *path, const heed_device_info *device, const bench_peak *peak,
                     const bench_record *records, size_t count) {
  if (!(peak->gflops > 0 && peak->gbytes_s > 0))
    return tool_fail(command, "%s %s: the device's peak could not be measured", option, path);
  FILE *script = tmpfile();
  if (!script) return tool_fail(command, "%s %s: cannot make a temporary file: %s", option, path, strerror(errno));
  plot p = {.peak = peak};
  place(&p, records, count);
  put_frame(script, &p, path);
  put_title(script, &p, device);
  put_roofs(script, &p);
  put_legend(script, &p);
  put_numbers(script, &p);
  put_data(script, &p);
  const int status = gnuplot_draw(command, option, path, script);
  fclose(script);
  return status;
}
