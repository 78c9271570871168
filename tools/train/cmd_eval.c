// heed eval: accuracy and mean loss of a model file on the test set.
#include <math.h>

#include "train/pictures/confusion.h"
#include "train/evaluate.h"
#include "cli/files.h"
#include "draw/gnuplot.h"

static const char command[] = "heed eval";

typedef struct eval_settings {
  const char *model, *data, *plot;
} eval_settings;

static const tool_option options[] = {
    TOOL_OPTION_TEXT(
        "model", eval_settings, model, "FILE",
        "safetensors file with l1.weight, l1.bias, l2.weight, ..., or with a vit of heed train; -: standard input"),
    {.name = "data",
     .kind = TOOL_TEXT,
     .offset = offsetof(eval_settings, data),
     .argument = "DIR|synthetic",
     .words = dataset_words,
     .help = "folder with MNIST's files (default: $HEED_DATA, else ~/.local/share/heed/mnist, else synthetic)"},
    TOOL_OPTION_TEXT("plot", eval_settings, plot, "FILE",
                     "draw which classes were taken for which, and the worst errors; FILE ends in .svg or .png, or is "
                     "svg:- or png:- for standard output"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed eval",
    .usage = "--model FILE [--data DIR|synthetic] [--plot FILE]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "heed reads the kind of model and its sizes from the file. Any PyTorch state dict\n"
        "with these names works, or 0.weight, 2.weight, ...\n",
};

static int print_result(const tool_args *args, const eval_settings *settings, const classifier_shape *shape,
                        const dataset *data, const evaluation *result, const heed_context *ctx) {
  tool_progress_clear(args->progress);
  if (!isfinite(result->loss))
    return tool_fail(command, "the loss is %s: the weights in %s are not finite, or too large",
                     isnan(result->loss) ? "NaN" : "infinite", settings->model);
  if (settings->plot && gnuplot_is_stdout(settings->plot)) return TOOL_DONE;
  if (!args->json) {
    printf("test accuracy %.2f %%, loss %.5f, %lld images\n", 100 * result->accuracy, result->loss,
           (long long)data->test.count);
    return TOOL_DONE;
  }
  json_t *root = tool_json_start(args);
  tool_json_device(root, heed_context_device(ctx));
  tool_json_number(root, "accuracy", result->accuracy);
  tool_json_number(root, "loss", result->loss);
  tool_json_add(root, "images", json_integer(data->test.count));
  tool_json_add(root, "data", tool_json_text(data->source));
  tool_json_add(root, "model", tool_json_text(settings->model));
  tool_json_add(root, "arch", json_string(classifier_archs[shape->arch]));
  tool_json_number(root, "seconds", tool_seconds() - args->record->started);
  tool_json_add(root, "ok", json_true());
  return tool_json_print(args, root, false);
}

static int draw(const eval_settings *settings, const dataset *data, const evaluation *result, const evaluator *tester) {
  if (!settings->plot) return TOOL_DONE;
  char title[512];
  snprintf(title, sizeof title, "%.80s: test accuracy %.2f %% of %lld %s%.80s", settings->model, 100 * result->accuracy,
           (long long)data->test.count, data->synthetic ? "digits, " : "images of ", data->source);
  return confusion_draw(settings->plot, title, tester);
}

static int evaluate(const tool_args *args, const eval_settings *settings, const heed_safetensors *file,
                    classifier_shape *shape, const dataset *data, heed_context *ctx) {
  classifier model;
  evaluator tester = {0};
  evaluation result;
  char text[TOOL_SHAPE_TEXT];
  int status = classifier_create(command, ctx, shape, 0, &model);
  tool_detail(args, "--arch %s, %s", classifier_archs[shape->arch], classifier_text(shape, text));
  if (status == TOOL_DONE) status = classifier_load(command, settings->model, file, ctx, &model);
  if (status == TOOL_DONE)
    status = evaluator_create(command, ctx, &data->test, classifier_dtype(shape), *classifier_classes(shape), &tester);
  if (status == TOOL_DONE && settings->plot) status = evaluator_keep_logits(&tester);
  tool_progress_show(args->progress, "evaluating %lld images", (long long)data->test.count);
  if (status == TOOL_DONE) status = evaluator_run(&tester, &model, &result);
  if (status == TOOL_DONE) status = draw(settings, data, &result, &tester);
  if (status == TOOL_DONE) status = print_result(args, settings, shape, data, &result, ctx);
  evaluator_destroy(&tester);
  classifier_destroy(&model);
  return status;
}

static int open_and_evaluate(const tool_args *args, const eval_settings *settings, const heed_safetensors *file,
                             dataset *data) {
  classifier_shape shape;
  TOOL_TRY(classifier_read_shape(command, settings->model, file, &shape));
  TOOL_TRY(dataset_open(args, settings->data, false, *classifier_classes(&shape), data));
  TOOL_TRY(classifier_fit(command, settings->model, data->source, data->test.rows, data->test.cols, &shape));
  heed_context *ctx = NULL;
  TOOL_TRY(tool_open(args, false, &ctx));
  const int status = evaluate(args, settings, file, &shape, data, ctx);
  heed_context_destroy(ctx);
  return status;
}

static int eval(const tool_args *args, const eval_settings *settings) {
  if (!settings->model) return tool_usage(command, "name the model's file with --model");
  if (settings->plot && gnuplot_is_stdout(settings->plot) && args->json)
    return tool_usage(command, "--plot %s and --json both write to standard output", settings->plot);
  if (settings->plot) TOOL_TRY(gnuplot_check(command, "--plot", settings->plot));
  heed_safetensors *file = NULL;
  dataset data = {0};
  TOOL_TRY(classifier_open(command, settings->model, &file));
  eval_settings named = *settings;
  named.model = tool_input_name(settings->model);
  const int status = open_and_evaluate(args, &named, file, &data);
  dataset_close(&data);
  heed_safetensors_destroy(file);
  return status;
}

int cmd_eval(int argc, const char **argv) {
  eval_settings settings = {0};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  args.uses = HEED_USES_PRODUCTS | HEED_USES_TRAINING;
  if (status == TOOL_PROCEED) status = eval(&args, &settings);
  return tool_finish(&args, status);
}
