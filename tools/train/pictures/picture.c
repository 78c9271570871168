// What a training shows of its losses: the picture of --plot, and a line on a terminal in the end. Neither changes the training, which
// goes on where a picture cannot be drawn.
#include "train/pictures/picture.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "train/train.h"

enum { PER_EPOCH = 64, WIDTH = 60 };

// The rate of a step, from 0.
static double rate_of(const trainer *t, int64_t step) { return heed_schedule_rate(&t->schedule, step); }

// The images before a micro-batch of the epoch.
static int64_t images_before(const trainer *t, int64_t batch) {
  const int64_t images = batch * t->settings.batch;
  return images < t->data.train.count ? images : t->data.train.count;
}

// The loss of a step of the epoch, in which every image counts the same.
static double loss_of(const trainer *t, int64_t step) {
  const int64_t first = train_batches_before(t, step), end = train_batches_before(t, step + 1);
  double sum = 0;
  for (int64_t i = first; i < end; i++)
    sum += (double)t->losses_host[i] * (double)(images_before(t, i + 1) - images_before(t, i));
  return sum / (double)(images_before(t, end) - images_before(t, first));
}

int train_picture_open(trainer *t) {
  const train_settings *s = &t->settings;
  char shape[TOOL_SHAPE_TEXT], title[512];
  snprintf(title, sizeof title, "%s on %s", classifier_text(&t->shape, shape),
           t->data.synthetic ? "synthetic digits" : t->data.source);
  TOOL_TRY(tool_curves_open(t->command, s->plot, title, &t->picture.curves));
  return s->resume && s->log ? tool_curves_read_log(t->picture.curves, s->log) : TOOL_DONE;
}

static void note(trainer *t, int status) { t->picture.failed = t->picture.failed || status != TOOL_DONE; }

void train_picture_report(trainer *t, double loss) {
  note(t, tool_curves_add(t->picture.curves, TOOL_CURVE_LOSS, train_steps(t), loss));
  note(t, tool_curves_add(t->picture.curves, TOOL_CURVE_RATE, train_steps(t), rate_of(t, train_steps(t) - 1)));
  note(t, tool_curves_refresh(t->picture.curves));
}

// Keeps so many values of each epoch that a line can show how they went. Without memory there is no line.
static void keep(trainer *t, int64_t count) {
  train_picture *p = &t->picture;
  const int64_t parts = count < PER_EPOCH ? count : PER_EPOCH;
  double *grown = realloc(p->losses, (p->count + (size_t)parts) * sizeof *grown);
  if (!grown) return;
  p->losses = grown;
  for (int64_t part = 0; part < parts; part++) {
    const int64_t from = count * part / parts, to = count * (part + 1) / parts;
    double sum = 0;
    for (int64_t i = from; i < to; i++) sum += loss_of(t, i);
    p->losses[p->count++] = sum / (double)(to - from);
  }
}

void train_picture_epoch(trainer *t, int64_t steps, double test_loss) {
  const int64_t first = train_steps(t) - steps;
  for (int64_t i = 0; i < steps && t->picture.curves; i++) {
    note(t, tool_curves_add(t->picture.curves, TOOL_CURVE_LOSS, first + i + 1, loss_of(t, i)));
    note(t, tool_curves_add(t->picture.curves, TOOL_CURVE_RATE, first + i + 1, rate_of(t, first + i)));
  }
  note(t, tool_curves_add(t->picture.curves, TOOL_CURVE_VALIDATION, train_steps(t), test_loss));
  note(t, tool_curves_refresh(t->picture.curves));
  keep(t, steps);
}

void train_picture_end(trainer *t, bool done) {
  const train_picture *p = &t->picture;
  char line[3 * WIDTH + 1];
  note(t, tool_curves_draw(t->picture.curves));
  if (!done || !t->results || p->count < 2 || t->args->verbosity == TOOL_QUIET || isatty(fileno(t->results)) != 1)
    return;
  tool_sparkline(p->losses, p->count, WIDTH, line, sizeof line);
  fprintf(t->results, "loss %.3g %s %.3g\n", p->losses[0], line, p->losses[p->count - 1]);
}

void train_picture_close(trainer *t) {
  tool_curves_close(t->picture.curves);
  free(t->picture.losses);
  t->picture = (train_picture){0};
}
