// The progress line: one line on a terminal's stderr that rewrites itself, and the clock for it.
#include "cli/tool.h"

#include <stdarg.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

double tool_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void tool_progress_start(tool_progress *progress, double interval) {
  *progress = (tool_progress){.terminal = isatty(STDERR_FILENO) == 1, .interval = interval, .last = tool_seconds()};
}

bool tool_progress_due(const tool_progress *progress) {
  return progress->terminal && tool_seconds() - progress->last >= progress->interval;
}

void tool_progress_show(tool_progress *progress, const char *format, ...) {
  if (!progress->terminal) return;
  char line[256];
  va_list list;
  va_start(list, format);
  vsnprintf(line, sizeof line, format, list);
  va_end(list);
  // A line that wraps cannot be rewritten, so cut it to the terminal's width.
  struct winsize window = {0};
  int width = 79;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1) width = window.ws_col - 1;
  fprintf(stderr, "\r%.*s\033[K", width, line);
  fflush(stderr);
  progress->shown = true;
  progress->last = tool_seconds();
}

void tool_progress_clear(tool_progress *progress) {
  if (!progress->shown) return;
  fputs("\r\033[K", stderr);
  fflush(stderr);
  progress->shown = false;
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
