// heed lm generate: a model continues a text.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/files.h"
#include "cli/json.h"
#include "lm/lm.h"

static const char command[] = "heed lm generate";

typedef struct settings {
  const char *model, *prompt, *prompt_file, *ids, *stop;
  int64_t tokens, top_k;
  double temperature, top_p;
  uint64_t seed;
  bool show_ids, ignore_eos, slide, template_tokens;
  int dtype;
} settings;

static const tool_option options[] = {
    TOOL_OPTION_TEXT("model", settings, model, "DIR", "folder of the model, as heed or transformers writes it"),
    TOOL_OPTION_TEXT("prompt", settings, prompt, "TEXT", "the text to continue"),
    TOOL_OPTION_TEXT("prompt-file", settings, prompt_file, "FILE", "file with the text to continue; -: standard input"),
    TOOL_OPTION_TEXT("ids", settings, ids, "N[,N...]", "the token ids to continue, for models without a tokenizer"),
    TOOL_OPTION_INTEGER("tokens", settings, tokens, 1, TOOL_MAX_COUNT, "at least 1",
                        "how many tokens to write at most (default 100)"),
    TOOL_OPTION_REAL("temperature", settings, temperature, 0, TOOL_MAX_REAL, "at least 0",
                     "what logits are divided by; 0: always the most likely token (default 1)"),
    TOOL_OPTION_INTEGER("top-k", settings, top_k, 0, TOOL_MAX_COUNT, "at least 0",
                        "choose among the N most likely tokens; 0: among all (default 0)"),
    TOOL_OPTION_REAL("top-p", settings, top_p, 0, 1, "from 0 to 1",
                     "then among the fewest whose probabilities sum to X (default 1: all)"),
    TOOL_OPTION_UNSIGNED("seed", settings, seed, "seed of the choices (default 1)"),
    TOOL_OPTION_TEXT("stop", settings, stop, "TEXT", "end before this text"),
    TOOL_OPTION_FLAG("ignore-eos", settings, ignore_eos, "go on after an end-of-text id"),
    TOOL_OPTION_FLAG("slide", settings, slide,
                     "where the context is full, forget the older half of it and go on, instead of refusing"),
    TOOL_OPTION_FLAG("template", settings, template_tokens,
                     "add the tokens that the tokenizer's template puts around the prompt"),
    TOOL_OPTION_FLAG("show-ids", settings, show_ids, "also print the token ids, in a line of their own"),
    TOOL_OPTION_CHOICE("dtype", settings, dtype, lm_dtypes, "f32|f16|bf16",
                       "what weights and activations are rounded to (default f32)"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed lm generate",
    .usage = "--model DIR\n        (--prompt TEXT | --prompt-file FILE | --ids N[,N...]) [options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Prints what follows the prompt, as it comes, in whole characters. It ends after\n"
        "--tokens tokens, before an end-of-text id, or before --stop. With the same\n"
        "--seed it is the same text on every device, unless two choices are as likely as\n"
        "one another but for rounding. Chat templates are not applied.\n"
        "--json prints one object: ids (what was written) and, where there is a\n"
        "tokenizer, text.\n",
};

// ---------------------------------------------------------------- the prompt

typedef struct prompt {
  int32_t *ids;
  size_t count;
} prompt;

static int encode(const lm_model *model, const settings *s, const char *text, size_t bytes, prompt *out) {
  if (!model->tokenizer)
    return tool_fail(command, "%s has no tokenizer; give the prompt as token ids, with --ids", s->model);
  const heed_encode_options encode = {.template_tokens = s->template_tokens};
  TOOL_HEED(command, heed_tokenizer_encode_all(model->tokenizer, text, bytes, &encode, &out->ids, &out->count));
  return TOOL_DONE;
}

static int read_ids(const settings *s, int64_t vocab, prompt *out) {
  size_t room = 1;
  for (const char *at = s->ids; *at; at++) room += *at == ',';
  out->ids = malloc(room * sizeof *out->ids);
  if (!out->ids) return tool_fail(command, "out of memory");
  for (const char *from = s->ids;; from++) {
    char part[24];
    const size_t length = strcspn(from, ",");
    int64_t id = -1;
    snprintf(part, sizeof part, "%.*s", (int)length, from);
    if (length >= sizeof part || !tool_read_integer(part, &id))
      return tool_usage(command, "--ids %s: must be token ids with commas between, as in 464,3290", s->ids);
    if (id < 0 || id >= vocab)
      return tool_fail(command, "--ids: id %zu is %" PRId64 "; the model knows 0 to %" PRId64, out->count, id,
                       vocab - 1);
    out->ids[out->count++] = (int32_t)id;
    from += length;
    if (!*from) return TOOL_DONE;
  }
}

static int read_prompt(const lm_model *model, const settings *s, prompt *out) {
  if (s->ids) return read_ids(s, heed_model_folder_config(model->folder)->vocab, out);
  if (s->prompt) return encode(model, s, s->prompt, strlen(s->prompt), out);
  char *text = NULL;
  size_t bytes = 0;
  int status = tool_read_text(command, "--prompt-file ", s->prompt_file, &text, &bytes);
  if (status == TOOL_DONE) status = encode(model, s, text, bytes, out);
  free(text);
  return status;
}

// A model with a window can go on for ever: its positions are angles, and no key stays.
static int fit_context(const tool_args *args, settings *s, size_t count, heed_transformer_config *c) {
  const int64_t given = (int64_t)count, room = c->context - given + 1;  // the last token is written, but not read
  if (!tool_given(args, "tokens") && !s->slide && c->window == 0 && room >= 1 && s->tokens > room) s->tokens = room;
  const int64_t all = given + s->tokens - 1;
  if (given == 0) return tool_fail(command, "the prompt has no tokens; a model continues at least one");
  if (all <= c->context) {
    if (c->architecture != HEED_ARCHITECTURE_GPT2) c->context = all;  // angles of other positions are not needed
    return TOOL_DONE;
  }
  if (c->window > 0) {
    if (all > INT32_MAX) return tool_fail(command, "the prompt and --tokens are over %d tokens", INT32_MAX);
    c->context = all;
    return TOOL_DONE;
  }
  if (s->slide && given <= c->context) return TOOL_DONE;
  if (given > c->context)
    return tool_fail(command, "the prompt has %" PRId64 " tokens, but the model's context is %" PRId64, given,
                     c->context);
  return tool_fail(command,
                   "a prompt of %" PRId64 " tokens and %" PRId64 " more are over the model's context of %" PRId64
                   "; --tokens %" PRId64 " fits, and with --slide the oldest tokens go",
                   given, s->tokens, c->context, room);
}

// ---------------------------------------------------------------- the text

static int print_json(const tool_args *args, const lm_model *model, const lm_stream *text, size_t prompt_tokens) {
  json_t *object = tool_json_start(args), *ids = json_array();
  for (size_t i = 0; i < text->count; i++) tool_json_append(ids, json_integer(text->ids[i]));
  tool_json_device(object, heed_context_device(model->ctx));
  tool_json_add(object, "prompt_tokens", json_integer((json_int_t)prompt_tokens));
  tool_json_add(object, "ids", ids);
  if (model->tokenizer) lm_json_text(object, text);
  tool_json_add(object, "ok", json_true());
  return tool_json_print(args, object, false);
}

static void print_ids(const lm_stream *text) {
  for (size_t i = 0; i < text->count; i++) printf("%s%" PRId32, i ? "," : "", text->ids[i]);
  puts("");
}

typedef struct output {
  lm_stream text;
  tool_progress *progress;
  int64_t tokens;  // at most
} output;

// Where the text comes on a terminal, it is its own progress, and a line that erases itself would erase words.
static int take_token(int32_t id, bool *stop, void *user) {
  output *out = user;
  if (out->text.to && out->text.tokenizer && isatty(fileno(out->text.to))) {
    tool_progress_clear(out->progress);
    out->progress->terminal = false;
  }
  TOOL_TRY(lm_stream_token(id, stop, &out->text));
  if (tool_progress_due(out->progress))
    tool_progress_show(out->progress, "token %zu, at most %" PRId64, out->text.count, out->tokens);
  return TOOL_DONE;
}

static int write_text(const tool_args *args, const lm_model *model, const settings *s, const prompt *p) {
  const lm_writing writing = {
      .sample = {.temperature = s->temperature, .top_k = s->top_k, .top_p = s->top_p, .seed = s->seed},
      .tokens = s->tokens,
      .ignore_end = s->ignore_eos,
      .slide = s->slide};
  output out = {.text = {.tokenizer = model->tokenizer, .stop = s->stop, .to = args->json ? NULL : stdout},
                .progress = args->progress,
                .tokens = s->tokens};
  lm_stream *text = &out.text;
  tool_progress_show(args->progress, "reading a prompt of %zu tokens", p->count);
  const double started = tool_seconds();
  int status = lm_write(model, p->ids, p->count, &writing, take_token, &out);
  tool_progress_clear(args->progress);
  lm_stream_end(text);
  if (status == TOOL_DONE) tool_detail(args, "%zu tokens in %.2f s", text->count, tool_seconds() - started);
  if (status == TOOL_DONE && args->json) status = print_json(args, model, text, p->count);
  if (status == TOOL_DONE && !args->json) {
    if (model->tokenizer) puts("");
    if (s->show_ids || !model->tokenizer) print_ids(text);
  }
  lm_stream_free(text);
  return status;
}

static int with_prompt(const tool_args *args, lm_model *model, settings *s, const prompt *p) {
  heed_transformer_config config = *heed_model_folder_config(model->folder);
  config.frozen = true;
  config.dropout = 0;
  config.dtype = (heed_dtype)s->dtype;
  TOOL_TRY(fit_context(args, s, p->count, &config));
  const int64_t all = (int64_t)p->count + s->tokens;
  TOOL_TRY(lm_model_load(model, &config, (int64_t)p->count, all < config.context ? all : config.context, 0,
                         "try --dtype bf16 or fewer --tokens"));
  return write_text(args, model, s, p);
}

static int generate(const tool_args *args, settings *s) {
  if (!s->model) return tool_usage(command, "name the folder of the model with --model");
  if (!s->prompt + !s->prompt_file + !s->ids != 2)
    return tool_usage(command, "give the text to continue with one of --prompt, --prompt-file and --ids");
  if (s->stop && !*s->stop) return tool_usage(command, "--stop: the text that ends it is empty");
  lm_model model = {0};
  prompt p = {0};
  int status = lm_model_open(args, s->model, &model);
  if (status == TOOL_DONE && s->stop && !model.tokenizer)
    status = tool_fail(command, "--stop: %s has no tokenizer to make text with", s->model);
  if (status == TOOL_DONE) status = read_prompt(&model, s, &p);
  if (status == TOOL_DONE) status = with_prompt(args, &model, s, &p);
  free(p.ids);
  lm_model_close(&model);
  return status;
}

int lm_generate(int argc, const char **argv) {
  settings s = {.tokens = 100, .temperature = 1, .top_p = 1, .seed = 1};
  tool_args args;
  int status = tool_parse(&syntax, &s, argc, argv, &args);
  if (status == TOOL_PROCEED) status = generate(&args, &s);
  return tool_finish(&args, status);
}
