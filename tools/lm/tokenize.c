// heed lm tokenize: a text's ids, one a line, and back.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lm/lm.h"
#include "cli/files.h"
#include "cli/json.h"

static const char command[] = "heed lm tokenize";

typedef struct tokenize_settings {
  const char *model, *tokenizer;
  bool template, decode;
} tokenize_settings;

static const char *const tokenizers[] = {"bytes", "chars", NULL};
static const tool_option options[] = {
    {.name = "model",
     .letter = 'm',
     .kind = TOOL_TEXT,
     .offset = offsetof(tokenize_settings, model),
     .argument = "DIR",
     .unrecorded = true,
     .help = "the folder of a model: its tokenizer"},
    {.name = "tokenizer",
     .kind = TOOL_TEXT,
     .offset = offsetof(tokenize_settings, tokenizer),
     .argument = "bytes|chars|DIR",
     .words = tokenizers,
     .help = "instead of --model: bytes, the characters of FILE, or the tokenizer of a folder"},
    TOOL_OPTION_FLAG("template", tokenize_settings, template,
                     "add the tokens that the tokenizer's template puts around a text"),
    TOOL_OPTION_FLAG("decode", tokenize_settings, decode, "FILE has ids, one a line; write the text"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed lm tokenize",
    .usage = "(--model DIR | --tokenizer NAME) [options] [FILE]",
    .about =
        "Prints the ids of the text in FILE, one a line. Without FILE, or with -, it\n"
        "reads standard input.\n",
    .options = options,
    .count = sizeof options / sizeof *options,
    .max_operands = 1,
    .operand = "FILE",
};

// ---------------------------------------------------------------- input

typedef struct content {
  char *text;
  size_t bytes;
} content;

// ---------------------------------------------------------------- ids of a text

static heed_status print_ids(const int32_t *ids, size_t count, void *user) {
  tool_progress_clear(user);
  for (size_t i = 0; i < count; i++) printf("%" PRId32 "\n", ids[i]);
  return HEED_OK;
}

static heed_status list_ids(const int32_t *ids, size_t count, void *user) {
  for (size_t i = 0; i < count; i++) tool_json_append(user, json_integer(ids[i]));
  return HEED_OK;
}

static int encode(const tool_args *args, const tokenize_settings *settings, const heed_tokenizer *tokenizer,
                  const char *path, const content *input) {
  const heed_encode_options how = {.template_tokens = settings->template};
  json_t *ids = args->json ? json_array() : NULL;
  if (args->json && !ids) return tool_fail(command, "out of memory");
  if (heed_tokenizer_encode(tokenizer, input->text, input->bytes, &how, args->json ? list_ids : print_ids,
                            args->json ? (void *)ids : args->progress) != HEED_OK) {
    json_decref(ids);
    return tool_fail(command, "%s: %s", tool_input_name(path), heed_last_error());
  }
  if (!args->json) return TOOL_DONE;
  json_t *root = tool_json_start(args);
  tool_json_add(root, "ids", ids);
  tool_json_add(root, "ok", json_true());
  return tool_json_print(args, root, false);
}

// ---------------------------------------------------------------- the text of ids

// Reads lines of one id each; blank lines say nothing.
static int read_ids(const char *path, content *input, int32_t *ids, size_t *count) {
  size_t line = 0;
  for (char *at = input->text, *end; at < input->text + input->bytes; at = end + 1) {
    end = memchr(at, '\n', (size_t)(input->text + input->bytes - at));
    if (!end) end = input->text + input->bytes;
    char *last = end > at && end[-1] == '\r' ? end - 1 : end;
    *last = '\0';
    int64_t id;
    line++;
    if (last == at) continue;
    if (strlen(at) != (size_t)(last - at) || !tool_read_integer(at, &id) || id < 0 || id > INT32_MAX)
      return tool_fail(command, "%s: line %zu is no id", tool_input_name(path), line);
    ids[(*count)++] = (int32_t)id;
  }
  return TOOL_DONE;
}

static int print_text(const tool_args *args, const char *text, size_t bytes) {
  if (!args->json) {
    tool_progress_clear(args->progress);
    fwrite(text, 1, bytes, stdout);
    return TOOL_DONE;
  }
  json_t *value = json_stringn(text, bytes);
  if (!value) return tool_fail(command, "the text is not UTF-8, as JSON must be; leave out --json");
  json_t *root = tool_json_start(args);
  tool_json_add(root, "text", value);
  tool_json_add(root, "ok", json_true());
  return tool_json_print(args, root, false);
}

static int decode(const tool_args *args, const heed_tokenizer *tokenizer, const char *path, content *input) {
  int32_t *ids = malloc((input->bytes / 2 + 1) * sizeof *ids);
  char *text = NULL;
  size_t count = 0, bytes = 0;
  int status = ids ? read_ids(path, input, ids, &count) : tool_fail(command, "no memory for the ids");
  if (status == TOOL_DONE && heed_tokenizer_decode(tokenizer, ids, count, &text, &bytes) != HEED_OK)
    status = tool_fail(command, "%s: %s", tool_input_name(path), heed_last_error());
  if (status == TOOL_DONE) status = print_text(args, text, bytes);
  free(text);
  free(ids);
  return status;
}

// ---------------------------------------------------------------- the command

// Characters are those of the file; standard input is read twice, so it is copied first.
static int execute(const tool_args *args, const tokenize_settings *settings, const char *path) {
  const char *name = settings->model ? settings->model : settings->tokenizer;
  const bool chars = settings->tokenizer && strcmp(name, "chars") == 0, copied = chars && tool_is_dash(path);
  char copy[TOOL_COPY_PATH] = "";
  heed_tokenizer *tokenizer = NULL;
  content input = {0};
  if (copied) TOOL_TRY(tool_copy_input(command, copy));
  const char *from = copied ? copy : path;
  tool_progress_show(args->progress, "%s %s", settings->decode ? "writing the text of" : "tokenizing",
                     tool_input_name(path));
  int status = settings->model && heed_tokenizer_open(name, &tokenizer) != HEED_OK
                   ? tool_fail(command, "%s", heed_last_error())
                   : TOOL_DONE;
  if (!settings->model) status = lm_open_tokenizer(command, name, &from, 1, copy, &tokenizer);
  if (status == TOOL_DONE) status = tool_read_text(command, "", from, &input.text, &input.bytes);
  if (status == TOOL_DONE)
    status = settings->decode ? decode(args, tokenizer, path, &input) : encode(args, settings, tokenizer, path, &input);
  if (copied) unlink(copy);
  free(input.text);
  heed_tokenizer_destroy(tokenizer);
  return status;
}

int lm_tokenize(int argc, const char **argv) {
  tokenize_settings settings = {0};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  if (status == TOOL_PROCEED) {
    if (!settings.model == !settings.tokenizer)
      status = tool_usage(command, "name the tokenizer with either --model or --tokenizer");
    else if (settings.decode && settings.tokenizer && strcmp(settings.tokenizer, "chars") == 0)
      status =
          tool_usage(command, "--decode: ids do not tell which characters there are; name the folder of a tokenizer");
    else if (settings.decode && settings.template)
      status = tool_usage(command, "--decode takes no --template");
    else
      status = execute(&args, &settings, args.operand_count > 0 ? args.operands[0] : "-");
  }
  return tool_finish(&args, status);
}
