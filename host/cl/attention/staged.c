// The staged path of attention: scores, mask, softmax and output as kernels of their own over scores in memory. It takes every
// call, in the chunks of staged_plan.c. The kernels are in kernels_cl/attention/*.cl.
//
// The backward forms the weights anew from q and k, softmax and all. lse and out of the forward would save a pass over the
// scores, but lse has too few digits where a row holds nothing but huge masks (−FLT_MAX), and out the rounding of its storage.
#include "cl/attention/staged.h"
#include "cl/operators.h"

// Query heads [head0, head0 + heads) of all batches x heads, rows [row0, row0 + rows) of each: whole groups with all their rows, or
// some rows of one head.
struct chunk {
  int64_t head0, heads, row0, rows, rows_pad;
  int64_t slot0, slots;  // the key heads they read
};

static struct chunk chunk_at(const struct heed__cl_attention_staged *s, int64_t head0, int64_t row0) {
  const struct heed__cl_attention *a = s->a;
  struct chunk c = {.head0 = head0, .row0 = row0};
  c.heads = heed__min(s->chunk_heads, a->batch * a->heads - head0);
  c.rows = heed__min(s->chunk_rows, a->queries - row0);
  c.rows_pad = heed__round_up(c.rows, s->tile.rows);
  c.slot0 = head0 / a->group;
  c.slots = heed__max(c.heads / a->group, 1);
  return c;
}

// ---------------------------------------------------------------- launches

// One work-item a tile: `columns` x `rows` of them for each of `heads`.
static heed_status launch_tiles(const struct heed__cl_attention_staged *s, struct heed__cl_kernel *k, int64_t columns,
                                int64_t rows, int64_t heads) {
  const struct heed__cl_traits *traits = &heed__cl_state(s->ctx)->traits;
  const bool grouped = !traits->cpu_like && traits->max_work_group >= 64;
  const size_t local[3] = {grouped ? 16 : 1, grouped ? 4 : 1, 1};
  const size_t global[3] = {(size_t)heed__round_up(columns, (int64_t)local[0]),
                            (size_t)heed__round_up(rows, (int64_t)local[1]), (size_t)heads};
  return heed__cl_launch(k, 3, global, local);
}

// One work-item an element, in groups of one size: some drivers compile a kernel again for each size of group.
static heed_status launch_elements(const struct heed__cl_attention_staged *s, struct heed__cl_kernel *k, int64_t x,
                                   int64_t y, int64_t z) {
  const size_t most = heed__cl_state(s->ctx)->traits.max_work_group;
  const size_t local[3] = {most >= 32 ? 32 : 1, most >= 256 ? 8 : 1, 1};
  const size_t global[3] = {(size_t)heed__round_up(x, (int64_t)local[0]), (size_t)heed__round_up(y, (int64_t)local[1]),
                            (size_t)z};
  return heed__cl_launch(k, 3, global, local);
}

// `lanes` work-items a row of scores.
static heed_status launch_rows(const struct heed__cl_attention_staged *s, struct heed__cl_kernel *k, int64_t rows,
                               int64_t heads) {
  const size_t global[3] = {(size_t)s->lanes, (size_t)rows, (size_t)heads}, local[3] = {(size_t)s->lanes, 1, 1};
  return heed__cl_launch(k, 3, global, local);
}

static void begin_tiles(struct heed__cl_kernel *k, const struct heed__cl_attention_staged *s, const char *file,
                        const char *kernel, struct heed__cl_attention_tile tile) {
  heed__cl_begin(k, s->ctx, file, kernel);
  heed__cl_define_int(k, "VECTOR", tile.vector);
  heed__cl_define_int(k, "TILE_ROWS", tile.rows);
  heed__cl_define_int(k, "TILE_VECTORS", tile.vectors);
  heed__cl_define_int(k, "PANEL", s->panel);
}

static void begin_rows(struct heed__cl_kernel *k, const struct heed__cl_attention_staged *s, const char *file,
                       const char *kernel) {
  heed__cl_begin(k, s->ctx, file, kernel);
  heed__cl_define_int(k, "VECTOR", s->tile.vector);
  heed__cl_define_int(k, "GROUP", s->lanes);
}

// ---------------------------------------------------------------- stages

