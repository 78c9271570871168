// heed lm: finds the subcommand and passes it the command line.
#include <string.h>

#include "lm/lm.h"

static const char command[] = "heed lm";

static const struct {
  const char *name, *what;
  int (*function)(int argc, const char **argv);
} words[] = {
#define ENTRY(word, what) {#word, what, lm_##word},
    LM_WORDS(ENTRY)
#undef ENTRY
};
enum { WORDS = sizeof words / sizeof *words };

const char *const cmd_lm_words[] = {
#define WORD(word, what) #word,
    LM_WORDS(WORD)
#undef WORD
        NULL};
const char *const lm_dtypes[] = {"f32", "f16", "bf16", NULL};

static void print_words(FILE *stream) {
  fputs(
      "Usage: heed lm SUBCOMMAND [options]\n\nLanguage models of the shapes of GPT-2, Llama, Mistral and "
      "Qwen2.\n\nSubcommands:\n",
      stream);
  for (size_t i = 0; i < WORDS; i++) fprintf(stream, "  %-10s %s\n", words[i].name, words[i].what);
  fputs("\nheed lm SUBCOMMAND --help lists the options of a subcommand.\n", stream);
}

int cmd_lm(int argc, const char **argv) {
  if (argc < 2) {
    print_words(stderr);
    return TOOL_USAGE;
  }
  for (size_t i = 0; i < WORDS; i++)
    if (strcmp(words[i].name, argv[1]) == 0) return words[i].function(argc - 1, argv + 1);
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    print_words(stdout);
    return TOOL_DONE;
  }
  if (argv[1][0] == '-')
    return tool_usage(command, "name the subcommand before its options: heed lm SUBCOMMAND [options]");
  const char *nearest = tool_nearest(argv[1], cmd_lm_words);
  if (nearest) return tool_usage(command, "unknown subcommand '%s'; did you mean '%s'?", argv[1], nearest);
  return tool_usage(command, "unknown subcommand '%s'; 'heed lm --help' lists the subcommands", argv[1]);
}
