#include "support_listen.h"

#include <stdio.h>
#include <unistd.h>

#include "support_devices.h"

char support_printed[1 << 20], support_said[1 << 20];

support_listening support_listen_begin(int stream) {
  FILE *heard = tmpfile();
  assert_non_null(heard);
  fflush(NULL);
  const int kept = dup(stream);
  assert_true(kept >= 0 && dup2(fileno(heard), stream) >= 0);
  return (support_listening){heard, stream, kept};
}

void support_listen_end(support_listening listening, char *text, size_t size) {
  fflush(NULL);
  assert_true(dup2(listening.kept, listening.stream) >= 0);
  close(listening.kept);
  rewind(listening.heard);
  text[fread(text, 1, size - 1, listening.heard)] = '\0';
  fclose(listening.heard);
}

int support_command(int (*command)(int argc, const char **argv), const char *const *words) {
  const char *all[96];
  int count = 0;
  for (; *words; words++) {
    assert_true(count < 96);
    all[count++] = *words;
  }
  const support_listening out = support_listen_begin(STDOUT_FILENO), err = support_listen_begin(STDERR_FILENO);
  const int status = command(count, all);
  support_listen_end(err, support_said, sizeof support_said);
  support_listen_end(out, support_printed, sizeof support_printed);
  return status;
}
