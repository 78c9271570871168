// Lists the OpenCL devices: every device of every platform with a stable id, and why a platform shows none. host/api chooses one by a spec.
// icd.c finds driver files that do not load.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "cl/runtime/icd.h"
#include "cl/runtime/runtime.h"

// Queries of vendor extensions and newer extensions; only newer versions of cl_ext.h have them.
enum {
  DEVICE_PCI_BUS_NV = 0x4008,
  DEVICE_PCI_SLOT_NV = 0x4009,
  DEVICE_PCI_DOMAIN_NV = 0x400A,
  DEVICE_TOPOLOGY_AMD = 0x4037,
  DEVICE_UUID_KHR = 0x106A,
  DEVICE_PCI_BUS_INFO_KHR = 0x410F,
  PLATFORM_NOT_FOUND_KHR = -1001
};

static void trim_into(char *text, size_t size, const char *from) {
  while (isspace((unsigned char)*from)) ++from;
  size_t length = strlen(from);
  while (length > 0 && isspace((unsigned char)from[length - 1])) --length;
  if (length >= size) length = size - 1;
  memmove(text, from, length);
  text[length] = 0;
}

// ---------------------------------------------------------------- questions

static void note_error(struct heed__cl_asked *asked, cl_int error, const char *what) {
  if (error == CL_SUCCESS || asked->error != CL_SUCCESS) return;
  asked->error = error;
  asked->what = what;
}

void heed__cl_ask(struct heed__cl_asked *asked, cl_device_info what, const char *what_name, void *value, size_t size) {
  memset(value, 0, size);
  note_error(asked, clGetDeviceInfo(asked->device, what, size, value, NULL), what_name);
}

heed_status heed__cl_asked_status(const struct heed__cl_asked *asked) {
  HEED__REQUIRE(asked->error == CL_SUCCESS,
                asked->error == CL_OUT_OF_HOST_MEMORY ? HEED_ERROR_OUT_OF_MEMORY : HEED_ERROR_DEVICE,
                "open: asking the driver for %s: %s (%d)%s", asked->what, heed__cl_error_name(asked->error),
                (int)asked->error, asked->error == CL_OUT_OF_HOST_MEMORY ? "; host memory is used up" : "");
  return HEED_OK;
}

// Reads a text without surrounding blanks, cut to `size`; "" if there is none. It treats a lack of host memory like a lack of memory in the
// driver.
static void device_text(struct heed__cl_asked *asked, cl_device_info what, const char *what_name, char *text,
                        size_t size) {
  size_t length = 0;
  text[0] = 0;
  cl_int error = clGetDeviceInfo(asked->device, what, 0, NULL, &length);
  if (error == CL_SUCCESS && length == 0) return;
  char *all = error == CL_SUCCESS ? calloc(length + 1, 1) : NULL;
  if (all) error = clGetDeviceInfo(asked->device, what, length, all, NULL);
  if (error == CL_SUCCESS && !all) error = CL_OUT_OF_HOST_MEMORY;
  if (error == CL_SUCCESS) trim_into(text, size, all);
  note_error(asked, error, what_name);
  free(all);
}
#define DEVICE_TEXT(asked, what, text) device_text((asked), what, #what, (text), sizeof(text))

static cl_int platform_text(cl_platform_id platform, cl_platform_info what, char *text, size_t size) {
  size_t length = 0;
  text[0] = 0;
  cl_int error = clGetPlatformInfo(platform, what, 0, NULL, &length);
  if (error == CL_SUCCESS && length == 0) return error;
  char *all = error == CL_SUCCESS ? calloc(length + 1, 1) : NULL;
  if (all) error = clGetPlatformInfo(platform, what, length, all, NULL);
  if (error == CL_SUCCESS && !all) error = CL_OUT_OF_HOST_MEMORY;
  if (error == CL_SUCCESS) trim_into(text, size, all);
  free(all);
  return error;
}

bool heed__cl_has_extension(cl_device_id device, const char *name) {
  size_t length = 0;
  if (clGetDeviceInfo(device, CL_DEVICE_EXTENSIONS, 0, NULL, &length) != CL_SUCCESS || length == 0) return false;
  char *all = calloc(length + 1, 1);
  bool found = false;
  if (all && clGetDeviceInfo(device, CL_DEVICE_EXTENSIONS, length, all, NULL) == CL_SUCCESS) {
    char *rest = all;
    for (char *word = strtok_r(all, " ", &rest); word && !found; word = strtok_r(NULL, " ", &rest))
      found = strcmp(word, name) == 0;
  }
  free(all);
  return found;
}

// ---------------------------------------------------------------- stable ids

// A driver may answer with fewer bytes than asked for; only a complete answer counts.
static bool query(cl_device_id device, cl_device_info what, void *value, size_t size) {
  size_t given = 0;
  return clGetDeviceInfo(device, what, size, value, &given) == CL_SUCCESS && given == size;
}

