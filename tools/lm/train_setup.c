// heed lm train: from options to a run that is ready: what it starts from, its data, its model on the device.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/files.h"
#include "lm/train.h"

// ---------------------------------------------------------------- lists of files

// --data names files with commas between. The caller frees *paths, and no path.
static int split(const char *command, const char *text, char **copy, const char ***paths, size_t *count) {
  *count = 1;
  for (const char *at = text; *at; at++) *count += *at == ',';
  *copy = strdup(text);
  *paths = malloc((*count + 1) * sizeof **paths);
  if (!*copy || !*paths) return tool_fail(command, "out of memory");
  char *rest = *copy;
  for (size_t i = 0; i <= *count; i++) (*paths)[i] = strsep(&rest, ",");
  for (size_t i = 0; i < *count; i++)
    if (!*(*paths)[i]) return tool_usage(command, "--data %s: a file name between the commas is empty", text);
  return TOOL_DONE;
}

typedef struct files {
  char *copy;
  const char **paths;  // one more than count: --val goes there for those who want all
  size_t count;
  const char *val;  // NULL: not given
  lm_input input;
} files;

static int read_input(trainer *t, files *f) {
  for (size_t i = 0; i < f->count; i++) TOOL_TRY(lm_input_begin(t->command, "--data", &f->paths[i], &f->input));
  f->val = t->s.val;
  return f->val ? lm_input_begin(t->command, "--val", &f->val, &f->input) : TOOL_DONE;
}

static void files_free(files *f) {
  lm_input_end(&f->input);
  free(f->copy);
  free(f->paths);
}

// ---------------------------------------------------------------- the tokenizer

static int is_text(const trainer *t, const files *f, bool *text) {
  bool tokens = false;
  TOOL_HEED(t->command, heed_token_file_is(f->paths[0], &tokens));
  *text = !tokens;
  return TOOL_DONE;
}

static int make_tokenizer(trainer *t, files *f) {
  f->paths[f->count] = f->val;
  return lm_open_tokenizer(t->command, t->s.tokenizer, f->paths, f->count + (f->val != NULL), f->input.copy,
                           &t->model.tokenizer);
}

// A run that goes on has its tokenizer.
static int check_same_tokenizer(trainer *t, files *f) {
  heed_tokenizer *own = t->model.tokenizer;
  t->model.tokenizer = NULL;
  const int status = make_tokenizer(t, f);
  const bool same =
      status == TOOL_DONE && own && heed_tokenizer_fingerprint(own) == heed_tokenizer_fingerprint(t->model.tokenizer);
  heed_tokenizer_destroy(t->model.tokenizer);
  t->model.tokenizer = own;
  if (status != TOOL_DONE || same) return status;
  return tool_usage(t->command, "--tokenizer %s does not fit the run in %s, which has another; leave it out",
                    t->s.tokenizer, t->s.resume);
}

// The folder that the run starts from has one already, if it has one.
static int decide_tokenizer(trainer *t, files *f) {
  bool text = false;
  TOOL_TRY(is_text(t, f, &text));
  if (t->s.tokenizer && t->s.resume) return check_same_tokenizer(t, f);
  if (t->s.tokenizer && t->model.tokenizer) {
    heed_tokenizer_destroy(t->model.tokenizer);
    t->model.tokenizer = NULL;
  }
  if (!t->s.tokenizer && !t->model.tokenizer && text) {
    if (t->model.folder)
      return tool_fail(t->command, "%s has no tokenizer for the text %s; name one with --tokenizer",
                       t->s.init ? t->s.init : t->s.resume, f->paths[0]);
    t->s.tokenizer = "bytes";
  }
  return t->s.tokenizer ? make_tokenizer(t, f) : TOOL_DONE;
}

// ---------------------------------------------------------------- the configuration

static int refuse_shape(const trainer *t, const char *option, int64_t given, int64_t has) {
  if (!tool_given(t->args, option) || given == has) return TOOL_DONE;
  return tool_usage(t->command, "--%s %" PRId64 " does not fit the model in %s, which has %" PRId64, option, given,
                    t->s.resume ? t->s.resume : t->s.init, has);
}

