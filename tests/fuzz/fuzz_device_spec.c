// Device specs, and devices that call themselves what they like: the first line is the spec; each further one a device: a letter for
// its type (n: a GPU without a compiler), then name, platform, version and id with tabs between.
#include <stdio.h>
#include <string.h>

#include "api/spec.h"
#include "fuzz.h"

enum { MOST = 8 };

// Up to the delimiter, which is stepped over.
static void take(const char **text, const char *end, char delimiter, char *out, size_t size) {
  const char *stop = memchr(*text, delimiter, (size_t)(end - *text));
  if (!stop) stop = end;
  const size_t length = (size_t)(stop - *text) < size ? (size_t)(stop - *text) : size - 1;
  memcpy(out, *text, length);
  out[length] = '\0';
  *text = stop < end ? stop + 1 : end;
}

static heed_device_info read_device(const char *line, int index) {
  const char *end = line + strlen(line);
  const heed_device_type type = *line == 'c'   ? HEED_DEVICE_CPU
                                : *line == 'a' ? HEED_DEVICE_ACCELERATOR
                                               : HEED_DEVICE_GPU;
  heed_device_info d = {.platform_index = index / 2,
                        .device_index = index % 2,
                        .type = type,
                        .compute_units = (uint32_t)index,
                        .has_compiler = *line != 'n'};
  if (line < end) ++line;
  take(&line, end, '\t', d.name, sizeof d.name);
  take(&line, end, '\t', d.platform, sizeof d.platform);
  take(&line, end, '\t', d.platform_version, sizeof d.platform_version);
  take(&line, end, '\t', d.id, sizeof d.id);
  return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static heed_device_info infos[MOST + 1];
  const heed_device_info *devices[MOST + 1];
  char spec[512], line[1024], notice[256];
  const char *text = (const char *)data, *end = text + size;
  size_t count = 0;
  if (size == 0) return 0;
  take(&text, end, '\n', spec, sizeof spec);
  for (; text < end && count < MOST; ++count) {
    take(&text, end, '\n', line, sizeof line);
    infos[count] = read_device(line, (int)count);
  }
  infos[count++] = (heed_device_info){.type = HEED_DEVICE_HOST, .platform_index = -1, .device_index = -1};
  for (size_t i = 0; i < count; ++i) devices[i] = &infos[i];
  memset(notice, 'x', sizeof notice);
  size_t index = SIZE_MAX;
  const heed_status status = heed__spec_resolve(spec, devices, count, &index, notice, sizeof notice);
  FUZZ_REQUIRE(memchr(notice, 0, sizeof notice));
  FUZZ_REQUIRE(status == HEED_OK ? index < count
                                 : status == HEED_ERROR_NO_DEVICE && strstr(heed_last_error(), "device '"));
  return 0;
}
