// Shows numbers of bytes as people read them. The arithmetic that checks for overflow is inline, in size.h.
#include "base/size.h"

#include <inttypes.h>
#include <stdio.h>

const char *heed__bytes_text(uint64_t bytes, char *text) {
  static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) {
    snprintf(text, 32, "%" PRIu64 " bytes", bytes);
    return text;
  }
  double value = (double)bytes / 1024;
  int unit = 0;
  for (; value >= 1024 && unit < 5; ++unit) value /= 1024;
  snprintf(text, 32, "%.1f %s", value, units[unit]);
  return text;
}
