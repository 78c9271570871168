// What a test's own process prints on stdout or says on stderr, and subcommands that are called in it.
#ifndef SUPPORT_LISTEN_H
#define SUPPORT_LISTEN_H

#include <stddef.h>

// From here on this stream, STDOUT_FILENO or STDERR_FILENO, goes to a file, until support_listen_end() writes what came into text, cut to
// fit, and gives the stream back.
typedef struct support_listening {
  void *heard;  // FILE
  int stream, kept;
} support_listening;
support_listening support_listen_begin(int stream);
void support_listen_end(support_listening listening, char *text, size_t size);

// Calls a subcommand with these words, up to NULL, the first of which is its name; returns its exit status. support_printed and
// support_said have what it wrote on stdout and stderr.
int support_command(int (*command)(int argc, const char **argv), const char *const *words);
#define COMMAND(command, ...) support_command((command), (const char *const[]){__VA_ARGS__, NULL})
extern char support_printed[1 << 20], support_said[1 << 20];

#endif
