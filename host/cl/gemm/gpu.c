// gemm on devices with work-groups and local memory: chooses the tile of C for a work-group, cuts k, and launches tiles.cl, warp.cl (tensor
// cores) and parts.cl.
#include "cl/gemm/variant.h"
#include "cl/runtime/grid.h"

// If k exceeds SLICE, compute it in several parts or slices: this keeps a work-group's work short enough for watchdogs, and llvmpipe
// silently ends a work-item's loops after 65535 iterations in total. Products with too few tiles for a GPU use parts, too, for speed.
enum { SLICE = 32768, SHARE_LEAST = 256, LARGEST = 1 << 30 };

// The kernels and their tiles, side × side, from large to small; tensor cores first. Local memory holds two factors of `depth` steps
// (warps: 64 bytes), twice (warps: three times).
struct heed__cl_gemm_kind {
  const char *kernel, *file;
  int64_t side, depth;
  size_t items, local_memory;
  bool warps;
};
static const struct heed__cl_gemm_kind kinds[] = {
    {"gemm_warp", "gemm/warp.cl", 128, 32, 128, 6 * 128 * 64, true},
    {"gemm_warp", "gemm/warp.cl", 64, 32, 128, 6 * 64 * 64, true},
    {"gemm_tiles", "gemm/tiles.cl", 128, 8, 256, 4 * 8 * (128 + 4) * sizeof(float), false},
    {"gemm_tiles", "gemm/tiles.cl", 64, 16, 128, 4 * 16 * (64 + 4) * sizeof(float), false},
    {"gemm_tiles", "gemm/tiles.cl", 32, 16, 64, 4 * 16 * (32 + 4) * sizeof(float), false},
};
enum { KINDS = sizeof kinds / sizeof *kinds, DEPTH_MOST = 32 };

// ---------------------------------------------------------------- plan

// Tells whether every row of every batch begins at an aligned vector.
static bool is_aligned(const heed_tensor *t, int64_t vector) {
  return t->offset % vector == 0 && t->strides[0] % vector == 0 && t->strides[1] % vector == 0 &&
         t->strides[2] % vector == 0;
}

// Tensor cores take 16-bit factors, which are copied 16 bytes at a time, and F32 factors if heed may round them.
static bool suits_warps(const struct heed__cl *cl, const struct heed__cl_gemm_problem *p) {
  const heed_dtype dtype = p->a->dtype;
  const int64_t chunk = 16 / (int64_t)heed_dtype_size(dtype);
  return (cl->traits.tensor_cores || cl->traits.emulate_warps) && (dtype != HEED_F32 || cl->tf32) &&
         is_aligned(p->a, chunk) && is_aligned(p->b, chunk);
}

static int64_t tiles_of(const struct heed__cl_gemm_kind *kind, const struct heed__cl_gemm_problem *p) {
  return heed__ceil_div(p->m, kind->side) * heed__ceil_div(p->n, kind->side);
}

// The wanted tile is the largest one that C fills and that gives every compute unit a work-group, else 64 × 64 if C fills that, else the
// smallest one. The tile does not change the order in which an element of C is summed.
static bool is_wanted(const struct heed__cl_traits *traits, const struct heed__cl_gemm_kind *kind,
                      const struct heed__cl_gemm_problem *p, int64_t asked) {
  if (asked) return kind->side <= asked;
  if (heed__min(p->m, p->n) <= kind->side / 2) return false;
  return kind->side == 64 || tiles_of(kind, p) * p->batches >= traits->compute_units;
}

// Chooses among the kernels for tensor cores, or among the others; after `after` if it is not NULL. NULL: the device can run none.
static const struct heed__cl_gemm_kind *choose(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                               bool warps, const struct heed__cl_gemm_kind *after, int64_t asked) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const struct heed__cl_gemm_kind *found = NULL;
  for (const struct heed__cl_gemm_kind *kind = after ? after + 1 : kinds; kind < kinds + KINDS; ++kind) {
    if (kind->warps != warps || kind->items > traits->max_work_group || kind->local_memory > traits->local_memory)
      continue;
    found = kind;
    if (is_wanted(traits, kind, p, asked)) break;
  }
  return found && tiles_of(found, p) <= LARGEST ? found : NULL;
}

