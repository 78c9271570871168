// heed completion: scripts for bash, zsh and fish, from the option tables by which the subcommands read their command lines.
#include "cli/tool.h"

#include <string.h>

static const char usage[] =
    "Usage: heed completion bash|zsh|fish\n"
    "\n"
    "Prints a script that completes heed's command lines in a shell. cmake --install\n"
    "puts the scripts where shells look for them. Without an installation:\n"
    "  bash  source <(heed completion bash)\n"
    "  zsh   heed completion zsh >FOLDER/_heed, with FOLDER in $fpath before compinit\n"
    "  fish  heed completion fish >~/.config/fish/completions/heed.fish\n";

typedef struct walk {
  const tool_command *command;
  const char *word;  // of command->words; NULL: it has none
  void (*print)(const struct walk *walk, const tool_syntax *syntax);
} walk;

static void visit(const tool_syntax *syntax, void *user) {
  const walk *w = user;
  w->print(w, syntax);
}

// Calls `print` for every command line that has options of its own.
static void walk_all(const tool_command *commands, size_t count,
                     void (*print)(const walk *walk, const tool_syntax *syntax)) {
  static const char *const none[] = {NULL, NULL};
  for (size_t i = 0; i < count; i++) {
    const char *const *words = commands[i].words ? commands[i].words : none;
    do {
      walk w = {.command = &commands[i], .word = *words, .print = print};
      tool_describe(&commands[i], *words, visit, &w);
    } while (*words && *++words);
  }
}

static const char *const *values_of(const tool_option *option) {
  return option->kind == TOOL_CHOICE ? option->choices : option->words;
}
static bool is_file(const char *argument) { return argument && strstr(argument, "FILE"); }
static bool is_folder(const char *argument) { return argument && strstr(argument, "DIR"); }

static void print_words(const char *const *words, const char *between) {
  for (size_t i = 0; words && words[i]; i++) printf("%s%s", i ? between : "", words[i]);
}

// Prints text between quotes; `escape` stands before a quote and before each of `special`.
static void print_quoted(const char *text, const char *special, const char *quote) {
  for (; *text; text++) {
    if (*text == '\'')
      fputs(quote, stdout);
    else
      printf("%s%c", strchr(special, *text) ? "\\" : "", *text);
  }
}

// ---------------------------------------------------------------- bash

static void bash_options(const tool_option *options, size_t count) {
  for (size_t i = 0; i < count; i++) {
    printf(" --%s", options[i].name);
    if (options[i].letter) printf(" -%c", options[i].letter);
  }
}

static void bash_line(const walk *w, const tool_syntax *syntax) {
  printf("  '%s%s%s') words=\"", w->command->name, w->word ? " " : "", w->word ? w->word : "");
  print_words(syntax->operands, " ");
  bash_options(syntax->options, syntax->count);
  fputs(" $common\"", stdout);
  if (is_file(syntax->operand)) fputs("; [[ $cur == -* ]] || kind=files", stdout);
  fputs(" ;;\n", stdout);
}

// before: the command line, or a pattern for all of them.
static void bash_value(const char *before, const tool_option *option) {
  if (option->kind == TOOL_FLAG) return;
  printf("  %s' --%s'", before, option->name);
  if (option->letter) printf(" | %s' -%c'", before, option->letter);
  printf(") kind=%s words='", is_file(option->argument) ? "files" : is_folder(option->argument) ? "folders" : "value");
  print_words(values_of(option), " ");
  fputs("' ;;\n", stdout);
}

static void bash_values(const walk *w, const tool_syntax *syntax) {
  char before[128];
  snprintf(before, sizeof before, "%s%s%s", w->command->name, w->word ? "\\ " : "", w->word ? w->word : "");
  for (size_t i = 0; i < syntax->count; i++) bash_value(before, &syntax->options[i]);
}

static void print_bash(const tool_command *commands, size_t count) {
  size_t common_count;
  const tool_option *common = tool_common_options(&common_count);
  fputs(
      "# bash completion for heed, made by: heed completion bash\n"
      "_heed() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} key=${COMP_WORDS[1]} kind='' words='' "
      "common=\"",
      stdout);
  bash_options(common, common_count);
  fputs(
      "\"\n"
      "  # bash takes = for a word of its own.\n"
      "  if [ \"$cur\" = = ]; then cur=''; elif [ \"$prev\" = = ]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    words='",
      stdout);
  for (size_t i = 0; i < count; i++) printf("%s ", commands[i].name);
  fputs("help completion --help --version'\n  elif [ \"$COMP_CWORD\" -eq 2 ]; then\n    case $key in\n", stdout);
  for (size_t i = 0; i < count; i++) {
    if (!commands[i].words) continue;
    printf("    %s) words='", commands[i].name);
    print_words(commands[i].words, " ");
    fputs(" --help' ;;\n", stdout);
  }
  fputs("    help) words='", stdout);
  for (size_t i = 0; i < count; i++) printf("%s ", commands[i].name);
  fputs(
      "completion' ;;\n    completion) words='bash zsh fish --help' ;;\n    esac\n  fi\n"
      "  case $key in\n",
      stdout);
  for (size_t i = 0; i < count; i++)
    if (commands[i].words) printf("  %s) key+=\" ${COMP_WORDS[2]-}\" ;;\n", commands[i].name);
  fputs("  esac\n  [ -n \"$words\" ] || case \"$key $prev\" in\n", stdout);
  walk_all(commands, count, bash_values);
  for (size_t i = 0; i < common_count; i++) bash_value("*", &common[i]);
  fputs(
      "  esac\n"
      "  # A value that may be left out, or a new option.\n"
      "  if [[ $kind == value && $cur == -* ]]; then kind='' words=''; fi\n"
      "  [ -n \"$words$kind\" ] || case $key in\n",
      stdout);
  walk_all(commands, count, bash_line);
  fputs(
      "  esac\n"
      "  case $kind in\n"
      "  files) compopt -o filenames 2>/dev/null || :; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
      "  folders) compopt -o filenames 2>/dev/null || :; mapfile -t COMPREPLY < <(compgen -d -W \"$words\" -- "
      "\"$cur\") ;;\n"
      "  *) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;\n"
      "  esac\n"
      "}\n"
      "complete -F _heed heed\n",
      stdout);
}

