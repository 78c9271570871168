// heed train: prepares a training run from its options, a checkpoint or a file of weights, and starts the loop.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"
#include "cli/files.h"

static const char command[] = "heed train";
enum { MOST_CLASSES = 256 };  // labels are bytes

// ---------------------------------------------------------------- shape

static int read_hidden(const char *text, model_shape *shape) {
  const char *from = text;
  do {
    char part[24];
    const size_t length = strcspn(from, ",");
    int64_t width = 0;
    snprintf(part, sizeof part, "%.*s", (int)length, from);
    if (length >= sizeof part || !tool_read_integer(part, &width) || width < 1 || width > INT32_MAX)
      return tool_usage(command, "--hidden %s: must be whole numbers from 1 to %d with commas between, as in 512,256",
                        text, INT32_MAX);
    if (shape->count + 2 > MODEL_MAX_SIZES)
      return tool_usage(command, "--hidden %s: at most %d layers are allowed", text, MODEL_MAX_SIZES - 1);
    shape->sizes[shape->count++] = width;
    from += length;
  } while (*from++ == ',');
  return TOOL_DONE;
}

// The shape that the command line describes; 0 where images and labels decide.
static int wanted_shape(const train_settings *s, classifier_shape *shape) {
  *shape = (classifier_shape){.arch = (classifier_arch)s->arch, .mlp = {.count = 1, .dtype = HEED_F32}};
  TOOL_TRY(read_hidden(s->hidden, &shape->mlp));
  shape->mlp.count++;
  shape->vit = (heed_vit_config){.layers = s->layers, .heads = s->heads, .width = s->width, .patch = s->patch};
  *classifier_classes(shape) = s->classes;
  return TOOL_DONE;
}

static bool same_hidden(const model_shape *a, const model_shape *b) {
  if (a->count != b->count) return false;
  for (size_t i = 1; i + 1 < a->count; i++)
    if (a->sizes[i] != b->sizes[i]) return false;
  return true;
}

// Fails where an option of the command line contradicts the model in a file.
static int check_options(const trainer *t, const char *path, classifier_shape *file, classifier_shape *wanted) {
  const train_settings *s = &t->settings;
  const struct {
    const char *option, *text;
    int64_t has, value;
  } all[] = {{"arch", classifier_archs[s->arch], file->arch, wanted->arch},
             {"hidden", s->hidden, true, same_hidden(&file->mlp, &wanted->mlp)},
             {"layers", NULL, file->vit.layers, s->layers},
             {"heads", NULL, file->vit.heads, s->heads},
             {"width", NULL, file->vit.width, s->width},
             {"patch", NULL, file->vit.patch, s->patch},
             {"classes", NULL, *classifier_classes(file), s->classes}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    char number[24], text[TOOL_SHAPE_TEXT];
    if (!tool_given(t->args, all[i].option) || all[i].has == all[i].value) continue;
    snprintf(number, sizeof number, "%" PRId64, all[i].value);
    return tool_usage(command, "--%s %s does not fit %s, which is %s", all[i].option,
                      all[i].text ? all[i].text : number, path, classifier_text(file, text));
  }
  return TOOL_DONE;
}

// The model's shape: that of the file it starts from, else the one of the command line. It trains in F32.
static int decide_shape(trainer *t, const heed_safetensors *from, const char *path) {
  TOOL_TRY(wanted_shape(&t->settings, &t->shape));
  if (!from) return TOOL_DONE;
  classifier_shape wanted = t->shape;
  TOOL_TRY(classifier_read_shape(command, path, from, &t->shape));
  t->shape.mlp.dtype = t->shape.vit.dtype = HEED_F32;
  return check_options(t, path, &t->shape, &wanted);
}

static int open_data(trainer *t, const char *path) {
  int64_t *classes = classifier_classes(&t->shape);
  TOOL_TRY(dataset_open(t->args, t->settings.data, true, *classes > 0 ? *classes : MOST_CLASSES, &t->data));
  if (*classes == 0) *classes = dataset_classes(&t->data);
  TOOL_TRY(classifier_fit(command, path, t->data.source, t->data.train.rows, t->data.train.cols, &t->shape));
  if (t->settings.save || t->settings.resume || t->ranks) t->data_checksum = dataset_checksum(&t->data.train);
  t->batches = (t->data.train.count - 1) / t->settings.batch + 1;
  t->steps_per_epoch = (t->batches - 1) / t->settings.accumulate + 1;
  return TOOL_DONE;
}

// ---------------------------------------------------------------- files

