// Which calls the fused path takes on CPUs, with which tiles, over how many work-items, and in how many launches. The kernels'
// side of these choices is told at the top of kernels_cl/attention/fused_cpu_*.cl.
#include <math.h>

#include "cl/attention/fused_cpu.h"

// Two megabytes; a thread's stack is eight as a rule.
enum { PRIVATE_FLOATS_MAX = 1 << 19 };

static bool same_dtype(const heed_tensor *x, heed_dtype dtype) { return !x || x->dtype == dtype; }

bool heed__cl_attention_fused_cpu_supports(const heed_context *ctx, const struct heed__cl_attention *a) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  if (!traits->cpu_like || traits->vector_width < 4 || a->weights || a->dmask) return false;
  if (heed__max(a->dim, a->value_dim) > HEED__FUSED_CPU_WIDTH_MAX) return false;
  const heed_tensor *floats[] = {a->k, a->v, a->out, a->dout, a->dq, a->dk, a->dv};
  for (size_t i = 0; i < sizeof floats / sizeof *floats; ++i)
    if (!same_dtype(floats[i], a->q->dtype)) return false;
  // Positions, and numbers of work-items, are counted in 32 bits.
  const double length = (double)a->queries + (double)a->keys, heads = (double)a->batch * (double)a->heads;
  return length <= 0x1p29 && heads * (length / 4 + 2) < 0x1p31;
}

static void choose_tiles(const struct heed__cl_traits *traits, const struct heed__cl_attention *a,
                         struct heed__cl_attention_fused_cpu *p) {
  p->vector = traits->vector_width;
  // Enough accumulators to hide a multiply-add's latency, which leave room in the registers: 12 of 16, else 16 of 32. Tiles of more rows
  // load less, but compute more that a causal mask or the last row cuts off.
  p->tile_rows = p->vector == 8 ? 6 : 8;
  // Keys are packed in whole blocks. A few sizes do for short texts, each of which is a program of its own.
  p->key_block = a->backward ? 96 : a->keys <= 64 ? 64 : a->keys <= 128 ? 128 : 256;
  p->query_block = a->backward ? 96 : 8 * p->tile_rows;
  // Private arrays beyond these widths would leave the second cache.
  if (a->backward && heed__max(a->dim, a->value_dim) > 256) p->query_block = 48;
}

static int64_t common_divisor(int64_t x, int64_t y) {
  while (y) {
    const int64_t rest = x % y;
    x = y;
    y = rest;
  }
  return x;
}

// Floats that a work-item keeps to itself.
static int64_t private_floats(const struct heed__cl_attention *a, const struct heed__cl_attention_fused_cpu *p) {
  const int64_t dim = heed__round_up(a->dim, p->vector), value_dim = heed__round_up(a->value_dim, p->vector);
  if (!a->backward) return p->query_block * (dim + value_dim) + (int64_t)p->tile_rows * p->key_block;
  return p->key_block * (3 * dim + 2 * value_dim) + 2 * (int64_t)p->query_block * p->key_block;
}

// Blocks as asked for, of whole tiles, unless a thread's stack might not hold them. 0: as they are.
static void set_blocks(const struct heed__cl_attention *a, const struct heed__cl_tuning_choice *choice,
                       struct heed__cl_attention_fused_cpu *p) {
  const struct heed__cl_attention_fused_cpu before = *p;
  const int64_t tile_rows = heed__cl_attention_value(choice, HEED__TUNE_tile_rows);
  const int64_t key_block = heed__cl_attention_value(choice, HEED__TUNE_key_block);
  const int64_t query_block = heed__cl_attention_value(choice, HEED__TUNE_query_block);
  if (tile_rows) p->tile_rows = (int)tile_rows;
  const int64_t panel = 2 * p->vector;
  const int64_t step = a->backward ? panel / common_divisor(panel, p->tile_rows) * p->tile_rows : panel;
  p->key_block = (int)heed__round_up(key_block ? key_block : p->key_block, step);
  p->query_block = (int)heed__round_up(query_block ? query_block : p->query_block, p->tile_rows);
  if (private_floats(a, p) > PRIVATE_FLOATS_MAX) *p = before;
}

// Splits decide in which order a sum is made. They follow from the problem alone, so that a CPU computes the same bits however many cores
// and however much memory it has. The numbers keep 64 cores busy even with a single head, and cost two cores little.
enum { BACKWARD_ITEMS = 64, BLOCKS_A_SPLIT = 2, DECODE_ITEMS = 64, KEYS_A_SPLIT = 256 };
// Each split of the backward has a dq of its own. Those of one slot take no more bytes than this.
#define SPLITS_BYTES 0x1p28

static int64_t backward_splits(const struct heed__cl_attention *a, const struct heed__cl_attention_fused_cpu *p,
                               int64_t slots) {
  const double dq_bytes = 4.0 * (double)(a->group * a->queries) * (double)a->dim;
  const int64_t wanted = heed__ceil_div(BACKWARD_ITEMS, slots);
  const int64_t most = heed__ceil_div(a->keys, p->key_block) / BLOCKS_A_SPLIT;
  const int64_t fitting = (int64_t)fmin(SPLITS_BYTES / fmax(dq_bytes, 1), BACKWARD_ITEMS);
  return heed__max(heed__min(heed__min(wanted, most), fitting), 1);
}

