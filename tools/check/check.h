// What the parts of `heed check` share: its settings, how far it is, and what it reports.
#ifndef HEED_CHECK_H
#define HEED_CHECK_H

#include "cases/case.h"
#include "check/helper.h"
#include "check/junit.h"
#include "check/summary.h"
#include "cli/json.h"

typedef struct check_settings {
  const char *op, *name, *junit;
  bool tiny, quick, full, list, serial;
} check_settings;

// What a task compares: the device with the host; the host's gradients with differences of its forward; CLBlast's products with the host's.
typedef enum check_kind { CHECK_DEVICE, CHECK_GRADIENT, CHECK_CLBLAST, CHECK_KINDS } check_kind;

typedef struct check_task {
  const heed_case *c;
  check_kind kind;
  bool told;  // its outcome has been reported
} check_task;

// CHECK_NO_DEVICE: every case passed, but on the host, because there is no device.
typedef enum check_verdict { CHECK_OK, CHECK_FAILED, CHECK_NO_DEVICE, CHECK_INTERRUPTED } check_verdict;

typedef struct check_state {
  const check_settings *settings;
  const tool_args *args;
  heed_context *device, *host, *clblast;  // clblast: a second context on the device, NULL until a case needs it
  check_summary summary;
  check_task *tasks;
  size_t total, done, failed;
  check_helper helper;
  json_t *failures;
  junit report;
  double started;
  const volatile sig_atomic_t *interrupted;
} check_state;

// report.c
void check_print_table(const check_state *state, check_verdict verdict);
int check_print_json(const check_state *state, check_verdict verdict);
int check_write_junit(check_state *state, check_verdict verdict);
// Names the tasks' cases.
int check_print_list(const check_state *state);

#endif
