// Ctrl-C, and SIGTERM, which a batch system sends before it kills.
#include "cli/tool.h"

static volatile sig_atomic_t interrupted;
static struct sigaction before_int, before_term;

static void on_signal(int number) {
  (void)number;
  interrupted = 1;
}

const volatile sig_atomic_t *tool_interrupt_start(void) {
  const struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
  interrupted = 0;
  sigaction(SIGINT, &action, &before_int);
  sigaction(SIGTERM, &action, &before_term);
  return &interrupted;
}

void tool_interrupt_end(void) {
  sigaction(SIGINT, &before_int, NULL);
  sigaction(SIGTERM, &before_term, NULL);
}
