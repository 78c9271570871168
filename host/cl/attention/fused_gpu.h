// Inside of the fused path on GPUs, and what tensor cores use of it: options that their kernels have alike, and the general kernels for what
// tensor cores leave undone.
#ifndef HEED__CL_ATTENTION_FUSED_GPU_H
#define HEED__CL_ATTENTION_FUSED_GPU_H

#include "cl/attention/attention.h"

// fused_gpu_plan.c
bool heed__cl_attention_fused_gpu_plan(const heed_context *ctx, const struct heed__cl_attention *a,
                                       const struct heed__cl_tuning_choice *choice,
                                       struct heed__cl_attention_fused_gpu *plan);
// The tile of one kernel for groups of at most `work_group` items and, if that can be, `rows` query rows. False: there is none.
bool heed__cl_attention_fused_gpu_tile(const heed_context *ctx, const struct heed__cl_attention *a,
                                       enum heed__cl_attention_gpu_kernel kernel, size_t work_group, int64_t rows,
                                       struct heed__cl_attention_gpu_tile *tile);
void heed__cl_attention_fused_gpu_neighbours(heed_context *ctx, const struct heed__cl_attention *a,
                                             const struct heed__cl_tuning_choice *choice,
                                             struct heed__cl_tuning_choices *out);

// fused_gpu_parts.c. The rounds of a backward in five products by a tile of dk's and dv's kernel. False: that tile, or the memory that parts
// may take, does not allow it.
bool heed__cl_attention_fused_gpu_rounds(const heed_context *ctx, const struct heed__cl_attention *a,
                                         const struct heed__cl_attention_gpu_tile *tile,
                                         struct heed__cl_attention_gpu_rounds *rounds);

// fused_gpu.c. What a call has besides q, k and v, as options.
void heed__cl_attention_fused_gpu_define(struct heed__cl_kernel *k, const struct heed__cl_attention *a);
// The call, by kernels that do nothing where the int in `gate` is 0. NULL: always.
heed_status heed__cl_attention_fused_gpu_run(heed_context *ctx, const struct heed__cl_attention *a,
                                             const struct heed__cl_attention_fused_gpu *plan, cl_mem gate);

#endif
