// heed plot: pictures of what other subcommands wrote. The kinds of picture are in the other files of this folder.
#include <stdlib.h>
#include <string.h>

#include "plot/plot.h"
#include "cli/files.h"
#include "draw/gnuplot.h"
#include "cli/json.h"

static const char command[] = "heed plot";

static const plot_kind *const kinds[] = {&plot_runs, &plot_bench};
const char *const cmd_plot_words[] = {"runs", "bench", NULL};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct plot_settings {
  const char *output, *labels;
} plot_settings;

static const tool_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = TOOL_TEXT,
     .offset = offsetof(plot_settings, output),
     .argument = "FILE",
     .help = "the picture; FILE ends in .svg or .png, or is svg:- or png:- for standard output"},
    TOOL_OPTION_TEXT("labels", plot_settings, labels, "A,B,...",
                     "what the legend calls the files, in their order (default: their names)"),
};

// ---------------------------------------------------------------- labels

static const char *base_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

// A file's name without its folder, unless another file has the same.
static const char *name_of(const tool_args *args, int file) {
  const char *path = args->operands[file];
  if (tool_is_dash(path)) return tool_input_name(path);
  for (int i = 0; i < args->operand_count; i++)
    if (i != file && strcmp(base_of(args->operands[i]), base_of(path)) == 0) return path;
  return base_of(path);
}

// Cuts `text` at its commas.
static int split_labels(const tool_args *args, char *text, const char **labels) {
  int count = 0;
  for (char *part = text; part; count++) {
    char *comma = strchr(part, ',');
    if (comma) *comma++ = '\0';
    if (count < PLOT_MOST_FILES) labels[count] = part;
    part = comma;
  }
  if (count == args->operand_count) return TOOL_DONE;
  return tool_usage(command, "--labels names %d, but there are %d files; give one label for each, with commas between",
                    count, args->operand_count);
}

// ---------------------------------------------------------------- one picture

static int print_json(const plot_call *call, const plot_kind *kind) {
  json_t *root = tool_json_start(call->args), *files = json_array();
  for (size_t i = 0; i < call->count; i++) tool_json_append(files, tool_json_text(call->files[i]));
  tool_json_add(root, "plot", json_string(kind->name));
  tool_json_add(root, "files", files);
  tool_json_add(root, "output", tool_json_text(call->output));
  tool_json_number(root, "seconds", tool_seconds() - call->args->record->started);
  tool_json_add(root, "ok", json_true());
  return tool_json_print(call->args, root, false);
}

static int check(const tool_args *args, const plot_kind *kind, const plot_settings *settings) {
  const size_t count = (size_t)args->operand_count;
  if (count < kind->least || count > kind->most)
    return tool_usage(command, "%s takes %zu to %zu files, not %zu", kind->name, kind->least, kind->most, count);
  size_t dashes = 0;
  for (size_t i = 0; i < count; i++) dashes += tool_is_dash(args->operands[i]);
  if (dashes > 1) return tool_usage(command, "only one file can be -, standard input");
  if (!settings->output) return tool_usage(command, "%s: name the picture with -o FILE.svg or FILE.png", kind->name);
  if (gnuplot_is_stdout(settings->output) && args->json)
    return tool_usage(command, "-o %s and --json both write to standard output", settings->output);
  return TOOL_DONE;
}

static int draw(const tool_args *args, const plot_kind *kind, const plot_settings *settings, char *given) {
  const char *labels[PLOT_MOST_FILES];
  TOOL_TRY(check(args, kind, settings));
  for (int i = 0; i < args->operand_count; i++) labels[i] = name_of(args, i);
  if (given) TOOL_TRY(split_labels(args, given, labels));
  TOOL_TRY(gnuplot_check(command, "-o", settings->output));
  const plot_call call = {.args = args,
                          .command = command,
                          .files = args->operands,
                          .labels = labels,
                          .count = (size_t)args->operand_count,
                          .output = settings->output};
  if (!gnuplot_is_stdout(settings->output)) tool_progress_show(args->progress, "drawing %s", settings->output);
  TOOL_TRY(kind->draw(&call));
  return args->json ? print_json(&call, kind) : TOOL_DONE;
}

static int draw_one(const plot_kind *kind, int argc, const char **argv) {
  char title[64];
  snprintf(title, sizeof title, "%s %s", command, kind->name);
  const tool_syntax syntax = {.command = command,
                              .title = title,
                              .usage = "FILE... -o FILE.svg|FILE.png [options]",
                              .about = kind->about,
                              .options = options,
                              .count = sizeof options / sizeof *options,
                              .max_operands = PLOT_MOST_FILES,
                              .operand = "FILE"};
  plot_settings settings = {0};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  if (status == TOOL_PROCEED) {
    char *given = settings.labels ? strdup(settings.labels) : NULL;
    status = settings.labels && !given ? tool_fail(command, "out of memory") : draw(&args, kind, &settings, given);
    free(given);
  }
  return tool_finish(&args, status);
}

// ---------------------------------------------------------------- the subcommand

static void print_kinds(void) {
  printf("Usage: heed plot KIND FILE... -o FILE.svg|FILE.png [options]\n\nKinds:\n");
  for (size_t i = 0; i < KINDS; i++) printf("  %-14s %s\n", kinds[i]->name, kinds[i]->summary);
  printf("\nheed plot KIND --help lists a kind's options. Pictures are drawn by gnuplot.\n");
}

static int unknown(const char *name) {
  const char *nearest = tool_nearest(name, cmd_plot_words);
  if (nearest) return tool_usage(command, "unknown kind '%s'; did you mean '%s'?", name, nearest);
  return tool_usage(command, "unknown kind '%s'; '%s --help' lists the kinds", name, command);
}

int cmd_plot(int argc, const char **argv) {
  if (argc < 2) return tool_usage(command, "name what to draw; '%s --help' lists the kinds", command);
  if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
    printf("heed %s\n", heed_version());
    return TOOL_DONE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    print_kinds();
    return TOOL_DONE;
  }
  if (argv[1][0] == '-')
    return tool_usage(command, "name the kind before its options: %s KIND FILE... -o FILE", command);
  for (size_t i = 0; i < KINDS; i++)
    if (strcmp(argv[1], kinds[i]->name) == 0) return draw_one(kinds[i], argc - 1, argv + 1);
  return unknown(argv[1]);
}
