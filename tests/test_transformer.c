// The transformer: recomputing, chunking and accumulating change nothing, decoding gives what a forward gives, memory is kept from step to
// step, and a model's gradients are the slopes of its loss.
#include <heed/nn.h>
#include <stdlib.h>

#include "support_values.h"

enum { B = 2, L = 11, VOCAB = 37, ROWS = B * L };

static heed_transformer_config small(heed_architecture architecture) {
  heed_transformer_config config = {
      .architecture = architecture, .layers = 2, .width = 24, .heads = 4, .vocab = VOCAB, .context = 16, .ffn = 40};
  if (architecture != HEED_ARCHITECTURE_GPT2) {
    config.kv_heads = 2;
    config.head_dim = 8;
  }
  if (architecture == HEED_ARCHITECTURE_MISTRAL) config.window = 5;
  if (architecture == HEED_ARCHITECTURE_QWEN2) config.tied = 1;
  return config;
}

static heed_transformer *make(heed_context *ctx, const heed_transformer_config *config) {
  heed_transformer *transformer = NULL;
  ASSERT_OK(heed_transformer_create(ctx, config, 3, &transformer));
  return transformer;
}

static heed_tensor *some_tokens(heed_context *ctx, int64_t batch, int64_t length, uint64_t seed) {
  int32_t *ids = support_memory((size_t)(batch * length) * sizeof *ids);
  for (int64_t i = 0; i < batch * length; ++i) ids[i] = (int32_t)heed_random_below(seed, 7, (uint64_t)i, VOCAB);
  return support_put(ctx, HEED_I32, SHAPE(batch, length), ids);
}

static void assert_same_gradients(const heed_transformer *a, const heed_transformer *b) {
  const heed_parameter *of_a, *of_b;
  const size_t count = heed_transformer_parameters(a, &of_a);
  assert_int_equal(heed_transformer_parameters(b, &of_b), count);
  for (size_t i = 0; i < count; ++i) {
    assert_string_equal(of_a[i].name, of_b[i].name);
    support_assert_same_bits(of_a[i].grad, of_b[i].grad, of_a[i].name, __FILE__, __LINE__);
  }
}

static float value_of(const heed_tensor *scalar) { return support_get(scalar)[0]; }

// ---------------------------------------------------------------- what must not change the bits

static void recomputing_gives_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  for (int a = 0; a < 4; ++a) {
    heed_transformer_config config = small((heed_architecture)a);
    config.dropout = a % 2 ? 0.1 : 0;
    heed_transformer *keeps = make(ctx, &config);
    config.recompute = true;
    heed_transformer *recomputes = make(ctx, &config);
    heed_tensor *tokens = some_tokens(ctx, B, L, 1), *targets = some_tokens(ctx, B, L, 2);
    heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1)), *again = support_like(loss);
    const heed_transformer_loss_options options = {.seed = 5};
    ASSERT_OK(heed_transformer_loss(keeps, tokens, targets, &options, NULL, loss));
    ASSERT_OK(heed_transformer_loss(recomputes, tokens, targets, &options, NULL, again));
    ASSERT_SAME_BITS(again, loss);
    assert_same_gradients(recomputes, keeps);
    heed_transformer_destroy(keeps);
    heed_transformer_destroy(recomputes);
  }
}

static void keeping_the_logits_gives_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_GPT2);
  heed_transformer *one = make(ctx, &config), *other = make(ctx, &config);
  heed_tensor *tokens = some_tokens(ctx, B, L, 1), *targets = some_tokens(ctx, B, L, 2);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1)), *again = support_like(loss);
  heed_tensor *logits = support_new(ctx, HEED_F32, SHAPE(B, L, VOCAB)), *forward = support_like(logits);
  ASSERT_OK(heed_transformer_loss(one, tokens, targets, NULL, logits, loss));
  ASSERT_OK(heed_transformer_loss(other, tokens, targets, NULL, NULL, again));
  ASSERT_OK(heed_transformer_fwd(other, tokens, forward));
  ASSERT_SAME_BITS(again, loss);
  ASSERT_SAME_BITS(logits, forward);
  assert_same_gradients(one, other);
  heed_transformer_destroy(one);
  heed_transformer_destroy(other);
}

