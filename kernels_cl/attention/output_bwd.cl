// Staged attention, backward: dv = pᵀ dout and dk = scale dsᵀ q, summed over the query heads that share a key head.
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

// The first row whose hi passes `key`, and the first whose lo is past it: bounds grow with the row, so halving finds them.
int first_row_past(__global const int2 *bounds, int rows, int key, bool use_hi) {
  int below = 0, above = rows;
  while (below < above) {
    const int middle = (below + above) / 2;
    if ((use_hi ? bounds[middle].y : bounds[middle].x) > key)
      above = middle;
    else
      below = middle + 1;
  }
  return below;
}

// dx[slot, j, c] = scale Σ_z Σ_i w[z, i, j] g[z, i, c] over the `shared` query heads z of the key head, in order; a w of 0 adds
// nothing. w: [heads, rows_pad, pitch]; g: panels over the columns [heads, panels, rows, PANEL]; dx: a tensor of any strides
// but 1 in the last dimension. Where heads or rows come in several chunks, partial [slots, keys, columns] carries the sum from one
// chunk to the next: is_first starts it, is_last writes dx. A chunk goes on with the sum that it finds, so that the order of the terms
// does not depend on how a call was cut, which depends on the device's memory.
// global: (tiles of columns, tiles of keys, slots), rounded up
__kernel void attention_output_bwd(__global const float *w, __global const float *g, __global const int2 *bounds,
                                   __global float *partial, __global TYPE(X_DTYPE) *dx,
                                   const struct heed__cl_attention_place place,
                                   const struct heed__cl_attention_chunk chunk, long columns, int is_first,
                                   int is_last, float scale) {
  const int keys = chunk.keys, rows = chunk.rows, rows_pad = chunk.rows_pad, pitch = chunk.pitch;
  const int panels = (columns + PANEL - 1) / PANEL, shared = chunk.heads / chunk.slots;
  const int column = get_global_id(0) * TILE_COLUMNS, j = get_global_id(1) * TILE_ROWS, slot = get_global_id(2);
  if (column >= columns || j >= keys) return;

  floatv sum[TILE_ROWS][TILE_VECTORS];
#pragma unroll
  for (int r = 0; r < TILE_ROWS; ++r)
#pragma unroll
    for (int c = 0; c < TILE_VECTORS; ++c) sum[r][c] = 0;
  if (!is_first)
    for (int r = 0; r < TILE_ROWS && j + r < keys; ++r) {
      __global const float *carry = partial + ((size_t)slot * keys + j + r) * columns + column;
      float line[TILE_COLUMNS];
      for (int c = 0; c < TILE_COLUMNS; ++c) line[c] = column + c < columns ? carry[c] : 0;
      for (int c = 0; c < TILE_VECTORS; ++c) sum[r][c] = VLOAD(line + c * VECTOR);
    }
  for (int z = slot * shared; z < (slot + 1) * shared; ++z) {
    __global const int2 *head_bounds = bounds + (size_t)z * rows_pad;
    __global const float *weights = w + (size_t)z * rows_pad * pitch + j;
    __global const float *panel = g + (size_t)(z * panels + column / PANEL) * rows * PANEL + column % PANEL;
    const int first = first_row_past(head_bounds, rows, j, true);
    const int last = first_row_past(head_bounds, rows, j + TILE_ROWS - 1, false);
    for (int i = first; i < last; ++i) {
      floatv vector[TILE_VECTORS];
#pragma unroll
      for (int c = 0; c < TILE_VECTORS; ++c) vector[c] = VLOAD(panel + (size_t)i * PANEL + c * VECTOR);
#pragma unroll
      for (int r = 0; r < TILE_ROWS; ++r) {
        const float weight = weights[(size_t)i * pitch + r];
        if (weight != 0)
#pragma unroll
          for (int c = 0; c < TILE_VECTORS; ++c) sum[r][c] += weight * vector[c];
      }
    }
  }

  const idx batch = ((idx)chunk.slot0 + slot) / (idx)chunk.kv_heads;
  const idx head = ((idx)chunk.slot0 + slot) - batch * (idx)chunk.kv_heads;
  const idx base = (idx)place.offset + batch * (idx)place.stride0 + head * (idx)place.stride1 + column;
#pragma unroll
  for (int r = 0; r < TILE_ROWS; ++r) {
    float line[TILE_COLUMNS];
#pragma unroll
    for (int c = 0; c < TILE_VECTORS; ++c) VSTORE(sum[r][c], line + c * VECTOR);
    if (j + r >= keys) continue;
    __global float *carry = partial + ((size_t)slot * keys + j + r) * columns + column;
    for (int c = 0; c < TILE_COLUMNS && column + c < columns; ++c)
      if (is_last)
        STORE(X_DTYPE, dx, base + (j + r) * (idx)place.stride2 + c, scale * line[c]);
      else
        carry[c] = line[c];
  }
}
