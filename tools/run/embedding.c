// heed run embedding and rope.
#include <string.h>

#include "run/run.h"

static int embedding(run_call *run) {
  heed_tensor *weight, *tokens, *out, *dout, *dweight;
  TOOL_TRY(run_input(run, "weight", &weight));
  TOOL_TRY(run_input(run, "tokens", &tokens));
  const int rank = heed_tensor_rank(tokens);
  if (heed_tensor_rank(weight) != 2 || rank >= HEED_MAX_RANK)
    return tool_fail(run->args->command,
                     "embedding: weight is %s and tokens %s; weight must be [V, C], and tokens of rank %d at most",
                     heed_tensor_describe(weight), heed_tensor_describe(tokens), HEED_MAX_RANK - 1);
  TOOL_TRY(run_check_tokens(run, "tokens", heed_tensor_dim(weight, 0), "rows of weight", NULL));
  int64_t dims[HEED_MAX_RANK];
  memcpy(dims, heed_tensor_dims(tokens), (size_t)rank * sizeof *dims);
  dims[rank] = heed_tensor_dim(weight, 1);
  TOOL_TRY(run_create(run, heed_tensor_dtype(weight), rank + 1, dims, &out));
  TOOL_TRY(run_optional_like(run, "grad.out", "out", out, &dout));
  RUN_TRY(run, heed_embedding_fwd(weight, tokens, out));
  TOOL_TRY(run_write(run, "out", out));
  if (!dout) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, weight, &dweight));
  RUN_TRY(run, heed_embedding_bwd(tokens, dout, dweight, false));
  return run_write(run, "grad.weight", dweight);
}

static const run_name embedding_names[] = {
    {"weight", NULL}, {"tokens", "input"}, {"tokens", "input_ids"}, {"grad.out", NULL}, {0}};

const run_op run_embedding = {
    .name = "embedding",
    .summary = "rows of a table by token",
    .tensors =
        "In:  weight [V,C]  tokens, I32, I64 or U8 (any shape)\n"
        "     grad.out (asks for the gradient)\n"
        "Out: out [...,C]  grad.weight",
    .names = embedding_names,
    .uses = HEED_USES_ROWS,
    .function = embedding,
};

// ---------------------------------------------------------------- rope

static int rope(run_call *run) {
  const heed_rope_style style = (heed_rope_style)run->settings.style;
  heed_tensor *x, *table, *out, *dout, *dx;
  TOOL_TRY(run_input(run, "x", &x));
  if (heed_tensor_rank(x) != 4 || heed_tensor_dim(x, 3) % 2)
    return tool_fail(run->args->command, "rope: x is %s; it must be [B, H, L, D] with D even", heed_tensor_describe(x));
  TOOL_TRY(run_create_like(run, x, &out));
  TOOL_TRY(run_optional_like(run, "grad.out", "out", out, &dout));
  TOOL_TRY(run_create(run, HEED_F32, 2, (const int64_t[]){heed_tensor_dim(x, 2), heed_tensor_dim(x, 3)}, &table));
  RUN_TRY(run, heed_rope_table(run->settings.theta, run->settings.offset, table));
  RUN_TRY(run, heed_rope_fwd(x, table, style, out));
  TOOL_TRY(run_write(run, "out", out));
  if (!dout) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, x, &dx));
  RUN_TRY(run, heed_rope_bwd(dout, table, style, dx));
  return run_write(run, "grad.x", dx);
}

// In the order of heed_rope_style.
static const char *const styles[] = {"half", "interleaved", NULL};

static const tool_option rope_options[] = {
    TOOL_OPTION_REAL("theta", run_settings, theta, 2.2250738585072014e-308, TOOL_MAX_REAL, "above 0",
                     "pair i of D/2 turns by position * X^(-2i/D) (default 10000)"),
    TOOL_OPTION_CHOICE("style", run_settings, style, styles, "half|interleaved",
                       "pairs are (i, i + D/2), or (2i, 2i + 1) (default half)"),
    TOOL_OPTION_INTEGER("offset", run_settings, offset, 0, 4503599627370496.0, "from 0 to 2^52",
                        "position of the first row (default 0)"),
};

static const run_name rope_names[] = {{"x", "X"}, {"grad.out", NULL}, {0}};

const run_op run_rope = {
    .name = "rope",
    .summary = "rotary positions",
    .tensors = "In:  x [B,H,L,D]  grad.out (asks for the gradient)\nOut: out  grad.x",
    .names = rope_names,
    RUN_OPTIONS(rope_options),
    .defaults = {.theta = 1e4},
    .uses = HEED_USES_ROWS,
    .function = rope,
};
