// The fused path of attention on GPUs (FlashAttention-2): launches of kernels_cl/attention/fused_gpu*.cl, with the tiles that
// fused_gpu_plan.c has chosen. It never forms the weights: calls that want them are the staged path's.
#include "cl/attention/fused_gpu.h"

#include <float.h>

#include "cl/attention/call.h"
#include "cl/runtime/grid.h"

// The backward in five products: its rounds, and the one that is on.
struct parts {
  struct heed__cl_attention_gpu_rounds rounds;
  int64_t slot0, slots, tile0, tiles;
  cl_mem of_dq, sums;  // sums: dq so far; NULL where each round has all tiles of keys
};

struct fused {
  heed_context *ctx;
  const struct heed__cl_attention *a;
  const struct heed__cl_attention_fused_gpu *plan;
  enum heed__cl_shuffle shuffle;
  bool native_exp2;
  cl_mem part_out, part_stats;  // forward with splits: each part's output and softmax
  cl_mem redo;                  // forward: whether a row of a part is to be done with care; NULL with a gate
  cl_mem stats;                 // backward: {shift, 1/sum, delta} of each row
  const struct parts *parts;    // backward: NULL, or one in five products
  cl_mem gate;                  // NULL, or an int without which nothing is done
};

static int64_t all_rows(const struct heed__cl_attention *a) { return a->batch * a->heads * a->queries; }

// A kernel that is nearly ready, and how long one of its work-groups works.
struct job {
  struct heed__cl_kernel kernel;
  struct heed__cl_attention_numbers numbers;
  struct heed__cl_attention_gpu_tile tile;
  int64_t work_groups;
  double flops;  // of a work-group
};

// ---------------------------------------------------------------- options

void heed__cl_attention_fused_gpu_define(struct heed__cl_kernel *k, const struct heed__cl_attention *a) {
  heed__cl_define_dtype(k, "X_DTYPE", a->q->dtype);
  heed__cl_define_int(k, "SOFTCAP", a->params->softcap > 0);
  heed__cl_define_int(k, "DROPOUT", a->params->has_dropout);
  heed__cl_attention_define_lengths(k, a);
  heed__cl_define_int(k, "HAS_MASK", a->mask != NULL);
  if (!a->mask) return;
  heed__cl_define_dtype(k, "MASK_DTYPE", a->mask->dtype);
  heed__cl_define_int(k, "MASK_IS_BOOL", a->mask->dtype == HEED_BOOL);
}

static bool is_aligned(const heed_tensor *t) {
  if (!t) return true;
  return t->offset % 4 == 0 && t->strides[0] % 4 == 0 && t->strides[1] % 4 == 0 && t->strides[2] % 4 == 0 &&
         t->dims[3] % 4 == 0;
}

static void define_width(struct heed__cl_kernel *k, const char *const names[3],
                         const struct heed__cl_attention_width *w) {
  heed__cl_define_int(k, names[0], w->width);
  heed__cl_define_int(k, names[1], w->columns);
  heed__cl_define_int(k, names[2], w->rows);
}

static void define_tile(struct heed__cl_kernel *k, const struct heed__cl_attention_gpu_tile *t) {
  heed__cl_define_int(k, "ITEMS", t->items);
  heed__cl_define_int(k, "QUERIES", t->queries);
  heed__cl_define_int(k, "KEYS", t->keys);
  heed__cl_define_int(k, "DEPTH", t->depth);
  heed__cl_define_int(k, "OUT_X", t->out_x);
  heed__cl_define_int(k, "STAGE", t->stage);
  define_width(k, (const char *const[]){"QK_WIDTH", "QK_COLUMNS", "QK_ROWS"}, &t->qk);
  define_width(k, (const char *const[]){"V_WIDTH", "V_COLUMNS", "V_ROWS"}, &t->v);
}