static int take_configuration(trainer *t) {
  const train_settings *s = &t->s;
  t->config = *heed_model_folder_config(t->model.folder);
  const heed_transformer_config *c = &t->config;
  TOOL_TRY(refuse_shape(t, "layers", s->layers, c->layers));
  TOOL_TRY(refuse_shape(t, "heads", s->heads, c->heads));
  TOOL_TRY(refuse_shape(t, "kv-heads", s->kv_heads, c->kv_heads));
  TOOL_TRY(refuse_shape(t, "width", s->width, c->width));
  TOOL_TRY(refuse_shape(t, "ffn", s->ffn, c->ffn));
  TOOL_TRY(refuse_shape(t, "vocab", s->vocab, c->vocab));
  if (tool_given(t->args, "arch") && s->architecture != (int)c->architecture)
    return tool_usage(t->command, "--arch does not fit the model in %s, which is a %s", s->resume ? s->resume : s->init,
                      heed_architecture_string(c->architecture));
  if ((s->tie && c->tied < 0) || (s->no_tie && c->tied > 0))
    return tool_usage(t->command, "--%s does not fit the model in %s, whose head %s; leave it out",
                      s->tie ? "tie" : "no-tie", s->resume ? s->resume : s->init,
                      c->tied > 0 ? "has the embedding's weight" : "has its own weight");
  return TOOL_DONE;
}

static int new_configuration(trainer *t) {
  const train_settings *s = &t->s;
  const int64_t ids = heed_tokenizer_vocab(t->model.tokenizer);
  if (!s->vocab && !t->model.tokenizer)
    return tool_usage(t->command, "token files do not tell how many token ids there are; give --vocab");
  t->config = (heed_transformer_config){.architecture = (heed_architecture)s->architecture,
                                        .layers = s->layers,
                                        .width = s->width,
                                        .heads = s->heads,
                                        .kv_heads = s->kv_heads,
                                        .ffn = s->ffn,
                                        .context = s->context ? s->context : 64,
                                        .vocab = s->vocab ? s->vocab : ids,
                                        .tied = s->tie      ? 1
                                                : s->no_tie ? -1
                                                            : 0};
  return TOOL_DONE;
}

static int decide_configuration(trainer *t) {
  train_settings *s = &t->s;
  if (t->model.folder)
    TOOL_TRY(take_configuration(t));
  else
    TOOL_TRY(new_configuration(t));
  heed_transformer_config *c = &t->config;
  if (!s->context) s->context = c->context;
  if (s->context > c->context)
    return tool_usage(t->command, "--context %" PRId64 " is above the model's context of %" PRId64, s->context,
                      c->context);
  if (tool_given(t->args, "dropout") || s->resume) c->dropout = s->dropout;
  s->dropout = c->dropout;
  c->dtype = (heed_dtype)s->dtype;
  c->recompute = s->recompute;
  const heed_status complete = heed_transformer_complete(c);
  if (complete != HEED_OK)
    return t->model.folder ? tool_fail_status(t->command, complete) : tool_usage(t->command, "%s", heed_last_error());
  const char *name = s->tokenizer ? s->tokenizer : s->init ? s->init : s->resume;
  if (t->model.tokenizer) TOOL_TRY(lm_check_vocabulary(t->command, name, t->model.tokenizer, c->vocab));
  return TOOL_DONE;
}

// ---------------------------------------------------------------- the data

static void told(const char *path, double part, void *user) {
  const trainer *t = user;
  if (tool_progress_due(t->args->progress))
    tool_progress_show(t->args->progress, "tokenizing %s: %.0f %%", path, 100 * part);
}

// What is too short to validate on is said, and an error if somebody asked for it.
static int check_validation(trainer *t) {
  const int64_t count = heed_token_data_count(t->validation);
  if (!t->validation || count > t->s.context) return TOOL_DONE;
  if (t->s.val || tool_given(t->args, "val-fraction") || t->s.resume)
    return tool_fail(t->command,
                     "there are %" PRId64 " tokens for validation, and a row of --context %" PRId64
                     " needs one more "
                     "than that; give more, or --val-fraction 0",
                     count, t->s.context);
  tool_note(t->args, "%" PRId64 " tokens are too few for validation; there is none", count);
  heed_token_data_close(t->validation);
  t->validation = NULL;
  return TOOL_DONE;
}

