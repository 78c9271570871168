// Command lines: turns a subcommand's table of options into popt's, and reads values strictly.
#include "cli/tool.h"

#include <errno.h>
#include <float.h>
#include <popt.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

// What popt returns; own options follow in order.
enum {
  VALUE_DEVICE = 1,
  VALUE_VALIDATE,
  VALUE_JSON,
  VALUE_QUIET,
  VALUE_VERBOSE,
  VALUE_NO_PROGRESS,
  VALUE_VERSION,
  VALUE_HELP,
  VALUE_OWN
};

struct tool_args_store {
  const tool_syntax *syntax;
  struct poptOption *table, common_table[VALUE_OWN];
  poptContext context;
  const char **words;  // the command line as popt reads it; popt keeps the address
  bool *present;       // one for each own option
  char **texts;        // values that settings may point to
  size_t text_count;
  tool_progress progress;
  tool_record record;
};

static const char *const device_words[] = {"auto", "host", "gpu", "cpu", NULL};
// In the order of VALUE_DEVICE, VALUE_VALIDATE, ...
static const tool_option common[] = {
    {.name = "device",
     .kind = TOOL_TEXT,
     .argument = "SPEC",
     .words = device_words,
     .help = "auto, host, gpu, cpu, P:D, N, id:... or a part of a name; see heed devices (default: $HEED_DEVICE, else "
             "auto)"},
    {.name = "validate",
     .kind = TOOL_FLAG,
     .help = "also run every operator on the host, and stop at the first difference"},
    {.name = "json", .kind = TOOL_FLAG, .help = "print JSON on stdout; man heed names the fields"},
    {.name = "quiet", .letter = 'q', .kind = TOOL_FLAG, .help = "print only results and errors"},
    {.name = "verbose",
     .letter = 'v',
     .kind = TOOL_FLAG,
     .help = "also print device, versions, compiled kernels and times"},
    {.name = "no-progress", .kind = TOOL_FLAG, .help = "show no progress on a terminal"},
    {.name = "version", .letter = 'V', .kind = TOOL_FLAG, .help = "print the version"},
    {.name = "help", .letter = 'h', .kind = TOOL_FLAG, .help = "print this help"},
};
enum { COMMON = sizeof common / sizeof *common };
_Static_assert(COMMON == VALUE_OWN - 1, "each common option has its value");

const tool_option *tool_common_options(size_t *count) {
  *count = COMMON;
  return common;
}

static bool plain_number(const char *text, const char *allowed) { return *text && text[strspn(text, allowed)] == '\0'; }

bool tool_read_integer(const char *text, int64_t *value) {
  if (!plain_number(text, "+-0123456789")) return false;
  char *end;
  errno = 0;
  const long long number = strtoll(text, &end, 10);
  if (errno || end == text || *end) return false;
  *value = number;
  return true;
}

bool tool_read_unsigned(const char *text, uint64_t *value) {
  if (!plain_number(text, "0123456789")) return false;
  char *end;
  errno = 0;
  const unsigned long long number = strtoull(text, &end, 10);
  if (errno || end == text || *end) return false;
  *value = number;
  return true;
}

bool tool_read_real(const char *text, double *value) {
  if (!plain_number(text, "+-.eE0123456789")) return false;
  char *end;
  const double number = strtod(text, &end);
  if (end == text || *end || !(number >= -DBL_MAX && number <= DBL_MAX)) return false;
  *value = number;
  return true;
}

// Counts the edits (insert, delete, replace) from a to b; both are at most 63 bytes long.
static size_t edit_distance(const char *a, const char *b) {
  size_t row[64];
  const size_t length = strlen(b);
  for (size_t j = 0; j <= length; j++) row[j] = j;
  for (size_t i = 0; a[i]; i++) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < length; j++) {
      size_t best = diagonal + (a[i] != b[j]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
      diagonal = row[j + 1];
      row[j + 1] = best;
    }
  }
  return row[length];
}