// ---------------------------------------------------------------- zsh

// What completes a value or an operand.
static void zsh_action(const char *argument, const char *const *words) {
  const char *files = is_file(argument) ? "_files" : is_folder(argument) ? "_files -/" : NULL;
  if (files && words) {
    fputs("{_alternative \"words\\:word\\:(", stdout);
    print_words(words, " ");
    printf(")\" \"files\\:file\\:%s\"}", files);
  } else if (words) {
    fputs("(", stdout);
    print_words(words, " ");
    fputs(")", stdout);
  } else {
    fputs(files ? files : "()", stdout);
  }
}

static void zsh_option(const tool_option *option) {
  const char *value = option->kind == TOOL_FLAG ? "" : option->when_bare ? "=-" : "=";
  fputs("    ", stdout);
  if (option->letter)
    printf("'(-%c --%s)'{-%c,--%s%s}", option->letter, option->name, option->letter, option->name, value);
  else
    printf("'--%s%s'", option->name, value);
  fputs("'[", stdout);
  print_quoted(option->help, "[]\\", "'\\''");
  fputs("]", stdout);
  if (option->kind != TOOL_FLAG) {
    fputs(option->when_bare ? "::" : ":", stdout);
    print_quoted(option->argument, ":\\", "'\\''");
    fputs(":", stdout);
    zsh_action(option->argument, values_of(option));
  }
  fputs("'", stdout);
}

static void zsh_line(const walk *w, const tool_syntax *syntax) {
  printf("  %s%s%s) _arguments -S $common", w->command->name, w->word ? "/" : "", w->word ? w->word : "");
  for (size_t i = 0; i < syntax->count; i++) {
    fputs(" \\\n", stdout);
    zsh_option(&syntax->options[i]);
  }
  if (syntax->max_operands > 0) {  // without it zsh offers no option after an operand
    printf(" \\\n    '%s:%s:", syntax->max_operands > 1 ? "*" : "1", syntax->operand ? syntax->operand : "operand");
    zsh_action(syntax->operand, syntax->operands);
    fputs("'", stdout);
  }
  fputs(" ;;\n", stdout);
}

static void print_zsh(const tool_command *commands, size_t count) {
  size_t common_count;
  const tool_option *common = tool_common_options(&common_count);
  fputs(
      "#compdef heed\n# zsh completion for heed, made by: heed completion zsh\n_heed() {\n  local -a commands common\n "
      " common=(\n",
      stdout);
  for (size_t i = 0; i < common_count; i++) {
    zsh_option(&common[i]);
    fputs("\n", stdout);
  }
  fputs("  )\n  commands=(\n", stdout);
  for (size_t i = 0; i < count; i++) {
    printf("    '%s:", commands[i].name);
    print_quoted(commands[i].help, ":\\", "'\\''");
    fputs("'\n", stdout);
  }
  fputs(
      "    'help:print the help of a command'\n    'completion:print the completion script of a shell'\n  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    if [[ $PREFIX == -* ]]; then compadd -- --help --version; else _describe command commands; fi\n"
      "    return\n  fi\n"
      "  local line=$words[2]\n  case $line in\n  help) _describe command commands; return ;;\n"
      "  completion) compadd -- bash zsh fish --help; return ;;\n",
      stdout);
  for (size_t i = 0; i < count; i++) {
    if (!commands[i].words) continue;
    printf("  %s)\n    if (( CURRENT == 3 )); then\n      compadd -- ", commands[i].name);
    print_words(commands[i].words, " ");
    fputs(" --help\n      return\n    fi\n    line+=/$words[3]\n    shift words\n    (( CURRENT-- )) ;;\n", stdout);
  }
  fputs("  esac\n  shift words\n  (( CURRENT-- ))\n  case $line in\n", stdout);
  walk_all(commands, count, zsh_line);
  fputs("  esac\n}\n_heed \"$@\"\n", stdout);
}

