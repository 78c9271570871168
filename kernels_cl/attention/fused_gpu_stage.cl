// Fused attention on GPUs: tiles of rows on their way through registers into local memory. How many loads an item does is a constant, so
// that a compiler unrolls them; all loads of a chunk are on their way before the first of them is stored. Were they on their way while what
// came before is multiplied, the registers would not hold them. Rows past the last are read from the last row: no weight reaches them.
//
// One array in local memory, `pool`, holds two chunks of both factors of a score (BUFFER float4s each) while scores are made, and then
// WEIGHT_ROWS rows of weights, with the staged rows behind them.
#include "attention/fused_gpu.cl"
#ifndef WEIGHT_ROWS
#define WEIGHT_ROWS QUERIES // rows of weights that are in local memory at a time: all of a tile, or the half
#endif
#define BUFFER ((QUERIES + KEYS) * CHUNK_PITCH)
#define STAGED (WEIGHT_ROWS * WEIGHT_PITCH) // where staged rows begin
#define ROW_FOURS(WIDTH) (WIDTH##_ROWS * FOURS(WIDTH))

// An item's part of a chunk.
struct chunk {
  float4 x[ROUNDS(QUERIES * CHUNK_X)], y[ROUNDS(KEYS * CHUNK_X)];
};

// Columns [column, column + DEPTH) of the rows [row0, row_end) of x and [key0, key_end) of y.
void load_chunk(storage x, idx x_stride, int row0, int row_end, storage y, idx y_stride, int key0, int key_end,
                int column, int width, struct chunk *to) {
  const int r = (int)((uint)ITEM / CHUNK_X), c = column + (int)((uint)ITEM % CHUNK_X) * 4;
#pragma unroll
  for (int n = 0; n < ROUNDS(QUERIES * CHUNK_X); ++n)
    to->x[n] = load4(x, min(row0 + r + n * (ITEMS / CHUNK_X), row_end - 1) * x_stride, c, width);
#pragma unroll
  for (int n = 0; n < ROUNDS(KEYS * CHUNK_X); ++n)
    to->y[n] = load4(y, min(key0 + r + n * (ITEMS / CHUNK_X), key_end - 1) * y_stride, c, width);
}

// Key 4 x + j is put in row j SCORE_X + x: neighbouring items then read neighbouring rows.
#define KEY_PLACE(key) ((key) % 4 * SCORE_X + (key) / 4)
void store_chunk(const struct chunk *from, __local float4 *to) {
  const uint r = (uint)ITEM / CHUNK_X;
  const int row = (int)r, step = ITEMS / CHUNK_X;
  to += (uint)ITEM % CHUNK_X;
#pragma unroll
  for (int n = 0; n < ROUNDS(QUERIES * CHUNK_X); ++n)
    if (QUERIES % step == 0 || row + n * step < QUERIES) to[row * CHUNK_PITCH + n * step * CHUNK_PITCH] = from->x[n];
  to += QUERIES * CHUNK_PITCH;
#pragma unroll
  for (int n = 0; n < ROUNDS(KEYS * CHUNK_X); ++n) {
    const int place = step % 4 == 0 ? (int)KEY_PLACE(r) + n * (step / 4) : (int)KEY_PLACE(r + n * step);
    if (KEYS % step == 0 || row + n * step < KEYS) to[place * CHUNK_PITCH] = from->y[n];
  }
}

// s = x yᵀ for QUERIES rows of x and KEYS rows of y, each `width` wide. `buffer`: the one of the two to begin with. Nobody may be reading that
// one, nor both after the next barrier.
void multiply_tiles(storage x, idx x_stride, int row0, int row_end, storage y, idx y_stride, int key0, int key_end,
                    int width, bool are_scores, int buffer, __local float4 *pool, float s[SCORE_ROWS][4]) {
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r)
#pragma unroll
    for (int j = 0; j < 4; ++j) s[r][j] = 0;
