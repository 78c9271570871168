// The fused path of attention on CPUs: launches of kernels_cl/attention/fused_cpu_*.cl. Scores never go to memory: beyond inputs and
// results a forward needs one F32 copy of k and v, a backward one of dq (or a few, where keys are split).
// Tiles and splits are fused_cpu_plan.c's.
#include "cl/attention/fused_cpu.h"

struct fused {
  const struct heed__cl_attention_fused_cpu *plan;
  const struct heed__cl_attention *a;
  int64_t slot0, slots;  // of this launch
  cl_mem buffers[HEED__FUSED_CPU_BUFFERS];
};

// ---------------------------------------------------------------- arguments

static void begin(struct heed__cl_kernel *k, const struct fused *f, const char *file, const char *kernel) {
  const struct heed__cl_attention_fused_cpu *p = f->plan;
  const struct heed__cl_attention *a = f->a;
  heed__cl_begin(k, p->ctx, file, kernel);
  heed__cl_define_int(k, "VECTOR", p->vector);
  heed__cl_define_int(k, "TILE_ROWS", p->tile_rows);
  heed__cl_define_int(k, "HEAD_D", a->dim);
  heed__cl_define_int(k, "HEAD_DV", a->value_dim);
  heed__cl_define_dtype(k, "X_DTYPE", a->q->dtype);
  if (a->mask) {
    heed__cl_define_int(k, "MASK", a->mask->dtype == HEED_BOOL ? 1 : 2);
    heed__cl_define_dtype(k, "MASK_DTYPE", a->mask->dtype);
  }
  // I32 is what the kernels take without it: such lengths, or none, are one program.
  if (a->kv_lengths && a->kv_lengths->dtype != HEED_I32) heed__cl_define_dtype(k, "LENGTH_DTYPE", a->kv_lengths->dtype);
  heed__cl_define_int(k, "SOFTCAP", a->params->softcap > 0);
  heed__cl_define_int(k, "DROPOUT", a->params->has_dropout);
  if (p->decode) {
    heed__cl_define_int(k, "ROW_TILE", p->row_tile);
    heed__cl_define_int(k, "ROWS", p->rows);
  } else {
    heed__cl_define_int(k, "KEY_BLOCK", p->key_block);
    heed__cl_define_int(k, "QUERY_BLOCK", p->query_block);
  }
}

static void tensor(struct heed__cl_kernel *k, const heed_tensor *t) {
  heed__cl_tensor(k, t);
  heed__cl_strides(k, t, 3);
}

static void lse(struct heed__cl_kernel *k, const heed_tensor *t) {
  heed__cl_tensor(k, t);
  heed__cl_long(k, t != NULL);
}

// PROBLEM_ARGS of the kernels.
static void problem(struct heed__cl_kernel *k, const struct fused *f) {
  const struct heed__cl_attention *a = f->a;
  const struct heed__attention_params *params = a->params;
  const int64_t unbounded = a->queries + a->keys;
  const int64_t left = params->window_left < 0 ? unbounded : heed__min(params->window_left, unbounded);
  const int64_t window_right = params->window_right < 0 ? unbounded : heed__min(params->window_right, unbounded);
  heed__cl_long(k, f->slot0);
  heed__cl_long(k, a->heads);
  heed__cl_long(k, a->kv_heads);
  heed__cl_long(k, a->queries);
  heed__cl_long(k, a->keys);
  heed__cl_float(k, params->scale);
  heed__cl_float(k, params->softcap);
  heed__cl_tensor(k, a->kv_lengths);
  heed__cl_long(k, a->kv_lengths != NULL);
  heed__cl_long(k, params->offset);
  heed__cl_long(k, left);
  heed__cl_long(k, params->causal == HEED_CAUSAL_TOP_LEFT ? 0 : window_right);
  heed__cl_long(k, params->causal == HEED_CAUSAL_BOTTOM_RIGHT ? a->keys - a->queries : unbounded);
  heed__cl_tensor(k, a->mask);
  heed__cl_strides(k, a->mask, 4);
  heed__cl_long(k, a->mask ? a->mask->dims[3] : a->keys);
  heed__cl_uint(k, (uint32_t)params->seed);
  heed__cl_uint(k, (uint32_t)(params->seed >> 32));
  heed__cl_uint(k, params->dropout_threshold);
  heed__cl_float(k, params->dropout_scale);
}