// Two micro-batches of weight 1/2 give the gradient of the mean of their losses, and that of one batch of both.
static void micro_batches_add_up(void **state) {
  heed_context *ctx = support_context(state);
  for (int a = 0; a < 4; ++a) {
    const heed_transformer_config config = small((heed_architecture)a);
    heed_transformer *parts = make(ctx, &config), *whole = make(ctx, &config);
    heed_tensor *tokens = some_tokens(ctx, B, L, 1), *targets = some_tokens(ctx, B, L, 2);
    heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1));
    ASSERT_OK(heed_transformer_loss(whole, tokens, targets, NULL, NULL, loss));
    double mean = 0;
    for (int part = 0; part < 2; ++part) {
      heed_tensor *x = NULL, *y = NULL, *part_loss = support_like(loss);
      ASSERT_OK(heed_tensor_slice(tokens, 0, part, 1, &x));
      ASSERT_OK(heed_tensor_slice(targets, 0, part, 1, &y));
      const heed_transformer_loss_options options = {.accumulate = part > 0, .weight = 0.5};
      ASSERT_OK(heed_transformer_loss(parts, support_keep(x), support_keep(y), &options, NULL, part_loss));
      mean += 0.5 * (double)value_of(part_loss);
    }
    ASSERT_CLOSE(mean, value_of(loss), 1e-6);
    const heed_parameter *of_parts, *of_whole;
    const size_t count = heed_transformer_parameters(parts, &of_parts);
    heed_transformer_parameters(whole, &of_whole);
    for (size_t i = 0; i < count; ++i) {
      if (strstr(of_parts[i].name, "k_proj.bias")) continue;  // zero but for rounding: softmax does not feel it
      support_assert_agree(of_parts[i].grad, of_whole[i].grad, 2e-5, of_parts[i].name, __FILE__, __LINE__);
    }
    heed_transformer_destroy(parts);
    heed_transformer_destroy(whole);
  }
}

// ---------------------------------------------------------------- loss

static void targets_of_minus_100_do_not_count(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_LLAMA);
  heed_transformer *transformer = make(ctx, &config), *shorter = make(ctx, &config);
  heed_tensor *tokens = some_tokens(ctx, 1, L, 1), *loss = support_new(ctx, HEED_F32, SHAPE(1)),
              *expected = support_like(loss);
  int32_t ids[L];
  for (int i = 0; i < L; ++i) ids[i] = i < 6 ? i : -100;
  heed_tensor *targets = support_put(ctx, HEED_I32, SHAPE(1, L), ids), *first = NULL, *first_targets = NULL;
  ASSERT_OK(heed_tensor_slice(tokens, 1, 0, 6, &first));
  ASSERT_OK(heed_tensor_slice(targets, 1, 0, 6, &first_targets));
  ASSERT_OK(heed_transformer_loss(transformer, tokens, targets, NULL, NULL, loss));
  ASSERT_OK(heed_transformer_loss(shorter, support_keep(first), support_keep(first_targets), NULL, NULL, expected));
  ASSERT_CLOSE(value_of(loss), value_of(expected), 1e-6);
  const heed_parameter *of_one, *of_other;
  const size_t count = heed_transformer_parameters(transformer, &of_one);
  heed_transformer_parameters(shorter, &of_other);
  for (size_t i = 0; i < count; ++i)
    support_assert_agree(of_one[i].grad, of_other[i].grad, 2e-5, of_one[i].name, __FILE__, __LINE__);
  heed_transformer_destroy(transformer);
  heed_transformer_destroy(shorter);
}

// Powers of two, so that nothing is rounded.
static void weight_and_scale_multiply_the_gradients(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_GPT2);
  heed_transformer *plain = make(ctx, &config), *scaled = make(ctx, &config);
  heed_tensor *tokens = some_tokens(ctx, B, L, 1), *targets = some_tokens(ctx, B, L, 2);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1)), *same = support_like(loss);
  const heed_transformer_loss_options options = {.weight = 0.5,
                                                 .scale = support_put_f32(ctx, HEED_F32, SHAPE(1), (float[]){16})};
  ASSERT_OK(heed_transformer_loss(plain, tokens, targets, NULL, NULL, loss));
  ASSERT_OK(heed_transformer_loss(scaled, tokens, targets, &options, NULL, same));
  ASSERT_SAME_BITS(same, loss);
  const heed_parameter *of_plain, *of_scaled;
  const size_t count = heed_transformer_parameters(plain, &of_plain);
  heed_transformer_parameters(scaled, &of_scaled);
  for (size_t i = 0; i < count; ++i) {
    ASSERT_OK(heed_add(8, of_plain[i].grad, 0, of_plain[i].grad, of_plain[i].grad));
    support_assert_agree(of_scaled[i].grad, of_plain[i].grad, 1e-6, of_plain[i].name, __FILE__, __LINE__);
  }
  heed_transformer_destroy(plain);
  heed_transformer_destroy(scaled);
}

