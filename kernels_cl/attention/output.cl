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

// out[z, i, c] = scale Σ_j p[z, i, j] v[slot, j, c] over the keys in bounds; a p of 0 adds nothing, even where v is NaN.
// p: [heads, rows_pad, pitch]; v: panels over the columns [slots, panels, keys, PANEL]; out: a tensor of any strides but 1 in
// the last dimension. global: (tiles of columns, tiles of rows, heads), rounded up
__kernel void attention_output(__global const float *p, __global const float *v, __global const int2 *bounds,
                               __global TYPE(X_DTYPE) *out, long out_offset, long stride_batch, long stride_head,
                               long stride_row, long heads_per_batch, long keys_, long columns, long head0, long row0,
                               long rows, long rows_pad_, long pitch_, long group, long head_in_group, float scale) {
  const int keys = keys_, rows_pad = rows_pad_, pitch = pitch_, panels = (columns + PANEL - 1) / PANEL;
  const int column = get_global_id(0) * TILE_COLUMNS, i = get_global_id(1) * TILE_ROWS, z = get_global_id(2);
  if (column >= columns || i >= rows_pad) return;
  const int slot = (z + head_in_group) / group;
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

  const idx batch = ((idx)head0 + z) / (idx)heads_per_batch, head = ((idx)head0 + z) - batch * (idx)heads_per_batch;
  const idx base = (idx)out_offset + batch * (idx)stride_batch + head * (idx)stride_head + column;
#pragma unroll
  for (int r = 0; r < TILE_ROWS; ++r) {
    float line[TILE_COLUMNS];
#pragma unroll
    for (int c = 0; c < TILE_VECTORS; ++c) VSTORE(scale * sum[r][c], line + c * VECTOR);
    if (i + r >= rows) continue;
    for (int c = 0; c < TILE_COLUMNS && column + c < columns; ++c)
      STORE(X_DTYPE, out, base + ((idx)row0 + i + r) * (idx)stride_row + c, line[c]);
  }
}
