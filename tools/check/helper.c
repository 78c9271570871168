#include "check/helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/child.h"

void check_helper_start(check_helper *helper, int (*work)(void *state, int to), void *state) {
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
    child_silence();  // it reports through the pipe, and the parent prints the same warnings itself
    _exit(work(state, ends[1]));
  }
  close(ends[1]);
  if (pid < 0)
    close(ends[0]);
  else
    *helper = (check_helper){.pid = pid, .from = ends[0]};
}

void check_helper_tell(int to, const check_outcome *outcome) {
  const char *at = (const char *)outcome;
  for (size_t left = sizeof *outcome; left > 0;) {
    const ssize_t written = write(to, at, left);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) _exit(1);  // nobody reads any more
    at += written;
    left -= (size_t)written;
  }
}

bool check_helper_next(check_helper *helper, bool wait, check_outcome *outcome) {
  errno = 0;
  if (!helper->pid) return false;
  struct pollfd ready = {.fd = helper->from, .events = POLLIN};
  if (poll(&ready, 1, wait ? -1 : 0) <= 0) return false;
  return child_read(helper->from, outcome, sizeof *outcome);
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
