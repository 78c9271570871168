// The training loop: an order of the images for each epoch, steps, reports, and what happens after an epoch.
#include <inttypes.h>
#include <math.h>

#include "train/train.h"
#include "cli/files.h"

// How often a loss is logged; and how often training looks at one when nobody watches, to stop early if it has gone wrong. Looking waits
// for the queue.
enum { LOG_STEPS = 100, LOOK_SECONDS = 5 };

// Random streams below 2^32 belong to the weights' initial values.
#define SHUFFLE_STREAM (UINT64_C(1) << 32)
enum { DROPOUT_STREAM = 0x74726f70 };

static int64_t image_count(const trainer *t) { return t->data.train.count; }
// How many images of an epoch come before a micro-batch, and before a step.
static int64_t images_before_batch(const trainer *t, int64_t batch) {
  const int64_t images = batch * t->settings.batch;
  return images < image_count(t) ? images : image_count(t);
}
static int64_t images_before(const trainer *t, int64_t step) {
  return images_before_batch(t, train_batches_before(t, step));
}

static bool is_done(const trainer *t) {
  return t->epoch >= t->settings.epochs || (t->settings.max_steps > 0 && train_steps(t) >= t->settings.max_steps);
}

// ---------------------------------------------------------------- one step

// Makes the order in which this epoch takes the images (Fisher and Yates), from (seed, epoch) alone.
static int start_order(trainer *t) {
  const int64_t count = image_count(t);
  int32_t *order = t->order;
  for (int64_t i = 0; i < count; i++) order[i] = (int32_t)i;
  for (int64_t i = count - 1; i > 0 && !t->settings.no_shuffle; i--) {
    const uint64_t stream = SHUFFLE_STREAM + (uint64_t)t->epoch;
    const uint64_t j = heed_random_below(t->settings.seed, stream, (uint64_t)i, (uint64_t)i + 1);
    const int32_t swap = order[i];
    order[i] = order[j];
    order[j] = swap;
  }
  return feed_start(&t->images, order);
}

typedef struct batch_views {
  heed_tensor *x, *target, *logits, *loss, *share;
} batch_views;

// What is dropped in a micro-batch follows from (seed, its number in the run) alone.
static uint64_t dropout_seed(const trainer *t, int64_t batch) {
  const uint64_t number = (uint64_t)(t->epoch * t->batches + batch);
  uint32_t random[4];
  heed_philox(t->settings.seed, (const uint32_t[]){(uint32_t)number, (uint32_t)(number >> 32), 0, DROPOUT_STREAM},
              random);
  return (uint64_t)random[1] << 32 | random[0];
}

// Adds the gradients of a micro-batch, or puts them in the place of the last ones.
static int add_batch(trainer *t, int64_t batch, batch_views *v) {
  const int64_t start = images_before_batch(t, batch), rows = images_before_batch(t, batch + 1) - start;
  TOOL_HEED(t->command, heed_tensor_slice(t->x, 0, 0, rows, &v->x));
  TOOL_HEED(t->command, heed_tensor_slice(t->logits, 0, 0, rows, &v->logits));
  TOOL_HEED(t->command, heed_tensor_slice(t->losses, 0, batch, 1, &v->loss));
  if (t->shares) TOOL_HEED(t->command, heed_tensor_slice(t->shares, 0, batch, 1, &v->share));
  TOOL_TRY(feed_batch(&t->images, start, rows, v->x, &v->target));
  TOOL_HEED(t->command, classifier_fwd(&t->model, v->x, true, dropout_seed(t, batch), v->logits));
  TOOL_HEED(t->command, heed_cross_entropy_fwd_bwd(v->logits, v->target, NULL, v->share, v->loss, v->logits));
  TOOL_HEED(t->command, classifier_bwd(&t->model, v->logits, heed_grad_tree_accumulates(t->share.tree)));
  return TOOL_DONE;
}

// An epoch's last step may have fewer micro-batches than others; the gradients of those that it lacks are 0.
static int add_or_lack(trainer *t, int64_t batch, int64_t end) {
  if (batch >= end) {
    if (!heed_grad_tree_accumulates(t->share.tree))
      TOOL_HEED(t->command, heed_fill(heed_grad_tree_grads(t->share.tree), 0));
    return TOOL_DONE;
  }
  batch_views v = {0};
  const int status = add_batch(t, batch, &v);
  heed_tensor *const all[] = {v.x, v.target, v.logits, v.loss, v.share};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) heed_tensor_destroy(all[i]);
  return status;
}

