// The list of devices: OpenCL's, then the host. With open.c, the only place that knows which backends there are.
#include <stdlib.h>
#include <string.h>

#include "api/config.h"
#include "api/devices.h"
#include "api/self_test.h"
#include "api/spec.h"
#include "cpu/cpu.h"

heed_status heed__device_list_create(heed_device_list **out) {
  *out = NULL;
  heed_device_list *list = calloc(1, sizeof *list);
  HEED__REQUIRE(list, HEED_ERROR_OUT_OF_MEMORY, "devices: no host memory for the list");
  heed_status status = heed__cl_discover(&list->found, &list->found_count, &list->platforms, &list->platform_count);
  if (status != HEED_OK) {
    heed_device_list_destroy(list);
    return status;
  }
  heed__cpu_device_info(&list->host);
  list->devices = calloc(list->found_count + 1, sizeof *list->devices);
  if (!list->devices) {
    heed_device_list_destroy(list);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "devices: no host memory for the list");
  }
  for (size_t i = 0; i < list->found_count; ++i) list->devices[i] = &list->found[i].info;
  list->devices[list->found_count] = &list->host;
  *out = list;
  return HEED_OK;
}

void heed__device_list_mark_auto(heed_device_list *list) {
  const size_t best = heed__spec_auto((const heed_device_info *const *)list->devices, list->found_count + 1);
  for (size_t i = 0; i <= list->found_count; ++i) list->devices[i]->is_auto = i == best;
}

// Settings that make no sense stand in nobody's way here: opening a device tells of them.
static void recall_verdicts(heed_device_list *list) {
  struct heed__cl_backend_config config;
  char path[4096];
  enum heed__self_test_mode mode;
  if (heed__self_test_mode(0, &mode) != HEED_OK || mode == HEED__SELF_TEST_OFF) return;
  if (heed__config_opencl(&(heed_open_options){0}, &config, path, sizeof path) != HEED_OK) return;
  for (size_t i = 0; i < list->found_count; ++i) heed__self_test_recall(&config, &list->found[i].info);
}

heed_status heed_device_list_create(heed_device_list **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "devices: out is NULL");
  HEED__TRY(heed__device_list_create(out));
  recall_verdicts(*out);
  heed__device_list_mark_auto(*out);
  return HEED_OK;
}

void heed_device_list_destroy(heed_device_list *list) {
  if (!list) return;
  for (size_t i = 0; i < list->found_count; ++i)
    if (list->found[i].kept) clReleaseContext(list->found[i].kept);
  free(list->found);
  free(list->platforms);
  free(list->devices);
  free(list);
}

size_t heed_device_list_count(const heed_device_list *list) { return list->found_count + 1; }
const heed_device_info *heed_device_list_get(const heed_device_list *list, size_t index) {
  return index <= list->found_count ? list->devices[index] : NULL;
}
heed_status heed_device_list_find(const heed_device_list *list, const char *spec, size_t *index) {
  HEED__REQUIRE(list && index, HEED_ERROR_INVALID_ARGUMENT, "devices: an argument is NULL");
  char notice[320];
  return heed__spec_resolve(heed__spec_or_default(spec), (const heed_device_info *const *)list->devices,
                            list->found_count + 1, index, notice, sizeof notice);
}

size_t heed_device_list_platforms(const heed_device_list *list) { return list->platform_count; }
const heed_platform_info *heed_device_list_platform(const heed_device_list *list, size_t index) {
  return index < list->platform_count ? &list->platforms[index] : NULL;
}

const char *heed_device_type_string(heed_device_type type) {
  switch (type) {
    case HEED_DEVICE_HOST:
      return "host";
    case HEED_DEVICE_CPU:
      return "cpu";
    case HEED_DEVICE_GPU:
      return "gpu";
    case HEED_DEVICE_ACCELERATOR:
      return "accelerator";
  }
  return "unknown";
}
