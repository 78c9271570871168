// Every gradient of the host backend is the derivative of its forward: operators and modules against finite differences.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <heed/nn.h>

#include "support_gradients.h"

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
#define ASSERT_OK(call) \
  if ((call) != HEED_OK) fail_msg("%s: %s", #call, heed_last_error())

static int open_host(void **state) {
  heed_context *ctx;
  if (heed_open("host", &ctx) != HEED_OK) return -1;
  *state = ctx;
  return 0;
}

static int close_host(void **state) {
  const size_t left = heed_context_live_tensors(*state);
  heed_context_destroy(*state);
  return left == 0 ? 0 : -1;
}

static heed_tensor *value_of(const struct gradient_case *c, int input) { return c->inputs[input].value; }
static heed_tensor *grad_of(const struct gradient_case *c, int input) { return c->inputs[input].grad; }

// ---------------------------------------------------------------- activations

static heed_status relu_forward(struct gradient_case *c) { return heed_relu_fwd(value_of(c, 0), c->out); }
static heed_status relu_backward(struct gradient_case *c) {
  return heed_relu_bwd(value_of(c, 0), c->dout, grad_of(c, 0));
}

static heed_gelu_form form_of(const struct gradient_case *c) { return *(const heed_gelu_form *)c->function; }
static heed_status gelu_forward(struct gradient_case *c) { return heed_gelu_fwd(value_of(c, 0), form_of(c), c->out); }
static heed_status gelu_backward(struct gradient_case *c) {
  return heed_gelu_bwd(value_of(c, 0), c->dout, form_of(c), grad_of(c, 0));
}

// Differences mean nothing across the kink at 0, so x stays on one side of it.
static void relu_has_its_gradient_on_either_side_of_0(void **state) {
  for (int side = -1; side <= 1; side += 2) {
    struct gradient_case c;
    gradient_begin(&c, "relu", *state, 11);
    gradient_add(&c, "x", 2, DIMS(5, 17), 0.5 * side, 2.5 * side);
    gradient_set_out(&c, 2, DIMS(5, 17));
    c.forward = relu_forward;
    c.backward = relu_backward;
    if (side > 0) {
      gradient_check(&c);
    } else {
      float dx[85];
      ASSERT_OK(relu_backward(&c));
      ASSERT_OK(heed_tensor_download_f32(grad_of(&c, 0), dx, 85));
      for (int i = 0; i < 85; ++i) assert_true(dx[i] == 0);
    }
    gradient_end(&c);
  }
}

static void gelu_has_its_gradient_in_both_forms(void **state) {
  heed_gelu_form forms[] = {HEED_GELU_ERF, HEED_GELU_TANH};
  for (int i = 0; i < 2; ++i) {
    struct gradient_case c;
    gradient_begin(&c, i == 0 ? "gelu erf" : "gelu tanh", *state, 12);
    gradient_add(&c, "x", 2, DIMS(5, 17), -4, 4);
    gradient_set_out(&c, 2, DIMS(5, 17));
    c.forward = gelu_forward;
    c.backward = gelu_backward;
    c.function = &forms[i];
    gradient_check(&c);
    gradient_end(&c);
  }
}

// ---------------------------------------------------------------- softmax

static int axis_of(const struct gradient_case *c) { return *(const int *)c->function; }
static heed_status softmax_forward(struct gradient_case *c) {
  return heed_softmax_fwd(value_of(c, 0), axis_of(c), c->out);
}
static heed_status softmax_backward(struct gradient_case *c) {
  return heed_softmax_bwd(c->out, c->dout, axis_of(c), grad_of(c, 0));
}
static heed_status log_softmax_forward(struct gradient_case *c) {
  return heed_log_softmax_fwd(value_of(c, 0), axis_of(c), c->out);
}
static heed_status log_softmax_backward(struct gradient_case *c) {
  return heed_log_softmax_bwd(c->out, c->dout, axis_of(c), grad_of(c, 0));
}

static void softmax_has_its_gradient_along_every_axis(void **state) {
  for (int axis = -1; axis < 3; ++axis) {
    for (int log_form = 0; log_form < 2; ++log_form) {
      struct gradient_case c;
      gradient_begin(&c, log_form ? "log_softmax" : "softmax", *state, 20);
      gradient_add(&c, "x", 3, DIMS(5, 7, 6), -2, 2);
      gradient_set_out(&c, 3, DIMS(5, 7, 6));
      c.forward = log_form ? log_softmax_forward : softmax_forward;
      c.backward = log_form ? log_softmax_backward : softmax_backward;
      c.function = &axis;
      gradient_check(&c);
      gradient_end(&c);
    }
  }
}

// ---------------------------------------------------------------- cross-entropy

struct loss_function {
  heed_cross_entropy_options options;
  heed_tensor *target;
};

static heed_status loss_forward(struct gradient_case *c) {
  const struct loss_function *f = c->function;
  return heed_cross_entropy_fwd(value_of(c, 0), f->target, &f->options, c->out);
}
static heed_status loss_backward(struct gradient_case *c) {
  const struct loss_function *f = c->function;
  return heed_cross_entropy_bwd(value_of(c, 0), f->target, &f->options, c->dout, grad_of(c, 0));
}

enum { LOSS_ROWS = 9, LOSS_CLASSES = 13 };

static heed_tensor *index_target(heed_context *ctx, heed_dtype dtype) {
  int64_t wide[LOSS_ROWS];
  int32_t narrow[LOSS_ROWS];
  uint8_t bytes[LOSS_ROWS];
  for (int i = 0; i < LOSS_ROWS; ++i) {
    wide[i] = i == 4 ? 2 : (int64_t)heed_random_below(31, 0, (uint64_t)i, LOSS_CLASSES);
    narrow[i] = (int32_t)wide[i];
    bytes[i] = (uint8_t)wide[i];
  }
  const void *data = dtype == HEED_I64 ? (void *)wide : dtype == HEED_I32 ? (void *)narrow : (void *)bytes;
  heed_tensor *target = NULL;
  ASSERT_OK(heed_tensor_create_from(ctx, dtype, 1, DIMS(LOSS_ROWS), data, &target));
  return target;
}

// Rows that do not add up to 1, with a 0 here and there: the gradient holds for any weights.
static heed_tensor *weight_target(heed_context *ctx) {
  float t[LOSS_ROWS * LOSS_CLASSES];
  for (uint64_t i = 0; i < LOSS_ROWS * LOSS_CLASSES; ++i) t[i] = i % 5 == 0 ? 0 : (float)heed_random_uniform(32, 0, i);
  heed_tensor *target = NULL;
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 2, DIMS(LOSS_ROWS, LOSS_CLASSES), t, &target));
  return target;
}

