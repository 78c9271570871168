// The public side of tuning: checks arguments, and hands them to the OpenCL backend. The host has one way of doing each operator.
#include <heed/tune.h>
#include <stdlib.h>

#include "cl/backend.h"

static heed_status require_opencl(const heed_context *ctx) {
  HEED__REQUIRE(ctx, HEED_ERROR_INVALID_ARGUMENT, "tune: the context is NULL");
  HEED__REQUIRE(ctx->device_backend == &heed__cl_backend, HEED_ERROR_UNSUPPORTED,
                "tune: the host has nothing to tune; choose an OpenCL device");
  return HEED_OK;
}

static heed_status check_op(heed_tune_op op) {
  HEED__REQUIRE((unsigned)op < HEED_TUNE_OP_COUNT, HEED_ERROR_INVALID_ARGUMENT, "tune: operator %d is unknown",
                (int)op);
  return HEED_OK;
}

// `plain` gets the problem as the table knows it.
static heed_status check(const heed_context *ctx, const heed_tune_problem *problem, const void *argument,
                         heed_tune_problem *plain) {
  HEED__TRY(require_opencl(ctx));
  HEED__REQUIRE(problem && argument, HEED_ERROR_INVALID_ARGUMENT, "tune: an argument is NULL");
  HEED__TRY(check_op(problem->op));
  HEED__REQUIRE((unsigned)problem->dtype < HEED_DTYPE_COUNT && heed_dtype_is_float(problem->dtype), HEED_ERROR_DTYPE,
                "tune: dtype %d is no float", (int)problem->dtype);
  int64_t product = 1;
  for (int i = 0; i < HEED_TUNE_SIZES; ++i)
    HEED__REQUIRE(problem->sizes[i] > 0 && heed__mul(product, problem->sizes[i], &product), HEED_ERROR_SHAPE,
                  "tune: size %d is %lld: sizes are at least 1, and their product fits 64 bits", i,
                  (long long)problem->sizes[i]);
  *plain = heed__cl_tuning_plain(heed__cl_tuning_of(ctx), problem);
  return HEED_OK;
}

heed_status heed_tune_get(heed_context *ctx, const heed_tune_problem *problem, heed_tune_choice *choice) {
  heed_tune_problem plain;
  HEED__TRY(check(ctx, problem, choice, &plain));
  static const struct heed__cl_tuning_choice own;
  const struct heed__cl_tuning_choice *tuned = heed__cl_tuning_find(ctx, &plain);
  heed__cl_tuning_choice_text(tuned ? tuned : &own, choice->text);
  return HEED_OK;
}

heed_status heed_tune_set(heed_context *ctx, const heed_tune_problem *problem, const char *choice, double speedup) {
  heed_tune_problem plain;
  HEED__TRY(check(ctx, problem, choice, &plain));
  struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  struct heed__cl_tuning_entry entry = heed__cl_tuning_class(tuning, &plain);
  HEED__TRY(heed__cl_tuning_choice_parse(tuning, plain.op, choice, &entry.choice));
  entry.speedup = speedup;
  heed__cl_revise(ctx);
  return heed__cl_tuning_set(tuning, &entry);
}

heed_status heed_tune_force(heed_context *ctx, heed_tune_op op, const char *choice) {
  HEED__TRY(require_opencl(ctx));
  HEED__TRY(check_op(op));
  struct heed__cl_tuning_forced forced = {.set = choice != NULL};
  struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  if (choice) HEED__TRY(heed__cl_tuning_choice_parse(tuning, op, choice, &forced.choice));
  tuning->forced[op] = forced;
  heed__cl_revise(ctx);
  return HEED_OK;
}

heed_status heed_tune_neighbours(heed_context *ctx, const heed_tune_problem *problem, const char *choice,
                                 heed_tune_choice *neighbours, size_t room, size_t *count) {
  heed_tune_problem plain;
  HEED__TRY(check(ctx, problem, choice, &plain));
  HEED__REQUIRE(neighbours && count, HEED_ERROR_INVALID_ARGUMENT, "tune: an argument is NULL");
  *count = 0;
  const struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  struct heed__cl_tuning_choice from;
  HEED__TRY(heed__cl_tuning_choice_parse(tuning, plain.op, choice, &from));
  struct heed__cl_tuning_choices found = {.list = calloc(room + 1, sizeof *found.list), .room = room};
  HEED__REQUIRE(found.list, HEED_ERROR_OUT_OF_MEMORY, "tune: no host memory for %zu choices", room);
  tuning->ops[plain.op]->neighbours(ctx, &plain, &from, &found);
  for (size_t i = 0; i < found.count; ++i) heed__cl_tuning_choice_text(&found.list[i], neighbours[i].text);
  *count = found.count;
  free(found.list);
  return HEED_OK;
}

const char *heed_tune_path(const heed_context *ctx) {
  if (require_opencl(ctx) != HEED_OK) return "";
  const char *path = heed__cl_tuning_of(ctx)->path;
  return path ? path : "";
}

heed_status heed_tune_load(heed_context *ctx, const char *path) {
  HEED__TRY(require_opencl(ctx));
  HEED__REQUIRE(path, HEED_ERROR_INVALID_ARGUMENT, "tune: the path is NULL");
  return heed__cl_tuning_read(ctx, path, false);
}

heed_status heed_tune_save(heed_context *ctx, const char *path) {
  HEED__TRY(require_opencl(ctx));
  if (!path) path = heed_tune_path(ctx);
  HEED__REQUIRE(path[0], HEED_ERROR_IO, "tune: no place to save to: set HOME, XDG_CONFIG_HOME or HEED_TUNE");
  return heed__cl_tuning_write(ctx, path);
}

heed_status heed_tune_json(heed_context *ctx, char **text) {
  HEED__TRY(require_opencl(ctx));
  HEED__REQUIRE(text, HEED_ERROR_INVALID_ARGUMENT, "tune: an argument is NULL");
  return heed__cl_tuning_json(ctx, text);
}
