// heed run: reads tensors from a file, calls one operator, writes its results. The operators are in the other files of this folder.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "run/run.h"
#include "cli/files.h"
#include "draw/gnuplot.h"
#include "cli/json.h"

static const char command[] = "heed run";

#define ENTRY(name) &run_##name,
static const run_op *const ops[] = {RUN_OPS(ENTRY)};
#undef ENTRY
#define WORD(name) #name,
const char *const cmd_run_words[] = {RUN_OPS(WORD) NULL};
#undef WORD
enum { OPS = sizeof ops / sizeof *ops, MOST_OPTIONS = 24, HELP_WIDTH = 80 };

static const tool_option file_options[] = {
    {.name = "input",
     .letter = 'i',
     .kind = TOOL_TEXT,
     .offset = offsetof(run_settings, input),
     .argument = "FILE",
     .unrecorded = true,
     .help = "safetensors file with the operator's inputs, or the index of several; -: standard input"},
    {.name = "output",
     .letter = 'o',
     .kind = TOOL_TEXT,
     .offset = offsetof(run_settings, output),
     .argument = "FILE",
     .unrecorded = true,
     .help = "safetensors file to write, which heed replaces only when the new one is complete; -: standard output"},
    TOOL_OPTION_FLAG("ignore-unknown", run_settings, ignore_unknown, "ignore tensors that the operator does not know"),
};
enum { FILE_OPTIONS = sizeof file_options / sizeof *file_options };

static const run_op *find_op(const char *name) {
  for (size_t i = 0; i < OPS; i++)
    if (strcmp(ops[i]->name, name) == 0) return ops[i];
  return NULL;
}

static void print_ops(void) {
  printf("Usage: heed run OP -i IN.safetensors -o OUT.safetensors [options]\n\nOperators:\n");
  for (size_t i = 0; i < OPS; i++) printf("  %-14s %s\n", ops[i]->name, ops[i]->summary);
  printf(
      "\nheed run OP --help lists an operator's tensors and options. If the inputs\n"
      "include 'grad.out' (or, for a loss, with --grad), heed also writes the gradient\n"
      "of each input NAME as 'grad.NAME'.\n");
}

static int unknown_op(const char *name) {
  const char *names[OPS + 1] = {NULL};
  for (size_t i = 0; i < OPS; i++) names[i] = ops[i]->name;
  const char *nearest = tool_nearest(name, names);
  if (nearest) return tool_usage(command, "unknown operator '%s'; did you mean '%s'?", name, nearest);
  return tool_usage(command, "unknown operator '%s'; '%s --help' lists the operators", name, command);
}

