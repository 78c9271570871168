// The fused path of attention on GPUs (FlashAttention-2): chooses tiles for a device and a problem, and launches the kernels of
// kernels_cl/attention/fused_gpu*.cl. It never forms the weights, so that calls which want them are the staged path's.
#include <math.h>

#include "cl/attention/fused_gpu.h"

// What an item may keep in registers: scores of a tile, and sums of outputs.
enum { SCORES_AN_ITEM = 32, SUMS_AN_ITEM = 64 };
// The widest head. Wider ones would leave tiles of a few rows.
enum { WIDTH_MAX = 512 };
// Query rows up to which the heads of a group share a tile: decoding then reads each key once for all of them.
enum { PACKED_QUERIES = 32 };
enum { ROWS_A_TILE = 64, KEYS_A_SPLIT = 256 };
// Floating-point operations of one launch: half a second on a slow GPU, where a watchdog ends what takes longer.
#define LAUNCH_FLOPS 1e11

// ---------------------------------------------------------------- tiles

enum kind { FORWARD, ROWS, KEYS_BWD, QUERIES_BWD };  // those of the backward as KERNEL in its file

// How a row of an output lies over the items, and how many rows of its factor are staged at a time.
struct width {
  int width, vector, vectors, rows;
};

struct tile {
  int items, queries, keys, depth, out_x, stage;
  struct width qk, v;
};

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

// Vectors of 4, 2 or 1 columns: the widest that pads least.
static struct width lay_out(int64_t width, int out_x) {
  struct width best = {0};
  int64_t least = INT64_MAX;
  for (int vector = 4; vector >= 1; vector /= 2) {
    const int64_t padded = heed__round_up(width, (int64_t)out_x * vector);
    if (padded >= least) continue;
    least = padded;
    best = (struct width){(int)width, vector, (int)(padded / out_x / vector), 0};
  }
  return best;
}

static int columns(const struct width *w) { return w->vector * w->vectors; }

// Completes a tile of queries x keys; false where registers or local memory do not hold it.
static bool fit(enum kind kind, int64_t dim, int64_t value_dim, uint64_t local_memory, struct tile *t) {
  const int score_x = t->keys / 4, rows = kind == KEYS_BWD ? t->keys : t->queries;
  const int depth_rows = kind == KEYS_BWD ? t->queries : t->keys;
  if (score_x > t->items || t->items / score_x > t->queries || t->queries * t->keys / t->items > SCORES_AN_ITEM)
    return false;
  const int64_t widest = kind == FORWARD ? value_dim : kind == QUERIES_BWD ? dim : heed__max(dim, value_dim);
  const int most_x = t->items / (rows >= 8 ? rows / 8 : 1), least_x = t->items > rows ? t->items / rows : 1;
  t->out_x = (int)heed__min(most_x, power_of_two_up(widest));
  t->out_x = (int)heed__max(heed__max(t->out_x, least_x), 4);
  t->qk = lay_out(dim, t->out_x);
  t->v = lay_out(value_dim, t->out_x);
  int sums = 0, padded = 0;
  if (kind == FORWARD || kind == KEYS_BWD) sums += columns(&t->v);
  if (kind == QUERIES_BWD || kind == KEYS_BWD) sums += columns(&t->qk);
  if (kind != ROWS && rows * t->out_x / t->items * sums > SUMS_AN_ITEM) return false;
  if (kind == FORWARD || kind == KEYS_BWD) padded = t->out_x * columns(&t->v);
  if (kind == QUERIES_BWD || kind == KEYS_BWD) padded = (int)heed__max(padded, t->out_x * columns(&t->qk));
  t->stage = (int)heed__max((t->queries + t->keys) * (t->depth + 4), 4 * padded);
  t->qk.rows = (int)heed__min(power_of_two_down(t->stage / (t->out_x * columns(&t->qk))), depth_rows);
  t->v.rows = (int)heed__min(power_of_two_down(t->stage / (t->out_x * columns(&t->v))), depth_rows);
  const int64_t floats = t->stage + t->queries * (t->keys + 4) + 3 * t->queries + 4;
  return (uint64_t)floats * sizeof(float) <= local_memory;
}

