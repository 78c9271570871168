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

// What tasks run on.
typedef struct check_contexts {
  heed_context *device, *host, *clblast;  // clblast: a second context on the device, NULL unless a task may need it
} check_contexts;

typedef struct check_state {
  const check_settings *settings;
  const tool_args *args;
  heed_device_info device;  // without a name until it is known
  check_summary summary;
  check_task *tasks;
  size_t total, done, failed;
  json_t *failures;
  junit report;
  double started;
  const volatile sig_atomic_t *interrupted;
} check_state;

// tasks.c
// Opens what tasks run on. Returns TOOL_DONE, or TOOL_FAILED with contexts to close all the same.
int check_open(const check_state *state, check_contexts *on);
// Closes the contexts; returns TOOL_FAILED, and says so, if tensors are still alive.
int check_close(check_contexts *on);
void check_run(const check_state *state, const check_contexts *on, size_t task, check_outcome *outcome);
// On the host itself CLBlast has no products.
bool check_is_there(const check_state *state, const check_task *task);
// Takes an outcome into the report.
void check_account(check_state *state, const check_outcome *outcome);
// Reports a task that gave no outcome. Says so, too, unless the caller does for many at once.
void check_account_lost(check_state *state, size_t task, const char *reason, bool says_so);
void check_show_progress(check_state *state, const heed_case *c);

// workers.c
// Runs all tasks in other processes, and anew in others when a driver ends one. Returns TOOL_PROCEED if no process can be made.
int check_run_in_workers(check_state *state);

// report.c
void check_print_table(const check_state *state, check_verdict verdict);
int check_print_json(const check_state *state, check_verdict verdict);
int check_write_junit(check_state *state, check_verdict verdict);
// Names the tasks' cases.
int check_print_list(const check_state *state);

#endif
