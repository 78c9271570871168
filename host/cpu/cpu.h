// The host backend: every operator from its equation, naive loops, F64 accumulators. It shares no code with kernels.
#ifndef HEED__CPU_H
#define HEED__CPU_H

#include "core/core.h"

extern const struct heed__backend heed__cpu_backend;
// Fills ctx->device and attaches the backend. parts > 1: takes only its part of memory and of the calling thread's OpenMP threads.
heed_status heed__cpu_open(heed_context *ctx, int parts);
void heed__cpu_device_info(heed_device_info *info);

// A tensor's memory at its first element.
static inline void *heed__cpu_data(const heed_tensor *tensor) {
  return (char *)tensor->buffer->handle + (size_t)tensor->offset * heed_dtype_size(tensor->dtype);
}

#define HEED__CPU_DECLARE(name, ...) heed_status heed__cpu_##name(heed_context *ctx, const struct heed__call *call);
HEED__OPERATORS(HEED__CPU_DECLARE)
#undef HEED__CPU_DECLARE

#define HEED__OWN_TERMS(name) heed_status heed__cpu_terms_##name(heed_context *ctx, const struct heed__call *call);
#define HEED__CPU_DECLARE_TERMS(name, tolerance, in, out, ...) HEED__IF_OWN_TERMS(name, ##__VA_ARGS__)
HEED__OPERATORS(HEED__CPU_DECLARE_TERMS)
#undef HEED__CPU_DECLARE_TERMS
#undef HEED__OWN_TERMS

#endif
