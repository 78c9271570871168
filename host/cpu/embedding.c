// embedding on the host: y[n, :] = weight[tokens[n], :]; dweight[v, :] = Σ of dy[n, :] over tokens[n] = v.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/rows.h"

// −1 where there is no such row.
static int64_t row_of(const heed_tensor *tokens, int64_t n, int64_t rows) {
  const void *data = heed__cpu_data(tokens);
  const int64_t token = tokens->dtype == HEED_I64   ? ((const int64_t *)data)[n]
                        : tokens->dtype == HEED_I32 ? ((const int32_t *)data)[n]
                                                    : ((const uint8_t *)data)[n];
  return token >= 0 && token < rows ? token : -1;
}

heed_status heed__cpu_embedding_fwd(heed_context *ctx, const struct heed__call *call) {
  // weight: [V, C]; tokens: [N]; y: [N, C]
  (void)ctx;
  const heed_tensor *weight = call->in[HEED__embedding_fwd_weight], *tokens = call->in[HEED__embedding_fwd_tokens];
  const heed_tensor *y = call->out[HEED__embedding_fwd_y];
  const int64_t width = y->dims[1], bytes = width * (int64_t)heed_dtype_size(y->dtype);
  HEED__CPU_PARALLEL_FOR(y->count)
  for (int64_t n = 0; n < y->dims[0]; ++n) {
    const int64_t row = row_of(tokens, n, weight->dims[0]);
    char *to = heed__cpu_data(y);
    if (row >= 0)
      memcpy(to + n * bytes, (const char *)heed__cpu_data(weight) + row * bytes, (size_t)bytes);
    else
      for (int64_t j = 0; j < width; ++j) heed__store(to, y->dtype, n * width + j, NAN);
  }
  return HEED_OK;
}

// The places of each token, in order: those of token v are order[first[v]] to order[first[v + 1]]. free() both.
static heed_status sort_places(const heed_tensor *tokens, int64_t rows, int64_t **first, int64_t **order) {
  const int64_t count = tokens->dims[0];
  *first = calloc((size_t)rows + 2, sizeof **first);
  *order = heed__new_array(count, sizeof **order);
  HEED__REQUIRE(*first && *order, HEED_ERROR_OUT_OF_MEMORY, "no host memory to sort %lld tokens", (long long)count);
  // Two places further on, so that first[v + 1] is where v begins until its places are filled in, and then where they end.
  for (int64_t n = 0; n < count; ++n) {
    const int64_t row = row_of(tokens, n, rows);
    if (row >= 0) (*first)[row + 2] += 1;
  }
  for (int64_t v = 1; v <= rows; ++v) (*first)[v + 1] += (*first)[v];
  for (int64_t n = 0; n < count; ++n) {
    const int64_t row = row_of(tokens, n, rows);
    if (row >= 0) (*order)[(*first)[row + 1]++] = n;
  }
  return HEED_OK;
}

static void sum_row(const heed_tensor *dy, const int64_t *places, int64_t count, bool accumulate,
                    const heed_tensor *dweight, int64_t row) {
  // dy: [N, C]; dweight: [V, C]
  const int64_t width = dweight->dims[1];
  for (int64_t start = 0; start < width; start += HEED__CPU_PIECE) {
    const int64_t length = heed__min(HEED__CPU_PIECE, width - start);
    double sum[HEED__CPU_PIECE] = {0}, term[HEED__CPU_PIECE];
    if (accumulate) heed__cpu_load_row(sum, heed__cpu_data(dweight), dweight->dtype, row * width + start, 1, length);
    for (int64_t p = 0; p < count; ++p) {
      heed__cpu_load_row(term, heed__cpu_data(dy), dy->dtype, places[p] * width + start, 1, length);
      for (int64_t j = 0; j < length; ++j) sum[j] += term[j];
    }
    heed__cpu_store_row(heed__cpu_data(dweight), dweight->dtype, row * width + start, 1, length, sum);
  }
}

heed_status heed__cpu_embedding_bwd(heed_context *ctx, const struct heed__call *call) {
  // tokens: [N]; dy: [N, C]; dweight: [V, C]
  (void)ctx;
  const struct heed__embedding_params *params = call->params;
  const heed_tensor *tokens = call->in[HEED__embedding_bwd_tokens], *dy = call->in[HEED__embedding_bwd_dy];
  const heed_tensor *dweight = call->out[HEED__embedding_bwd_dweight];
  const int64_t rows = dweight->dims[0];
  int64_t *first = NULL, *order = NULL;
  heed_status status = sort_places(tokens, rows, &first, &order);
  if (status == HEED_OK) {
    HEED__CPU_PARALLEL_FOR(dy->count)
    for (int64_t v = 0; v < rows; ++v) {
      const int64_t count = first[v + 1] - first[v];
      if (count > 0 || !params->accumulate) sum_row(dy, order + first[v], count, params->accumulate, dweight, v);
    }
  }
  free(first);
  free(order);
  return status;
}
