// What all modules share: names with a prefix, one list of the parameters of several, refusal of outputs that overlap what is read, and
// gradients that add up over calls. And the optimizer's learning rate and state.
#include <stdlib.h>

#include <heed/nn.h>

#include "support_values.h"

enum { BATCH = 6, IN = 7, CLASSES = 3, LENGTH = 4, WIDTH = 8 };
static const int64_t mlp_sizes[] = {IN, 5, CLASSES};
static const uint8_t classes[BATCH] = {0, 2, 1, 1, 0, 2};

static heed_mlp *make_mlp(heed_context *ctx, const char *prefix) {
  heed_mlp *mlp;
  ASSERT_OK(heed_mlp_create(ctx, &(heed_mlp_config){.sizes = mlp_sizes, .count = 3, .prefix = prefix}, 1, &mlp));
  return mlp;
}
static heed_mha *make_mha(heed_context *ctx, const char *prefix) {
  heed_mha *mha;
  ASSERT_OK(heed_mha_create(ctx, &(heed_mha_config){.embed_dim = WIDTH, .heads = 2, .prefix = prefix}, 1, &mha));
  return mha;
}
static heed_tensor *slice(const heed_tensor *base, int64_t start, int64_t length) {
  heed_tensor *out;
  ASSERT_OK(heed_tensor_slice(base, 0, start, length, &out));
  return support_keep(out);
}

// ---------------------------------------------------------------- names and lists

static void names_begin_with_the_prefix(void **state) {
  heed_context *ctx = support_context(state);
  char prefix[] = "blocks.11.";
  heed_mlp *mlp = make_mlp(ctx, prefix);
  heed_mha *mha = make_mha(ctx, prefix);
  prefix[0] = 0;  // it was copied
  const heed_parameter *parameters;
  assert_int_equal(heed_mlp_parameters(mlp, &parameters), 4);
  assert_string_equal(parameters[0].name, "blocks.11.l1.weight");
  assert_string_equal(parameters[3].name, "blocks.11.l2.bias");
  assert_int_equal(heed_mha_parameters(mha, &parameters), 8);
  assert_string_equal(parameters[2].name, "blocks.11.k_proj.weight");
  heed_mlp_destroy(mlp);
  heed_mha_destroy(mha);
}

// A prefix changes names, and nothing of what is drawn.
static void one_list_holds_several_modules(void **state) {
  heed_context *ctx = support_context(state);
  heed_mlp *mlps[] = {make_mlp(ctx, "a."), make_mlp(ctx, "b.")};
  heed_mha *mha = make_mha(ctx, NULL);
  heed_parameter *list = NULL;
  size_t count = 0;
  const heed_parameter *more;
  for (int i = 0; i < 2; ++i) {
    const size_t more_count = heed_mlp_parameters(mlps[i], &more);
    ASSERT_OK(heed_parameters_append(&list, &count, more, more_count));
  }
  const size_t mha_count = heed_mha_parameters(mha, &more);
  ASSERT_OK(heed_parameters_append(&list, &count, more, mha_count));
  assert_int_equal(count, 16);
  assert_string_equal(list[4].name, "b.l1.weight");
  ASSERT_SAME_BITS(list[4].value, list[0].value);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "two are called \"q_proj.weight\"",
               heed_parameters_append(&list, &count, more, mha_count));
  assert_int_equal(count, 16);
  ASSERT_OK(heed_parameters_append(&list, &count, NULL, 0));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_parameters_append(NULL, &count, more, 1));

  // Of plain SGD with a rate of 1 and gradients that are the values, 0 is left.
  heed_optimizer *optimizer;
  ASSERT_OK(heed_optimizer_create(list, count, &(heed_optimizer_config){.sgd = {.lr = 1}}, &optimizer));
  for (size_t i = 0; i < count; ++i) ASSERT_OK(heed_copy(list[i].value, list[i].grad));
  ASSERT_OK(heed_optimizer_step(optimizer));
  for (size_t i = 0; i < count; ++i) {
    const float *values = support_get(list[i].value);
    for (int64_t j = 0; j < heed_tensor_count(list[i].value); ++j) ASSERT_CLOSE(values[j], 0, 0);
  }
  heed_optimizer_destroy(optimizer);
  free(list);
  for (int i = 0; i < 2; ++i) heed_mlp_destroy(mlps[i]);
  heed_mha_destroy(mha);
}