static bool parts_fit(const heed_context *ctx, const struct heed__cl_gemm_problem *p, int64_t splits) {
  const uint64_t most = (uint64_t)1 << 30, allowed = heed__cl_state(ctx)->traits.max_allocation;
  int64_t floats;
  return heed__mul(p->m * p->n, p->batches, &floats) && heed__mul(floats, splits, &floats) &&
         (uint64_t)floats <= (most < allowed ? most : allowed) / sizeof(float);
}

// The number of parts depends only on the problem, not on the GPU's compute units, so that all GPUs sum in the same order. It makes enough
// work-groups for a large GPU, counted in tiles of one size.
static void plan_splits(const heed_context *ctx, const struct heed__cl_gemm_problem *p, int64_t asked,
                        struct heed__cl_gemm_gpu_plan *plan) {
  enum { SIDE = 64, GROUPS_FEW = 64, GROUPS_WANTED = 128 };
  const int64_t groups = heed__ceil_div(p->m, SIDE) * heed__ceil_div(p->n, SIDE) * p->batches;
  int64_t splits = heed__max(1, heed__ceil_div(p->k, SLICE));
  if (asked)
    splits = heed__max(splits, heed__min(asked, p->k));
  else if (groups < GROUPS_FEW)
    splits = heed__max(splits, heed__min(heed__ceil_div(GROUPS_WANTED, groups), p->k / SHARE_LEAST));
  plan->slices = p->k > SLICE && !parts_fit(ctx, p, heed__ceil_div(p->k, SLICE));
  if (plan->slices)
    splits = 1;
  else if (!parts_fit(ctx, p, splits))
    splits = heed__max(1, heed__ceil_div(p->k, SLICE));
  const int64_t depth = plan->slices ? SLICE : p->k;
  plan->share = heed__round_up(heed__max(1, heed__ceil_div(depth, splits)), DEPTH_MOST);
  plan->splits = heed__max(1, heed__ceil_div(depth, plan->share));
}

static bool plan_kind(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                      const struct heed__cl_tuning_choice *choice, bool warps, struct heed__cl_gemm_gpu_plan *plan) {
  if (p->m > LARGEST || p->n > LARGEST || p->k > LARGEST || p->batches > LARGEST) return false;
  plan->kind = choose(ctx, p, warps, NULL, choice->values[HEED__TUNE_rows]);
  if (!plan->kind) return false;
  plan_splits(ctx, p, choice->values[HEED__TUNE_splits], plan);
  return true;
}

static bool plan_on_tensor_cores(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                 const struct heed__cl_tuning_choice *choice, struct heed__cl_gemm_plan *plan) {
  *plan = (struct heed__cl_gemm_plan){.variant = &heed__cl_gemm_tensor};
  return suits_warps(heed__cl_state(ctx), p) && plan_kind(ctx, p, choice, true, &plan->of.gpu);
}

static bool plan_in_tiles(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                          const struct heed__cl_tuning_choice *choice, struct heed__cl_gemm_plan *plan) {
  *plan = (struct heed__cl_gemm_plan){.variant = &heed__cl_gemm_gpu};
  return plan_kind(ctx, p, choice, false, &plan->of.gpu);
}

static void specimen(const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *made,
                     struct heed__cl_gemm_specimen *specimen) {
  const struct heed__cl_gemm_gpu_plan *plan = &made->of.gpu;
  specimen->choice.values[HEED__TUNE_rows] = plan->kind->side;
  specimen->choice.values[HEED__TUNE_splits] = plan->splits > 1 ? 2 : 1;
  specimen->aligned = is_aligned(p->a, 4) && is_aligned(p->b, 4);
  specimen->class =
      1 | (uint32_t)(plan->kind - kinds) << 1 | (uint32_t)(plan->splits > 1) << 4 | (uint32_t)specimen->aligned << 5;
}

