// What every kernel of attention is told of a call, and how it is passed. The structs are kernels_cl/attention/call.cl, the same text that the
// kernels read.
#ifndef HEED__CL_ATTENTION_CALL_H
#define HEED__CL_ATTENTION_CALL_H

#include "cl/runtime/runtime.h"

#define HEED_LONG cl_long
#define HEED_UINT cl_uint
#define HEED_FLOAT cl_float
#include "kernels_cl/attention/call.cl"

// What a kernel and the host see of a struct is the same where neither leaves a gap.
enum {
  HEED__PLACE_LONGS = 4,
  HEED__REACH_LONGS = 9,
  HEED__CALL_LONGS = 9 * HEED__PLACE_LONGS + 3 + HEED__REACH_LONGS + 9,
  HEED__CALL_WORDS = 6,
  HEED__CHUNK_LONGS = 13,
  HEED__MATRIX_LONGS = 13
};
_Static_assert(sizeof(struct heed__cl_attention_place) == HEED__PLACE_LONGS * sizeof(cl_long), "gaps in a place");
_Static_assert(sizeof(struct heed__cl_attention_reach) == HEED__REACH_LONGS * sizeof(cl_long), "gaps in a reach");
_Static_assert(offsetof(struct heed__cl_attention_numbers, scale) == HEED__CALL_LONGS * sizeof(cl_long),
               "gaps among the long numbers");
_Static_assert(sizeof(struct heed__cl_attention_numbers) ==
                   HEED__CALL_LONGS * sizeof(cl_long) + HEED__CALL_WORDS * sizeof(cl_uint),
               "gaps among the short numbers");
_Static_assert(sizeof(struct heed__cl_attention_chunk) == HEED__CHUNK_LONGS * sizeof(cl_long), "gaps in a chunk");
_Static_assert(sizeof(struct heed__cl_attention_matrix) == HEED__MATRIX_LONGS * sizeof(cl_long), "gaps in a matrix");
// OpenCL promises room for 1024 bytes of arguments.
_Static_assert(sizeof(struct heed__cl_attention_numbers) + 24 * sizeof(cl_mem) <= 1024, "too many numbers");

struct heed__cl_attention;

// The rule of host/core/operators.h in numbers. Every kernel gets it through this function, and reads it by kernels_cl/attention/reach.cl.
struct heed__cl_attention_reach heed__cl_attention_reach(const struct heed__cl_attention *a);
// Every row attends every key.
struct heed__cl_attention_reach heed__cl_attention_everything(const struct heed__cl_attention *a);
struct heed__cl_attention_place heed__cl_attention_place(const heed_tensor *t);  // NULL: zeros
// All numbers of a call; those of a launch are its own business.
struct heed__cl_attention_numbers heed__cl_attention_numbers(const struct heed__cl_attention *a);

void heed__cl_attention_define_lengths(struct heed__cl_kernel *k, const struct heed__cl_attention *a);
// CALL_ARGUMENTS of kernels_cl/attention/options.cl. `numbers` must stay until the launch.
void heed__cl_attention_pass_call(struct heed__cl_kernel *k, const struct heed__cl_attention *a,
                                  const struct heed__cl_attention_numbers *numbers);

#endif
