// Square roots by gradient descent as cases.
#include <stdio.h>

#include "cases/case.h"

static heed_status sqrt_setup(case_env *env, const heed_case *c) {
  const int64_t n = c->u.update.n;
  TRY(case_input(env, "a", HEED_F32, 1, &n, CASE_UNIFORM, 30));
  TRY(case_input(env, "x0", HEED_F32, 1, &n, CASE_SAME, 1));
  return case_output(env, "x", HEED_F32, 1, &n, heed_tolerance(HEED_F32, false));
}
static heed_status sqrt_run(case_env *env, const heed_case *c) {
  return heed_sqrt_sgd(&c->u.update.sqrt, case_get(env, "a"), case_get(env, "x0"), case_get(env, "x"));
}

static void add_sqrt(case_list *list, int64_t n, heed_sqrt_options options) {
  heed_case *c = case_append(list, &sqrt_sgd_family, HEED_F32, 0);
  if (!c) return;
  c->u.update = (update_shape){.n = n, .sqrt = options};
  CASE_NAME(c, "sqrt_sgd_%lld", (long long)n);
}

static void sqrt_cases(case_list *list) {
  add_sqrt(list, 37, (heed_sqrt_options){.lr = 0.001, .epochs = 3000, .tolerance = 0});
}
static void sqrt_tiny(case_list *list) {
  add_sqrt(list, 4, (heed_sqrt_options){.lr = 0.01, .epochs = 3, .tolerance = 1e-6});
}

const case_family sqrt_sgd_family = {
    .op = "sqrt_sgd", .setup = sqrt_setup, .run = sqrt_run, .cases = sqrt_cases, .tiny = sqrt_tiny};