static void cross_entropy_has_its_gradient_in_every_form(void **state) {
  static const struct {
    const char *name;
    heed_dtype target;
    heed_cross_entropy_options options;
  } forms[] = {
      {"cross_entropy, I64, mean", HEED_I64, {.reduction = HEED_REDUCTION_MEAN}},
      {"cross_entropy, I32, sum", HEED_I32, {.reduction = HEED_REDUCTION_SUM}},
      {"cross_entropy, U8, none", HEED_U8, {.reduction = HEED_REDUCTION_NONE}},
      {"cross_entropy, ignore_index, mean", HEED_I64, {.has_ignore_index = true, .ignore_index = 2}},
      {"cross_entropy, ignore_index, none",
       HEED_I32,
       {.reduction = HEED_REDUCTION_NONE, .has_ignore_index = true, .ignore_index = 2, .label_smoothing = 0.3}},
      {"cross_entropy, smoothing", HEED_I64, {.label_smoothing = 0.2}},
      {"cross_entropy, weights", HEED_F32, {.reduction = HEED_REDUCTION_MEAN}},
      {"cross_entropy, weights, smoothing, none", HEED_F32, {.reduction = HEED_REDUCTION_NONE, .label_smoothing = 0.2}},
      {"cross_entropy, from_probs, mean", HEED_F32, {.from_probs = true}},
      {"cross_entropy, from_probs, none", HEED_F32, {.from_probs = true, .reduction = HEED_REDUCTION_NONE}},
  };
  for (size_t i = 0; i < sizeof forms / sizeof *forms; ++i) {
    struct gradient_case c;
    struct loss_function f = {.options = forms[i].options};
    f.target = forms[i].target == HEED_F32 ? weight_target(*state) : index_target(*state, forms[i].target);
    gradient_begin(&c, forms[i].name, *state, 30);
    const bool from_probs = f.options.from_probs;
    gradient_add(&c, "input", 2, DIMS(LOSS_ROWS, LOSS_CLASSES), from_probs ? 0.5 : -2, from_probs ? 1 : 2);
    gradient_set_out(&c, 1, DIMS(f.options.reduction == HEED_REDUCTION_NONE ? LOSS_ROWS : 1));
    c.forward = loss_forward;
    c.backward = loss_backward;
    c.function = &f;
    gradient_check(&c);
    gradient_end(&c);
    heed_tensor_destroy(f.target);
  }
}

