// Pictures through gnuplot: a script goes in, and the picture replaces a file whole or not at all. The caller decides what to draw.
#ifndef HEED_GNUPLOT_H
#define HEED_GNUPLOT_H

#include <stdbool.h>
#include <stdio.h>

// Returns gnuplot's terminal for a file's ending: "pngcairo" for .png, "svg" for .svg, in upper or lower case; else NULL.
const char *gnuplot_terminal(const char *path);
bool gnuplot_is_stdout(const char *path);  // "svg:-" or "png:-"
// Checks whether a picture can be written to `path` (an ending that gnuplot_terminal() knows, a folder that can be written to, gnuplot with
// that terminal), so that earlier work is not lost. Returns TOOL_DONE, or says what is wrong and returns the exit status. `option` is the
// path's name in messages: "--plot".
int gnuplot_check(const char *command, const char *option, const char *path);
// Draws `script`, a stream that can be rewound; it names the terminal, but no output. Returns TOOL_DONE, or says what is wrong.
int gnuplot_draw(const char *command, const char *option, const char *path, FILE *script);

// ---------------------------------------------------------------- scripts

// Names the terminal for `path`, as tall and wide as a picture of width × height points needs.
void gnuplot_put_terminal(FILE *script, const char *path, double width, double height);
// Writes text as gnuplot's expression: single-quoted, where only the quote itself has a meaning.
void gnuplot_put_text(FILE *script, const char *text);
// The next of 1, 2, 5, 10, ... below or above a value > 0.
double gnuplot_round(double value, bool up);
// Sets "xtics" or "ytics" of a logarithmic axis: numbers at the powers of ten, or at 1, 2, 5, 10, ... on a short axis; small marks at every
// digit.
void gnuplot_put_log_tics(FILE *script, const char *axis, double from, double to);

#endif
