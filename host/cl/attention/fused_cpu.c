// The fused path of attention on CPUs: launches of kernels_cl/attention/fused_cpu_*.cl. Scores never go to memory: beyond inputs and
// results a forward needs one F32 copy of k and v, a backward one of dq (or a few, where keys are split).
// Tiles and splits are fused_cpu_plan.c's.
#include "cl/attention/call.h"
#include "cl/attention/fused_cpu.h"

struct fused {
  heed_context *ctx;
  const struct heed__cl_attention *a;
  const struct heed__cl_attention_fused_cpu *plan;
  struct heed__cl_attention_numbers numbers;  // of the call and of this launch
  cl_mem buffers[HEED__FUSED_CPU_BUFFERS];
};

// In the shapes below, S is `slots`, the pairs of batch and key head of a launch; Lq' is Lq rounded up to whole tiles; D' and Dv' are D and
// Dv rounded up to whole vectors; blocks are those of keys (forward) or of query rows (backward).

// ---------------------------------------------------------------- arguments

static void begin(struct heed__cl_kernel *k, const struct fused *f, const char *file, const char *kernel) {
  const struct heed__cl_attention_fused_cpu *p = f->plan;
  const struct heed__cl_attention *a = f->a;
  heed__cl_begin(k, f->ctx, file, kernel);
  heed__cl_define_int(k, "VECTOR", p->vector);
  heed__cl_define_int(k, "TILE_ROWS", p->tile_rows);
  heed__cl_define_int(k, "HEAD_D", a->dim);
  heed__cl_define_int(k, "HEAD_DV", a->value_dim);
  heed__cl_define_dtype(k, "X_DTYPE", a->q->dtype);
  if (a->mask) {
    heed__cl_define_int(k, "MASK", a->mask->dtype == HEED_BOOL ? 1 : 2);
    heed__cl_define_dtype(k, "MASK_DTYPE", a->mask->dtype);
  }
  heed__cl_attention_define_lengths(k, a);
  heed__cl_define_int(k, "SOFTCAP", a->params->softcap > 0);
  heed__cl_define_int(k, "DROPOUT", a->params->has_dropout);
  // An out of 16 bits has been rounded, and dropout has scaled it: δ from it would not meet a row of dP that it should cancel.
  if (a->backward && (a->q->dtype != HEED_F32 || a->params->has_dropout)) heed__cl_define_int(k, "EXACT_DELTA", 1);
  if (p->decode) {
    heed__cl_define_int(k, "ROW_TILE", p->row_tile);
    heed__cl_define_int(k, "ROWS", p->rows);
  } else {
    heed__cl_define_int(k, "KEY_BLOCK", p->key_block);
    heed__cl_define_int(k, "QUERY_BLOCK", p->query_block);
  }
  heed__cl_attention_pass_call(k, a, &f->numbers);
}

static heed_status launch(struct heed__cl_kernel *k, int64_t items) {
  return heed__cl_launch(k, 1, (const size_t[]){(size_t)items}, (const size_t[]){1});
}

// Work-items where each takes a block of query rows of one head.
static int64_t query_items(const struct fused *f) {
  return f->numbers.slots * f->a->group * heed__ceil_div(f->a->queries, f->plan->query_block);
}

// ---------------------------------------------------------------- forward

static const char forward_file[] = "attention/fused_cpu_fwd.cl";

// k: [B, Hkv, Lk, D]; v: [B, Hkv, Lk, Dv]; FUSED_K: [S, blocks, key_block, D'] in panels; FUSED_V: [S, blocks, key_block, Dv'] in panels;
// FUSED_V_BAD: [S, blocks]
static heed_status pack(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, forward_file, "attention_fused_pack");
  heed__cl_memory(&k, f->a->k);
  heed__cl_memory(&k, f->a->v);
  heed__cl_buffer(&k, f->buffers[FUSED_K]);
  heed__cl_buffer(&k, f->buffers[FUSED_V]);
  heed__cl_buffer(&k, f->buffers[FUSED_V_BAD]);
  return launch(&k, f->numbers.slots * heed__ceil_div(f->a->keys, f->plan->key_block));
}