// ---------------------------------------------------------------- linear

static heed_status linear_forward(struct gradient_case *c) {
  return heed_linear_fwd(value_of(c, 0), value_of(c, 1), c->count > 2 ? value_of(c, 2) : NULL, c->out);
}
static heed_status linear_backward(struct gradient_case *c) {
  return heed_linear_bwd(value_of(c, 0), value_of(c, 1), c->dout, grad_of(c, 0), grad_of(c, 1),
                         c->count > 2 ? grad_of(c, 2) : NULL, false);
}

static void linear_has_its_gradients_with_and_without_bias(void **state) {
  for (int bias = 0; bias < 2; ++bias) {
    struct gradient_case c;
    gradient_begin(&c, "linear", *state, 40);
    gradient_add(&c, "x", 3, DIMS(2, 9, 23), -1, 1);
    gradient_add(&c, "weight", 2, DIMS(19, 23), -1, 1);
    if (bias) gradient_add(&c, "bias", 1, DIMS(19), -1, 1);
    gradient_set_out(&c, 3, DIMS(2, 9, 19));
    c.forward = linear_forward;
    c.backward = linear_backward;
    gradient_check(&c);
    gradient_end(&c);
  }
}

// ---------------------------------------------------------------- attention

enum mask_kind { MASK_NONE, MASK_BOOL, MASK_FLOAT, MASK_FLOAT_BLOCKED };

struct attention_shape {
  const char *name;
  int64_t b, hq, hkv, lq, lk, d, dv, past;
  heed_attention_options options;
  enum mask_kind mask;
  int mask_rank;
  int64_t mask_dims[4];
  bool kv_lengths;
};

struct attention_function {
  heed_attention_options options;
  heed_attention_inputs inputs;
  heed_tensor *lse, *bool_mask, *kv_lengths;
};

static heed_status attention_forward(struct gradient_case *c) {
  const struct attention_function *f = c->function;
  return heed_attention_fwd(&f->inputs, &f->options, c->out, f->lse, NULL);
}
static heed_status attention_backward(struct gradient_case *c) {
  const struct attention_function *f = c->function;
  const heed_attention_grads grads = {.dq = gradient_of(c, "q"),
                                      .dk = gradient_of(c, "k"),
                                      .dv = gradient_of(c, "v"),
                                      .dpast_k = gradient_of(c, "past_k"),
                                      .dpast_v = gradient_of(c, "past_v"),
                                      .dmask = gradient_of(c, "mask")};
  return heed_attention_bwd(&f->inputs, &f->options, c->out, f->lse, c->dout, &grads);
}

static int64_t elements(int rank, const int64_t *dims) {
  int64_t count = 1;
  for (int i = 0; i < rank; ++i) count *= dims[i];
  return count;
}

// A third of the keys is forbidden, and in every fifth row all of them.
static bool is_blocked(int64_t index, int64_t columns) {
  return index / columns % 5 == 3 || heed_random_below(51, 0, (uint64_t)index, 3) == 0;
}

static void add_mask(struct gradient_case *c, struct attention_function *f, const struct attention_shape *s) {
  const int64_t count = elements(s->mask_rank, s->mask_dims), columns = s->mask_dims[s->mask_rank - 1];
  if (s->mask == MASK_BOOL) {
    uint8_t *allowed = malloc((size_t)count);
    assert_non_null(allowed);
    for (int64_t i = 0; i < count; ++i) allowed[i] = !is_blocked(i, columns);
    ASSERT_OK(heed_tensor_create_from(c->ctx, HEED_BOOL, s->mask_rank, s->mask_dims, allowed, &f->bool_mask));
    f->inputs.mask = f->bool_mask;
    free(allowed);
    return;
  }
  heed_tensor *mask = gradient_add(c, "mask", s->mask_rank, s->mask_dims, -1, 1);
  f->inputs.mask = mask;
  if (s->mask == MASK_FLOAT) return;
  float *values = malloc((size_t)count * sizeof *values);
  assert_non_null(values);
  ASSERT_OK(heed_tensor_download_f32(mask, values, count));
  for (int64_t i = 0; i < count; ++i)
    if (is_blocked(i, columns)) values[i] = -INFINITY;
  ASSERT_OK(heed_tensor_upload_f32(mask, values, count));
  free(values);
}