// ---------------------------------------------------------------- fish

// What completes a value or an operand; nothing: no file either.
static void fish_offer(const char *argument, const char *const *words) {
  const bool folder = is_folder(argument);
  if (is_file(argument)) fputs(" -F", stdout);
  if (!folder && !words) return;
  printf(" -a '%s", folder ? "(__fish_complete_directories) " : "");
  print_words(words, " ");
  fputs("'", stdout);
}

static void fish_option(const char *condition, const tool_option *option) {
  printf("complete -c heed -n '%s' -l %s", condition, option->name);
  if (option->letter) printf(" -s %c", option->letter);
  if (option->kind != TOOL_FLAG) {
    if (is_file(option->argument))
      fputs(" -r", stdout);
    else if (!option->when_bare)
      fputs(" -x", stdout);
    fish_offer(option->argument, values_of(option));
  }
  fputs(" -d '", stdout);
  print_quoted(option->help, "\\", "\\'");
  fputs("'\n", stdout);
}

static void fish_line(const walk *w, const tool_syntax *syntax) {
  char condition[128];
  snprintf(condition, sizeof condition, "__heed_at %s%s%s", w->command->name, w->word ? " " : "",
           w->word ? w->word : "");
  for (size_t i = 0; i < syntax->count; i++) fish_option(condition, &syntax->options[i]);
  if (!syntax->operands && !is_file(syntax->operand)) return;
  printf("complete -c heed -n '%s'", condition);
  fish_offer(syntax->operand, syntax->operands);
  fputs("\n", stdout);
}

static void fish_words(const tool_command *commands, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!commands[i].words) continue;
    printf("complete -c heed -n '__heed_next %s' -l help -d 'list the words'\n", commands[i].name);
    printf("complete -c heed -n '__heed_next %s' -a '", commands[i].name);
    print_words(commands[i].words, " ");
    fputs("'\n", stdout);
  }
}

// `given` are the whole words before the one at the cursor.
static void fish_conditions(const tool_command *commands, size_t count) {
  fputs(
      "# fish completion for heed, made by: heed completion fish\n"
      "function __heed_given\n  set -l given (commandline -opc)\n  string join \\n -- $given[2..-1]\nend\n"
      "# The command line begins with these words.\n"
      "function __heed_at\n  set -l given (__heed_given)\n  set -l many (count $argv)\n"
      "  test (count $given) -ge $many; and test \"$given[1..$many]\" = \"$argv\"\nend\n"
      "# It is these words, and the next one is at the cursor.\n"
      "function __heed_next\n  set -l given (__heed_given)\n  test (count $given) -eq (count $argv); "
      "and test \"$given\" = \"$argv\"\nend\n"
      "# It has come to options.\n"
      "function __heed_options\n  set -l given (__heed_given)\n  switch \"$given[1]\"\n"
      "    case '' help completion\n      return 1\n    case",
      stdout);
  for (size_t i = 0; i < count; i++)
    if (commands[i].words) printf(" %s", commands[i].name);
  fputs("\n      test (count $given) -ge 2\n    case '*'\n      return 0\n  end\nend\ncomplete -c heed -f\n", stdout);
}

static void print_fish(const tool_command *commands, size_t count) {
  size_t common_count;
  const tool_option *common = tool_common_options(&common_count);
  fish_conditions(commands, count);
  for (size_t i = 0; i < count; i++) {
    printf("complete -c heed -n __heed_next -a %s -d '", commands[i].name);
    print_quoted(commands[i].help, "\\", "\\'");
    fputs("'\n", stdout);
  }
  fputs(
      "complete -c heed -n __heed_next -a help -d 'print the help of a command'\n"
      "complete -c heed -n __heed_next -a completion -d 'print the completion script of a shell'\n"
      "complete -c heed -n __heed_next -l help -d 'print the list of commands'\n"
      "complete -c heed -n __heed_next -l version -s V -d 'print the version'\n"
      "complete -c heed -n '__heed_next completion' -l help -d 'print the help'\n"
      "complete -c heed -n '__heed_next completion' -a 'bash zsh fish'\n"
      "complete -c heed -n '__heed_next help' -a '",
      stdout);
  for (size_t i = 0; i < count; i++) printf("%s ", commands[i].name);
  fputs("completion'\n", stdout);
  fish_words(commands, count);
  for (size_t i = 0; i < common_count; i++) fish_option("__heed_options", &common[i]);
  walk_all(commands, count, fish_line);
}

int tool_completion(const tool_command *commands, size_t count, int argc, const char **argv) {
  static const struct {
    const char *name;
    void (*print)(const tool_command *commands, size_t count);
  } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
  if (argc == 2)
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
      if (strcmp(argv[1], shells[i].name) != 0) continue;
      shells[i].print(commands, count);
      return TOOL_DONE;
    }
  const bool asked =
      argc == 1 ? strcmp(argv[0], "help") == 0 : strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
  if (!asked) return tool_usage("heed completion", "name the shell: heed completion bash, zsh or fish");
  fputs(usage, stdout);
  return TOOL_DONE;
}
