// The loop of heed lm train: steps of micro-batches, of which some are looked at, and what happens between them.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "lm/train.h"

// How long training goes on without a look when nobody asks for one, to find a loss that has gone wrong; and from one plain line to the next.
static const double look_seconds = 1, line_seconds = 10;

// ---------------------------------------------------------------- looking at a step

static int start_look(trainer *t, bool wanted, double rate) {
  train_look *look = &t->look;
  look->step = t->step - 1;
  look->lr = rate;
  look->wanted = wanted;
  look->trace = t->share.trace;
  TOOL_HEED(t->command, heed_read_start(t->losses, look->losses, heed_tensor_bytes(t->losses), &look->loss));
  TOOL_HEED(t->command, heed_read_start(heed_optimizer_norm(t->optimizer), &look->norm_value, sizeof look->norm_value,
                                        &look->norm));
  TOOL_HEED(t->command, heed_read_start(heed_optimizer_counts(t->optimizer), look->count_values,
                                        sizeof look->count_values, &look->counts));
  t->looking = true;
  t->looked = tool_seconds();
  return TOOL_DONE;
}

static int end_read(const trainer *t, heed_read **read) {
  const heed_status status = heed_read_wait(*read);
  const int result = status == HEED_OK ? TOOL_DONE : tool_fail_status(t->command, status);
  heed_read_destroy(*read);
  *read = NULL;
  return result;
}

static int fail_not_finite(const trainer *t, const char *what, int64_t step) {
  char kept[512] = "";
  if (t->saved_step >= 0)
    snprintf(kept, sizeof kept, "; %s has the state after %" PRId64 " steps", t->s.save, t->saved_step);
  tool_progress_clear(t->args->progress);
  return tool_fail(t->command, "%s step %" PRId64 "; a smaller --lr (it is %g) or --clip may help%s", what, step,
                   t->s.lr, kept);
}

// With F16 a norm that is not finite only lowers the loss scale.
static int check_finite(const trainer *t, double loss) {
  const int32_t bad = t->look.count_values[2];
  const bool is_bad = bad > 0 && t->s.dtype != HEED_F16;
  if (isfinite(loss) && !is_bad) return TOOL_DONE;
  return fail_not_finite(t,
                         isfinite(loss) ? "a gradient is not finite in"
                         : isnan(loss)  ? "the loss became NaN in"
                                        : "the loss became infinite in",
                         is_bad ? (int64_t)bad - 1 : t->look.step);
}

// The first step compiles kernels, which says nothing about those to come: rates count from its end.
static double rate_since_first(trainer *t, int64_t step) {
  const double now = tool_seconds();
  if (t->timed > 0) return lm_train_rate(t, step - t->timed_step, now - t->timed - t->paused);
  t->timed = now;
  t->timed_step = step;
  t->paused = 0;
  return lm_train_rate(t, step + 1 - t->first_step, now - t->started);
}

static void show_progress(trainer *t, double loss, double rate) {
  char left[32], speed[96] = "", share[32] = "";
  const int64_t done = t->look.step - t->timed_step;
  const double fraction = lm_train_peak_fraction(t, rate);
  if (isfinite(fraction)) snprintf(share, sizeof share, ", %.0f %% of peak", 100 * fraction);
  if (done > 0)
    snprintf(speed, sizeof speed, ", %.0f tokens/s%s, %s left", rate, share,
             tool_duration_text((tool_seconds() - t->timed) / (double)done * (double)(t->s.steps - t->step), left));
  if (tool_progress_due(t->args->progress)) {
    tool_progress_show(t->args->progress, "loss %.4f, lr %.3g%s", loss, t->look.lr, speed);
  } else if (!t->args->progress->terminal && tool_seconds() - t->told >= line_seconds) {
    t->told = tool_seconds();
    tool_note(t->args, "step %" PRId64 "/%" PRId64 ", loss %.4f, lr %.3g%s", t->step, t->s.steps, loss, t->look.lr,
              speed);
  }
}

