// Which calls the fused path takes on GPUs, with which tiles, and over how many work-groups. What the kernels make of it is told at the
// top of kernels_cl/attention/fused_gpu*.cl.
#include "cl/attention/fused_gpu.h"

#include <limits.h>

// The widest head. Wider ones would leave tiles of a few rows.
enum { WIDTH_MAX = 512 };
// Query rows up to which the heads of a group share a tile: decoding then reads each key once for all of them.
enum { PACKED_QUERIES = 32 };
// Products of a tile in the backward, as a choice can say: see is_in_five.
enum { FIVE_PRODUCTS = 5, SEVEN_PRODUCTS = 7 };
enum { ROWS_A_TILE = 64, KEYS_A_SPLIT = 256, TILES_ENOUGH = 256 };

// ---------------------------------------------------------------- tiles

static int power_of_two_up(int64_t x) {
  int power = 1;
  while (power < x) power *= 2;
  return power;
}

static int power_of_two_down(int64_t x) {
  int power = 1;
  while (power * 2 <= x) power *= 2;
  return power;
}

// Lays rows of both widths over `out_x` items, or over half as many where that pads them less; `least`: as few as there may be.
static void lay_out(int64_t dim, int64_t value_dim, int out_x, int least, struct heed__cl_attention_gpu_tile *t) {
  const int64_t half = out_x / 2;
  const bool halve = half >= least && heed__round_up(dim, half) + heed__round_up(value_dim, half) <
                                          heed__round_up(dim, out_x) + heed__round_up(value_dim, out_x);
  t->out_x = halve ? (int)half : out_x;
  t->qk = (struct heed__cl_attention_width){(int)dim, (int)heed__ceil_div(dim, t->out_x), 0};
  t->v = (struct heed__cl_attention_width){(int)value_dim, (int)heed__ceil_div(value_dim, t->out_x), 0};
}

// Bytes of local memory that leave room for another group on the same core. Those with tensor cores have twice what one group may take.
static uint64_t group_memory(const struct heed__cl_traits *traits) {
  if (traits->tensor_cores) return traits->local_memory;
  const int64_t all = (int64_t)traits->local_memory;
  return (uint64_t)heed__min(all, heed__max(all / 2, 32 << 10));
}

// Floats of local memory that the kernels take besides those of tiles: where the work-group is, and whether a number is not finite.
enum { OWN_FLOATS = 24 };

static int barriers(enum heed__cl_attention_gpu_kernel kernel, const struct heed__cl_attention_gpu_tile *t) {
  const int64_t chunks = heed__ceil_div(t->qk.width, t->depth) + heed__ceil_div(t->v.width, t->depth);
  if (kernel == HEED__GPU_ROWS) return (int)chunks;
  if (kernel == HEED__GPU_QUERIES_BWD) return (int)chunks + 2 * t->keys / t->qk.rows;
  return (int)chunks + 2 * t->queries / t->v.rows + 2 * t->queries / t->qk.rows;
}

// How many rows of `width` floats are staged at a time, where local memory has room for `room` floats and a tile for `most` rows. No more than
// 5 float4s an item, whose loads are on their way at once, in tiles of few scores, so that more work-groups fit, and in dk's and dv's kernel
// where the items do not share a row evenly and each reckons where every float4 of its own lies.
static int staged_rows(enum heed__cl_attention_gpu_kernel kernel, const struct heed__cl_attention_gpu_tile *t,
                       int64_t room, int most, int width) {
  const bool uneven = kernel == HEED__GPU_KEYS_BWD && t->items % (width / 4) != 0;
  if (uneven || t->queries * t->keys / t->items < 8) room = heed__min(room, 20 * (int64_t)t->items);
  return (int)heed__min(heed__max(power_of_two_down(heed__max(room / width, 1)), 4), most);
}

// How a backward kernel uses local memory: two chunks of both factors of a score, then weights and the rows that they are multiplied
// with; see fused_gpu_stage.cl. False where `floats` do not hold that.
static bool share_pool(enum heed__cl_attention_gpu_kernel kernel, int64_t floats,
                       struct heed__cl_attention_gpu_tile *t) {
  const int chunks = 2 * (t->queries + t->keys) * (t->depth + 4);
  const int qk = t->out_x * t->qk.columns, v = t->out_x * t->v.columns;
  t->stage = chunks;
  t->qk.rows = t->v.rows = 4;
  if (kernel == HEED__GPU_ROWS) return chunks + t->queries * (t->keys / 4 + 1) + 5 * t->queries + OWN_FLOATS <= floats;
  floats -= OWN_FLOATS + 6 * t->queries;  // of each row: which keys it attends, and what is known of its softmax
  const int64_t room = floats - t->weight_rows * (t->keys + 4);
  const int most = kernel == HEED__GPU_KEYS_BWD ? t->weight_rows : t->keys;
  if (chunks > floats || room < 4 * heed__max(qk, v)) return false;
  t->qk.rows = staged_rows(kernel, t, room, most, qk);
  t->v.rows = staged_rows(kernel, t, room, most, v);
  int staged = t->qk.rows * qk;
  if (kernel == HEED__GPU_KEYS_BWD) staged = (int)heed__max(staged, t->v.rows * v);
  t->stage = (int)heed__max(chunks, t->weight_rows * (t->keys + 4) + staged);
  return true;
}