// The largest tile that fits, of `least` to `most` query rows; *t stays where none does.
static bool choose_within(const struct heed__cl_traits *traits, enum kind kind, const struct heed__cl_attention *a,
                          int items, int least, int most, struct tile *t) {
  int area = 0;
  for (int queries = most; queries >= least; queries /= 2)
    for (int keys = 64; keys >= 4; keys /= 2)
      for (int depth = 16; depth >= 8; depth /= 2) {
        struct tile tile = {.items = items, .queries = queries, .keys = keys, .depth = depth};
        if (queries * keys <= area || !fit(kind, a->dim, a->value_dim, traits->local_memory, &tile)) continue;
        area = queries * keys;
        *t = tile;
      }
  return area > 0;
}

// The tile for a device: of no more query rows than there are (`rows`) if that can be. False where even the smallest does not fit.
static bool choose(const struct heed__cl_traits *traits, size_t work_group, enum kind kind,
                   const struct heed__cl_attention *a, int64_t rows, struct tile *t) {
  const int64_t widest = heed__max(a->dim, a->value_dim);
  const int most_items = power_of_two_down(heed__min((int64_t)work_group, widest > 128 ? 256 : 128));
  const int wanted = (int)heed__max(heed__min(power_of_two_up(rows), ROWS_A_TILE), 8);
  for (int items = most_items; items >= 16; items /= 2)
    if (choose_within(traits, kind, a, items, 4, wanted, t) ||
        choose_within(traits, kind, a, items, 2 * wanted, ROWS_A_TILE, t))
      return true;
  return false;
}

// ---------------------------------------------------------------- a call

struct fused {
  heed_context *ctx;
  const struct heed__cl_attention *a;
  bool packed;  // forward: a tile takes the rows of all heads of a group
  enum heed__cl_shuffle shuffle;
  int64_t splits;               // forward: parts of the keys, each the work of a work-group
  cl_mem part_out, part_stats;  // forward with splits: each part's output and softmax
  cl_mem stats;                 // backward: {shift, 1/sum, delta} of each row
  cl_mem gate;                  // NULL, or an int without which nothing is done
};

static int64_t all_rows(const struct heed__cl_attention *a) { return a->batch * a->heads * a->queries; }

// A kernel that is nearly ready: where its first work-group stands among the arguments, and how long one works.
struct job {
  struct heed__cl_kernel kernel;
  struct tile tile;
  int first_arg;
  int64_t work_groups;
  double flops;  // of a work-group
};

static bool is_aligned(const heed_tensor *t) {
  if (!t) return true;
  return t->offset % 4 == 0 && t->strides[0] % 4 == 0 && t->strides[1] % 4 == 0 && t->strides[2] % 4 == 0 &&
         t->dims[3] % 4 == 0;
}

static void define_width(struct heed__cl_kernel *k, const char *const names[4], const struct width *w) {
  heed__cl_define_int(k, names[0], w->width);
  heed__cl_define_int(k, names[1], w->vector);
  heed__cl_define_int(k, names[2], w->vectors);
  heed__cl_define_int(k, names[3], w->rows);
}

static void define_tile(struct heed__cl_kernel *k, const struct tile *t) {
  heed__cl_define_int(k, "ITEMS", t->items);
  heed__cl_define_int(k, "QUERIES", t->queries);
  heed__cl_define_int(k, "KEYS", t->keys);
  heed__cl_define_int(k, "DEPTH", t->depth);
  heed__cl_define_int(k, "OUT_X", t->out_x);
  heed__cl_define_int(k, "STAGE", t->stage);
  define_width(k, (const char *const[]){"QK_WIDTH", "QK_VECTOR", "QK_VECTORS", "QK_ROWS"}, &t->qk);
  define_width(k, (const char *const[]){"V_WIDTH", "V_VECTOR", "V_VECTORS", "V_ROWS"}, &t->v);
}

static void define_problem(struct heed__cl_kernel *k, const struct fused *f) {
  const struct heed__cl_attention *a = f->a;
  const heed_tensor *const rows[] = {a->q, a->k, a->v, a->backward ? a->out : NULL, a->dout};
  bool aligned = true;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) aligned = aligned && is_aligned(rows[i]);
  heed__cl_attention_define(k, a);
  heed__cl_define_int(k, "ALIGNED", aligned);
  if (f->gate) heed__cl_define_int(k, "GATED", 1);
}

// GATE_ARGUMENT of the kernels, their last.
static void pass_gate(struct heed__cl_kernel *k, const struct fused *f) {
  if (f->gate) heed__cl_buffer(k, f->gate);
}

static void pass_first(struct job *job) {
  job->first_arg = job->kernel.arg_count;
  heed__cl_long(&job->kernel, 0);
}

