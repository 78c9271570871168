// The options of heed train, their defaults, and what they mean to the library. settings_kept.c has their form in files.
#include "train/settings.h"
#include "train/dataset.h"

const char *const train_optimizers[] = {"sgd", "adamw", NULL};
const char *const train_schedules[] = {"constant", "linear", "cosine", "wsd", NULL};

// ---------------------------------------------------------------- options

static const tool_option options[] = {
    {.name = "data",
     .kind = TOOL_TEXT,
     .offset = offsetof(train_settings, data),
     .argument = "DIR|synthetic",
     .words = dataset_words,
     .help = "folder with the four files of MNIST, Fashion-MNIST or EMNIST, plain or .gz (default: $HEED_DATA, else "
             "~/.local/share/heed/mnist, else synthetic)"},
    TOOL_OPTION_CHOICE("arch", train_settings, arch, classifier_archs, "mlp|vit",
                       "multi-layer perceptron, or vision transformer (default mlp)"),
    TOOL_OPTION_TEXT("hidden", train_settings, hidden, "N[,N...]", "mlp: widths of the hidden layers (default 512)"),
    TOOL_OPTION_INTEGER("layers", train_settings, layers, 1, TOOL_MAX_COUNT, "at least 1", "vit: blocks (default 4)"),
    TOOL_OPTION_INTEGER("heads", train_settings, heads, 1, TOOL_MAX_COUNT, "at least 1",
                        "vit: heads of attention (default 4)"),
    TOOL_OPTION_INTEGER("width", train_settings, width, 1, TOOL_MAX_COUNT, "at least 1",
                        "vit: width of a patch's vector, a multiple of the heads (default 64)"),
    TOOL_OPTION_INTEGER("patch", train_settings, patch, 1, TOOL_MAX_COUNT, "at least 1",
                        "vit: side of a patch in pixels (default 7)"),
    TOOL_OPTION_INTEGER("classes", train_settings, classes, 1, TOOL_MAX_COUNT, "at least 1",
                        "outputs of the model (default: the highest label + 1)"),
    TOOL_OPTION_INTEGER("batch", train_settings, batch, 1, TOOL_MAX_COUNT, "at least 1",
                        "images a micro-batch (default 64)"),
    TOOL_OPTION_INTEGER("accumulate", train_settings, accumulate, 1, TOOL_MAX_COUNT, "at least 1",
                        "micro-batches a step (default 1)"),
    TOOL_OPTION_INTEGER("epochs", train_settings, epochs, 0, TOOL_MAX_COUNT, "at least 0",
                        "passes over the images, including those of a resumed run (default 10)"),
    TOOL_OPTION_CHOICE("optimizer", train_settings, optimizer, train_optimizers, "sgd|adamw",
                       "how weights are stepped (default: sgd for an mlp, adamw for a vit)"),
    TOOL_OPTION_REAL("lr", train_settings, lr, 0, TOOL_MAX_REAL, "at least 0",
                     "highest learning rate (default 0.01 for sgd, 0.002 for adamw)"),
    TOOL_OPTION_CHOICE(
        "schedule", train_settings, schedule, train_schedules, "KIND",
        "how the learning rate falls over the epochs: constant, linear, cosine or wsd (default: constant "
        "for an mlp, cosine for a vit)"),
    TOOL_OPTION_INTEGER("warmup", train_settings, warmup, 0, TOOL_MAX_COUNT, "at least 0",
                        "steps in which the learning rate rises (default: 0 for an mlp, 200 for a vit)"),
    TOOL_OPTION_REAL("min-lr", train_settings, min_lr, 0, TOOL_MAX_REAL, "at least 0",
                     "learning rate at the end (default 0)"),
    TOOL_OPTION_REAL("momentum", train_settings, momentum, 0, TOOL_MAX_REAL, "at least 0",
                     "sgd: momentum (default 0.5)"),
    TOOL_OPTION_REAL("beta1", train_settings, beta1, 0, 1, "from 0 to below 1",
                     "adamw: decay rate of the first moment (default 0.9)"),
    TOOL_OPTION_REAL("beta2", train_settings, beta2, 0, 1, "from 0 to below 1",
                     "adamw: decay rate of the second moment (default 0.999)"),
    TOOL_OPTION_REAL("eps", train_settings, eps, 0, TOOL_MAX_REAL, "at least 0",
                     "adamw: added to the root of the second moment (default 1e-8)"),
    TOOL_OPTION_REAL("weight-decay", train_settings, weight_decay, 0, TOOL_MAX_REAL, "at least 0",
                     "weight decay, with adamw of matrices alone, with sgd of all parameters (default: 0 for an mlp, "
                     "0.05 for a vit)"),
    TOOL_OPTION_REAL("clip", train_settings, clip, 0, TOOL_MAX_REAL, "at least 0",
                     "largest norm of all gradients; 0: any (default: 0 for an mlp, 1 for a vit)"),
    TOOL_OPTION_REAL("dropout", train_settings, dropout, 0, 1, "from 0 to below 1",
                     "vit: probability of dropping an element (default 0.1)"),
    TOOL_OPTION_UNSIGNED("seed", train_settings, seed,
                         "seed of the initial weights, the shuffling and the dropout (default 1)"),
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
    TOOL_OPTION_INTEGER("compare-every", train_settings, compare_every, 0, TOOL_MAX_COUNT, "at least 0",
                        "mpirun: steps between two comparisons of the ranks' parameters (default 100; 0: none)"),
    TOOL_OPTION_REAL("timeout", train_settings, timeout, 0, TOOL_MAX_REAL, "at least 0",
                     "mpirun: seconds after which a rank that does not answer ends the run (default 600; 0: never)"),
    TOOL_OPTION_TEXT("plot", train_settings, plot, "FILE",
                     "draw loss, test loss and learning rate, again while training; FILE ends in .svg or .png"),
};

