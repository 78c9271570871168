// Runs gnuplot as a child process: the script is its input, and its output the picture.
#include "draw/gnuplot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/child.h"
#include "cli/files.h"

bool gnuplot_is_stdout(const char *path) { return strcmp(path, "svg:-") == 0 || strcmp(path, "png:-") == 0; }

const char *gnuplot_terminal(const char *path) {
  if (gnuplot_is_stdout(path)) return *path == 's' ? "svg" : "pngcairo";
  const char *ending = strrchr(path, '.');
  if (!ending || strchr(ending, '/')) return NULL;
  return strcasecmp(ending, ".png") == 0 ? "pngcairo" : strcasecmp(ending, ".svg") == 0 ? "svg" : NULL;
}

// Collects what gnuplot prints for the script. The caller frees p->bytes in any case.
static int run(const char *command, const char *option, const char *path, FILE *script, child_output *p) {
  rewind(script);
  const int status = lseek(fileno(script), 0, SEEK_SET) == 0 ? child_filter("gnuplot", fileno(script), p) : -1;
  if (status == 0) return TOOL_DONE;
  if (status < 0) return tool_fail(command, "%s %s: cannot start gnuplot: %s", option, path, strerror(errno));
  if (status == CHILD_NOT_FOUND)
    return tool_fail(command, "%s %s: needs gnuplot, which is not installed (Debian's package: gnuplot-nox)", option,
                     path);
  if (status == CHILD_CANNOT_START) return tool_fail(command, "%s %s: gnuplot cannot be started", option, path);
  if (status > CHILD_SIGNAL)
    return tool_fail(command, "%s %s: gnuplot was stopped by signal %d", option, path, status - CHILD_SIGNAL);
  return tool_fail(command, "%s %s: gnuplot failed with exit status %d; its message is above", option, path, status);
}

// ---------------------------------------------------------------- the file

static int write_all(int fd, const child_output *p) {
  for (size_t done = 0; done < p->count;) {
    const ssize_t count = write(fd, p->bytes + done, p->count - done);
    if (count < 0 && errno != EINTR) return errno;
    if (count > 0) done += (size_t)count;
  }
  return 0;
}

static int replace(const char *command, const char *option, const char *path, const child_output *p) {
  if (p->count == 0) return tool_fail(command, "%s %s: gnuplot drew nothing", option, path);
  const int error = gnuplot_is_stdout(path) ? write_all(STDOUT_FILENO, p) : tool_replace_file(path, p->bytes, p->count);
  return error ? tool_fail(command, "%s %s: cannot write: %s", option, path, strerror(error)) : TOOL_DONE;
}

// An SVG has the cells of a heat map as a small image, a pixel each. Viewers enlarge it, and blur it unless they are told not to: those of
// SVG 1.1 by the attribute, browsers by the style.
static int keep_cells_sharp(const char *command, child_output *p) {
  static const char image[] = "<image ", style[] = "image-rendering='optimizeSpeed' style='image-rendering:pixelated' ";
  const size_t length = strlen(image);
  size_t images = 0;
  for (size_t i = length; i <= p->count; i++) images += memcmp(p->bytes + i - length, image, length) == 0;
  if (images == 0) return TOOL_DONE;
  char *bytes = malloc(p->count + images * strlen(style)), *to = bytes;
  if (!bytes) return tool_fail(command, "out of memory");
  for (size_t i = 1; i <= p->count; i++) {
    *to++ = p->bytes[i - 1];
    if (i < length || memcmp(p->bytes + i - length, image, length) != 0) continue;
    memcpy(to, style, strlen(style));
    to += strlen(style);
  }
  free(p->bytes);
  *p = (child_output){.bytes = bytes, .count = (size_t)(to - bytes)};
  return TOOL_DONE;
}

