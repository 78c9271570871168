// y[r] = the smallest column that holds the largest element of row r; a NaN is larger than everything.

#ifndef X_DTYPE
#define X_DTYPE F32
#endif

// Floats as integers of the same order, NaN above all and −0 equal to 0.
int rank_of(float x) {
  if (isnan(x)) return INT_MAX;
  const int bits = as_int(x + 0.0f);
  return bits >= 0 ? bits : (int)(0x80000000u - (uint)bits);
}

// Whether (rank, column) a goes before b.
bool is_better(int rank, int column, int best_rank, int best_column) {
  return rank > best_rank || (rank == best_rank && column < best_column);
}

ROW_GROUP __kernel void argmax(const __global TYPE(X_DTYPE) *x, long x_offset, __global int *y, long y_offset,
                               long rows, long cols) {
#if GROUP > 1
  __local int ranks[GROUP], columns[GROUP];
#endif
  x += x_offset;
  y += y_offset;
  ROWS_LOOP(row, rows) {
    const __global TYPE(X_DTYPE) *in = x + row * (idx)cols;
    int best_rank = INT_MIN, best_column = INT_MAX;
    for (idx column = ROW_LANE; column < cols; column += GROUP) {
      const int rank = rank_of(LOAD(X_DTYPE, in, column));
      if (is_better(rank, column, best_rank, best_column)) {
        best_rank = rank;
        best_column = column;
      }
    }
#if GROUP > 1
    const int lane = ROW_LANE;
    ranks[lane] = best_rank;
    columns[lane] = best_column;
    for (int width = GROUP / 2; width > 0; width /= 2) {
      barrier(CLK_LOCAL_MEM_FENCE);
      if (lane < width && is_better(ranks[lane + width], columns[lane + width], ranks[lane], columns[lane])) {
        ranks[lane] = ranks[lane + width];
        columns[lane] = columns[lane + width];
      }
    }
    if (lane == 0) y[row] = columns[0];
    barrier(CLK_LOCAL_MEM_FENCE);
#else
    y[row] = best_column;
#endif
  }
}
