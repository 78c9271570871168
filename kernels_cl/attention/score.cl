// Staged attention, stage 1: scores s = softcap(scale q kᵀ). The backward's dP = dO vᵀ is the same product.
#pragma OPENCL FP_CONTRACT ON
#ifndef TILE_ROWS
#define TILE_ROWS 4
#endif
#ifndef TILE_VECTORS
#define TILE_VECTORS 1
#endif
#ifndef PANEL
#define PANEL 64 // a multiple of TILE_COLUMNS
#endif
#ifndef SOFTCAP
#define SOFTCAP 0
#endif
#ifndef SLOPES
#define SLOPES 0 // of the cap, for a backward
#endif
#define TILE_COLUMNS (VECTOR * TILE_VECTORS)
#include "attention/call.cl"
#include "attention/softcap.cl"
// exp turns the absolute error of a large score into a relative one, so the sum is made in short blocks: half the error.
#ifndef DEPTH_BLOCK
#define DEPTH_BLOCK 16
#endif

// s[z, i, j] = softcap(scale Σ_d a[z, i, d] b[slot, d, j]); one work-item makes TILE_ROWS x TILE_COLUMNS of it in registers.
// a: rows [heads, rows_pad, depth]; b: panels over the keys [slots, panels, depth, PANEL], where slot is the key head that
// query head z reads; s, slopes: [heads, rows_pad, pitch]. depth is a multiple of DEPTH_BLOCK. A tile that no row of it may attend is
// not written.
// global: (tiles of columns, tiles of rows, heads), rounded up
__kernel void attention_score(__global const float *a, __global const float *b, __global const int2 *bounds,
                              __global float *s, __global float *slopes, const struct heed__cl_attention_chunk chunk, long depth_,
                              float scale, float softcap) {
  const int depth = depth_, rows_pad = chunk.rows_pad, pitch = chunk.pitch, keys = chunk.keys;
  const int panels = (keys + PANEL - 1) / PANEL;
  const int j = get_global_id(0) * TILE_COLUMNS, i = get_global_id(1) * TILE_ROWS, z = get_global_id(2);
  if (j >= keys || i >= rows_pad) return;
  const int row = z * rows_pad + i;
  if (j >= bounds[row + TILE_ROWS - 1].y || j + TILE_COLUMNS <= bounds[row].x) return;

  const int slot = (chunk.head0 + z) / chunk.group - chunk.slot0;
  a += (size_t)row * depth;
  b += (size_t)(slot * panels + j / PANEL) * depth * PANEL + j % PANEL;
  floatv sum[TILE_ROWS][TILE_VECTORS];
#pragma unroll
  for (int r = 0; r < TILE_ROWS; ++r)
#pragma unroll
    for (int c = 0; c < TILE_VECTORS; ++c) sum[r][c] = 0;
  for (int block = 0; block < depth; block += DEPTH_BLOCK) {
    floatv part[TILE_ROWS][TILE_VECTORS];
#pragma unroll
    for (int r = 0; r < TILE_ROWS; ++r)
#pragma unroll
      for (int c = 0; c < TILE_VECTORS; ++c) part[r][c] = 0;
#pragma unroll
    for (int d = block; d < block + DEPTH_BLOCK; ++d) {
      floatv vector[TILE_VECTORS];
#pragma unroll
      for (int c = 0; c < TILE_VECTORS; ++c) vector[c] = VLOAD(b + d * PANEL + c * VECTOR);
#pragma unroll
      for (int r = 0; r < TILE_ROWS; ++r)
#pragma unroll
        for (int c = 0; c < TILE_VECTORS; ++c) part[r][c] += a[r * depth + d] * vector[c];
    }
#pragma unroll
    for (int r = 0; r < TILE_ROWS; ++r)
#pragma unroll
      for (int c = 0; c < TILE_VECTORS; ++c) sum[r][c] += part[r][c];
  }
#pragma unroll
  for (int r = 0; r < TILE_ROWS; ++r)
#pragma unroll
    for (int c = 0; c < TILE_VECTORS; ++c) {
      floatv x = scale * sum[r][c];
#if SOFTCAP
      x /= softcap;
#if SLOPES
      VSTORE(SOFTCAP_SLOPE(exp(-2 * fabs(x))), slopes + (size_t)(row + r) * pitch + j + c * VECTOR);
#endif
      x = softcap * tanh(x);
#endif
      VSTORE(x, s + (size_t)(row + r) * pitch + j + c * VECTOR);
    }
}
