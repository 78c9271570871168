// What attention refuses, with the operator's name and the shapes in the message.
#include "support_attention.h"

enum { B = 2, HQ = 4, HKV = 2, LQ = 5, LK = 7, D = 8, DV = 6, LP = 3 };

struct call {
  heed_context *ctx;
  heed_attention_inputs in;
  heed_attention_options options;
  heed_tensor *out, *lse, *weights;
  const heed_tensor *dout;
  heed_attention_grads grads;
};

static struct call make(void **state) {
  heed_context *ctx = support_context(state);
  struct call c = {.ctx = ctx};
  c.in.q = support_random(ctx, HEED_F32, SHAPE(B, HQ, LQ, D), 1);
  c.in.k = support_random(ctx, HEED_F32, SHAPE(B, HKV, LK, D), 2);
  c.in.v = support_random(ctx, HEED_F32, SHAPE(B, HKV, LK, DV), 3);
  c.out = support_new(ctx, HEED_F32, SHAPE(B, HQ, LQ, DV));
  c.lse = support_new(ctx, HEED_F32, SHAPE(B, HQ, LQ));
  c.dout = support_random(ctx, HEED_F32, SHAPE(B, HQ, LQ, DV), 4);
  c.grads = (heed_attention_grads){.dq = support_like(c.in.q), .dk = support_like(c.in.k), .dv = support_like(c.in.v)};
  return c;
}

static heed_status forward(const struct call *c) {
  return heed_attention_fwd(&c->in, &c->options, c->out, c->lse, c->weights);
}
static heed_status backward(const struct call *c) {
  return heed_attention_bwd(&c->in, &c->options, c->out, c->lse, c->dout, &c->grads);
}

static heed_tensor *other(const struct call *c, heed_dtype dtype, int rank, const int64_t *dims) {
  return support_new(c->ctx, dtype, rank, dims);
}

#define FWD(status, part, ...)                                      \
  do {                                                              \
    struct call c = make(state);                                    \
    __VA_ARGS__;                                                    \
    ASSERT_REFUSED((status), "attention_fwd", (part), forward(&c)); \
  } while (0)
#define BWD(status, part, ...)                                       \
  do {                                                               \
    struct call c = make(state);                                     \
    ASSERT_OK(forward(&c));                                          \
    __VA_ARGS__;                                                     \
    ASSERT_REFUSED((status), "attention_bwd", (part), backward(&c)); \
  } while (0)
#define BOTH(status, part, ...)     \
  do {                              \
    FWD(status, part, __VA_ARGS__); \
    BWD(status, part, __VA_ARGS__); \
  } while (0)

static void the_call_itself_is_fine(void **state) {
  struct call c = make(state);
  ASSERT_OK(forward(&c));
  ASSERT_OK(backward(&c));
}

static void null_is_refused(void **state) {
  struct call fine = make(state);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "attention_fwd", "inputs is NULL",
                 heed_attention_fwd(NULL, NULL, fine.out, NULL, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "attention_bwd", "NULL",
                 heed_attention_bwd(NULL, NULL, fine.out, fine.lse, fine.dout, &fine.grads));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "attention_bwd", "NULL",
                 heed_attention_bwd(&fine.in, NULL, fine.out, fine.lse, fine.dout, NULL));
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "q is NULL", c.in.q = NULL);
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "k is NULL", c.in.k = NULL);
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "v is NULL", c.in.v = NULL);
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "out is NULL", c.out = NULL);
  BWD(HEED_ERROR_INVALID_ARGUMENT, "lse is NULL", c.lse = NULL);
  BWD(HEED_ERROR_INVALID_ARGUMENT, "dout is NULL", c.dout = NULL);
}