// ---------------------------------------------------------------- what may not overlap

#define REFUSED(part, call) ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, (part), (call))

static void an_mlp_refuses_outputs_over_what_it_reads(void **state) {
  heed_context *ctx = support_context(state);
  const int64_t sizes[] = {4, 5, 4};
  heed_mlp *mlp;
  ASSERT_OK(heed_mlp_create(ctx, &(heed_mlp_config){.sizes = sizes, .count = 3}, 1, &mlp));
  const heed_parameter *parameters;
  heed_mlp_parameters(mlp, &parameters);
  heed_tensor *storage = support_random(ctx, HEED_F32, SHAPE(3 * BATCH, 4), 1), *x = slice(storage, 0, BATCH);
  heed_tensor *beside = slice(storage, BATCH, BATCH), *onto = slice(storage, BATCH - 1, BATCH);
  heed_tensor *last = slice(storage, 2 * BATCH, BATCH), *loss = support_new(ctx, HEED_F32, SHAPE(1)), *in_x;
  heed_tensor *target = support_put(ctx, HEED_U8, SHAPE(BATCH), classes);
  REFUSED("mlp: logits overlaps x", heed_mlp_fwd(mlp, x, true, x));
  REFUSED("mlp: logits overlaps x", heed_mlp_fwd(mlp, x, true, onto));
  heed_tensor *weights;
  ASSERT_OK(
      heed_tensor_view(parameters[0].value, 2, (const int64_t[]){BATCH - 1, 4}, (const int64_t[]){4, 1}, 0, &weights));
  REFUSED("mlp: logits overlaps l1.weight", heed_mlp_fwd(mlp, slice(x, 0, BATCH - 1), true, weights));
  heed_tensor_destroy(weights);
  ASSERT_OK(heed_mlp_fwd(mlp, x, true, beside));
  REFUSED("mlp: dx overlaps dlogits", heed_mlp_bwd(mlp, beside, beside, false));
  REFUSED("mlp: dx overlaps x", heed_mlp_bwd(mlp, beside, x, false));
  REFUSED("mlp: dx overlaps x", heed_mlp_bwd(mlp, last, onto, false));
  ASSERT_OK(heed_mlp_bwd(mlp, beside, last, false));
  ASSERT_OK(heed_tensor_view(x, 1, (const int64_t[]){1}, (const int64_t[]){1}, 3, &in_x));
  REFUSED("mlp: loss overlaps x", heed_mlp_loss(mlp, x, target, NULL, in_x, false));
  heed_tensor_destroy(in_x);
  REFUSED("mlp: logits overlaps x", heed_mlp_loss(mlp, x, target, onto, loss, false));
  ASSERT_OK(heed_mlp_loss(mlp, x, target, beside, loss, false));
  heed_mlp_destroy(mlp);
}

static void an_mha_refuses_outputs_over_what_it_reads(void **state) {
  heed_context *ctx = support_context(state);
  heed_mha *mha = make_mha(ctx, NULL);
  heed_tensor *storage = support_random(ctx, HEED_F32, SHAPE(8, LENGTH, WIDTH), 1);
  heed_tensor *part[8];
  for (int i = 0; i < 8; ++i) part[i] = slice(storage, i, 1);
  const heed_mha_inputs inputs = {.query = part[0], .key = part[1], .value = part[2]};
  heed_tensor *out = part[3], *dquery = part[4], *dkey = part[5], *dvalue = part[6], *dout = part[7];
  REFUSED("mha: out overlaps query", heed_mha_fwd(mha, &inputs, NULL, true, part[0], NULL));
  REFUSED("mha: out overlaps value", heed_mha_fwd(mha, &inputs, NULL, false, part[2], NULL));
  heed_tensor *mask;
  ASSERT_OK(heed_tensor_view(out, 2, (const int64_t[]){LENGTH, LENGTH}, (const int64_t[]){LENGTH, 1}, 0, &mask));
  REFUSED("mha: out overlaps mask",
          heed_mha_fwd(mha, &(heed_mha_inputs){.query = part[0], .mask = mask}, NULL, true, out, NULL));
  heed_tensor_destroy(mask);
  ASSERT_OK(heed_mha_fwd(mha, &inputs, NULL, true, out, NULL));
  REFUSED("mha: dquery overlaps dout", heed_mha_bwd(mha, dout, dout, NULL, NULL, NULL, false));
  REFUSED("mha: dquery overlaps key", heed_mha_bwd(mha, dout, part[1], NULL, NULL, NULL, false));
  REFUSED("mha: dkey overlaps query", heed_mha_bwd(mha, dout, NULL, part[0], NULL, NULL, false));
  REFUSED("mha: dvalue overlaps value", heed_mha_bwd(mha, dout, NULL, NULL, part[2], NULL, false));
  REFUSED("mha: dvalue overlaps dkey", heed_mha_bwd(mha, dout, dquery, dkey, dkey, NULL, false));
  ASSERT_OK(heed_mha_bwd(mha, dout, dquery, dkey, dvalue, NULL, false));
  heed_mha_destroy(mha);
}

