// One step of heed lm train: its micro-batches, the sum of their gradients, and the optimizer.

#include "lm/train.h"

// A micro-batch drops by (seed, step, micro-batch) alone.
static uint64_t dropout_seed(const trainer *t, int64_t micro) {
  uint32_t random[4];
  const uint64_t step = (uint64_t)t->step;
  heed_philox(t->s.seed, (const uint32_t[]){(uint32_t)step, (uint32_t)(step >> 32), (uint32_t)micro, 0x6c6d6472},
              random);
  return (uint64_t)random[1] << 32 | random[0];
}

static int micro_batch(trainer *t, int64_t micro) {
  const train_settings *s = &t->s;
  const heed_batches batches = {.batch = s->batch,
                                .length = s->context,
                                .accumulate = s->accumulate,
                                .sequential = s->order == TRAIN_SEQUENTIAL,
                                .seed = s->seed};
  const size_t bytes = (size_t)(s->batch * s->context) * sizeof *t->host_tokens;
  TOOL_HEED(t->command, heed_batches_read(&batches, t->data, t->step, micro, t->host_tokens, t->host_targets));
  TOOL_HEED(t->command, heed_tensor_upload(t->tokens, t->host_tokens, bytes));
  TOOL_HEED(t->command, heed_tensor_upload(t->targets, t->host_targets, bytes));
  const heed_transformer_loss_options options = {.accumulate = heed_grad_tree_accumulates(t->share.tree),
                                                 .weight = 1 / (double)s->accumulate,
                                                 .seed = dropout_seed(t, micro),
                                                 .scale = heed_optimizer_loss_scale(t->optimizer),
                                                 .final = t->share.sum ? tool_share_final : NULL,
                                                 .user = &t->share};
  heed_tensor *loss = NULL;
  TOOL_HEED(t->command, heed_tensor_slice(t->losses, 0, micro, 1, &loss));
  const heed_status status = heed_transformer_loss(t->model.transformer, t->tokens, t->targets, &options, NULL, loss);
  heed_tensor_destroy(loss);
  return status == HEED_OK ? TOOL_DONE : tool_fail_status(t->command, status);
}

double lm_train_rate_now(const trainer *t) {
  const train_settings *s = &t->s;
  const heed_schedule schedule = {.kind = (heed_schedule_kind)s->schedule,
                                  .lr = s->lr,
                                  .min_lr = s->min_lr,
                                  .warmup = s->warmup,
                                  .decay_steps = s->decay_steps};
  return heed_schedule_rate(&schedule, t->step);
}

// While the last backward runs, the other ranks get what is final.
static int add_micro_batch(trainer *t, int64_t micro) {
  if (tool_share_is_last(&t->share, micro)) {
    TOOL_TRY(tool_share_start_sum(&t->share));
    return micro_batch(t, micro) == TOOL_DONE ? TOOL_DONE : tool_ranks_break(t->ranks);
  }
  TOOL_TRY(micro_batch(t, micro));
  TOOL_HEED(t->command, heed_grad_tree_add(t->share.tree));
  return TOOL_DONE;
}

int lm_train_step(trainer *t) {
  const int64_t first = t->share.first_micro;
  tool_share_begin(&t->share);
  for (int64_t micro = first; micro < first + t->share.own_micro; micro++) {
    // Ctrl-C does not wait for all of a long step: what it has added up is let go, and a run that goes on begins it anew. Several ranks
    // agree before a step.
    if (!t->ranks && *t->interrupted) return TOOL_INTERRUPTED;
    TOOL_TRY(add_micro_batch(t, micro));
  }
  TOOL_TRY(tool_share_sum(&t->share, t->losses));
  TOOL_HEED(t->command, heed_optimizer_set_learning_rate(t->optimizer, lm_train_rate_now(t)));
  TOOL_HEED(t->command, heed_optimizer_step(t->optimizer));
  TOOL_TRY(tool_share_spread(&t->share));
  t->step++;
  return TOOL_DONE;
}