// q: [B, Hq, Lq, D]; FUSED_K, FUSED_V, FUSED_V_BAD: as pack() leaves them; out: [B, Hq, Lq, Dv]; lse: [B, Hq, Lq]
static heed_status forward(const struct fused *f) {
  HEED__TRY(pack(f));
  struct heed__cl_kernel k;
  begin(&k, f, forward_file, "attention_fused_fwd");
  heed__cl_memory(&k, f->a->q);
  heed__cl_buffer(&k, f->buffers[FUSED_K]);
  heed__cl_buffer(&k, f->buffers[FUSED_V]);
  heed__cl_buffer(&k, f->buffers[FUSED_V_BAD]);
  heed__cl_memory(&k, f->a->out);
  heed__cl_memory(&k, f->a->lse);
  return launch(&k, query_items(f));
}

static const char decode_file[] = "attention/fused_cpu_decode.cl";

// FUSED_OUT_PARTS: [S, splits, rows, Dv']; FUSED_ROW_PARTS: [S, splits, rows, 2]; out: [B, Hq, Lq, Dv]; lse: [B, Hq, Lq]
static heed_status merge(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, decode_file, "attention_fused_decode_merge");
  heed__cl_buffer(&k, f->buffers[FUSED_OUT_PARTS]);
  heed__cl_buffer(&k, f->buffers[FUSED_ROW_PARTS]);
  heed__cl_memory(&k, f->a->out);
  heed__cl_memory(&k, f->a->lse);
  return launch(&k, f->numbers.slots * f->a->group * f->a->queries);
}

// q: [B, Hq, Lq, D]; k: [B, Hkv, Lk, D]; v: [B, Hkv, Lk, Dv]; the parts: as merge() takes them
static heed_status decode(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, decode_file, "attention_fused_decode");
  heed__cl_memory(&k, f->a->q);
  heed__cl_memory(&k, f->a->k);
  heed__cl_memory(&k, f->a->v);
  heed__cl_buffer(&k, f->buffers[FUSED_OUT_PARTS]);
  heed__cl_buffer(&k, f->buffers[FUSED_ROW_PARTS]);
  HEED__TRY(launch(&k, f->numbers.slots * f->plan->splits));
  return merge(f);
}

// ---------------------------------------------------------------- backward

static const char backward_file[] = "attention/fused_cpu_bwd.cl";

// FUSED_Q: [S, group, Lq', D']; FUSED_DOUT: [S, group, Lq', Dv']; FUSED_STATS: [S, group, Lq', 4]; FUSED_ROWS_BAD: [S, group, blocks]
static void pass_rows(struct heed__cl_kernel *k, const struct fused *f) {
  heed__cl_buffer(k, f->buffers[FUSED_Q]);
  heed__cl_buffer(k, f->buffers[FUSED_DOUT]);
  heed__cl_buffer(k, f->buffers[FUSED_STATS]);
  heed__cl_buffer(k, f->buffers[FUSED_ROWS_BAD]);
}

// q: [B, Hq, Lq, D]; k: [B, Hkv, Lk, D]; v: [B, Hkv, Lk, Dv]; out, dout: [B, Hq, Lq, Dv]; lse: [B, Hq, Lq]; the rest: see pass_rows()
static heed_status prepare_rows(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, backward_file, "attention_fused_bwd_rows");
  heed__cl_memory(&k, f->a->q);
  heed__cl_memory(&k, f->a->k);
  heed__cl_memory(&k, f->a->v);
  heed__cl_memory(&k, f->a->out);
  heed__cl_memory(&k, f->a->dout);
  heed__cl_memory(&k, f->a->lse);
  pass_rows(&k, f);
  return launch(&k, query_items(f));
}

