#include "support_listen.h"

#include <stdio.h>
#include <unistd.h>

#include "support_devices.h"

support_listening support_listen_begin(void) {
  FILE *heard = tmpfile();
  assert_non_null(heard);
  fflush(stderr);
  const int kept = dup(STDERR_FILENO);
  assert_true(kept >= 0 && dup2(fileno(heard), STDERR_FILENO) >= 0);
  return (support_listening){heard, kept};
}

void support_listen_end(support_listening listening, char *text, size_t size) {
  fflush(stderr);
  assert_true(dup2(listening.kept, STDERR_FILENO) >= 0);
  close(listening.kept);
  rewind(listening.heard);
  text[fread(text, 1, size - 1, listening.heard)] = '\0';
  fclose(listening.heard);
}