static void inputs_are_of_rank_4(void **state) {
  BOTH(HEED_ERROR_SHAPE, "q F32[2, 5, 32] is not of rank 4", c.in.q = other(&c, HEED_F32, SHAPE(B, LQ, HQ * D)));
  BOTH(HEED_ERROR_SHAPE, "k F32[7, 8] is not of rank 4", c.in.k = other(&c, HEED_F32, SHAPE(LK, D)));
  BOTH(HEED_ERROR_SHAPE, "v F32[1, 2, 2, 7, 6] is not of rank 4",
       c.in.v = other(&c, HEED_F32, SHAPE(1, B, HKV, LK, DV)));
  BOTH(HEED_ERROR_SHAPE, "out F32[2, 5, 24] is not of rank 4", c.out = other(&c, HEED_F32, SHAPE(B, LQ, HQ * DV)));
  BWD(HEED_ERROR_SHAPE, "dout F32[240] is not of rank 4", c.dout = other(&c, HEED_F32, SHAPE(B * HQ * LQ * DV)));
  FWD(HEED_ERROR_SHAPE, "weights F32[280]", c.weights = other(&c, HEED_F32, SHAPE(B * HQ * LQ * LK)));
}

static void shapes_fit_together(void **state) {
  BOTH(HEED_ERROR_SHAPE, "k is F32[3, 2, 7, 8]; with these inputs it must be [2, 2, 7, 8]",
       c.in.k = other(&c, HEED_F32, SHAPE(3, HKV, LK, D)));
  BOTH(HEED_ERROR_SHAPE, "k is F32[2, 2, 7, 9]", c.in.k = other(&c, HEED_F32, SHAPE(B, HKV, LK, 9)));
  BOTH(HEED_ERROR_SHAPE, "v is F32[2, 2, 9, 6]", c.in.v = other(&c, HEED_F32, SHAPE(B, HKV, 9, DV)));
  BOTH(HEED_ERROR_SHAPE, "v is F32[2, 1, 7, 6]", c.in.v = other(&c, HEED_F32, SHAPE(B, 1, LK, DV)));
  BOTH(HEED_ERROR_SHAPE, "the 3 heads of k F32[2, 3, 7, 8] do not divide the 4 heads of q F32[2, 4, 5, 8]",
       c.in.k = other(&c, HEED_F32, SHAPE(B, 3, LK, D)));
  BOTH(HEED_ERROR_SHAPE, "the 0 heads of k", c.in.k = other(&c, HEED_F32, SHAPE(B, 0, LK, D)));
  BOTH(HEED_ERROR_SHAPE, "need a width of 1 or more", c.in.q = other(&c, HEED_F32, SHAPE(B, HQ, LQ, 0)));
  BOTH(HEED_ERROR_SHAPE, "need a width of 1 or more", c.in.v = other(&c, HEED_F32, SHAPE(B, HKV, LK, 0)));
  BOTH(HEED_ERROR_SHAPE, "out is F32[2, 4, 5, 8]; with these inputs it must be [2, 4, 5, 6]",
       c.out = other(&c, HEED_F32, SHAPE(B, HQ, LQ, D)));
  BOTH(HEED_ERROR_SHAPE, "lse is F32[2, 5, 4]; with these inputs it must be [2, 4, 5]",
       c.lse = other(&c, HEED_F32, SHAPE(B, LQ, HQ)));
  BOTH(HEED_ERROR_SHAPE, "lse is F32[40]", c.lse = other(&c, HEED_F32, SHAPE(B * HQ * LQ)));
  FWD(HEED_ERROR_SHAPE, "weights is F32[2, 4, 7, 5]", c.weights = other(&c, HEED_F32, SHAPE(B, HQ, LK, LQ)));
  BWD(HEED_ERROR_SHAPE, "dout is F32[2, 4, 6, 5]", c.dout = other(&c, HEED_F32, SHAPE(B, HQ, DV, LQ)));
}