// The way with the fewest barriers.
static bool fit_backward(const struct heed__cl_traits *traits, enum heed__cl_attention_gpu_kernel kernel,
                         struct heed__cl_attention_gpu_tile *t) {
  const uint64_t limits[] = {group_memory(traits), traits->local_memory};
  int least = INT_MAX;
  for (int i = 0; i < 2 && least == INT_MAX; ++i)
    for (int depth = 16; depth >= 8; depth /= 2)
      for (int parts = 1; parts <= (kernel == HEED__GPU_KEYS_BWD ? 2 : 1); ++parts) {
        struct heed__cl_attention_gpu_tile tile = *t;
        tile.depth = depth;
        tile.weight_rows = t->queries / parts;
        if (parts > 1 && t->queries * t->keys / t->items / 4 % parts != 0) continue;
        if (!share_pool(kernel, (int64_t)(limits[i] / sizeof(float)), &tile)) continue;
        if (barriers(kernel, &tile) >= least) continue;
        least = barriers(kernel, &tile);
        *t = tile;
      }
  return least < INT_MAX;
}

// Local memory that leaves room for another group on the same core, on GPUs that have no more than twice this.
enum { FORWARD_BYTES = 32 << 10 };

// Floats of local memory that the forward takes; see fused_gpu_fwd.cl.
static int64_t forward_floats(const struct heed__cl_attention_gpu_tile *t) {
  const int64_t queries = t->queries, keys = t->keys, pitch = t->depth + 4;
  const int64_t resident = t->resident ? queries * (heed__round_up(t->qk.width, t->depth) + 4) : 0;
  const int64_t chunk = heed__max((t->resident ? keys : queries + keys) * pitch, queries * (keys / 4 + 1) + 3);
  const int64_t rows = queries * (t->weight_keys + 4) + (int64_t)t->v.rows * t->out_x * t->v.columns;
  return resident + heed__max(2 * chunk, rows) + 4 * queries + OWN_FLOATS;
}

// The queries stay in local memory, and the weights are whole, where that leaves room for at least 8 rows of v.
static bool fit_forward(const struct heed__cl_traits *traits, struct heed__cl_attention_gpu_tile *t) {
  const int64_t limits[] = {heed__min((int64_t)traits->local_memory, FORWARD_BYTES), (int64_t)traits->local_memory};
  // An item carries its part of the rows of v in registers; where its columns end in a single one, addresses take some, too.
  const int spare = traits->floats_an_item / 8 - (t->v.columns % 2 == 1 ? 3 : 0);
  const int64_t padded = (int64_t)t->out_x * t->v.columns, most = (int64_t)t->items * spare;
  const int floor = (int)heed__min(t->keys, 8);
  for (int i = 0; i < 2; ++i)
    for (int form = 0; form < 4; ++form) {
      t->resident = form < 2;
      t->weight_keys = form % 2 == 0 ? t->keys : t->keys / 2;
      if (t->weight_keys < floor) continue;
      t->v.rows = (int)heed__max(heed__min(power_of_two_down(heed__max(most / padded, 1)), t->weight_keys), 4);
      while (t->v.rows > 4 && forward_floats(t) > limits[i] / (int64_t)sizeof(float)) t->v.rows /= 2;
      if (t->v.rows >= (i == 0 ? floor : 4) && forward_floats(t) <= limits[i] / (int64_t)sizeof(float)) return true;
    }
  return false;
}