// Adds the other tiles, and twice and half the number of parts.
static void neighbours(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                       const struct heed__cl_tuning_choice *choice, struct heed__cl_tuning_choices *out, bool warps) {
  struct heed__cl_gemm_gpu_plan here, there;
  if (!plan_kind(ctx, p, choice, warps, &here)) return;
  const struct {
    enum heed__cl_tuning_tunable what;
    int64_t value;
  } steps[] = {{HEED__TUNE_rows, here.kind->side * 2},
               {HEED__TUNE_rows, here.kind->side / 2},
               {HEED__TUNE_splits, here.splits * 2},
               {HEED__TUNE_splits, here.splits / 2}};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; ++i) {
    const size_t before = out->count;
    heed__cl_tuning_choices_add(out, choice, steps[i].what, steps[i].value);
    if (out->count == before) continue;
    if (!plan_kind(ctx, p, &out->list[before], warps, &there) ||
        (there.kind == here.kind && there.splits == here.splits))
      out->count = before;
  }
}

static void neighbours_on_tensor_cores(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                       const struct heed__cl_tuning_choice *choice,
                                       struct heed__cl_tuning_choices *out) {
  neighbours(ctx, p, choice, out, true);
}
static void neighbours_in_tiles(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                const struct heed__cl_tuning_choice *choice, struct heed__cl_tuning_choices *out) {
  neighbours(ctx, p, choice, out, false);
}

// ---------------------------------------------------------------- launches

static void pass_factor(struct heed__cl_kernel *k, const heed_tensor *t, bool along_k) {
  heed__cl_tensor(k, t);
  heed__cl_strides(k, t, 2);
  heed__cl_long(k, along_k ? t->strides[2] : 1);
  heed__cl_long(k, along_k ? 1 : t->strides[2]);
}

// The bits have the same values as in gemm/grid.cl.
static uint32_t form_of(const struct heed__cl_gemm_problem *p) {
  return (uint32_t)!p->trans_a | (uint32_t)p->trans_b << 1 | (uint32_t)is_aligned(p->a, 4) << 2 |
         (uint32_t)is_aligned(p->b, 4) << 3;
}

// a: [B0, B1, m, k]; b: [B0, B1, k, n], either transposed -> c: [B0, B1, m, n], or parts: [B0 B1, splits, m, n].
// Passes everything except the numbers of the first tile and the first batch.
static void describe(struct heed__cl_kernel *k, heed_context *ctx, const struct heed__cl_gemm_gpu_plan *plan,
                     const struct heed__cl_gemm_problem *p, cl_mem parts) {
  heed__cl_begin(k, ctx, plan->kind->file, plan->kind->kernel);
  heed__cl_define_int(k, "VECTOR", plan->kind->warps ? 2 : 4);
  heed__cl_define_int(k, "TILE", plan->kind->side);
  heed__cl_define_dtype(k, "X_DTYPE", plan->splits > 1 ? HEED_F32 : p->c->dtype);
  if (plan->kind->warps && p->a->dtype == HEED_F32)
    heed__cl_define(k, "Y_DTYPE", "TF32");
  else
    heed__cl_define_dtype(k, "Y_DTYPE", p->a->dtype);
  if (plan->kind->warps) {
    heed__cl_define_int(k, "A_ALONG_K", !p->trans_a);
    heed__cl_define_int(k, "B_ALONG_K", p->trans_b);
    heed__cl_define_int(k, "WARP_EMULATED", !heed__cl_state(ctx)->traits.tensor_cores);
  } else {
    const int subgroup = heed__cl_state(ctx)->traits.subgroup;
    heed__cl_define_int(k, "DEPTH", plan->kind->depth);
    if (subgroup > 0) heed__cl_define_int(k, "SUBGROUP", subgroup);
    if (ctx->device.type == HEED_DEVICE_CPU) heed__cl_define(k, "ON_CPU", "1");
  }
  if (plan->splits == 1) heed__cl_gemm_epilogue_define(k, p);
  pass_factor(k, p->a, !p->trans_a);
  pass_factor(k, p->b, p->trans_b);
  heed__cl_gemm_result(k, p, parts, plan->splits);
  const int64_t numbers[] = {p->c->dims[1], p->m, p->n, p->k, plan->splits, plan->share};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) heed__cl_uint(k, (uint32_t)numbers[i]);
}