static void check_attention(heed_context *ctx, const struct attention_shape *s, uint64_t seed) {
  struct gradient_case c;
  struct attention_function f = {.options = s->options};
  gradient_begin(&c, s->name, ctx, seed);
  const int64_t fresh = s->lk - s->past;
  f.inputs.q = gradient_add(&c, "q", 4, DIMS(s->b, s->hq, s->lq, s->d), -2, 2);
  f.inputs.k = gradient_add(&c, "k", 4, DIMS(s->b, s->hkv, fresh, s->d), -2, 2);
  f.inputs.v = gradient_add(&c, "v", 4, DIMS(s->b, s->hkv, fresh, s->dv), -2, 2);
  if (s->past) {
    f.inputs.past_k = gradient_add(&c, "past_k", 4, DIMS(s->b, s->hkv, s->past, s->d), -2, 2);
    f.inputs.past_v = gradient_add(&c, "past_v", 4, DIMS(s->b, s->hkv, s->past, s->dv), -2, 2);
  }
  if (s->mask != MASK_NONE) add_mask(&c, &f, s);
  if (s->kv_lengths) {
    const int64_t lengths[] = {s->lk - 4, 3};
    assert_true(s->b <= 2);
    ASSERT_OK(heed_tensor_create_from(ctx, HEED_I64, 1, &s->b, lengths, &f.kv_lengths));
    f.inputs.kv_lengths = f.kv_lengths;
  }
  gradient_set_out(&c, 4, DIMS(s->b, s->hq, s->lq, s->dv));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 3, DIMS(s->b, s->hq, s->lq), &f.lse));
  c.forward = attention_forward;
  c.backward = attention_backward;
  c.function = &f;
  gradient_check(&c);
  gradient_end(&c);
  heed_tensor_destroy(f.lse);
  heed_tensor_destroy(f.bool_mask);
  heed_tensor_destroy(f.kv_lengths);
}

#define SIZES(B, HQ, HKV, LQ, LK, D, DV) .b = B, .hq = HQ, .hkv = HKV, .lq = LQ, .lk = LK, .d = D, .dv = DV
#define MASK(KIND, RANK, ...) .mask = MASK_##KIND, .mask_rank = RANK, .mask_dims = {__VA_ARGS__}
#define WINDOW(LEFT, RIGHT) .has_window = true, .window_left = LEFT, .window_right = RIGHT
#define TOP_LEFT .causal = HEED_CAUSAL_TOP_LEFT
#define BOTTOM_RIGHT .causal = HEED_CAUSAL_BOTTOM_RIGHT

