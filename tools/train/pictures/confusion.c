// The picture of heed eval: how many images of each class the model took for which, and the worst of its errors. It is in greys.
#include "train/pictures/confusion.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "draw/gnuplot.h"

enum {
  WORST = 12,
  ACROSS = 4,
  NUMBERED = 20,
  WIDTH = 1180,
  HEIGHT = 680,
  LEFT = 64,
  SIDE = 540,
  TOP = 84,
  IMAGES = 664,
  IMAGE = 104,
  CELL = 128,
  CELL_HEIGHT = 196,
};

// One image that was taken for another class.
typedef struct mistake {
  int64_t image;
  double own, other;  // probabilities of the true class and of the predicted one
} mistake;

typedef struct confusion {
  const evaluator *e;
  int64_t classes;
  int64_t *counts;  // [classes, classes]: of true class, taken for class
  mistake worst[WORST];
  int mistakes;
} confusion;

// ---------------------------------------------------------------- counting

// softmax(logits)[at], logits [classes]
static double probability(const float *logits, int64_t classes, int64_t at) {
  double largest = -INFINITY, sum = 0;
  for (int64_t i = 0; i < classes; i++) largest = fmax(largest, (double)logits[i]);
  for (int64_t i = 0; i < classes; i++) sum += exp((double)logits[i] - largest);
  return exp((double)logits[at] - largest) / sum;
}

// Keeps it if it is among the worst: the less probable the true class, the worse; of equals the first. One without a probability, of
// logits that are not finite, is none of them.
static void insert(confusion *c, mistake m) {
  if (isnan(m.own) || isnan(m.other)) return;
  int at = c->mistakes;
  while (at > 0 && c->worst[at - 1].own > m.own) at--;
  if (at == WORST) return;
  if (c->mistakes < WORST) c->mistakes++;
  for (int i = c->mistakes - 1; i > at; i--) c->worst[i] = c->worst[i - 1];
  c->worst[at] = m;
}

static void count(confusion *c, const float *logits) {
  const heed_mnist *part = c->e->part;
  for (int64_t i = 0; i < part->count; i++) {
    const int64_t own = part->labels[i], other = c->e->predicted[i];
    if (other < 0 || other >= c->classes) continue;
    c->counts[own * c->classes + other]++;
    const float *row = logits + i * c->classes;
    if (own != other)
      insert(c,
             (mistake){
                 .image = i, .own = probability(row, c->classes, own), .other = probability(row, c->classes, other)});
  }
}

// ---------------------------------------------------------------- the matrix

// The share of a class that was taken for another, as a grey in which small shares show, too.
static double shade(const confusion *c, int64_t own, int64_t other) {
  double sum = 0;
  for (int64_t i = 0; i < c->classes; i++) sum += (double)c->counts[own * c->classes + i];
  return sum > 0 ? sqrt((double)c->counts[own * c->classes + other] / sum) : 0;
}

static void put_matrix_data(FILE *f, const confusion *c) {
  fputs("$matrix << END\n", f);
  for (int64_t own = 0; own < c->classes; own++) {
    for (int64_t other = 0; other < c->classes; other++) fprintf(f, "%.4f ", shade(c, own, other));
    fputc('\n', f);
  }
  fputs("END\n", f);
}

static void put_numbers(FILE *f, const confusion *c) {
  for (int64_t cell = 0; c->classes <= NUMBERED && cell < c->classes * c->classes; cell++) {
    const int64_t own = cell / c->classes, other = cell % c->classes;
    if (c->counts[cell])
      fprintf(f, "set label '%lld' at %lld,%lld center front font ',%d' textcolor rgb '%s'\n",
              (long long)c->counts[cell], (long long)other, (long long)own, c->classes > 12 ? 8 : 11,
              shade(c, own, other) > 0.55 ? "white" : "black");
  }
}

static void put_box(FILE *f, double left, double top, double width, double height) {
  fprintf(f, "set lmargin at screen %.5f\nset rmargin at screen %.5f\n", left / WIDTH, (left + width) / WIDTH);
  fprintf(f, "set tmargin at screen %.5f\nset bmargin at screen %.5f\n", 1 - top / HEIGHT, 1 - (top + height) / HEIGHT);
}

static void put_text(FILE *f, double x, double y, const char *text, const char *style) {
  fputs("set label ", f);
  gnuplot_put_text(f, text);
  fprintf(f, " at screen %.5f,%.5f noenhanced front %s\n", x / WIDTH, 1 - y / HEIGHT, style);
}