// Several of these may not use standard output at the same time.
static int check_outputs(trainer *t) {
  const train_settings *s = &t->settings;
  const bool log = tool_is_dash(s->log), save = tool_is_dash(s->save);
  if (save && (log || t->args->json))
    return tool_usage(command, "--save - and %s both write to standard output", log ? "--log -" : "--json");
  t->results = save ? (t->args->verbosity == TOOL_QUIET ? NULL : stderr) : log || t->args->json ? NULL : stdout;
  return s->save && tool_ranks_leads(t->ranks) ? tool_check_target(command, "--save", s->save, false, true) : TOOL_DONE;
}

// ---------------------------------------------------------------- on the device

static int create_model(trainer *t) {
  heed_optimizer_config config = train_optimizer(&t->settings);
  TOOL_TRY(classifier_create(command, t->ctx, &t->shape, t->settings.seed, &t->model));
  TOOL_TRY(tool_share_open(command, t->ranks, t->model.parameters, t->model.count, t->settings.accumulate, &t->share));
  t->share.no_norm = config.kind != HEED_OPTIMIZER_ADAMW && config.max_norm == 0;
  if (!t->share.no_norm) config.squares = t->share.square;
  TOOL_HEED(command, heed_optimizer_create(t->share.own, t->share.own_count, &config, &t->optimizer));
  return TOOL_DONE;
}

static int64_t batch_rows(const trainer *t) {
  const int64_t count = t->data.train.count;
  return t->settings.batch < count ? t->settings.batch : count;
}

// The part of its step's images that each micro-batch has, which is the weight of its gradients.
static int create_shares(trainer *t) {
  const int64_t count = t->data.train.count, batch = t->settings.batch;
  if (t->settings.accumulate == 1) return TOOL_DONE;
  for (int64_t i = 0; i < t->batches; i++) {
    const int64_t step = i / t->settings.accumulate * t->settings.accumulate * batch;
    const int64_t left = count - step, all = t->settings.accumulate * batch, rows = count - i * batch;
    t->losses_host[i] = (float)((double)(rows < batch ? rows : batch) / (double)(left < all ? left : all));
  }
  TOOL_HEED(command, heed_tensor_create_from(t->ctx, HEED_F32, 1, &t->batches, t->losses_host, &t->shares));
  return TOOL_DONE;
}

static int create_tensors(trainer *t) {
  const int64_t count = t->data.train.count, batch = batch_rows(t), classes = *classifier_classes(&t->shape);
  t->order = malloc((size_t)count * sizeof *t->order);
  t->losses_host = malloc((size_t)t->batches * sizeof *t->losses_host);
  if (!t->order || !t->losses_host) return tool_fail(command, "out of memory");
  TOOL_TRY(feed_create(command, t->ctx, &t->data.train, batch, &t->images));
  TOOL_HEED(command, heed_tensor_create(t->ctx, HEED_F32, 2, (const int64_t[]){batch, t->images.pixels}, &t->x));
  TOOL_HEED(command, heed_tensor_create(t->ctx, HEED_F32, 2, (const int64_t[]){batch, classes}, &t->logits));
  const int64_t most = t->steps_per_epoch * t->settings.accumulate;
  TOOL_HEED(command, heed_tensor_create(t->ctx, HEED_F32, 1, &most, &t->losses));
  TOOL_HEED(command, heed_fill(t->losses, 0));
  TOOL_TRY(create_shares(t));
  return evaluator_create(command, t->ctx, &t->data.test, HEED_F32, classes, &t->tester);
}

static void release(trainer *t) {
  tool_log_close(&t->log);
  train_picture_close(t);
  heed_tensor *const all[] = {t->x, t->logits, t->losses, t->shares};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) heed_tensor_destroy(all[i]);
  evaluator_destroy(&t->tester);
  feed_destroy(&t->images);
  heed_optimizer_destroy(t->optimizer);
  tool_share_close(&t->share);
  classifier_destroy(&t->model);
  heed_context_destroy(t->ctx);
  train_warmup_stop(&t->warmup);  // what it has put into the cache by now stays
  dataset_close(&t->data);
  free(t->order);
  free(t->losses_host);
}

// ---------------------------------------------------------------- the run

static bool nothing_to_do(const trainer *t) {
  const bool epochs = t->epoch >= t->settings.epochs;
  if (!epochs && !(t->settings.max_steps > 0 && train_steps(t) >= t->settings.max_steps)) return false;
  tool_note(t->args, "nothing to do: %" PRId64 " epochs and %" PRId64 " steps are done; use a larger %s to continue",
            t->epoch, train_steps(t), epochs ? "--epochs" : "--max-steps");
  return true;
}

static void say_start(const trainer *t) {
  char text[TOOL_SHAPE_TEXT];
  tool_note(t->args, "%s on %" PRId64 " %s%s, on %s%s", classifier_text(&t->shape, text), t->data.train.count,
            t->data.synthetic ? "synthetic digits" : "images of ", t->data.synthetic ? "" : t->data.source,
            heed_context_device(t->ctx)->name,
            t->settings.save ? "" : "; without --save the trained weights are lost at the end");
}

