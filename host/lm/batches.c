// Which tokens a step of training reads: windows one after another, or windows that begin anywhere.
#include <inttypes.h>
#include <string.h>

#include "base/size.h"
#include "base/status.h"
#include "lm/token_data.h"

// Random numbers of windows: stream 2^63 + step, and number 2^32·micro-batch + row in it. Nothing else of heed uses streams from 2^63 on,
// so that a run may have one seed for its initial values, its windows and its dropout.
#define WINDOW_STREAM (UINT64_C(1) << 63)
#define STEPS_MOST (INT64_C(1) << 62)

static heed_status check(const heed_batches *b, const heed_token_data *data, int64_t step, int64_t micro) {
  HEED__REQUIRE(b->batch >= 1 && b->length >= 1 && b->accumulate >= 1, HEED_ERROR_INVALID_ARGUMENT,
                "heed_batches_read: %" PRId64 " micro-batches of %" PRId64 " rows of %" PRId64
                " tokens; at least 1 of each is needed",
                b->accumulate, b->batch, b->length);
  HEED__REQUIRE(b->batch <= UINT32_MAX && b->accumulate <= UINT32_MAX && step < STEPS_MOST, HEED_ERROR_INVALID_ARGUMENT,
                "heed_batches_read: step %" PRId64 " of %" PRId64 " micro-batches of %" PRId64 " rows is too far", step,
                b->accumulate, b->batch);
  HEED__REQUIRE(step >= 0 && micro >= 0 && micro < b->accumulate, HEED_ERROR_INVALID_ARGUMENT,
                "heed_batches_read: micro-batch %" PRId64 " of step %" PRId64
                "; both count from 0, and a step has %" PRId64 " micro-batches",
                micro, step, b->accumulate);
  const int64_t count = heed_token_data_count(data);
  HEED__REQUIRE(b->length < count, HEED_ERROR_INVALID_ARGUMENT,
                "heed_batches_read: there are %" PRId64 " tokens; windows of %" PRId64
                " need one more than that, as each token is followed by its target",
                count, b->length);
  return HEED_OK;
}

static int64_t start_of(const heed_batches *b, int64_t count, int64_t step, int64_t micro, int64_t row) {
  if (!b->sequential)
    return (int64_t)heed_random_below(b->seed, WINDOW_STREAM + (uint64_t)step, (uint64_t)micro << 32 | (uint64_t)row,
                                      (uint64_t)(count - b->length));
  // The rows before this one, times their length, modulo the tokens.
  const int64_t before = heed__mul_mod(step, b->accumulate, count) + micro % count;
  const int64_t rows = (heed__mul_mod(before, b->batch, count) + row % count) % count;
  return heed__mul_mod(rows, b->length, count);
}

heed_status heed_batches_read(const heed_batches *batches, const heed_token_data *data, int64_t step, int64_t micro,
                              int32_t *tokens, int32_t *targets) {
  HEED__REQUIRE(batches && data && tokens && targets, HEED_ERROR_INVALID_ARGUMENT,
                "heed_batches_read: an argument is NULL");
  HEED__TRY(check(batches, data, step, micro));
  const int64_t count = data->count, length = batches->length;
  for (int64_t row = 0; row < batches->batch; ++row, tokens += length, targets += length) {
    const int64_t start = start_of(batches, count, step, micro, row);
    HEED__TRY(heed_token_data_read(data, start, length, tokens));
    memcpy(targets, tokens + 1, (size_t)(length - 1) * sizeof *targets);
    HEED__TRY(heed_token_data_read(data, start + length, 1, targets + length - 1));
  }
  return HEED_OK;
}
