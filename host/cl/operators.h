// What the OpenCL backend has for each operator: the function in its table, and a description if the operator can be tuned.
#ifndef HEED__CL_OPERATORS_H
#define HEED__CL_OPERATORS_H

#include "cl/tuning/tuning.h"

#define HEED__CL_DECLARE(name, ...) heed_status heed__cl_##name(heed_context *ctx, const struct heed__call *call);
HEED__OPERATORS(HEED__CL_DECLARE)
#undef HEED__CL_DECLARE

extern const struct heed__cl_tuning_op heed__cl_gemm_tuning, heed__cl_attention_tuning;
// Indexed by heed_tune_op.
extern const struct heed__cl_tuning_op *const heed__cl_tuned_operators[];

#endif