// Options and arguments that all kernels have.
static void begin(struct job *job, const struct fused *f, const char *file, const char *kernel) {
  const struct heed__cl_attention *a = f->a;
  const heed_tensor *const rows[] = {a->q, a->k, a->v, a->backward ? a->out : NULL, a->dout};
  struct heed__cl_kernel *k = &job->kernel;
  bool aligned = true;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) aligned = aligned && is_aligned(rows[i]);
  heed__cl_begin(k, f->ctx, file, kernel);
  define_tile(k, &job->tile);
  heed__cl_attention_fused_gpu_define(k, a);
  heed__cl_define_int(k, "ALIGNED", aligned);
  // With a scale up to ln 2 no score, in powers of two, is larger than q kᵀ itself.
  const bool scales_down = a->params->scale >= FLT_MIN && a->params->scale <= 0.69;
  heed__cl_define_int(k, "RAW_SCORES", !a->mask && a->params->softcap <= 0 && scales_down);
  heed__cl_define_int(k, "NATIVE_EXP2", f->native_exp2);
  if (heed__cl_state(f->ctx)->traits.subgroup > 0)
    heed__cl_define_int(k, "SUBGROUP", heed__cl_state(f->ctx)->traits.subgroup);
  if (f->gate) heed__cl_define_int(k, "GATED", 1);
  job->numbers = heed__cl_attention_numbers(a);
  job->numbers.splits = f->plan->splits;
  heed__cl_attention_pass_call(k, a, &job->numbers);
}

// GATE_ARGUMENT of the kernels, their last.
static void pass_gate(struct heed__cl_kernel *k, const struct fused *f) {
  if (f->gate) heed__cl_buffer(k, f->gate);
}

// ---------------------------------------------------------------- kernels

static const char forward_file[] = "attention/fused_gpu_fwd.cl", backward_file[] = "attention/fused_gpu_bwd.cl";

static void begin_forward(struct job *job, const struct fused *f, bool careful, const char *kernel) {
  begin(job, f, forward_file, kernel);
  if (careful) heed__cl_define_int(&job->kernel, "CAREFUL", 1);
  // Nearly always the careful kernel has nothing to do, and none of the care to do it fast.
  heed__cl_define_int(&job->kernel, "SPARE_REGISTERS", !careful && heed__cl_state(f->ctx)->traits.spare_registers);
  heed__cl_define_int(&job->kernel, "PACKED", f->plan->packed);
  heed__cl_define_int(&job->kernel, "SPLIT", f->plan->splits > 1);
  heed__cl_define_int(&job->kernel, "RESIDENT", job->tile.resident);
  heed__cl_define_int(&job->kernel, "WEIGHT_KEYS", job->tile.weight_keys);
  // NVIDIA's compiler makes more instructions of a tile with shuffles than without them, for one barrier less.
  const bool shuffles = f->shuffle != HEED__SHUFFLE_PTX;
  heed__cl_define_int(&job->kernel, "SHUFFLE", shuffles ? f->shuffle : HEED__SHUFFLE_NONE);
}

// q: [B, Hq, Lq, D]; k: [B, Hkv, Lk, D]; v: [B, Hkv, Lk, Dv]; out: [B, Hq, Lq, Dv]; lse: [B, Hq, Lq];
// part_out: [splits, B Hq Lq, Dv]; part_stats: [splits, B Hq Lq, 2]; redo: [splits, B Hq Lq]
static void describe_forward(const struct fused *f, bool careful, struct job *job) {
  const struct heed__cl_attention *a = f->a;
  struct heed__cl_kernel *k = &job->kernel;
  begin_forward(job, f, careful, "attention_forward");
  heed__cl_memory(k, a->q);
  heed__cl_memory(k, a->k);
  heed__cl_memory(k, a->v);
  heed__cl_memory(k, a->out);
  heed__cl_memory(k, a->lse);
  heed__cl_buffer(k, f->part_out);
  heed__cl_buffer(k, f->part_stats);
  heed__cl_buffer(k, f->redo);
  pass_gate(k, f);
  const int64_t slots = a->batch * (f->plan->packed ? a->kv_heads : a->heads), splits = f->plan->splits;
  const int64_t rows = f->plan->packed ? a->group * a->queries : a->queries;
  job->work_groups = slots * heed__ceil_div(rows, job->tile.queries) * splits;
  job->flops = 2.0 * job->tile.queries * (double)a->keys / (double)splits * (double)(a->dim + a->value_dim);
}

