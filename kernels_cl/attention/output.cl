// Staged attention, stage 4: out = p v. The backward's dq = scale ds k is the same product.
#pragma OPENCL FP_CONTRACT ON
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef TILE_ROWS
#define TILE_ROWS 4
#endif
#ifndef TILE_VECTORS
#define TILE_VECTORS 1
#endif
#ifndef PANEL
#define PANEL 64
#endif
#define TILE_COLUMNS (VECTOR * TILE_VECTORS)
#include "attention/call.cl"

// out[z, i, c] = scale Σ_j p[z, i, j] v[slot, j, c] over the keys in bounds; a p of 0 adds nothing, even where v is NaN.
// p: [heads, rows_pad, pitch]; v: panels over the columns [slots, panels, keys, PANEL]; out: a tensor of any strides but 1 in
// the last dimension. global: (tiles of columns, tiles of rows, heads), rounded up
__kernel void attention_output(__global const float *p, __global const float *v, __global const int2 *bounds,
                               __global TYPE(X_DTYPE) *out, const struct heed__cl_attention_place place,
                               const struct heed__cl_attention_chunk chunk, long columns, float scale) {
  const int keys = chunk.keys, rows_pad = chunk.rows_pad, pitch = chunk.pitch, panels = (columns + PANEL - 1) / PANEL;
  const int column = get_global_id(0) * TILE_COLUMNS, i = get_global_id(1) * TILE_ROWS, z = get_global_id(2);
  if (column >= columns || i >= rows_pad) return;
  const int slot = (chunk.head0 + z) / chunk.group - chunk.slot0;
  const int row = z * rows_pad + i;
  const int first = bounds[row].x, last = bounds[row + TILE_ROWS - 1].y;

  p += (size_t)row * pitch;
  v += (size_t)(slot * panels + column / PANEL) * keys * PANEL + column % PANEL;
  floatv sum[TILE_ROWS][TILE_VECTORS];
#pragma unroll
  for (int r = 0; r < TILE_ROWS; ++r)
#pragma unroll
    for (int c = 0; c < TILE_VECTORS; ++c) sum[r][c] = 0;
  for (int j = first; j < last; ++j) {
    floatv vector[TILE_VECTORS];
#pragma unroll
    for (int c = 0; c < TILE_VECTORS; ++c) vector[c] = VLOAD(v + (size_t)j * PANEL + c * VECTOR);
#pragma unroll
    for (int r = 0; r < TILE_ROWS; ++r) {
      const float weight = p[r * pitch + j];
      if (weight != 0)
#pragma unroll
        for (int c = 0; c < TILE_VECTORS; ++c) sum[r][c] += weight * vector[c];
    }
  }

  const idx batch = ((idx)chunk.head0 + z) / (idx)chunk.heads_per_batch;
  const idx head = ((idx)chunk.head0 + z) - batch * (idx)chunk.heads_per_batch;
  const idx base = (idx)place.offset + batch * (idx)place.stride0 + head * (idx)place.stride1 + column;
#pragma unroll
  for (int r = 0; r < TILE_ROWS; ++r) {
    float line[TILE_COLUMNS];
#pragma unroll
    for (int c = 0; c < TILE_VECTORS; ++c) VSTORE(scale * sum[r][c], line + c * VECTOR);
    if (i + r >= chunk.rows) continue;
    for (int c = 0; c < TILE_COLUMNS && column + c < columns; ++c)
      STORE(X_DTYPE, out, base + ((idx)chunk.row0 + i + r) * (idx)place.stride2 + c, line[c]);
  }
}
