// Pictures through gnuplot: a script goes in, and the picture replaces a file whole or not at all. The caller decides what to draw.
#ifndef HEED_GNUPLOT_H
#define HEED_GNUPLOT_H

#include <stdio.h>

// Returns gnuplot's terminal for a file's ending: "pngcairo" for .png, "svg" for .svg, in upper or lower case; else NULL.
const char *gnuplot_terminal(const char *path);
// Checks whether a picture can be written to `path` (an ending that gnuplot_terminal() knows, a folder that can be written to, gnuplot with
// that terminal), so that earlier work is not lost. Returns TOOL_DONE, or says what is wrong and returns the exit status. `option` is the
// path's name in messages: "--plot".
int gnuplot_check(const char *command, const char *option, const char *path);
// Draws `script`, a stream that can be rewound; it names the terminal, but no output. Returns TOOL_DONE, or says what is wrong.
int gnuplot_draw(const char *command, const char *option, const char *path, FILE *script);

#endif