// Completes a tile of queries x keys; false where registers or local memory do not hold it.
static bool fit(const struct heed__cl_traits *traits, enum heed__cl_attention_gpu_kernel kernel, int64_t dim,
                int64_t value_dim, struct heed__cl_attention_gpu_tile *t) {
  const int score_x = t->keys / 4, rows = kernel == HEED__GPU_KEYS_BWD ? t->keys : t->queries;
  const int scores = t->queries * t->keys / t->items;
  if (score_x > t->items || t->items / score_x > t->queries || scores > traits->scores_an_item) return false;
  const int64_t widest = kernel == HEED__GPU_FORWARD       ? value_dim
                         : kernel == HEED__GPU_QUERIES_BWD ? dim
                                                           : heed__max(dim, value_dim);
  const int most_x = t->items / (rows >= 8 ? rows / 8 : 1), least_x = t->items > rows ? t->items / rows : 1;
  const int least = (int)heed__max(least_x, 4);
  lay_out(dim, value_dim, (int)heed__max(heed__min(most_x, power_of_two_up(widest)), least), least, t);
  // High tiles read local memory less, but what items of single columns have for addresses leaves them no registers.
  if (t->queries > ROWS_A_TILE && (t->qk.columns % 4 != 0 || t->v.columns % 4 != 0)) return false;
  int sums = 0;
  if (kernel == HEED__GPU_FORWARD || kernel == HEED__GPU_KEYS_BWD) sums += t->v.columns;
  if (kernel == HEED__GPU_QUERIES_BWD || kernel == HEED__GPU_KEYS_BWD) sums += t->qk.columns;
  sums *= rows * t->out_x / t->items;
  if (sums > traits->sums_an_item || 2 * scores + sums > traits->floats_an_item) return false;
  return kernel == HEED__GPU_FORWARD ? fit_forward(traits, t) : fit_backward(traits, kernel, t);
}

// The largest tile that fits, of `least` to `most` query rows; *t stays where none does.
static bool choose_within(const struct heed__cl_traits *traits, enum heed__cl_attention_gpu_kernel kernel,
                          const struct heed__cl_attention *a, int items, int least, int most,
                          struct heed__cl_attention_gpu_tile *t) {
  int area = 0, edges = 0;
  if (kernel == HEED__GPU_KEYS_BWD && most == ROWS_A_TILE && a->queries > ROWS_A_TILE) most *= 2;
  for (int queries = most; queries >= least; queries /= 2)
    for (int keys = 64; keys >= 4; keys /= 2)
      for (int depth = 16; depth >= 8; depth /= 2) {
        struct heed__cl_attention_gpu_tile tile = {.items = items, .queries = queries, .keys = keys, .depth = depth};
        if (queries * keys < area || (queries * keys == area && queries + keys >= edges)) continue;
        if (!fit(traits, kernel, a->dim, a->value_dim, &tile)) continue;
        area = queries * keys;
        edges = kernel == HEED__GPU_FORWARD ? 0 : queries + keys;
        *t = tile;
      }
  return area > 0;
}

// A tile of no more query rows than `rows` if that can be. False where even the smallest does not fit.
bool heed__cl_attention_fused_gpu_tile(const heed_context *ctx, const struct heed__cl_attention *a,
                                       enum heed__cl_attention_gpu_kernel kernel, size_t work_group, int64_t rows,
                                       struct heed__cl_attention_gpu_tile *t) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const int64_t widest = heed__max(a->dim, a->value_dim);
  const int most_items = power_of_two_down(heed__min((int64_t)work_group, widest > 128 ? 256 : 128));
  const int wanted = (int)heed__max(heed__min(power_of_two_up(rows), ROWS_A_TILE), 8);
  for (int items = most_items; items >= 16; items /= 2)
    if (choose_within(traits, kernel, a, items, 4, wanted, t) ||
        choose_within(traits, kernel, a, items, 2 * wanted, ROWS_A_TILE, t))
      return true;
  return false;
}

// ---------------------------------------------------------------- the plan

static bool is_supported(const struct heed__cl_traits *traits, const struct heed__cl_attention *a) {
  if (traits->cpu_like || a->weights || a->dmask) return false;
  if (a->dim > WIDTH_MAX || a->value_dim > WIDTH_MAX) return false;
  // Kernels count rows and keys, up to the end of their last tile, in int.
  if (a->queries * (a->queries <= PACKED_QUERIES ? a->group : 1) > INT32_MAX / 2 || a->keys > INT32_MAX / 2)
    return false;
  // With heads of 64, gradients for 24,576 keys come out right on llvmpipe and for 32,768 do not; wider ones have more rounds a tile.
  const int64_t longest = heed__max(a->keys, a->backward ? a->queries * a->group : 0);
  return !traits->short_loops || longest <= (1 << 20) / heed__max(heed__max(a->dim, a->value_dim), 64);
}