static int open_data(trainer *t, const files *f) {
  heed_token_data_options open = {.tokenizer = t->model.tokenizer,
                                  .vocab = t->config.vocab,
                                  .validation = t->s.val ? 0 : t->s.val_fraction,
                                  .template_tokens = t->s.template_tokens,
                                  .progress = told,
                                  .user = t};
  if (!tool_ranks_leads(t->ranks)) TOOL_TRY(tool_ranks_after_first(t->ranks));  // they find the tokens in the cache
  heed_status opened = heed_token_data_open(f->paths, f->count, &open, &t->data, &t->validation);
  open.validation = 0;
  if (opened == HEED_OK && f->val) opened = heed_token_data_open(&f->val, 1, &open, &t->validation, NULL);
  if (opened != HEED_OK) return tool_fail_copied(t->command, f->input.copy);
  const int64_t count = heed_token_data_count(t->data);
  if (count <= t->s.context)
    return tool_fail(t->command, "%s has %" PRId64 " tokens to train on; a row of --context %" PRId64 " needs %" PRId64,
                     tool_input_name(t->s.data), count, t->s.context, t->s.context + 1);
  TOOL_TRY(check_validation(t));
  TOOL_HEED(t->command, heed_token_data_checksum(t->data, &t->data_checksum));
  if (t->validation) TOOL_HEED(t->command, heed_token_data_checksum(t->validation, &t->validation_checksum));
  return tool_ranks_leads(t->ranks) ? tool_ranks_after_first(t->ranks) : TOOL_DONE;
}

// ---------------------------------------------------------------- on the device

// The peak of multiply-adds costs a second to measure; only those who see the share of it need it. It is measured before the run's own
// memory is taken, so that it does not count.
static void measure_peak(trainer *t) {
  enum { COPY = 1 << 16 };
  double copy;
  t->peak_gflops = NAN;
  if (!lm_train_log_wanted(t) && !t->args->progress->terminal) return;
  tool_progress_show(t->args->progress, "measuring the device");
  if (heed_measure_peak(t->model.ctx, COPY, &t->peak_gflops, &copy) != HEED_OK) t->peak_gflops = NAN;
}

static int create_optimizer(trainer *t) {
  const train_settings *s = &t->s;
  const heed_optimizer_config config = {
      .kind = HEED_OPTIMIZER_ADAMW,
      .adamw = {.lr = s->lr, .beta1 = s->beta1, .beta2 = s->beta2, .eps = s->eps, .weight_decay = s->weight_decay},
      .decay_matrices = true,
      .max_norm = s->clip,
      .squares = t->share.square,
      .loss_scale = s->dtype == HEED_F16 ? 65536 : 0};
  TOOL_HEED(t->command, heed_optimizer_create(t->share.own, t->share.own_count, &config, &t->optimizer));
  return TOOL_DONE;
}

static int create_buffers(trainer *t) {
  const int64_t dims[] = {t->s.batch, t->s.context}, rows = dims[0] * dims[1], micro = t->s.accumulate;
  TOOL_HEED(t->command, heed_tensor_create(t->model.ctx, HEED_I32, 2, dims, &t->tokens));
  TOOL_HEED(t->command, heed_tensor_create(t->model.ctx, HEED_I32, 2, dims, &t->targets));
  TOOL_HEED(t->command, heed_tensor_create(t->model.ctx, HEED_F32, 1, &micro, &t->losses));
  t->host_tokens = malloc((size_t)rows * sizeof *t->host_tokens);
  t->host_targets = malloc((size_t)rows * sizeof *t->host_targets);
  t->look.losses = malloc((size_t)micro * sizeof *t->look.losses);
  if (!t->host_tokens || !t->host_targets || !t->look.losses) return tool_fail(t->command, "out of memory");
  return TOOL_DONE;
}