// Whether every word of name, between '-', '_' and '.', is one of the text's.
static bool has_words(const char *text, const char *name) {
  static const char gaps[] = "-_.";
  for (size_t length; *name; name += length + (name[length] != '\0')) {
    length = strcspn(name, gaps);
    const char *word = text;
    while (*word && (strcspn(word, gaps) != length || strncmp(word, name, length) != 0)) {
      word += strcspn(word, gaps);
      word += *word != '\0';
    }
    if (!*word) return false;
  }
  return true;
}

// The longest of the names whose words are all in the text, as "heads" in "num-heads", or else the one with the fewest edits.
const char *tool_nearest(const char *text, const char *const *names) {
  const char *nearest = NULL;
  if (strlen(text) >= 64) return NULL;
  for (const char *const *name = names; *name; name++)
    if (has_words(text, *name) && (!nearest || strlen(*name) > strlen(nearest))) nearest = *name;
  if (nearest) return nearest;
  size_t best = strlen(text) / 3 + 2;
  for (; *names; names++) {
    if (strlen(*names) >= 64) continue;
    const size_t distance = strcasecmp(text, *names) == 0 ? 0 : edit_distance(text, *names);
    // Not one of another letter each: a lone letter is no slip for any other.
    if (distance < best && distance < strlen(text)) best = distance, nearest = *names;
  }
  return nearest;
}

static void fill_table(struct poptOption *table, const tool_option *options, size_t count, int first) {
  for (size_t i = 0; i < count; i++) {
    const tool_option *option = &options[i];
    unsigned kind = option->kind == TOOL_FLAG ? POPT_ARG_NONE : POPT_ARG_STRING;
    if (option->when_bare) kind |= POPT_ARGFLAG_OPTIONAL;
    table[i] =
        (struct poptOption){option->name, option->letter, kind, NULL, first + (int)i, option->help, option->argument};
  }
}

static struct poptOption *make_table(const tool_syntax *syntax, struct poptOption common_table[COMMON + 1]) {
  struct poptOption *table = calloc(syntax->count + 2, sizeof *table);
  if (!table) return NULL;
  fill_table(table, syntax->options, syntax->count, VALUE_OWN);
  fill_table(common_table, common, COMMON, VALUE_DEVICE);
  table[syntax->count] =
      (struct poptOption){NULL, 0, POPT_ARG_INCLUDE_TABLE, common_table, 0, "Options of every command:", NULL};
  return table;
}

static void print_help(const tool_args *args) {
  const tool_syntax *syntax = args->store->syntax;
  poptPrintHelp(args->store->context, stdout, 0);
  if (syntax->about) printf("\n%s", syntax->about);
}

static int bad_option(const tool_args *args, int error) {
  const tool_syntax *syntax = args->store->syntax;
  const char *bad = poptBadOption(args->store->context, POPT_BADOPTION_NOALIAS);
  if (error != POPT_ERROR_BADOPT)
    return tool_usage(args->command, "%s: %s ('%s --help' lists the options)", bad, poptStrerror(error), syntax->title);
  const char **names = calloc(syntax->count + COMMON + 1, sizeof *names);
  const char *nearest = NULL;
  if (names && strncmp(bad, "--", 2) == 0) {
    size_t count = 0;
    for (size_t i = 0; i < syntax->count; i++) names[count++] = syntax->options[i].name;
    for (size_t i = 0; i < COMMON; i++) names[count++] = common[i].name;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(bad + 2, "="), bad + 2);
    nearest = tool_nearest(name, names);
  }
  if (nearest)
    tool_say(args->command, "%s: unknown option; did you mean --%s?", bad, nearest);
  else
    tool_say(args->command, "%s: unknown option ('%s --help' lists the options)", bad, syntax->title);
  free(names);
  return TOOL_USAGE;
}

static int read_choice(const tool_args *args, const tool_option *option, const char *text, int *value) {
  char list[256] = "";
  size_t used = 0;
  if (!*text) return tool_usage(args->command, "--%s: the value is empty", option->name);
  for (int i = 0; option->choices[i]; i++) {
    if (strcmp(option->choices[i], text) == 0) {
      *value = i;
      return TOOL_DONE;
    }
    used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", option->choices[i]);
    if (used >= sizeof list) used = sizeof list - 1;
  }
  return tool_usage(args->command, "--%s %s: must be one of %s", option->name, text, list);
}

