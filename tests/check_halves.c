// The core of `heed check` on each half of a device that can be divided, as an OpenCL program would hand them to heed_open_opencl().
// Prints a JSON object with the fields of heed check --json that tools/dev/compatibility reads, and failures on stderr; exits with 1 when
// there are some, with 77 when the device cannot be divided. Usage: check_halves [--op OP]
#include <heed/opencl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases/case.h"

static heed_context *open_half(cl_device_id half) {
  cl_int error;
  heed_context *ctx = NULL;
  cl_context context = clCreateContext(NULL, 1, &half, NULL, NULL, &error);
  cl_command_queue queue = context ? clCreateCommandQueue(context, half, 0, &error) : NULL;
  if (!queue || heed_open_opencl(context, half, queue, NULL, &ctx) != HEED_OK)
    fprintf(stderr, "check_halves: cannot open a half: %s\n", queue ? heed_last_error() : "the driver makes no queue");
  if (queue) clReleaseCommandQueue(queue);
  if (context) clReleaseContext(context);
  return ctx;
}

// How many cases failed, of one operator or, with NULL, of all.
static size_t check(heed_context *half, heed_context *host, const heed_case *cases, size_t count, const char *op,
                    size_t *done) {
  size_t failed = 0;
  for (size_t i = 0; i < count; ++i) {
    if (cases[i].level > 0 || (op && strcmp(cases[i].family->op, op) != 0)) continue;
    case_result result;
    const heed_status ignored = case_compare(&cases[i], half, host, &result);
    (void)ignored;  // the result says so
    *done += 1;
    failed += !result.passed;
    if (!result.passed) fprintf(stderr, "FAILED %s %s: %s\n", cases[i].family->op, cases[i].name, result.message);
  }
  return failed;
}

static void print(const heed_context *half, size_t done, size_t failed) {
  const heed_device_info *device = heed_context_device(half);
  char name[256];
  snprintf(name, sizeof name, "each half of %.240s", device->name);
  json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "device", name, "platform", device->platform,
                           "driver", device->driver, "version", heed_version(), "cases", (json_int_t)done, "failed",
                           (json_int_t)failed, "verdict", failed ? "failed" : "ok");
  json_dumpf(root, stdout, JSON_INDENT(2));
  printf("\n");
  json_decref(root);
}

int main(int argc, char **argv) {
  const char *op = argc == 3 && strcmp(argv[1], "--op") == 0 ? argv[2] : NULL;
  if (argc > 1 && !op) {
    fprintf(stderr, "usage: check_halves [--op OP]\n");
    return 2;
  }
  heed_context *whole = NULL, *host = NULL, *halves[2] = {NULL, NULL};
  heed_case *cases = NULL;
  size_t count = 0, done = 0, failed = 0;
  cl_device_id device, subs[2];
  cl_uint made = 0, most = 0;
  if (heed_open(NULL, &whole) != HEED_OK || heed_open("host", &host) != HEED_OK ||
      case_table(&cases, &count) != HEED_OK || heed_opencl_handles(whole, NULL, &device, NULL) != HEED_OK) {
    fprintf(stderr, "check_halves: %s\n", heed_last_error());
    return 1;
  }
  // Some drivers do not survive the call where they cannot divide.
  clGetDeviceInfo(device, CL_DEVICE_PARTITION_MAX_SUB_DEVICES, sizeof most, &most, NULL);
  const cl_device_partition_property halve[] = {CL_DEVICE_PARTITION_EQUALLY, most / 2, 0};
  if (most < 2 || clCreateSubDevices(device, halve, 2, subs, &made) != CL_SUCCESS || made < 2) {
    fprintf(stderr, "check_halves: %s cannot be divided\n", heed_context_device(whole)->name);
    return 77;
  }
  int status = 0;
  for (int i = 0; i < 2; ++i) {
    halves[i] = open_half(subs[i]);
    clReleaseDevice(subs[i]);
    if (halves[i])
      failed += check(halves[i], host, cases, count, op, &done);
    else
      status = 1;
  }
  if (status == 0 && done == 0) {
    fprintf(stderr, "check_halves: no operator is called '%s'\n", op ? op : "");
    status = 2;
  }
  if (status == 0) print(halves[0], done, failed);
  for (int i = 0; i < 2; ++i) heed_context_destroy(halves[i]);
  heed_context_destroy(host);
  heed_context_destroy(whole);
  free(cases);
  return failed ? 1 : status;
}