// So large a vocabulary that its logits come in two parts of the rows.
static void parts_of_the_logits_give_the_loss_of_all(void **state) {
  enum { LONG = 140, LARGE = 200000 };
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = {.layers = 1, .width = 4, .heads = 1, .vocab = LARGE, .context = LONG};
  heed_transformer *transformer = make(ctx, &config);
  heed_tensor *tokens = some_tokens(ctx, 1, LONG, 1), *targets = some_tokens(ctx, 1, LONG, 2);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1)), *expected = support_like(loss);
  heed_tensor *logits = support_new(ctx, HEED_F32, SHAPE(1, LONG, LARGE));
  const heed_cross_entropy_options options = {.class_axis = HEED_CLASS_AXIS_LAST};
  ASSERT_OK(heed_transformer_loss(transformer, tokens, targets, NULL, NULL, loss));
  ASSERT_OK(heed_transformer_fwd(transformer, tokens, logits));
  ASSERT_OK(heed_cross_entropy_fwd(logits, targets, &options, expected));
  ASSERT_CLOSE(value_of(loss), value_of(expected), 1e-5);
  heed_transformer_destroy(transformer);
}

// d loss/d value of a few values by central differences of the loss itself, in F32: a coarse test of the whole chain.
static void gradients_are_slopes(void **state) {
  heed_context *ctx = support_context(state);
  for (int a = 0; a < 4; ++a) {
    const heed_transformer_config config = small((heed_architecture)a);
    heed_transformer *transformer = make(ctx, &config);
    heed_tensor *tokens = some_tokens(ctx, B, L, 1), *targets = some_tokens(ctx, B, L, 2);
    heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1));
    ASSERT_OK(heed_transformer_loss(transformer, tokens, targets, NULL, NULL, loss));
    const heed_parameter *parameters;
    const size_t count = heed_transformer_parameters(transformer, &parameters);
    for (size_t p = 0; p < count; ++p) {
      const int64_t size = heed_tensor_count(parameters[p].value);
      float *gradient = support_get(parameters[p].grad), *values = support_get(parameters[p].value);
      // Along the gradient itself, so that the slope is its norm and not lost in rounding.
      double norm = 0;
      for (int64_t i = 0; i < size; ++i) norm += (double)gradient[i] * (double)gradient[i];
      norm = sqrt(norm);
      if (norm < 1e-3) continue;
      const double step = 4e-3;
      float *moved = support_memory((size_t)size * sizeof *moved);
      double side[2];
      for (int s = 0; s < 2; ++s) {
        for (int64_t i = 0; i < size; ++i)
          moved[i] = (float)((double)values[i] + (s ? -step : step) * (double)gradient[i] / norm);
        ASSERT_OK(heed_tensor_upload_f32(parameters[p].value, moved, size));
        ASSERT_OK(heed_transformer_loss(transformer, tokens, targets, NULL, NULL, loss));
        side[s] = (double)value_of(loss);
      }
      ASSERT_OK(heed_tensor_upload_f32(parameters[p].value, values, size));
      const double slope = (side[0] - side[1]) / (2 * step);
      if (!(fabs(slope - norm) <= 0.01 * norm + 2e-4))
        fail_msg("%s: slope %g, gradient %g", parameters[p].name, slope, norm);
    }
    heed_transformer_destroy(transformer);
  }
}

// ---------------------------------------------------------------- decoding