static int read_value(const tool_args *args, const tool_option *option, const char *text, void *field) {
  const char *range = option->range ? option->range : "";
  const char *comma = *range ? ", " : "";
  switch (option->kind) {
    case TOOL_FLAG:
      *(bool *)field = true;
      return TOOL_DONE;
    case TOOL_TEXT:
      if (!*text) return tool_usage(args->command, "--%s: the value is empty", option->name);
      if (strncmp(text, "--", 2) == 0)
        return tool_usage(args->command, "--%s needs a value, but '%s' follows", option->name, text);
      if (option->argument && strstr(option->argument, "DIR") && strcmp(text, "-") == 0)
        return tool_usage(args->command,
                          "--%s -: names a folder, which standard input and output cannot be; ./- is one of this name",
                          option->name);
      *(const char **)field = text;
      return TOOL_DONE;
    case TOOL_INTEGER: {
      int64_t value = 0;
      const bool whole = tool_read_integer(text, &value);
      if (whole && (double)value > option->maximum)
        return tool_usage(args->command, "--%s %s: must be at most %.0f", option->name, text, option->maximum);
      if (!whole || (double)value < option->minimum)
        return tool_usage(args->command, "--%s %s: must be a whole number%s%s", option->name, text, comma, range);
      *(int64_t *)field = value;
      return TOOL_DONE;
    }
    case TOOL_UNSIGNED:
      if (!tool_read_unsigned(text, field))
        return tool_usage(args->command, "--%s %s: must be a whole number from 0 to 18446744073709551615", option->name,
                          text);
      return TOOL_DONE;
    case TOOL_REAL: {
      double value = 0;
      if (!tool_read_real(text, &value) || !(value >= option->minimum && value <= option->maximum))
        return tool_usage(args->command, "--%s %s: must be a finite number%s%s", option->name, text, comma, range);
      *(double *)field = value;
      return TOOL_DONE;
    }
    case TOOL_CHOICE:
      return read_choice(args, option, text, field);
  }
  return TOOL_USAGE;
}

// Keeps `text` (popt's, to be freed) as long as args.
static bool keep(struct tool_args_store *store, char *text) {
  char **texts = realloc(store->texts, (store->text_count + 1) * sizeof *texts);
  if (!texts) return false;
  store->texts = texts;
  store->texts[store->text_count++] = text;
  return true;
}

// What is recorded goes into files whose texts are UTF-8; a name of a file need be none.
static void make_utf8(char *text) {
  uint32_t code;
  for (size_t length; *text; text += length) {
    length = tool_character(text, strlen(text), &code);
    if (length == 0) *text = '?', length = 1;
  }
}

static bool append_given(tool_args *args, const tool_option *option, const char *text) {
  const size_t old = strlen(args->given);
  const size_t size = old + strlen(option->name) + (text ? strlen(text) : 0) + 5;
  char *given = realloc(args->given, size);
  if (!given) return false;
  args->given = given;
  snprintf(given + old, size - old, "%s--%s%s%s", old ? " " : "", option->name,
           text ? (option->when_bare ? "=" : " ") : "", text ? text : "");
  make_utf8(given + old);
  return true;
}

static int take_common(tool_args *args, int value) {
  const tool_verbosity verbosity = value == VALUE_QUIET ? TOOL_QUIET : TOOL_VERBOSE;
  switch (value) {
    case VALUE_VALIDATE:
      args->validate = true;
      return TOOL_DONE;
    case VALUE_JSON:
      args->json = true;
      return TOOL_DONE;
    case VALUE_NO_PROGRESS:
      args->progress->terminal = false;
      return TOOL_DONE;
    default:
      if (args->verbosity != TOOL_NORMAL && args->verbosity != verbosity)
        return tool_usage(args->command, "--quiet and --verbose exclude each other");
      if (verbosity == TOOL_QUIET) args->progress->terminal = false;
      args->verbosity = verbosity;
      return TOOL_DONE;
  }
}