static void begin_backward(struct job *job, const struct fused *f, enum heed__cl_attention_gpu_kernel kernel) {
  static const char *const kernels[] = {NULL, "attention_rows", "attention_keys_bwd", "attention_queries_bwd",
                                        "attention_queries_sum"};
  const struct heed__cl_attention *a = f->a;
  struct heed__cl_kernel *k = &job->kernel;
  begin(job, f, backward_file, kernels[kernel]);
  heed__cl_define_int(k, "KERNEL", kernel);
  heed__cl_define_int(k, "SPARE_REGISTERS", heed__cl_state(f->ctx)->traits.spare_registers);
  heed__cl_define_int(k, "WEIGHT_ROWS", job->tile.weight_rows);
  heed__cl_define_int(k, "SHUFFLE", kernel == HEED__GPU_ROWS ? f->shuffle : HEED__SHUFFLE_NONE);
  // An out of 16 bits has been rounded, and dropout has scaled it: δ from it would not meet a row of dP that it should cancel.
  heed__cl_define_int(k, "EXACT_DELTA", a->q->dtype != HEED_F32 || a->params->has_dropout);
  if (!f->parts) return;
  heed__cl_define_int(k, "DQ_PARTS", 1);
  heed__cl_define_int(k, "PART_ROWS", f->parts->rounds.part_rows);
  job->numbers.slot0 = f->parts->slot0;
  job->numbers.slots = f->parts->slots;
  job->numbers.splits = f->parts->tiles;
}

// q, dq: [B, Hq, Lq, D]; k, dk: [B, Hkv, Lk, D]; v, dv: [B, Hkv, Lk, Dv]; out, dout: [B, Hq, Lq, Dv]; lse: [B, Hq, Lq];
// stats: [B, Hq, Lq, 4]; parts: see fused_gpu_parts.cl
static void describe_backward(const struct fused *f, enum heed__cl_attention_gpu_kernel kernel, struct job *job) {
  const struct heed__cl_attention *a = f->a;
  struct heed__cl_kernel *k = &job->kernel;
  begin_backward(job, f, kernel);
  heed__cl_memory(k, a->q);
  heed__cl_memory(k, a->k);
  heed__cl_memory(k, a->v);
  heed__cl_memory(k, a->dout);
  if (kernel == HEED__GPU_ROWS) {
    heed__cl_memory(k, a->out);
    heed__cl_memory(k, a->lse);
  }
  heed__cl_buffer(k, f->stats);
  if (kernel == HEED__GPU_QUERIES_BWD) heed__cl_memory(k, a->dq);
  if (kernel == HEED__GPU_KEYS_BWD) {
    heed__cl_memory(k, a->dk);
    heed__cl_memory(k, a->dv);
  }
  if (f->parts) {
    heed__cl_buffer(k, f->parts->of_dq);
    heed__cl_long(k, f->parts->tile0);
  }
  pass_gate(k, f);
  const double dim = (double)a->dim, value_dim = (double)a->value_dim;
  if (kernel == HEED__GPU_KEYS_BWD) {
    job->work_groups =
        f->parts ? f->parts->slots * f->parts->tiles : a->batch * a->kv_heads * heed__ceil_div(a->keys, job->tile.keys);
    job->flops = 2.0 * job->tile.keys * (double)(a->group * a->queries) * ((f->parts ? 3 : 2) * dim + 2 * value_dim);
  } else {
    job->work_groups = a->batch * a->heads * heed__ceil_div(a->queries, job->tile.queries);
    job->flops =
        2.0 * job->tile.queries * (double)a->keys * ((kernel == HEED__GPU_QUERIES_BWD ? 2 * dim : dim) + value_dim);
  }
}

static heed_status launch(struct job *job) {
  const int64_t most = heed__cl_groups_a_launch(job->kernel.ctx, job->flops, 1);
  const size_t local = (size_t)job->tile.items;
  for (int64_t first = 0; first < job->work_groups; first += most) {
    job->numbers.first = first;
    const size_t global = (size_t)heed__min(most, job->work_groups - first) * local;
    HEED__TRY(heed__cl_launch(&job->kernel, 1, &global, &local));
  }
  return HEED_OK;
}

// Makes a kernel ready with its planned tile, or with a smaller one where the driver, having compiled it, allows only smaller work-groups.
// A limit below 64 is no limit but the size of a subgroup, which some drivers report for a kernel. *tile: the one that was taken.
static heed_status settle(const struct fused *f, enum heed__cl_attention_gpu_kernel kernel,
                          struct heed__cl_attention_gpu_tile *tile, struct job *job) {
  const bool careful = kernel == HEED__GPU_CAREFUL;
  if (careful) kernel = HEED__GPU_FORWARD;
  *tile = f->plan->tiles[kernel];
  for (;;) {
    job->tile = *tile;
    if (kernel == HEED__GPU_FORWARD)
      describe_forward(f, careful, job);
    else
      describe_backward(f, kernel, job);
    size_t limit = 0;
    HEED__TRY(heed__cl_work_group_limit(&job->kernel, &limit));
    if (limit < 64 || limit >= (size_t)job->tile.items) return HEED_OK;
    HEED__REQUIRE(heed__cl_attention_fused_gpu_tile(f->ctx, f->a, kernel, limit, f->plan->tile_rows, tile),
                  HEED_ERROR_UNSUPPORTED,
                  "the fused path has no tile for q %s and v %s on %s, which runs %zu work-items in a group",
                  heed__tensor_text(f->a->q), heed__tensor_text(f->a->v), f->ctx->device.name, limit);
  }
}