// Where there are few tiles, several work-groups share the keys of each. How many share them follows from the problem alone, so that a sum
// has one order on all GPUs. The numbers fill a GPU with 128 compute units; a smaller one spends a little more on merging.
static int64_t choose_splits(const struct heed__cl_attention *a, bool packed) {
  const int64_t rows = packed ? a->group * a->queries : a->queries;
  const int64_t tiles = a->batch * (packed ? a->kv_heads : a->heads) * heed__ceil_div(rows, ROWS_A_TILE);
  if (a->backward || tiles >= TILES_ENOUGH || tiles == 0) return 1;
  return heed__max(heed__min(heed__ceil_div(2 * TILES_ENOUGH, tiles), a->keys / KEYS_A_SPLIT), 1);
}

// Tiles of all kernels that the call needs, for groups of `work_group` items.
static bool choose_tiles(const heed_context *ctx, const struct heed__cl_attention *a, size_t work_group,
                         struct heed__cl_attention_fused_gpu *p) {
  const enum heed__cl_attention_gpu_kernel first = a->backward ? HEED__GPU_ROWS : HEED__GPU_FORWARD;
  const enum heed__cl_attention_gpu_kernel last = a->backward ? HEED__GPU_QUERIES_BWD : HEED__GPU_FORWARD;
  for (enum heed__cl_attention_gpu_kernel kernel = first; kernel <= last; ++kernel)
    if (!heed__cl_attention_fused_gpu_tile(ctx, a, kernel, work_group, p->tile_rows, &p->tiles[kernel])) return false;
  return true;
}

// Seven products unless the tuned choice says five: those save two of a tile, 1 MFLOP with heads of 64, and move 32 KB more, which pays
// where memory feeds a byte for every 32 operations or fewer. What a device's memory does is no trait that heed reads; `heed tune` measures.
static bool is_in_five(const heed_context *ctx, const struct heed__cl_attention *a,
                       const struct heed__cl_tuning_choice *choice, const struct heed__cl_attention_fused_gpu *p) {
  struct heed__cl_attention_gpu_rounds rounds;
  if (heed__cl_attention_value(choice, HEED__TUNE_products) != FIVE_PRODUCTS) return false;
  if (!a->backward || !a->dq || !(a->dk || a->dv)) return false;
  return heed__cl_attention_fused_gpu_rounds(ctx, a, &p->tiles[HEED__GPU_KEYS_BWD], &rounds);
}

bool heed__cl_attention_fused_gpu_plan(const heed_context *ctx, const struct heed__cl_attention *a,
                                       const struct heed__cl_tuning_choice *choice,
                                       struct heed__cl_attention_fused_gpu *p) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  if (!is_supported(traits, a)) return false;
  *p = (struct heed__cl_attention_fused_gpu){.packed = !a->backward && a->group > 1 && a->queries <= PACKED_QUERIES};
  p->splits = choose_splits(a, p->packed);
  const int64_t rows = p->packed ? a->group * a->queries : a->queries, most_items = (int64_t)traits->max_work_group;
  const int64_t items = heed__cl_attention_value(choice, HEED__TUNE_items);
  const int64_t tuned_rows = heed__cl_attention_value(choice, HEED__TUNE_tile_queries);
  p->tile_rows = tuned_rows ? heed__min(tuned_rows, rows) : rows;
  if (!choose_tiles(ctx, a, (size_t)(items ? heed__min(items, most_items) : most_items), p)) return false;
  p->in_five = is_in_five(ctx, a, choice, p);
  return true;
}

void heed__cl_attention_fused_gpu_neighbours(heed_context *ctx, const struct heed__cl_attention *a,
                                             const struct heed__cl_tuning_choice *choice,
                                             struct heed__cl_tuning_choices *out) {
  const int64_t items = choice->values[HEED__TUNE_items], rows = choice->values[HEED__TUNE_tile_queries];
  for (int64_t value = 64; value <= 256; value *= 2)
    if (value != items) heed__cl_tuning_choices_add(out, choice, HEED__TUNE_items, value);
  for (int64_t value = 16; value < ROWS_A_TILE && value < a->queries; value *= 2)
    if (value != rows) heed__cl_tuning_choices_add(out, choice, HEED__TUNE_tile_queries, value);
  struct heed__cl_tuning_choice five = *choice;
  struct heed__cl_attention_fused_gpu plan;
  five.values[HEED__TUNE_products] = FIVE_PRODUCTS;
  if (!heed__cl_attention_fused_gpu_plan(ctx, a, &five, &plan) || !plan.in_five) return;
  const bool is_five = choice->values[HEED__TUNE_products] == FIVE_PRODUCTS;
  heed__cl_tuning_choices_add(out, choice, HEED__TUNE_products, is_five ? SEVEN_PRODUCTS : FIVE_PRODUCTS);
}