#pragma nounroll // several chunks at once would need the registers of several
  for (int column = 0; column < width; column += DEPTH, buffer = 1 - buffer) {
    __local float4 *chunk = pool + buffer * BUFFER;
    struct chunk loaded;
    load_chunk(x, x_stride, row0, row_end, y, y_stride, key0, key_end, column, width, &loaded);
    store_chunk(&loaded, chunk);
    barrier(CLK_LOCAL_MEM_FENCE);
    const int depth = width % DEPTH == 0 ? DEPTH : min(DEPTH, (width - column + 3) & ~3);
    if (are_scores)
      add_chunk(chunk, CHUNK_PITCH, chunk + QUERIES * CHUNK_PITCH, depth, column == 0, s);
    else
      multiply_chunk(chunk, CHUNK_PITCH, chunk + QUERIES * CHUNK_PITCH, depth, s);
  }
}
// The buffer that the product after one of this width begins with.
#define BUFFER_AFTER(width, buffer) (((width) + DEPTH - 1) / DEPTH % 2 == 0 ? (buffer) : 1 - (buffer))

// WIDTH_ROWS rows of a tile from `first` on, all columns, on their way to where products read them, in batches of BATCH loads an item.
// `bad` is set if a number is not finite, told by its bits: a compiler may take x · 0 for 0.
#define LOADS (SPARE_REGISTERS ? 4 : 2)
#define BATCH(WIDTH) (ROUNDS(ROW_FOURS(WIDTH)) <= LOADS + 1 ? ROUNDS(ROW_FOURS(WIDTH)) : LOADS)
#define BATCHES(WIDTH) ((ROUNDS(ROW_FOURS(WIDTH)) + BATCH(WIDTH) - 1) / BATCH(WIDTH))
#define DEFINE_ROWS(WIDTH)                                                                                          \
  struct rows_##WIDTH {                                                                                             \
    float4 x[BATCH(WIDTH)];                                                                                         \
  };                                                                                                                \
  void load_rows_##WIDTH(storage x, idx stride, int row0, int row_end, int first, int batch,                        \
                         struct rows_##WIDTH *to) {                                                                 \
    _Pragma("unroll") for (int n = 0; n < BATCH(WIDTH); ++n) {                                                      \
      const int round = batch * BATCH(WIDTH) + n;                                                                   \
      to->x[n] = load4(x, min(row0 + ROW_OF(WIDTH, round, first), row_end - 1) * stride,                            \
                       FOUR_OF(WIDTH, round, first) * 4, WIDTH##_WIDTH);                                            \
    }                                                                                                               \
  }                                                                                                                 \
  void store_rows_##WIDTH(storage x, idx stride, int row0, int row_end, int first, struct rows_##WIDTH *rows,       \
                          __local float4 *to, __local int *bad) {                                                   \
    uint largest = 0;                                                                                               \
    _Pragma("nounroll") for (int batch = 0; batch < BATCHES(WIDTH); ++batch) {                                      \
      if (batch > 0) load_rows_##WIDTH(x, stride, row0, row_end, first, batch, rows);                               \
      _Pragma("unroll") for (int n = 0; n < BATCH(WIDTH); ++n) {                                                    \
        const int round = batch * BATCH(WIDTH) + n;                                                                 \
        const uint4 size = as_uint4(rows->x[n]) & 0x7fffffff;                                                       \
        largest = max(largest, max(max(size.x, size.y), max(size.z, size.w)));                                      \
        if (ROW_FOURS(WIDTH) % (BATCH(WIDTH) * ITEMS) == 0 || ITEM + round * ITEMS < ROW_FOURS(WIDTH))              \
          to[ITEM + round * ITEMS] = rows->x[n];                                                                    \
      }                                                                                                             \
    }                                                                                                               \
    if (largest >= 0x7f800000) atomic_or(bad, 1);                                                                   \
  }
