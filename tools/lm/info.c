// heed lm info: a model's shapes, and the memory that it needs.
#include <inttypes.h>
#include <string.h>

#include "cli/json.h"
#include "lm/lm.h"

static const char command[] = "heed lm info";

typedef struct settings {
  const char *model;
  int64_t batch, accumulate, context;
  double dropout;
  int dtype;
  bool recompute;
} settings;

static const tool_option options[] = {
    TOOL_OPTION_TEXT("model", settings, model, "DIR", "folder of the model, as heed or transformers writes it"),
    TOOL_OPTION_INTEGER("batch", settings, batch, 1, TOOL_MAX_COUNT, "at least 1",
                        "to train: rows of a micro-batch (default 1)"),
    TOOL_OPTION_INTEGER("accumulate", settings, accumulate, 1, TOOL_MAX_COUNT, "at least 1",
                        "to train: micro-batches of a step, whose gradients one device sums (default 1)"),
    TOOL_OPTION_INTEGER("context", settings, context, 1, TOOL_MAX_COUNT, "at least 1",
                        "to train, and to run: tokens of a row (default: the model's context)"),
    TOOL_OPTION_CHOICE("dtype", settings, dtype, lm_dtypes, "f32|f16|bf16",
                       "what weights and activations are rounded to (default f32)"),
    TOOL_OPTION_REAL("dropout", settings, dropout, 0, 0.999999, "from 0 to below 1",
                     "to train: with this --dropout (default: the model's)"),
    TOOL_OPTION_FLAG("recompute", settings, recompute, "to train: with --recompute"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed lm info",
    .usage = "--model DIR [options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Memory to run is that of one text as long as --context, read in one piece.\n"
        "--json prints one object; train_bytes and run_bytes are objects, by kind.\n",
};

typedef struct facts {
  const settings *s;
  heed_transformer_config config;
  lm_memory train, run;
  int64_t context;
} facts;

static int print_json(const tool_args *args, const lm_model *model, const facts *f) {
  const heed_transformer_config *c = &f->config;
  json_t *object = tool_json_start(args);
  tool_json_add(object, "model", tool_json_text(f->s->model));
  lm_json_sizes(object, c);
  tool_json_add(object, "window", c->window ? json_integer(c->window) : json_null());
  tool_json_add(object, "tied", json_boolean(c->tied > 0));
  tool_json_add(object, "tokenizer_ids",
                model->tokenizer ? json_integer(heed_tokenizer_vocab(model->tokenizer)) : json_null());
  tool_json_add(object, "batch", json_integer(f->s->batch));
  tool_json_add(object, "length", json_integer(f->context));
  tool_json_add(object, "dtype", json_string(lm_dtypes[f->s->dtype]));
  tool_json_add(object, "recompute", json_boolean(f->s->recompute));
  tool_json_add(object, "train_bytes", lm_memory_json(&f->train));
  tool_json_add(object, "run_bytes", lm_memory_json(&f->run));
  tool_json_add(object, "ok", json_true());
  return tool_json_print(args, object, false);
}

static void print_memory(const char *what, const lm_memory *memory) {
  char text[LM_MEMORY_TEXT];
  printf("%-13s %s\n", what, lm_memory_text(memory, text));
}

static void print_text(const lm_model *model, const facts *f) {
  const heed_transformer_config *c = &f->config;
  char train[96];
  printf("%-13s %s, %" PRId64 " parameters\n", "model", heed_architecture_string(c->architecture), lm_parameters(c));
  printf("%-13s %" PRId64 " layers of width %" PRId64 ", mlp %" PRId64 "\n", "blocks", c->layers, c->width, c->ffn);
  printf("%-13s %" PRId64 " heads of %" PRId64, "attention", c->heads, c->head_dim);
  if (c->kv_heads != c->heads) printf(", keys and values of %" PRId64, c->kv_heads);
  if (c->window) printf(", a window of %" PRId64, c->window);
  puts("");
  printf("%-13s %" PRId64 " tokens; %s head\n", "vocabulary", c->vocab, c->tied > 0 ? "a tied" : "its own");
  printf("%-13s %" PRId64 " tokens\n", "context", c->context);
  if (model->tokenizer)
    printf("%-13s %" PRId64 " ids; chat templates are not applied\n", "tokenizer",
           heed_tokenizer_vocab(model->tokenizer));
  else
    printf("%-13s none\n", "tokenizer");
  snprintf(train, sizeof train, "train %" PRId64 "x%" PRId64, f->s->batch, f->context);
  print_memory(train, &f->train);
  snprintf(train, sizeof train, "run %" PRId64, f->context);
  print_memory(train, &f->run);
}

// The device is not opened: only its kind says something of the memory.
static int find_device(const tool_args *args, heed_device_type *type) {
  heed_device_list *list = NULL;
  size_t index = 0;
  TOOL_HEED(command, heed_device_list_create(&list));
  const heed_status found = heed_device_list_find(list, args->device, &index);
  if (found == HEED_OK) *type = heed_device_list_get(list, index)->type;
  const int status = found == HEED_OK ? TOOL_DONE : tool_fail_status(command, found);
  heed_device_list_destroy(list);
  return status;
}

static int tell(const tool_args *args, const settings *s, lm_model *model) {
  TOOL_TRY(lm_model_open(args, s->model, model));
  facts f = {.s = s, .config = *heed_model_folder_config(model->folder)};
  f.context = s->context ? s->context : f.config.context;
  if (f.context > f.config.context)
    return tool_fail(command, "--context %" PRId64 " is above the model's context of %" PRId64, f.context,
                     f.config.context);
  f.config.dtype = (heed_dtype)s->dtype;
  f.config.recompute = s->recompute;
  if (tool_given(args, "dropout")) f.config.dropout = s->dropout;
  heed_device_type device = HEED_DEVICE_HOST;
  TOOL_TRY(find_device(args, &device));
  TOOL_HEED(command, lm_memory_to_train(&f.config, s->batch, f.context, s->accumulate, device, &f.train));
  TOOL_HEED(command, lm_memory_to_run(&f.config, f.context, f.context, device, &f.run));
  if (args->json) return print_json(args, model, &f);
  print_text(model, &f);
  return TOOL_DONE;
}

int lm_info(int argc, const char **argv) {
  settings s = {.batch = 1, .accumulate = 1};
  tool_args args;
  int status = tool_parse(&syntax, &s, argc, argv, &args);
  if (status == TOOL_PROCEED) {
    lm_model model = {0};
    status = s.model ? tell(&args, &s, &model) : tool_usage(command, "name the folder of the model with --model");
    lm_model_close(&model);
  }
  return tool_finish(&args, status);
}
