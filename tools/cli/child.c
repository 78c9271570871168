#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
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

// ---------------------------------------------------------------- filters

static void become(const char *program, int input, int output) {
  // Ctrl-C reaches it, too; what heed has begun to draw, it finishes, as it finishes the step that it is at.
  sigset_t held;
  sigemptyset(&held);
  sigaddset(&held, SIGINT);
  sigprocmask(SIG_BLOCK, &held, NULL);
  if (dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0) _exit(CHILD_CANNOT_START);
  // In a locale without the degree sign gnuplot complains of it whenever a script is in UTF-8, as heed's are.
  setenv("LC_ALL", "C.UTF-8", 1);
  execlp(program, program, "-", (char *)NULL);
  _exit(errno == ENOENT ? CHILD_NOT_FOUND : CHILD_CANNOT_START);
}

// Returns 0 or an errno.
static int read_all(int from, child_output *out) {
  size_t room = 0;
  for (;;) {
    if (out->count == room) {
      room = room * 2 + 65536;
      char *grown = realloc(out->bytes, room);
      if (!grown) return ENOMEM;
      out->bytes = grown;
    }
    const ssize_t count = read(from, out->bytes + out->count, room - out->count);
    if (count == 0) return 0;
    if (count < 0 && errno != EINTR) return errno;
    if (count > 0) out->count += (size_t)count;
  }
}

int child_filter(const char *program, int input, child_output *out) {
  int ends[2], status = 0;
  if (pipe2(ends, O_CLOEXEC) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) become(program, input, ends[1]);
  int error = child < 0 ? errno : 0;
  close(ends[1]);
  if (!error) error = read_all(ends[0], out);
  close(ends[0]);
  if (child > 0 && child_wait(child, &status) < 0 && !error) error = errno;
  errno = error;
  if (error) return -1;
  return WIFSIGNALED(status) ? CHILD_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}
