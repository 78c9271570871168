// heed lm: finds the word and passes it the command line. The words are in the other files of this folder.
#include <string.h>

#include "lm/lm.h"

static const char command[] = "heed lm";

#define ENTRY(name) &lm_##name,
static const lm_word *const words[] = {LM_WORDS(ENTRY)};
#undef ENTRY
#define WORD(name) #name,
const char *const cmd_lm_words[] = {LM_WORDS(WORD) NULL};
#undef WORD
enum { WORDS = sizeof words / sizeof *words };

static int print_words(void) {
  printf("Usage: heed lm WORD [options]\n\nLanguage models. Words:\n");
  for (size_t i = 0; i < WORDS; i++) printf("  %-10s %s\n", words[i]->name, words[i]->summary);
  printf("\nheed lm WORD --help lists a word's options.\n");
  return TOOL_DONE;
}

static int unknown_word(const char *name) {
  const char *nearest = tool_nearest(name, cmd_lm_words);
  if (nearest) return tool_usage(command, "unknown word '%s'; did you mean '%s'?", name, nearest);
  return tool_usage(command, "unknown word '%s'; '%s --help' lists the words", name, command);
}

int cmd_lm(int argc, const char **argv) {
  if (argc < 2) return tool_usage(command, "say what to do; '%s --help' lists the words", command);
  if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
    printf("heed %s\n", heed_version());
    return TOOL_DONE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return print_words();
  if (argv[1][0] == '-') return tool_usage(command, "say what to do before the options: %s WORD [options]", command);
  for (size_t i = 0; i < WORDS; i++)
    if (strcmp(words[i]->name, argv[1]) == 0) return words[i]->function(argc - 1, argv + 1);
  return unknown_word(argv[1]);
}
