#include "check/helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/child.h"

void check_helper_start(check_helper *helper, bool silent, int (*work)(void *state, int to), void *state) {
  *helper = (check_helper){0};
  int ends[2];
  fflush(NULL);
  if (pipe(ends) != 0) return;
  const pid_t pid = fork();
  if (pid == 0) {
    close(ends[0]);
    // Ctrl-C goes to the whole group; the parent decides what becomes of the child.
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    // stdout is the parent's: it may be a JSON object.
    if (silent)
      child_silence();
    else
      (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    const int status = work(state, ends[1]);
    fflush(stderr);
    _exit(status);
  }
  close(ends[1]);
  if (pid < 0)
    close(ends[0]);
  else
    *helper = (check_helper){.pid = pid, .from = ends[0]};
}

void check_helper_tell(int to, const check_message *message) {
  const char *at = (const char *)message;
  for (size_t left = sizeof *message; left > 0;) {
    const ssize_t written = write(to, at, left);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) _exit(1);  // nobody reads any more
    at += written;
    left -= (size_t)written;
  }
}

check_helper *check_helper_next(check_helper *helpers, int count, check_message *message, bool *ended) {
  enum { MOST = 4 };
  struct pollfd ready[MOST];
  int alive = 0;
  for (int i = 0; i < count && i < MOST; ++i) {
    ready[i] = (struct pollfd){.fd = helpers[i].pid ? helpers[i].from : -1, .events = POLLIN};
    alive += helpers[i].pid != 0;
  }
  if (alive == 0 || poll(ready, (nfds_t)count, -1) <= 0) return NULL;
  for (int i = 0; i < count; ++i) {
    if (ready[i].fd < 0 || !ready[i].revents) continue;
    *ended = !child_read(ready[i].fd, message, sizeof *message);
    return &helpers[i];
  }
  return NULL;
}

bool check_helper_end(check_helper *helper, char *reason, size_t size) {
  int status = 0;
  close(helper->from);
  (void)child_wait(helper->pid, &status);
  helper->pid = 0;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  if (WIFSIGNALED(status))
    snprintf(reason, size, "signal %d (%s) ended its process, most likely in the driver", WTERMSIG(status),
             strsignal(WTERMSIG(status)));
  else
    snprintf(reason, size, "its process ended with status %d", WEXITSTATUS(status));
  return false;
}

void check_helper_stop(check_helper *helper) {
  char reason[160];
  if (!helper->pid) return;
  kill(helper->pid, SIGKILL);
  (void)check_helper_end(helper, reason, sizeof reason);
}
