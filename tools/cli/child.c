#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

void child_silence(void) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (int end = STDIN_FILENO; end <= STDERR_FILENO; end++) (void)dup2(null, end);
  close(null);
}

bool child_read(int from, void *data, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t got = read(from, (char *)data + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += (size_t)got;
  }
  return true;
}

pid_t child_wait(pid_t pid, int *status) {
  for (;;) {
    const pid_t ended = waitpid(pid, status, 0);
    if (ended >= 0 || errno != EINTR) return ended;
  }
}
