// What heed lm train looks at beside the loss of its steps: the loss on text that it does not train on, and text that the model writes.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lm/train.h"

enum { SAMPLE_TOKENS = 200 };

// ---------------------------------------------------------------- validation

// Window i of `count`, evenly spread; if they cover all of the text, one after another.
static int64_t start_of(const trainer *t, int64_t i, int64_t count) {
  const int64_t last = heed_token_data_count(t->validation) - t->s.context - 1;
  return count < 2 ? 0 : (int64_t)((double)i * (double)last / (double)(count - 1));
}

static int validate_batch(trainer *t, int64_t first, int64_t windows, heed_tensor *loss, float *value) {
  const int64_t length = t->s.context;
  const size_t bytes = (size_t)(t->s.batch * length) * sizeof *t->host_tokens;
  for (int64_t row = 0; row < t->s.batch; row++) {
    int32_t *tokens = t->host_tokens + row * length, *targets = t->host_targets + row * length;
    const int64_t start = start_of(t, first + row, windows);
    TOOL_HEED(t->command, heed_token_data_read(t->validation, start, length, tokens));
    TOOL_HEED(t->command, heed_token_data_read(t->validation, start + 1, length, targets));
  }
  TOOL_HEED(t->command, heed_tensor_upload(t->tokens, t->host_tokens, bytes));
  TOOL_HEED(t->command, heed_tensor_upload(t->targets, t->host_targets, bytes));
  TOOL_HEED(t->command, heed_transformer_evaluate(t->model.transformer, t->tokens, t->targets, loss));
  TOOL_HEED(t->command, heed_tensor_download_f32(loss, value, 1));
  return TOOL_DONE;
}

// values[i]: of batch i, which rank i mod ranks has.
static int share_values(const trainer *t, int64_t batches, float *values, float *all) {
  const int ranks = tool_ranks_count(t->ranks);
  TOOL_TRY(tool_ranks_gather(t->ranks, values, (size_t)batches * sizeof *values, all));
  for (int64_t i = 0; i < batches; i++) values[i] = all[i % ranks * batches + i];
  return TOOL_DONE;
}

static int validate_share(trainer *t, int64_t batches, heed_tensor *device, float *values, float *all) {
  const int ranks = tool_ranks_count(t->ranks);
  for (int64_t i = tool_ranks_own(t->ranks); i < batches; i += ranks) {
    TOOL_TRY(validate_batch(t, i * t->s.batch, batches * t->s.batch, device, &values[i]));
    if (tool_progress_due(t->args->progress))
      tool_progress_show(t->args->progress, "validating: %" PRId64 " of %" PRId64, i + 1, batches);
  }
  return share_values(t, batches, values, all);
}

int lm_train_validate(trainer *t, double *loss) {
  const int64_t batch = t->s.batch, fit = (heed_token_data_count(t->validation) - 1) / t->s.context;
  int64_t batches = (fit + batch - 1) / batch;  // so many would read all of it
  if (batches > t->s.eval_batches) batches = t->s.eval_batches;
  const size_t ranks = (size_t)tool_ranks_count(t->ranks);
  float *values = calloc((size_t)batches * (ranks + 1) + 1, sizeof *values);
  heed_tensor *device = NULL;
  if (!values) return tool_fail(t->command, "out of memory");
  const heed_status sliced = heed_tensor_slice(t->losses, 0, 0, 1, &device);
  const int status = sliced == HEED_OK ? validate_share(t, batches, device, values, values + batches)
                                       : tool_fail_status(t->command, sliced);
  *loss = 0;
  for (int64_t i = 0; i < batches; i++) *loss += (double)values[i] / (double)batches;
  free(values);
  heed_tensor_destroy(device);
  return status;
}

// ---------------------------------------------------------------- samples

// A sample follows the first token of the training text; where the context is short, it slides.
int lm_train_sample(trainer *t) {
  int32_t first = 0;
  TOOL_HEED(t->command, heed_token_data_read(t->data, 0, 1, &first));
  const lm_writing writing = {.sample = {.temperature = 0.8, .top_k = 200, .seed = t->s.seed + (uint64_t)t->step},
                              .tokens = SAMPLE_TOKENS,
                              .slide = true};
  lm_stream text = {.tokenizer = t->model.tokenizer};
  tool_progress_show(t->args->progress, "writing a sample of %d tokens", SAMPLE_TOKENS);
  int status = lm_write(&t->model, &first, 1, &writing, lm_stream_token, &text);
  if (status == TOOL_DONE) {
    lm_train_log_sample(t, &text);
    tool_progress_clear(t->args->progress);
    if (t->results && t->model.tokenizer)
      fprintf(t->results, "--- step %" PRId64 "\n%.*s\n---\n", t->step, (int)text.bytes, text.text ? text.text : "");
    status = tool_flush(t->command, TOOL_DONE);
  }
  lm_stream_free(&text);
  return status;
}