// clang-format off
static const struct attention_shape attention_shapes[] = {
    {.name = "attention", SIZES(2, 2, 2, 7, 11, 5, 5)},
    {.name = "attention, width 1", SIZES(1, 1, 1, 3, 2, 1, 1)},
    {.name = "attention, many rows", SIZES(1, 1, 1, 70, 67, 4, 4), .options = {TOP_LEFT}},
    {.name = "attention, scale", SIZES(1, 2, 2, 7, 11, 5, 5), .options = {.has_scale = true, .scale = 0.3}},
    {.name = "attention, wide values", SIZES(1, 2, 2, 7, 11, 3, 9)},
    {.name = "attention, narrow values, grouped heads", SIZES(2, 6, 2, 7, 11, 6, 3)},
    {.name = "attention, causal top-left", SIZES(2, 2, 1, 9, 7, 5, 5), .options = {TOP_LEFT}},
    {.name = "attention, causal bottom-right", SIZES(1, 2, 2, 5, 9, 5, 5), .options = {BOTTOM_RIGHT}},
    {.name = "attention, dead rows", SIZES(1, 2, 2, 9, 5, 5, 5), .options = {BOTTOM_RIGHT}},
    {.name = "attention, window", SIZES(1, 2, 2, 12, 12, 5, 5), .options = {WINDOW(3, 2)}},
    {.name = "attention, causal window", SIZES(1, 2, 2, 12, 12, 5, 5), .options = {TOP_LEFT, WINDOW(4, -1)}},
    {.name = "attention, softcap", SIZES(1, 2, 2, 7, 11, 5, 5), .options = {.softcap = 1.5}},
    {.name = "attention, softcap, blocked float mask", SIZES(1, 2, 1, 7, 11, 5, 5), .options = {.softcap = 1.5},
     MASK(FLOAT_BLOCKED, 2, 7, 11)},
    {.name = "attention, dropout", SIZES(2, 2, 1, 7, 13, 5, 5), .options = {.dropout = 0.3, .seed = 77}},
    {.name = "attention, dropout, softcap, float mask", SIZES(1, 2, 1, 7, 13, 5, 5),
     .options = {.dropout = 0.3, .seed = 78, .softcap = 2}, MASK(FLOAT, 4, 1, 2, 7, 13)},
    {.name = "attention, bool mask", SIZES(2, 2, 2, 7, 11, 5, 5), MASK(BOOL, 2, 7, 11)},
    {.name = "attention, bool mask by batch", SIZES(2, 2, 2, 7, 11, 5, 5), MASK(BOOL, 4, 2, 1, 1, 11)},
    {.name = "attention, short bool mask", SIZES(1, 2, 2, 7, 11, 5, 5), MASK(BOOL, 2, 7, 8)},
    {.name = "attention, float mask by key", SIZES(2, 2, 2, 7, 11, 5, 5), MASK(FLOAT, 1, 11)},
    {.name = "attention, float mask, window", SIZES(1, 2, 2, 7, 11, 5, 5), .options = {WINDOW(2, 2)},
     MASK(FLOAT, 3, 2, 7, 11)},
    {.name = "attention, short float mask by head", SIZES(2, 2, 1, 7, 11, 5, 5), MASK(FLOAT, 4, 1, 2, 1, 9)},
    {.name = "attention, blocked float mask, causal", SIZES(2, 2, 2, 9, 9, 5, 5), .options = {TOP_LEFT},
     MASK(FLOAT_BLOCKED, 4, 2, 2, 9, 9)},
    {.name = "attention, kv_lengths", SIZES(2, 2, 1, 7, 11, 5, 5), .kv_lengths = true},
    {.name = "attention, kv_lengths, causal", SIZES(2, 2, 1, 5, 11, 5, 5), .options = {TOP_LEFT}, .kv_lengths = true},
    {.name = "attention, past", SIZES(2, 4, 2, 6, 15, 5, 3), .past = 9},
    {.name = "attention, past, causal window", SIZES(1, 2, 2, 6, 15, 5, 5), .past = 9,
     .options = {TOP_LEFT, WINDOW(5, -1)}},
};
// clang-format on

static void attention_has_its_gradients_with_every_option(void **state) {
  for (size_t i = 0; i < sizeof attention_shapes / sizeof *attention_shapes; ++i)
    check_attention(*state, &attention_shapes[i], 500 + i);
}

// ---------------------------------------------------------------- modules

static heed_status mha_forward(struct gradient_case *c) {
  const bool self = gradient_of(c, "key") == NULL;
  const heed_attention_options options = {.causal = self ? HEED_CAUSAL_TOP_LEFT : HEED_CAUSAL_NONE};
  const heed_mha_inputs inputs = {
      .query = value_of(c, 0), .key = self ? NULL : value_of(c, 1), .value = self ? NULL : value_of(c, 2)};
  return heed_mha_fwd(c->function, &inputs, &options, true, c->out, NULL);
}
static heed_status mha_backward(struct gradient_case *c) {
  return heed_mha_bwd(c->function, c->dout, grad_of(c, 0), gradient_of(c, "key"), gradient_of(c, "value"), NULL, false);
}

// The bias of the keys adds the same to every score of a row, which softmax does not see: its gradient is 0. It is the sum of
// at most 18 rows of dk, each rounded by 2^-24, and the weight's gradient is the same sum times inputs below 1.
static void assert_no_key_bias_gradient(const heed_parameter *parameters, size_t count) {
  double weight = 0, bias = 0;
  float values[256];
  for (size_t i = 0; i < count; ++i) {
    double *largest = strcmp(parameters[i].name, "k_proj.weight") == 0 ? &weight
                      : strcmp(parameters[i].name, "k_proj.bias") == 0 ? &bias
                                                                       : NULL;
    if (!largest) continue;
    const int64_t size = heed_tensor_count(parameters[i].grad);
    assert_true(size <= 256);
    ASSERT_OK(heed_tensor_download_f32(parameters[i].grad, values, size));
    for (int64_t j = 0; j < size; ++j) *largest = fmax(*largest, fabs((double)values[j]));
  }
  assert_true(weight > 0);
  assert_true(bias <= 1e-5 * weight);
}