static void put_matrix(FILE *f, const confusion *c, const char *path, const char *title) {
  gnuplot_put_terminal(f, path, WIDTH, HEIGHT);
  put_text(f, 24, 26, title, "font ',16' textcolor rgb '#202020'");
  put_text(f, 24, 54, "darker: a larger share of the images of a true class", "textcolor rgb '#505050'");
  put_text(f, IMAGES, 54, c->mistakes ? "the least probable true classes" : "no image was taken for another class",
           "textcolor rgb '#505050'");
  fputs("set multiplot\nunset key\nunset colorbox\nset palette gray negative\nset cbrange [0:1]\n", f);
  fputs("set border lc rgb '#404040'\nset tics nomirror out scale 0.5 textcolor rgb '#404040'\n", f);
  put_box(f, LEFT, TOP, SIDE, SIDE);
  fprintf(f, "set xrange [-0.5:%.1f]\nset yrange [%.1f:-0.5]\n", (double)c->classes - 0.5, (double)c->classes - 0.5);
  const double step = c->classes <= NUMBERED ? 1 : gnuplot_round((double)c->classes / 10, true);
  fprintf(f, "set xtics 0,%g\nset ytics 0,%g\nset xlabel 'taken for'\nset ylabel 'true class'\n", step, step);
  put_numbers(f, c);
  fputs("plot $matrix matrix with image\n", f);
}

// ---------------------------------------------------------------- images

static void put_image_data(FILE *f, const confusion *c, int number) {
  const heed_mnist *part = c->e->part;
  const uint8_t *pixels = part->images + c->worst[number].image * part->rows * part->cols;
  fprintf(f, "$image%d << END\n", number);
  for (int64_t y = 0; y < part->rows; y++) {
    for (int64_t x = 0; x < part->cols; x++) fprintf(f, "%d ", pixels[y * part->cols + x]);
    fputc('\n', f);
  }
  fputs("END\n", f);
}

static void put_image(FILE *f, const confusion *c, int number) {
  const heed_mnist *part = c->e->part;
  const mistake *m = &c->worst[number];
  const double left = IMAGES + CELL * (number % ACROSS), top = TOP + CELL_HEIGHT * (number / ACROSS);
  char text[64];
  fputs("unset label\n", f);
  put_box(f, left, top, IMAGE, IMAGE);
  snprintf(text, sizeof text, "image %lld", (long long)m->image);
  put_text(f, left, top + IMAGE + 12, text, "font ',9' textcolor rgb '#505050'");
  snprintf(text, sizeof text, "is %d: %.2g %%", part->labels[m->image], 100 * m->own);
  put_text(f, left, top + IMAGE + 28, text, "textcolor rgb '#202020'");
  snprintf(text, sizeof text, "said %d: %.3g %%", c->e->predicted[m->image], 100 * m->other);
  put_text(f, left, top + IMAGE + 46, text, "textcolor rgb '#202020'");
  fprintf(f, "set xrange [-0.5:%.1f]\nset yrange [%.1f:-0.5]\nplot $image%d matrix with image\n",
          (double)part->cols - 0.5, (double)part->rows - 0.5, number);
}

static void put_images(FILE *f, const confusion *c) {
  fputs("unset tics\nunset xlabel\nunset ylabel\nset cbrange [0:255]\n", f);
  for (int number = 0; number < c->mistakes; number++) put_image(f, c, number);
  fputs("unset multiplot\n", f);
}

static int draw(const confusion *c, const char *path, const char *title) {
  FILE *script = tmpfile();
  if (!script) return tool_fail(c->e->command, "--plot %s: cannot make a temporary file: %s", path, strerror(errno));
  put_matrix_data(script, c);
  for (int number = 0; number < c->mistakes; number++) put_image_data(script, c, number);
  put_matrix(script, c, path, title);
  put_images(script, c);
  const int status = gnuplot_draw(c->e->command, "--plot", path, script);
  fclose(script);
  return status;
}

int confusion_draw(const char *path, const char *title, const evaluator *e) {
  confusion c = {.e = e, .classes = heed_tensor_dim(e->logits, 1)};
  const size_t cells = (size_t)(c.classes * c.classes), values = (size_t)(c.classes * e->part->count);
  float *logits = malloc(values * sizeof *logits);
  c.counts = calloc(cells, sizeof *c.counts);
  int status = logits && c.counts ? TOOL_DONE : tool_fail(e->command, "out of memory");
  if (status == TOOL_DONE) {
    const heed_status read = heed_tensor_download_f32(e->logits, logits, (int64_t)values);
    if (read != HEED_OK) status = tool_fail_status(e->command, read);
  }
  if (status == TOOL_DONE) {
    count(&c, logits);
    status = draw(&c, path, title);
  }
  free(c.counts);
  free(logits);
  return status;
}