// A rank sums its micro-batches, steps its share, and has room for what it gets of another's sum.
static int reckon(trainer *t) {
  const train_settings *s = &t->s;
  const int64_t ranks = tool_ranks_count(t->ranks);
  TOOL_HEED(t->command, lm_memory_to_train(&t->config, s->batch, s->context, s->accumulate / ranks,
                                           heed_context_device(t->model.ctx)->type, &t->memory));
  t->memory.bytes[LM_OPTIMIZER] /= (uint64_t)ranks;
  if (t->ranks)
    t->memory.bytes[LM_GRADIENTS] += (uint64_t)lm_parameters(&t->config) * heed_dtype_size((heed_dtype)s->dtype) / 2;
  return TOOL_DONE;
}

static const char *advice_of(const trainer *t) {
  if (lm_memory_total(&t->memory) - t->memory.bytes[LM_ACTIVATIONS] > heed_context_device(t->model.ctx)->memory)
    return "even without its activations the model is too large; take a smaller one";
  return t->s.recompute ? "try a smaller --batch, with more --accumulate"
                        : "try --recompute, or a smaller --batch with more --accumulate";
}

static int create_model(trainer *t) {
  TOOL_TRY(tool_ranks_choose_device(t->ranks, t->args));
  TOOL_TRY(lm_open_device(t->args, &t->model.ctx));
  TOOL_TRY(tool_ranks_tune(t->ranks, t->model.ctx));
  TOOL_TRY(reckon(t));
  TOOL_TRY(lm_memory_check(t->command, t->model.ctx, &t->memory, advice_of(t)));
  measure_peak(t);
  tool_progress_show(t->args->progress, "making the model");
  heed_transformer_config config = t->config;
  config.empty = t->model.folder != NULL;
  TOOL_HEED(t->command, heed_transformer_create(t->model.ctx, &config, t->s.seed, &t->model.transformer));
  if (t->s.init) TOOL_HEED(t->command, heed_model_folder_load(t->model.folder, t->model.transformer));
  t->parameter_count = heed_transformer_parameters(t->model.transformer, &t->parameters);
  TOOL_TRY(tool_share_open(t->command, t->ranks, t->parameters, t->parameter_count, t->s.accumulate, &t->share));
  TOOL_TRY(create_optimizer(t));
  if (t->s.init) TOOL_TRY(lm_train_load_masters(t));
  return create_buffers(t);
}

// ---------------------------------------------------------------- all of it

