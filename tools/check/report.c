// What `heed check` prints: the table, the JSON object, the JUnit report, and the list of cases.
#include <math.h>
#include <string.h>

#include "check/check.h"
#include "cli/files.h"
#include "cli/table.h"

static const char *const verdicts[] = {"ok", "failed", "no device", "interrupted"};

static void print_verdict(const check_state *state, check_verdict verdict) {
  const heed_device_info *device = &state->device;
  if (verdict == CHECK_INTERRUPTED) {
    printf("interrupted after %zu of %zu cases on %s (driver %s), %zu of them FAILED\n", state->done, state->total,
           device->name, device->driver, state->failed);
    return;
  }
  printf("%zu cases on %s (driver %s): ", state->done, device->name, device->driver);
  if (verdict == CHECK_FAILED)
    printf("%zu FAILED\n", state->failed);
  else
    printf("all within tolerance, %.1f s\n", tool_seconds() - state->started);
  if (verdict == CHECK_NO_DEVICE)
    puts("no device was checked: heed found no OpenCL device and ran on the host (heed devices tells why)");
}

void check_print_table(const check_state *state, check_verdict verdict) {
  enum { COLUMNS = 6 };
  static const tool_column columns[COLUMNS] = {
      {.title = "operator", .width = 21},
      {.title = "cases", .width = 6, .before = 1, .right = true, .drop = 2},
      {.title = "failed", .width = 6, .before = 1, .right = true},
      {.title = "worst error", .width = 12, .before = 1, .right = true, .drop = 3},
      {.title = "verdict", .width = 10, .before = 2, .drop = 1},
      {.title = "worst case", .width = 46, .before = 1, .drop = 4},
  };
  tool_table table;
  tool_table_start(&table, columns, COLUMNS, state->args->columns);
  tool_progress_clear(state->args->progress);
  tool_table_head(&table);
  for (size_t i = 0; i < state->summary.count; ++i) {
    const check_operator *s = &state->summary.operators[i];
    char cases[24], failed[24], error[24];
    snprintf(cases, sizeof cases, "%zu", s->cases);
    snprintf(failed, sizeof failed, "%zu", s->failed);
    snprintf(error, sizeof error, s->is_unmeasured ? "-" : "%.2e", s->relative);
    tool_table_row(&table, (const char *const[]){s->op, cases, failed, error, s->failed ? "FAILED" : "ok", s->worst});
  }
  print_verdict(state, verdict);
}

static json_t *operator_json(const check_operator *s) {
  json_t *object = json_object();
  tool_json_add(object, "op", json_string(s->op));
  tool_json_add(object, "cases", json_integer((json_int_t)s->cases));
  tool_json_add(object, "failed", json_integer((json_int_t)s->failed));
  tool_json_add(object, "with_nan", json_integer((json_int_t)s->with_nan));
  tool_json_number(object, "worst_relative_error", s->is_unmeasured ? NAN : s->relative);
  tool_json_add(object, "worst_case", json_string(s->worst));
  tool_json_add(object, "verdict", json_string(s->failed ? "failed" : "ok"));
  tool_json_add(object, "ok", json_boolean(s->failed == 0));
  return object;
}

int check_print_json(const check_state *state, check_verdict verdict) {
  json_t *root = tool_json_start(state->args), *operators = json_array();
  tool_json_device(root, &state->device);
  tool_json_add(root, "cases", json_integer((json_int_t)state->done));
  tool_json_add(root, "failed", json_integer((json_int_t)state->failed));
  tool_json_number(root, "seconds", tool_seconds() - state->started);
  for (size_t i = 0; i < state->summary.count; ++i)
    tool_json_append(operators, operator_json(&state->summary.operators[i]));
  tool_json_add(root, "operators", operators);
  tool_json_add(root, "failures", json_incref(state->failures));
  tool_json_add(root, "verdict", json_string(verdicts[verdict]));
  tool_json_add(root, "ok", json_boolean(verdict == CHECK_OK));
  if (verdict == CHECK_NO_DEVICE) tool_json_add(root, "error", json_string("no device was checked"));
  if (verdict == CHECK_FAILED) tool_json_add(root, "error", json_sprintf("%zu cases failed", state->failed));
  if (verdict == CHECK_INTERRUPTED)
    tool_json_add(root, "error", json_sprintf("interrupted after %zu of %zu cases", state->done, state->total));
  return tool_json_print(state->args, root, false);
}

int check_write_junit(check_state *state, check_verdict verdict) {
  const char *path = state->settings->junit;
  if (!path) return TOOL_DONE;
  const heed_device_info *device = &state->device;
  char id[TOOL_ID_TEXT];
  const char *const properties[] = {
      "device", device->name,   "platform", device->platform,  "driver", device->driver, "id", tool_id_text(device, id),
      "heed",   heed_version(), "verdict",  verdicts[verdict], NULL};
  if (tool_is_dash(path)) tool_progress_clear(state->args->progress);
  const int error = junit_write(&state->report, tool_is_dash(path) ? NULL : path, "heed check", properties);
  return error ? tool_fail(state->args->command, "%s: cannot write the report: %s", path, strerror(error)) : TOOL_DONE;
}

static int print_list_json(const check_state *state) {
  json_t *root = tool_json_start(state->args), *cases = json_array();
  for (size_t i = 0; i < state->total; ++i) {
    const heed_case *c = state->tasks[i].c;
    if (state->tasks[i].kind != CHECK_DEVICE) continue;
    json_t *object = json_object();
    tool_json_add(object, "op", json_string(c->family->op));
    tool_json_add(object, "case", json_string(c->name));
    tool_json_add(object, "dtype", json_string(heed_dtype_string(c->dtype)));
    tool_json_append(cases, object);
  }
  tool_json_add(root, "ok", json_true());
  tool_json_add(root, "cases", cases);
  return tool_json_print(state->args, root, false);
}

int check_print_list(const check_state *state) {
  enum { COLUMNS = 3 };
  static const tool_column columns[COLUMNS] = {
      {.title = "operator", .width = 21, .drop = 1},
      {.title = "type", .width = 4, .before = 1, .drop = 2},
      {.title = "case", .width = 60, .least = 52, .before = 1},
  };
  if (state->args->json) return print_list_json(state);
  tool_table table;
  tool_table_start(&table, columns, COLUMNS, state->args->columns);
  table.cut = false;  // names are there to be copied
  tool_table_head(&table);
  for (size_t i = 0; i < state->total; ++i) {
    const heed_case *c = state->tasks[i].c;
    if (state->tasks[i].kind != CHECK_DEVICE) continue;
    tool_table_row(&table, (const char *const[]){c->family->op, heed_dtype_string(c->dtype), c->name});
  }
  return TOOL_DONE;
}
