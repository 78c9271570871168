// The staged path of attention: scores, mask, softmax and output as kernels of their own over scores in memory. It takes every
// call, in the chunks of staged_plan.c. The kernels are in kernels_cl/attention/*.cl.
//
// The backward forms the weights anew from q and k, softmax and all. lse and out of the forward would save a pass over the
// scores, but lse has too few digits where a row holds nothing but huge masks (−FLT_MAX), and out the rounding of its storage.
#include "cl/attention/staged.h"

#include <math.h>

#include "cl/attention/call.h"
#include "cl/operators.h"

struct staged {
  heed_context *ctx;
  const struct heed__cl_attention *a;
  const struct heed__cl_attention_staged *plan;
  cl_mem buffers[HEED__STAGED_BUFFERS];
};
typedef struct heed__cl_attention_chunk chunk;
typedef enum heed__cl_attention_staged_buffer buffer;

// In the shapes below a chunk has C heads with R rows each, which scratch rounds up to R' rows, whole tiles; S is the number of key heads
// that they read. Lk' is `pitch`; D' and Dv' are D and Dv rounded up to whole blocks.

static chunk chunk_at(const struct staged *s, int64_t head0, int64_t row0) {
  const struct heed__cl_attention *a = s->a;
  chunk c = {.head0 = head0,
             .row0 = row0,
             .pitch = s->plan->pitch,
             .queries = a->queries,
             .keys = a->keys,
             .heads_per_batch = a->heads,
             .kv_heads = a->kv_heads,
             .group = a->group};
  c.heads = heed__min(s->plan->chunk_heads, a->batch * a->heads - head0);
  c.rows = heed__min(s->plan->chunk_rows, a->queries - row0);
  c.rows_pad = heed__round_up(c.rows, s->plan->tile.rows);
  c.slot0 = head0 / a->group;
  c.slots = heed__max(c.heads / a->group, 1);
  return c;
}

// ---------------------------------------------------------------- launches

// One work-item a tile: `columns` x `rows` of them for each of `heads`.
static heed_status launch_tiles(const struct staged *s, struct heed__cl_kernel *k, int64_t columns, int64_t rows,
                                int64_t heads) {
  const struct heed__cl_traits *traits = &heed__cl_state(s->ctx)->traits;
  const bool grouped = !traits->cpu_like && traits->max_work_group >= 64;
  const size_t local[3] = {grouped ? 16 : 1, grouped ? 4 : 1, 1};
  const size_t global[3] = {(size_t)heed__round_up(columns, (int64_t)local[0]),
                            (size_t)heed__round_up(rows, (int64_t)local[1]), (size_t)heads};
  return heed__cl_launch(k, 3, global, local);
}

// One work-item an element, in groups of one size: some drivers compile a kernel again for each size of group.
static heed_status launch_elements(const struct staged *s, struct heed__cl_kernel *k, int64_t x, int64_t y, int64_t z) {
  const size_t most = heed__cl_state(s->ctx)->traits.max_work_group;
  const size_t local[3] = {most >= 32 ? 32 : 1, most >= 256 ? 8 : 1, 1};
  const size_t global[3] = {(size_t)heed__round_up(x, (int64_t)local[0]), (size_t)heed__round_up(y, (int64_t)local[1]),
                            (size_t)z};
  return heed__cl_launch(k, 3, global, local);
}

// `lanes` work-items a row of scores.
static heed_status launch_rows(const struct staged *s, struct heed__cl_kernel *k, int64_t rows, int64_t heads) {
  const size_t global[3] = {(size_t)s->plan->lanes, (size_t)rows, (size_t)heads},
               local[3] = {(size_t)s->plan->lanes, 1, 1};
  return heed__cl_launch(k, 3, global, local);
}

