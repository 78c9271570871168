// heed lm eval: a model's loss on a text, by windows.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/files.h"
#include "cli/json.h"
#include "lm/lm.h"

static const char command[] = "heed lm eval";
enum { ROWS_MOST = 16, ROW_TOKENS = 4096 };  // of one call: as many rows as have so many tokens

typedef struct settings {
  const char *model, *data;
  int64_t context, stride;
  bool template_tokens;
  int dtype;
} settings;

static const tool_option options[] = {
    TOOL_OPTION_TEXT("model", settings, model, "DIR", "folder of the model, as heed or transformers writes it"),
    TOOL_OPTION_TEXT("data", settings, data, "FILE", "text, or token file of llm.c"),
    TOOL_OPTION_INTEGER("context", settings, context, 1, TOOL_MAX_COUNT, "at least 1",
                        "tokens of a window (default: the model's context)"),
    TOOL_OPTION_INTEGER("stride", settings, stride, 1, TOOL_MAX_COUNT, "at least 1",
                        "tokens from the start of a window to that of the next; each token counts once (default: "
                        "--context)"),
    TOOL_OPTION_FLAG("template", settings, template_tokens,
                     "add the tokens that the tokenizer's template puts around the text"),
    TOOL_OPTION_CHOICE("dtype", settings, dtype, lm_dtypes, "f32|f16|bf16",
                       "what weights and activations are rounded to (default f32)"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed lm eval",
    .usage = "--model DIR --data FILE [options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Prints the mean cross-entropy of the tokens in nats, perplexity (e to the loss)\n"
        "and bits per byte of text. Each window predicts the tokens that follow its own;\n"
        "the last window, which is not full, is left out.\n"
        "--json prints one object: loss, perplexity, bits_per_byte (null without a\n"
        "tokenizer), tokens.\n",
};

// A measurement under way.
typedef struct measuring {
  const tool_args *args;
  const settings *s;
  lm_model model;
  heed_token_data *data;
  int64_t context, stride, windows, rows;
  int32_t *tokens, *targets;  // [rows, context]
  double loss;                // sum
  int64_t counted, bytes;
} measuring;

static void told(const char *path, double part, void *user) {
  const measuring *m = user;
  if (tool_progress_due(m->args->progress))
    tool_progress_show(m->args->progress, "tokenizing %s: %.0f %%", path, 100 * part);
}

static int open_data(measuring *m) {
  const heed_transformer_config *c = heed_model_folder_config(m->model.folder);
  const heed_token_data_options open = {.tokenizer = m->model.tokenizer,
                                        .vocab = c->vocab,
                                        .template_tokens = m->s->template_tokens,
                                        .progress = told,
                                        .user = m};
  const char *path = m->s->data;
  lm_input input = {0};
  TOOL_TRY(lm_input_begin(command, "--data", &path, &input));
  int status = TOOL_DONE;
  if (heed_token_data_open(&path, 1, &open, &m->data, NULL) != HEED_OK) status = tool_fail_copied(command, input.copy);
  lm_input_end(&input);  // what is mapped stays
  TOOL_TRY(status);
  m->context = m->s->context ? m->s->context : c->context;
  m->stride = m->s->stride ? m->s->stride : m->context;
  if (m->context > c->context)
    return tool_fail(command, "--context %" PRId64 " is above the model's context of %" PRId64, m->context, c->context);
  if (m->stride > m->context)
    return tool_usage(command,
                      "--stride %" PRId64 " is over the context of %" PRId64 ": tokens between would be left out",
                      m->stride, m->context);
  const int64_t count = heed_token_data_count(m->data);
  if (count <= m->context)
    return tool_fail(
        command, "%s has %" PRId64 " tokens; one window needs %" PRId64 "; give a longer text or a smaller --context",
        tool_input_name(m->s->data), count, m->context + 1);
  m->windows = (count - 1 - m->context) / m->stride + 1;
  return TOOL_DONE;
}

static int64_t token_bytes(const measuring *m, int32_t id) {
  size_t bytes = 0;
  return m->model.tokenizer && heed_tokenizer_token(m->model.tokenizer, id, &bytes) ? (int64_t)bytes : 0;
}

// Targets that a window before has counted are marked as those that do not count.
static int fill_row(measuring *m, int64_t window, int64_t row, int64_t *counted) {
  int32_t *tokens = m->tokens + row * m->context, *targets = m->targets + row * m->context;
  TOOL_HEED(command, heed_token_data_read(m->data, window * m->stride, m->context, tokens));
  TOOL_HEED(command, heed_token_data_read(m->data, window * m->stride + 1, m->context, targets));
  const int64_t first = window == 0 ? 0 : m->context - m->stride;
  for (int64_t i = 0; i < first; i++) targets[i] = -100;
  for (int64_t i = first; i < m->context; i++) m->bytes += token_bytes(m, targets[i]);
  *counted += m->context - first;
  return TOOL_DONE;
}

typedef struct batch {
  heed_tensor *tokens, *targets, *loss;
} batch;

static int run_batch(measuring *m, int64_t rows, batch *b, float *loss) {
  const int64_t dims[] = {rows, m->context};
  heed_context *ctx = m->model.ctx;
  TOOL_HEED(command, heed_tensor_create_from(ctx, HEED_I32, 2, dims, m->tokens, &b->tokens));
  TOOL_HEED(command, heed_tensor_create_from(ctx, HEED_I32, 2, dims, m->targets, &b->targets));
  TOOL_HEED(command, heed_tensor_create(ctx, HEED_F32, 1, (const int64_t[]){1}, &b->loss));
  TOOL_HEED(command, heed_transformer_evaluate(m->model.transformer, b->tokens, b->targets, b->loss));
  TOOL_HEED(command, heed_tensor_download_f32(b->loss, loss, 1));
  return TOOL_DONE;
}

static int measure_rows(measuring *m, int64_t first, int64_t rows) {
  int64_t counted = 0;
  for (int64_t row = 0; row < rows; row++) TOOL_TRY(fill_row(m, first + row, row, &counted));
  batch b = {0};
  float loss = NAN;
  const int status = run_batch(m, rows, &b, &loss);
  heed_tensor_destroy(b.tokens);
  heed_tensor_destroy(b.targets);
  heed_tensor_destroy(b.loss);
  m->loss += (double)loss * (double)counted;
  m->counted += counted;
  return status;
}

static int measure(measuring *m) {
  m->tokens = malloc((size_t)(m->rows * m->context) * sizeof *m->tokens);
  m->targets = malloc((size_t)(m->rows * m->context) * sizeof *m->targets);
  if (!m->tokens || !m->targets) return tool_fail(command, "out of memory");
  for (int64_t window = 0; window < m->windows; window += m->rows) {
    const int64_t left = m->windows - window;
    tool_progress_count(m->args->progress, "window", window + 1, m->windows);
    if (window == 0) tool_progress_again(m->args->progress);
    TOOL_TRY(measure_rows(m, window, left < m->rows ? left : m->rows));
    if (tool_progress_due(m->args->progress))
      tool_progress_show(m->args->progress, "loss %.4f", m->loss / (double)m->counted);
  }
  return TOOL_DONE;
}

static int print(const measuring *m) {
  const double loss = m->loss / (double)m->counted, bits = m->loss / log(2) / (double)m->bytes;
  if (!isfinite(loss))
    return tool_fail(command, "the loss is %s: the weights in %s are not finite, or too large for --dtype %s",
                     isnan(loss) ? "NaN" : "infinite", m->s->model, lm_dtypes[m->s->dtype]);
  if (!m->args->json) {
    tool_progress_clear(m->args->progress);
    printf("loss %.5f, perplexity %.4g", loss, exp(loss));
    if (m->bytes > 0) printf(", %.5f bits per byte", bits);
    printf(", over %" PRId64 " tokens\n", m->counted);
    return TOOL_DONE;
  }
  json_t *object = tool_json_start(m->args);
  tool_json_device(object, heed_context_device(m->model.ctx));
  tool_json_number(object, "loss", loss);
  tool_json_number(object, "perplexity", exp(loss));
  tool_json_number(object, "bits_per_byte", m->bytes > 0 ? bits : NAN);
  tool_json_add(object, "tokens", json_integer(m->counted));
  tool_json_add(object, "context", json_integer(m->context));
  tool_json_add(object, "stride", json_integer(m->stride));
  tool_json_add(object, "ok", json_true());
  return tool_json_print(m->args, object, false);
}

static int evaluate(measuring *m) {
  TOOL_TRY(lm_model_open(m->args, m->s->model, &m->model));
  TOOL_TRY(open_data(m));
  m->rows = ROW_TOKENS / m->context < 1 ? 1 : ROW_TOKENS / m->context < ROWS_MOST ? ROW_TOKENS / m->context : ROWS_MOST;
  if (m->rows > m->windows) m->rows = m->windows;
  heed_transformer_config config = *heed_model_folder_config(m->model.folder);
  config.frozen = true;
  if (config.architecture != HEED_ARCHITECTURE_GPT2) config.context = m->context;  // angles of no other positions
  config.dropout = 0;
  config.dtype = (heed_dtype)m->s->dtype;
  TOOL_TRY(lm_model_load(&m->model, &config, m->rows * m->context, 0, 0, "try a smaller --context or --dtype bf16"));
  TOOL_TRY(measure(m));
  return print(m);
}

int lm_eval(int argc, const char **argv) {
  settings s = {0};
  tool_args args;
  int status = tool_parse(&syntax, &s, argc, argv, &args);
  if (status == TOOL_PROCEED) {
    measuring m = {.args = &args, .s = &s};
    if (!s.model || !s.data)
      status = tool_usage(command, "name the %s", !s.model ? "folder of the model with --model" : "text with --data");
    else
      status = evaluate(&m);
    heed_token_data_close(m.data);
    lm_model_close(&m.model);
    free(m.tokens);
    free(m.targets);
  }
  return tool_finish(&args, status);
}