static int end_look(trainer *t) {
  if (!t->looking) return TOOL_DONE;
  t->looking = false;
  train_look *look = &t->look;
  TOOL_TRY(end_read(t, &look->loss));
  TOOL_TRY(end_read(t, &look->norm));
  TOOL_TRY(end_read(t, &look->counts));
  double loss = 0;
  for (int64_t i = 0; i < t->s.accumulate; i++) loss += (double)look->losses[i];
  loss /= (double)t->s.accumulate;
  const double rate = rate_since_first(t, look->step);
  if (look->wanted) lm_train_log_step(t, look, loss, rate);
  TOOL_TRY(check_finite(t, loss));
  t->last_loss = loss;
  TOOL_TRY(tool_curves_add(t->curves, TOOL_CURVE_LOSS, look->step, loss));
  TOOL_TRY(tool_curves_add(t->curves, TOOL_CURVE_RATE, look->step, look->lr));
  show_progress(t, loss, rate);
  (void)tool_curves_refresh(t->curves);  // it has said what went wrong; training goes on
  return TOOL_DONE;
}

// Whether the last step was sound is known before anything is validated or saved: a state after one that was not could not go on.
static int look_at_last(trainer *t) {
  if (!t->looking && t->step > t->first_step && t->look.step != t->step - 1)
    TOOL_TRY(start_look(t, false, heed_optimizer_learning_rate(t->optimizer)));
  return end_look(t);
}

// One step more is queued before the last one is read, so that the device does not wait for the host.
static int step_and_look(trainer *t) {
  const double rate = lm_train_rate_now(t);
  tool_progress_count(t->args->progress, "step", t->step + 1, t->s.steps);
  TOOL_TRY(lm_train_step(t));
  TOOL_TRY(end_look(t));
  const bool wanted = lm_train_log_wanted(t) && (t->step - 1) % t->s.log_every == 0;
  const bool due = tool_ranks_leads(t->ranks) &&
                   (tool_progress_due(t->args->progress) || tool_seconds() - t->looked >= look_seconds);
  return wanted || due || t->step == t->s.steps ? start_look(t, wanted, rate) : TOOL_DONE;
}

// ---------------------------------------------------------------- between steps

static int report_validation(trainer *t) {
  double loss = NAN;
  TOOL_TRY(lm_train_validate(t, &loss));
  t->last_validation = loss;
  lm_train_log_eval(t, loss);
  if (!isfinite(loss)) return fail_not_finite(t, "the validation loss is not finite after", t->step);
  TOOL_TRY(tool_curves_add(t->curves, TOOL_CURVE_VALIDATION, t->step, loss));
  tool_progress_clear(t->args->progress);
  if (t->results)
    fprintf(t->results, "step %" PRId64 "/%" PRId64 ": loss %.4f, validation loss %.4f\n", t->step, t->s.steps,
            t->last_loss, loss);
  TOOL_TRY(tool_flush(t->command, TOOL_DONE));
  if (!(loss < t->best_loss) && isfinite(t->best_loss)) return TOOL_DONE;
  t->best_loss = loss;
  return t->s.keep_best ? lm_train_save_best(t) : TOOL_DONE;
}

// What is due after a step. The last one is validated and saved in any case.
static int between(trainer *t) {
  const bool last = t->step >= t->s.steps;
  const bool validates = t->validation && (last || train_has(t->s.eval_every, t->step));
  const bool samples = train_has(t->s.sample_every, t->step), saves = last || train_has(t->s.save_every, t->step);
  if (!validates && !samples && !(saves && t->s.save)) return last ? end_look(t) : TOOL_DONE;
  TOOL_TRY(look_at_last(t));
  const double began = tool_seconds();
  if (validates) TOOL_TRY(report_validation(t));
  if (samples && tool_ranks_leads(t->ranks)) TOOL_TRY(lm_train_sample(t));
  if (saves) TOOL_TRY(lm_train_save(t));
  t->paused += tool_seconds() - began;
  return TOOL_DONE;
}

// ---------------------------------------------------------------- the whole run

// Tells how the run can go on, if it can.
static void say_interrupted(const trainer *t) {
  const train_settings *s = &t->s;
  tool_progress_clear(t->args->progress);
  if (!s->save) {
    tool_say(t->command, "interrupted after %" PRId64 " steps; nothing was saved, because --save was not given",
             t->step);
  } else if (t->saved_step < 0) {
    tool_say(t->command, "interrupted after %" PRId64 " steps; nothing was saved", t->step);
  } else {
    char steps[32] = "which";
    if (t->saved_step != t->step) snprintf(steps, sizeof steps, "of which %" PRId64, t->saved_step);
    tool_say(t->command,
             "interrupted after %" PRId64 " steps, %s are saved; to go on: heed lm train --resume %s --data %s%s%s",
             t->step, steps, s->save, s->data, s->val ? " --val " : "", s->val ? s->val : "");
  }
}

