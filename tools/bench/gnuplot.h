// Pictures through gnuplot: a script goes in, and what it draws replaces a file whole or not at all.
// What is drawn is the caller's matter.
#ifndef HEED_GNUPLOT_H
#define HEED_GNUPLOT_H

#include <stdio.h>

// gnuplot's terminal for a file's ending: "pngcairo" for .png, "svg" for .svg, in either case of letters; else NULL.
const char *gnuplot_terminal(const char *path);
// Whether a picture could be put at `path` (an ending that gnuplot_terminal() knows, a folder that can be written to,
// gnuplot with that terminal), so that work before it is not lost. TOOL_DONE, or says what is wrong and returns the
// status to leave with. `option` is what messages call the path: "--plot".
int gnuplot_check(const char *command, const char *option, const char *path);
// Draws `script`, a stream that can be rewound; it names the terminal, but no output. TOOL_DONE, or says what is wrong.
int gnuplot_draw(const char *command, const char *option, const char *path, FILE *script);

#endif