// A launch has as much work as the device does in a moment.
static heed_status launch_all(const struct heed__cl_kernel *described, const struct heed__cl_gemm_gpu_plan *plan,
                              const struct heed__cl_gemm_problem *p) {
  const double flops = 2.0 * (double)(plan->kind->side * plan->kind->side) * (double)plan->share;
  const int64_t most = heed__cl_groups_a_launch(described->ctx, flops, plan->kind->warps ? HEED__CL_TENSOR_RATE : 1);
  const int64_t tiles = tiles_of(plan->kind, p);
  const int64_t batches = p->batches * plan->splits, batches_once = heed__max(1, most / tiles);
  for (int64_t batch = 0; batch < batches; batch += batches_once)
    for (int64_t tile = 0; tile < tiles; tile += most) {
      struct heed__cl_kernel k = *described;
      heed__cl_uint(&k, (uint32_t)tile);
      heed__cl_uint(&k, (uint32_t)batch);
      heed__cl_uint(&k, form_of(p));
      const size_t local[] = {plan->kind->items, 1};
      const size_t global[] = {(size_t)heed__min(most, tiles - tile) * plan->kind->items,
                               (size_t)heed__min(batches_once, batches - batch)};
      HEED__TRY(heed__cl_launch(&k, 2, global, local));
    }
  return HEED_OK;
}

// parts: [B0 B1, splits, m, n] -> c: [B0, B1, m, n], summed in the order of the parts
static heed_status add_parts(heed_context *ctx, const struct heed__cl_gemm_gpu_plan *plan,
                             const struct heed__cl_gemm_problem *p, cl_mem parts) {
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "gemm/parts.cl", "gemm_parts");
  heed__cl_define_int(&k, "VECTOR", 4);
  heed__cl_define_dtype(&k, "X_DTYPE", p->c->dtype);
  heed__cl_gemm_epilogue_define(&k, p);
  heed__cl_buffer(&k, parts);
  heed__cl_tensor(&k, p->c);
  heed__cl_strides(&k, p->c, 3);
  heed__cl_gemm_epilogue_args(&k, p);
  heed__cl_uint(&k, (uint32_t)p->c->dims[1]);
  heed__cl_long(&k, p->m);
  heed__cl_long(&k, p->n);
  heed__cl_uint(&k, (uint32_t)plan->splits);
  return heed__cl_launch_matrices(&k, heed__ceil_div(p->n, 4), p->m, p->batches);
}

// Queues the whole sum over p's k.
static heed_status run_whole(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                             const struct heed__cl_gemm_gpu_plan *plan) {
  struct heed__cl_kernel k;
  cl_mem parts = NULL;
  heed_status status;
  if (plan->splits > 1)
    HEED__TRY(heed__cl_scratch_take(ctx, (uint64_t)(p->m * p->n * p->batches * plan->splits) * sizeof(float), &parts));
  describe(&k, ctx, plan, p, parts);
  HEED__TRY_TO(done, status, launch_all(&k, plan, p));
  if (plan->splits > 1) status = add_parts(ctx, plan, p, parts);
done:
  heed__cl_scratch_give(ctx, parts);
  return status;
}