static heed_status launch(struct job *job) {
  const double fitting = LAUNCH_FLOPS / fmax(job->flops, 1);
  const int64_t most = fitting >= (double)job->work_groups ? job->work_groups : heed__max((int64_t)fitting, 1);
  const size_t local = (size_t)job->tile.items;
  for (int64_t first = 0; first < job->work_groups; first += most) {
    if (job->kernel.status == HEED_OK) job->kernel.args[job->first_arg].value.i64 = first;
    const size_t global = (size_t)heed__min(most, job->work_groups - first) * local;
    HEED__TRY(heed__cl_launch(&job->kernel, 1, &global, &local));
  }
  return HEED_OK;
}

// Query rows that tiles may be made of without leaving a key head.
static int64_t rows_of(const struct fused *f) { return f->packed ? f->a->group * f->a->queries : f->a->queries; }

// What of them a tile should take at most.
static int64_t tile_rows_of(const struct fused *f) {
  const int64_t tuned = heed__cl_attention_value(f->a, HEED__TUNE_tile_queries);
  return tuned ? heed__min(tuned, rows_of(f)) : rows_of(f);
}

// ---------------------------------------------------------------- kernels

static const char forward_file[] = "attention/fused_gpu_fwd.cl", backward_file[] = "attention/fused_gpu_bwd.cl";

static void begin_forward(struct heed__cl_kernel *k, const struct fused *f, const struct tile *tile,
                          const char *kernel) {
  heed__cl_begin(k, f->ctx, forward_file, kernel);
  define_tile(k, tile);
  define_problem(k, f);
  heed__cl_define_int(k, "PACKED", f->packed);
  heed__cl_define_int(k, "SPLIT", f->splits > 1);
  heed__cl_define_int(k, "SHUFFLE", f->shuffle);
}

static void describe_forward(const struct fused *f, struct job *job) {
  const struct heed__cl_attention *a = f->a;
  struct heed__cl_kernel *k = &job->kernel;
  begin_forward(k, f, &job->tile, "attention_forward");
  heed__cl_attention_pass_tensor(k, a->q);
  heed__cl_attention_pass_tensor(k, a->k);
  heed__cl_attention_pass_tensor(k, a->v);
  heed__cl_attention_pass_tensor(k, a->out);
  heed__cl_tensor(k, a->lse);
  heed__cl_long(k, a->lse != NULL);
  heed__cl_attention_pass_bounds(k, a);
  heed__cl_long(k, a->heads);
  heed__cl_long(k, a->group);
  pass_first(job);
  heed__cl_long(k, f->splits);
  heed__cl_long(k, all_rows(a));
  heed__cl_buffer(k, f->part_out);
  heed__cl_buffer(k, f->part_stats);
  heed__cl_attention_pass_scoring(k, a->params);
  pass_gate(k, f);
  const int64_t slots = a->batch * (f->packed ? a->kv_heads : a->heads);
  job->work_groups = slots * heed__ceil_div(rows_of(f), job->tile.queries) * f->splits;
  job->flops = 2.0 * job->tile.queries * (double)a->keys / (double)f->splits * (double)(a->dim + a->value_dim);
}

static void describe_backward(const struct fused *f, enum kind kind, struct job *job) {
  static const char *const kernels[] = {NULL, "attention_rows", "attention_keys_bwd", "attention_queries_bwd"};
  const struct heed__cl_attention *a = f->a;
  struct heed__cl_kernel *k = &job->kernel;
  heed__cl_begin(k, f->ctx, backward_file, kernels[kind]);
  define_tile(k, &job->tile);
  define_problem(k, f);
  heed__cl_define_int(k, "KERNEL", kind);
  heed__cl_define_int(k, "SHUFFLE", kind == ROWS ? f->shuffle : HEED__SHUFFLE_NONE);
  // out has been rounded where it is of 16 bits or scaled by dropout: its δ would not meet a row of dP that it should cancel.
  heed__cl_define_int(k, "EXACT_DELTA", a->q->dtype != HEED_F32 || a->params->has_dropout);
  heed__cl_attention_pass_tensor(k, a->q);
  heed__cl_attention_pass_tensor(k, a->k);
  heed__cl_attention_pass_tensor(k, a->v);
  heed__cl_attention_pass_tensor(k, a->dout);
  heed__cl_attention_pass_bounds(k, a);
  heed__cl_long(k, a->heads);
  heed__cl_long(k, a->group);
  pass_first(job);
  heed__cl_attention_pass_scoring(k, a->params);
  if (kind == ROWS) {
    heed__cl_attention_pass_tensor(k, a->out);
    heed__cl_tensor(k, a->lse);
  }
  heed__cl_buffer(k, f->stats);
  if (kind == QUERIES_BWD) heed__cl_attention_pass_tensor(k, a->dq);
  if (kind == KEYS_BWD) {
    heed__cl_attention_pass_tensor(k, a->dk);
    heed__cl_long(k, a->dk != NULL);
    heed__cl_attention_pass_tensor(k, a->dv);
    heed__cl_long(k, a->dv != NULL);
  }
  pass_gate(k, f);
  const double dim = (double)a->dim, value_dim = (double)a->value_dim;
  if (kind == KEYS_BWD) {
    job->work_groups = a->batch * a->kv_heads * heed__ceil_div(a->keys, job->tile.keys);
    job->flops = 4.0 * job->tile.keys * (double)(a->group * a->queries) * (dim + value_dim);
  } else {
    job->work_groups = a->batch * a->heads * heed__ceil_div(a->queries, job->tile.queries);
    job->flops = 2.0 * job->tile.queries * (double)a->keys * ((kind == QUERIES_BWD ? 2 * dim : dim) + value_dim);
  }
}