static void choose_decode(const struct heed__cl_attention *a, struct heed__cl_attention_fused_cpu *p) {
  const int64_t rows = a->group * a->queries, slots = heed__max(a->batch * a->kv_heads, 1);
  p->decode = !a->backward && a->queries <= 8 && rows <= 8;
  if (!p->decode) return;
  p->row_tile = rows >= 3 ? 4 : (int)rows;
  p->rows = (int)heed__round_up(rows, p->row_tile);
  // A split of few keys is not worth its merging.
  const int64_t wanted = heed__ceil_div(DECODE_ITEMS, slots);
  p->chunk_keys = heed__max(KEYS_A_SPLIT, heed__round_up(heed__ceil_div(a->keys, wanted), 64));
  p->splits = heed__ceil_div(a->keys, p->chunk_keys);
}

void heed__cl_attention_fused_cpu_sizes(const struct heed__cl_attention *a,
                                        const struct heed__cl_attention_fused_cpu *p, int64_t slots,
                                        double bytes[HEED__FUSED_CPU_BUFFERS]) {
  const double n = (double)slots, heads = n * (double)a->group;
  const int64_t dim = heed__round_up(a->dim, p->vector), value_dim = heed__round_up(a->value_dim, p->vector);
  for (int i = 0; i < HEED__FUSED_CPU_BUFFERS; ++i) bytes[i] = 0;
  if (a->backward) {
    const double rows = heads * (double)heed__round_up(a->queries, p->tile_rows);
    bytes[FUSED_Q] = 4 * rows * (double)dim;
    bytes[FUSED_DOUT] = 4 * rows * (double)value_dim;
    bytes[FUSED_STATS] = 16 * rows;
    bytes[FUSED_ROWS_BAD] = 4 * heads * (double)heed__ceil_div(a->queries, p->query_block);
    if (a->dq) bytes[FUSED_DQ_PARTS] = 4 * (double)p->splits * rows * (double)dim;
  } else if (p->decode) {
    const double parts = n * (double)p->splits * p->rows;
    bytes[FUSED_OUT_PARTS] = 4 * parts * (double)value_dim;
    bytes[FUSED_ROW_PARTS] = 8 * parts;
  } else {
    const double blocks = n * (double)heed__ceil_div(a->keys, p->key_block);
    bytes[FUSED_K] = 4 * blocks * p->key_block * (double)dim;
    bytes[FUSED_V] = 4 * blocks * p->key_block * (double)value_dim;
    bytes[FUSED_V_BAD] = 4 * blocks;
  }
}

// How many slots fit in the memory a call may take: a quarter of the device's, a gigabyte at most, buffers as large as it allows.
static double fitting_slots(const struct heed__cl_traits *traits, const struct heed__cl_attention *a,
                            const struct heed__cl_attention_fused_cpu *p) {
  double bytes[HEED__FUSED_CPU_BUFFERS], total = 0, largest = 0;
  heed__cl_attention_fused_cpu_sizes(a, p, 1, bytes);
  for (int i = 0; i < HEED__FUSED_CPU_BUFFERS; ++i) {
    total += bytes[i];
    largest = fmax(largest, bytes[i]);
  }
  return fmin(fmin((double)traits->memory / 4, 0x1p30) / total, (double)traits->max_allocation / largest);
}

void heed__cl_attention_fused_cpu_plan(const heed_context *ctx, const struct heed__cl_attention *a,
                                       const struct heed__cl_tuning_choice *choice,
                                       struct heed__cl_attention_fused_cpu *p) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const int64_t slots = heed__max(a->batch * a->kv_heads, 1);
  *p = (struct heed__cl_attention_fused_cpu){.splits = 1};
  choose_tiles(traits, a, p);
  set_blocks(a, choice, p);
  choose_decode(a, p);
  if (a->backward) p->splits = backward_splits(a, p, slots);
  // Each slot's sums are its own: memory may cut a call between slots.
  const double fitting = fmax(fitting_slots(traits, a, p), 1);
  p->slots = fitting >= (double)slots ? slots : heed__ceil_div(slots, heed__ceil_div(slots, (int64_t)fitting));
}

// Blocks half and twice as long, and register tiles of fewer rows. Each is a program of its own to compile, so that they are few; decode
// has none of them.
void heed__cl_attention_fused_cpu_neighbours(heed_context *ctx, const struct heed__cl_attention *a,
                                             const struct heed__cl_tuning_choice *choice,
                                             struct heed__cl_tuning_choices *out) {
  struct heed__cl_attention_fused_cpu p;
  heed__cl_attention_fused_cpu_plan(ctx, a, choice, &p);
  if (p.decode) return;
  const struct {
    enum heed__cl_tuning_tunable what;
    int64_t value;
  } steps[] = {
      {HEED__TUNE_query_block, 2 * (int64_t)p.query_block}, {HEED__TUNE_key_block, 2 * (int64_t)p.key_block},
      {HEED__TUNE_query_block, p.query_block / 2},          {HEED__TUNE_key_block, p.key_block / 2},
      {HEED__TUNE_tile_rows, p.tile_rows == 8 ? 12 : 8},
  };
  for (size_t i = 0; i < sizeof steps / sizeof *steps; ++i) {
    const size_t before = out->count;
    heed__cl_tuning_choices_add(out, choice, steps[i].what, steps[i].value);
    if (out->count == before) continue;
    struct heed__cl_attention_fused_cpu other;
    heed__cl_attention_fused_cpu_plan(ctx, a, &out->list[before], &other);
    if (other.tile_rows == p.tile_rows && other.key_block == p.key_block && other.query_block == p.query_block)
      out->count = before;
  }
}
