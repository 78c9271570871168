// What the words of `heed lm` share: language models, from text to text. Each word is a command line of its own.
#ifndef HEED_TOOL_LM_H
#define HEED_TOOL_LM_H

#include <heed/text.h>
#include <stddef.h>

#include "cli/tool.h"

// argv[0] is the word. Returns an exit status, like a subcommand.
typedef struct lm_word {
  const char *name, *summary;
  int (*function)(int argc, const char **argv);
} lm_word;

// The words of `heed lm`; its table and its help come from this list. `foo` is lm_foo.
#define LM_WORDS(X) X(tokenize)
#define LM_DECLARE(name) extern const lm_word lm_##name;
LM_WORDS(LM_DECLARE)
#undef LM_DECLARE

// Opens what --tokenizer names: "bytes"; "chars", the characters of these files; or a folder.
int lm_open_tokenizer(const char *command, const char *name, const char *const *texts, size_t count,
                      heed_tokenizer **out);

#endif
