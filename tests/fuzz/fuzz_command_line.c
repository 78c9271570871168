// Command lines: a word on each line, the command first. Everything up to the opening of a device is the program's own; what opens
// one, and what reads data sets, is replaced here by refusals, so that a command line costs no work. Ends with a status that the
// program promises, and never with silence where it refuses.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/dataset.h"
#include "fuzz.h"
#include "cli/tool.h"

enum { WORDS = 48 };

int tool_open(const tool_args *args, bool profile, heed_context **out) {
  (void)profile;
  *out = NULL;
  return tool_fail(args->command, "no device");
}

const char *const dataset_words[] = {NULL};

int dataset_open(const tool_args *args, const char *option, bool with_train, int64_t classes, dataset *out) {
  (void)option, (void)with_train, (void)classes;
  *out = (dataset){0};
  return tool_fail(args->command, "no data");
}

void dataset_close(dataset *data) { (void)data; }

int64_t dataset_classes(const dataset *data) {
  (void)data;
  return 0;
}

uint32_t dataset_checksum(const heed_mnist *part) {
  (void)part;
  return 0;
}

static int (*find_command(const char *name))(int, const char **) {
  static const struct {
    const char *name;
    int (*function)(int argc, const char **argv);
  } commands[] = {{"devices", cmd_devices}, {"run", cmd_run},     {"train", cmd_train}, {"eval", cmd_eval},
                  {"check", cmd_check},     {"bench", cmd_bench}, {"sqrt", cmd_sqrt}};
  for (size_t i = 0; i < sizeof commands / sizeof *commands; ++i)
    if (strcmp(commands[i].name, name) == 0) return commands[i].function;
  return NULL;
}

// Messages go to memory, data nowhere. The C library lets its streams be replaced; libFuzzer took its own before.
static char *said;
static size_t said_bytes;
static void redirect(void) {
  static bool done;
  if (done) return;
  done = true;
  setenv("OCL_ICD_VENDORS", fuzz_folder(), 1);  // no drivers
  FUZZ_REQUIRE(chdir(fuzz_folder()) == 0);
  stdout = fopen("/dev/null", "w");
  FUZZ_REQUIRE(stdout);
  FUZZ_REQUIRE(freopen("/dev/null", "r", stdin));  // "-" is a file name
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  redirect();
  char *text = malloc(size + 1);
  FUZZ_REQUIRE(text);
  memcpy(text, data, size);
  text[size] = '\0';
  // Names of files stay in the folder.
  for (size_t i = 0; i < size; ++i)
    if (text[i] == '/' || text[i] == '\0') text[i] = '_';
  const char *words[WORDS + 1] = {NULL};
  int count = 0;
  for (char *rest = text, *word; count < WORDS && (word = strsep(&rest, "\n"));) words[count++] = word;
  int (*const command)(int, const char **) = find_command(words[0]);
  if (command) {
    FILE *const before = stderr;
    stderr = open_memstream(&said, &said_bytes);
    FUZZ_REQUIRE(stderr);
    const int status = command(count, words);
    fclose(stderr);
    stderr = before;
    FUZZ_REQUIRE(status == TOOL_DONE || status == TOOL_FAILED || status == TOOL_USAGE);
    // heed check opens the device in a process of its own, which speaks for itself; this one knows what it said.
    const bool elsewhere = command == cmd_check && *tool_last_failure();
    FUZZ_REQUIRE((status == TOOL_DONE || elsewhere || (said_bytes > 0 && said[said_bytes - 1] == '\n')));
    free(said);
    said = NULL;
  }
  free(text);
  return 0;
}