static bool pci_id(cl_device_id device, char *id, size_t size) {
  cl_uint khr[4];  // domain, bus, device, function
  if (heed__cl_has_extension(device, "cl_khr_pci_bus_info") &&
      query(device, DEVICE_PCI_BUS_INFO_KHR, khr, sizeof khr)) {
    snprintf(id, size, "pci:%04x:%02x:%02x.%x", khr[0], khr[1], khr[2], khr[3]);
    return true;
  }
  cl_uint bus, slot, domain;
  if (heed__cl_has_extension(device, "cl_nv_device_attribute_query") &&
      query(device, DEVICE_PCI_BUS_NV, &bus, sizeof bus) && query(device, DEVICE_PCI_SLOT_NV, &slot, sizeof slot)) {
    if (!query(device, DEVICE_PCI_DOMAIN_NV, &domain, sizeof domain)) domain = 0;
    snprintf(id, size, "pci:%04x:%02x:%02x.%x", domain, bus, slot >> 3, slot & 7);
    return true;
  }
  unsigned char topology[24];  // uint type (1: PCIe), 17 unused, bus, device, function
  cl_uint type = 0;
  if (heed__cl_has_extension(device, "cl_amd_device_attribute_query") &&
      query(device, DEVICE_TOPOLOGY_AMD, topology, sizeof topology)) {
    memcpy(&type, topology, sizeof type);
    if (type != 1) return false;
    snprintf(id, size, "pci:0000:%02x:%02x.%x", topology[21], topology[22], topology[23]);
    return true;
  }
  return false;
}