static heed_status launch(struct heed__cl_kernel *k, int64_t items) {
  return heed__cl_launch(k, 1, (const size_t[]){(size_t)items}, (const size_t[]){1});
}

// Work-items where each takes a block of query rows of one head.
static int64_t query_items(const struct fused *f) {
  return f->slots * f->a->group * heed__ceil_div(f->a->queries, f->plan->query_block);
}

// ---------------------------------------------------------------- forward

static const char forward_file[] = "attention/fused_cpu_fwd.cl";

static heed_status pack(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, forward_file, "attention_fused_pack");
  tensor(&k, f->a->k);
  tensor(&k, f->a->v);
  heed__cl_buffer(&k, f->buffers[FUSED_K]);
  heed__cl_buffer(&k, f->buffers[FUSED_V]);
  heed__cl_buffer(&k, f->buffers[FUSED_V_BAD]);
  problem(&k, f);
  return launch(&k, f->slots * heed__ceil_div(f->a->keys, f->plan->key_block));
}

static heed_status forward(const struct fused *f) {
  HEED__TRY(pack(f));
  struct heed__cl_kernel k;
  begin(&k, f, forward_file, "attention_fused_fwd");
  tensor(&k, f->a->q);
  heed__cl_buffer(&k, f->buffers[FUSED_K]);
  heed__cl_buffer(&k, f->buffers[FUSED_V]);
  heed__cl_buffer(&k, f->buffers[FUSED_V_BAD]);
  tensor(&k, f->a->out);
  lse(&k, f->a->lse);
  problem(&k, f);
  return launch(&k, query_items(f));
}

static const char decode_file[] = "attention/fused_cpu_decode.cl";

static heed_status merge(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, decode_file, "attention_fused_decode_merge");
  heed__cl_buffer(&k, f->buffers[FUSED_OUT_PARTS]);
  heed__cl_buffer(&k, f->buffers[FUSED_ROW_PARTS]);
  tensor(&k, f->a->out);
  lse(&k, f->a->lse);
  heed__cl_long(&k, f->plan->splits);
  problem(&k, f);
  return launch(&k, f->slots * f->a->group * f->a->queries);
}

static heed_status decode(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, decode_file, "attention_fused_decode");
  tensor(&k, f->a->q);
  tensor(&k, f->a->k);
  tensor(&k, f->a->v);
  heed__cl_buffer(&k, f->buffers[FUSED_OUT_PARTS]);
  heed__cl_buffer(&k, f->buffers[FUSED_ROW_PARTS]);
  heed__cl_long(&k, f->plan->splits);
  heed__cl_long(&k, f->plan->chunk_keys);
  problem(&k, f);
  HEED__TRY(launch(&k, f->slots * f->plan->splits));
  return merge(f);
}

// ---------------------------------------------------------------- backward

static const char backward_file[] = "attention/fused_cpu_bwd.cl";

static void row_buffers(struct heed__cl_kernel *k, const struct fused *f) {
  heed__cl_buffer(k, f->buffers[FUSED_Q]);
  heed__cl_buffer(k, f->buffers[FUSED_DOUT]);
  heed__cl_buffer(k, f->buffers[FUSED_STATS]);
  heed__cl_buffer(k, f->buffers[FUSED_ROWS_BAD]);
}

static heed_status prepare_rows(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, backward_file, "attention_fused_bwd_rows");
  tensor(&k, f->a->q);
  tensor(&k, f->a->k);
  tensor(&k, f->a->out);
  tensor(&k, f->a->dout);
  heed__cl_tensor(&k, f->a->lse);
  row_buffers(&k, f);
  problem(&k, f);
  return launch(&k, query_items(f));
}