static void decoding_gives_the_logits_of_a_forward(void **state) {
  heed_context *ctx = support_context(state);
  for (int a = 0; a < 4; ++a) {
    const heed_transformer_config config = small((heed_architecture)a);
    heed_transformer *transformer = make(ctx, &config);
    heed_tensor *tokens = some_tokens(ctx, B, L, 1), *logits = support_new(ctx, HEED_F32, SHAPE(B, L, VOCAB));
    heed_tensor *last = support_new(ctx, HEED_F32, SHAPE(B, VOCAB));
    ASSERT_OK(heed_transformer_fwd(transformer, tokens, logits));
    heed_kv_cache *cache = NULL;
    ASSERT_OK(heed_kv_cache_create(transformer, B, 16, &cache));
    const int64_t pieces[] = {4, 1, 1, 3, 1, 1};
    int64_t at = 0;
    for (size_t piece = 0; piece < sizeof pieces / sizeof *pieces; ++piece) {
      heed_tensor *view = NULL, *row = NULL, *expected = support_like(last);
      heed_tensor *part = support_new(ctx, HEED_I32, SHAPE(B, pieces[piece]));
      ASSERT_OK(heed_tensor_slice(tokens, 1, at, pieces[piece], &view));
      ASSERT_OK(heed_copy(support_keep(view), part));
      ASSERT_OK(heed_transformer_decode(transformer, cache, part, last));
      at += pieces[piece];
      assert_int_equal(heed_kv_cache_length(cache), at);
      ASSERT_OK(heed_tensor_view(logits, 2, (int64_t[]){B, VOCAB}, (int64_t[]){L * VOCAB, 1}, (at - 1) * VOCAB, &row));
      ASSERT_OK(heed_copy(support_keep(row), expected));
      ASSERT_AGREE(last, expected, 5e-6);
    }
    ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "capacity",
                 heed_transformer_decode(transformer, cache, some_tokens(ctx, B, 6, 1), last));
    ASSERT_OK(heed_kv_cache_truncate(cache, 4));
    ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "cut", heed_kv_cache_truncate(cache, 5));
    if (a % 2) heed_kv_cache_destroy(cache);  // in either order
    heed_transformer_destroy(transformer);
    if (a % 2 == 0) heed_kv_cache_destroy(cache);
  }
}

// ---------------------------------------------------------------- refusals

// ---------------------------------------------------------------- without gradients

// The same sums in the same order, whether or not a backward follows, with and without gradients, and without dropout.
static void evaluating_gives_the_loss_of_training(void **state) {
  heed_context *ctx = support_context(state);
  for (int a = 0; a < 4; ++a) {
    heed_transformer_config config = small((heed_architecture)a);
    heed_transformer *trains = make(ctx, &config);
    config.dropout = 0.3;
    heed_transformer *drops = make(ctx, &config);
    config.frozen = true;
    heed_transformer *runs = make(ctx, &config);
    heed_tensor *tokens = some_tokens(ctx, B, L, 1), *targets = some_tokens(ctx, B, L, 2);
    heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1)), *evaluated = support_like(loss);
    ASSERT_OK(heed_transformer_loss(trains, tokens, targets, NULL, NULL, loss));
    ASSERT_OK(heed_transformer_evaluate(drops, tokens, targets, evaluated));
    ASSERT_SAME_BITS(evaluated, loss);
    ASSERT_OK(heed_transformer_evaluate(runs, tokens, targets, evaluated));
    ASSERT_SAME_BITS(evaluated, loss);
    const heed_parameter *parameters;
    const size_t count = heed_transformer_parameters(drops, &parameters);
    for (size_t i = 0; i < count; ++i) {
      const float *grad = support_get(parameters[i].grad);
      for (int64_t j = 0; j < heed_tensor_count(parameters[i].grad); ++j) assert_true(grad[j] == 0);
    }
    heed_transformer_destroy(trains);
    heed_transformer_destroy(drops);
    heed_transformer_destroy(runs);
  }
}

