// Matrix products as cases.
#include <stdio.h>

#include "cases/case.h"

static heed_status gemm_setup(case_env *env, const heed_case *c) {
  const gemm_shape *s = &c->u.gemm;
  TRY(case_input(env, "a", c->dtype, 3, DIMS(s->batch, s->ta ? s->k : s->m, s->ta ? s->m : s->k), CASE_NORMAL, 1));
  TRY(case_input(env, "b", c->dtype, 3, DIMS(s->batch, s->tb ? s->n : s->k, s->tb ? s->k : s->n), CASE_NORMAL, 1));
  if (s->beta == 0)
    return case_output(env, "c", c->dtype, 3, DIMS(s->batch, s->m, s->n), heed_tolerance(c->dtype, false));
  return case_state(env, "c", c->dtype, 3, DIMS(s->batch, s->m, s->n), CASE_NORMAL, 1, heed_tolerance(c->dtype, false));
}
static heed_status gemm_run(case_env *env, const heed_case *c) {
  const gemm_shape *s = &c->u.gemm;
  return heed_gemm(s->ta, s->tb, s->alpha, case_get(env, "a"), case_get(env, "b"), s->beta, case_get(env, "c"));
}
static double gemm_flops(const heed_case *c) {
  const gemm_shape *s = &c->u.gemm;
  return 2.0 * (double)s->batch * (double)s->m * (double)s->n * (double)s->k;
}
static double gemm_bytes(const heed_case *c) {
  const gemm_shape *s = &c->u.gemm;
  return (double)(s->batch * (s->m * s->k + s->k * s->n + s->m * s->n)) * (double)heed_dtype_size(c->dtype);
}

// ---------------------------------------------------------------- shapes

static void add_gemm(case_list *list, gemm_shape s, int dtype, int level) {
  heed_case *c = case_append(list, &gemm_family, case_floats[dtype], level);
  if (!c) return;
  c->u.gemm = s;
  CASE_NAME(c, "gemm_%c%c_%lldx%lldx%lld_b%lld_a%gb%g%s", s.ta ? 'T' : 'N', s.tb ? 'T' : 'N', (long long)s.m,
            (long long)s.n, (long long)s.k, (long long)s.batch, s.alpha, s.beta, case_suffixes[dtype]);
}

static void gemm_cases(case_list *list) {
  static const int64_t sizes[][3] = {{1, 1, 1},     {1, 17, 5},    {17, 1, 33},     {15, 16, 17},  {31, 33, 32},
                                     {64, 10, 512}, {65, 127, 63}, {129, 128, 127}, {12, 32, 256}, {13, 31, 257}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
    for (int form = 0; form < 4; ++form)
      for (int dtype = 0; dtype < 3; ++dtype)
        add_gemm(list,
                 (gemm_shape){.batch = 1 + (int64_t)i % 3,
                              .m = sizes[i][0],
                              .n = sizes[i][1],
                              .k = sizes[i][2],
                              .ta = form & 1,
                              .tb = form & 2,
                              .alpha = i % 2 ? 1 : 0.75,
                              .beta = i % 4 == 3 ? -0.5 : 0},
                 dtype, dtype == 0 ? 0 : 1);
  add_gemm(list, (gemm_shape){.batch = 1, .m = 64, .n = 512, .k = 784, .tb = true, .alpha = 1}, 0, 0);
  add_gemm(list, (gemm_shape){.batch = 1, .m = 512, .n = 784, .k = 64, .ta = true, .alpha = 1}, 0, 0);
  add_gemm(list, (gemm_shape){.batch = 1, .m = 10, .n = 12, .k = 20000, .ta = true, .alpha = 1}, 0, 1);
  add_gemm(list, (gemm_shape){.batch = 1, .m = 1023, .n = 1025, .k = 1027, .alpha = 1}, 0, 2);
}

// A tile that is not full, a single row with a long sum, and more than one tile; as they lie, and transposed.
#define TINY(m_, n_, k_)                                                                                               \
  {1, m_, n_, k_, .alpha = 0.5}, {1, m_, n_, k_, .ta = true, .alpha = 0.5}, {1, m_, n_, k_, .tb = true, .alpha = 0.5}, \
  {                                                                                                                    \
    1, m_, n_, k_, .ta = true, .tb = true, .alpha = 0.5, .beta = 2                                                     \
  }
static void gemm_tiny(case_list *list) {
  static const gemm_shape shapes[] = {TINY(5, 7, 9), TINY(1, 3, 300), TINY(17, 33, 20)};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) add_gemm(list, shapes[i], 0, 0);
}

const case_family gemm_family = {
    .op = "gemm",
    .setup = gemm_setup,
    .run = gemm_run,
    .flops = gemm_flops,
    .bytes = gemm_bytes,
    .cases = gemm_cases,
    .tiny = gemm_tiny,
    .has_providers = true,
};