static void begin_tiles(struct heed__cl_kernel *k, const struct staged *s, const char *file, const char *kernel,
                        struct heed__cl_attention_tile tile) {
  heed__cl_begin(k, s->ctx, file, kernel);
  heed__cl_define_int(k, "VECTOR", tile.vector);
  heed__cl_define_int(k, "TILE_ROWS", tile.rows);
  heed__cl_define_int(k, "TILE_VECTORS", tile.vectors);
  heed__cl_define_int(k, "PANEL", s->plan->panel);
}

static void begin_rows(struct heed__cl_kernel *k, const struct staged *s, const char *file, const char *kernel) {
  heed__cl_begin(k, s->ctx, file, kernel);
  heed__cl_define_int(k, "VECTOR", s->plan->tile.vector);
  heed__cl_define_int(k, "GROUP", s->plan->lanes);
}

static void pass_chunk(struct heed__cl_kernel *k, const chunk *c) {
  heed__cl_struct(k, c, sizeof *c, HEED__CHUNK_LONGS);
}

static void pass_place(struct heed__cl_kernel *k, const struct heed__cl_attention_place *place) {
  heed__cl_struct(k, place, sizeof *place, HEED__PLACE_LONGS);
}

// ---------------------------------------------------------------- stages

// kv_lengths: [B]; BOUNDS: [C, R', 2]
static heed_status find_bounds(const struct staged *s, const chunk *c, struct heed__cl_attention_reach reach) {
  const struct heed__cl_attention *a = s->a;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, s->ctx, "attention/bounds.cl", "attention_bounds");
  heed__cl_attention_define_lengths(&k, a);
  heed__cl_struct(&k, &reach, sizeof reach, HEED__REACH_LONGS);
  heed__cl_memory(&k, a->kv_lengths);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  pass_chunk(&k, c);
  return launch_elements(s, &k, c->rows_pad, c->heads, 1);
}

// How a tensor is brought into the panels of attention/pack.cl.
enum layout {
  ROWS,         // q or dout as rows, the left factor of a product over the width
  ROWS_BY_DIM,  // q or dout as the right factor of a sum over rows
  KEYS_BY_DIM,  // k or v as the right factor of a sum over keys
  KEYS_BY_KEY,  // k or v as the right factor of a product over the width
};

// x: [B, H, L, W]; packed: [heads, panels, depth, columns of a panel], where a matrix is L' x W', or W' x L' for KEYS_BY_KEY. L' and W' are
// rounded up where the product that reads them wants it: `width` is W'.
static heed_status pack(const struct staged *s, const chunk *c, enum layout layout, const heed_tensor *x, int64_t width,
                        buffer to) {
  const bool is_rows = layout == ROWS || layout == ROWS_BY_DIM, turned = layout == KEYS_BY_KEY;
  const int64_t length = is_rows ? c->rows : c->keys, length_pad = layout == ROWS ? c->rows_pad : length;
  const int64_t columns = turned ? length : x->dims[3], panel = layout == ROWS ? width : s->plan->panel;
  const struct heed__cl_attention_matrix m = {.offset = x->offset + (is_rows ? c->row0 * x->strides[2] : 0),
                                              .stride_batch = x->strides[0],
                                              .stride_head = x->strides[1],
                                              .stride_depth = turned ? 1 : x->strides[2],
                                              .stride_column = turned ? x->strides[2] : 1,
                                              .heads_per_batch = x->dims[1],
                                              .head0 = is_rows ? c->head0 : c->slot0,
                                              .heads = is_rows ? c->heads : c->slots,
                                              .depth = turned ? x->dims[3] : length,
                                              .depth_pad = turned ? width : length_pad,
                                              .columns = columns,
                                              .width = panel,
                                              .panels = heed__ceil_div(columns, panel)};
  struct heed__cl_kernel k;
  heed__cl_begin(&k, s->ctx, "attention/pack.cl", "attention_pack");
  heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
  heed__cl_memory(&k, x);
  heed__cl_buffer(&k, s->buffers[to]);
  heed__cl_struct(&k, &m, sizeof m, HEED__MATRIX_LONGS);
  return launch_elements(s, &k, m.width, m.depth_pad, m.heads * m.panels);
}