static bool uuid_id(cl_device_id device, char *id, size_t size) {
  static const unsigned char zero[16];
  unsigned char uuid[16];
  if (!heed__cl_has_extension(device, "cl_khr_device_uuid") || !query(device, DEVICE_UUID_KHR, uuid, sizeof uuid))
    return false;
  if (memcmp(uuid, zero, sizeof uuid) == 0) return false;
  size_t used = (size_t)snprintf(id, size, "uuid:");
  for (int i = 0; i < 16 && used < size; ++i)
    used += (size_t)snprintf(id + used, size - used, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
  return true;
}

// Hashes the texts that identify a device, and its position among identical devices.
static void hash_id(const heed_device_info *info, int ordinal, char *id, size_t size) {
  char text[sizeof info->platform + sizeof info->vendor + sizeof info->name + 16];
  const int length = snprintf(text, sizeof text, "%s\n%s\n%s\n%d", info->platform, info->vendor, info->name, ordinal);
  const uint64_t hash = heed__hash(HEED__HASH_START, text, length > 0 ? (size_t)length : 0);
  snprintf(id, size, "hash:%016llx", (unsigned long long)hash);
}

static bool identical(const heed_device_info *a, const heed_device_info *b) {
  return strcmp(a->platform, b->platform) == 0 && strcmp(a->vendor, b->vendor) == 0 && strcmp(a->name, b->name) == 0;
}

static bool taken(const struct heed__cl_found *before, size_t count, const char *id) {
  for (size_t i = 0; i < count; ++i)
    if (strcmp(before[i].info.id, id) == 0) return true;
  return false;
}

// Finds the most stable id that no earlier device has: two platforms may show the same GPU, and slices of a GPU share its address.
static void make_id(const struct heed__cl_found *before, size_t count, cl_device_id device, heed_device_info *info) {
  if (pci_id(device, info->id, sizeof info->id) && !taken(before, count, info->id)) return;
  if (uuid_id(device, info->id, sizeof info->id) && !taken(before, count, info->id)) return;
  int ordinal = 0;
  for (size_t i = 0; i < count; ++i) ordinal += identical(&before[i].info, info);
  hash_id(info, ordinal, info->id, sizeof info->id);
}

// ---------------------------------------------------------------- devices

// Uses the strongest bit, because a device may report several types.
static heed_device_type type_of(cl_device_type type) {
  if (type & CL_DEVICE_TYPE_GPU) return HEED_DEVICE_GPU;
  if (type & CL_DEVICE_TYPE_CPU) return HEED_DEVICE_CPU;
  return HEED_DEVICE_ACCELERATOR;
}

// PoCL tells a part of what is free at the moment as the device's memory, and llvmpipe a fixed part, but both hand out more. What bounds a CPU's
// memory is the machine. A limit that the user sets for PoCL stays one.
bool heed__cl_shares_host(const heed_device_info *info) {
  const char *limit = getenv("POCL_MEMORY_LIMIT");
  return info->type == HEED_DEVICE_CPU && info->unified_memory && !(limit && *limit);
}

static struct heed__cl_asked describe(cl_device_id device, heed_device_info *info) {
  struct heed__cl_asked asked = {.device = device};
  cl_platform_id platform = NULL;
  cl_device_type type = 0;
  cl_ulong memory = 0, max_allocation = 0, local = 0;
  cl_uint units = 0;
  cl_bool compiler = CL_FALSE, unified = CL_FALSE;
  *info = (heed_device_info){.platform_index = -1, .device_index = -1};
  DEVICE_TEXT(&asked, CL_DEVICE_NAME, info->name);
  DEVICE_TEXT(&asked, CL_DEVICE_VENDOR, info->vendor);
  DEVICE_TEXT(&asked, CL_DRIVER_VERSION, info->driver);
  DEVICE_TEXT(&asked, CL_DEVICE_VERSION, info->version);
  HEED__CL_ASK(&asked, CL_DEVICE_TYPE, &type);
  HEED__CL_ASK(&asked, CL_DEVICE_GLOBAL_MEM_SIZE, &memory);
  HEED__CL_ASK(&asked, CL_DEVICE_MAX_MEM_ALLOC_SIZE, &max_allocation);
  HEED__CL_ASK(&asked, CL_DEVICE_LOCAL_MEM_SIZE, &local);
  HEED__CL_ASK(&asked, CL_DEVICE_MAX_COMPUTE_UNITS, &units);
  HEED__CL_ASK(&asked, CL_DEVICE_COMPILER_AVAILABLE, &compiler);
  HEED__CL_ASK(&asked, CL_DEVICE_PLATFORM, &platform);
  if (platform) {
    note_error(&asked, platform_text(platform, CL_PLATFORM_NAME, info->platform, sizeof info->platform),
               "CL_PLATFORM_NAME");
    note_error(&asked,
               platform_text(platform, CL_PLATFORM_VERSION, info->platform_version, sizeof info->platform_version),
               "CL_PLATFORM_VERSION");
  }
  query(device, CL_DEVICE_HOST_UNIFIED_MEMORY, &unified, sizeof unified);  // newer drivers may not support it
  info->type = type_of(type);
  info->memory = memory;
  info->max_allocation = max_allocation;
  info->local_memory = local;
  info->compute_units = units;
  info->has_compiler = compiler;
  info->unified_memory = unified;
  if (heed__cl_shares_host(info)) info->memory = heed__memory_read("").total;
  return asked;
}

struct list {
  struct heed__cl_found *devices;
  size_t count;
};

static heed_status add_devices(struct list *list, cl_platform_id platform, int platform_index, cl_uint count) {
  cl_device_id *ids = calloc(count, sizeof *ids);
  struct heed__cl_found *grown = realloc(list->devices, (list->count + count) * sizeof *grown);
  if (grown) list->devices = grown;
  if (!ids || !grown) {
    free(ids);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for a list of %u devices", count);
  }
  if (clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count, ids, NULL) != CL_SUCCESS) count = 0;
  for (cl_uint i = 0; i < count; ++i) {
    struct heed__cl_found *found = &list->devices[list->count];
    const struct heed__cl_asked asked = describe(ids[i], &found->info);
    if (!found->info.name[0] && asked.error != CL_SUCCESS)
      snprintf(found->info.name, sizeof found->info.name, "(no name: asked for %s, the driver answers %s)", asked.what,
               heed__cl_error_name(asked.error));
    make_id(list->devices, list->count, ids[i], &found->info);
    found->device = ids[i];
    found->info.platform_index = platform_index;
    found->info.device_index = (int)i;
    ++list->count;
  }
  free(ids);
  return HEED_OK;
}

// ---------------------------------------------------------------- platforms without a device

static bool contains(const char *text, const char *piece) { return strcasestr(text, piece) != NULL; }

static void explain(heed_platform_info *platform, cl_int error) {
  char *reason = platform->reason;
  const size_t size = sizeof platform->reason;
  const char *enabled = getenv("RUSTICL_ENABLE"), *pocl = getenv("POCL_DEVICES");
  if (error != CL_DEVICE_NOT_FOUND && error != CL_SUCCESS)
    snprintf(reason, size, "asked for its devices, it answers %s (%d)", heed__cl_error_name(error), (int)error);
  else if (contains(platform->name, "rusticl") && (!enabled || !*enabled))
    snprintf(reason, size, "no driver is enabled: set RUSTICL_ENABLE=llvmpipe (or iris, radeonsi, ...)");
  else if (contains(platform->name, "rusticl"))
    snprintf(
        reason, size,
        "RUSTICL_ENABLE=%s enables no driver that finds a device here: try llvmpipe, iris, radeonsi, ... and check "
        "that you may open /dev/dri/renderD*",
        enabled);
  else if (contains(platform->name, "Clover"))
    snprintf(reason, size,
             "it knows AMD GPUs alone and is superseded by rusticl: use that, with RUSTICL_ENABLE=radeonsi");
  else if (contains(platform->name, "NVIDIA"))
    snprintf(reason, size,
             "the driver finds no GPU: check that nvidia-smi lists one and that you may open /dev/nvidia*");
  else if (contains(platform->name, "AMD"))
    snprintf(
        reason, size,
        "the driver finds no GPU: check that you may open /dev/kfd and /dev/dri/renderD* (groups render and video)");
  else if (contains(platform->name, "Intel"))
    snprintf(reason, size,
             "the driver finds no GPU: check that you may open /dev/dri/renderD* (groups render and video)");
  else if (contains(platform->name, "Portable Computing Language") && pocl)
    snprintf(reason, size, "POCL_DEVICES=%s enables none: set it to cpu, or unset it", pocl);
  else if (contains(platform->name, "Portable Computing Language"))
    snprintf(
        reason, size,
        "it finds no device; it finds none where it cannot write its cache: set POCL_CACHE_DIR to a folder of yours");
  else
    snprintf(reason, size, "it finds none of its devices on this machine");
}