static int stop_early(trainer *t) {
  TOOL_TRY(look_at_last(t));
  bool saves = false;  // as rank 0 knows
  TOOL_TRY(tool_ranks_any(t->ranks, tool_ranks_leads(t->ranks) && t->s.save && t->saved_step != t->step, &saves));
  if (saves) TOOL_TRY(lm_train_save(t));
  say_interrupted(t);
  return TOOL_INTERRUPTED;
}

static int run(trainer *t) {
  while (t->step < t->s.steps) {
    bool interrupted = false;
    TOOL_TRY(tool_ranks_any(t->ranks, *t->interrupted, &interrupted));
    if (interrupted) return stop_early(t);
    const int status = step_and_look(t);
    if (status == TOOL_INTERRUPTED) return stop_early(t);
    TOOL_TRY(status);
    if (train_has(t->s.compare_every, t->step))
      TOOL_TRY(tool_ranks_compare(t->ranks, t->parameters, t->parameter_count));
    TOOL_TRY(between(t));
  }
  return TOOL_DONE;
}

static void say_end(const trainer *t) {
  char text[32];
  if (!t->results) return;
  fprintf(t->results, "%" PRId64 " steps in %s: loss %.4f", t->step,
          tool_duration_text(tool_seconds() - t->started, text), t->last_loss);
  if (t->validation) fprintf(t->results, ", validation loss %.4f", t->last_validation);
  const bool saved = t->s.save && t->saved_step == t->step;
  if (saved) fprintf(t->results, "; the model is in %s", t->s.save);
  fputs("\n", t->results);
  if (!saved || t->args->verbosity == TOOL_QUIET) return;
  fprintf(t->results, "next: heed lm generate --model %s %s\n", t->s.save,
          t->model.tokenizer ? "--prompt 'The ' --tokens 50" : "--ids 0 --tokens 50");
}

int lm_train_loop(trainer *t) {
  if (t->step >= t->s.steps) {
    tool_note(t->args, "nothing to do: %" PRId64 " steps are done; use a larger --steps to go on", t->step);
    if (t->saved_step != t->step) TOOL_TRY(lm_train_save(t));
    return t->save_failed ? TOOL_FAILED : TOOL_DONE;
  }
  t->interrupted = tool_interrupt_start();
  tool_ranks_set_timeout(t->ranks, t->s.timeout);
  t->args->progress->interval = 0.25;  // a look waits for the queue
  t->started = t->looked = t->told = tool_seconds();
  lm_train_log_start(t);
  tool_progress_count(t->args->progress, "step", t->step + 1, t->s.steps);
  tool_progress_again(t->args->progress);
  int status = run(t);
  if (tool_curves_draw(t->curves) != TOOL_DONE && status == TOOL_DONE) status = TOOL_FAILED;
  tool_progress_clear(t->args->progress);
  tool_interrupt_end();
  if (status == TOOL_DONE) say_end(t);
  lm_train_log_end(t, status == TOOL_DONE ? "done" : status == TOOL_INTERRUPTED ? "interrupted" : "failed");
  return status == TOOL_DONE && (t->save_failed || t->best_failed || t->log.failed) ? TOOL_FAILED : status;
}

int lm_train(int argc, const char **argv) {
  tool_args args;
  trainer t = {.args = &args,
               .command = lm_train_syntax.command,
               .lock = -1,
               .saved_step = -1,
               .best_loss = NAN,
               .last_validation = NAN,
               .last_loss = NAN,
               .look = {.step = -1},
               .s = {.val_fraction = 0.1,
                     .layers = 4,
                     .heads = 4,
                     .width = 128,
                     .batch = 12,
                     .accumulate = 1,
                     .steps = 1000,
                     .seed = 1,
                     .lr = 1e-3,
                     .beta1 = 0.9,
                     .beta2 = 0.999,
                     .eps = 1e-8,
                     .eval_every = 250,
                     .eval_batches = 20,
                     .save_every = 250,
                     .log_every = 10,
                     .compare_every = 100,
                     .timeout = 600}};
  TOOL_TRY(tool_ranks_open(t.command, &t.ranks));
  int status = tool_parse(&lm_train_syntax, &t.s, argc, argv, &args);
  if (status == TOOL_PROCEED) {
    status = lm_train_set_up(&t);
    if (status == TOOL_DONE) status = lm_train_loop(&t);
  }
  status = tool_ranks_close(t.ranks, status);
  lm_train_release(&t);
  lm_train_leave_folder(&t);
  return tool_finish(&args, status);
}