// ---------------------------------------------------------------- forward and accumulation

static void without_train_nothing_is_kept(void **state) {
  heed_context *ctx = support_context(state);
  heed_mlp *mlp = make_mlp(ctx, NULL);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(BATCH, IN), 1);
  heed_tensor *logits = support_new(ctx, HEED_F32, SHAPE(BATCH, CLASSES)), *same = support_like(logits);
  ASSERT_OK(heed_mlp_fwd(mlp, x, true, logits));
  ASSERT_OK(heed_mlp_fwd(mlp, x, false, same));
  ASSERT_SAME_BITS(same, logits);
  REFUSED("a backward needs a forward with train", heed_mlp_bwd(mlp, logits, NULL, false));
  heed_mlp_destroy(mlp);
}

// The gradient of twice the same batch is twice the gradient, exactly.
static void assert_doubled(const heed_parameter *parameters, size_t count, float *const *once) {
  for (size_t i = 0; i < count; ++i) {
    const float *twice = support_get(parameters[i].grad);
    for (int64_t j = 0; j < heed_tensor_count(parameters[i].grad); ++j) ASSERT_CLOSE(twice[j], 2 * once[i][j], 0);
  }
}

static void an_mlp_adds_up_batches(void **state) {
  heed_context *ctx = support_context(state);
  heed_mlp *mlp = make_mlp(ctx, NULL);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(BATCH, IN), 1), *loss = support_new(ctx, HEED_F32, SHAPE(1));
  heed_tensor *target = support_put(ctx, HEED_U8, SHAPE(BATCH), classes);
  const heed_parameter *parameters;
  const size_t count = heed_mlp_parameters(mlp, &parameters);
  float *once[4];
  ASSERT_OK(heed_mlp_loss(mlp, x, target, NULL, loss, false));
  for (size_t i = 0; i < count; ++i) once[i] = support_get(parameters[i].grad);
  ASSERT_OK(heed_mlp_loss(mlp, x, target, NULL, loss, true));
  assert_doubled(parameters, count, once);
  ASSERT_OK(heed_mlp_loss(mlp, x, target, NULL, loss, false));
  for (size_t i = 0; i < count; ++i) {
    const float *again = support_get(parameters[i].grad);
    assert_memory_equal(again, once[i], heed_tensor_bytes(parameters[i].grad));
  }
  heed_mlp_destroy(mlp);
}

static void an_mha_adds_up_batches(void **state) {
  heed_context *ctx = support_context(state);
  heed_mha *mha = make_mha(ctx, NULL);
  heed_tensor *query = support_random(ctx, HEED_F32, SHAPE(2, LENGTH, WIDTH), 1), *out = support_like(query);
  heed_tensor *dout = support_random(ctx, HEED_F32, SHAPE(2, LENGTH, WIDTH), 2);
  heed_tensor *dquery[] = {support_like(query), support_like(query)};
  const heed_parameter *parameters;
  const size_t count = heed_mha_parameters(mha, &parameters);
  float *once[8];
  for (int call = 0; call < 2; ++call) {
    ASSERT_OK(heed_mha_fwd(mha, &(heed_mha_inputs){.query = query}, NULL, true, out, NULL));
    ASSERT_OK(heed_mha_bwd(mha, dout, dquery[call], NULL, NULL, NULL, call > 0));
    for (size_t i = 0; call == 0 && i < count; ++i) once[i] = support_get(parameters[i].grad);
  }
  assert_doubled(parameters, count, once);
  ASSERT_SAME_BITS(dquery[1], dquery[0]);
  heed_mha_destroy(mha);
}