static void describe(const struct fused *f, enum kind kind, struct job *job) {
  if (kind == FORWARD)
    describe_forward(f, job);
  else
    describe_backward(f, kind, job);
}

// Runs a kernel with the largest tile that the device takes. A limit below 64 is no limit but the size of a subgroup, which some
// drivers report for a kernel.
static heed_status run_kind(const struct fused *f, enum kind kind, struct tile *tile) {
  const struct heed__cl_traits *traits = &heed__cl_state(f->ctx)->traits;
  const int64_t items = heed__cl_attention_value(f->a, HEED__TUNE_items);
  size_t work_group = items ? (size_t)heed__min(items, (int64_t)traits->max_work_group) : traits->max_work_group;
  struct job job;
  for (;;) {
    HEED__REQUIRE(choose(traits, work_group, kind, f->a, tile_rows_of(f), &job.tile), HEED_ERROR_UNSUPPORTED,
                  "the fused path has no tile for q %s and v %s on %s, which runs %zu work-items in a group",
                  heed__tensor_text(f->a->q), heed__tensor_text(f->a->v), f->ctx->device.name, work_group);
    *tile = job.tile;
    describe(f, kind, &job);
    size_t limit = 0;
    HEED__TRY(heed__cl_work_group_limit(&job.kernel, &limit));
    if (limit < 64 || limit >= (size_t)job.tile.items) return launch(&job);
    work_group = limit;
  }
}

// ---------------------------------------------------------------- forward

// Several work-groups share the keys of a tile where there are fewer tiles than the device runs at once.
static int64_t choose_splits(const struct fused *f) {
  const struct heed__cl_attention *a = f->a;
  const int64_t units = heed__cl_state(f->ctx)->traits.compute_units;
  const int64_t tiles = a->batch * (f->packed ? a->kv_heads : a->heads) * heed__ceil_div(rows_of(f), ROWS_A_TILE);
  if (tiles >= 2 * units) return 1;
  return heed__max(heed__min(heed__ceil_div(4 * units, tiles), a->keys / KEYS_A_SPLIT), 1);
}

// With the options of the forward kernel: it comes out of the same program.
static heed_status combine(const struct fused *f, const struct tile *tile) {
  const struct heed__cl_attention *a = f->a;
  struct heed__cl_kernel k;
  begin_forward(&k, f, tile, "attention_combine");
  heed__cl_buffer(&k, f->part_out);
  heed__cl_buffer(&k, f->part_stats);
  heed__cl_attention_pass_tensor(&k, a->out);
  heed__cl_tensor(&k, a->lse);
  heed__cl_long(&k, a->lse != NULL);
  heed__cl_long(&k, a->heads);
  heed__cl_long(&k, a->queries);
  heed__cl_long(&k, all_rows(a));
  heed__cl_long(&k, f->splits);
  pass_gate(&k, f);
  const size_t local[2] = {(size_t)tile->items, 1}, global[2] = {(size_t)tile->items, (size_t)all_rows(a)};
  return heed__cl_launch(&k, 2, global, local);
}

