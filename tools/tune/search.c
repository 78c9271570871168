// The search of one class: goes step by step from the choice in use to a faster one, as long as each step is correct and clearly faster.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tune/search.h"

enum { NEIGHBOURS = 24, STEPS = 4, ROUNDS = 7, ROUNDS_LAST = 21, TRIED = 128 };
// A faster choice must gain this much. Less is within the noise of a shared machine, and would make choices come and go.
#define GAIN 0.97
// Another call of the same class may lose this much.
#define LOSS 1.02

struct search {
  const tune_search_env *env;
  const tune_class *class;
  heed_tune_problem problem;
  tune_bench bench;
  tune_outcome *outcome;
  heed_tune_choice best;
  heed_tune_choice tried[TRIED];
  size_t tried_count;
};

static bool is_over(const struct search *s) { return *s->env->interrupted || tool_seconds() >= s->env->deadline; }

static bool is_new(struct search *s, const char *choice) {
  for (size_t i = 0; i < s->tried_count; ++i)
    if (strcmp(s->tried[i].text, choice) == 0) return false;
  if (s->tried_count == TRIED) return false;
  snprintf(s->tried[s->tried_count++].text, HEED_TUNE_TEXT, "%s", choice);
  return true;
}

static void show(const struct search *s, const char *choice) {
  char name[TUNE_NAME], left[32];
  const double seconds = s->env->end - tool_seconds();
  tool_progress_show(s->env->progress, "%s: %s  (%s left)", tune_name(s->class, name), choice,
                     tool_duration_text(seconds > 0 ? seconds : 0, left));
}

// Tells whether a choice may be used at all, and tells the user if it may not.
static bool is_right(struct search *s, const char *choice) {
  char why[TUNE_WHY], name[TUNE_NAME];
  tune_check(&s->bench, s->env->host, choice, why);
  if (!why[0]) return true;
  tool_progress_clear(s->env->progress);
  tool_say(s->env->command, "%s: '%s' is discarded: %s", tune_name(s->class, name), choice, why);
  ++s->outcome->discarded;
  return false;
}

// Does not start from a choice in the table that is not, or no longer, faster than heed's own.
static heed_status start_from_default(struct search *s) {
  tune_timing timing;
  if (!is_new(s, "default") || !is_right(s, "default")) return HEED_OK;
  TRY(tune_time(&s->bench, s->best.text, "default", ROUNDS, s->env->deadline, &timing));
  s->outcome->before_ms = s->outcome->after_ms = timing.reference_ms;
  ++s->outcome->tried;
  if (timing.ratio <= 1) snprintf(s->best.text, HEED_TUNE_TEXT, "default");
  return HEED_OK;
}

// Finds the fastest of the choices around s->best that is clearly faster; *found tells whether there is one.
static heed_status step(struct search *s, bool *found) {
  heed_tune_choice list[NEIGHBOURS], next = s->best;
  size_t count = 0;
  double least = GAIN;
  *found = false;
  TRY(heed_tune_neighbours(s->env->ctx, &s->problem, s->best.text, list, NEIGHBOURS, &count));
  for (size_t i = 0; i < count && !is_over(s); ++i) {
    tune_timing timing;
    if (!is_new(s, list[i].text)) continue;
    show(s, list[i].text);
    if (!is_right(s, list[i].text)) continue;
    TRY(tune_time(&s->bench, s->best.text, list[i].text, ROUNDS, s->env->deadline, &timing));
    if (!s->outcome->tried++) s->outcome->before_ms = s->outcome->after_ms = timing.reference_ms;
    if (!(timing.ratio < least) || !timing.sure) continue;
    least = timing.ratio;
    next = list[i];
    *found = true;
  }
  s->best = next;
  return HEED_OK;
}

