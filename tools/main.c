// The program `heed`: finds the subcommand and passes it the command line.
#include <string.h>

#include "cli/tool.h"

static const tool_command commands[] = {
    {"devices", cmd_devices, "list the devices that heed can run on", NULL},
    {"run", cmd_run, "run one operator on tensors from a file, forward and backward", cmd_run_words},
    {"train", cmd_train, "train a classifier of handwritten digits", NULL},
    {"eval", cmd_eval, "measure a trained model on the test set", NULL},
    {"lm", cmd_lm, "train language models, measure them, and let them write", cmd_lm_words},
    {"check", cmd_check, "compare every operator on a device with the CPU", NULL},
    {"bench", cmd_bench, "time operators and compare them with the device's peak", NULL},
    {"tune", cmd_tune, "find the fastest kernels for a device and save the choice", NULL},
    {"plot", cmd_plot, "draw training runs or benches side by side", cmd_plot_words},
    {"sqrt", cmd_sqrt, "find square roots by gradient descent", NULL},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *stream) {
  fputs(
      "Usage: heed COMMAND [options]\n\nAttention, MLPs and transformers, forward and backward, on any OpenCL "
      "device.\n\nCommands:\n",
      stream);
  for (size_t i = 0; i < COMMANDS; i++) fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].help);
  fputs(
      "  help       print the help of a command: heed help COMMAND\n"
      "  completion print the completion script of a shell: heed completion bash\n\n"
      "heed COMMAND --help lists a command's options; heed --version (-V) prints the\n"
      "version. Data goes to standard output, messages to standard error.\n"
      "Exit status: 0 done, 1 failed or out of tolerance, 2 wrong command line, 3 no\n"
      "device was checked, 130 interrupted.\n",
      stream);
}

static const tool_command *find(const char *name) {
  for (size_t i = 0; i < COMMANDS; i++)
    if (strcmp(commands[i].name, name) == 0) return &commands[i];
  return NULL;
}

static int unknown(const char *name) {
  if (name[0] == '-')
    return tool_usage("heed", "unknown command '%s'; options follow the command, as in 'heed train --device cpu'",
                      name);
  const char *names[COMMANDS + 3] = {NULL};
  for (size_t i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
  names[COMMANDS] = "help", names[COMMANDS + 1] = "completion";
  const char *nearest = tool_nearest(name, names);
  if (nearest) return tool_usage("heed", "unknown command '%s'; did you mean '%s'?", name, nearest);
  return tool_usage("heed", "unknown command '%s'; 'heed --help' lists the commands", name);
}

// heed help [CMD [OP]]: prints the command's own --help.
static int help(int argc, const char **argv) {
  if (argc == 1) {
    print_usage(stdout);
    return TOOL_DONE;
  }
  if (strcmp(argv[1], "completion") == 0) return tool_completion(commands, COMMANDS, 1, argv);
  const tool_command *command = find(argv[1]);
  if (!command) return unknown(argv[1]);
  const char *words[] = {argv[1], argc > 2 ? argv[2] : "--help", "--help", NULL};
  return command->function(argc > 2 ? 3 : 2, words);
}

int main(int argc, char **argv) {
  const char **words = (const char **)argv;
#ifdef _WIN32  // the same bytes as elsewhere
  for (int file = STDIN_FILENO; file <= STDERR_FILENO; file++) _setmode(file, _O_BINARY);
#endif
  int status = TOOL_USAGE;
  if (argc < 2) {
    print_usage(stderr);
  } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    status = help(1, words);
  } else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
    printf("heed %s\n", heed_version());
    status = TOOL_DONE;
  } else if (strcmp(argv[1], "help") == 0) {
    status = help(argc - 1, words + 1);
  } else if (strcmp(argv[1], "completion") == 0) {
    status = tool_completion(commands, COMMANDS, argc - 1, words + 1);
  } else {
    const tool_command *command = find(argv[1]);
    status = command ? command->function(argc - 1, words + 1) : unknown(argv[1]);
  }
  return tool_flush("heed", status);
}
