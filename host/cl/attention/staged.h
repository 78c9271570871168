// Inside of the staged path: its scratch buffers and how a call is cut into chunks.
#ifndef HEED__CL_ATTENTION_STAGED_H
#define HEED__CL_ATTENTION_STAGED_H

#include "cl/attention/attention.h"

// Scratch buffers. "rows": [heads, rows_pad, width]. Panels: see attention/pack.cl. DK_SUM, DV_SUM and DMASK_LOSSES carry sums from chunk
// to chunk.
enum heed__cl_attention_staged_buffer {
  BOUNDS,        // [heads, rows_pad] of int2
  SCORES,        // scores, then the weights: [heads, rows_pad, pitch], as the next two
  DSCORES,       // backward: dP, then dS
  SLOPES,        // backward with softcap: its slope at each score, then the gradient before it
  Q_ROWS,        // q as rows
  K_BY_KEY,      // k in panels over the keys, depth dim
  V_BY_DIM,      // v in panels over value_dim, depth keys
  DOUT_ROWS,     // backward, as all that follow
  V_BY_KEY,      // v in panels over the keys, depth value_dim
  K_BY_DIM,      // k in panels over dim, depth keys
  Q_BY_DIM,      // q in panels over dim, depth rows
  DOUT_BY_DIM,   // dout in panels over value_dim, depth rows
  DK_SUM,        // [keys, dim]
  DV_SUM,        // [keys, value_dim]
  DMASK_SUM,     // F32 sums of a 16-bit dmask
  DMASK_LOSSES,  // what the sums of dmask have lost so far, where chunks follow each other on an element
  HEED__STAGED_BUFFERS
};

enum { HEED__STAGED_DEPTH_BLOCK = 16 };  // DEPTH_BLOCK of attention/score.cl

// Chooses tiles and chunks. The memory is reckoned before any is asked for: where even one tile of rows does not fit, `needed` is more than
// `available`, and a run is refused with these figures.
void heed__cl_attention_staged_plan(const heed_context *ctx, const struct heed__cl_attention *a,
                                    struct heed__cl_attention_staged *s);
// Floats of each scratch buffer for a chunk of `heads` with `rows` rows each; 0 where it is not needed. Those of dmask come on top.
void heed__cl_attention_staged_sizes(const struct heed__cl_attention *a, const struct heed__cl_attention_staged *s,
                                     int64_t heads, int64_t rows, int64_t sizes[HEED__STAGED_BUFFERS]);

#endif
