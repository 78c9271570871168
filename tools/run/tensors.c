// Tensors of `heed run`: from the input file to the device, and results into the output.
#include <stdlib.h>
#include <string.h>

#include "cli/files.h"
#include "run/run.h"

const char *run_file(const run_call *run) { return tool_input_name(run->settings.input); }

int run_own(run_call *run, heed_tensor *tensor) {
  heed_tensor **owned = realloc(run->owned, (run->owned_count + 1) * sizeof(heed_tensor *));
  if (!owned) {
    heed_tensor_destroy(tensor);
    return tool_fail(run->args->command, "out of memory");
  }
  run->owned = owned;
  run->owned[run->owned_count++] = tensor;
  return TOOL_DONE;
}

bool run_has(const run_call *run, const char *name) { return run_find(run, name) != NULL; }

int run_optional(run_call *run, const char *name, heed_tensor **out) {
  *out = NULL;
  const heed_array *array = run_find(run, name);
  if (!array) return TOOL_DONE;
  RUN_TRY(run, heed_array_to_tensor(array, run->ctx, out));
  return run_own(run, *out);
}

// Fails with the names that the file does have.
static int missing(const run_call *run, const char *name) {
  char list[1024] = "";
  size_t used = 0;
  const size_t count = heed_store_count(run->store);
  for (size_t i = 0; i < count; i++) {
    const int length =
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", heed_store_get(run->store, i)->name);
    if (length < 0 || (size_t)length >= sizeof list - used - 8) {
      snprintf(list + used, sizeof list - used, ", ...");
      break;
    }
    used += (size_t)length;
  }
  return tool_fail(run->args->command, "%s: %s has no tensor '%s'; it has %s", run->op, run_file(run), name,
                   count ? list : "none");
}

int run_input(run_call *run, const char *name, heed_tensor **out) {
  TOOL_TRY(run_optional(run, name, out));
  return *out ? TOOL_DONE : missing(run, name);
}

int run_optional_like(run_call *run, const char *name, const char *like_name, const heed_tensor *like,
                      heed_tensor **out) {
  TOOL_TRY(run_optional(run, name, out));
  if (!*out) return TOOL_DONE;
  const int rank = heed_tensor_rank(like);
  if (heed_tensor_rank(*out) == rank && heed_tensor_dtype(*out) == heed_tensor_dtype(like) &&
      memcmp(heed_tensor_dims(*out), heed_tensor_dims(like), (size_t)rank * sizeof(int64_t)) == 0)
    return TOOL_DONE;
  return tool_fail(run->args->command, "%s: %s is %s, but %s is %s; the two must agree", run->op, name,
                   heed_tensor_describe(*out), like_name, heed_tensor_describe(like));
}

int run_create(run_call *run, heed_dtype dtype, int rank, const int64_t *dims, heed_tensor **out) {
  RUN_TRY(run, heed_tensor_create(run->ctx, dtype, rank, dims, out));
  return run_own(run, *out);
}

int run_create_like(run_call *run, const heed_tensor *like, heed_tensor **out) {
  *out = NULL;
  if (!like) return TOOL_DONE;
  return run_create(run, heed_tensor_dtype(like), heed_tensor_rank(like), heed_tensor_dims(like), out);
}

int run_write(run_call *run, const char *name, const heed_tensor *tensor) {
  if (tensor) RUN_TRY(run, heed_safetensors_add_tensor(run->result, name, tensor));
  return TOOL_DONE;
}

int run_write_grad(run_call *run, const char *name, const heed_tensor *tensor) {
  char full[256];
  snprintf(full, sizeof full, "grad.%s", name);
  return run_write(run, full, tensor);
}