const tool_syntax train_syntax = {
    .command = "heed train",
    .title = "heed train",
    .usage = "[options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Trains a classifier of handwritten digits on the mean cross-entropy: linear,\n"
        "relu, ..., linear, or with --arch vit a transformer over patches of the images.\n"
        "After each epoch it prints the mean loss, the accuracy on the test set and the\n"
        "seconds. --save writes the weights under the names of a PyTorch state dict, and\n"
        "beside them FILE.state, from which --resume goes on with the same model,\n"
        "--batch, --accumulate, --optimizer and --seed; the result is bit-identical to an\n"
        "uninterrupted run. Ctrl-C keeps the last checkpoint.\n",
};

// ---------------------------------------------------------------- defaults

const train_settings train_settings_initial = {.hidden = "512",
                                               .layers = 4,
                                               .heads = 4,
                                               .width = 64,
                                               .patch = 7,
                                               .batch = 64,
                                               .accumulate = 1,
                                               .epochs = 10,
                                               .lr = 0.01,
                                               .momentum = 0.5,
                                               .beta1 = 0.9,
                                               .beta2 = 0.999,
                                               .eps = 1e-8,
                                               .seed = 1,
                                               .compare_every = 100,
                                               .timeout = 600};

void train_settings_complete(const tool_args *args, classifier_arch arch, train_settings *s) {
  const bool vit = arch == CLASSIFIER_VIT;
  s->arch = (int)arch;
  if (!tool_given(args, "optimizer")) s->optimizer = vit ? HEED_OPTIMIZER_ADAMW : HEED_OPTIMIZER_SGD;
  if (!tool_given(args, "schedule")) s->schedule = vit ? HEED_SCHEDULE_COSINE : HEED_SCHEDULE_CONSTANT;
  if (!tool_given(args, "lr")) s->lr = s->optimizer == HEED_OPTIMIZER_ADAMW ? 0.002 : 0.01;
  if (!vit) return;
  if (!tool_given(args, "warmup")) s->warmup = 200;
  if (!tool_given(args, "weight-decay")) s->weight_decay = 0.05;
  if (!tool_given(args, "clip")) s->clip = 1;
  if (!tool_given(args, "dropout")) s->dropout = 0.1;
}

int train_settings_check(const tool_args *args, const train_settings *s) {
  const bool vit = s->arch == CLASSIFIER_VIT, adamw = s->optimizer == HEED_OPTIMIZER_ADAMW;
  const struct {
    const char *option, *of, *chosen;
    bool fits;
  } of[] = {
      {"hidden", "--arch mlp", classifier_archs[s->arch], !vit},
      {"layers", "--arch vit", classifier_archs[s->arch], vit},
      {"heads", "--arch vit", classifier_archs[s->arch], vit},
      {"width", "--arch vit", classifier_archs[s->arch], vit},
      {"patch", "--arch vit", classifier_archs[s->arch], vit},
      {"dropout", "--arch vit", classifier_archs[s->arch], vit},
      {"momentum", "--optimizer sgd", train_optimizers[s->optimizer], !adamw},
      {"beta1", "--optimizer adamw", train_optimizers[s->optimizer], adamw},
      {"beta2", "--optimizer adamw", train_optimizers[s->optimizer], adamw},
      {"eps", "--optimizer adamw", train_optimizers[s->optimizer], adamw},
      {"min-lr", "a schedule that falls", train_schedules[s->schedule], s->schedule != HEED_SCHEDULE_CONSTANT},
  };
  for (size_t i = 0; i < sizeof of / sizeof *of; i++)
    if (tool_given(args, of[i].option) && !of[i].fits)
      return tool_usage(args->command, "--%s belongs to %s, and this run has %s", of[i].option, of[i].of, of[i].chosen);
  const double below_one[] = {s->beta1, s->beta2, s->dropout};
  static const char *const names[] = {"beta1", "beta2", "dropout"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!(below_one[i] < 1)) return tool_usage(args->command, "--%s %g: must be below 1", names[i], below_one[i]);
  return TOOL_DONE;
}

// ---------------------------------------------------------------- what they mean

heed_optimizer_config train_optimizer(const train_settings *s) {
  heed_optimizer_config config = {.kind = (heed_optimizer_kind)s->optimizer, .max_norm = s->clip};
  if (config.kind == HEED_OPTIMIZER_ADAMW) {
    config.adamw = (heed_adamw_options){
        .lr = s->lr, .beta1 = s->beta1, .beta2 = s->beta2, .eps = s->eps, .weight_decay = s->weight_decay};
    config.decay_matrices = true;
  } else {
    config.sgd = (heed_sgd_options){.lr = s->lr, .momentum = s->momentum, .weight_decay = s->weight_decay};
  }
  return config;
}

heed_schedule train_schedule(const train_settings *s, int64_t steps) {
  return (heed_schedule){.kind = (heed_schedule_kind)s->schedule,
                         .lr = s->lr,
                         .min_lr = s->min_lr,
                         .warmup = s->warmup,
                         .decay_steps = steps};
}