// Makes slice [start, start + length) of the summed dimension of a or b, which is their axis `axis`.
static struct heed_tensor depth_slice(const heed_tensor *t, int axis, int64_t start, int64_t length) {
  int64_t dims[4] = {t->dims[0], t->dims[1], t->dims[2], t->dims[3]};
  dims[axis] = length;
  struct heed_tensor view;
  heed__view_init(&view, t, 4, dims, t->strides, t->offset + start * t->strides[axis]);
  return view;
}

// If C is too large for parts, slices of k add to it instead.
static heed_status run_slices(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                              const struct heed__cl_gemm_gpu_plan *plan) {
  for (int64_t start = 0; start < p->k; start += SLICE) {
    struct heed__cl_gemm_problem slice = *p;
    slice.k = heed__min(SLICE, p->k - start);
    const struct heed_tensor a = depth_slice(p->a, p->trans_a ? 2 : 3, start, slice.k);
    const struct heed_tensor b = depth_slice(p->b, p->trans_b ? 3 : 2, start, slice.k);
    slice.a = &a;
    slice.b = &b;
    if (start > 0) slice.beta = 1;
    if (start + slice.k < p->k) slice.epilogue = (struct heed__cl_gemm_epilogue){0};
    HEED__TRY(run_whole(ctx, &slice, plan));
  }
  return HEED_OK;
}

static heed_status run(heed_context *ctx, const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan,
                       int64_t *done) {
  const heed_status status = plan->of.gpu.slices ? run_slices(ctx, p, &plan->of.gpu) : run_whole(ctx, p, &plan->of.gpu);
  *done = status == HEED_OK ? p->batches : 0;
  return status;
}

// A driver may limit a kernel to smaller work-groups than others; then use a smaller tile. But the driver may report less than it accepts
// (rusticl reports its subgroup's size), so ignore a limit below that of the smallest tile.
static heed_status prepare(heed_context *ctx, const struct heed__cl_gemm_problem *p, struct heed__cl_gemm_plan *made) {
  struct heed__cl_gemm_gpu_plan *plan = &made->of.gpu;
  for (;;) {
    struct heed__cl_kernel k;
    size_t limit = 0;
    describe(&k, ctx, plan, p, NULL);
    HEED__TRY(heed__cl_work_group_limit(&k, &limit));
    if (limit < kinds[KINDS - 1].items || limit >= plan->kind->items) return HEED_OK;
    const struct heed__cl_gemm_kind *next = choose(ctx, p, plan->kind->warps, plan->kind, 0);
    // Run the last of the ordinary kernels anyway, because the driver may report less than it accepts.
    if (!next && !plan->kind->warps) return HEED_OK;
    HEED__REQUIRE(next, HEED_ERROR_UNSUPPORTED, "gemm: %s runs none of heed's tiles for tensor cores",
                  ctx->device.name);
    plan->kind = next;
  }
}

#define BIT(value) (1u << HEED__TUNE_##value)
const struct heed__cl_gemm_variant heed__cl_gemm_tensor = {.tuning = {"gpu-tensor", BIT(rows) | BIT(splits)},
                                                           .provider = HEED__GEMM_NATIVE,
                                                           .on_tensor_cores = true,
                                                           .plan = plan_on_tensor_cores,
                                                           .prepare = prepare,
                                                           .run = run,
                                                           .specimen = specimen,
                                                           .neighbours = neighbours_on_tensor_cores};
const struct heed__cl_gemm_variant heed__cl_gemm_gpu = {.tuning = {"gpu", BIT(rows) | BIT(splits)},
                                                        .provider = HEED__GEMM_NATIVE,
                                                        .plan = plan_in_tiles,
                                                        .prepare = prepare,
                                                        .run = run,
                                                        .specimen = specimen,
                                                        .neighbours = neighbours_in_tiles};
