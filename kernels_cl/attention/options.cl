// What a call of attention may have besides q, k and v, for all fused kernels: lengths, a mask, softcap, dropout.
#ifndef MASK_DTYPE
#define MASK_DTYPE F32
#endif
#ifndef SOFTCAP
#define SOFTCAP 0
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
#include "attention/reach.cl"
#include "attention/softcap.cl"

// What every fused kernel takes first. See host/cl/attention/call.c.
#define CALL_ARGUMENTS                                                                         \
  const struct heed__cl_attention_numbers call, __global const TYPE(LENGTH_DTYPE) *kv_lengths, \
      __global const TYPE(MASK_DTYPE) *mask

// Where the rows of a batch and a head begin, for kernels whose tensors have the names that `call` has for their places.
#define AT_HEAD(x, batch, head) ((x) + call.x.offset + (batch)*call.x.stride0 + (head)*call.x.stride1)
