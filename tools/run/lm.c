// heed run lm: a whole language model from a folder.
#include <heed/lm.h>

#include "run/run.h"

// Another shape than tokens' is refused by the library; here a value that names no token is.
static int read_texts(run_call *run, int64_t vocab, heed_tensor **tokens, heed_tensor **targets) {
  const int64_t ignored = -100;
  TOOL_TRY(run_check_tokens(run, "tokens", vocab, "tokens in the vocabulary", NULL));
  TOOL_TRY(run_check_tokens(run, "targets", vocab, "tokens in the vocabulary", &ignored));
  TOOL_TRY(run_input(run, "tokens", tokens));
  TOOL_TRY(run_optional(run, "targets", targets));
  if (heed_tensor_rank(*tokens) != 2)
    return tool_fail(run->args->command, "lm: tokens is %s; it must be [B, L]", heed_tensor_describe(*tokens));
  return TOOL_DONE;
}

static int write_gradients(run_call *run, const heed_transformer *transformer) {
  const heed_architecture architecture = heed_transformer_configuration(transformer)->architecture;
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(transformer, &parameters);
  for (size_t i = 0; i < count; i++) {
    char name[128];
    snprintf(name, sizeof name, "grad.%s", parameters[i].name);
    RUN_TRY(run, heed_model_add(run->result, name, heed_model_is_transposed(architecture, parameters[i].name),
                                parameters[i].grad));
  }
  return TOOL_DONE;
}

static int compute(run_call *run, heed_transformer *transformer) {
  const int64_t vocab = heed_transformer_configuration(transformer)->vocab;
  heed_tensor *tokens, *targets, *logits, *loss = NULL;
  TOOL_TRY(read_texts(run, vocab, &tokens, &targets));
  if (run->settings.grad && !targets)
    return tool_fail(run->args->command, "lm: --grad needs a tensor 'targets' in %s to compute the loss",
                     run_file(run));
  const int64_t dims[] = {heed_tensor_dim(tokens, 0), heed_tensor_dim(tokens, 1), vocab};
  TOOL_TRY(run_create(run, HEED_F32, 3, dims, &logits));
  if (targets) TOOL_TRY(run_create(run, HEED_F32, 1, (const int64_t[]){1}, &loss));
  if (run->settings.grad) {
    RUN_TRY(run, heed_transformer_loss(transformer, tokens, targets, NULL, logits, loss));
  } else {
    RUN_TRY(run, heed_transformer_fwd(transformer, tokens, logits));
    const heed_cross_entropy_options options = {.class_axis = HEED_CLASS_AXIS_LAST};
    if (targets) RUN_TRY(run, heed_cross_entropy_fwd(logits, targets, &options, loss));
  }
  TOOL_TRY(run_write(run, "logits", logits));
  TOOL_TRY(run_write(run, "loss", loss));
  return run->settings.grad ? write_gradients(run, transformer) : TOOL_DONE;
}

static int with_model(run_call *run, const heed_model_folder *folder) {
  heed_transformer_config config = *heed_model_folder_config(folder);
  config.empty = true;
  config.dropout = 0;  // as transformers' eval()
  heed_transformer *transformer = NULL;
  RUN_TRY(run, heed_transformer_create(run->ctx, &config, 0, &transformer));
  const heed_status loaded = heed_model_folder_load(folder, transformer);
  int status = loaded == HEED_OK ? TOOL_DONE : tool_fail_status(run->args->command, loaded);
  if (status == TOOL_DONE) status = compute(run, transformer);
  heed_transformer_destroy(transformer);
  return status;
}

static int lm(run_call *run) {
  if (!run->settings.model) return tool_usage(run->args->command, "lm: name the folder of the model with --model");
  heed_model_folder *folder = NULL;
  RUN_TRY(run, heed_model_folder_open(run->settings.model, &folder));
  const int status = with_model(run, folder);
  heed_model_folder_close(folder);
  return status;
}

static const tool_option lm_options[] = {
    TOOL_OPTION_TEXT("model", run_settings, model, "DIR",
                     "folder with config.json and model.safetensors, as transformers writes it"),
    TOOL_OPTION_FLAG("grad", run_settings, grad, "write the gradients of the loss; needs targets"),
};

static const run_name lm_names[] = {{"tokens", "input_ids"}, {"targets", NULL}, {0}};

const run_op run_lm = {
    .name = "lm",
    .summary = "a language model's logits and loss; --model names its folder",
    .tensors =
        "In:  tokens [B,L]\n"
        "     targets [B,L], the token that follows each (may be left out; -100: not\n"
        "     counted)\n"
        "Out: logits [B,L,vocab]  loss, F32 [1], if there are targets\n"
        "     grad.<name in the folder> with --grad",
    .names = lm_names,
    RUN_OPTIONS(lm_options),
    .uses = 0,
    .function = lm,
};
