// heed lm attention: which tokens of a text a model looks at: a table, a file, a picture.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/files.h"
#include "cli/json.h"
#include "draw/gnuplot.h"
#include "draw/heat_map.h"
#include "lm/lm.h"

static const char command[] = "heed lm attention";

typedef struct settings {
  const char *model, *text, *data, *layer, *head, *plot, *output;
  bool template_tokens;
  int dtype;
} settings;

static const char *const all_words[] = {"all", NULL};
static const tool_option options[] = {
    TOOL_OPTION_TEXT("model", settings, model, "DIR", "folder of the model, as heed or transformers writes it"),
    TOOL_OPTION_TEXT("text", settings, text, "TEXT", "the text"),
    TOOL_OPTION_TEXT("data", settings, data, "FILE", "file with the text; -: standard input"),
    {.name = "layer",
     .kind = TOOL_TEXT,
     .offset = offsetof(settings, layer),
     .argument = "N|all",
     .words = all_words,
     .help = "the layer, from 0 (default 0)"},
    {.name = "head",
     .kind = TOOL_TEXT,
     .offset = offsetof(settings, head),
     .argument = "N|all",
     .words = all_words,
     .help = "the head, from 0 (default all)"},
    {.name = "plot",
     .kind = TOOL_TEXT,
     .offset = offsetof(settings, plot),
     .argument = "FILE",
     .unrecorded = true,
     .help = "draw the weights; FILE ends in .svg or .png, or is svg:- or png:- for standard output"},
    {.name = "output",
     .letter = 'o',
     .kind = TOOL_TEXT,
     .offset = offsetof(settings, output),
     .argument = "FILE",
     .unrecorded = true,
     .help = "safetensors file to write the weights to; -: standard output"},
    TOOL_OPTION_FLAG("template", settings, template_tokens,
                     "add the tokens that the tokenizer's template puts around the text"),
    TOOL_OPTION_CHOICE("dtype", settings, dtype, lm_dtypes, "f32|f16|bf16",
                       "what weights and activations are rounded to (default f32)"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed lm attention",
    .usage = "--model DIR (--text TEXT | --data FILE) [options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Prints for each token and head the token it looks at most, with the weight: of\n"
        "all that it looks at, the weights sum to 1. --plot draws a panel for each head;\n"
        "up to 40 tokens stand on its axes, more are numbered.\n"
        "-o writes tokens [L] and for each layer N attentions.N [1, heads, L, L].\n"
        "--json prints one object: ids, tokens, and layers with the heads' most looked at\n"
        "tokens and weights.\n",
};

// Layers or heads: `count` of them from `first` on.
typedef struct range {
  int64_t first, count;
} range;

typedef struct viewing {
  const tool_args *args;
  const settings *s;
  lm_model model;
  int32_t *ids;
  size_t length;
  range layers, heads;
  heed_tensor *tokens, **tensors;  // of each layer of the model
  float *weights;                  // [layers, heads, length, length]
  lm_label *labels;
} viewing;

// ---------------------------------------------------------------- what is wanted

static int read_range(const char *option, const char *text, const char *default_text, range *out) {
  const char *chosen = text ? text : default_text;
  *out = (range){.first = -1};
  if (strcmp(chosen, "all") == 0) return TOOL_DONE;
  if (tool_read_integer(chosen, &out->first) && out->first >= 0) return TOOL_DONE;
  return tool_usage(command, "%s %s: must be a whole number of at least 0, or all", option, text);
}

static int fit_range(const char *option, const char *what, int64_t count, range *out) {
  if (out->first >= count)
    return tool_fail(command, "%s %" PRId64 ": the model has %" PRId64 " %s, 0 to %" PRId64, option, out->first, count,
                     what, count - 1);
  *out = out->first < 0 ? (range){0, count} : (range){out->first, 1};
  return TOOL_DONE;
}

static int check_targets(const tool_args *args, const settings *s) {
  const bool draws_there = s->plot && gnuplot_is_stdout(s->plot);
  if (draws_there && (args->json || tool_is_dash(s->output)))
    return tool_usage(command, "--plot %s and %s both write to standard output", s->plot,
                      args->json ? "--json" : "-o -");
  if (tool_is_dash(s->output) && args->json)
    return tool_usage(command, "-o - and --json both write to standard output");
  if (s->output) TOOL_TRY(tool_check_target(command, "-o", s->output, false, true));
  return s->plot ? gnuplot_check(command, "--plot", s->plot) : TOOL_DONE;
}

static int read_text(viewing *v) {
  const heed_encode_options encode = {.template_tokens = v->s->template_tokens};
  const int64_t context = heed_model_folder_config(v->model.folder)->context;
  char *text = NULL;
  size_t bytes = 0;
  int status = v->s->text ? TOOL_DONE : tool_read_text(command, "--data ", v->s->data, &text, &bytes);
  if (v->s->text) bytes = strlen(v->s->text);
  if (status == TOOL_DONE && heed_tokenizer_encode_all(v->model.tokenizer, v->s->text ? v->s->text : text, bytes,
                                                       &encode, &v->ids, &v->length) != HEED_OK)
    status = tool_fail(command, "%s", heed_last_error());
  free(text);
  TOOL_TRY(status);
  if (v->length == 0) return tool_fail(command, "the text has no tokens");
  if (v->length > (size_t)context)
    return tool_fail(command, "the text has %zu tokens, but the model's context is %" PRId64, v->length, context);
  return TOOL_DONE;
}

// ---------------------------------------------------------------- computing

static size_t head_values(const viewing *v) { return v->length * v->length; }

// What a layer's weights take on the device, and the scores that they are made from.
static uint64_t device_bytes(const viewing *v, const heed_transformer_config *c) {
  const double bytes =
      (double)(v->layers.count + 1) * (double)c->heads * (double)head_values(v) * (double)heed_dtype_size(c->dtype);
  return bytes < 0x1p60 ? (uint64_t)bytes : (uint64_t)1 << 60;
}

static int create_tensors(viewing *v) {
  const heed_transformer_config *c = heed_transformer_configuration(v->model.transformer);
  const int64_t length = (int64_t)v->length, dims[] = {1, c->heads, length, length};
  const size_t count = (size_t)v->layers.count * (size_t)v->heads.count;
  v->tensors = calloc((size_t)c->layers, sizeof *v->tensors);
  v->labels = calloc(v->length, sizeof *v->labels);
  v->weights = calloc(count, head_values(v) * sizeof *v->weights);
  if (!v->tensors || !v->labels || !v->weights)
    return tool_fail(command, "no memory for the weights of %zu heads; choose a --layer and a --head", count);
  lm_labels(v->model.tokenizer, v->ids, v->length, v->labels);
  TOOL_HEED(command,
            heed_tensor_create_from(v->model.ctx, HEED_I32, 2, (const int64_t[]){1, length}, v->ids, &v->tokens));
  for (int64_t i = 0; i < v->layers.count; i++)
    TOOL_HEED(command, heed_tensor_create(v->model.ctx, c->dtype, 4, dims, &v->tensors[v->layers.first + i]));
  return TOOL_DONE;
}

static int read_layer(const viewing *v, int64_t layer) {
  const size_t count = (size_t)v->heads.count * head_values(v);
  float *to = v->weights + (size_t)layer * count;
  heed_tensor *heads = NULL;
  TOOL_HEED(command, heed_tensor_slice(v->tensors[v->layers.first + layer], 1, v->heads.first, v->heads.count, &heads));
  const heed_status read = heed_tensor_download_f32(heads, to, (int64_t)count);
  heed_tensor_destroy(heads);
  if (read != HEED_OK) return tool_fail_status(command, read);
  for (size_t i = 0; i < count; i++)
    if (!isfinite(to[i]))
      return tool_fail(command, "layer %" PRId64 ": the weights in %s are not finite, or too large for --dtype %s",
                       v->layers.first + layer, v->s->model, lm_dtypes[v->s->dtype]);
  return TOOL_DONE;
}

static int compute(viewing *v) {
  heed_transformer_config config = *heed_model_folder_config(v->model.folder);
  config.frozen = true;
  config.dropout = 0;
  config.dtype = (heed_dtype)v->s->dtype;
  if (config.architecture != HEED_ARCHITECTURE_GPT2)
    config.context = (int64_t)v->length;  // angles of no other positions
  TOOL_TRY(lm_model_load(&v->model, &config, (int64_t)v->length, 0, device_bytes(v, &config),
                         "try a shorter text, one --layer or --dtype bf16"));
  TOOL_TRY(create_tensors(v));
  TOOL_HEED(command, heed_transformer_attention(v->model.transformer, v->tokens, v->tensors));
  for (int64_t layer = 0; layer < v->layers.count; layer++) TOOL_TRY(read_layer(v, layer));
  return TOOL_DONE;
}

// The weights that a token gives in a head; both from the first that is wanted.
static const float *row_of(const viewing *v, int64_t layer, int64_t head, size_t token) {
  return v->weights + ((size_t)(layer * v->heads.count + head) * v->length + token) * v->length;
}

// The token that it looks at most; of equal ones the first.
static size_t most_of(const viewing *v, int64_t layer, int64_t head, size_t token) {
  const float *row = row_of(v, layer, head, token);
  size_t most = 0;
  for (size_t key = 1; key < v->length; key++)
    if (row[key] > row[most]) most = key;
  return most;
}

// ---------------------------------------------------------------- the table

enum { HEADING = 5 };  // how wide "token" is

static int digits_of(size_t number) { return snprintf(NULL, 0, "%zu", number); }

// The width of the widest label, `least` at least.
static int widest(const viewing *v, int least) {
  int width = least;
  for (size_t i = 0; i < v->length; i++)
    if (v->labels[i].width > width) width = v->labels[i].width;
  return width;
}

static void print_label(const viewing *v, size_t token, int width) {
  printf("%s%*s", v->labels[token].text, width - v->labels[token].width, "");
}

// As many heads as stand side by side.
static void print_heads(const viewing *v, int64_t layer, int64_t first, int64_t count) {
  const int digits = digits_of(v->length - 1), width = widest(v, HEADING), cell = digits + 1 + width + 5;
  printf("%*s  %-*s", digits, "", width, "token");
  for (int64_t i = 0; i < count; i++) {
    char name[32];
    snprintf(name, sizeof name, "head %" PRId64, v->heads.first + first + i);
    printf("   %-*s", i + 1 < count ? cell : 0, name);
  }
  puts("");
  for (size_t token = 0; token < v->length; token++) {
    printf("%*zu  ", digits, token);
    print_label(v, token, width);
    for (int64_t i = 0; i < count; i++) {
      const size_t most = most_of(v, layer, first + i, token);
      printf("   %*zu ", digits, most);
      print_label(v, most, width);
      printf(" %.2f", (double)row_of(v, layer, first + i, token)[most]);
    }
    puts("");
  }
}

static void print_table(const viewing *v) {
  const int digits = digits_of(v->length - 1), width = widest(v, HEADING);
  const int each = 3 + digits + 1 + width + 5, room = v->args->columns - digits - 2 - width;
  const int64_t abreast = v->args->columns == 0 ? v->heads.count : room / each > 1 ? room / each : 1;
  tool_progress_clear(v->args->progress);
  for (int64_t layer = 0; layer < v->layers.count; layer++) {
    printf("%slayer %" PRId64 "\n", layer ? "\n" : "", v->layers.first + layer);
    for (int64_t head = 0; head < v->heads.count; head += abreast) {
      if (head) puts("");
      print_heads(v, layer, head, v->heads.count - head < abreast ? v->heads.count - head : abreast);
    }
  }
}

// ---------------------------------------------------------------- JSON

static json_t *head_json(const viewing *v, int64_t layer, int64_t head) {
  json_t *object = json_object(), *at = json_array(), *weights = json_array();
  for (size_t token = 0; token < v->length; token++) {
    const size_t most = most_of(v, layer, head, token);
    tool_json_append(at, json_integer((json_int_t)most));
    tool_json_append(weights, json_real((double)row_of(v, layer, head, token)[most]));
  }
  tool_json_add(object, "head", json_integer(v->heads.first + head));
  tool_json_add(object, "most", at);
  tool_json_add(object, "weight", weights);
  return object;
}

static json_t *layer_json(const viewing *v, int64_t layer) {
  json_t *object = json_object(), *heads = json_array();
  for (int64_t head = 0; head < v->heads.count; head++) tool_json_append(heads, head_json(v, layer, head));
  tool_json_add(object, "layer", json_integer(v->layers.first + layer));
  tool_json_add(object, "heads", heads);
  return object;
}

static int print_json(const viewing *v) {
  json_t *object = tool_json_start(v->args), *ids = json_array(), *tokens = json_array(), *layers = json_array();
  for (size_t i = 0; i < v->length; i++) {
    size_t bytes = 0;
    const char *text = heed_tokenizer_token(v->model.tokenizer, v->ids[i], &bytes);
    tool_json_append(ids, json_integer(v->ids[i]));
    tool_json_append(tokens, tool_json_bytes(text ? text : "", text ? bytes : 0));
  }
  for (int64_t layer = 0; layer < v->layers.count; layer++) tool_json_append(layers, layer_json(v, layer));
  tool_json_device(object, heed_context_device(v->model.ctx));
  tool_json_add(object, "ids", ids);
  tool_json_add(object, "tokens", tokens);
  tool_json_add(object, "layers", layers);
  tool_json_add(object, "ok", json_true());
  return tool_json_print(v->args, object, false);
}

// ---------------------------------------------------------------- the file and the picture

static heed_status fill_file(const viewing *v, heed_safetensors *file) {
  const int64_t length = (int64_t)v->length, dims[] = {1, v->heads.count, length, length};
  heed_status status = heed_safetensors_set_metadata(file, "options", v->args->given);
  if (status == HEED_OK) status = heed_safetensors_set_metadata(file, "heed", heed_version());
  if (status == HEED_OK) status = heed_safetensors_add(file, "tokens", HEED_I32, 1, &length, v->ids);
  for (int64_t layer = 0; status == HEED_OK && layer < v->layers.count; layer++) {
    char name[40];
    snprintf(name, sizeof name, "attentions.%" PRId64, v->layers.first + layer);
    status = heed_safetensors_add(file, name, HEED_F32, 4, dims, row_of(v, layer, 0, 0));
  }
  return status;
}

static int write_file(const viewing *v) {
  heed_safetensors *file = NULL;
  TOOL_HEED(command, heed_safetensors_create(&file));
  const heed_status filled = fill_file(v, file);
  const int status =
      filled == HEED_OK ? tool_write_tensors(command, v->s->output, file) : tool_fail_status(command, filled);
  heed_safetensors_destroy(file);
  return status;
}

static void name_panel(int64_t panel, char *text, size_t size, const void *user) {
  const viewing *v = user;
  const int64_t layer = v->layers.first + panel / v->heads.count, head = v->heads.first + panel % v->heads.count;
  if (v->layers.count > 1)
    snprintf(text, size, "layer %" PRId64 ", head %" PRId64, layer, head);
  else
    snprintf(text, size, "head %" PRId64, head);
}

// A model's folder without what leads there.
static const char *name_of(const char *folder, char *text, size_t size) {
  size_t end = strlen(folder);
  while (end > 1 && folder[end - 1] == '/') end--;
  size_t from = end;
  while (from > 0 && folder[from - 1] != '/') from--;
  snprintf(text, size, "%.*s", (int)(end - from), folder + from);
  return text;
}

static int draw(const viewing *v) {
  const char *labels[HEAT_MAP_LABELS];
  char title[160], name[96], note[64];
  const bool labelled = v->length <= HEAT_MAP_LABELS;
  for (size_t i = 0; labelled && i < v->length; i++) labels[i] = v->labels[i].text;
  if (v->layers.count > 1)
    snprintf(title, sizeof title, "attention of %s", name_of(v->s->model, name, sizeof name));
  else
    snprintf(title, sizeof title, "attention of %s, layer %" PRId64, name_of(v->s->model, name, sizeof name),
             v->layers.first);
  snprintf(note, sizeof note, "%zu token%s%s", v->length, v->length == 1 ? "" : "s", labelled ? "" : ", numbered");
  const heat_map map = {
      .values = v->weights,
      .panels = v->layers.count * v->heads.count,
      .queries = (int64_t)v->length,
      .keys = (int64_t)v->length,
      .title = title,
      .note = note,
      .unit = "heads",
      .name = name_panel,
      .user = v,
      .columns = v->layers.count > 1 && v->heads.count > 1 && v->heads.count <= 6 ? (int)v->heads.count : 0,
      .labels = labelled ? labels : NULL,
      .label_width = widest(v, 1),
      .are_weights = true};
  return heat_map_draw(command, "--plot", v->s->plot, &map);
}

// ---------------------------------------------------------------- the command

static int view(viewing *v) {
  const settings *s = v->s;
  if (!s->model) return tool_usage(command, "name the folder of the model with --model");
  if (!s->text == !s->data) return tool_usage(command, "give the text with either --text or --data");
  TOOL_TRY(read_range("--layer", s->layer, "0", &v->layers));
  TOOL_TRY(read_range("--head", s->head, "all", &v->heads));
  TOOL_TRY(check_targets(v->args, s));
  TOOL_TRY(lm_model_open(v->args, s->model, &v->model));
  if (!v->model.tokenizer) return tool_fail(command, "%s has no tokenizer to read a text with", s->model);
  TOOL_TRY(fit_range("--layer", "layers", heed_model_folder_config(v->model.folder)->layers, &v->layers));
  TOOL_TRY(fit_range("--head", "heads", heed_model_folder_config(v->model.folder)->heads, &v->heads));
  TOOL_TRY(read_text(v));
  TOOL_TRY(compute(v));
  if (s->output) TOOL_TRY(write_file(v));
  if (s->plot) TOOL_TRY(draw(v));
  if (v->args->json) return print_json(v);
  if (!tool_is_dash(s->output) && !(s->plot && gnuplot_is_stdout(s->plot))) print_table(v);
  return TOOL_DONE;
}

int lm_attention(int argc, const char **argv) {
  settings s = {0};
  tool_args args;
  int status = tool_parse(&syntax, &s, argc, argv, &args);
  if (status == TOOL_PROCEED) {
    viewing v = {.args = &args, .s = &s};
    status = view(&v);
    for (int64_t i = 0; v.tensors && i < v.layers.count; i++) heed_tensor_destroy(v.tensors[v.layers.first + i]);
    heed_tensor_destroy(v.tokens);
    lm_model_close(&v.model);
    free(v.tensors);
    free(v.labels);
    free(v.weights);
    free(v.ids);
  }
  return tool_finish(&args, status);
}