static void dtypes_are_one(void **state) {
  BOTH(HEED_ERROR_DTYPE, "k is F16[2, 2, 7, 8], but the other floating-point tensors are F32",
       c.in.k = other(&c, HEED_F16, SHAPE(B, HKV, LK, D)));
  BOTH(HEED_ERROR_DTYPE, "v is I32[2, 2, 7, 6]; F32, F16 or BF16 is needed",
       c.in.v = other(&c, HEED_I32, SHAPE(B, HKV, LK, DV)));
  BOTH(HEED_ERROR_DTYPE, "out is BF16", c.out = other(&c, HEED_BF16, SHAPE(B, HQ, LQ, DV)));
  BOTH(HEED_ERROR_DTYPE, "lse is F16[2, 4, 5]; F32 is needed", c.lse = other(&c, HEED_F16, SHAPE(B, HQ, LQ)));
  FWD(HEED_ERROR_DTYPE, "weights is F16", c.weights = other(&c, HEED_F16, SHAPE(B, HQ, LQ, LK)));
  BWD(HEED_ERROR_DTYPE, "dq is F16", c.grads.dq = other(&c, HEED_F16, SHAPE(B, HQ, LQ, D)));
}

static void the_last_axis_is_dense(void **state) {
  BOTH(HEED_ERROR_SHAPE, "the last axis of q F32[2, 4, 5, 8] must have stride 1",
       c.in.q = support_transposed(other(&c, HEED_F32, SHAPE(D, LQ, HQ, B))));
  BOTH(HEED_ERROR_SHAPE, "the last axis of k", c.in.k = support_transposed(other(&c, HEED_F32, SHAPE(D, LK, HKV, B))));
  BOTH(HEED_ERROR_SHAPE, "the last axis of out", c.out = support_transposed(other(&c, HEED_F32, SHAPE(DV, LQ, HQ, B))));
  BWD(HEED_ERROR_SHAPE, "the last axis of dk",
      c.grads.dk = support_transposed(other(&c, HEED_F32, SHAPE(D, LK, HKV, B))));
  FWD(HEED_ERROR_SHAPE, "weights F32[2, 4, 5, 7] is not contiguous",
      c.weights = support_transposed(other(&c, HEED_F32, SHAPE(LK, LQ, HQ, B))));
  BOTH(HEED_ERROR_SHAPE, "lse F32[2, 4, 5] is not contiguous",
       c.lse = support_transposed(other(&c, HEED_F32, SHAPE(LQ, HQ, B))));
}

static void masks_are_broadcastable(void **state) {
  BOTH(HEED_ERROR_SHAPE, "mask BOOL[4, 7] does not broadcast to [batch, heads, queries, keys] [2, 4, 5, 7]",
       c.in.mask = other(&c, HEED_BOOL, SHAPE(4, LK)));
  BOTH(HEED_ERROR_SHAPE, "mask BOOL[8] does not broadcast", c.in.mask = other(&c, HEED_BOOL, SHAPE(LK + 1)));
  BOTH(HEED_ERROR_SHAPE, "mask F32[2, 2, 5, 7] does not broadcast",
       c.in.mask = other(&c, HEED_F32, SHAPE(B, HKV, LQ, LK)));
  BOTH(HEED_ERROR_SHAPE, "mask BOOL[0, 7] does not broadcast", c.in.mask = other(&c, HEED_BOOL, SHAPE(0, LK)));
  BOTH(HEED_ERROR_SHAPE, "mask BOOL[1, 2, 4, 5, 7] is not of rank 1 to 4",
       c.in.mask = other(&c, HEED_BOOL, SHAPE(1, B, HQ, LQ, LK)));
  BOTH(HEED_ERROR_SHAPE, "mask BOOL[] is not of rank 1 to 4", c.in.mask = other(&c, HEED_BOOL, 0, NULL));
  BOTH(HEED_ERROR_DTYPE, "mask is U8[5, 7]; BOOL or floating point", c.in.mask = other(&c, HEED_U8, SHAPE(LQ, LK)));
  BOTH(HEED_ERROR_DTYPE, "mask is I64[7]", c.in.mask = other(&c, HEED_I64, SHAPE(LK)));
}