static int sum_step(trainer *t, int64_t first) {
  heed_tensor *losses = NULL;
  TOOL_HEED(t->command, heed_tensor_slice(t->losses, 0, first, t->settings.accumulate, &losses));
  const int status = tool_share_sum(&t->share, losses);
  heed_tensor_destroy(losses);
  return status;
}

static int step(trainer *t) {
  const int64_t first = train_batches_before(t, t->step), end = train_batches_before(t, t->step + 1);
  const int64_t own = first + t->share.first_micro;
  tool_share_begin(&t->share);
  for (int64_t batch = own; batch < own + t->share.own_micro; batch++) {
    TOOL_TRY(add_or_lack(t, batch, end));
    TOOL_HEED(t->command, heed_grad_tree_add(t->share.tree));
  }
  TOOL_TRY(sum_step(t, first));
  const double lr = heed_schedule_rate(&t->schedule, train_steps(t));
  TOOL_HEED(t->command, heed_optimizer_set_learning_rate(t->optimizer, lr));
  TOOL_HEED(t->command, heed_optimizer_step(t->optimizer));
  TOOL_TRY(tool_share_spread(&t->share));
  t->step++;
  return TOOL_DONE;
}

// ---------------------------------------------------------------- reports

static int fail_not_finite(const trainer *t, const char *which, int64_t steps, double loss) {
  return tool_fail(t->command,
                   "%s became %s in epoch %" PRId64 ", step %" PRId64 "; a smaller --lr (it is %g) may help%s", which,
                   isnan(loss) ? "NaN" : "infinite", t->epoch + 1, steps, t->settings.lr,
                   t->settings.save ? "; heed wrote no checkpoint of it" : "");
}

static int check_finite(const trainer *t, int64_t steps, float loss) {
  return isfinite(loss) ? TOOL_DONE : fail_not_finite(t, "the loss", steps, (double)loss);
}

// Reads back the losses from one step up to another, which waits for them; the mean, in which every image counts the same.
static int mean_loss(trainer *t, int64_t from, int64_t to, double *mean) {
  const int64_t first = train_batches_before(t, from), end = train_batches_before(t, to);
  heed_tensor *done = NULL;
  TOOL_HEED(t->command, heed_tensor_slice(t->losses, 0, first, end - first, &done));
  const heed_status read = heed_tensor_download_f32(done, t->losses_host + first, end - first);
  if (read != HEED_OK) tool_fail_status(t->command, read);
  heed_tensor_destroy(done);
  if (read != HEED_OK) return TOOL_FAILED;
  *mean = 0;
  for (int64_t i = first; i < end; i++) {
    const float loss = t->losses_host[i];
    if (!isfinite(loss)) tool_progress_clear(t->args->progress);
    TOOL_TRY(check_finite(t, i / t->settings.accumulate + 1, loss));
    *mean += (double)loss * (double)(images_before_batch(t, i + 1) - images_before_batch(t, i));
  }
  *mean /= (double)(images_before(t, to) - images_before(t, from));
  return TOOL_DONE;
}

// Of this epoch, which --max-steps may end early.
static int64_t last_step(const trainer *t) {
  const int64_t most = t->settings.max_steps, end = most - t->epoch * t->steps_per_epoch;
  return most > 0 && end < t->steps_per_epoch ? end : t->steps_per_epoch;
}

static int report(trainer *t, bool log, int64_t first, double started) {
  double loss = NAN;
  TOOL_TRY(mean_loss(t, t->step - 1, t->step, &loss));
  if (log) train_log_step(t, loss);
  train_picture_report(t, loss);
  if (!tool_progress_due(t->args->progress)) return TOOL_DONE;
  const double seconds = tool_seconds() - started;
  const double rate = (double)(images_before(t, t->step) - images_before(t, first)) / seconds;
  const int64_t all = t->settings.epochs * t->steps_per_epoch, most = t->settings.max_steps;
  const int64_t left = (most > 0 && most < all ? most : all) - train_steps(t);
  char eta[32];
  tool_progress_show(
      t->args->progress, "batch %" PRId64 " of %" PRId64 ", loss %.4f, %.0f images/s, %s left", t->step, last_step(t),
      loss, rate, tool_duration_text((double)left * (double)(t->settings.batch * t->settings.accumulate) / rate, eta));
  return TOOL_DONE;
}

// ---------------------------------------------------------------- one epoch

static void print_epoch(const trainer *t, bool complete, double loss, double percent, double seconds) {
  tool_progress_clear(t->args->progress);
  if (!t->results) return;
  if (complete)
    fprintf(t->results, "epoch %" PRId64 "/%" PRId64, t->epoch, t->settings.epochs);
  else
    fprintf(t->results, "epoch %" PRId64 "/%" PRId64 ", step %" PRId64 "/%" PRId64, t->epoch + 1, t->settings.epochs,
            t->step, t->steps_per_epoch);
  fprintf(t->results, ": loss %.5f, test accuracy %.2f %%, %.2f s\n", loss, percent, seconds);
}

