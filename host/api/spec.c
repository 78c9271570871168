// Which device a spec means, and which one "auto" prefers. This file only sees descriptions of devices; other files find, open and test
// them.
#include "api/spec.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Higher is better. A software rasteriser that calls itself a device is the last resort before host.
static double rank_of(const heed_device_info *d) {
  if (d->type == HEED_DEVICE_HOST) return 0;
  if (!d->has_compiler) return -1;
  if (strncasecmp(d->name, "llvmpipe", 8) == 0 || strncasecmp(d->name, "softpipe", 8) == 0) return 1;
  const double kind = d->type == HEED_DEVICE_GPU ? 400 : d->type == HEED_DEVICE_ACCELERATOR ? 300 : 200;
  // Among GPUs, one with its own memory comes first, then the one with more compute units.
  const double dedicated = d->type == HEED_DEVICE_GPU && !d->unified_memory ? 50 : 0;
  return kind + dedicated + (double)d->compute_units / (d->compute_units + 100.0);
}

static size_t host_of(const heed_device_info *const *devices, size_t count) {
  size_t host = 0;
  while (host + 1 < count && devices[host]->type != HEED_DEVICE_HOST) ++host;
  return host;
}

size_t heed__spec_auto(const heed_device_info *const *devices, size_t count) {
  size_t best = host_of(devices, count);
  for (size_t i = 0; i < count; ++i)
    if (devices[i]->self_test != HEED_SELF_TEST_FAILED && rank_of(devices[i]) > rank_of(devices[best])) best = i;
  return best;
}

const char *heed__spec_or_default(const char *spec) {
  if (!spec) spec = getenv("HEED_DEVICE");
  return spec && spec[0] ? spec : "auto";
}

bool heed__spec_is_auto(const char *spec) { return strcasecmp(spec, "auto") == 0 || spec[0] == 0; }

bool heed__spec_comes_before(const heed_device_info *device, const heed_device_info *other) {
  return rank_of(device) > rank_of(other);
}

static const char *find_ignoring_case(const char *text, const char *piece) { return strcasestr(text, piece); }

enum match_kind { BY_TYPE, BY_NUMBER, BY_INDEX, BY_ID, BY_NAME, BY_VERSION };

// number: how many devices of OpenCL stand before it.
static bool matches(const heed_device_info *d, size_t number, enum match_kind kind, const char *spec) {
  int platform, device;
  switch (kind) {
    case BY_TYPE:
      return d->type == (spec[0] == 'g' || spec[0] == 'G' ? HEED_DEVICE_GPU : HEED_DEVICE_CPU);
    case BY_NUMBER:
      return d->type != HEED_DEVICE_HOST && strtoull(spec, NULL, 10) == number;
    case BY_INDEX:
      return sscanf(spec, "%d:%d", &platform, &device) == 2 && d->platform_index == platform &&
             d->device_index == device;
    case BY_ID:
      return strcasecmp(d->id, strncasecmp(spec, "id:", 3) == 0 ? spec + 3 : spec) == 0;
    case BY_NAME:
      return d->type != HEED_DEVICE_HOST &&
             (find_ignoring_case(d->name, spec) || find_ignoring_case(d->platform, spec));
    case BY_VERSION:
      return d->type != HEED_DEVICE_HOST && find_ignoring_case(d->platform_version, spec);
  }
  return false;
}

// A number is never a piece of a name: "1" would fit "OpenCL 1.2", and mean another device when a driver is updated.
static bool is_number(const char *spec) { return *spec && !spec[strspn(spec, "0123456789")]; }

// With its "id:" or without, as heed_device_info.id has it.
static bool is_id(const char *spec) {
  static const char *const kinds[] = {"id:", "pci:", "uuid:", "hash:"};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i)
    if (strncasecmp(spec, kinds[i], strlen(kinds[i])) == 0) return true;
  return false;
}

static bool is_index_pair(const char *spec) {
  const size_t first = strspn(spec, "0123456789");
  if (first == 0 || first > 4 || spec[first] != ':') return false;
  const size_t second = strspn(spec + first + 1, "0123456789");
  return second > 0 && second <= 4 && spec[first + 1 + second] == 0;
}

static heed_status fail_listing(const char *spec, const char *what, const heed_device_info *const *devices,
                                size_t count, const bool *marked) {
  char list[3072] = "";
  size_t used = 0, number = 0;
  for (size_t i = 0; i < count && used < sizeof list; ++i) {
    const heed_device_info *d = devices[i];
    const size_t own = number;
    number += d->type != HEED_DEVICE_HOST;
    if (marked && !marked[i]) continue;
    if (d->type == HEED_DEVICE_HOST)
      used += (size_t)snprintf(list + used, sizeof list - used, "\n  host  %s", d->name);
    else
      used += (size_t)snprintf(list + used, sizeof list - used, "\n  %zu  %d:%d  %s (%s)  id:%s", own,
                               d->platform_index, d->device_index, d->name, d->platform, d->id);
  }
  return heed__fail(HEED_ERROR_NO_DEVICE, "device '%s' %s:%s", spec, what, list);
}

heed_status heed__spec_resolve(const char *spec, const heed_device_info *const *devices, size_t count, size_t *index,
                               char *notice, size_t notice_size) {
  notice[0] = 0;
  if (heed__spec_is_auto(spec)) {
    *index = heed__spec_auto(devices, count);
    if (devices[*index]->type == HEED_DEVICE_HOST)
      snprintf(notice, notice_size, "no usable OpenCL device; running on the host (heed devices tells why)");
    return HEED_OK;
  }
  if (strcasecmp(spec, "host") == 0) {
    *index = host_of(devices, count);
    return HEED_OK;
  }
  HEED__REQUIRE(spec[strspn(spec, " \t\n")], HEED_ERROR_NO_DEVICE, "the device is blank; heed devices lists them");
  const bool by_type = strcasecmp(spec, "gpu") == 0 || strcasecmp(spec, "cpu") == 0;
  enum match_kind kind = by_type               ? BY_TYPE
                         : is_number(spec)     ? BY_NUMBER
                         : is_index_pair(spec) ? BY_INDEX
                         : is_id(spec)         ? BY_ID
                                               : BY_NAME;
  bool *marked = calloc(count, sizeof *marked);
  HEED__REQUIRE(marked, HEED_ERROR_OUT_OF_MEMORY, "open: no host memory to choose a device");
  size_t found = 0;
  for (;; kind = BY_VERSION) {
    size_t number = 0;
    for (size_t i = 0; i < count; ++i) {
      marked[i] = matches(devices[i], number, kind, spec);
      number += devices[i]->type != HEED_DEVICE_HOST;
      if (marked[i]) *index = i;
      found += marked[i];
    }
    // PoCL's platform has "pocl" in its version, not in its name; so look at versions if no name matches. Of the versions' numbers
    // none means a device: "3.1" would mean another one when a driver is updated.
    if (found || kind != BY_NAME || isdigit((unsigned char)spec[0])) break;
  }
  heed_status status = HEED_OK;
  if (found == 0)
    status = fail_listing(spec, "fits none of the devices", devices, count, NULL);
  else if (found > 1)
    status = fail_listing(spec, "fits several devices; say which", devices, count, marked);
  free(marked);
  return status;
}
