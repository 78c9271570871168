// heed train: prepares a training run from its options, a checkpoint or a file of weights, and starts the loop.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"
#include "cli/files.h"

static const char command[] = "heed train";
enum { MOST_CLASSES = 256 };  // labels are bytes

static const tool_option options[] = {
    TOOL_OPTION_TEXT(
        "data", train_settings, data, "DIR|synthetic",
        "folder with the four files of MNIST, Fashion-MNIST or EMNIST, plain or .gz (default: $HEED_DATA, else "
        "~/.local/share/heed/mnist, else synthetic)"),
    TOOL_OPTION_TEXT("hidden", train_settings, hidden, "N[,N...]", "widths of the hidden layers (default 512)"),
    TOOL_OPTION_INTEGER("classes", train_settings, classes, 1, TOOL_MAX_COUNT, "at least 1",
                        "outputs of the model (default: the highest label + 1)"),
    TOOL_OPTION_INTEGER("batch", train_settings, batch, 1, TOOL_MAX_COUNT, "at least 1", "images a step (default 64)"),
    TOOL_OPTION_INTEGER("epochs", train_settings, epochs, 0, TOOL_MAX_COUNT, "at least 0",
                        "passes over the images, including those of a resumed run (default 10)"),
    TOOL_OPTION_REAL("lr", train_settings, lr, 0, TOOL_MAX_REAL, "at least 0", "learning rate (default 0.01)"),
    TOOL_OPTION_REAL("momentum", train_settings, momentum, 0, TOOL_MAX_REAL, "at least 0", "(default 0.5)"),
    TOOL_OPTION_UNSIGNED("seed", train_settings, seed, "seed of the initial weights and the shuffling (default 1)"),
    TOOL_OPTION_TEXT("init", train_settings, init, "FILE", "start from the weights in FILE; -: standard input"),
    TOOL_OPTION_TEXT("save", train_settings, save, "FILE",
                     "write the weights, and FILE.state to resume from, after every epoch and at the end; -: both "
                     "in one, on standard output, at the end only"),
    TOOL_OPTION_TEXT("resume", train_settings, resume, "FILE",
                     "continue from FILE and FILE.state, with their settings; -: from what --save - wrote"),
    TOOL_OPTION_FLAG("no-shuffle", train_settings, no_shuffle, "take the images in the order of the file"),
    TOOL_OPTION_INTEGER("max-steps", train_settings, max_steps, 1, 9007199254740992.0, "at least 1",
                        "stop after N steps, including those of a resumed run"),
    TOOL_OPTION_TEXT("log", train_settings, log, "FILE",
                     "append one JSON object per line: start, step, epoch, end; -: on standard output, as --json does"),
    TOOL_OPTION_TEXT("plot", train_settings, plot, "FILE",
                     "draw loss, test loss and learning rate, again while training; FILE ends in .svg or .png"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed train",
    .usage = "[options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Trains linear, relu, ..., linear on handwritten digits by SGD on the mean cross-entropy. After each epoch it\n"
        "prints the mean loss, the accuracy on the test set and the seconds. --save writes the weights under the names "
        "of a\n"
        "PyTorch state dict, and beside them FILE.state, from which --resume goes on with the same --batch, --hidden "
        "and\n"
        "--seed; the result is bit-identical to an uninterrupted run. Ctrl-C keeps the last checkpoint.\n",
};

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

// The model's shape: that of the file it starts from, else the one in --hidden and --classes. The first and the last of its sizes are 0
// until the images and labels are known.
static int decide_shape(trainer *t, const heed_safetensors *from, const char *path) {
  model_shape wanted = {.sizes = {0}, .count = 1, .dtype = HEED_F32};
  TOOL_TRY(read_hidden(t->settings.hidden, &wanted));
  wanted.sizes[wanted.count++] = t->settings.classes;
  t->shape = wanted;
  if (!from) return TOOL_DONE;
  TOOL_TRY(model_read_shape(command, path, from, &t->shape));
  t->shape.dtype = HEED_F32;
  const size_t hidden = wanted.count - 2;
  char text[TOOL_SHAPE_TEXT];
  if (tool_given(t->args, "hidden") && (t->shape.count != wanted.count || memcmp(t->shape.sizes + 1, wanted.sizes + 1,
                                                                                 hidden * sizeof *wanted.sizes) != 0))
    return tool_usage(command, "--hidden %s does not fit %s, which is %s", t->settings.hidden, path,
                      model_text(&t->shape, text));
  if (tool_given(t->args, "classes") && t->shape.sizes[t->shape.count - 1] != t->settings.classes)
    return tool_usage(command, "--classes %" PRId64 " does not fit %s, which is %s", t->settings.classes, path,
                      model_text(&t->shape, text));
  return TOOL_DONE;
}

static int open_data(trainer *t, const char *path) {
  int64_t *classes = &t->shape.sizes[t->shape.count - 1];
  TOOL_TRY(dataset_open(t->args, t->settings.data, true, *classes > 0 ? *classes : MOST_CLASSES, &t->data));
  if (*classes == 0) *classes = dataset_classes(&t->data);
  const int64_t pixels = t->data.train.rows * t->data.train.cols;
  if (t->shape.sizes[0] == 0) t->shape.sizes[0] = pixels;
  if (t->shape.sizes[0] != pixels)
    return tool_fail(command, "%s takes %" PRId64 " values, but the images of %s have %" PRId64 " pixels", path,
                     t->shape.sizes[0], t->data.source, pixels);
  if (t->settings.save || t->settings.resume) t->data_checksum = dataset_checksum(&t->data.train);
  t->steps_per_epoch = (t->data.train.count - 1) / t->settings.batch + 1;
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
  return s->save ? tool_check_target(command, "--save", s->save, false, true) : TOOL_DONE;
}

// ---------------------------------------------------------------- on the device

static int create_model(trainer *t) {
  const heed_optimizer_config sgd = {.sgd = {.lr = t->settings.lr, .momentum = t->settings.momentum}};
  const heed_mlp_config config = {.sizes = t->shape.sizes, .count = t->shape.count, .dtype = HEED_F32};
  TOOL_HEED(command, heed_mlp_create(t->ctx, &config, t->settings.seed, &t->mlp));
  t->parameter_count = heed_mlp_parameters(t->mlp, &t->parameters);
  TOOL_HEED(command, heed_optimizer_create(t->parameters, t->parameter_count, &sgd, &t->optimizer));
  return TOOL_DONE;
}

static int64_t batch_rows(const trainer *t) {
  const int64_t count = t->data.train.count;
  return t->settings.batch < count ? t->settings.batch : count;
}

static int create_tensors(trainer *t) {
  const int64_t count = t->data.train.count, batch = batch_rows(t);
  t->order = malloc((size_t)count * sizeof *t->order);
  t->losses_host = malloc((size_t)t->steps_per_epoch * sizeof *t->losses_host);
  if (!t->order || !t->losses_host) return tool_fail(command, "out of memory");
  TOOL_TRY(feed_create(command, t->ctx, &t->data.train, batch, &t->images));
  TOOL_HEED(command, heed_tensor_create(t->ctx, HEED_F32, 2, (const int64_t[]){batch, t->images.pixels}, &t->x));
  TOOL_HEED(command, heed_tensor_create(t->ctx, HEED_F32, 1, &t->steps_per_epoch, &t->losses));
  return evaluator_create(command, t->ctx, &t->data.test, HEED_F32, t->shape.sizes[t->shape.count - 1], &t->tester);
}

static void release(trainer *t) {
  train_log_close(t);
  train_picture_close(t);
  heed_tensor_destroy(t->x);
  heed_tensor_destroy(t->losses);
  evaluator_destroy(&t->tester);
  feed_destroy(&t->images);
  heed_optimizer_destroy(t->optimizer);
  heed_mlp_destroy(t->mlp);
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
  tool_note(t->args, "%s on %" PRId64 " %s%s, on %s%s", model_text(&t->shape, text), t->data.train.count,
            t->data.synthetic ? "synthetic digits" : "images of ", t->data.synthetic ? "" : t->data.source,
            heed_context_device(t->ctx)->name,
            t->settings.save ? "" : "; without --save the trained weights are lost at the end");
}

static int set_up(trainer *t, const heed_safetensors *from, const char *path) {
  const bool resume = t->settings.resume != NULL;
  if (resume) TOOL_TRY(checkpoint_read_settings(t, from));
  TOOL_TRY(decide_shape(t, from, path));
  TOOL_TRY(open_data(t, path));
  if (resume) TOOL_TRY(checkpoint_check_data(t, from));
  const bool nothing = nothing_to_do(t);
  if (nothing && !t->settings.save) return TOOL_DONE;
  if (!nothing) TOOL_TRY(train_picture_open(t));
  train_warmup_go(&t->warmup, t->args, &t->shape, batch_rows(t));
  TOOL_TRY(tool_open(t->args, false, &t->ctx));
  TOOL_TRY(create_model(t));
  TOOL_TRY(create_tensors(t));
  if (from) TOOL_TRY(model_load(command, path, from, t->ctx, t->mlp));
  if (resume) TOOL_TRY(checkpoint_restore(t, from));
  if (nothing) {
    TOOL_TRY(checkpoint_save(t));
    return t->save_failed ? TOOL_FAILED : TOOL_DONE;
  }
  say_start(t);
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
    status = model_open(command, path, &from);
  if (status == TOOL_DONE) status = set_up(t, from, tool_input_name(path));
  heed_safetensors_destroy(from);
  return status;
}

int cmd_train(int argc, const char **argv) {
  tool_args args;
  trainer run = {.args = &args,
                 .command = command,
                 .saved_steps = -1,
                 .settings = {.hidden = "512", .batch = 64, .epochs = 10, .lr = 0.01, .momentum = 0.5, .seed = 1}};
  int status = tool_parse(&syntax, &run.settings, argc, argv, &args);
  args.uses = HEED_USES_PRODUCTS | HEED_USES_TRAINING;
  if (status == TOOL_PROCEED) {
    train_warmup_start(&args, &run.warmup);
    status = train(&run);
  }
  release(&run);
  return tool_finish(&args, status);
}
