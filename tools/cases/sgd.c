// A step of SGD as cases.
#include <stdio.h>

#include "cases/case.h"

static heed_status sgd_setup(case_env *env, const heed_case *c) {
  const update_shape *s = &c->u.update;
  const double tolerance = heed_tolerance(c->dtype, false);
  TRY(case_input(env, "grad", c->dtype, 1, &s->n, CASE_NORMAL, 1));
  TRY(case_state(env, "param", c->dtype, 1, &s->n, CASE_NORMAL, 1, tolerance));
  if (s->sgd.momentum == 0) return HEED_OK;
  return case_state(env, "momentum_buffer", c->dtype, 1, &s->n, CASE_NORMAL, 1, tolerance);
}
static heed_status sgd_run(case_env *env, const heed_case *c) {
  return heed_sgd(&c->u.update.sgd, case_get(env, "grad"), case_get(env, "param"), case_get(env, "momentum_buffer"));
}

static void add_sgd(case_list *list, const char *name, int64_t n, const heed_sgd_options *options, int dtype,
                    int level) {
  heed_case *c = case_append(list, &sgd_family, case_floats[dtype], level);
  if (!c) return;
  c->u.update = (update_shape){.n = n, .sgd = *options};
  CASE_NAME(c, "sgd_%s%s", name, case_suffixes[dtype]);
}

static void sgd_cases(case_list *list) {
  static const heed_sgd_options options[] = {
      {.lr = 0.1},
      {.lr = 0.01, .momentum = 0.5},
      {.lr = 0.01, .momentum = 0.5, .first = true},
      {.lr = 0.05, .momentum = 0.9, .dampening = 0.3},
      {.lr = 0.05, .momentum = 0.9, .nesterov = true, .weight_decay = 0.001},
  };
  for (size_t i = 0; i < sizeof options / sizeof *options; ++i)
    for (int dtype = 0; dtype < 3; ++dtype) {
      char name[16];
      snprintf(name, sizeof name, "%zu", i);
      add_sgd(list, name, 1001, &options[i], dtype, dtype ? 1 : 0);
    }
}

static void sgd_tiny(case_list *list) {
  add_sgd(list, "plain", 4, &(heed_sgd_options){.lr = 0.1}, 0, 0);
  add_sgd(list, "nesterov", 4, &(heed_sgd_options){.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.1},
          0, 0);
}

const case_family sgd_family = {.op = "sgd", .setup = sgd_setup, .run = sgd_run, .cases = sgd_cases, .tiny = sgd_tiny};