static void lengths_are_one_a_batch(void **state) {
  BOTH(HEED_ERROR_SHAPE, "kv_lengths is I32[3]; it must be [2]", c.in.kv_lengths = other(&c, HEED_I32, SHAPE(3)));
  BOTH(HEED_ERROR_SHAPE, "kv_lengths is I64[2, 1]", c.in.kv_lengths = other(&c, HEED_I64, SHAPE(B, 1)));
  BOTH(HEED_ERROR_DTYPE, "kv_lengths is F32[2]; I32 or I64", c.in.kv_lengths = other(&c, HEED_F32, SHAPE(B)));
}

static void past_keys_and_values_go_together(void **state) {
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "past_k and past_v go together",
       c.in.past_k = other(&c, HEED_F32, SHAPE(B, HKV, LP, D)));
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "past_k and past_v go together",
       c.in.past_v = other(&c, HEED_F32, SHAPE(B, HKV, LP, DV)));
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "past_k and kv_lengths", c.in.past_k = other(&c, HEED_F32, SHAPE(B, HKV, LP, D));
       c.in.past_v = other(&c, HEED_F32, SHAPE(B, HKV, LP, DV)); c.in.kv_lengths = other(&c, HEED_I32, SHAPE(B)));
  BOTH(HEED_ERROR_SHAPE, "past_v is F32[2, 2, 4, 6]", c.in.past_k = other(&c, HEED_F32, SHAPE(B, HKV, LP, D));
       c.in.past_v = other(&c, HEED_F32, SHAPE(B, HKV, 4, DV)));
  BOTH(HEED_ERROR_SHAPE, "past_k is F32[2, 4, 3, 8]", c.in.past_k = other(&c, HEED_F32, SHAPE(B, HQ, LP, D));
       c.in.past_v = other(&c, HEED_F32, SHAPE(B, HKV, LP, DV)));
  BOTH(HEED_ERROR_SHAPE, "past_k F32[3, 8] is not of rank 4", c.in.past_k = other(&c, HEED_F32, SHAPE(LP, D));
       c.in.past_v = other(&c, HEED_F32, SHAPE(B, HKV, LP, DV)));
  BOTH(HEED_ERROR_DTYPE, "past_k is F16", c.in.past_k = other(&c, HEED_F16, SHAPE(B, HKV, LP, D));
       c.in.past_v = other(&c, HEED_F32, SHAPE(B, HKV, LP, DV)));
  // The mask counts past keys too.
  BOTH(HEED_ERROR_SHAPE, "[2, 4, 5, 10]", c.in.past_k = other(&c, HEED_F32, SHAPE(B, HKV, LP, D));
       c.in.past_v = other(&c, HEED_F32, SHAPE(B, HKV, LP, DV)); c.in.mask = other(&c, HEED_BOOL, SHAPE(LK + LP + 1)));
}

static void options_that_make_no_sense_are_refused(void **state) {
  const double no_scale[] = {NAN, INFINITY, -INFINITY}, no_cap[] = {NAN, INFINITY, -1},
               no_dropout[] = {NAN, -0.1, 1, 1.5};
  for (int i = 0; i < 3; ++i) {
    BOTH(HEED_ERROR_INVALID_ARGUMENT, "scale", c.options.has_scale = true; c.options.scale = no_scale[i]);
    BOTH(HEED_ERROR_INVALID_ARGUMENT, "softcap", c.options.softcap = no_cap[i]);
  }
  for (int i = 0; i < 4; ++i) BOTH(HEED_ERROR_INVALID_ARGUMENT, "dropout", c.options.dropout = no_dropout[i]);
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "causal 3 is unknown", c.options.causal = (heed_causal)3);
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "causal -1 is unknown", c.options.causal = (heed_causal)-1);
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "path 9 is unknown", c.options.path = (heed_attention_path)9);
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "weights 4 is unknown", c.options.weights = (heed_attention_weights)4);
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "window left -2", c.options.has_window = true; c.options.window_left = -2);
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "window right 4294967296", c.options.has_window = true;
       c.options.window_right = INT64_C(1) << 32);
  // What is not switched on is not looked at.
  struct call c = make(state);
  c.options = (heed_attention_options){.scale = NAN, .window_left = -7};
  ASSERT_OK(forward(&c));
}

