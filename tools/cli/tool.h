// What the subcommands of `heed` share: options, exit statuses, messages, the progress line, opening a device.
// json.h, table.h and files.h have what only some of them need.
// A test may call any subcommand in its own process.
#ifndef HEED_TOOL_H
#define HEED_TOOL_H

#include <heed/heed.h>
#include <signal.h>
#include <stdio.h>

enum {
  TOOL_DONE = 0,
  TOOL_FAILED = 1,         // something failed, or is out of tolerance
  TOOL_USAGE = 2,          // the command line makes no sense
  TOOL_NO_DEVICE = 3,      // heed check: everything passed, but on the host, because there was no device to check
  TOOL_INTERRUPTED = 130,  // Ctrl-C, or SIGTERM
  TOOL_PROCEED = -1        // from tool_parse(): go on
};

// ---------------------------------------------------------------- subcommands
// argv[0] is the subcommand's name. Each subcommand returns an exit status and releases everything that it took.

typedef struct tool_command {
  const char *name;
  int (*function)(int argc, const char **argv);
  const char *help;
  const char *const *words;  // not NULL: one of these (up to NULL) follows the name and decides on the options
} tool_command;

int cmd_devices(int argc, const char **argv);
int cmd_run(int argc, const char **argv);
int cmd_train(int argc, const char **argv);
int cmd_eval(int argc, const char **argv);
int cmd_sqrt(int argc, const char **argv);
int cmd_check(int argc, const char **argv);
int cmd_bench(int argc, const char **argv);
int cmd_tune(int argc, const char **argv);
int cmd_lm(int argc, const char **argv);
int cmd_plot(int argc, const char **argv);
extern const char *const cmd_run_words[], *const cmd_lm_words[], *const cmd_plot_words[];

// ---------------------------------------------------------------- options

typedef enum tool_kind {
  TOOL_FLAG,      // bool
  TOOL_TEXT,      // const char *, valid as long as the tool_args
  TOOL_INTEGER,   // int64_t
  TOOL_UNSIGNED,  // uint64_t
  TOOL_REAL,      // double, finite
  TOOL_CHOICE     // int, index into choices
} tool_kind;

// One option of a subcommand. The value goes to `offset` in the subcommand's settings; an option that is not on the command line changes
// nothing.
typedef struct tool_option {
  const char *name;
  char letter;  // 0: none
  tool_kind kind;
  size_t offset;
  const char *argument;        // the value's name in the help
  const char *help;            // with the default
  double minimum, maximum;     // inclusive, for numbers
  const char *range;           // the same in words, for the message
  const char *const *choices;  // up to NULL
  const char *const *words;    // for shells: what a text often is; up to NULL; or NULL
  const char *when_bare;       // not NULL: the value is optional, and this is its default
  bool unrecorded;             // not part of tool_args.given, because it names files and not what to compute
} tool_option;

#define TOOL_OPTION_FLAG(text, type, field, about) \
  { .name = text, .kind = TOOL_FLAG, .offset = offsetof(type, field), .help = about }
#define TOOL_OPTION_TEXT(text, type, field, value, about) \
  { .name = text, .kind = TOOL_TEXT, .offset = offsetof(type, field), .argument = value, .help = about }
#define TOOL_OPTION_INTEGER(text, type, field, low, high, words, about)                                     \
  {                                                                                                         \
    .name = text, .kind = TOOL_INTEGER, .offset = offsetof(type, field), .argument = "N", .minimum = (low), \
    .maximum = (high), .range = words, .help = about                                                        \
  }
#define TOOL_OPTION_UNSIGNED(text, type, field, about) \
  { .name = text, .kind = TOOL_UNSIGNED, .offset = offsetof(type, field), .argument = "N", .help = about }
#define TOOL_OPTION_REAL(text, type, field, low, high, words, about)                                     \
  {                                                                                                      \
    .name = text, .kind = TOOL_REAL, .offset = offsetof(type, field), .argument = "X", .minimum = (low), \
    .maximum = (high), .range = words, .help = about                                                     \
  }
#define TOOL_OPTION_CHOICE(text, type, field, list, value, about)                                             \
  {                                                                                                           \
    .name = text, .kind = TOOL_CHOICE, .offset = offsetof(type, field), .argument = value, .choices = (list), \
    .help = about                                                                                             \
  }

#define TOOL_MAX_COUNT 2147483647.0
#define TOOL_MAX_REAL 1.7976931348623157e308

// How much a subcommand says beside its results and errors.
typedef enum tool_verbosity {
  TOOL_QUIET,   // -q: nothing
  TOOL_NORMAL,  // notes and warnings
  TOOL_VERBOSE  // -v: also what it runs on, what it compiles, how long it takes
} tool_verbosity;