// ---------------------------------------------------------------- optimizer

static void the_learning_rate_can_change_without_losing_momentum(void **state) {
  heed_context *ctx = support_context(state);
  const heed_parameter parameter = {.name = "p",
                                    .value = support_put_f32(ctx, HEED_F32, SHAPE(1), (const float[]){8}),
                                    .grad = support_put_f32(ctx, HEED_F32, SHAPE(1), (const float[]){1})};
  const heed_optimizer_config config = {.kind = HEED_OPTIMIZER_SGD, .sgd = {.lr = 1, .momentum = 0.5}};
  heed_optimizer *optimizer;
  ASSERT_OK(heed_optimizer_create(&parameter, 1, &config, &optimizer));
  assert_true(heed_optimizer_learning_rate(optimizer) == 1);
  ASSERT_OK(heed_optimizer_step(optimizer));  // buffer 1, value 8 − 1
  ASSERT_OK(heed_optimizer_set_learning_rate(optimizer, 0.5));
  assert_true(heed_optimizer_learning_rate(optimizer) == 0.5);
  ASSERT_OK(heed_optimizer_step(optimizer));  // buffer 1.5, value 7 − 0.75
  ASSERT_CLOSE(support_get(parameter.value)[0], 6.25, 0);
  ASSERT_CLOSE(support_get(heed_optimizer_state(optimizer, "momentum_buffer", 0))[0], 1.5, 0);
  assert_null(heed_optimizer_state(optimizer, "momentum_buffer", 1));
  assert_null(heed_optimizer_state(optimizer, "exp_avg", 0));
  assert_null(heed_optimizer_state(optimizer, NULL, 0));
  const double bad[] = {-1, NAN, INFINITY};
  for (int i = 0; i < 3; ++i) REFUSED("optimizer: sgd: lr is", heed_optimizer_set_learning_rate(optimizer, bad[i]));
  assert_true(heed_optimizer_learning_rate(optimizer) == 0.5);
  heed_optimizer_destroy(optimizer);
}

static void parameters_of_two_contexts_need_two_optimizers(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *here[] = {support_random(ctx, HEED_F32, SHAPE(3), 1), support_random(ctx, HEED_F32, SHAPE(3), 1)};
  heed_tensor *there[] = {support_new(support_other(), HEED_F32, SHAPE(3)),
                          support_new(support_other(), HEED_F32, SHAPE(3))};
  const heed_optimizer_config config = {.sgd = {.lr = 1, .momentum = 0.5}};
  heed_optimizer *optimizer;
  const heed_parameter mixed[] = {{"a", here[0], here[1]}, {"b", there[0], there[1]}}, torn = {"c", here[0], there[1]};
  REFUSED("b is on another context than a", heed_optimizer_create(mixed, 2, &config, &optimizer));
  assert_null(optimizer);
  REFUSED("c is on another context", heed_optimizer_create(&torn, 1, &config, &optimizer));
  REFUSED("kind 7 is unknown",
          heed_optimizer_create(mixed, 1, &(heed_optimizer_config){.kind = (heed_optimizer_kind)7}, &optimizer));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(names_begin_with_the_prefix),
      TEST(one_list_holds_several_modules),
      TEST(an_mlp_refuses_outputs_over_what_it_reads),
      TEST(an_mha_refuses_outputs_over_what_it_reads),
      TEST(without_train_nothing_is_kept),
      TEST(an_mlp_adds_up_batches),
      TEST(an_mha_adds_up_batches),
      TEST(the_learning_rate_can_change_without_losing_momentum),
      TEST(parameters_of_two_contexts_need_two_optimizers),
  };
  return RUN_ON_BOTH("modules", tests);
}