static void fused_cannot_return_weights_or_the_gradient_of_a_mask(void **state) {
  FWD(HEED_ERROR_UNSUPPORTED, "the fused path never forms the weights", c.options.path = HEED_PATH_FUSED;
      c.weights = other(&c, HEED_F32, SHAPE(B, HQ, LQ, LK)));
  BWD(HEED_ERROR_UNSUPPORTED, "the fused path has no gradient of the mask", c.options.path = HEED_PATH_FUSED;
      c.in.mask = support_random(c.ctx, HEED_F32, SHAPE(LQ, LK), 5);
      c.grads.dmask = other(&c, HEED_F32, SHAPE(LQ, LK)));
}

static void gradients_have_the_shapes_of_their_inputs(void **state) {
  BWD(HEED_ERROR_SHAPE, "dq is F32[2, 4, 8, 5]; it must have the shape F32[2, 4, 5, 8]",
      c.grads.dq = other(&c, HEED_F32, SHAPE(B, HQ, D, LQ)));
  BWD(HEED_ERROR_SHAPE, "dk is F32[2, 4, 7, 8]", c.grads.dk = other(&c, HEED_F32, SHAPE(B, HQ, LK, D)));
  BWD(HEED_ERROR_SHAPE, "dv is F32[2, 2, 7, 8]", c.grads.dv = other(&c, HEED_F32, SHAPE(B, HKV, LK, D)));
  BWD(HEED_ERROR_SHAPE, "dmask is F32[7]; it must have the shape F32[5, 7]",
      c.in.mask = support_random(c.ctx, HEED_F32, SHAPE(LQ, LK), 5);
      c.grads.dmask = other(&c, HEED_F32, SHAPE(LK)));
  BWD(HEED_ERROR_INVALID_ARGUMENT, "dpast_k is asked for", c.grads.dpast_k = other(&c, HEED_F32, SHAPE(B, HKV, LP, D)));
  BWD(HEED_ERROR_INVALID_ARGUMENT, "dpast_v is asked for",
      c.grads.dpast_v = other(&c, HEED_F32, SHAPE(B, HKV, LP, DV)));
  BWD(HEED_ERROR_INVALID_ARGUMENT, "dmask is asked for", c.grads.dmask = other(&c, HEED_F32, SHAPE(LQ, LK)));
}

static void only_a_float_mask_has_a_gradient(void **state) {
  BWD(HEED_ERROR_DTYPE, "dmask is F32[5, 7]; only a floating-point mask",
      c.in.mask = other(&c, HEED_BOOL, SHAPE(LQ, LK));
      c.grads.dmask = other(&c, HEED_F32, SHAPE(LQ, LK)));
  BWD(HEED_ERROR_DTYPE, "dmask is F16[5, 7]", c.in.mask = support_random(c.ctx, HEED_F32, SHAPE(LQ, LK), 5);
      c.grads.dmask = other(&c, HEED_F16, SHAPE(LQ, LK)));
}

static void results_overlap_neither_inputs_nor_each_other(void **state) {
  struct call c = make(state);
  ASSERT_OK(forward(&c));
  heed_tensor *q = support_random(c.ctx, HEED_F32, SHAPE(B, HQ, LQ, D), 1);
  c.in.q = c.grads.dq = q;
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "attention_bwd", "dq overlaps q", backward(&c));
  c = make(state);
  c.in.v = support_random(c.ctx, HEED_F32, SHAPE(B, HKV, LK, D), 3);
  c.out = support_new(c.ctx, HEED_F32, SHAPE(B, HQ, LQ, D));
  c.in.q = c.out;
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "attention_fwd", "out overlaps q", forward(&c));
  c = make(state);
  c.in.v = support_random(c.ctx, HEED_F32, SHAPE(B, HKV, LK, D), 3);
  c.out = support_new(c.ctx, HEED_F32, SHAPE(B, HQ, LQ, D));
  c.dout = support_random(c.ctx, HEED_F32, SHAPE(B, HQ, LQ, D), 4);
  c.grads.dv = c.grads.dk;
  ASSERT_OK(forward(&c));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "attention_bwd", "overlaps", backward(&c));
}

