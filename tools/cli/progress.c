// The progress line: one line on a terminal's stderr that rewrites itself, and the clock for it; and how values went, in a line.
#include "cli/tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

// Whether there is a line on the terminal, of which a process has one.
static bool shown;

double tool_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int tool_columns(int file) {
  const char *given = getenv("COLUMNS");
  const long number = given ? strtol(given, NULL, 10) : 0;
  struct winsize window = {0};
  if (number > 0 && number < 10000) return (int)number;
  if (isatty(file) != 1) return 0;
  return ioctl(file, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col : 80;
}

static bool can_erase(void) {
  const char *kind = getenv("TERM"), *no_color = getenv("NO_COLOR");
  return isatty(STDERR_FILENO) == 1 && kind && *kind && strcmp(kind, "dumb") != 0 && !(no_color && *no_color);
}

void tool_progress_start(tool_progress *progress, double interval) {
  *progress = (tool_progress){.terminal = can_erase(), .interval = interval, .last = tool_seconds()};
}

bool tool_progress_due(const tool_progress *progress) {
  return progress->terminal && tool_seconds() - progress->last >= progress->interval;
}

static void show(tool_progress *progress, const char *line) {
  // A line that wraps cannot be rewritten, so cut it to the terminal's width.
  const int columns = tool_columns(STDERR_FILENO);
  fprintf(stderr, "\r%.*s\033[K", columns > 1 ? columns - 1 : 1, line);
  fflush(stderr);
  shown = true;
  progress->last = tool_seconds();
}

void tool_progress_count(tool_progress *progress, const char *what, int64_t number, int64_t total) {
  progress->count[0] = progress->text[0] = '\0';
  if (what) snprintf(progress->count, sizeof progress->count, "%s %" PRId64 " of %" PRId64, what, number, total);
}

void tool_progress_again(tool_progress *progress) {
  if (!progress->terminal) return;
  char line[sizeof progress->count + sizeof progress->text + 2];
  const char *between = progress->count[0] && progress->text[0] ? ", " : "";
  snprintf(line, sizeof line, "%s%s%s", progress->count, between, progress->text);
  show(progress, line);
}

void tool_progress_show(tool_progress *progress, const char *format, ...) {
  if (!progress->terminal) return;
  va_list list;
  va_start(list, format);
  vsnprintf(progress->text, sizeof progress->text, format, list);
  va_end(list);
  tool_progress_again(progress);
}

void tool_progress_clear(tool_progress *progress) {
  (void)progress;
  if (!shown) return;
  fputs("\r\033[K", stderr);
  fflush(stderr);
  shown = false;
}

void tool_progress_told(const heed_progress *told, void *user) {
  tool_progress *progress = user;
  char line[320];
  if (progress->pass_on) {
    progress->pass_on(told, progress->pass_on_user);
    return;
  }
  if (told->activity == HEED_ACTIVITY_SELF_TEST) {
    tool_progress_count(progress, "self-test", (int64_t)told->done + 1, (int64_t)told->total);
    tool_progress_show(progress, "%s", told->name);
    return;
  }
  ++progress->compiled;
  if (!progress->terminal) return;
  // What can be counted comes first, because the end of a line may be cut off. The files are those of all contexts.
  snprintf(line, sizeof line, "compiling kernels: %s%sfile %zu (%s)%s%s", progress->count,
           progress->count[0] ? ", " : "", progress->compiled, told->name, progress->text[0] ? ", " : "",
           progress->text);
  show(progress, line);
}

const char *tool_duration_text(double seconds, char *text) {
  const bool sane = seconds >= 0 && seconds < 3.6e8;
  const long whole = sane ? (long)(seconds + 0.5) : 0;
  if (!sane)
    snprintf(text, 32, "?");
  else if (whole >= 3600)
    snprintf(text, 32, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  else
    snprintf(text, 32, "%ld:%02ld", whole / 60, whole % 60);
  return text;
}

// ---------------------------------------------------------------- sparklines

enum { LEVELS = 8 };

// By the variables that decide on the characters, in POSIX's order. heed never calls setlocale(), which would be asked otherwise.
static bool is_utf8(void) {
  static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
  const char *locale = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && !(locale && *locale); i++) locale = getenv(names[i]);
  return locale && (strcasestr(locale, "utf-8") || strcasestr(locale, "utf8"));
}

// The mean of the values of a column that are finite; NaN where there are none.
static double column_mean(const double *values, size_t count, size_t column, size_t columns) {
  double sum = 0;
  size_t finite = 0;
  for (size_t i = count * column / columns; i < count * (column + 1) / columns; i++)
    if (isfinite(values[i])) sum += values[i], finite++;
  return finite ? sum / (double)finite : NAN;
}

const char *tool_sparkline(const double *values, size_t count, int width, char *text, size_t size) {
  static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static const char *const characters[] = {"_", ".", "-", "~", "=", "+", "*", "#"};
  const char *const *levels = is_utf8() ? blocks : characters;
  const size_t columns = width < 1 ? 0 : count < (size_t)width ? count : (size_t)width;
  double low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < columns; i++) {
    low = fmin(low, column_mean(values, count, i, columns));
    high = fmax(high, column_mean(values, count, i, columns));
  }
  *text = '\0';
  for (size_t i = 0, used = 0; i < columns && low <= high; i++) {
    const double mean = column_mean(values, count, i, columns);
    const int level = high > low ? (int)((mean - low) / (high - low) * (LEVELS - 1) + 0.5) : 0;
    const char *mark = isnan(mean) ? " " : levels[level];
    if (used + strlen(mark) >= size) break;
    used += (size_t)snprintf(text + used, size - used, "%s", mark);
  }
  return text;
}
