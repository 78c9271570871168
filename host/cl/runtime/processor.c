// What a CPU device can do that OpenCL does not tell of, as the host's processor tells it, where the two are the same.
#include <string.h>

#include "cl/runtime/runtime.h"

#if defined(__x86_64__)
#include <cpuid.h>

// Sixteen-bit floats are multiplied in vectors of 512 bits, which the system must keep for its programs.
static bool multiplies_bf16(void) {
  enum { OSXSAVE = 1 << 27, AVX512F = 1 << 16, AVX512_BF16 = 1 << 5, VECTORS_KEPT = 0xe6 };
  unsigned a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE)) return false;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & VECTORS_KEPT) != VECTORS_KEPT) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & AVX512F)) return false;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVX512_BF16);
}

// PoCL ends the names of its CPU devices with the processor's. Other machines' devices, which a driver may show here, have other ends.
static bool is_this_processor(const heed_device_info *info) {
  unsigned words[13] = {0};
  for (unsigned i = 0; i < 3; ++i) {
    unsigned *part = words + 4 * (size_t)i;
    if (!__get_cpuid(0x80000002 + i, &part[0], &part[1], &part[2], &part[3])) return false;
  }
  const char *brand = (const char *)words;
  brand += strspn(brand, " ");
  size_t length = strlen(brand), all = strlen(info->name);
  while (length > 0 && brand[length - 1] == ' ') --length;
  return length > 0 && all >= length && memcmp(info->name + all - length, brand, length) == 0;
}

// Measured beside multiply-adds of F32: 1.6 times their rate on AMD's EPYC, half of it on a fifth Xeon of Intel's. Which bits a product has
// must not depend on a measurement, so the maker decides.
static bool multiplies_bf16_fast(void) {
  unsigned a, b, c, d;
  return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && d == signature_AMD_edx && c == signature_AMD_ecx;
}

enum heed__cl_bf16_dots heed__cl_bf16_dots_of(const heed_device_info *info) {
  if (info->type != HEED_DEVICE_CPU || !strstr(info->platform, "Portable Computing Language")) return HEED__BF16_NONE;
  if (!multiplies_bf16() || !is_this_processor(info)) return HEED__BF16_NONE;
  return multiplies_bf16_fast() ? HEED__BF16_FAST : HEED__BF16_SLOW;
}
#else
enum heed__cl_bf16_dots heed__cl_bf16_dots_of(const heed_device_info *info) {
  (void)info;
  return HEED__BF16_NONE;
}
#endif