// One line on a terminal's stderr that rewrites itself. tool_parse() decides whether there is one: only on a terminal that can erase a
// line (TERM is not dumb), and not with -q, --no-progress or NO_COLOR. Every message erases it; whoever prints on stdout erases it before
// (tool_progress_clear()).
typedef struct tool_progress {
  bool terminal;
  double interval, last;  // seconds between two lines that are not urgent; when the last one was written
  size_t compiled;        // kernel files that drivers compiled so far
  char count[64];         // what the work is at, of all that it is: "case 14 of 219"; may be empty
  char text[128];         // what else the last line said
  // Not NULL, in a second process: takes what heed tells, and shows nothing here.
  void (*pass_on)(const heed_progress *told, void *user);
  void *pass_on_user;
} tool_progress;

// What a subcommand has done so far, for tool_finish().
typedef struct tool_record {
  double started;  // as tool_seconds()
  bool printed;    // JSON on stdout
} tool_record;

// A subcommand's command line. heed adds the options of every subcommand (--device, --json, --help, ...) to its own.
typedef struct tool_syntax {
  const char *command;  // what messages begin with: "heed run"
  const char *title;    // its name in the help: "heed run attention"
  const char *usage;    // the rest of help's first line: "-i IN -o OUT [options]"
  const char *about;    // printed after the options
  const tool_option *options;
  size_t count;
  int max_operands;
  const char *const *operands;  // for shells: what an operand may be, up to NULL; or NULL
  const char *operand;          // for shells: what an operand is; FILE: the name of a file; NULL: one of `operands`
} tool_syntax;

typedef struct tool_args {
  const char *command;
  const char *device;  // NULL: not given
  int parts, part;     // as of heed_open_options
  bool validate;
  bool json;  // print JSON on stdout, and nothing else
  tool_verbosity verbosity;
  int columns;              // that a table may be wide; 0: any number
  tool_progress *progress;  // neither is NULL after tool_parse()
  tool_record *record;
  bool unvalidated;       // a subcommand sets it to ignore HEED_VALIDATE
  bool diagnoses;         // a subcommand sets it to open a device even if that fails heed's self-test
  unsigned uses;          // a subcommand sets it if it calls only these kinds, HEED_USES_...
  bool passing;           // a subcommand sets it if no other run needs its programs: the cache need not keep them
  bool mends_tuning;      // a subcommand sets it to open a device whose named table of tuned choices it writes anew
  const char **operands;  // the arguments that are not options, up to NULL
  int operand_count;
  char *given;  // the subcommand's own options as on the command line, "--causal --scale 0.05"; empty if there are none
  struct tool_args_store *store;
} tool_args;

// Reads a command line into args and the fields of settings. Returns TOOL_PROCEED, or the exit status of the program (it has printed the
// help, or reported a usage error). Call tool_finish() in either case.
int tool_parse(const tool_syntax *syntax, void *settings, int argc, const char **argv, tool_args *args);
void tool_args_free(tool_args *args);
// Ends a subcommand with `status`: erases the progress line, says what -v asks for, with --json prints the error if nothing else was
// printed, and sees that what was printed has arrived. Frees args. Returns the exit status.
int tool_finish(tool_args *args, int status);
// Tells whether the option was on the command line.
bool tool_given(const tool_args *args, const char *option);

// The options that every subcommand has.
const tool_option *tool_common_options(size_t *count);
// Passes the syntax by which a subcommand reads its command line to `visit`. word: one of command->words, or NULL.
void tool_describe(const tool_command *command, const char *word, void (*visit)(const tool_syntax *syntax, void *user),
                   void *user);

// heed completion SHELL: prints a script that completes command lines in bash, zsh or fish.
int tool_completion(const tool_command *commands, size_t count, int argc, const char **argv);

// Strict: the whole text must be the number, in decimal, without blanks, inf or nan.
bool tool_read_integer(const char *text, int64_t *value);
bool tool_read_unsigned(const char *text, uint64_t *value);
bool tool_read_real(const char *text, double *value);

// Returns the name among `names` (up to NULL) for which `text` is most likely a typing error, or NULL.
const char *tool_nearest(const char *text, const char *const *names);

// ---------------------------------------------------------------- messages