static heed_status find_bounds(const struct heed__cl_attention_staged *s, const struct chunk *c) {
  const struct heed__cl_attention *a = s->a;
  const struct heed__attention_params *params = a->params;
  const int64_t whole = a->queries + a->keys;  // a window this wide has no edge; it keeps sums in kernels small
  struct heed__cl_kernel k;
  heed__cl_begin(&k, s->ctx, "attention/bounds.cl", "attention_bounds");
  heed__cl_define_int(&k, "HAS_LENGTHS", a->kv_lengths != NULL);
  if (a->kv_lengths) heed__cl_define_dtype(&k, "LENGTH_DTYPE", a->kv_lengths->dtype);
  heed__cl_tensor(&k, a->kv_lengths);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_long(&k, a->heads);
  heed__cl_long(&k, a->queries);
  heed__cl_long(&k, a->keys);
  heed__cl_long(&k, a->mask ? a->mask->dims[3] : a->keys);
  heed__cl_long(&k, c->head0);
  heed__cl_long(&k, c->heads);
  heed__cl_long(&k, c->row0);
  heed__cl_long(&k, c->rows);
  heed__cl_long(&k, c->rows_pad);
  heed__cl_long(&k, params->offset);
  heed__cl_long(&k, params->causal);
  heed__cl_long(&k, heed__min(params->window_left, whole));
  heed__cl_long(&k, heed__min(params->window_right, whole));
  return launch_elements(s, &k, c->rows_pad, c->heads, 1);
}

// A [depth, columns] matrix of each head, brought into panels; see attention/pack.cl.
struct matrix {
  const heed_tensor *x;
  int64_t head0, heads;
  int64_t row0;  // where it starts along the tensor's length
  int64_t depth, depth_pad, depth_stride, columns, column_stride, panel;
};

static heed_status pack(const struct heed__cl_attention_staged *s, const struct matrix *m,
                        enum heed__cl_attention_staged_buffer to) {
  const int64_t panels = heed__ceil_div(m->columns, m->panel);
  struct heed_tensor x = *m->x;
  x.offset += m->row0 * x.strides[2];
  struct heed__cl_kernel k;
  heed__cl_begin(&k, s->ctx, "attention/pack.cl", "attention_pack");
  heed__cl_define_dtype(&k, "X_DTYPE", x.dtype);
  heed__cl_tensor(&k, &x);
  heed__cl_strides(&k, &x, 2);
  heed__cl_long(&k, m->depth_stride);
  heed__cl_long(&k, m->column_stride);
  heed__cl_buffer(&k, s->buffers[to]);
  heed__cl_long(&k, x.dims[1]);
  heed__cl_long(&k, m->head0);
  heed__cl_long(&k, m->depth);
  heed__cl_long(&k, m->depth_pad);
  heed__cl_long(&k, m->columns);
  heed__cl_long(&k, m->panel);
  heed__cl_long(&k, panels);
  return launch_elements(s, &k, m->panel, m->depth_pad, m->heads * panels);
}

// q or dout as rows of `width` floats, the left factor of a product over the width.
static heed_status pack_rows(const struct heed__cl_attention_staged *s, const struct chunk *c, const heed_tensor *x,
                             int64_t width, enum heed__cl_attention_staged_buffer to) {
  const struct matrix m = {.x = x,
                           .head0 = c->head0,
                           .heads = c->heads,
                           .row0 = c->row0,
                           .depth = c->rows,
                           .depth_pad = c->rows_pad,
                           .depth_stride = x->strides[2],
                           .columns = x->dims[3],
                           .column_stride = 1,
                           .panel = width};
  return pack(s, &m, to);
}

// q or dout as the right factor of a sum over rows.
static heed_status pack_rows_by_dim(const struct heed__cl_attention_staged *s, const struct chunk *c,
                                    const heed_tensor *x, enum heed__cl_attention_staged_buffer to) {
  const struct matrix m = {.x = x,
                           .head0 = c->head0,
                           .heads = c->heads,
                           .row0 = c->row0,
                           .depth = c->rows,
                           .depth_pad = c->rows,
                           .depth_stride = x->strides[2],
                           .columns = x->dims[3],
                           .column_stride = 1,
                           .panel = s->panel};
  return pack(s, &m, to);
}

