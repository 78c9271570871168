// What the fused paths for GPUs share: the arguments that their kernels take alike, and a run of the general kernels that
// happens only where another path asks for it.
#ifndef HEED__CL_ATTENTION_FUSED_GPU_H
#define HEED__CL_ATTENTION_FUSED_GPU_H

#include "cl/attention/attention.h"

// arguments.c
void heed__cl_attention_define(struct heed__cl_kernel *k, const struct heed__cl_attention *a);
void heed__cl_attention_pass_tensor(struct heed__cl_kernel *k, const heed_tensor *t);  // TENSOR4, RESULT4
// MASK_ARGUMENTS and REACH_ARGUMENTS of attention/reach.cl.
void heed__cl_attention_pass_bounds(struct heed__cl_kernel *k, const struct heed__cl_attention *a);
void heed__cl_attention_pass_scoring(struct heed__cl_kernel *k, const struct heed__attention_params *params);

// fused_gpu.c: the call, by kernels that do nothing where the int in `gate` is 0. NULL: always.
heed_status heed__cl_attention_fused_gpu_gated(heed_context *ctx, const struct heed__cl_attention *a, cl_mem gate);

#endif