int gnuplot_draw(const char *command, const char *option, const char *path, FILE *script) {
  if (fflush(script) != 0 || ferror(script))
    return tool_fail(command, "%s %s: cannot write a temporary file: %s", option, path, strerror(errno));
  child_output p = {0};
  int status = run(command, option, path, script, &p);
  if (status == TOOL_DONE && strcmp(gnuplot_terminal(path), "svg") == 0) status = keep_cells_sharp(command, &p);
  if (status == TOOL_DONE) status = replace(command, option, path, &p);
  free(p.bytes);
  return status;
}

// ---------------------------------------------------------------- beforehand

int gnuplot_check(const char *command, const char *option, const char *path) {
  const char *terminal = gnuplot_terminal(path);
  if (!terminal && tool_is_dash(path))
    return tool_usage(command, "%s -: standard output has no ending that names a format; use svg:- or png:-", option);
  if (!terminal) return tool_usage(command, "%s %s: the name must end in .svg or .png", option, path);
  TOOL_TRY(tool_check_target(command, option, gnuplot_is_stdout(path) ? "-" : path, false, true));
  FILE *script = tmpfile();
  if (!script) return tool_fail(command, "%s %s: cannot make a temporary file: %s", option, path, strerror(errno));
  fprintf(script, "set terminal %s\n", terminal);
  child_output p = {0};
  int status = fflush(script) == 0 ? TOOL_DONE : tool_fail(command, "cannot write a temporary file");
  if (status == TOOL_DONE) status = run(command, option, path, script, &p);
  free(p.bytes);
  fclose(script);
  return status;
}

// ---------------------------------------------------------------- scripts

void gnuplot_put_terminal(FILE *script, const char *path, double width, double height) {
  const char *terminal = gnuplot_terminal(path);
  const bool png = strcmp(terminal, "pngcairo") == 0;
  // Draw a picture made of pixels larger, for dense screens and print.
  const double scale = png ? 1.5 : 1;
  fprintf(
      script,
      "set terminal %s noenhanced size %.0f,%.0f font '%s' background rgb 'white' linewidth %g\nset encoding utf8\n",
      terminal, width * scale, height * scale, png ? "sans,13.5" : "DejaVu Sans\\,Verdana\\,sans-serif,12", scale);
}

void gnuplot_put_text(FILE *script, const char *text) {
  // Two quotes that begin a text are an empty text to gnuplot, so quotes at the beginning stand in a text of their own.
  const int quotes = (int)strspn(text, "'");
  if (quotes > 0) fprintf(script, "\"%.*s\".", quotes, text);
  text += quotes;
  fputc('\'', script);
  for (; *text; ++text) {
    if (*text == '\'') fputc('\'', script);
    fputc((unsigned char)*text < ' ' ? ' ' : *text, script);
  }
  fputc('\'', script);
}

double gnuplot_round(double value, bool up) {
  static const double steps[] = {1, 2, 5, 10};
  const double power = pow(10, floor(log10(value)));
  double below = power;
  for (int i = 0; i < 4; ++i) {
    if (up && steps[i] * power >= value * 0.999) return steps[i] * power;
    if (!up && steps[i] * power <= value * 1.001) below = steps[i] * power;
  }
  return up ? 10 * power : below;
}

void gnuplot_put_log_tics(FILE *script, const char *axis, double from, double to) {
  const bool is_short = to / from < 1000;
  const char *separator = "";
  fprintf(script, "set %s (", axis);
  for (double power = gnuplot_round(from, false) / 10; power <= to; power *= 10) {
    power = pow(10, round(log10(power)));
    for (int digit = 1; digit < 10; ++digit) {
      const double at = digit * power;
      if (at < from * 0.999 || at > to * 1.001) continue;
      const bool numbered = digit == 1 || (is_short && (digit == 2 || digit == 5));
      fprintf(script, numbered ? "%s%g" : "%s'' %g 1", separator, at);
      separator = ", ";
    }
  }
  fputs(")\n", script);
}