static void contexts_do_not_mix(void **state) {
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "k is on another context",
       c.in.k = support_new(support_other(), HEED_F32, SHAPE(B, HKV, LK, D)));
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "mask is on another context",
       c.in.mask = support_new(support_other(), HEED_BOOL, SHAPE(LK)));
  BOTH(HEED_ERROR_INVALID_ARGUMENT, "kv_lengths is on another context",
       c.in.kv_lengths = support_new(support_other(), HEED_I32, SHAPE(B)));
  BWD(HEED_ERROR_INVALID_ARGUMENT, "dv is on another context",
      c.grads.dv = support_new(support_other(), HEED_F32, SHAPE(B, HKV, LK, DV)));
}

// The keys with their past before them take memory of the call's own.
static void a_past_that_does_not_fit_is_told_by_the_call(void **state) {
  struct call c = make(state);
  enum { WIDE = 1 << 20 };
  const int64_t past[] = {1, 1, INT64_C(1) << 30, WIDE}, strides[] = {0, 0, 0, 1};
  heed_tensor *line = support_random(c.ctx, HEED_F32, SHAPE(1, 1, 1, WIDE), 1), *many = NULL;
  ASSERT_OK(heed_tensor_view(line, 4, past, strides, 0, &many));
  support_keep(many);
  const heed_attention_inputs inputs = {.q = line, .k = line, .v = line, .past_k = many, .past_v = many};
  heed_tensor *out = support_like(line), *lse = support_new(c.ctx, HEED_F32, SHAPE(1, 1, 1));
  ASSERT_REFUSED(HEED_ERROR_OUT_OF_MEMORY, "attention_fwd", "F32[1, 1, 1073741825, 1048576]",
                 heed_attention_fwd(&inputs, NULL, out, lse, NULL));
  ASSERT_REFUSED(HEED_ERROR_OUT_OF_MEMORY, "attention_bwd", "F32[1, 1, 1073741825, 1048576]",
                 heed_attention_bwd(&inputs, NULL, out, lse, out, &(heed_attention_grads){0}));
}

static void more_keys_than_31_bits_overflow(void **state) {
  struct call c = make(state);
  // Storage for it is not needed: a view with stride 0 has any length.
  const int64_t dims[] = {1, 1, INT64_C(1) << 31, D}, strides[] = {0, 0, 0, 1};
  heed_tensor *line = support_random(c.ctx, HEED_F32, SHAPE(D), 1), *many = NULL;
  ASSERT_OK(heed_tensor_view(line, 4, dims, strides, 0, &many));
  c.in.k = c.in.v = support_keep(many);
  c.in.q = support_random(c.ctx, HEED_F32, SHAPE(1, 1, 2, D), 1);
  c.out = support_new(c.ctx, HEED_F32, SHAPE(1, 1, 2, D));
  c.lse = NULL;
  ASSERT_REFUSED(HEED_ERROR_OVERFLOW, "attention_fwd", "2147483648 keys", forward(&c));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_call_itself_is_fine),
      TEST(null_is_refused),
      TEST(inputs_are_of_rank_4),
      TEST(shapes_fit_together),
      TEST(dtypes_are_one),
      TEST(the_last_axis_is_dense),
      TEST(masks_are_broadcastable),
      TEST(lengths_are_one_a_batch),
      TEST(past_keys_and_values_go_together),
      TEST(options_that_make_no_sense_are_refused),
      TEST(fused_cannot_return_weights_or_the_gradient_of_a_mask),
      TEST(gradients_have_the_shapes_of_their_inputs),
      TEST(only_a_float_mask_has_a_gradient),
      TEST(results_overlap_neither_inputs_nor_each_other),
      TEST(contexts_do_not_mix),
      TEST(a_past_that_does_not_fit_is_told_by_the_call),
      TEST(more_keys_than_31_bits_overflow),
  };
  return RUN_ON_BOTH("attention's refusals", tests);
}