static heed_status walk(const struct fused *f) {
  const struct heed__cl_attention *a = f->a;
  struct heed__cl_kernel k;
  begin(&k, f, backward_file, "attention_fused_bwd_walk");
  tensor(&k, a->k);
  tensor(&k, a->v);
  row_buffers(&k, f);
  heed__cl_buffer(&k, f->buffers[FUSED_DQ_PARTS]);
  tensor(&k, a->dk);
  tensor(&k, a->dv);
  heed__cl_long(&k, f->slots);
  heed__cl_long(&k, f->plan->splits);
  heed__cl_long(&k, (a->dq ? 1 : 0) | (a->dk ? 2 : 0) | (a->dv ? 4 : 0));
  problem(&k, f);
  return launch(&k, f->slots * f->plan->splits);
}

static heed_status backward(const struct fused *f) {
  if (!f->a->dq && !f->a->dk && !f->a->dv) return HEED_OK;
  HEED__TRY(prepare_rows(f));
  HEED__TRY(walk(f));
  if (!f->a->dq) return HEED_OK;
  struct heed__cl_kernel k;
  begin(&k, f, backward_file, "attention_fused_bwd_dq");
  heed__cl_buffer(&k, f->buffers[FUSED_DQ_PARTS]);
  tensor(&k, f->a->dq);
  heed__cl_long(&k, f->slots);
  heed__cl_long(&k, f->plan->splits);
  problem(&k, f);
  return launch(&k, query_items(f));
}

// ---------------------------------------------------------------- the whole call

static heed_status take_buffers(struct fused *f) {
  double bytes[HEED__FUSED_CPU_BUFFERS];
  heed__cl_attention_fused_cpu_sizes(f->plan, f->plan->slots, bytes);
  for (int i = 0; i < HEED__FUSED_CPU_BUFFERS; ++i)
    if (bytes[i] > 0) HEED__TRY(heed__cl_scratch_take(f->plan->ctx, (size_t)bytes[i], &f->buffers[i]));
  return HEED_OK;
}

static heed_status launch_all(struct fused *f) {
  const struct heed__cl_attention *a = f->a;
  const int64_t slots = a->batch * a->kv_heads;
  for (f->slot0 = 0; f->slot0 < slots; f->slot0 += f->plan->slots) {
    f->slots = heed__min(f->plan->slots, slots - f->slot0);
    HEED__TRY(a->backward ? backward(f) : f->plan->decode ? decode(f) : forward(f));
  }
  return HEED_OK;
}

heed_status heed__cl_attention_fused_cpu_run(const struct heed__cl_attention_fused_cpu *plan) {
  struct fused f = {.plan = plan, .a = plan->a};
  heed_status status = take_buffers(&f);
  if (status == HEED_OK) status = launch_all(&f);
  for (int i = 0; i < HEED__FUSED_CPU_BUFFERS; ++i) heed__cl_scratch_give(plan->ctx, f.buffers[i]);
  return status;
}

static heed_status run(heed_context *ctx, const struct heed__cl_attention *a) {
  struct heed__cl_attention_fused_cpu plan;
  heed__cl_attention_fused_cpu_plan(ctx, a, &plan);
  return heed__cl_attention_fused_cpu_run(&plan);
}

const struct heed__cl_attention_variant heed__cl_attention_fused_cpu = {
    .name = "fused, CPU",
    .tuning = {"fused-cpu", 1 << HEED__TUNE_tile_rows | 1 << HEED__TUNE_key_block | 1 << HEED__TUNE_query_block},
    .path = HEED_PATH_FUSED,
    .supports = heed__cl_attention_fused_cpu_supports,
    .fwd = run,
    .bwd = run,
    .neighbours = heed__cl_attention_fused_cpu_neighbours};
