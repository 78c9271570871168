// The public side of tuning: checks arguments and passes them to the context's driver. The host has only one way to compute each operator.
#include "api/drivers.h"

static heed_status tuning_of(const heed_context *ctx, const struct heed__driver_tuning **tuning) {
  HEED__REQUIRE(ctx, HEED_ERROR_INVALID_ARGUMENT, "tune: the context is NULL");
  *tuning = heed__driver_of(ctx)->tuning;
  HEED__REQUIRE(*tuning, HEED_ERROR_UNSUPPORTED, "tune: the host has nothing to tune; choose an OpenCL device");
  return HEED_OK;
}

enum {
#define PLACE(op, name, a, b, c, d) PLACE_OF_##op,
  HEED_TUNE_OP_LIST(PLACE)
#undef PLACE
      TUNED_OPS
};

static heed_status check_op(heed_tune_op op) {
  HEED__REQUIRE((unsigned)op < TUNED_OPS, HEED_ERROR_INVALID_ARGUMENT, "tune: operator %d is unknown", (int)op);
  return HEED_OK;
}

static heed_status check(const heed_context *ctx, const heed_tune_problem *problem, const void *argument,
                         const struct heed__driver_tuning **tuning) {
  HEED__TRY(tuning_of(ctx, tuning));
  HEED__REQUIRE(problem && argument, HEED_ERROR_INVALID_ARGUMENT, "tune: an argument is NULL");
  HEED__TRY(check_op(problem->op));
  HEED__REQUIRE(heed_dtype_is_float(problem->dtype), HEED_ERROR_DTYPE, "tune: dtype %d is no float",
                (int)problem->dtype);
  int64_t product = 1;
  for (int i = 0; i < HEED_TUNE_SIZES; ++i)
    HEED__REQUIRE(problem->sizes[i] > 0 && heed__mul(product, problem->sizes[i], &product), HEED_ERROR_SHAPE,
                  "tune: size %d is %lld: sizes are at least 1, and their product fits 64 bits", i,
                  (long long)problem->sizes[i]);
  return HEED_OK;
}

heed_status heed_tune_get(heed_context *ctx, const heed_tune_problem *problem, heed_tune_choice *choice) {
  const struct heed__driver_tuning *tuning = NULL;
  HEED__TRY(check(ctx, problem, choice, &tuning));
  tuning->get(ctx, problem, choice);
  return HEED_OK;
}

heed_status heed_tune_set(heed_context *ctx, const heed_tune_problem *problem, const char *choice, double speedup) {
  const struct heed__driver_tuning *tuning = NULL;
  HEED__TRY(check(ctx, problem, choice, &tuning));
  return tuning->set(ctx, problem, choice, speedup);
}

heed_status heed_tune_force(heed_context *ctx, heed_tune_op op, const char *choice) {
  const struct heed__driver_tuning *tuning = NULL;
  HEED__TRY(tuning_of(ctx, &tuning));
  HEED__TRY(check_op(op));
  return tuning->force(ctx, op, choice);
}

heed_status heed_tune_neighbours(heed_context *ctx, const heed_tune_problem *problem, const char *choice,
                                 heed_tune_choice *neighbours, size_t room, size_t *count) {
  const struct heed__driver_tuning *tuning = NULL;
  HEED__TRY(check(ctx, problem, choice, &tuning));
  HEED__REQUIRE(neighbours && count, HEED_ERROR_INVALID_ARGUMENT, "tune: an argument is NULL");
  *count = 0;
  return tuning->neighbours(ctx, problem, choice, neighbours, room, count);
}

const char *heed_tune_path(const heed_context *ctx) {
  const struct heed__driver_tuning *tuning = NULL;
  const char *path = tuning_of(ctx, &tuning) == HEED_OK ? tuning->path(ctx) : NULL;
  return path ? path : "";
}

uint64_t heed_tune_verdicts(const heed_context *ctx) {
  const struct heed__driver_tuning *tuning = ctx ? heed__driver_of(ctx)->tuning : NULL;
  return tuning ? tuning->verdicts(ctx) : 0;
}

heed_status heed_tune_load(heed_context *ctx, const char *path) {
  const struct heed__driver_tuning *tuning = NULL;
  HEED__TRY(tuning_of(ctx, &tuning));
  HEED__REQUIRE(path, HEED_ERROR_INVALID_ARGUMENT, "tune: the path is NULL");
  return tuning->load(ctx, path);
}

heed_status heed_tune_save(heed_context *ctx, const char *path) {
  const struct heed__driver_tuning *tuning = NULL;
  HEED__TRY(tuning_of(ctx, &tuning));
  if (!path) path = heed_tune_path(ctx);
  HEED__REQUIRE(path[0], HEED_ERROR_IO, "tune: no place to save to: set HOME, XDG_CONFIG_HOME or HEED_TUNE");
  return tuning->save(ctx, path);
}

heed_status heed_tune_json(heed_context *ctx, char **text) {
  const struct heed__driver_tuning *tuning = NULL;
  HEED__TRY(tuning_of(ctx, &tuning));
  HEED__REQUIRE(text, HEED_ERROR_INVALID_ARGUMENT, "tune: an argument is NULL");
  return tuning->json(ctx, text);
}