static heed_status run_kernel(const struct fused *f, enum heed__cl_attention_gpu_kernel kernel,
                              struct heed__cl_attention_gpu_tile *tile) {
  struct job job;
  HEED__TRY(settle(f, kernel, tile, &job));
  return launch(&job);
}

// part_out: [splits, B Hq Lq, Dv]; part_stats: [splits, B Hq Lq, 2]; out: [B, Hq, Lq, Dv]; lse: [B, Hq, Lq]
// It has the options of the forward kernel, and so comes out of the same program.
static heed_status combine(const struct fused *f, const struct heed__cl_attention_gpu_tile *tile) {
  struct job job = {.tile = *tile};
  struct heed__cl_kernel *k = &job.kernel;
  begin_forward(&job, f, f->gate != NULL, "attention_combine");
  heed__cl_buffer(k, f->part_out);
  heed__cl_buffer(k, f->part_stats);
  heed__cl_memory(k, f->a->out);
  heed__cl_memory(k, f->a->lse);
  pass_gate(k, f);
  const size_t local[2] = {(size_t)tile->items, 1}, global[2] = {(size_t)tile->items, (size_t)all_rows(f->a)};
  return heed__cl_launch(k, 2, global, local);
}

// ---------------------------------------------------------------- a call

// The careful kernel follows the fast one, and its work-groups leave at once where no row is marked: nobody waits to look.
static heed_status run_forward(const struct fused *f, struct heed__cl_attention_gpu_tile *tile) {
  if (f->gate) return run_kernel(f, HEED__GPU_CAREFUL, tile);
  struct heed__cl_attention_gpu_tile careful = {0};
  HEED__TRY(run_kernel(f, HEED__GPU_FORWARD, tile));
  return run_kernel(f, HEED__GPU_CAREFUL, &careful);
}

static heed_status forward(struct fused *f) {
  const size_t rows = (size_t)(f->plan->splits * all_rows(f->a)), parts = f->plan->splits > 1 ? rows : 0;
  heed_status status = HEED_OK;
  struct heed__cl_attention_gpu_tile tile;
  if (parts) {
    const size_t bytes = parts * (size_t)f->a->value_dim * sizeof(float);
    HEED__TRY_TO(done, status, heed__cl_scratch_take(f->ctx, bytes, &f->part_out));
    HEED__TRY_TO(done, status, heed__cl_scratch_take(f->ctx, parts * 2 * sizeof(float), &f->part_stats));
  }
  if (!f->gate) HEED__TRY_TO(done, status, heed__cl_scratch_take(f->ctx, rows * sizeof(cl_int), &f->redo));
  HEED__TRY_TO(done, status, run_forward(f, &tile));
  if (parts) HEED__TRY_TO(done, status, combine(f, &tile));
done:
  heed__cl_scratch_give(f->ctx, f->redo);
  heed__cl_scratch_give(f->ctx, f->part_out);
  heed__cl_scratch_give(f->ctx, f->part_stats);
  return status;
}

// parts: see fused_gpu_parts.cl; dq: [B, Hq, Lq, D]
static heed_status sum_parts(const struct fused *f, const struct heed__cl_attention_gpu_tile *tile) {
  const struct heed__cl_attention *a = f->a;
  struct job job = {.tile = *tile};
  struct heed__cl_kernel *k = &job.kernel;
  begin_backward(&job, f, HEED__GPU_SUM);
  heed__cl_memory(k, a->dq);
  heed__cl_buffer(k, f->parts->of_dq);
  heed__cl_buffer(k, f->parts->sums);
  heed__cl_long(k, f->parts->tile0);
  pass_gate(k, f);
  const int64_t items = a->queries * (tile->out_x * tile->qk.columns / 4);
  return heed__cl_launch_matrices(k, items, f->parts->slots * a->group, 1);
}

