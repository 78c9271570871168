// The gradient of an embedding: the rows of dy summed by token. The entries, token << 32 | place, are sorted by token, then by place.
//
// Sums run within blocks of PIECE entries, one after the other. A token whose entries lie in one block is done then. What crosses the
// border of blocks becomes a row of partial sums, two of them a block at most, and these rows are entries of the same problem,
// sorted already, PIECE/2 times fewer: their blocks are summed in the same way, until there is one block. So the order of a sum follows
// from the tokens alone. A work-item has a block and TILE columns.
//
// check with: -DVECTOR=8 -DTILE=512 -DLEVEL=1
// check with: -DX_DTYPE=F16
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
typedef TYPE(X_DTYPE) real;
#ifndef PIECE
#define PIECE 64
#endif
#ifndef TILE
#define TILE VECTOR
#endif
#ifndef LEVEL // from 1 on, rows are partial sums, and an entry may have none
#define LEVEL 0
#endif
#if LEVEL
#define R_DTYPE F32
#else
#define R_DTYPE X_DTYPE
#endif
#define NO_ROW 0xffffffffu
bool has_row(ulong entry) { return LEVEL == 0 || (uint)entry != NO_ROW; }
#define KEY(entry) ((uint)((entry) >> 32))
#define ROW(entry) ((idx)(uint)(entry) * (idx)width)

// One tile of columns, from `column` on; sums of them.
typedef struct tile {
  float sum[TILE];
  idx column, width;
} tile;
#define TILE_LOOP(t, i) for (idx i = 0; i < TILE && i < (t)->width - (t)->column; i += VECTOR)

// sum = row, or sum += row. Rows lie anywhere in memory, so the next one is asked for meanwhile.
void tile_add(tile *t, const __global TYPE(R_DTYPE) *row, const __global TYPE(R_DTYPE) *next, bool is_first) {
  row += t->column;
  next += t->column;
  const idx end = t->width - t->column;
  if (is_first) {
    TILE_LOOP(t, i) {
      PREFETCH_READ(next + i);
      VSTORE(LOADV(R_DTYPE, row, i, end, 0), t->sum + i);
    }
  } else {
    TILE_LOOP(t, i) {
      PREFETCH_READ(next + i);
      VSTORE(VLOAD(t->sum + i) + LOADV(R_DTYPE, row, i, end, 0), t->sum + i);
    }
  }
}
void tile_put(const tile *t, __global real *row, const __global real *next, bool accumulate) {
  row += t->column;
  next += t->column;
  const idx end = t->width - t->column;
  TILE_LOOP(t, i) {
    const floatv sum = VLOAD(t->sum + i);
    PREFETCH_WRITE(next + i);
    STOREV(X_DTYPE, row, i, end, accumulate ? LOADV(X_DTYPE, row, i, end, 0) + sum : sum);
  }
}
void tile_put_part(const tile *t, __global float *row) {
  row += t->column;
  TILE_LOOP(t, i) STOREV(F32, row, i, t->width - t->column, VLOAD(t->sum + i));
}

// entries: sorted, `count` of them, each with the number of a row of `x` in its low half. A block writes two entries of the next level, with
// rows 2 block and 2 block + 1 of parts: the run that began before the block, and the one that goes on behind it. The last level
// has one block and no such runs.
__kernel void sum_blocks(const __global ulong *entries, long entries_offset, const __global TYPE(R_DTYPE) *x,
                         long x_offset, __global real *dweight, long dweight_offset, __global ulong *next,
                         long next_offset, __global float *parts, long parts_offset, long count, long rows, long width,
                         long tiles, uint accumulate) {
  const idx item = get_global_id(0), block = item / (idx)tiles, blocks = ((idx)count + PIECE - 1) / PIECE;
  if (block >= blocks) return;
  const idx first = block * PIECE, end = min((idx)count, first + PIECE);
  tile t;
  t.column = item % (idx)tiles * TILE;
  t.width = width;
  entries += entries_offset;
  x += x_offset;
  dweight += dweight_offset;
  const uint first_key = KEY(entries[first]), last_key = KEY(entries[end - 1]);
  const bool is_cut_before = first > 0 && KEY(entries[first - 1]) == first_key;
  const bool is_cut_behind = end < count && KEY(entries[end]) == last_key;
  uint rows_of[2];
  rows_of[0] = rows_of[1] = NO_ROW;
  for (idx n = first; n < end;) {
    const uint key = KEY(entries[n]);
    const bool begins_here = n > first || !is_cut_before;
    bool is_empty = true;
    for (; n < end && KEY(entries[n]) == key; ++n)
      if (key < rows && has_row(entries[n])) {
        const bool is_last = n + 1 == end || !has_row(entries[n + 1]);
        tile_add(&t, x + ROW(entries[n]), x + ROW(entries[is_last ? n : n + 1]), is_empty);
        is_empty = false;
      }
    if (is_empty) continue;
    const bool ends_here = n < end || !is_cut_behind;
    if (begins_here && ends_here) {
      const uint next_key = n < end && KEY(entries[n]) < rows ? KEY(entries[n]) : key;
      tile_put(&t, dweight + (idx)key * (idx)width, dweight + (idx)next_key * (idx)width, accumulate);
    } else {
      const int side = begins_here;
      rows_of[side] = 2 * block + side;
      tile_put_part(&t, parts + parts_offset + (2 * block + side) * (idx)width);
    }
  }
  if (t.column > 0 || blocks == 1) return;
  next[next_offset + 2 * block] = (ulong)first_key << 32 | rows_of[0];
  next[next_offset + 2 * block + 1] = (ulong)last_key << 32 | rows_of[1];
}
