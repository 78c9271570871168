// What the OpenCL backend has of each operator: the function of its table, and the descriptions of those that can be tuned.
#ifndef HEED__CL_OPERATORS_H
#define HEED__CL_OPERATORS_H

#include "cl/tuning/tuning.h"

#define HEED__CL_DECLARE(name, ...) heed_status heed__cl_##name(heed_context *ctx, const struct heed__call *call);
HEED__OPERATORS(HEED__CL_DECLARE)
#undef HEED__CL_DECLARE

extern const struct heed__cl_tuning_op heed__cl_gemm_tuning, heed__cl_attention_tuning;
// By heed_tune_op.
extern const struct heed__cl_tuning_op *const heed__cl_tuned_operators[];

#endif