// Round after round by one scratch: the queue is in order.
static heed_status run_rounds(const struct fused *f, struct parts *p, const struct heed__cl_attention_gpu_tile *tile) {
  const struct heed__cl_attention_gpu_rounds *rounds = &p->rounds;
  for (p->slot0 = 0; p->slot0 < rounds->all_slots; p->slot0 += rounds->slots)
    for (p->tile0 = 0; p->tile0 < rounds->all_tiles; p->tile0 += rounds->tiles) {
      p->slots = heed__min(rounds->slots, rounds->all_slots - p->slot0);
      p->tiles = heed__min(rounds->tiles, rounds->all_tiles - p->tile0);
      struct job job = {.tile = *tile};
      describe_backward(f, HEED__GPU_KEYS_BWD, &job);
      HEED__TRY(launch(&job));
      HEED__TRY(sum_parts(f, tile));
    }
  return HEED_OK;
}

static heed_status run_in_seven(const struct fused *f) {
  struct heed__cl_attention_gpu_tile tile;
  if (f->a->dk || f->a->dv) HEED__TRY(run_kernel(f, HEED__GPU_KEYS_BWD, &tile));
  return f->a->dq ? run_kernel(f, HEED__GPU_QUERIES_BWD, &tile) : HEED_OK;
}

// In seven products where the tile that the driver allows is not the planned one, and makes no parts.
static heed_status run_in_five(const struct fused *seven) {
  struct parts parts = {0};
  struct fused f = *seven;
  struct heed__cl_attention_gpu_tile tile;
  struct job job;
  heed_status status;
  f.parts = &parts;
  if (!heed__cl_attention_fused_gpu_rounds(f.ctx, f.a, &f.plan->tiles[HEED__GPU_KEYS_BWD], &parts.rounds))
    return run_in_seven(seven);
  HEED__TRY(settle(&f, HEED__GPU_KEYS_BWD, &tile, &job));
  if (!heed__cl_attention_fused_gpu_rounds(f.ctx, f.a, &tile, &parts.rounds)) return run_in_seven(seven);
  const uint64_t bytes = (uint64_t)(parts.rounds.slots * parts.rounds.floats) * sizeof(float);
  HEED__TRY_TO(done, status, heed__cl_scratch_take(f.ctx, (uint64_t)parts.rounds.tiles * bytes, &parts.of_dq));
  if (parts.rounds.tiles < parts.rounds.all_tiles)
    HEED__TRY_TO(done, status, heed__cl_scratch_take(f.ctx, bytes, &parts.sums));
  status = run_rounds(&f, &parts, &tile);
done:
  heed__cl_scratch_give(f.ctx, parts.sums);
  heed__cl_scratch_give(f.ctx, parts.of_dq);
  return status;
}

static heed_status backward(struct fused *f) {
  heed_status status;
  struct heed__cl_attention_gpu_tile tile;
  const uint64_t bytes = (uint64_t)all_rows(f->a) * 4 * sizeof(float);
  HEED__TRY_TO(done, status, heed__cl_scratch_take(f->ctx, bytes, &f->stats));
  HEED__TRY_TO(done, status, run_kernel(f, HEED__GPU_ROWS, &tile));
  status = f->plan->in_five ? run_in_five(f) : run_in_seven(f);
done:
  heed__cl_scratch_give(f->ctx, f->stats);
  return status;
}

heed_status heed__cl_attention_fused_gpu_run(heed_context *ctx, const struct heed__cl_attention *a,
                                             const struct heed__cl_attention_fused_gpu *plan, cl_mem gate) {
  struct fused f = {.ctx = ctx, .a = a, .plan = plan, .gate = gate};
  f.shuffle = heed__cl_shuffle(ctx);
  f.native_exp2 = heed__cl_native_exp2(ctx);
  return a->backward ? backward(&f) : forward(&f);
}

// ---------------------------------------------------------------- the variant

static bool plan(const heed_context *ctx, const struct heed__cl_attention *a,
                 const struct heed__cl_tuning_choice *choice, union heed__cl_attention_plan *out) {
  return heed__cl_attention_fused_gpu_plan(ctx, a, choice, &out->fused_gpu);
}

static heed_status run(heed_context *ctx, const struct heed__cl_attention *a,
                       const union heed__cl_attention_plan *chosen) {
  return heed__cl_attention_fused_gpu_run(ctx, a, &chosen->fused_gpu, NULL);
}

const struct heed__cl_attention_variant heed__cl_attention_fused_gpu = {
    .name = "fused",
    .tuning = {"fused-gpu", 1 << HEED__TUNE_items | 1 << HEED__TUNE_tile_queries | 1 << HEED__TUNE_products},
    .path = HEED_PATH_FUSED,
    .plan = plan,
    .run = run,
    .neighbours = heed__cl_attention_fused_gpu_neighbours};
