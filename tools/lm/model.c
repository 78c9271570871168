// A model from a folder, on a device.
#include "lm/lm.h"
#include "cli/files.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int lm_input_begin(const char *command, const char *option, const char **path, lm_input *input) {
  if (!tool_is_dash(*path)) return TOOL_DONE;
  if (input->copy) return tool_usage(command, "%s -: standard input can be read once", option);
  input->copy = calloc(1, TOOL_COPY_PATH);
  if (!input->copy) return tool_fail(command, "out of memory");
  const int status = tool_copy_input(command, input->copy);
  if (status == TOOL_DONE) {
    *path = input->copy;
    return TOOL_DONE;
  }
  free(input->copy);
  input->copy = NULL;
  return status;
}

void lm_input_end(lm_input *input) {
  if (input->copy) unlink(input->copy);
  free(input->copy);
  input->copy = NULL;
}

static int find_tokenizer(const char *command, const char *folder, bool *found) {
  static const char *const files[] = {"tokenizer.json", "vocab.json"};
  *found = false;
  for (int i = 0; i < 2 && !*found; i++) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, files[i]) < 0) return tool_fail(command, "out of memory");
    *found = access(path, F_OK) == 0;
    free(path);
  }
  return TOOL_DONE;
}

int lm_check_vocabulary(const char *command, const char *name, const heed_tokenizer *tokenizer, int64_t vocab) {
  const int64_t ids = heed_tokenizer_vocab(tokenizer);
  if (ids <= vocab) return TOOL_DONE;
  return tool_fail(command, "the tokenizer %s has %" PRId64 " ids, but the model's vocabulary only %" PRId64, name, ids,
                   vocab);
}

int lm_open_tokenizer(const char *command, const char *name, const char *const *texts, size_t count, const char *copy,
                      heed_tokenizer **out) {
  const heed_status status = strcmp(name, "bytes") == 0   ? heed_tokenizer_create_bytes(out)
                             : strcmp(name, "chars") == 0 ? heed_tokenizer_create_chars(texts, count, out)
                                                          : heed_tokenizer_open(name, out);
  return status == HEED_OK ? TOOL_DONE : tool_fail_copied(command, copy);
}

// PoCL compiles again what is to be kept in heed's cache. For a model that takes longer than it spares in many runs, as PoCL has a
// cache of its own; other drivers keep their programs.
int lm_open_device(const tool_args *args, heed_context **out) {
  tool_args passing = *args;
  passing.passing = true;
  return tool_open(&passing, false, out);
}

static int open_tokenizer_of(const tool_args *args, const char *path, lm_model *model) {
  bool has_tokenizer;
  TOOL_TRY(find_tokenizer(args->command, path, &has_tokenizer));
  if (!has_tokenizer) return TOOL_DONE;
  TOOL_HEED(args->command, heed_tokenizer_open(path, &model->tokenizer));
  return lm_check_vocabulary(args->command, path, model->tokenizer, heed_model_folder_config(model->folder)->vocab);
}

int lm_model_open(const tool_args *args, const char *path, lm_model *model) {
  model->args = args;
  TOOL_HEED(args->command, heed_model_folder_open(path, &model->folder));
  return open_tokenizer_of(args, path, model);
}

int lm_model_open_config(const tool_args *args, const char *path, lm_model *model) {
  model->args = args;
  TOOL_HEED(args->command, heed_model_folder_open_config(path, &model->folder));
  return open_tokenizer_of(args, path, model);
}

int lm_model_load(lm_model *model, const heed_transformer_config *config, int64_t prompt, int64_t length, uint64_t more,
                  const char *advice) {
  const char *command = model->args->command;
  heed_transformer_config complete = *config;
  lm_memory memory;
  complete.empty = true;
  TOOL_TRY(lm_open_device(model->args, &model->ctx));
  TOOL_HEED(command, lm_memory_to_run(config, prompt, length, heed_context_device(model->ctx)->type, &memory));
  memory.bytes[LM_ACTIVATIONS] += more;
  TOOL_TRY(lm_memory_check(command, model->ctx, &memory, advice));
  tool_progress_show(model->args->progress, "loading the model");
  TOOL_HEED(command, heed_transformer_create(model->ctx, &complete, 0, &model->transformer));
  TOOL_HEED(command, heed_model_folder_load(model->folder, model->transformer));
  return TOOL_DONE;
}

void lm_model_close(lm_model *model) {
  heed_transformer_destroy(model->transformer);
  heed_context_destroy(model->ctx);
  heed_tokenizer_destroy(model->tokenizer);
  heed_model_folder_close(model->folder);
  *model = (lm_model){0};
}

int64_t lm_parameters(const heed_transformer_config *config) {
  heed_transformer_config trains = *config;
  heed_transformer_memory memory;
  trains.frozen = false;
  if (heed_transformer_reckon(&trains, 1, 1, 0, &memory) != HEED_OK) return 0;
  return (int64_t)(memory.gradients / heed_dtype_size(config->dtype));
}

// Products with all weights but the tables of tokens and positions, and attention's two products over half of the pairs of positions; twice
// as many in the backward.
double lm_step_flops(const heed_transformer_config *c, int64_t batch, int64_t length) {
  const double width = (double)c->width, rows = (double)batch * (double)length;
  const double qkv = (double)(c->heads + 2 * c->kv_heads) * (double)c->head_dim;
  const double inner = (double)c->heads * (double)c->head_dim;
  const double mlp = (c->architecture == HEED_ARCHITECTURE_GPT2 ? 2 : 3) * width * (double)c->ffn;
  const double weights = (double)c->layers * (width * (qkv + inner) + mlp) + (double)c->vocab * width;
  return 6 * rows * weights + 6 * (double)c->layers * rows * (double)length * inner;
}