// Writes "heed run: text" and a line end to stderr.
__attribute__((format(printf, 2, 3))) void tool_say(const char *command, const char *format, ...);
// The same; returns TOOL_FAILED or TOOL_USAGE.
__attribute__((format(printf, 2, 3))) int tool_fail(const char *command, const char *format, ...);
__attribute__((format(printf, 2, 3))) int tool_usage(const char *command, const char *format, ...);
// The same for what is no error: -q hides a note, and only -v shows a detail.
__attribute__((format(printf, 2, 3))) void tool_note(const tool_args *args, const char *format, ...);
__attribute__((format(printf, 2, 3))) void tool_detail(const tool_args *args, const char *format, ...);
// Whether messages are not written, but only remembered: another process reports them.
void tool_messages_hold(bool hold);
// Keeps the text of a failure that another process has reported; returns TOOL_FAILED.
int tool_failed_elsewhere(const char *text);
// The text of the last tool_fail() or tool_usage(); empty if there was none.
const char *tool_last_failure(void);
// Reports heed_last_error(); returns TOOL_FAILED. Call it before the next heed call.
int tool_fail_status(const char *command, heed_status status);
// Sends what was printed on stdout on its way, so that someone who waits sees it, and messages come after it.
void tool_push(void);
// Tells whether everything printed on stdout arrived, and reports it if not.
int tool_flush(const char *command, int status);

#define TOOL_TRY(call)                                        \
  do {                                                        \
    const int tool_try_status = (call);                       \
    if (tool_try_status != TOOL_DONE) return tool_try_status; \
  } while (0)

#define TOOL_HEED(command, call)                                                           \
  do {                                                                                     \
    const heed_status tool_heed_status = (call);                                           \
    if (tool_heed_status != HEED_OK) return tool_fail_status((command), tool_heed_status); \
  } while (0)

// The character of UTF-8 at `text`, which has at least one byte: how long it is and its code point; 0: it is none. Shortest forms alone, no
// surrogates, nothing over U+10FFFF.
size_t tool_character(const char *text, size_t bytes, uint32_t *code);
// Writes "[2, 3]" into text of at least TOOL_SHAPE_TEXT bytes; returns text.
#define TOOL_SHAPE_TEXT 128
const char *tool_shape_text(int rank, const int64_t *dims, char *text);
// Writes a number into text of at least 32 bytes, with as few digits as give the same number again; returns text.
const char *tool_real_text(double value, char *text);
// Writes "12.5 MiB" into text of at least 32 bytes; returns text.
const char *tool_bytes_text(uint64_t bytes, char *text);
// Writes the device's id as --device accepts it, "id:hash:..." or "host", into text of at least TOOL_ID_TEXT bytes; returns text.
#define TOOL_ID_TEXT 96
const char *tool_id_text(const heed_device_info *device, char *text);

// ---------------------------------------------------------------- device

// Opens --device, else HEED_DEVICE, else the best device. Prints the context's notice as a warning.
// profile: as heed_open_options.profile.
int tool_open(const tool_args *args, bool profile, heed_context **out);

// ---------------------------------------------------------------- Ctrl-C

// From now on the first SIGINT or SIGTERM only sets the flag that this returns, so that the subcommand can finish what it is at and print
// what is done; the second ends the process. tool_interrupt_end() brings back what was before.
const volatile sig_atomic_t *tool_interrupt_start(void);
void tool_interrupt_end(void);

// ---------------------------------------------------------------- progress

double tool_seconds(void);  // monotonic clock
void tool_progress_start(tool_progress *progress, double interval);
bool tool_progress_due(const tool_progress *progress);  // a terminal, and the interval has passed
// From now on the line says how far the work is, "case 14 of 219". Only whoever planned the work calls this, with a total that is certain:
// nobody knows beforehand how many kernels a driver will compile. what NULL: the work is not counted. Shows nothing yet.
void tool_progress_count(tool_progress *progress, const char *what, int64_t number, int64_t total);
// Shows the count, and this text behind it, at once.
__attribute__((format(printf, 2, 3))) void tool_progress_show(tool_progress *progress, const char *format, ...);
// Shows the count, and what was shown with it: before the first text, or when what "compiling kernels" stood for is over.
void tool_progress_again(tool_progress *progress);
void tool_progress_clear(tool_progress *progress);
// For heed_open_options.progress; user is the tool_progress.
void tool_progress_told(const heed_progress *told, void *user);
// The width of the terminal that `file` (STDOUT_FILENO, ...) is, or what COLUMNS says; 0 if it is no terminal and COLUMNS says nothing.
int tool_columns(int file);
// Writes "1:05" or "2:01:05" into text of at least 32 bytes; returns text.
const char *tool_duration_text(double seconds, char *text);
// Writes how values went as a line of at most `width` characters, "▇▅▃▂▁▁", or "#=-._" where the locale is not UTF-8; returns text. Each
// character is the mean of as many values as the others, NaN and infinities left out; a blank has none. `size` bytes hold 3·width + 1; a
// text that does not fit is cut between characters.
const char *tool_sparkline(const double *values, size_t count, int width, char *text, size_t size);

#endif
