// Inside of the fused path on CPUs: the sizes of tiles and how a call is cut into launches. Tests choose them by hand.
#ifndef HEED__CL_ATTENTION_FUSED_CPU_H
#define HEED__CL_ATTENTION_FUSED_CPU_H

#include "cl/attention/attention.h"

// One more than this is left to the staged path: a work-item's private arrays grow with the width.
enum { HEED__FUSED_CPU_WIDTH_MAX = 512 };

bool heed__cl_attention_fused_cpu_supports(const heed_context *ctx, const struct heed__cl_attention *a);
void heed__cl_attention_fused_cpu_plan(const heed_context *ctx, const struct heed__cl_attention *a,
                                       const struct heed__cl_tuning_choice *choice,
                                       struct heed__cl_attention_fused_cpu *plan);
void heed__cl_attention_fused_cpu_neighbours(heed_context *ctx, const struct heed__cl_attention *a,
                                             const struct heed__cl_tuning_choice *choice,
                                             struct heed__cl_tuning_choices *out);
heed_status heed__cl_attention_fused_cpu_run(heed_context *ctx, const struct heed__cl_attention *a,
                                             const struct heed__cl_attention_fused_cpu *plan);

// Scratch buffers of a launch over `slots` slots, in bytes; 0 where one is not needed.
enum heed__cl_attention_fused_cpu_buffer {
  FUSED_K,  // forward: k and v, packed
  FUSED_V,
  FUSED_V_BAD,      // a flag for each block of v
  FUSED_OUT_PARTS,  // decode: out of each split, and the largest score and the sum of each of its rows
  FUSED_ROW_PARTS,
  FUSED_Q,  // backward: q and dout, packed
  FUSED_DOUT,
  FUSED_STATS,     // four floats a query row
  FUSED_ROWS_BAD,  // flags of each block of rows
  FUSED_DQ_PARTS,  // dq of each split
  HEED__FUSED_CPU_BUFFERS
};
void heed__cl_attention_fused_cpu_sizes(const struct heed__cl_attention *a,
                                        const struct heed__cl_attention_fused_cpu *plan, int64_t slots,
                                        double bytes[HEED__FUSED_CPU_BUFFERS]);

#endif
