// The runs of fault_program.c that train: whole steps, as a user's program queues them, and what a trained transformer then writes.
#include <heed/nn.h>
#include <string.h>

#include "cases/case.h"
#include "fault_program.h"

// ---------------------------------------------------------------- an MLP

static heed_status train_on(heed_context *ctx, heed_mlp **mlp, heed_optimizer **optimizer, heed_tensor **t,
                            struct fault_values *values) {
  const heed_optimizer_config sgd = {.sgd = {.lr = 0.1, .momentum = 0.9, .nesterov = true}};
  const heed_mlp_config config = {.sizes = (const int64_t[]){12, 20, 5}, .count = 3, .prefix = "mlp."};
  const heed_parameter *parameters;
  TRY(fault_made(values, heed_mlp_create(ctx, &config, 1, mlp), mlp));
  const size_t count = heed_mlp_parameters(*mlp, &parameters);
  TRY(fault_made(values, heed_optimizer_create(parameters, count, &sgd, optimizer), optimizer));
  TRY(fault_create(ctx, HEED_F32, 2, DIMS(7, 12), 1, values, &t[0]));
  TRY(fault_made(values,
                 heed_tensor_create_from(ctx, HEED_I32, 1, DIMS(7), (const int32_t[]){0, 1, 2, 3, 4, 0, 1}, &t[1]),
                 &t[1]));
  TRY(fault_create(ctx, HEED_F32, 1, DIMS(1), 0, values, &t[2]));
  for (int step = 0; step < 2; step++) {
    TRY(heed_mlp_loss(*mlp, t[0], t[1], NULL, t[2], false));
    TRY(heed_optimizer_step(*optimizer));
    TRY(fault_keep(values, t[2]));
  }
  for (size_t i = 0; i < count; i++) TRY(fault_keep(values, parameters[i].value));
  return HEED_OK;
}

heed_status fault_work_train(heed_context *ctx, struct fault_values *values) {
  heed_mlp *mlp = NULL;
  heed_optimizer *optimizer = NULL;
  heed_tensor *t[3] = {NULL};
  const heed_status status = train_on(ctx, &mlp, &optimizer, t, values);
  for (int i = 0; i < 3; i++) heed_tensor_destroy(t[i]);
  heed_optimizer_destroy(optimizer);
  heed_mlp_destroy(mlp);
  return status;
}

// ---------------------------------------------------------------- a transformer

enum { TOKENS, TARGETS, LOSS, NEXT, LOGITS, TENSORS };

struct transformer {
  heed_transformer *model;
  heed_grad_tree *tree;
  heed_optimizer *optimizer;
  heed_kv_cache *cache;
  heed_tensor *t[TENSORS];
};

static heed_status make(heed_context *ctx, const heed_transformer_config *config, struct transformer *m,
                        struct fault_values *values) {
  static const int32_t tokens[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3}, targets[] = {1, 4, 1, 5, 9, 2, -100, 5, 3, 5};
  const heed_optimizer_config adamw = {
      .kind = HEED_OPTIMIZER_ADAMW,
      .adamw = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1},
      .max_norm = 1,
      .loss_scale = config->dtype == HEED_F16 ? 128 : 0};
  const heed_parameter *parameters;
  TRY(fault_made(values, heed_transformer_create(ctx, config, 1, &m->model), &m->model));
  const size_t count = heed_transformer_parameters(m->model, &parameters);
  TRY(fault_made(values, heed_grad_tree_create(parameters, count, 1, 1, &m->tree), &m->tree));
  TRY(fault_made(values, heed_optimizer_create(parameters, count, &adamw, &m->optimizer), &m->optimizer));
  heed_tensor **t = m->t;
  TRY(fault_made(values, heed_tensor_create_from(ctx, HEED_I32, 2, DIMS(2, 5), tokens, &t[TOKENS]), &t[TOKENS]));
  TRY(fault_made(values, heed_tensor_create_from(ctx, HEED_I32, 2, DIMS(2, 5), targets, &t[TARGETS]), &t[TARGETS]));
  TRY(fault_made(values, heed_tensor_create(ctx, HEED_F32, 1, DIMS(1), &t[LOSS]), &t[LOSS]));
  TRY(fault_made(values, heed_tensor_create_from(ctx, HEED_I32, 2, DIMS(1, 1), tokens, &t[NEXT]), &t[NEXT]));
  return fault_made(values, heed_tensor_create(ctx, config->dtype, 2, DIMS(1, config->vocab), &t[LOGITS]), &t[LOGITS]);
}

// Loss, gradients, their norm and the update. Each of its calls fails once, so there is one step and one micro-batch of it.
static heed_status step(const struct transformer *m, struct fault_values *values) {
  const heed_transformer_loss_options options = {.seed = 1, .scale = heed_optimizer_loss_scale(m->optimizer)};
  TRY(heed_transformer_loss(m->model, m->t[TOKENS], m->t[TARGETS], &options, NULL, m->t[LOSS]));
  TRY(heed_grad_tree_add(m->tree));
  TRY(heed_optimizer_step(m->optimizer));
  TRY(fault_keep(values, m->t[LOSS]));
  TRY(fault_keep(values, heed_grad_tree_grads(m->tree)));
  return fault_keep(values, heed_optimizer_norm(m->optimizer));
}

static heed_status transformer_on(heed_context *ctx, const heed_transformer_config *config, struct transformer *m,
                                  struct fault_values *values) {
  TRY(make(ctx, config, m, values));
  TRY(step(m, values));
  TRY(fault_made(values, heed_kv_cache_create(m->model, 1, 2, &m->cache), &m->cache));
  TRY(heed_transformer_decode(m->model, m->cache, m->t[NEXT], m->t[LOGITS]));
  return fault_keep(values, m->t[LOGITS]);
}

static heed_status transformer(heed_context *ctx, const heed_transformer_config *config, struct fault_values *values) {
  struct transformer m = {0};
  const heed_status status = transformer_on(ctx, config, &m, values);
  for (int i = 0; i < TENSORS; i++) heed_tensor_destroy(m.t[i]);
  heed_kv_cache_destroy(m.cache);
  heed_optimizer_destroy(m.optimizer);
  heed_grad_tree_destroy(m.tree);
  heed_transformer_destroy(m.model);
  return status;
}

heed_status fault_work_gpt2(heed_context *ctx, struct fault_values *values) {
  const heed_transformer_config config = {.architecture = HEED_ARCHITECTURE_GPT2,
                                          .layers = 1,
                                          .width = 8,
                                          .heads = 2,
                                          .vocab = 11,
                                          .context = 8,
                                          .dropout = 0.1};
  return transformer(ctx, &config, values);
}

heed_status fault_work_llama(heed_context *ctx, struct fault_values *values) {
  const heed_transformer_config config = {.architecture = HEED_ARCHITECTURE_LLAMA,
                                          .layers = 1,
                                          .width = 8,
                                          .heads = 2,
                                          .kv_heads = 1,
                                          .vocab = 11,
                                          .context = 8,
                                          .dtype = HEED_F16,
                                          .recompute = true};
  return transformer(ctx, &config, values);
}