// k or v as the right factor of a sum over keys.
static heed_status pack_keys_by_dim(const struct heed__cl_attention_staged *s, const struct chunk *c,
                                    const heed_tensor *x, enum heed__cl_attention_staged_buffer to) {
  const struct matrix m = {.x = x,
                           .head0 = c->slot0,
                           .heads = c->slots,
                           .depth = s->a->keys,
                           .depth_pad = s->a->keys,
                           .depth_stride = x->strides[2],
                           .columns = x->dims[3],
                           .column_stride = 1,
                           .panel = s->panel};
  return pack(s, &m, to);
}

// k or v as the right factor of a product over the width, `width` floats deep.
static heed_status pack_keys_by_key(const struct heed__cl_attention_staged *s, const struct chunk *c,
                                    const heed_tensor *x, int64_t width, enum heed__cl_attention_staged_buffer to) {
  const struct matrix m = {.x = x,
                           .head0 = c->slot0,
                           .heads = c->slots,
                           .depth = x->dims[3],
                           .depth_pad = width,
                           .depth_stride = 1,
                           .columns = s->a->keys,
                           .column_stride = x->strides[2],
                           .panel = s->panel};
  return pack(s, &m, to);
}

// to = softcap(scale rows · columns): the scores from q and k, dP from dout and v.
static heed_status score(const struct heed__cl_attention_staged *s, const struct chunk *c,
                         enum heed__cl_attention_staged_buffer rows, enum heed__cl_attention_staged_buffer columns,
                         int64_t depth, double scale, double softcap, enum heed__cl_attention_staged_buffer to) {
  const struct heed__cl_attention *a = s->a;
  struct heed__cl_kernel k;
  begin_tiles(&k, s, "attention/score.cl", "attention_score", s->tile);
  heed__cl_define_int(&k, "SOFTCAP", softcap > 0);
  heed__cl_define_int(&k, "DEPTH_BLOCK", HEED__STAGED_DEPTH_BLOCK);
  heed__cl_buffer(&k, s->buffers[rows]);
  heed__cl_buffer(&k, s->buffers[columns]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_buffer(&k, s->buffers[to]);
  heed__cl_long(&k, depth);
  heed__cl_long(&k, a->keys);
  heed__cl_long(&k, c->rows_pad);
  heed__cl_long(&k, s->pitch);
  heed__cl_long(&k, a->group);
  heed__cl_long(&k, c->head0 % a->group);
  heed__cl_float(&k, scale);
  heed__cl_float(&k, softcap);
  return launch_tiles(s, &k, heed__ceil_div(a->keys, s->tile.vector * s->tile.vectors), c->rows_pad / s->tile.rows,
                      c->heads);
}

static heed_status mask(const struct heed__cl_attention_staged *s, const struct chunk *c,
                        enum heed__cl_attention_staged_buffer from, enum heed__cl_attention_staged_buffer to) {
  const heed_tensor *m = s->a->mask;
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/mask.cl", "attention_mask");
  heed__cl_define_dtype(&k, "MASK_DTYPE", m->dtype);
  heed__cl_define_int(&k, "MASK_IS_BOOL", m->dtype == HEED_BOOL);
  heed__cl_tensor(&k, m);
  heed__cl_strides(&k, m, 4);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_buffer(&k, s->buffers[from]);
  heed__cl_buffer(&k, s->buffers[to]);
  heed__cl_long(&k, s->a->heads);
  heed__cl_long(&k, c->head0);
  heed__cl_long(&k, c->row0);
  heed__cl_long(&k, s->pitch);
  return launch_rows(s, &k, c->rows_pad, c->heads);
}

static heed_status softmax(const struct heed__cl_attention_staged *s, const struct chunk *c,
                           enum heed__cl_attention_staged_buffer from, const heed_tensor *lse) {
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/softmax.cl", "attention_softmax");
  heed__cl_buffer(&k, s->buffers[from]);
  heed__cl_buffer(&k, s->buffers[SCORES]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_tensor(&k, lse);
  heed__cl_long(&k, lse != NULL);
  heed__cl_long(&k, s->a->queries);
  heed__cl_long(&k, c->head0);
  heed__cl_long(&k, c->row0);
  heed__cl_long(&k, c->rows);
  heed__cl_long(&k, s->pitch);
  return launch_rows(s, &k, c->rows_pad, c->heads);
}

static heed_status dropout(const struct heed__cl_attention_staged *s, const struct chunk *c,
                           enum heed__cl_attention_staged_buffer on) {
  const struct heed__attention_params *params = s->a->params;
  if (!params->has_dropout) return HEED_OK;
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/softmax.cl", "attention_dropout");
  heed__cl_buffer(&k, s->buffers[on]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_long(&k, s->a->heads);
  heed__cl_long(&k, c->head0);
  heed__cl_long(&k, c->row0);
  heed__cl_long(&k, s->pitch);
  heed__cl_uint(&k, (uint32_t)params->seed);
  heed__cl_uint(&k, (uint32_t)(params->seed >> 32));
  heed__cl_uint(&k, params->dropout_threshold);
  heed__cl_float(&k, params->dropout_scale);
  return launch_rows(s, &k, c->rows_pad, c->heads);
}

static heed_status store_weights(const struct heed__cl_attention_staged *s, const struct chunk *c) {
  const heed_tensor *weights = s->a->weights;
  if (!weights) return HEED_OK;
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/softmax.cl", "attention_weights");
  heed__cl_define_dtype(&k, "X_DTYPE", weights->dtype);
  heed__cl_buffer(&k, s->buffers[SCORES]);
  heed__cl_tensor(&k, weights);
  heed__cl_long(&k, s->a->queries);
  heed__cl_long(&k, s->a->keys);
  heed__cl_long(&k, c->head0);
  heed__cl_long(&k, c->row0);
  heed__cl_long(&k, c->rows_pad);
  heed__cl_long(&k, s->pitch);
  return launch_rows(s, &k, c->rows, c->heads);
}

// out = scale weights · keys: the output from p and v, dq from ds and k.
static heed_status output(const struct heed__cl_attention_staged *s, const struct chunk *c,
                          enum heed__cl_attention_staged_buffer weights, enum heed__cl_attention_staged_buffer keys,
                          double scale, const heed_tensor *out) {
  const struct heed__cl_attention *a = s->a;
  struct heed__cl_kernel k;
  begin_tiles(&k, s, "attention/output.cl", "attention_output", s->tile);
  heed__cl_define_dtype(&k, "X_DTYPE", out->dtype);
  heed__cl_buffer(&k, s->buffers[weights]);
  heed__cl_buffer(&k, s->buffers[keys]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_tensor(&k, out);
  heed__cl_strides(&k, out, 3);
  heed__cl_long(&k, a->heads);
  heed__cl_long(&k, a->keys);
  heed__cl_long(&k, out->dims[3]);
  heed__cl_long(&k, c->head0);
  heed__cl_long(&k, c->row0);
  heed__cl_long(&k, c->rows);
  heed__cl_long(&k, c->rows_pad);
  heed__cl_long(&k, s->pitch);
  heed__cl_long(&k, a->group);
  heed__cl_long(&k, c->head0 % a->group);
  heed__cl_float(&k, scale);
  return launch_tiles(s, &k, heed__ceil_div(out->dims[3], s->tile.vector * s->tile.vectors), c->rows_pad / s->tile.rows,
                      c->heads);
}

// P into SCORES. CAPPED, where there is one, keeps the scores as they were before the mask.
static heed_status weights_of(const struct heed__cl_attention_staged *s, const struct chunk *c,
                              const heed_tensor *lse) {
  const struct heed__cl_attention *a = s->a;
  const enum heed__cl_attention_staged_buffer scores = s->buffers[CAPPED] ? CAPPED : SCORES;
  HEED__TRY(find_bounds(s, c));
  HEED__TRY(pack_rows(s, c, a->q, s->depth, Q_ROWS));
  HEED__TRY(pack_keys_by_key(s, c, a->k, s->depth, K_BY_KEY));
  HEED__TRY(score(s, c, Q_ROWS, K_BY_KEY, s->depth, a->params->scale, a->params->softcap, scores));
  if (a->mask) HEED__TRY(mask(s, c, scores, SCORES));
  return softmax(s, c, a->mask ? SCORES : scores, lse);
}

static heed_status forward_chunk(const struct heed__cl_attention_staged *s, const struct chunk *c) {
  const struct heed__cl_attention *a = s->a;
  HEED__TRY(weights_of(s, c, a->lse));
  HEED__TRY(dropout(s, c, SCORES));
  HEED__TRY(store_weights(s, c));
  HEED__TRY(pack_keys_by_dim(s, c, a->v, V_BY_DIM));
  return output(s, c, SCORES, V_BY_DIM, 1, a->out);
}

// ---------------------------------------------------------------- stages of the backward

// dP in DSCORES becomes dS; CAPPED becomes the gradient before the softcap.
static heed_status softmax_bwd(const struct heed__cl_attention_staged *s, const struct chunk *c) {
  const bool softcap = s->buffers[CAPPED] != NULL;
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/softmax.cl", "attention_softmax_bwd");
  heed__cl_define_int(&k, "SOFTCAP", softcap);
  heed__cl_buffer(&k, s->buffers[SCORES]);
  heed__cl_buffer(&k, s->buffers[DSCORES]);
  heed__cl_buffer(&k, s->buffers[softcap ? CAPPED : DSCORES]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_long(&k, s->pitch);
  heed__cl_float(&k, s->a->params->softcap);
  return launch_rows(s, &k, c->rows_pad, c->heads);
}

// dx = scale weightsᵀ · rows: dv from p and dout, dk from ds and q.
static heed_status output_bwd(const struct heed__cl_attention_staged *s, const struct chunk *c,
                              enum heed__cl_attention_staged_buffer weights, enum heed__cl_attention_staged_buffer rows,
                              enum heed__cl_attention_staged_buffer sum, double scale, const heed_tensor *dx) {
  const struct heed__cl_attention *a = s->a;
  const int64_t last_head = (c->slot0 + c->slots) * a->group - 1;
  struct heed__cl_kernel k;
  begin_tiles(&k, s, "attention/output_bwd.cl", "attention_output_bwd", s->tile_bwd);
  heed__cl_define_dtype(&k, "X_DTYPE", dx->dtype);
  heed__cl_buffer(&k, s->buffers[weights]);
  heed__cl_buffer(&k, s->buffers[rows]);
  heed__cl_buffer(&k, s->buffers[BOUNDS]);
  heed__cl_buffer(&k, s->buffers[s->buffers[sum] ? sum : BOUNDS]);
  heed__cl_tensor(&k, dx);
  heed__cl_strides(&k, dx, 3);
  heed__cl_long(&k, a->kv_heads);
  heed__cl_long(&k, a->keys);
  heed__cl_long(&k, dx->dims[3]);
  heed__cl_long(&k, c->slot0);
  heed__cl_long(&k, c->heads / c->slots);
  heed__cl_long(&k, c->rows);
  heed__cl_long(&k, c->rows_pad);
  heed__cl_long(&k, s->pitch);
  heed__cl_long(&k, c->head0 == c->slot0 * a->group && c->row0 == 0);
  heed__cl_long(&k, c->head0 + c->heads > last_head && c->row0 + c->rows == a->queries);
  heed__cl_float(&k, scale);
  return launch_tiles(s, &k, heed__ceil_div(dx->dims[3], s->tile_bwd.vector * s->tile_bwd.vectors),
                      heed__ceil_div(a->keys, s->tile_bwd.rows), c->slots);
}

// Adds this chunk's share to the sums of dmask, which is F32 or stands in DMASK_SUM meanwhile.
static heed_status mask_bwd(const struct heed__cl_attention_staged *s, const struct chunk *c, const heed_tensor *sum) {
  const int64_t *dims = sum->dims;
  struct heed__cl_kernel k;
  begin_rows(&k, s, "attention/mask.cl", "attention_mask_bwd");
  heed__cl_buffer(&k, s->buffers[DSCORES]);
  heed__cl_tensor(&k, sum);
  for (int axis = 0; axis < 4; ++axis) heed__cl_long(&k, dims[axis]);
  heed__cl_long(&k, s->a->heads);
  heed__cl_long(&k, s->a->keys);
  heed__cl_long(&k, c->head0);
  heed__cl_long(&k, c->heads);
  heed__cl_long(&k, c->row0);
  heed__cl_long(&k, c->rows);
  heed__cl_long(&k, c->rows_pad);
  heed__cl_long(&k, s->pitch);
  return launch_elements(s, &k, dims[3], dims[2] == 1 ? 1 : c->rows, dims[0] * dims[1]);
}

static heed_status backward_chunk(const struct heed__cl_attention_staged *s, const struct chunk *c,
                                  const heed_tensor *dmask_sum) {
  const struct heed__cl_attention *a = s->a;
  const double scale = a->params->scale;
  const enum heed__cl_attention_staged_buffer ds = s->buffers[CAPPED] ? CAPPED : DSCORES;
  HEED__TRY(weights_of(s, c, NULL));
  if (s->buffers[DSCORES]) {
    HEED__TRY(pack_rows(s, c, a->dout, s->value_depth, DOUT_ROWS));
    HEED__TRY(pack_keys_by_key(s, c, a->v, s->value_depth, V_BY_KEY));
    HEED__TRY(score(s, c, DOUT_ROWS, V_BY_KEY, s->value_depth, 1, 0, DSCORES));
    HEED__TRY(dropout(s, c, DSCORES));
    HEED__TRY(softmax_bwd(s, c));
  }
  if (dmask_sum) HEED__TRY(mask_bwd(s, c, dmask_sum));
  if (a->dq) {
    HEED__TRY(pack_keys_by_dim(s, c, a->k, K_BY_DIM));
    HEED__TRY(output(s, c, ds, K_BY_DIM, scale, a->dq));
  }
  if (a->dk) {
    HEED__TRY(pack_rows_by_dim(s, c, a->q, Q_BY_DIM));
    HEED__TRY(output_bwd(s, c, ds, Q_BY_DIM, DK_SUM, scale, a->dk));
  }
  if (!a->dv) return HEED_OK;
  HEED__TRY(dropout(s, c, SCORES));
  HEED__TRY(pack_rows_by_dim(s, c, a->dout, DOUT_BY_DIM));
  return output_bwd(s, c, SCORES, DOUT_BY_DIM, DV_SUM, 1, a->dv);
}

// ---------------------------------------------------------------- the whole call

static heed_status take_buffers(struct heed__cl_attention_staged *s) {
  int64_t sizes[HEED__STAGED_BUFFERS];
  heed__cl_attention_staged_sizes(s, s->chunk_heads, s->chunk_rows, sizes);
  if (s->a->dmask && s->a->dmask->dtype != HEED_F32) sizes[DMASK_SUM] = s->a->dmask->count;
  for (int i = 0; i < HEED__STAGED_BUFFERS; ++i)
    if (sizes[i]) HEED__TRY(heed__cl_scratch_take(s->ctx, (size_t)sizes[i] * sizeof(float), &s->buffers[i]));
  return HEED_OK;
}

static heed_status forward_chunks(const struct heed__cl_attention_staged *s) {
  const struct heed__cl_attention *a = s->a;
  for (int64_t head = 0; head < a->batch * a->heads; head += s->chunk_heads)
    for (int64_t row = 0; row < a->queries; row += s->chunk_rows) {
      const struct chunk c = chunk_at(s, head, row);
      HEED__TRY(forward_chunk(s, &c));
    }
  return HEED_OK;
}

static heed_status fill_zero(heed_context *ctx, const heed_tensor *y) {
  const struct heed__fill_params zero = {0};
  return heed__cl_fill(ctx, &(struct heed__call){.op = HEED__OP_fill, .out = {(heed_tensor *)y}, .params = &zero});
}

static heed_status backward_chunks(const struct heed__cl_attention_staged *s) {
  const struct heed__cl_attention *a = s->a;
  const heed_tensor *dmask_sum = a->dmask;
  struct heed__buffer carrier = {.ctx = s->ctx, .handle = s->buffers[DMASK_SUM]};
  struct heed_tensor f32;
  if (s->buffers[DMASK_SUM]) {
    f32 = *a->dmask;
    f32.buffer = &carrier;
    f32.dtype = HEED_F32;
    f32.offset = 0;
    dmask_sum = &f32;
  }
  if (dmask_sum) HEED__TRY(fill_zero(s->ctx, dmask_sum));
  for (int64_t head = 0; head < a->batch * a->heads; head += s->chunk_heads)
    for (int64_t row = 0; row < a->queries; row += s->chunk_rows) {
      const struct chunk c = chunk_at(s, head, row);
      HEED__TRY(backward_chunk(s, &c, dmask_sum));
    }
  if (dmask_sum == a->dmask) return HEED_OK;
  return heed__cl_copy(s->ctx,
                       &(struct heed__call){.op = HEED__OP_copy, .in = {dmask_sum}, .out = {(heed_tensor *)a->dmask}});
}

static heed_status run(heed_context *ctx, const struct heed__cl_attention *a) {
  struct heed__cl_attention_staged s;
  HEED__TRY(heed__cl_attention_staged_plan(ctx, a, &s));
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

const struct heed__cl_attention_variant heed__cl_attention_staged = {
    .name = "staged", .tuning = {"staged", 0}, .path = HEED_PATH_STAGED, .supports = supports, .fwd = run, .bwd = run};
