// embedding as cases, forward and backward: repeated tokens, a token that is none, rows that nobody names.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cases/case.h"

static heed_status make_tokens(case_env *env, const embedding_shape *s) {
  // The same numbers in each width of integer.
  void *data = calloc((size_t)s->count + 1, 8);
  if (!data) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < s->count; ++i) {
    const double share = case_random(env, (uint64_t)i);
    // Tokens of texts are few that are frequent, and many that are rare.
    int64_t token = (int64_t)((s->skewed ? share * share * share * share : share) * (double)s->used);
    if (s->outside && i % 7 == 3) token = i % 2 ? s->rows : s->tokens == HEED_U8 ? 255 : -1;
    if (s->tokens == HEED_I64)
      ((int64_t *)data)[i] = token;
    else if (s->tokens == HEED_I32)
      ((int32_t *)data)[i] = (int32_t)token;
    else
      ((uint8_t *)data)[i] = (uint8_t)token;
  }
  const heed_status status = case_input_data(env, "tokens", s->tokens, 1, &s->count, data);
  free(data);
  return status;
}

static heed_status embedding_setup(case_env *env, const heed_case *c) {
  const embedding_shape *s = &c->u.embedding;
  TRY(make_tokens(env, s));
  if (c->phase != CASE_BACKWARD) {
    TRY(case_input(env, "weight", c->dtype, 2, DIMS(s->rows, s->width), s->fill, 1));
    TRY(case_output(env, "y", c->dtype, 2, DIMS(s->count, s->width), 0));
  }
  if (c->phase == CASE_FORWARD) return HEED_OK;
  TRY(case_input(env, "dy", c->dtype, 2, DIMS(s->count, s->width), CASE_NORMAL, 1));
  const double tolerance = heed_tolerance(c->dtype, true);
  if (s->accumulate) return case_state(env, "dweight", c->dtype, 2, DIMS(s->rows, s->width), CASE_NORMAL, 1, tolerance);
  return case_output(env, "dweight", c->dtype, 2, DIMS(s->rows, s->width), tolerance);
}
static heed_status embedding_run(case_env *env, const heed_case *c) {
  const heed_tensor *tokens = case_get(env, "tokens");
  if (c->phase != CASE_BACKWARD) TRY(heed_embedding_fwd(case_get(env, "weight"), tokens, case_get(env, "y")));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  return heed_embedding_bwd(tokens, case_get(env, "dy"), case_get(env, "dweight"), c->u.embedding.accumulate);
}

// Rows that are named are read and written; with `used` far above the tokens each is another.
static double embedding_bytes(const heed_case *c) {
  const embedding_shape *s = &c->u.embedding;
  const double row = (double)s->width * (double)heed_dtype_size(c->dtype), count = (double)s->count;
  const double forward = 2 * count * row, touched = (double)s->used * -expm1(-count / (double)s->used);
  const double backward = (count + (s->accumulate ? 2 : 1) * touched) * row;
  return c->phase == CASE_FORWARD ? forward : c->phase == CASE_BACKWARD ? backward : forward + backward;
}

// Differences with NaN say nothing, and those of what accumulates need a fresh start that they do not make.
static bool embedding_has_gradient(const heed_case *c) {
  return !c->u.embedding.outside && !c->u.embedding.accumulate && c->u.embedding.fill == CASE_NORMAL;
}

// ---------------------------------------------------------------- shapes

static void add_embedding(case_list *list, const embedding_shape *s, int dtype, int level) {
  heed_case *c = case_append(list, &embedding_family, case_floats[dtype], level);
  if (!c) return;
  c->u.embedding = *s;
  CASE_NAME(c, "embedding_%lld_of_%lldx%lld_%s%s%s", (long long)s->count, (long long)s->rows, (long long)s->width,
            heed_dtype_string(s->tokens), s->accumulate ? "_added" : "", case_suffixes[dtype]);
}

static void embedding_cases(case_list *list) {
  static const embedding_shape shapes[] = {
      {.rows = 97, .used = 97, .count = 60, .width = 48, .tokens = HEED_I64},
      {.rows = 1, .used = 1, .count = 9, .width = 7, .tokens = HEED_I64},
      {.rows = 5, .used = 5, .count = 256, .width = 33, .tokens = HEED_I32, .outside = true, .fill = CASE_OUTLIER},
      {.rows = 255, .used = 200, .count = 129, .width = 1, .tokens = HEED_U8, .outside = true},
      {.rows = 256, .used = 256, .count = 63, .width = 17, .tokens = HEED_U8, .accumulate = true},
      {.rows = 1000, .used = 1000, .count = 65, .width = 129, .tokens = HEED_I64, .accumulate = true, .outside = true},
      {.rows = 70000, .used = 256, .count = 4500, .width = 3, .tokens = HEED_I32, .skewed = true},
      {.rows = 300, .used = 300, .count = 20000, .width = 5, .tokens = HEED_I32, .skewed = true, .outside = true},
      {.rows = 3, .used = 1, .count = 9000, .width = 9, .tokens = HEED_I64, .accumulate = true},
      {.rows = 20, .used = 20, .count = 90, .width = 1030, .tokens = HEED_I64, .skewed = true},
      {.rows = 65536, .used = 65536, .count = 64, .width = 4, .tokens = HEED_I64, .fill = CASE_DENORMAL},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int dtype = 0; dtype < CASE_FLOATS; ++dtype) add_embedding(list, &shapes[i], dtype, dtype ? 1 : 0);
}

// Sums in one block of sorted tokens, and in blocks whose borders cut a token's; GPUs sort the second in two blocks.
static void embedding_tiny(case_list *list) {
  static const embedding_shape shapes[] = {
      {.rows = 6, .used = 6, .count = 5, .width = 3, .tokens = HEED_I32},
      {.rows = 3, .used = 2, .count = 300, .width = 9, .tokens = HEED_I32, .accumulate = true, .outside = true},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int dtype = 0; dtype < CASE_FLOATS; dtype += 2) add_embedding(list, &shapes[i], dtype, 0);
}

const case_family embedding_family = {
    .op = "embedding",
    .setup = embedding_setup,
    .run = embedding_run,
    .bytes = embedding_bytes,
    .cases = embedding_cases,
    .tiny = embedding_tiny,
    .has_gradient = embedding_has_gradient,
};