// k, dk: [B, Hkv, Lk, D]; v, dv: [B, Hkv, Lk, Dv]; FUSED_DQ_PARTS: [splits, S, group, Lq', D']; the rest: see pass_rows()
static heed_status walk(const struct fused *f) {
  const struct heed__cl_attention *a = f->a;
  struct heed__cl_kernel k;
  begin(&k, f, backward_file, "attention_fused_bwd_walk");
  heed__cl_memory(&k, a->k);
  heed__cl_memory(&k, a->v);
  pass_rows(&k, f);
  heed__cl_buffer(&k, f->buffers[FUSED_DQ_PARTS]);
  heed__cl_memory(&k, a->dk);
  heed__cl_memory(&k, a->dv);
  return launch(&k, f->numbers.slots * f->plan->splits);
}

// FUSED_DQ_PARTS: [splits, S, group, Lq', D']; dq: [B, Hq, Lq, D]
static heed_status add_dq(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, backward_file, "attention_fused_bwd_dq");
  heed__cl_buffer(&k, f->buffers[FUSED_DQ_PARTS]);
  heed__cl_memory(&k, f->a->dq);
  return launch(&k, query_items(f));
}

static heed_status backward(const struct fused *f) {
  if (!f->a->dq && !f->a->dk && !f->a->dv) return HEED_OK;
  HEED__TRY(prepare_rows(f));
  HEED__TRY(walk(f));
  return f->a->dq ? add_dq(f) : HEED_OK;
}

// ---------------------------------------------------------------- the whole call

static heed_status take_buffers(struct fused *f) {
  double bytes[HEED__FUSED_CPU_BUFFERS];
  heed__cl_attention_fused_cpu_sizes(f->a, f->plan, f->plan->slots, bytes);
  for (int i = 0; i < HEED__FUSED_CPU_BUFFERS; ++i)
    if (bytes[i] > 0) HEED__TRY(heed__cl_scratch_take(f->ctx, (uint64_t)bytes[i], &f->buffers[i]));
  return HEED_OK;
}

static heed_status launch_all(struct fused *f) {
  const struct heed__cl_attention *a = f->a;
  const int64_t slots = a->batch * a->kv_heads;
  for (int64_t slot0 = 0; slot0 < slots; slot0 += f->plan->slots) {
    f->numbers.slot0 = slot0;
    f->numbers.slots = heed__min(f->plan->slots, slots - slot0);
    HEED__TRY(a->backward ? backward(f) : f->plan->decode ? decode(f) : forward(f));
  }
  return HEED_OK;
}

heed_status heed__cl_attention_fused_cpu_run(heed_context *ctx, const struct heed__cl_attention *a,
                                             const struct heed__cl_attention_fused_cpu *plan) {
  struct fused f = {.ctx = ctx, .a = a, .plan = plan, .numbers = heed__cl_attention_numbers(a)};
  f.numbers.splits = plan->splits;
  f.numbers.chunk_keys = plan->chunk_keys;
  heed_status status = take_buffers(&f);
  if (status == HEED_OK) status = launch_all(&f);
  for (int i = 0; i < HEED__FUSED_CPU_BUFFERS; ++i) heed__cl_scratch_give(ctx, f.buffers[i]);
  return status;
}

// ---------------------------------------------------------------- the variant

static bool plan(const heed_context *ctx, const struct heed__cl_attention *a,
                 const struct heed__cl_tuning_choice *choice, union heed__cl_attention_plan *out) {
  if (!heed__cl_attention_fused_cpu_supports(ctx, a)) return false;
  heed__cl_attention_fused_cpu_plan(ctx, a, choice, &out->fused_cpu);
  return true;
}

static heed_status run(heed_context *ctx, const struct heed__cl_attention *a,
                       const union heed__cl_attention_plan *chosen) {
  return heed__cl_attention_fused_cpu_run(ctx, a, &chosen->fused_cpu);
}

const struct heed__cl_attention_variant heed__cl_attention_fused_cpu = {
    .name = "fused, CPU",
    .tuning = {"fused-cpu", 1 << HEED__TUNE_tile_rows | 1 << HEED__TUNE_key_block | 1 << HEED__TUNE_query_block},
    .path = HEED_PATH_FUSED,
    .plan = plan,
    .run = run,
    .neighbours = heed__cl_attention_fused_cpu_neighbours};