// Three operators stand between an input and out: a projection, attention, the output projection.
static void check_mha(heed_context *ctx, const char *name, const heed_mha_config *config, bool self) {
  struct gradient_case c;
  heed_mha *mha = NULL;
  const heed_parameter *parameters;
  ASSERT_OK(heed_mha_create(ctx, config, 1, &mha));
  gradient_begin(&c, name, ctx, 60);
  gradient_add(&c, "query", 3, DIMS(2, 6, config->embed_dim), -1, 1);
  if (!self) gradient_add(&c, "key", 3, DIMS(2, 9, config->key_dim), -1, 1);
  if (!self) gradient_add(&c, "value", 3, DIMS(2, 9, config->value_dim), -1, 1);
  const size_t count = heed_mha_parameters(mha, &parameters);
  for (size_t i = 0; i < count; ++i)
    if (strcmp(parameters[i].name, "k_proj.bias") != 0)
      gradient_add_borrowed(&c, parameters[i].name, parameters[i].value, parameters[i].grad, -1, 1);
  gradient_set_out(&c, 3, DIMS(2, 6, config->out_dim));
  c.roundings = 3;
  c.forward = mha_forward;
  c.backward = mha_backward;
  c.function = mha;
  gradient_check(&c);
  assert_no_key_bias_gradient(parameters, count);
  gradient_end(&c);
  heed_mha_destroy(mha);
}

static void mha_has_its_gradients_for_self_attention(void **state) {
  check_mha(*state, "mha, self", &(heed_mha_config){.embed_dim = 8, .heads = 2, .out_dim = 8}, true);
}

static void mha_has_its_gradients_for_cross_attention_of_other_widths(void **state) {
  check_mha(*state, "mha, cross",
            &(heed_mha_config){.embed_dim = 8,
                               .key_dim = 6,
                               .value_dim = 5,
                               .heads = 4,
                               .kv_heads = 2,
                               .head_dim = 3,
                               .value_head_dim = 4,
                               .out_dim = 7,
                               .no_bias_v = true},
            false);
}

static heed_status mlp_forward(struct gradient_case *c) {
  return heed_mlp_fwd(c->function, value_of(c, 0), true, c->out);
}
static heed_status mlp_backward(struct gradient_case *c) {
  return heed_mlp_bwd(c->function, c->dout, grad_of(c, 0), false);
}

// Biases of ±3 keep every hidden unit clearly on or clearly off, away from relu's kink, however the inputs move.
static void set_hidden_bias(const heed_parameter *bias) {
  const int64_t count = heed_tensor_count(bias->value);
  float values[64];
  assert_true(count <= 64);
  for (int64_t i = 0; i < count; ++i) values[i] = i % 2 ? 3.0f : -3.0f;
  ASSERT_OK(heed_tensor_upload_f32(bias->value, values, count));
}

static void mlp_has_its_gradients(void **state) {
  static const int64_t sizes[] = {6, 10, 4};
  struct gradient_case c;
  heed_mlp *mlp = NULL;
  const heed_parameter *parameters;
  ASSERT_OK(heed_mlp_create(*state, &(heed_mlp_config){.sizes = sizes, .count = 3}, 1, &mlp));
  const size_t count = heed_mlp_parameters(mlp, &parameters);
  gradient_begin(&c, "mlp", *state, 70);
  gradient_add(&c, "x", 2, DIMS(7, 6), -0.5, 0.5);
  for (size_t i = 0; i < count; ++i)
    gradient_add_borrowed(&c, parameters[i].name, parameters[i].value, parameters[i].grad, -0.5, 0.5);
  for (size_t i = 0; i < count; ++i)
    if (strcmp(parameters[i].name, "l1.bias") == 0) set_hidden_bias(&parameters[i]);
  gradient_set_out(&c, 2, DIMS(7, 4));
  c.roundings = 2;
  c.forward = mlp_forward;
  c.backward = mlp_backward;
  c.function = mlp;
  gradient_check(&c);
  gradient_end(&c);
  heed_mlp_destroy(mlp);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(relu_has_its_gradient_on_either_side_of_0),
      cmocka_unit_test(gelu_has_its_gradient_in_both_forms),
      cmocka_unit_test(softmax_has_its_gradient_along_every_axis),
      cmocka_unit_test(cross_entropy_has_its_gradient_in_every_form),
      cmocka_unit_test(linear_has_its_gradients_with_and_without_bias),
      cmocka_unit_test(attention_has_its_gradients_with_every_option),
      cmocka_unit_test(mha_has_its_gradients_for_self_attention),
      cmocka_unit_test(mha_has_its_gradients_for_cross_attention_of_other_widths),
      cmocka_unit_test(mlp_has_its_gradients),
  };
  return cmocka_run_group_tests(tests, open_host, close_host);
}