static heed_status forward(heed_context *ctx, const struct heed__cl_attention *a, cl_mem gate) {
  struct fused f = {.ctx = ctx, .a = a, .gate = gate, .packed = a->group > 1 && a->queries <= PACKED_QUERIES};
  f.shuffle = heed__cl_shuffle(ctx);
  f.splits = choose_splits(&f);
  const size_t parts = f.splits > 1 ? (size_t)(f.splits * all_rows(a)) : 0;
  heed_status status = HEED_OK;
  struct tile tile;
  if (parts) {
    HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, parts * (size_t)a->value_dim * sizeof(float), &f.part_out));
    HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, parts * 2 * sizeof(float), &f.part_stats));
  }
  HEED__TRY_TO(done, status, run_kind(&f, FORWARD, &tile));
  if (parts) HEED__TRY_TO(done, status, combine(&f, &tile));
done:
  heed__cl_scratch_give(ctx, f.part_out);
  heed__cl_scratch_give(ctx, f.part_stats);
  return status;
}

// ---------------------------------------------------------------- backward

static heed_status backward(heed_context *ctx, const struct heed__cl_attention *a, cl_mem gate) {
  struct fused f = {.ctx = ctx, .a = a, .gate = gate, .shuffle = heed__cl_shuffle(ctx), .splits = 1};
  heed_status status;
  struct tile tile;
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, (size_t)all_rows(a) * 4 * sizeof(float), &f.stats));
  HEED__TRY_TO(done, status, run_kind(&f, ROWS, &tile));
  if (a->dk || a->dv) HEED__TRY_TO(done, status, run_kind(&f, KEYS_BWD, &tile));
  if (a->dq) HEED__TRY_TO(done, status, run_kind(&f, QUERIES_BWD, &tile));
done:
  heed__cl_scratch_give(ctx, f.stats);
  return status;
}

// ---------------------------------------------------------------- the variant

static bool supports(const struct heed__cl_traits *traits, const struct heed__cl_attention *a) {
  if (traits->cpu_like || a->weights || a->dmask) return false;
  if (a->dim > WIDTH_MAX || a->value_dim > WIDTH_MAX) return false;
  // Kernels count rows and keys, up to the end of their last tile, in int.
  if (a->queries * (a->queries <= PACKED_QUERIES ? a->group : 1) > INT32_MAX / 2 || a->keys > INT32_MAX / 2)
    return false;
  // With heads of 64, gradients for 24,576 keys come out right on llvmpipe and for 32,768 do not; wider ones have more rounds a tile.
  const int64_t longest = heed__max(a->keys, a->backward ? a->queries * a->group : 0);
  if (traits->short_loops && longest > (1 << 20) / heed__max(heed__max(a->dim, a->value_dim), 64)) return false;
  struct tile tile;
  const enum kind first = a->backward ? ROWS : FORWARD, last = a->backward ? QUERIES_BWD : FORWARD;
  for (enum kind kind = first; kind <= last; ++kind)
    if (!choose(traits, traits->max_work_group, kind, a, a->queries, &tile)) return false;
  return true;
}

heed_status heed__cl_attention_fused_gpu_gated(heed_context *ctx, const struct heed__cl_attention *a, cl_mem gate) {
  return a->backward ? backward(ctx, a, gate) : forward(ctx, a, gate);
}

static heed_status run(heed_context *ctx, const struct heed__cl_attention *a) {
  return heed__cl_attention_fused_gpu_gated(ctx, a, NULL);
}

static void neighbours(heed_context *ctx, const struct heed__cl_attention *a,
                       const struct heed__cl_tuning_choice *choice, struct heed__cl_tuning_choices *out) {
  (void)ctx;
  const int64_t items = choice->values[HEED__TUNE_items], rows = choice->values[HEED__TUNE_tile_queries];
  for (int64_t value = 64; value <= 256; value *= 2)
    if (value != items) heed__cl_tuning_choices_add(out, choice, HEED__TUNE_items, value);
  for (int64_t value = 16; value < ROWS_A_TILE && value < a->queries; value *= 2)
    if (value != rows) heed__cl_tuning_choices_add(out, choice, HEED__TUNE_tile_queries, value);
}

const struct heed__cl_attention_variant heed__cl_attention_fused_gpu = {
    .name = "fused",
    .tuning = {"fused-gpu", 1 << HEED__TUNE_items | 1 << HEED__TUNE_tile_queries},
    .path = HEED_PATH_FUSED,
    .supports = supports,
    .fwd = run,
    .bwd = run,
    .neighbours = neighbours};
