// Second processes on Windows, which has no fork(): gnuplot runs in one; `heed check` and `heed train` do without theirs, so that a driver
// that crashes ends `heed check`. This file stands in for cli/child.c, check/helper.c and train/warmup.c.
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <stdlib.h>
#include <unistd.h>

#include "check/helper.h"
#include "cli/child.h"
#include "train/warmup.h"

// ---------------------------------------------------------------- filters

// Returns 0 or an errno.
static int read_all(int from, child_output *out) {
  enum { PIECE = 65536 };
  for (;;) {
    char *grown = realloc(out->bytes, out->count + PIECE);
    if (!grown) return ENOMEM;
    out->bytes = grown;
    const int count = _read(from, out->bytes + out->count, PIECE);
    if (count <= 0) return count < 0 && errno != EPIPE ? errno : 0;
    out->count += (size_t)count;
  }
}

// A child inherits the standard streams alone, so this process lends its own for a moment.
static intptr_t start(const char *program, int input, int output) {
  const int own_input = _dup(STDIN_FILENO), own_output = _dup(STDOUT_FILENO);
  intptr_t child = -1;
  if (_dup2(input, STDIN_FILENO) == 0 && _dup2(output, STDOUT_FILENO) == 0)
    child = _spawnlp(_P_NOWAIT, program, program, "-", NULL);
  const int error = errno;
  if (own_input >= 0) _dup2(own_input, STDIN_FILENO);
  if (own_output >= 0) _dup2(own_output, STDOUT_FILENO);
  _close(own_input);
  _close(own_output);
  errno = error;
  return child;
}

int child_filter(const char *program, int input, child_output *out) {
  int ends[2], status = 0;
  fflush(stdout);
  if (_pipe(ends, 65536, _O_BINARY | _O_NOINHERIT) != 0) return -1;
  const intptr_t child = start(program, input, ends[1]);
  int error = child == -1 ? errno : 0;
  _close(ends[1]);
  if (!error) error = read_all(ends[0], out);
  _close(ends[0]);
  if (error == ENOENT && child == -1) return CHILD_NOT_FOUND;
  if (child != -1 && _cwait(&status, child, 0) == -1 && !error) error = errno;
  errno = error;
  return error ? -1 : status;
}

// ---------------------------------------------------------------- heed check, heed train

void check_helper_start(check_helper *helper, bool silent, int (*work)(void *state, int to), void *state) {
  (void)silent, (void)work, (void)state;
  *helper = (check_helper){0};
}

void check_helper_tell(int to, const check_message *message) { (void)to, (void)message; }

check_helper *check_helper_next(check_helper *helpers, int count, check_message *message, bool *ended) {
  (void)helpers, (void)count, (void)message, (void)ended;
  return NULL;  // none of them has a process
}

bool check_helper_end(check_helper *helper, char *reason, size_t size) {
  (void)helper, (void)reason, (void)size;
  return true;
}

void check_helper_stop(check_helper *helper) { (void)helper; }

void train_warmup_start(const tool_args *args, train_warmup *w) {
  (void)args;
  *w = (train_warmup){0};
}

void train_warmup_go(train_warmup *w, const tool_args *args, const classifier_shape *shape, int64_t batch) {
  (void)w, (void)args, (void)shape, (void)batch;
}

void train_warmup_stop(train_warmup *w) { (void)w; }
