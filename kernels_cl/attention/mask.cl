// Staged attention, stage 2: puts the mask on the scores; backward: the gradient of a float mask.
#ifndef MASK_DTYPE
#define MASK_DTYPE F32
#endif
#ifndef MASK_IS_BOOL
#define MASK_IS_BOOL 0
#endif
#include "attention/call.cl"

// masked[z, row, j] = s[z, row, j] + mask, or s where a BOOL mask is true; else −inf. Only keys inside the bounds are touched.
// −inf is chosen, not added: a score may be NaN where the mask hides it. masked may be s itself.
// global: (GROUP, rows_pad, heads); local: (GROUP, 1, 1)
ROW_GROUP __kernel void attention_mask(__global const TYPE(MASK_DTYPE) *mask, __global const int2 *bounds,
                                       __global const float *s, __global float *masked,
                                       const struct heed__cl_attention_place place, long stride_key,
                                       const struct heed__cl_attention_chunk chunk) {
  const idx row = get_global_id(1), z = get_global_id(2), rows_pad = get_global_size(1);
  const idx batch = ((idx)chunk.head0 + z) / (idx)chunk.heads_per_batch;
  const idx head = ((idx)chunk.head0 + z) - batch * (idx)chunk.heads_per_batch;
  const int2 range = bounds[z * rows_pad + row];
  const size_t start = ((size_t)z * rows_pad + row) * chunk.pitch;
  const idx mask_row = (idx)place.offset + batch * (idx)place.stride0 + head * (idx)place.stride1 +
                       ((idx)chunk.row0 + row) * (idx)place.stride2;
  for (int j = range.x + get_local_id(0); j < range.y; j += GROUP) {
    const idx at = mask_row + j * (idx)stride_key;
#if MASK_IS_BOOL
    masked[start + j] = mask[at] ? s[start + j] : -INFINITY;
#else
    const float bias = LOAD(MASK_DTYPE, mask, at);
    masked[start + j] = bias == -INFINITY ? -INFINITY : s[start + j] + bias;
#endif
  }
}

// dmask += Σ ds over the heads and rows of this chunk, and the keys, that one element of the mask was broadcast to. dmask is F32,
// contiguous [batches, mask_heads, mask_rows, mask_columns]; a size of 1 takes the sum over that dimension. It may sum
// thousands of terms that cancel, hence Kahan's correction. Where chunks follow each other on one element (`carries`), `losses`
// carries the correction from one to the next: the sum goes on as if there had been one chunk, however much memory there was.
// global: (mask_columns, rows of the mask in this chunk, batches x mask_heads), rounded up but for the last
__kernel void attention_mask_bwd(__global const float *ds, __global float *dmask, long dmask_offset,
                                 __global float *losses, int carries, long batches, long mask_heads, long mask_rows,
                                 long mask_columns, const struct heed__cl_attention_chunk chunk) {
  const idx column = get_global_id(0), y = get_global_id(1);
  if (column >= (idx)mask_columns || y >= (mask_rows == 1 ? 1 : (idx)chunk.rows)) return;
  const idx batch = get_global_id(2) / (idx)mask_heads, head = get_global_id(2) - batch * (idx)mask_heads;
  const idx row_first = mask_rows == 1 ? 0 : y, row_end = mask_rows == 1 ? (idx)chunk.rows : y + 1;
  const idx key_first = mask_columns == 1 ? 0 : column, key_end = mask_columns == 1 ? (idx)chunk.keys : column + 1;
  const idx mask_row = mask_rows == 1 ? 0 : (idx)chunk.row0 + y;
  const idx at = ((idx)get_global_id(2) * (idx)mask_rows + mask_row) * (idx)mask_columns + column;
  float sum = dmask[(idx)dmask_offset + at], lost = carries ? losses[at] : 0;
  for (idx z = 0; z < (idx)chunk.heads; ++z) {
    const idx b = ((idx)chunk.head0 + z) / (idx)chunk.heads_per_batch;
    const idx h = ((idx)chunk.head0 + z) - b * (idx)chunk.heads_per_batch;
    if ((batches != 1 && b != batch) || (mask_heads != 1 && h != head)) continue;
    for (idx row = row_first; row < row_end; ++row)
      for (idx j = key_first; j < key_end; ++j) {
        const float term = ds[((size_t)z * chunk.rows_pad + row) * chunk.pitch + j] - lost, next = sum + term;
        lost = (next - sum) - term;
        sum = next;
      }
  }
  dmask[(idx)dmask_offset + at] = sum;
  if (carries) losses[at] = lost;
}