// Evaluates, saves, and prints the epoch's line; also if --max-steps ends an epoch early.
static int finish_epoch(trainer *t, int64_t first, double started) {
  double loss = NAN;
  TOOL_TRY(mean_loss(t, 0, t->step, &loss));
  const double seconds = tool_seconds() - started;
  const double rate = (double)(images_before(t, t->step) - images_before(t, first)) / seconds;
  evaluation result = {0};
  bool interrupted = false;
  tool_progress_show(t->args->progress, "measuring the accuracy");
  if (tool_ranks_leads(t->ranks)) TOOL_TRY(evaluator_run(&t->tester, &t->model, &result));
  TOOL_HEED(t->command, heed_sync(t->ctx));
  TOOL_TRY(tool_ranks_any(t->ranks, *t->interrupted, &interrupted));
  if (interrupted) return TOOL_INTERRUPTED;
  if (tool_ranks_leads(t->ranks) && !isfinite(result.loss)) {
    tool_progress_clear(t->args->progress);
    return fail_not_finite(t, "the loss on the test set", t->step, result.loss);
  }
  train_picture_epoch(t, t->step, result.loss);
  const bool complete = t->step == t->steps_per_epoch;
  if (complete) t->epoch++, t->step = 0;
  print_epoch(t, complete, loss, 100 * result.accuracy, seconds);
  TOOL_TRY(tool_flush(t->command, TOOL_DONE));
  train_log_epoch(t, loss, &result, seconds, rate);
  return tool_is_dash(t->settings.save) && !is_done(t) ? TOOL_DONE : checkpoint_save(t);
}

static int run_epoch(trainer *t) {
  const double started = tool_seconds();
  const int64_t first = t->step;
  double looked = started;
  tool_progress_count(t->args->progress, "epoch", t->epoch + 1, t->settings.epochs);
  tool_progress_show(t->args->progress, "batch %" PRId64 " of %" PRId64, t->step + 1, last_step(t));
  TOOL_TRY(start_order(t));
  while (t->step < t->steps_per_epoch && !is_done(t)) {
    bool interrupted = false;
    TOOL_TRY(step(t));
    TOOL_TRY(tool_ranks_any(t->ranks, *t->interrupted, &interrupted));
    if (interrupted) return TOOL_INTERRUPTED;
    const int64_t every = t->settings.compare_every;
    if (every > 0 && train_steps(t) % every == 0)
      TOOL_TRY(tool_ranks_compare(t->ranks, t->model.parameters, t->model.count));
    if (!tool_ranks_leads(t->ranks)) continue;
    const bool log = train_log_wanted(t) && train_steps(t) % LOG_STEPS == 0;
    if (!log && !tool_progress_due(t->args->progress) && tool_seconds() - looked < LOOK_SECONDS) continue;
    TOOL_TRY(report(t, log, first, started));
    looked = tool_seconds();
  }
  return finish_epoch(t, first, started);
}

// ---------------------------------------------------------------- the whole run

static int say_interrupted(const trainer *t) {
  char kept[512] = "nothing was saved";
  if (t->saved_steps >= 0)
    snprintf(kept, sizeof kept, "%s holds the state after %" PRId64 " steps; --resume continues from there",
             t->settings.save, t->saved_steps);
  tool_say(t->command, "interrupted in epoch %" PRId64 ", step %" PRId64 "; %s", t->epoch + 1, t->step, kept);
  return TOOL_INTERRUPTED;
}

int train_loop(trainer *t) {
  const double started = tool_seconds();
  t->interrupted = tool_interrupt_start();
  t->args->progress->interval = 0.25;  // a report waits for the queue
  train_log_start(t);
  int status = TOOL_DONE;
  while (status == TOOL_DONE && !is_done(t)) status = run_epoch(t);
  tool_progress_clear(t->args->progress);
  train_picture_end(t, status == TOOL_DONE);
  tool_interrupt_end();
  if (status == TOOL_INTERRUPTED) say_interrupted(t);
  train_log_end(t,
                status == TOOL_DONE          ? "done"
                : status == TOOL_INTERRUPTED ? "interrupted"
                                             : "failed",
                tool_seconds() - started);
  return status == TOOL_DONE && (t->save_failed || t->log.failed || t->picture.failed) ? TOOL_FAILED : status;
}