// to = softcap(scale rows · columns): the scores from q and k, dP from dout and v. A backward with softcap keeps its slopes, too.
// rows: [C, R', D' or Dv']; columns: [S, panels of keys, D' or Dv', panel]; BOUNDS: [C, R', 2]; to, SLOPES: [C, R', Lk']
static heed_status score(const struct staged *s, const chunk *c, buffer rows, buffer columns, int64_t depth,
                         double scale, double softcap, buffer to) {
  const bool slopes = softcap > 0 && s->buffers[SLOPES] != NULL;
  struct heed__cl_kernel k;
  begin_tiles(&k, s, "attention/score.cl", "attention_score", s->plan->tile);
  heed__cl_define_int(&k, "SOFTCAP", softcap > 0);
  heed__cl_define_int(&k, "SLOPES", slopes);
  heed__cl_define_int(&k, "DEPTH_BLOCK", HEED__STAGED_DEPTH_BLOCK);
  heed__cl_buffer(&k, s->buffers[rows]);
  heed__cl_buffer(&k, s->buffers[columns]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_buffer(&k, s->buffers[to]);
  heed__cl_buffer(&k, s->buffers[slopes ? SLOPES : to]);
  pass_chunk(&k, c);
  heed__cl_long(&k, depth);
  heed__cl_float(&k, scale);
  heed__cl_float(&k, softcap);
  return launch_tiles(s, &k, heed__ceil_div(c->keys, s->plan->tile.vector * s->plan->tile.vectors),
                      c->rows_pad / s->plan->tile.rows, c->heads);
}

// mask: [B, Hq, Lq, columns] by strides; BOUNDS: [C, R', 2]; SCORES: [C, R', Lk']
static heed_status mask(const struct staged *s, const chunk *c) {
  const heed_tensor *m = s->a->mask;
  const struct heed__cl_attention_place place = heed__cl_attention_place(m);
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/mask.cl", "attention_mask");
  heed__cl_define_dtype(&k, "MASK_DTYPE", m->dtype);
  heed__cl_define_int(&k, "MASK_IS_BOOL", m->dtype == HEED_BOOL);
  heed__cl_memory(&k, m);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_buffer(&k, s->buffers[SCORES]);
  heed__cl_buffer(&k, s->buffers[SCORES]);
  pass_place(&k, &place);
  heed__cl_long(&k, m->strides[3]);
  pass_chunk(&k, c);
  return launch_rows(s, &k, c->rows_pad, c->heads);
}

// SCORES: [C, R', Lk']; BOUNDS: [C, R', 2]; lse: [B, Hq, Lq]
static heed_status softmax(const struct staged *s, const chunk *c, const heed_tensor *lse) {
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/softmax.cl", "attention_softmax");
  heed__cl_buffer(&k, s->buffers[SCORES]);
  heed__cl_buffer(&k, s->buffers[SCORES]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_tensor(&k, lse);
  heed__cl_uint(&k, lse != NULL);
  pass_chunk(&k, c);
  return launch_rows(s, &k, c->rows_pad, c->heads);
}

// on: [C, R', Lk']; BOUNDS: [C, R', 2]
static heed_status dropout(const struct staged *s, const chunk *c, buffer on) {
  const struct heed__attention_params *params = s->a->params;
  if (!params->has_dropout) return HEED_OK;
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/softmax.cl", "attention_dropout");
  heed__cl_buffer(&k, s->buffers[on]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  pass_chunk(&k, c);
  heed__cl_uint(&k, (uint32_t)params->seed);
  heed__cl_uint(&k, (uint32_t)(params->seed >> 32));
  heed__cl_uint(&k, params->dropout_threshold);
  heed__cl_float(&k, params->dropout_scale);
  return launch_rows(s, &k, c->rows_pad, c->heads);
}

static bool wants(const struct staged *s, heed_attention_weights step) {
  return s->a->weights && s->a->params->weights == step;
}

// SCORES: [C, R', Lk']; BOUNDS: [C, R', 2]; weights: [B, Hq, Lq, Lk]
static heed_status store_weights(const struct staged *s, const chunk *c) {
  const heed_tensor *weights = s->a->weights;
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/softmax.cl", "attention_weights");
  heed__cl_define_dtype(&k, "X_DTYPE", weights->dtype);
  heed__cl_buffer(&k, s->buffers[SCORES]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_float(&k, wants(s, HEED_WEIGHTS_SOFTMAX) ? 0 : -INFINITY);
  heed__cl_tensor(&k, weights);
  pass_chunk(&k, c);
  return launch_rows(s, &k, c->rows, c->heads);
}

// out = scale weights · keys: the output from p and v, dq from ds and k.
// weights: [C, R', Lk']; keys: [S, panels of the width, Lk, panel]; BOUNDS: [C, R', 2]; out: [B, Hq, Lq, Dv], or dq: [B, Hq, Lq, D]
static heed_status output(const struct staged *s, const chunk *c, buffer weights, buffer keys, double scale,
                          const heed_tensor *out) {
  const struct heed__cl_attention_place place = heed__cl_attention_place(out);
  struct heed__cl_kernel k;
  begin_tiles(&k, s, "attention/output.cl", "attention_output", s->plan->tile);
  heed__cl_define_dtype(&k, "X_DTYPE", out->dtype);
  heed__cl_buffer(&k, s->buffers[weights]);
  heed__cl_buffer(&k, s->buffers[keys]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_memory(&k, out);
  pass_place(&k, &place);
  pass_chunk(&k, c);
  heed__cl_long(&k, out->dims[3]);
  heed__cl_float(&k, scale);
  return launch_tiles(s, &k, heed__ceil_div(out->dims[3], s->plan->tile.vector * s->plan->tile.vectors),
                      c->rows_pad / s->plan->tile.rows, c->heads);
}

// The scores of all keys, attended or not, as the caller's weights.
static heed_status store_scores(const struct staged *s, const chunk *c) {
  const struct heed__cl_attention *a = s->a;
  const double softcap = wants(s, HEED_WEIGHTS_SOFTCAP) ? a->params->softcap : 0;
  HEED__TRY(find_bounds(s, c, heed__cl_attention_everything(a)));
  HEED__TRY(score(s, c, Q_ROWS, K_BY_KEY, s->plan->depth, a->params->scale, softcap, SCORES));
  return store_weights(s, c);
}

// P into SCORES.
static heed_status weights_of(const struct staged *s, const chunk *c, const heed_tensor *lse) {
  const struct heed__cl_attention *a = s->a;
  HEED__TRY(pack(s, c, ROWS, a->q, s->plan->depth, Q_ROWS));
  HEED__TRY(pack(s, c, KEYS_BY_KEY, a->k, s->plan->depth, K_BY_KEY));
  if (wants(s, HEED_WEIGHTS_RAW) || wants(s, HEED_WEIGHTS_SOFTCAP)) HEED__TRY(store_scores(s, c));
  HEED__TRY(find_bounds(s, c, heed__cl_attention_reach(a)));
  HEED__TRY(score(s, c, Q_ROWS, K_BY_KEY, s->plan->depth, a->params->scale, a->params->softcap, SCORES));
  if (a->mask) HEED__TRY(mask(s, c));
  if (wants(s, HEED_WEIGHTS_MASKED)) HEED__TRY(store_weights(s, c));
  return softmax(s, c, lse);
}

static heed_status forward_chunk(const struct staged *s, const chunk *c) {
  const struct heed__cl_attention *a = s->a;
  HEED__TRY(weights_of(s, c, a->lse));
  HEED__TRY(dropout(s, c, SCORES));
  if (wants(s, HEED_WEIGHTS_SOFTMAX)) HEED__TRY(store_weights(s, c));
  HEED__TRY(pack(s, c, KEYS_BY_DIM, a->v, 0, V_BY_DIM));
  return output(s, c, SCORES, V_BY_DIM, 1, a->out);
}

// ---------------------------------------------------------------- stages of the backward

// dP in DSCORES becomes dS; SLOPES becomes the gradient before the softcap.
// SCORES, DSCORES, SLOPES: [C, R', Lk']; BOUNDS: [C, R', 2]
static heed_status softmax_bwd(const struct staged *s, const chunk *c) {
  const bool softcap = s->buffers[SLOPES] != NULL;
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/softmax.cl", "attention_softmax_bwd");
  heed__cl_define_int(&k, "SOFTCAP", softcap);
  heed__cl_buffer(&k, s->buffers[SCORES]);
  heed__cl_buffer(&k, s->buffers[DSCORES]);
  heed__cl_buffer(&k, s->buffers[softcap ? SLOPES : DSCORES]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  pass_chunk(&k, c);
  return launch_rows(s, &k, c->rows_pad, c->heads);
}

// dx = scale weightsᵀ · rows: dv from p and dout, dk from ds and q.
// weights: [C, R', Lk']; rows: [C, panels of the width, R, panel]; BOUNDS: [C, R', 2]; sum: [Lk, D or Dv]; dk: [B, Hkv, Lk, D], or
// dv: [B, Hkv, Lk, Dv]
static heed_status output_bwd(const struct staged *s, const chunk *c, buffer weights, buffer rows, buffer sum,
                              double scale, const heed_tensor *dx) {
  const struct heed__cl_attention_place place = heed__cl_attention_place(dx);
  const struct heed__cl_attention_tile tile = s->plan->tile_bwd;
  const int64_t last_head = (c->slot0 + c->slots) * c->group - 1;
  struct heed__cl_kernel k;
  begin_tiles(&k, s, "attention/output_bwd.cl", "attention_output_bwd", tile);
  heed__cl_define_dtype(&k, "X_DTYPE", dx->dtype);
  heed__cl_buffer(&k, s->buffers[weights]);
  heed__cl_buffer(&k, s->buffers[rows]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_buffer(&k, s->buffers[s->buffers[sum] ? sum : BOUNDS]);
  heed__cl_memory(&k, dx);
  pass_place(&k, &place);
  pass_chunk(&k, c);
  heed__cl_long(&k, dx->dims[3]);
  heed__cl_uint(&k, c->head0 == c->slot0 * c->group && c->row0 == 0);
  heed__cl_uint(&k, c->head0 + c->heads > last_head && c->row0 + c->rows == c->queries);
  heed__cl_float(&k, scale);
  return launch_tiles(s, &k, heed__ceil_div(dx->dims[3], tile.vector * tile.vectors),
                      heed__ceil_div(c->keys, tile.rows), c->slots);
}

// Adds this chunk's share to the sums of dmask, which is F32 or stands in DMASK_SUM meanwhile.
// DSCORES: [C, R', Lk']; sum, DMASK_LOSSES: [B or 1, Hq or 1, Lq or 1, columns or 1]
static heed_status mask_bwd(const struct staged *s, const chunk *c, const heed_tensor *sum) {
  const int64_t *dims = sum->dims;
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/mask.cl", "attention_mask_bwd");
  heed__cl_buffer(&k, s->buffers[DSCORES]);
  heed__cl_tensor(&k, sum);
  heed__cl_buffer(&k, s->buffers[DMASK_LOSSES]);
  heed__cl_uint(&k, s->buffers[DMASK_LOSSES] != NULL);
  for (int axis = 0; axis < 4; ++axis) heed__cl_long(&k, dims[axis]);
  pass_chunk(&k, c);
  return launch_elements(s, &k, dims[3], dims[2] == 1 ? 1 : c->rows, dims[0] * dims[1]);
}

static heed_status backward_chunk(const struct staged *s, const chunk *c, const heed_tensor *dmask_sum) {
  const struct heed__cl_attention *a = s->a;
  const double scale = a->params->scale;
  const buffer ds = s->buffers[SLOPES] ? SLOPES : DSCORES;
  HEED__TRY(weights_of(s, c, NULL));
  if (s->buffers[DSCORES]) {
    HEED__TRY(pack(s, c, ROWS, a->dout, s->plan->value_depth, DOUT_ROWS));
    HEED__TRY(pack(s, c, KEYS_BY_KEY, a->v, s->plan->value_depth, V_BY_KEY));
    HEED__TRY(score(s, c, DOUT_ROWS, V_BY_KEY, s->plan->value_depth, 1, 0, DSCORES));
    HEED__TRY(dropout(s, c, DSCORES));
    HEED__TRY(softmax_bwd(s, c));
  }
  if (dmask_sum) HEED__TRY(mask_bwd(s, c, dmask_sum));
  if (a->dq) {
    HEED__TRY(pack(s, c, KEYS_BY_DIM, a->k, 0, K_BY_DIM));
    HEED__TRY(output(s, c, ds, K_BY_DIM, scale, a->dq));
  }
  if (a->dk) {
    HEED__TRY(pack(s, c, ROWS_BY_DIM, a->q, 0, Q_BY_DIM));
    HEED__TRY(output_bwd(s, c, ds, Q_BY_DIM, DK_SUM, scale, a->dk));
  }
  if (!a->dv) return HEED_OK;
  HEED__TRY(dropout(s, c, SCORES));
  HEED__TRY(pack(s, c, ROWS_BY_DIM, a->dout, 0, DOUT_BY_DIM));
  return output_bwd(s, c, SCORES, DOUT_BY_DIM, DV_SUM, 1, a->dv);
}

// ---------------------------------------------------------------- the whole call

// Whether more than one chunk may add to an element of dmask.
static bool carries_dmask(const struct staged *s) {
  const struct heed__cl_attention *a = s->a;
  const bool one = s->plan->chunk_heads >= a->batch * a->heads && s->plan->chunk_rows >= a->queries;
  const int64_t *dims = a->dmask->dims;
  return !one && (dims[0] < a->batch || dims[1] < a->heads || dims[2] < a->queries);
}

static heed_status take_buffers(struct staged *s) {
  const heed_tensor *dmask = s->a->dmask;
  int64_t sizes[HEED__STAGED_BUFFERS];
  heed__cl_attention_staged_sizes(s->a, s->plan, s->plan->chunk_heads, s->plan->chunk_rows, sizes);
  if (dmask && dmask->dtype != HEED_F32) sizes[DMASK_SUM] = dmask->count;
  if (dmask && carries_dmask(s)) sizes[DMASK_LOSSES] = dmask->count;
  for (int i = 0; i < HEED__STAGED_BUFFERS; ++i)
    if (sizes[i]) HEED__TRY(heed__cl_scratch_take(s->ctx, (uint64_t)sizes[i] * sizeof(float), &s->buffers[i]));
  return HEED_OK;
}

static heed_status forward_chunks(const struct staged *s) {
  const struct heed__cl_attention *a = s->a;
  for (int64_t head = 0; head < a->batch * a->heads; head += s->plan->chunk_heads)
    for (int64_t row = 0; row < a->queries; row += s->plan->chunk_rows) {
      const chunk c = chunk_at(s, head, row);
      HEED__TRY(forward_chunk(s, &c));
    }
  return HEED_OK;
}

static heed_status fill_zero(heed_context *ctx, const heed_tensor *y) {
  const struct heed__fill_params zero = {0};
  return heed__cl_fill(ctx, &(struct heed__call){.op = HEED__OP_fill, .out = {(heed_tensor *)y}, .params = &zero});
}

// A tensor of the shape of dmask over F32 scratch.
static const heed_tensor *stand_in(const struct staged *s, buffer which, struct heed__buffer *carrier,
                                   struct heed_tensor *f32) {
  *carrier = (struct heed__buffer){.ctx = s->ctx, .handle = s->buffers[which]};
  *f32 = *s->a->dmask;
  f32->buffer = carrier;
  f32->dtype = HEED_F32;
  f32->offset = 0;
  return f32;
}

static heed_status backward_chunks(const struct staged *s) {
  const struct heed__cl_attention *a = s->a;
  struct heed__buffer carriers[2];
  struct heed_tensor f32, losses;
  const heed_tensor *sum = s->buffers[DMASK_SUM] ? stand_in(s, DMASK_SUM, &carriers[0], &f32) : a->dmask;
  if (sum) HEED__TRY(fill_zero(s->ctx, sum));
  if (s->buffers[DMASK_LOSSES]) HEED__TRY(fill_zero(s->ctx, stand_in(s, DMASK_LOSSES, &carriers[1], &losses)));
  for (int64_t head = 0; head < a->batch * a->heads; head += s->plan->chunk_heads)
    for (int64_t row = 0; row < a->queries; row += s->plan->chunk_rows) {
      const chunk c = chunk_at(s, head, row);
      HEED__TRY(backward_chunk(s, &c, sum));
    }
  if (sum == a->dmask) return HEED_OK;
  return heed__cl_copy(s->ctx,
                       &(struct heed__call){.op = HEED__OP_copy, .in = {sum}, .out = {(heed_tensor *)a->dmask}});
}

static heed_status run(heed_context *ctx, const struct heed__cl_attention *a,
                       const union heed__cl_attention_plan *chosen) {
  struct staged s = {.ctx = ctx, .a = a, .plan = &chosen->staged};
  char needed[32], limit[32];
  HEED__REQUIRE(s.plan->needed <= s.plan->available, HEED_ERROR_OUT_OF_MEMORY,
                "the staged path needs %s at once for %d rows of scores over %lld keys, and %s allows %s",
                heed__bytes_text((uint64_t)s.plan->needed, needed), s.plan->tile.rows, (long long)a->keys,
                ctx->device.name, heed__bytes_text((uint64_t)s.plan->available, limit));
  heed_status status = take_buffers(&s);
  if (status == HEED_OK) status = a->backward ? backward_chunks(&s) : forward_chunks(&s);
  for (int i = 0; i < HEED__STAGED_BUFFERS; ++i) heed__cl_scratch_give(ctx, s.buffers[i]);
  return status;
}

static bool supports(const struct heed__cl_traits *traits, const struct heed__cl_attention *a) {
  enum { MOST_ROUNDS = 1 << 15 };
  if (!traits->short_loops) return true;
  if (a->keys > MOST_ROUNDS || (a->backward && a->queries * a->group > MOST_ROUNDS)) return false;
  // An element of dmask sums over what it was broadcast to.
  int64_t terms = a->batch * a->heads;
  if (a->dmask && a->dmask->dims[2] == 1) terms *= a->queries;
  if (a->dmask && a->dmask->dims[3] == 1) terms *= a->keys;
  return !a->dmask || terms <= MOST_ROUNDS;
}

static bool plan(const heed_context *ctx, const struct heed__cl_attention *a,
                 const struct heed__cl_tuning_choice *choice, union heed__cl_attention_plan *out) {
  (void)choice;
  if (!supports(&heed__cl_state(ctx)->traits, a)) return false;
  heed__cl_attention_staged_plan(ctx, a, &out->staged);
  return true;
}

const struct heed__cl_attention_variant heed__cl_attention_staged = {
    .name = "staged", .tuning = {"staged", 0}, .path = HEED_PATH_STAGED, .plan = plan, .run = run};