static bool is_same_file(const char *a, const char *b) {
  struct stat x, y;
  return strcmp(a, b) == 0 || (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

static int check_options(trainer *t) {
  train_settings *s = &t->s;
  if (!s->data) return tool_usage(t->command, "name the text to train on with --data");
  if (s->tie && s->no_tie) return tool_usage(t->command, "--tie and --no-tie exclude each other");
  if (s->val && tool_given(t->args, "val-fraction"))
    return tool_usage(t->command, "--val and --val-fraction both say what to validate on; give one");
  if (s->resume && s->save && !is_same_file(s->save, s->resume))
    return tool_usage(t->command, "--resume goes on in its own folder; to train elsewhere, use --init");
  if (s->resume) s->save = s->resume;
  t->from_model = s->init != NULL;  // the state says so otherwise
  if (s->keep_best && !s->save) return tool_usage(t->command, "--keep-best needs a folder: --save");
  if (s->save && !*s->save) return tool_usage(t->command, "--save: the name of the folder is empty");
  return TOOL_DONE;
}

static void say_start(const trainer *t) {
  const heed_transformer_config *c = &t->config;
  char memory[32];
  tool_note(t->args,
            "%s of %" PRId64 " layers, width %" PRId64 ", %" PRId64 " parameters, vocabulary %" PRId64 ", on %" PRId64
            " tokens; %s of device memory on %s%s",
            heed_architecture_string(c->architecture), c->layers, c->width, lm_parameters(c), c->vocab,
            heed_token_data_count(t->data), tool_bytes_text(lm_memory_total(&t->memory), memory),
            heed_context_device(t->model.ctx)->name,
            t->s.save ? "" : "; without --save the trained model is lost at the end");
}

// Ranks that began with something else would train another model.
static int compare_ranks(trainer *t) {
  char *text = NULL;
  if (!t->ranks) return TOOL_DONE;
  if (asprintf(&text, "heed %s, %s, micro-batches %" PRId64 ", data %08" PRIx32 " %08" PRIx32, heed_version(),
               t->args->given, t->s.accumulate, t->data_checksum, t->validation_checksum) < 0)
    return tool_fail(t->command, "out of memory");
  const int status = tool_ranks_same(t->ranks, "its version of heed, its options or its data", text, strlen(text));
  free(text);
  return status;
}

static int share_batches(trainer *t) {
  train_settings *s = &t->s;
  if (!s->resume && !tool_given(t->args, "accumulate")) TOOL_TRY(tool_ranks_default(t->ranks, t->args, &s->accumulate));
  return tool_ranks_check(t->ranks, s->accumulate);
}

// Files are rank 0's to write.
static void follow(trainer *t) {
  t->s.log = t->s.plot = NULL;
  tool_ranks_follow(t->args);
}

static int prepare(trainer *t, files *f, const heed_safetensors *state) {
  TOOL_TRY(decide_tokenizer(t, f));
  TOOL_TRY(decide_configuration(t));
  if (tool_ranks_leads(t->ranks)) TOOL_TRY(lm_train_check_room(t));
  TOOL_TRY(open_data(t, f));
  TOOL_TRY(compare_ranks(t));
  if (state) TOOL_TRY(lm_train_state_check_data(t, state));
  if (!t->s.decay_steps && t->s.schedule != HEED_SCHEDULE_CONSTANT) t->s.decay_steps = t->s.steps;
  TOOL_TRY(tool_curves_open(t->command, t->s.plot, t->s.save ? t->s.save : "heed lm train", &t->curves));
  if (t->s.resume && t->s.log) TOOL_TRY(tool_curves_read_log(t->curves, t->s.log));
  TOOL_TRY(lm_train_log_open(t));
  TOOL_TRY(create_model(t));
  if (state) TOOL_TRY(lm_train_state_restore(t, state));
  say_start(t);
  return tool_ranks_compare(t->ranks, t->parameters, t->parameter_count);
}

// The weights of a run that goes on are in its state.
static int open_start(trainer *t) {
  if (t->s.resume) return lm_model_open_config(t->args, t->s.resume, &t->model);
  return t->s.init ? lm_model_open(t->args, t->s.init, &t->model) : TOOL_DONE;
}

int lm_train_set_up(trainer *t) {
  t->model.args = t->args;
  if (!tool_ranks_leads(t->ranks)) follow(t);
  TOOL_TRY(check_options(t));
  files f = {0};
  heed_safetensors *state = NULL;
  if (tool_ranks_leads(t->ranks)) TOOL_TRY(lm_train_enter_folder(t));
  int status = t->s.resume ? lm_train_state_open(t, &state) : TOOL_DONE;
  if (status == TOOL_DONE) status = open_start(t);
  if (status == TOOL_DONE) status = share_batches(t);
  if (status == TOOL_DONE) status = split(t->command, t->s.data, &f.copy, &f.paths, &f.count);
  if (status == TOOL_DONE) status = read_input(t, &f);
  if (status == TOOL_DONE) status = prepare(t, &f, state);
  heed_safetensors_destroy(state);
  files_free(&f);
  return status;
}

void lm_train_release(trainer *t) {
  tool_log_close(&t->log);
  tool_curves_close(t->curves);
  heed_read_destroy(t->look.loss);
  heed_read_destroy(t->look.norm);
  heed_read_destroy(t->look.counts);
  heed_tensor_destroy(t->tokens);
  heed_tensor_destroy(t->targets);
  heed_tensor_destroy(t->losses);
  heed_optimizer_destroy(t->optimizer);
  tool_share_close(&t->share);
  heed_token_data_close(t->data);
  heed_token_data_close(t->validation);
  lm_model_close(&t->model);
  free(t->host_tokens);
  free(t->host_targets);
  free(t->look.losses);
}
