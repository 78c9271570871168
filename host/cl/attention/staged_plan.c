// How the staged path of attention cuts a call into chunks, so that its scores fit the memory that there is and no launch takes
// too long for a GPU's watchdog; and the shape of its tiles. Chunks follow the memory of a device; sums do not follow the chunks, as each goes
// on where the one before it has stopped.
#include <math.h>

#include "cl/attention/staged.h"

static void choose_tiles(const struct heed__cl_traits *traits, const struct heed__cl_attention *a,
                         struct heed__cl_attention_staged *s) {
  if (!traits->cpu_like) {
    s->tile = s->tile_bwd = (struct heed__cl_attention_tile){.vector = 4, .rows = 4, .vectors = 1};
    s->panel = 64;
    s->lanes = traits->max_work_group >= 64 ? 64 : 1;
  } else {
    // As many accumulators as the registers hold: 32 of 16 floats, else 16.
    const int vector = traits->vector_width;
    s->tile = (struct heed__cl_attention_tile){.vector = vector, .rows = vector == 16 ? 12 : 6, .vectors = 2};
    s->tile_bwd = (struct heed__cl_attention_tile){.vector = vector, .rows = vector == 16 ? 16 : 8, .vectors = 1};
    s->panel = 2 * vector;
    s->lanes = 1;
  }
  s->depth = heed__round_up(a->dim, HEED__STAGED_DEPTH_BLOCK);
  s->value_depth = heed__round_up(a->value_dim, HEED__STAGED_DEPTH_BLOCK);
  // An even number of cache lines would put the rows of a tile into the same few sets of the cache.
  s->pitch = heed__round_up(heed__max(a->keys, 1), heed__max(s->panel, 16));
  if (traits->cpu_like && s->pitch / 16 % 2 == 0) s->pitch += 16;
}

static int64_t panels_of(const struct heed__cl_attention_staged *s, int64_t columns) {
  return heed__ceil_div(columns, s->panel);
}

void heed__cl_attention_staged_sizes(const struct heed__cl_attention *a, const struct heed__cl_attention_staged *s,
                                     int64_t heads, int64_t rows, int64_t sizes[HEED__STAGED_BUFFERS]) {
  const bool in_parts = heads < a->group || rows < a->queries;
  const int64_t slots = heed__max(heads / a->group, 1), padded = heed__round_up(rows, s->tile.rows);
  const int64_t dims = panels_of(s, a->dim) * s->panel, value_dims = panels_of(s, a->value_dim) * s->panel;
  const int64_t keys = panels_of(s, a->keys) * s->panel, scores = heads * padded * s->pitch;
  for (int i = 0; i < HEED__STAGED_BUFFERS; ++i) sizes[i] = 0;
  sizes[BOUNDS] = heads * padded * 2;
  sizes[SCORES] = scores;
  sizes[Q_ROWS] = heads * padded * s->depth;
  sizes[K_BY_KEY] = slots * keys * s->depth;
  if (!a->backward) {
    sizes[V_BY_DIM] = slots * value_dims * a->keys;
    return;
  }
  const bool wants_ds = a->dq || a->dk || a->dmask;
  if (wants_ds) sizes[DSCORES] = scores;
  if (wants_ds) sizes[DOUT_ROWS] = heads * padded * s->value_depth;
  if (wants_ds) sizes[V_BY_KEY] = slots * keys * s->value_depth;
  if (wants_ds && a->params->softcap > 0) sizes[SLOPES] = scores;
  if (a->dq) sizes[K_BY_DIM] = slots * dims * a->keys;
  if (a->dk) sizes[Q_BY_DIM] = heads * dims * rows;
  if (a->dv) sizes[DOUT_BY_DIM] = heads * value_dims * rows;
  if (a->dk && in_parts) sizes[DK_SUM] = a->keys * a->dim;
  if (a->dv && in_parts) sizes[DV_SUM] = a->keys * a->value_dim;
}

static double bytes_of(const struct heed__cl_attention *a, const struct heed__cl_attention_staged *s, int64_t heads,
                       int64_t rows) {
  int64_t sizes[HEED__STAGED_BUFFERS];
  double total = 0;
  heed__cl_attention_staged_sizes(a, s, heads, rows, sizes);
  for (int i = 0; i < HEED__STAGED_BUFFERS; ++i) total += (double)sizes[i] * (double)sizeof(float);
  return total;
}

// The staged kernels reach a smaller share of a GPU's rate than those that launch_flops is for.
#define STAGED_RATE 0.125
// What scores a CPU should keep in its cache between the stages.
#define CPU_CHUNK_BYTES (32 << 20)

// How many heads, or rows of one head, are worked on at a time.
static void choose_chunks(const struct heed__cl_traits *traits, const struct heed__cl_attention *a,
                          struct heed__cl_attention_staged *s) {
  s->available = fmin(fmin((double)traits->memory / 4, (double)traits->max_allocation), (double)((uint64_t)1 << 30));
  const double preferred = traits->cpu_like ? fmin(s->available, CPU_CHUNK_BYTES) : s->available;
  const double row_work = 2.0 * (double)a->keys * (double)heed__max(a->dim, a->value_dim);
  const double launch_rows = traits->cpu_like ? INFINITY : STAGED_RATE * traits->launch_flops / fmax(row_work, 1);

  const double group_bytes = bytes_of(a, s, a->group, a->queries);
  const double group_rows = (double)a->group * (double)a->queries;
  s->chunk_rows = a->queries;
  if (group_bytes <= s->available && group_rows <= launch_rows) {
    const int64_t groups = a->batch * a->kv_heads;
    const double most = fmin(preferred / group_bytes, launch_rows / fmax(group_rows, 1));
    const int64_t fitting = most >= (double)groups ? groups : heed__max((int64_t)most, 1);
    s->chunk_heads = a->group * heed__ceil_div(groups, heed__ceil_div(groups, fitting));
    return;
  }
  s->chunk_heads = 1;
  const int64_t tile_rows = s->tile.rows;
  const double fixed = bytes_of(a, s, 1, 0);
  s->needed = bytes_of(a, s, 1, heed__min(tile_rows, a->queries));
  if (s->needed > s->available || a->queries <= tile_rows) return;
  const double row_bytes = (s->needed - fixed) / (double)tile_rows;
  const double rows = fmin((s->available - fixed) / row_bytes, launch_rows);
  if (rows < (double)a->queries) s->chunk_rows = heed__max((int64_t)rows / tile_rows * tile_rows, tile_rows);
}

void heed__cl_attention_staged_plan(const heed_context *ctx, const struct heed__cl_attention *a,
                                    struct heed__cl_attention_staged *s) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  *s = (struct heed__cl_attention_staged){0};
  choose_tiles(traits, a, s);
  choose_chunks(traits, a, s);
}