static heed_status add_platform(struct list *list, cl_platform_id id, int index, heed_platform_info *platform) {
  cl_uint count = 0;
  platform_text(id, CL_PLATFORM_NAME, platform->name, sizeof platform->name);
  platform_text(id, CL_PLATFORM_VERSION, platform->version, sizeof platform->version);
  const cl_int error = clGetDeviceIDs(id, CL_DEVICE_TYPE_ALL, 0, NULL, &count);
  const size_t before = list->count;
  if (error == CL_SUCCESS && count > 0) HEED__TRY(add_devices(list, id, index, count));
  platform->devices = (int)(list->count - before);
  if (platform->devices == 0) explain(platform, error);
  return HEED_OK;
}

// Lists the platforms that the loader offers, in its order; `platforms` has room for `extra` more entries after them.
static heed_status discover(struct list *list, heed_platform_info **platforms, size_t *count, size_t extra) {
  cl_uint offered = 0;
  const cl_int error = heed__cl_has_loader() ? clGetPlatformIDs(0, NULL, &offered) : PLATFORM_NOT_FOUND_KHR;
  if (error != CL_SUCCESS) offered = 0;
  cl_platform_id *ids = calloc(offered + 1, sizeof *ids);
  *platforms = calloc(offered + extra + 1, sizeof **platforms);
  heed_status status = HEED_OK;
  if (!ids || !*platforms)
    status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for a list of %u platforms", offered);
  if (status == HEED_OK && offered > 0 && clGetPlatformIDs(offered, ids, NULL) != CL_SUCCESS) offered = 0;
  for (cl_uint i = 0; status == HEED_OK && i < offered; ++i)
    status = add_platform(list, ids[i], (int)i, &(*platforms)[i]);
  *count = offered;
  if (status == HEED_OK && error != CL_SUCCESS && error != PLATFORM_NOT_FOUND_KHR) {
    heed_platform_info *loader = &(*platforms)[(*count)++];
    snprintf(loader->name, sizeof loader->name, "OpenCL loader");
    snprintf(loader->reason, sizeof loader->reason, "asked for platforms, it answers %s (%d)",
             heed__cl_error_name(error), (int)error);
  }
  free(ids);
  return status;
}

heed_status heed__cl_discover(struct heed__cl_found **devices, size_t *device_count, heed_platform_info **platforms,
                              size_t *platform_count) {
  struct list list = {0};
  *devices = NULL;
  *platforms = NULL;
  *device_count = *platform_count = 0;
  heed_platform_info *found = NULL;
  size_t count = 0;
  heed_status status = discover(&list, &found, &count, HEED__ICD_MAX);
  if (status != HEED_OK) {
    free(list.devices);
    free(found);
    return status;
  }
  count += heed__cl_icd_failures(found + count, HEED__ICD_MAX, count == 0);
  *devices = list.devices;
  *device_count = list.count;
  *platforms = found;
  *platform_count = count;
  return HEED_OK;
}

heed_status heed__cl_describe(cl_device_id device, heed_device_info *info) {
  struct list list = {0};
  heed_platform_info *platforms = NULL;
  size_t count = 0;
  const struct heed__cl_asked asked = describe(device, info);
  HEED__TRY(heed__cl_asked_status(&asked));
  heed_status status = discover(&list, &platforms, &count, 0);
  size_t at = 0;
  while (at < list.count && list.devices[at].device != device) ++at;
  if (at < list.count) {
    info->platform_index = list.devices[at].info.platform_index;
    info->device_index = list.devices[at].info.device_index;
  }
  // By this description, which is complete: for the list, the driver may have been asked in vain.
  make_id(list.devices, at, device, info);
  free(list.devices);
  free(platforms);
  return status;
}