static void a_frozen_model_has_no_gradients_and_decodes(void **state) {
  heed_context *ctx = support_context(state);
  heed_transformer_config config = small(HEED_ARCHITECTURE_LLAMA);
  heed_transformer *trains = make(ctx, &config);
  config.frozen = true;
  const uint64_t before = heed_context_bytes(ctx);
  heed_transformer *runs = make(ctx, &config);
  heed_transformer_memory memory;
  ASSERT_OK(heed_transformer_reckon(&config, 0, 1, 0, &memory));
  assert_int_equal(memory.gradients, 0);
  assert_int_equal(heed_context_bytes(ctx) - before, memory.parameters);
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(runs, &parameters);
  for (size_t i = 0; i < count; ++i) assert_null(parameters[i].grad);
  heed_tensor *tokens = some_tokens(ctx, B, L, 1);
  heed_tensor *a = support_new(ctx, HEED_F32, SHAPE(B, VOCAB)), *b = support_like(a);
  heed_kv_cache *of_trains = NULL, *of_runs = NULL;
  ASSERT_OK(heed_kv_cache_create(trains, B, L, &of_trains));
  ASSERT_OK(heed_kv_cache_create(runs, B, L, &of_runs));
  ASSERT_OK(heed_transformer_decode(trains, of_trains, tokens, a));
  ASSERT_OK(heed_transformer_decode(runs, of_runs, tokens, b));
  ASSERT_SAME_BITS(a, b);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "frozen", heed_transformer_loss(runs, tokens, tokens, NULL, NULL, loss));
  heed_kv_cache_destroy(of_trains);
  heed_kv_cache_destroy(of_runs);
  heed_transformer_destroy(trains);
  heed_transformer_destroy(runs);
}

// ---------------------------------------------------------------- refusals

static void wrong_configurations_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  const struct {
    heed_transformer_config config;
    const char *part;
  } wrong[] = {
      {{.layers = 1, .width = 10, .heads = 4, .vocab = 5, .context = 4}, "multiple of 4 heads"},
      {{.layers = 0, .width = 8, .heads = 4, .vocab = 5, .context = 4}, "layers is 0"},
      {{.layers = 1, .width = 8, .heads = 4, .vocab = -5, .context = 4}, "vocab is -5"},
      {{.layers = INT64_MAX, .width = 8, .heads = 4, .vocab = 5, .context = 4}, "layers"},
      {{.layers = 1, .width = 8, .heads = 4, .vocab = 5, .context = 4, .kv_heads = 2}, "gpt2 has no kv_heads"},
      {{.layers = 1, .width = 8, .heads = 4, .vocab = 5, .context = 4, .dropout = 1}, "dropout"},
      {{.layers = 1, .width = 8, .heads = 4, .vocab = 5, .context = 4, .window = 3}, "window"},
      {{.layers = 1, .width = 8, .heads = 4, .vocab = 5, .context = 4, .dtype = HEED_I32}, "dtype I32"},
      {{.architecture = HEED_ARCHITECTURE_LLAMA, .layers = 1, .width = 12, .heads = 4, .vocab = 5, .context = 4},
       "even"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i) {
    heed_transformer *transformer = NULL;
    heed_status status = heed_transformer_create(ctx, &wrong[i].config, 0, &transformer);
    assert_int_not_equal(status, HEED_OK);
    assert_null(transformer);
    if (!strstr(heed_last_error(), wrong[i].part)) fail_msg("\"%s\" has no \"%s\"", heed_last_error(), wrong[i].part);
  }
}

static void wrong_shapes_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_GPT2);
  heed_transformer *transformer = make(ctx, &config);
  heed_tensor *tokens = some_tokens(ctx, B, L, 1), *loss = support_new(ctx, HEED_F32, SHAPE(1));
  ASSERT_FAILS(
      HEED_ERROR_SHAPE, "context",
      heed_transformer_loss(transformer, some_tokens(ctx, 1, 17, 1), some_tokens(ctx, 1, 17, 1), NULL, NULL, loss));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "targets",
               heed_transformer_loss(transformer, tokens, some_tokens(ctx, B, 4, 1), NULL, NULL, loss));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "logits", heed_transformer_fwd(transformer, tokens, loss));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_transformer_loss(transformer, tokens, NULL, NULL, NULL, loss));
  heed_transformer_destroy(transformer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(recomputing_gives_the_same_bits),
      TEST(keeping_the_logits_gives_the_same_bits),
      TEST(micro_batches_add_up),
      TEST(targets_of_minus_100_do_not_count),
      TEST(weight_and_scale_multiply_the_gradients),
      TEST(parts_of_the_logits_give_the_loss_of_all),
      TEST(gradients_are_slopes),
      TEST(decoding_gives_the_logits_of_a_forward),
      TEST(evaluating_gives_the_loss_of_training),
      TEST(a_frozen_model_has_no_gradients_and_decodes),
      TEST(wrong_configurations_are_refused),
      TEST(wrong_shapes_are_refused),
  };
  return RUN_ON_BOTH("transformer", tests);
}
