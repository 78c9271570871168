// embedding: checks the arguments and dispatches the calls.
#include "ops/check.h"

// Rows of what lies at tokens are one matrix.
static heed_status check_rows(const char *op, const char *table_name, const heed_tensor *table,
                              const heed_tensor *tokens, const char *rows_name, const heed_tensor *rows) {
  HEED__REQUIRE(tokens->dtype == HEED_I32 || tokens->dtype == HEED_I64 || tokens->dtype == HEED_U8, HEED_ERROR_DTYPE,
                "%s: tokens is %s; I32, I64 or U8 is needed", op, heed__tensor_text(tokens));
  bool fits = table->rank == 2 && rows->rank == tokens->rank + 1 && rows->dims[tokens->rank] == table->dims[1];
  for (int axis = 0; fits && axis < tokens->rank; ++axis) fits = rows->dims[axis] == tokens->dims[axis];
  HEED__REQUIRE(fits, HEED_ERROR_SHAPE, "%s: %s %s, tokens %s and %s %s are not [V, C], [...] and [..., C]", op,
                table_name, heed__tensor_text(table), heed__tensor_text(tokens), rows_name, heed__tensor_text(rows));
  HEED__REQUIRE(table->dims[0] <= INT32_MAX && tokens->count <= INT32_MAX, HEED_ERROR_UNSUPPORTED,
                "%s: %s %s and tokens %s: heed counts rows and tokens in 31 bits", op, table_name,
                heed__tensor_text(table), heed__tensor_text(tokens));
  return HEED_OK;
}

heed_status heed_embedding_fwd(const heed_tensor *weight, const heed_tensor *tokens, heed_tensor *y) {
  heed_context *ctx;
  HEED__CHECK_ARGS("embedding_fwd", &ctx, {"weight", weight, HEED__FLOAT}, {"tokens", tokens, 0},
                   {"y", y, HEED__FLOAT | HEED__OUT});
  HEED__TRY(check_rows("embedding_fwd", "weight", weight, tokens, "y", y));
  if (y->count == 0) return HEED_OK;
  struct heed_tensor flat, rows;
  heed__reshape_init(&flat, tokens, 1, &tokens->count);
  heed__reshape_init(&rows, y, 2, (const int64_t[]){tokens->count, weight->dims[1]});
  return heed__dispatch(
      ctx, &(struct heed__call){.op = HEED__OP_embedding_fwd,
                                .in = {[HEED__embedding_fwd_weight] = weight, [HEED__embedding_fwd_tokens] = &flat},
                                .out = {[HEED__embedding_fwd_y] = &rows}});
}

heed_status heed_embedding_bwd(const heed_tensor *tokens, const heed_tensor *dy, heed_tensor *dweight,
                               bool accumulate) {
  heed_context *ctx;
  HEED__CHECK_ARGS("embedding_bwd", &ctx, {"tokens", tokens, 0}, {"dy", dy, HEED__FLOAT},
                   {"dweight", dweight, HEED__FLOAT | HEED__OUT});
  HEED__TRY(check_rows("embedding_bwd", "dweight", dweight, tokens, "dy", dy));
  if (dweight->count == 0) return HEED_OK;
  if (tokens->count == 0) return accumulate ? HEED_OK : heed_fill(dweight, 0);
  struct heed_tensor flat, rows;
  heed__reshape_init(&flat, tokens, 1, &tokens->count);
  heed__reshape_init(&rows, dy, 2, (const int64_t[]){tokens->count, dweight->dims[1]});
  const struct heed__embedding_params params = {accumulate};
  return heed__dispatch(
      ctx, &(struct heed__call){.op = HEED__OP_embedding_bwd,
                                .in = {[HEED__embedding_bwd_tokens] = &flat, [HEED__embedding_bwd_dy] = &rows},
                                .out = {[HEED__embedding_bwd_dweight] = dweight},
                                .params = &params});
}
