// Sums over the middle of [outer, axis, inner], in pieces: [outer, pieces, inner]. Rows, where inner is 1, are shared as in common.cl;
// of columns a work-item has a piece of TILE neighbours.
//
// check with: -DVECTOR=8 -DTILE=512
// check with: -DX_DTYPE=F16 -DY_DTYPE=F16 -DGROUP=64
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef Y_DTYPE
#define Y_DTYPE F32
#endif
#ifndef TILE
#define TILE VECTOR
#endif
typedef TYPE(X_DTYPE) from;
typedef TYPE(Y_DTYPE) to;

ROW_GROUP __kernel void sum_rows(const __global from *x, long x_offset, __global to *y, long y_offset, long outer,
                                 long axis, long inner, long piece, long pieces, uint accumulate) {
  __local float scratch[GROUP];
  ROWS_LOOP(row, outer * pieces) {
    const idx skipped = row % (idx)pieces * (idx)piece, cols = min((idx)piece, (idx)axis - skipped);
    const __global from *in = x + x_offset + row / (idx)pieces * (idx)axis + skipped;
    floatv sum = 0;
    for (idx block = 0; block < cols; block += ROW_BLOCK) {
      const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;
      floatv part = 0;
      ROW_LOOP(i, block, end) part += LOADV(X_DTYPE, in, i, cols, 0);
      sum += part;
    }
    const float total = row_sum(sum, scratch);
    if (ROW_LANE == 0)
      STORE(Y_DTYPE, y + y_offset, row, accumulate ? LOAD(Y_DTYPE, y + y_offset, row) + total : total);
  }
}

// Sums of COLUMN_BLOCK rows are summed, so that the error grows with the square root of the piece.
#define COLUMN_BLOCK 32
#define TILE_LOOP(i) for (idx i = 0; i < width; i += VECTOR)

__kernel void sum_columns(const __global from *x, long x_offset, __global to *y, long y_offset, long outer, long axis,
                          long inner, long piece, long pieces, uint accumulate) {
  const idx item = get_global_id(0), tiles = ((idx)inner - 1) / TILE + 1, slice = item / tiles;
  if (slice >= (idx)outer * (idx)pieces) return;
  const idx column = item % tiles * TILE, left = (idx)inner - column, width = min(left, (idx)TILE);
  const idx skipped = slice % (idx)pieces * (idx)piece, rows = min((idx)piece, (idx)axis - skipped);
  const __global from *in =
      x + x_offset + (slice / (idx)pieces * (idx)axis + skipped) * (idx)inner + column;
  __global to *out = y + y_offset + slice * (idx)inner + column;
  float sum[TILE], part[TILE];
  TILE_LOOP(i) VSTORE((floatv)0, sum + i);
  for (idx block = 0; block < rows; block += COLUMN_BLOCK) {
    const idx end = rows - block > COLUMN_BLOCK ? block + COLUMN_BLOCK : rows;
    TILE_LOOP(i) VSTORE((floatv)0, part + i);
    for (idx row = block; row < end; ++row)
      TILE_LOOP(i) VSTORE(VLOAD(part + i) + LOADV(X_DTYPE, in + row * (idx)inner, i, left, 0), part + i);
    TILE_LOOP(i) VSTORE(VLOAD(sum + i) + VLOAD(part + i), sum + i);
  }
  TILE_LOOP(i) {
    const floatv total = VLOAD(sum + i);
    STOREV(Y_DTYPE, out, i, left, accumulate ? LOADV(Y_DTYPE, out, i, left, 0) + total : total);
  }
}