// Without a number of micro-batches each rank has one.
static int share_batches(trainer *t) {
  train_settings *s = &t->settings;
  if (!s->resume && !tool_given(t->args, "accumulate")) TOOL_TRY(tool_ranks_default(t->ranks, t->args, &s->accumulate));
  return tool_ranks_check(t->ranks, s->accumulate);
}

// Ranks that began with something else would train another model.
static int compare_ranks(trainer *t) {
  char *text = NULL;
  if (!t->ranks) return TOOL_DONE;
  if (asprintf(&text, "heed %s, %s, micro-batches %" PRId64 ", data %08" PRIx32, heed_version(), t->args->given,
               t->settings.accumulate, t->data_checksum) < 0)
    return tool_fail(command, "out of memory");
  const int status = tool_ranks_same(t->ranks, "its version of heed, its options or its data", text, strlen(text));
  free(text);
  return status;
}

// A checkpoint's settings, or the defaults of the kind of model that there is or shall be.
static int decide_settings(trainer *t, const heed_safetensors *from, const char *path) {
  classifier_shape shape = {.arch = (classifier_arch)t->settings.arch};
  if (t->settings.resume) {
    TOOL_TRY(checkpoint_read_settings(t, from));
  } else {
    if (from && !tool_given(t->args, "arch")) TOOL_TRY(classifier_read_shape(command, path, from, &shape));
    train_settings_complete(t->args, shape.arch, &t->settings);
  }
  TOOL_TRY(train_settings_check(t->args, &t->settings));
  return share_batches(t);
}

static int set_up(trainer *t, const heed_safetensors *from, const char *path) {
  const bool resume = t->settings.resume != NULL;
  TOOL_TRY(decide_settings(t, from, path));
  TOOL_TRY(decide_shape(t, from, path));
  t->shape.vit.dropout = t->settings.dropout;
  TOOL_TRY(open_data(t, path));
  TOOL_TRY(compare_ranks(t));
  t->schedule = train_schedule(&t->settings, t->settings.epochs * t->steps_per_epoch);
  if (resume) TOOL_TRY(checkpoint_check_data(t, from));
  const bool nothing = nothing_to_do(t);
  if (nothing && !t->settings.save) return TOOL_DONE;
  if (!nothing) TOOL_TRY(train_picture_open(t));
  train_warmup_go(&t->warmup, t->args, &t->shape, batch_rows(t));
  TOOL_TRY(tool_ranks_choose_device(t->ranks, t->args));
  TOOL_TRY(tool_open(t->args, false, &t->ctx));
  TOOL_TRY(tool_ranks_tune(t->ranks, t->ctx));
  TOOL_TRY(create_model(t));
  TOOL_TRY(create_tensors(t));
  if (from) TOOL_TRY(classifier_load(command, path, from, t->ctx, &t->model));
  if (resume) TOOL_TRY(checkpoint_restore(t, from));
  if (nothing) {
    TOOL_TRY(checkpoint_save(t));
    return t->save_failed ? TOOL_FAILED : TOOL_DONE;
  }
  say_start(t);
  TOOL_TRY(tool_ranks_compare(t->ranks, t->model.parameters, t->model.count));
  tool_ranks_set_timeout(t->ranks, t->settings.timeout);
  TOOL_TRY(train_log_open(t));
  return train_loop(t);
}

static int train(trainer *t) {
  const train_settings *s = &t->settings;
  if (s->init && s->resume) return tool_usage(command, "--init and --resume both say where to start; give one of them");
  TOOL_TRY(check_outputs(t));
  heed_safetensors *from = NULL;
  const char *path = s->resume ? s->resume : s->init;
  int status = TOOL_DONE;
  if (s->resume)
    status = checkpoint_open(t, &from);
  else if (path)
    status = classifier_open(command, path, &from);
  if (status == TOOL_DONE) status = set_up(t, from, tool_input_name(path));
  heed_safetensors_destroy(from);
  return status;
}

int cmd_train(int argc, const char **argv) {
  tool_args args;
  trainer run = {.args = &args, .command = command, .saved_steps = -1, .settings = train_settings_initial};
  TOOL_TRY(tool_ranks_open(command, &run.ranks));
  int status = tool_parse(&train_syntax, &run.settings, argc, argv, &args);
  args.uses = HEED_USES_PRODUCTS | HEED_USES_TRAINING;
  if (status == TOOL_PROCEED) {
    if (!run.ranks) train_warmup_start(&args, &run.warmup);
    if (!tool_ranks_leads(run.ranks)) {
      run.settings.log = run.settings.plot = NULL;
      tool_ranks_follow(&args);
    }
    status = train(&run);
  }
  status = tool_ranks_close(run.ranks, status);
  release(&run);
  return tool_finish(&args, status);
}