static int take_option(tool_args *args, void *settings, int value) {
  struct tool_args_store *store = args->store;
  char *text = poptGetOptArg(store->context);
  if (text && !keep(store, text)) {
    free(text);
    return tool_fail(args->command, "out of memory");
  }
  if (value == VALUE_DEVICE) return read_value(args, &common[0], text ? text : "", &args->device);
  if (value < VALUE_OWN) return take_common(args, value);
  const size_t index = (size_t)(value - VALUE_OWN);
  const tool_option *option = &store->syntax->options[index];
  store->present[index] = true;
  if (!option->unrecorded && !append_given(args, option, text)) return tool_fail(args->command, "out of memory");
  return read_value(args, option, text ? text : option->when_bare, (char *)settings + option->offset);
}

static int take_operands(tool_args *args) {
  const tool_syntax *syntax = args->store->syntax;
  args->operands = poptGetArgs(args->store->context);
  while (args->operands && args->operands[args->operand_count]) args->operand_count++;
  if (args->operand_count > syntax->max_operands)
    return tool_usage(args->command, "'%s' is one argument too many ('%s --help' shows the usage)",
                      args->operands[syntax->max_operands], syntax->title);
  return TOOL_PROCEED;
}

// The word by which tool_describe() asks; no user can type this pointer.
static const char describe[] = "--describe";
static struct {
  void (*visit)(const tool_syntax *syntax, void *user);
  void *user;
} visitor;

void tool_describe(const tool_command *command, const char *word, void (*visit)(const tool_syntax *syntax, void *user),
                   void *user) {
  const char *words[] = {command->name, word ? word : describe, describe, NULL};
  visitor.visit = visit;
  visitor.user = user;
  command->function(word ? 3 : 2, words);
}

int tool_parse(const tool_syntax *syntax, void *settings, int argc, const char **argv, tool_args *args) {
  *args = (tool_args){.command = syntax->command, .verbosity = TOOL_NORMAL, .columns = tool_columns(STDOUT_FILENO)};
  if (argc > 1 && argv[1] == describe) {
    visitor.visit(syntax, visitor.user);
    return TOOL_DONE;
  }
  struct tool_args_store *store = args->store = calloc(1, sizeof *store);
  if (!store) return tool_fail(args->command, "out of memory");
  args->progress = &store->progress;
  args->record = &store->record;
  args->record->started = tool_seconds();
  tool_progress_start(args->progress, 0.1);
  store->syntax = syntax;
  store->table = make_table(syntax, store->common_table);
  store->present = calloc(syntax->count + 1, sizeof *store->present);
  const char **words = store->words = calloc((size_t)argc + 1, sizeof *words);
  args->given = calloc(1, 1);
  if (store->table && store->present && words && args->given) {
    memcpy(words, argv, (size_t)argc * sizeof *words);
    words[0] = syntax->title;
    store->context = poptGetContext(NULL, argc, words, store->table, 0);
  }
  int value = TOOL_FAILED;
  if (store->context) {
    poptSetOtherOptionHelp(store->context, syntax->usage);
    while ((value = poptGetNextOpt(store->context)) > 0 && value != VALUE_HELP && value != VALUE_VERSION) {
      const int status = take_option(args, settings, value);
      if (status != TOOL_DONE) return status;
    }
  }
  if (!store->context) return tool_fail(args->command, "out of memory");
  if (value == VALUE_HELP) {
    print_help(args);
    return TOOL_DONE;
  }
  if (value == VALUE_VERSION) {
    printf("heed %s\n", heed_version());
    return TOOL_DONE;
  }
  return value == -1 ? take_operands(args) : bad_option(args, value);
}

void tool_args_free(tool_args *args) {
  struct tool_args_store *store = args->store;
  free(args->given);
  if (store) {
    poptFreeContext(store->context);
    for (size_t i = 0; i < store->text_count; i++) free(store->texts[i]);
    free(store->texts);
    free(store->present);
    free(store->words);
    free(store->table);
    free(store);
  }
  *args = (tool_args){0};
}

bool tool_given(const tool_args *args, const char *option) {
  const tool_syntax *syntax = args->store->syntax;
  for (size_t i = 0; i < syntax->count; i++)
    if (strcmp(syntax->options[i].name, option) == 0) return args->store->present[i];
  return false;
}
