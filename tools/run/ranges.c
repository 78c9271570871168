// Integers of the input file that count or name something: they must be among what there is. The operators read them on the device,
// where a value out of range can only become NaN; here they lie in memory and can be named.
#include <inttypes.h>

#include "run/run.h"

static int64_t integer_at(const heed_array *array, size_t index) {
  if (array->dtype == HEED_U8) return ((const uint8_t *)array->data)[index];
  return array->dtype == HEED_I32 ? ((const int32_t *)array->data)[index] : ((const int64_t *)array->data)[index];
}

// The first row of the array whose value is not 0 to most, nor *ignored; SIZE_MAX where all are. Another dtype is left to the
// operator.
static size_t first_outside(const heed_array *array, int64_t most, const int64_t *ignored, int64_t *value) {
  if (array->dtype != HEED_I64 && array->dtype != HEED_I32 && array->dtype != HEED_U8) return SIZE_MAX;
  const size_t count = array->bytes / heed_dtype_size(array->dtype);
  for (size_t i = 0; i < count; i++) {
    *value = integer_at(array, i);
    if ((*value < 0 || *value > most) && !(ignored && *value == *ignored)) return i;
  }
  return SIZE_MAX;
}

int run_check_classes(const run_call *run, int64_t classes, const int64_t *ignored) {
  const heed_array *target = run_find(run, "target");
  char shape[TOOL_SHAPE_TEXT];
  if (target && heed_dtype_is_float(target->dtype) && target->rank == 1)
    return tool_fail(run->args->command,
                     "%s: target is %s%s; class indices must be of I64, I32 or U8, and probabilities [N, C]", run->op,
                     heed_dtype_string(target->dtype), tool_shape_text(target->rank, target->dims, shape));
  int64_t value = 0;
  const size_t row = target ? first_outside(target, classes - 1, ignored, &value) : SIZE_MAX;
  if (row == SIZE_MAX) return TOOL_DONE;
  return tool_fail(run->args->command,
                   "%s: %s: %s of row %zu is %" PRId64 "; with %" PRId64 " classes it must be 0 to %" PRId64, run->op,
                   run_file(run), target->name, row, value, classes, classes - 1);
}

int run_check_lengths(const run_call *run, int64_t keys) {
  const heed_array *lengths = run_find(run, "kv_lengths");
  int64_t value = 0;
  const size_t row = lengths ? first_outside(lengths, keys, NULL, &value) : SIZE_MAX;
  if (row == SIZE_MAX) return TOOL_DONE;
  return tool_fail(run->args->command,
                   "%s: %s: %s of row %zu is %" PRId64 "; with %" PRId64 " keys it must be 0 to %" PRId64, run->op,
                   run_file(run), lengths->name, row, value, keys, keys);
}

int run_check_tokens(const run_call *run, const char *name, int64_t count, const char *of, const int64_t *ignored) {
  const heed_array *tokens = run_find(run, name);
  int64_t value = 0;
  const size_t index = tokens ? first_outside(tokens, count - 1, ignored, &value) : SIZE_MAX;
  if (index == SIZE_MAX) return TOOL_DONE;
  return tool_fail(run->args->command,
                   "%s: %s: %s has %" PRId64 " at index %zu; with %" PRId64 " %s it must be 0 to %" PRId64, run->op,
                   run_file(run), tokens->name, value, index, count, of, count - 1);
}