// Another call of the class must compute correctly, too, and not become slower.
static heed_status try_second(struct search *s, bool *holds) {
  tune_bench second;
  tune_timing timing = {.ratio = 1};
  *holds = true;
  heed_status status = tune_bench_open(&second, s->env->ctx, s->class, s->class->second);
  if (status == HEED_ERROR_OUT_OF_MEMORY) return HEED_OK;
  TRY(status);
  char why[TUNE_WHY];
  tune_check(&second, s->env->host, s->best.text, why);
  *holds = !why[0];
  if (*holds) status = tune_time(&second, s->outcome->before.text, s->best.text, ROUNDS, s->env->last, &timing);
  tune_bench_close(&second);
  if (status == HEED_OK && !(timing.ratio <= LOSS)) *holds = false;
  return status;
}

// Times again what the steps found, because the best of many timings is also the luckiest. heed's own choice need not be faster than an
// older one; it is enough that the older one is not faster than it.
static heed_status confirm(struct search *s) {
  tune_outcome *o = s->outcome;
  tune_timing timing;
  TRY(tune_time(&s->bench, o->before.text, s->best.text, ROUNDS_LAST, s->env->last, &timing));
  bool holds = strcmp(s->best.text, "default") == 0 && timing.ratio < LOSS;
  if (timing.ratio < GAIN && timing.sure) TRY(try_second(s, &holds));
  if (!holds) return HEED_OK;
  o->after = s->best;
  o->before_ms = timing.reference_ms;
  o->after_ms = timing.ms;
  o->ratio = timing.ratio;
  return HEED_OK;
}

static heed_status enter(struct search *s, double speedup) {
  s->outcome->entered = true;
  s->outcome->speedup = speedup;
  return heed_tune_set(s->env->ctx, &s->problem, s->outcome->after.text, speedup);
}

static heed_status search(struct search *s) {
  tune_outcome *o = s->outcome;
  TRY(heed_tune_get(s->env->ctx, &s->problem, &o->before));
  show(s, o->before.text);
  if (!is_right(s, o->before.text)) {
    if (strcmp(o->before.text, "default") == 0 || !is_right(s, "default")) {
      o->broken = true;
      return HEED_OK;
    }
    snprintf(o->before.text, HEED_TUNE_TEXT, "default");
    o->after = o->before;
    TRY(enter(s, 0));
  }
  o->after = s->best = o->before;
  is_new(s, o->before.text);
  TRY(start_from_default(s));
  bool found = true;
  for (int i = 0; i < STEPS && found && !is_over(s); ++i) TRY(step(s, &found));
  if (strcmp(s->best.text, o->before.text) != 0) TRY(confirm(s));
  if (strcmp(o->after.text, o->before.text) == 0) return HEED_OK;
  double speedup = 1 / o->ratio;
  if (strcmp(o->before.text, "default") != 0 && strcmp(o->after.text, "default") != 0) {
    tune_timing timing;
    TRY(tune_time(&s->bench, "default", o->after.text, ROUNDS_LAST, s->env->last, &timing));
    speedup = 1 / timing.ratio;
    if (!(timing.ratio < GAIN && timing.sure)) {  // faster than the old choice, but heed's own is as fast
      snprintf(o->after.text, HEED_TUNE_TEXT, "default");
      o->after_ms = timing.reference_ms;
      o->ratio /= timing.ratio;
    }
  }
  return enter(s, speedup);
}

heed_status tune_search(const tune_search_env *env, const tune_class *class, tune_outcome *outcome) {
  *outcome = (tune_outcome){.ratio = 1};
  struct search *s = calloc(1, sizeof *s);
  if (!s) return HEED_ERROR_OUT_OF_MEMORY;
  s->env = env;
  s->class = class;
  s->outcome = outcome;
  s->problem = tune_problem(class, class->first);
  // Ask for the context's own choice before forcing any other.
  heed_status status = heed_tune_force(env->ctx, class->op, NULL);
  if (status == HEED_OK) status = tune_bench_open(&s->bench, env->ctx, class, class->first);
  if (status == HEED_OK) status = heed_tune_force(env->ctx, class->op, NULL);
  if (status == HEED_OK) {
    status = search(s);
    tune_bench_close(&s->bench);
  }
  free(s);
  if (heed_tune_force(env->ctx, class->op, NULL) != HEED_OK && status == HEED_OK) status = HEED_ERROR_INVALID_ARGUMENT;
  return status;
}
