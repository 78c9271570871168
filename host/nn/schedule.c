// Learning rates as functions of the step.
#include <math.h>

#include <heed/nn.h>

static const double pi = 3.14159265358979323846;

const char *heed_schedule_string(heed_schedule_kind kind) {
  switch (kind) {
    case HEED_SCHEDULE_CONSTANT:
      return "constant";
    case HEED_SCHEDULE_LINEAR:
      return "linear";
    case HEED_SCHEDULE_COSINE:
      return "cosine";
    case HEED_SCHEDULE_WSD:
      return "wsd";
  }
  return "";
}

// What is left of lr − min_lr after the warmup.
static double rest(const heed_schedule *schedule, double step) {
  const double decay = (double)schedule->decay_steps, warmup = (double)schedule->warmup;
  if (schedule->kind == HEED_SCHEDULE_CONSTANT) return 1;
  if (step >= decay) return 0;
  const double part = (step - warmup) / (decay - warmup);
  if (schedule->kind == HEED_SCHEDULE_LINEAR) return 1 - part;
  if (schedule->kind == HEED_SCHEDULE_COSINE) return (1 + cos(pi * part)) / 2;
  const double stable = 0.8 * decay;
  return step <= stable ? 1 : 1 - sqrt((step - stable) / (decay - stable));
}

double heed_schedule_rate(const heed_schedule *schedule, int64_t step) {
  if (!schedule) return 0;
  if (step < schedule->warmup) return schedule->lr * (double)(step + 1) / (double)schedule->warmup;
  return schedule->min_lr + rest(schedule, (double)step) * (schedule->lr - schedule->min_lr);
}
