// heed sqrt: finds square roots by gradient descent, a very small example of training that one can check by eye.
#include <ctype.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "cli/json.h"
#include "cli/table.h"

static const char command[] = "heed sqrt";

typedef struct sqrt_settings {
  double lr, tolerance;
  int64_t epochs;
} sqrt_settings;

static const tool_option options[] = {
    TOOL_OPTION_REAL("lr", sqrt_settings, lr, DBL_MIN, TOOL_MAX_REAL, "above 0",
                     "learning rate; must be below 1/(4a) (default: 1/(8a) for each A)"),
    TOOL_OPTION_INTEGER("epochs", sqrt_settings, epochs, 1, TOOL_MAX_COUNT, "at least 1",
                        "the most steps (default 1000)"),
    TOOL_OPTION_REAL("tolerance", sqrt_settings, tolerance, 0, TOOL_MAX_REAL, "at least 0",
                     "stop when (x*x - a)^2 <= X (default: 1e-12 a^2)"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed sqrt",
    .usage = "A... [--lr X] [--epochs N] [--tolerance X]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .max_operands = 1 << 20,
    .operand = "A",
    .about =
        "Minimises f(x) = (x*x - a)^2 for each A by x <- x - lr 4x(x*x - a), in 32-bit\n"
        "floating point on a device. It starts from x = 1, or from x = a if a < 1. It\n"
        "prints a, the root, its distance from the true root, and the number of epochs\n"
        "after which the root stopped changing. The exit status is 1 if any A does not\n"
        "converge.\n",
};

static int read_operand(const char *text, double *a) {
  if (!tool_read_real(text, a)) return tool_usage(command, "'%s' is not a finite number", text);
  if (*a < 0) return tool_usage(command, "%s is negative: it has no real square root", text);
  if (*a > FLT_MAX)
    return tool_usage(command, "%s does not fit 32-bit floating point: the largest number is %g", text,
                      (double)FLT_MAX);
  if (*a > 0 && *a < FLT_MIN)
    return tool_usage(command, "%s does not fit 32-bit floating point: the smallest number above 0 is %g", text,
                      (double)FLT_MIN);
  return TOOL_DONE;
}

// popt would read "-4" as an option; if a number is given for A, say what is wrong with it.
static int refuse_negative(int argc, const char **argv) {
  double number;
  for (int i = 1; i < argc; i++)
    if (argv[i][0] == '-' && tool_read_real(argv[i], &number) && (i == 1 || argv[i - 1][0] != '-'))
      return read_operand(argv[i], &number) != TOOL_DONE ? TOOL_USAGE : TOOL_DONE;
  return TOOL_DONE;
}

static int descend(const heed_sqrt_options *problem, const heed_tensor *a, const heed_tensor *x0, heed_tensor *x,
                   float *root) {
  TOOL_HEED(command, heed_sqrt_sgd(problem, a, x0, x));
  TOOL_HEED(command, heed_tensor_download_f32(x, root, 1));
  return TOOL_DONE;
}

// Finds the fewest epochs that give the same root as all of them, by bisection.
static int count_epochs(heed_sqrt_options problem, const heed_tensor *a, const heed_tensor *x0, heed_tensor *x,
                        float root, int64_t *epochs) {
  int64_t low = 0, high = problem.epochs;
  while (low < high) {
    problem.epochs = low + (high - low) / 2;
    float other = NAN;
    TOOL_TRY(descend(&problem, a, x0, x, &other));
    if (other == root)
      high = problem.epochs;
    else
      low = problem.epochs + 1;
  }
  *epochs = high;
  return TOOL_DONE;
}

enum { COLUMNS = 4 };
static const tool_column columns[COLUMNS] = {
    {.title = "a", .width = 14},
    {.title = "root", .width = 14, .before = 2},
    {.title = "error", .width = 9, .before = 2, .right = true, .drop = 1},
    {.title = "epochs", .width = 6, .before = 2, .right = true, .drop = 2},
};

typedef struct result {
  double given, a, root;  // given: the number on the command line; a: the same in single precision
  int64_t epochs;
  heed_sqrt_options problem;
} result;

static void print_row(const tool_args *args, const tool_table *table, const result *r) {
  char cells[COLUMNS][32];
  snprintf(cells[0], sizeof cells[0], "%.9g", r->given);
  snprintf(cells[1], sizeof cells[1], "%.9g", r->root);
  snprintf(cells[2], sizeof cells[2], "%.2e", r->root - sqrt(r->given));
  snprintf(cells[3], sizeof cells[3], "%" PRId64, r->epochs);
  tool_progress_clear(args->progress);
  tool_table_row(table, (const char *const[]){cells[0], cells[1], cells[2], cells[3]});
  tool_push();
}

static int judge(const result *r) {
  const heed_sqrt_options *problem = &r->problem;
  const double a = r->a, distance = r->root * r->root - a;
  if (distance * distance <= problem->tolerance) return TOOL_DONE;
  if (problem->lr >= 0.25 / a)
    return tool_fail(command, "%g: does not converge: --lr %g is too large; use less than 1/(4a) = %.3g", a,
                     problem->lr, 0.25 / a);
  return tool_fail(command,
                   "%g: does not reach (x*x - a)^2 <= %.3g within %" PRId64
                   " epochs; use more --epochs, an --lr nearer 1/(8a) = %.3g, or a larger --tolerance",
                   a, problem->tolerance, problem->epochs, 0.125 / a);
}

static int find_root(const tool_args *args, const sqrt_settings *settings, double value, heed_tensor *const tensors[3],
                     result *out) {
  const float a = (float)value, x0 = a < 1 ? a : 1;
  const heed_sqrt_options problem = {
      .lr = tool_given(args, "lr") ? settings->lr : (a > 0 ? 0.125 / (double)a : 1),
      .epochs = settings->epochs,
      .tolerance = tool_given(args, "tolerance") ? settings->tolerance : 1e-12 * (double)a * (double)a,
  };
  float root = NAN;
  int64_t epochs = 0;
  TOOL_HEED(command, heed_tensor_upload_f32(tensors[0], &a, 1));
  TOOL_HEED(command, heed_tensor_upload_f32(tensors[1], &x0, 1));
  TOOL_TRY(descend(&problem, tensors[0], tensors[1], tensors[2], &root));
  TOOL_TRY(count_epochs(problem, tensors[0], tensors[1], tensors[2], root, &epochs));
  *out = (result){.given = value, .a = (double)a, .root = (double)root, .epochs = epochs, .problem = problem};
  return TOOL_DONE;
}

// What is printed: rows of a table, or one object at the end.
typedef struct output {
  tool_table table;
  json_t *results;
} output;

static int show(const tool_args *args, output *out, const result *r) {
  if (!args->json) print_row(args, &out->table, r);
  const int status = judge(r);
  if (!args->json) return status;
  json_t *object = json_object();
  tool_json_number(object, "a", r->given);
  tool_json_number(object, "root", r->root);
  tool_json_number(object, "difference", r->root - sqrt(r->given));
  tool_json_add(object, "epochs", json_integer(r->epochs));
  tool_json_add(object, "ok", json_boolean(status == TOOL_DONE));
  tool_json_add(object, "error", status == TOOL_DONE ? json_null() : tool_json_text(tool_last_failure()));
  tool_json_append(out->results, object);
  return status;
}

static void start_output(const tool_args *args, output *out) {
  out->results = json_array();
  if (args->json) return;
  tool_table_start(&out->table, columns, COLUMNS, args->columns);
  tool_progress_clear(args->progress);
  tool_table_head(&out->table);
}

static int end_output(const tool_args *args, output *out, const heed_context *ctx, int status) {
  json_t *root = tool_json_start(args);
  tool_json_device(root, heed_context_device(ctx));
  tool_json_number(root, "seconds", tool_seconds() - args->record->started);
  tool_json_add(root, "ok", json_boolean(status == TOOL_DONE));
  tool_json_add(root, "results", out->results);
  if (!args->json) {
    json_decref(root);
    return status;
  }
  const int printed = tool_json_print(args, root, false);
  return printed == TOOL_DONE ? status : printed;
}

static int find_roots(const tool_args *args, const sqrt_settings *settings) {
  if (args->operand_count == 0) return tool_usage(command, "name the numbers to take roots of: heed sqrt 2 9 25");
  double value = 0;
  for (int i = 0; i < args->operand_count; i++) TOOL_TRY(read_operand(args->operands[i], &value));
  heed_context *ctx = NULL;
  TOOL_TRY(tool_open(args, false, &ctx));
  heed_tensor *tensors[3] = {NULL};
  int status = TOOL_DONE;
  for (int i = 0; i < 3 && status == TOOL_DONE; i++) {
    const heed_status made = heed_tensor_create(ctx, HEED_F32, 1, (const int64_t[]){1}, &tensors[i]);
    if (made != HEED_OK) status = tool_fail_status(command, made);
  }
  output out = {0};
  if (status == TOOL_DONE) start_output(args, &out);
  for (int i = 0; i < args->operand_count && tensors[2]; i++) {
    result r = {0};
    if (read_operand(args->operands[i], &value) != TOOL_DONE) break;
    tool_progress_count(args->progress, "root", i + 1, args->operand_count);
    tool_progress_again(args->progress);
    const int found = find_root(args, settings, value, tensors, &r);
    if (found != TOOL_DONE || show(args, &out, &r) != TOOL_DONE) status = TOOL_FAILED;
  }
  if (tensors[2]) status = end_output(args, &out, ctx, status);
  for (int i = 0; i < 3; i++) heed_tensor_destroy(tensors[i]);
  heed_context_destroy(ctx);
  return status;
}

int cmd_sqrt(int argc, const char **argv) {
  sqrt_settings settings = {.epochs = 1000};
  if (refuse_negative(argc, argv) != TOOL_DONE) return TOOL_USAGE;
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  args.uses = HEED_USES_TRAINING;
  if (status == TOOL_PROCEED) status = find_roots(&args, &settings);
  return tool_finish(&args, status);
}
