// What a test's own process says on stderr, for tests that call a subcommand.
#ifndef SUPPORT_LISTEN_H
#define SUPPORT_LISTEN_H

#include <stddef.h>

// From here on stderr goes to a file, until support_listen_end() writes what came into text, cut to fit, and gives stderr back.
typedef struct support_listening {
  void *heard;  // FILE
  int kept;
} support_listening;
support_listening support_listen_begin(void);
void support_listen_end(support_listening listening, char *text, size_t size);

#endif