// Records what was run, for later readers of the file.
static int write_metadata(const run_call *run) {
  const char *const pairs[][2] = {{"op", run->op},
                                  {"options", run->args->given},
                                  {"device", heed_context_device(run->ctx)->name},
                                  {"heed", heed_version()}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    RUN_TRY(run, heed_safetensors_set_metadata(run->result, pairs[i][0], pairs[i][1]));
  return TOOL_DONE;
}

static bool has_choice(const heed_device_list *list) {
  size_t devices = 0;
  for (size_t i = 0; i < heed_device_list_count(list); i++)
    devices += heed_device_list_get(list, i)->type != HEED_DEVICE_HOST;
  return devices > 1;
}

// Says which device it is where nobody named one and there are several: which one "auto" picks may change with a driver.
static void say_device(const run_call *run) {
  const char *spec = run->args->device ? run->args->device : getenv("HEED_DEVICE");
  heed_device_list *list = NULL;
  if (spec && *spec && strcasecmp(spec, "auto") != 0) return;
  if (heed_device_list_create(&list) != HEED_OK) return;  // the result does not depend on it
  const heed_device_info *device = heed_context_device(run->ctx);
  if (has_choice(list)) {
    char index[32] = "host";
    if (device->type != HEED_DEVICE_HOST)
      snprintf(index, sizeof index, "%d:%d", device->platform_index, device->device_index);
    tool_note(run->args, "on %s, %s; --device names another (heed devices lists them)", index, device->name);
  }
  heed_device_list_destroy(list);
}

// What was written where, for --json.
static int print_json(const run_call *run) {
  json_t *root = tool_json_start(run->args), *tensors = json_array();
  tool_json_device(root, heed_context_device(run->ctx));
  tool_json_add(root, "op", json_string(run->op));
  tool_json_add(root, "input", tool_json_text(run->settings.input));
  tool_json_add(root, "output", tool_json_text(run->settings.output));
  for (size_t i = 0; i < heed_safetensors_count(run->result); i++) {
    const heed_array *array = heed_safetensors_get(run->result, i);
    json_t *tensor = json_object(), *shape = json_array();
    for (int axis = 0; axis < array->rank; axis++) tool_json_append(shape, json_integer(array->dims[axis]));
    tool_json_add(tensor, "name", tool_json_text(array->name));
    tool_json_add(tensor, "dtype", json_string(heed_dtype_string(array->dtype)));
    tool_json_add(tensor, "shape", shape);
    tool_json_append(tensors, tensor);
  }
  tool_json_add(root, "tensors", tensors);
  tool_json_number(root, "seconds", tool_seconds() - run->args->record->started);
  tool_json_add(root, "ok", json_true());
  return tool_json_print(run->args, root, false);
}

static int check_plot(const run_call *run) {
  const run_settings *s = &run->settings;
  if (!s->plot) return TOOL_DONE;
  if (gnuplot_is_stdout(s->plot) && (tool_is_dash(s->output) || run->args->json))
    return tool_usage(command, "--plot %s and %s both write to standard output", s->plot,
                      run->args->json ? "--json" : "-o -");
  return gnuplot_check(command, "--plot", s->plot);
}

static int execute(run_call *run, const run_op *op) {
  const run_settings *settings = &run->settings;
  if (!settings->input) return tool_usage(command, "%s: name the input file with -i", op->name);
  if (!settings->output) return tool_usage(command, "%s: name the output file with -o", op->name);
  if (tool_is_dash(settings->output) && run->args->json)
    return tool_usage(command, "-o - and --json both write to standard output");
  TOOL_TRY(tool_check_target(command, "-o", settings->output, false, true));
  TOOL_TRY(check_plot(run));
  TOOL_TRY(run_read(run, op));
  TOOL_TRY(tool_open(run->args, false, &run->ctx));
  say_device(run);
  RUN_TRY(run, heed_safetensors_create(&run->result));
  tool_progress_show(run->args->progress, "running %s", op->name);
  TOOL_TRY(run_say_converted(run, op, op->function(run)));
  RUN_TRY(run, heed_sync(run->ctx));
  TOOL_TRY(write_metadata(run));
  TOOL_TRY(tool_write_tensors(command, settings->output, run->result));
  return run->args->json ? print_json(run) : TOOL_DONE;
}

// For help: the operator's tensors and their other names.
static void describe(const run_op *op, char *text, size_t size) {
  size_t used = (size_t)snprintf(text, size, "%s\n", op->tensors), column = 0;
  bool first = true;
  for (const run_name *known = op->names; known->name && used < size; known++) {
    if (!known->synonym) continue;
    const size_t width = strlen(known->synonym) + strlen(" = ,") + strlen(known->name);
    const bool wraps = !first && column + 1 + width > HELP_WIDTH;
    const char *before = first ? "Also known: " : wraps ? ",\n     " : ", ";
    column = first || wraps ? strlen(before) + width : column + 1 + width;
    used += (size_t)snprintf(text + used, size - used, "%s%s = %s", before, known->synonym, known->name);
    first = false;
  }
  if (!first && used < size) snprintf(text + used, size - used, "\n");
}

static int run_one(const run_op *op, int argc, const char **argv) {
  tool_option options[FILE_OPTIONS + MOST_OPTIONS];
  memcpy(options, file_options, sizeof file_options);
  if (op->option_count) memcpy(options + FILE_OPTIONS, op->options, op->option_count * sizeof *options);
  char title[64], about[2048];
  snprintf(title, sizeof title, "%s %s", command, op->name);
  describe(op, about, sizeof about);
  const tool_syntax syntax = {.command = command,
                              .title = title,
                              .usage = "-i IN.safetensors -o OUT.safetensors [options]",
                              .about = about,
                              .options = options,
                              .count = FILE_OPTIONS + op->option_count};
  run_call run = {.op = op->name, .names = op->names, .settings = op->defaults};
  tool_args args;
  int status = tool_parse(&syntax, &run.settings, argc, argv, &args);
  args.uses = op->uses;
  run.args = &args;
  if (status == TOOL_PROCEED) status = execute(&run, op);
  while (run.owned_count) heed_tensor_destroy(run.owned[--run.owned_count]);
  free(run.owned);
  heed_safetensors_destroy(run.in);
  heed_store_destroy(run.store);
  heed_safetensors_destroy(run.result);
  heed_context_destroy(run.ctx);
  return tool_finish(&args, status);
}

int cmd_run(int argc, const char **argv) {
  if (argc < 2) return tool_usage(command, "name an operator; '%s --help' lists the operators", command);
  if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
    printf("heed %s\n", heed_version());
    return TOOL_DONE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    print_ops();
    return TOOL_DONE;
  }
  if (argv[1][0] == '-')
    return tool_usage(command, "name the operator before its options: %s OP -i IN -o OUT", command);
  const run_op *op = find_op(argv[1]);
  return op ? run_one(op, argc - 1, argv + 1) : unknown_op(argv[1]);
}
