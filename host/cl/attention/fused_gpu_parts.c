// The backward in five products: how many rounds the parts of dq take. How they are made is told in kernels_cl/attention/fused_gpu_parts.cl.
#include "cl/attention/fused_gpu.h"

// What parts may take. Each tile of keys has one as large as dq in F32, and all tiles that work at once need room for theirs.
enum { PARTS_BYTES = 256 << 20 };

// Rows of a part whose sums take the registers that the tile's scores leave when they have become weights: all of theirs, which count twice
// for S and dP, less those that wait where weights are stored by halves. 0: an item has no row.
static int part_rows(const struct heed__cl_attention_gpu_tile *tile) {
  const int scores = tile->queries * tile->keys / tile->items, out_y = tile->items / tile->out_x;
  const int floats = tile->weight_rows < tile->queries ? scores : 2 * scores;
  int rows = tile->weight_rows / out_y;
  while (rows > 1 && rows * tile->qk.columns > floats) rows /= 2;
  return rows;
}

// Every sum goes over the keys in their order, whatever the rounds are, so that they may follow from what memory there is. All tiles of some
// heads are better than some tiles of all: then no sum has to wait in memory for the next round.
bool heed__cl_attention_fused_gpu_rounds(const heed_context *ctx, const struct heed__cl_attention *a,
                                         const struct heed__cl_attention_gpu_tile *tile,
                                         struct heed__cl_attention_gpu_rounds *rounds) {
  const uint64_t allowed = heed__cl_state(ctx)->traits.max_allocation;
  const int64_t most = allowed < PARTS_BYTES ? (int64_t)allowed : PARTS_BYTES;
  *rounds = (struct heed__cl_attention_gpu_rounds){
      .all_slots = a->batch * a->kv_heads,
      .all_tiles = heed__ceil_div(a->keys, tile->keys),
      .floats = a->group * heed__round_up(a->queries, tile->queries) * tile->out_x * tile->qk.columns,
      .part_rows = part_rows(tile)};
  if (rounds->part_rows == 0 || rounds->floats == 0 || rounds->all_slots == 0 || rounds->all_tiles == 0) return false;
  const int64_t parts = most / (int64_t)sizeof(float) / rounds->floats;
  if (parts == 0) return false;
  // Rounds of about the same size.
  const int64_t slots = heed__min(rounds->all_slots, heed__max(parts / rounds->all_tiles, 1));
  const int64_t tiles = heed__min(rounds->all_tiles, parts);
  rounds->slots = heed__ceil_div(rounds->all_slots, heed__ceil_div(rounds->all_slots, slots));
  rounds->tiles = heed__ceil_div(rounds->all_tiles, heed__ceil_div(rounds->all_tiles, tiles));
  return true;
}
