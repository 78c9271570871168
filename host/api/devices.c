// The list of devices that all drivers have found, in the drivers' order. spec.c decides which device a spec means.
#include "api/devices.h"

#include <stdlib.h>
#include <string.h>

#include "api/self_test.h"
#include "api/spec.h"

// Adds the devices that a driver has found, in its order.
static heed_status add(heed_device_list *list, const struct heed__driver *driver, const struct heed__findings *more) {
  struct heed__found *found = realloc(list->found, (list->count + more->count + 1) * sizeof *found);
  if (found) list->found = found;
  heed_platform_info *platforms =
      realloc(list->platforms, (list->platform_count + more->platform_count + 1) * sizeof *platforms);
  if (platforms) list->platforms = platforms;
  HEED__REQUIRE(found && platforms, HEED_ERROR_OUT_OF_MEMORY, "devices: no host memory for the list");
  for (size_t i = 0; i < more->count; ++i) {
    found[list->count] = more->found[i];
    found[list->count++].driver = driver;
  }
  for (size_t i = 0; i < more->platform_count; ++i) platforms[list->platform_count++] = more->platforms[i];
  return HEED_OK;
}

static heed_status fill(heed_device_list *list) {
  for (const struct heed__driver *driver = heed__drivers; driver->name; ++driver) {
    struct heed__findings more = {0};
    HEED__TRY(driver->discover(&more));
    const heed_status status = add(list, driver, &more);
    free(more.found);
    free(more.platforms);
    HEED__TRY(status);
  }
  list->infos = calloc(list->count + 1, sizeof *list->infos);
  HEED__REQUIRE(list->infos, HEED_ERROR_OUT_OF_MEMORY, "devices: no host memory for the list");
  for (size_t i = 0; i < list->count; ++i) list->infos[i] = &list->found[i].info;
  return HEED_OK;
}

heed_status heed__device_list_create(heed_device_list **out) {
  *out = NULL;
  heed_device_list *list = calloc(1, sizeof *list);
  HEED__REQUIRE(list, HEED_ERROR_OUT_OF_MEMORY, "devices: no host memory for the list");
  const heed_status status = fill(list);
  if (status == HEED_OK)
    *out = list;
  else
    heed_device_list_destroy(list);
  return status;
}

void heed__device_list_mark_auto(heed_device_list *list) {
  const size_t best = heed__spec_auto(list->infos, list->count);
  for (size_t i = 0; i < list->count; ++i) list->found[i].info.is_auto = i == best;
}

// Wrong settings do not matter here; opening a device reports them.
static void recall_verdicts(heed_device_list *list) {
  enum heed__self_test_mode mode;
  if (heed__self_test_mode(0, &mode) != HEED_OK || mode == HEED__SELF_TEST_OFF) return;
  for (size_t i = 0; i < list->count; ++i) heed__self_test_recall(&(heed_open_options){0}, &list->found[i]);
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
  for (size_t i = 0; i < list->count; ++i)
    if (list->found[i].kept) list->found[i].driver->verdicts->let_go(list->found[i].kept);
  free(list->found);
  free(list->platforms);
  free(list->infos);
  free(list);
}

size_t heed_device_list_count(const heed_device_list *list) { return list ? list->count : 0; }
const heed_device_info *heed_device_list_get(const heed_device_list *list, size_t index) {
  return list && index < list->count ? list->infos[index] : NULL;
}
heed_status heed_device_list_find(const heed_device_list *list, const char *spec, size_t *index) {
  HEED__REQUIRE(list && index, HEED_ERROR_INVALID_ARGUMENT, "devices: an argument is NULL");
  char notice[320];
  return heed__spec_resolve(heed__spec_or_default(spec), list->infos, list->count, index, notice, sizeof notice);
}

size_t heed_device_list_platforms(const heed_device_list *list) { return list ? list->platform_count : 0; }
const heed_platform_info *heed_device_list_platform(const heed_device_list *list, size_t index) {
  return list && index < list->platform_count ? &list->platforms[index] : NULL;
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
