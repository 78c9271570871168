// gemm on devices with work-groups and local memory: the tile of C that a work-group makes, how k is cut, and the launches of
// gemm/tiles.cl, of gemm/warp.cl (tensor cores) and of gemm/parts.cl.
#include "cl/gemm/gemm.h"

// k beyond this goes in several parts or slices: it keeps the work of a work-group within what watchdogs allow, and llvmpipe
// leaves a kernel's loops, unasked, after 65535 rounds. So do, for speed, products whose tiles are too few for the device.
enum { SLICE = 32768, SHARE_LEAST = 256, LARGEST = 1 << 30 };

// A kernel and its tile, side × side, from large to small; tensor cores first. Two factors of `depth` steps (warps: 64 bytes) are in
// local memory, twice (warps: three times).
static const struct kind {
  const char *kernel, *file;
  int64_t side, depth;
  size_t items, local_memory;
  bool warps;
} kinds[] = {
    {"gemm_warp", "gemm/warp.cl", 128, 32, 128, 6 * 128 * 64, true},
    {"gemm_warp", "gemm/warp.cl", 64, 32, 128, 6 * 64 * 64, true},
    {"gemm_tiles", "gemm/tiles.cl", 128, 8, 256, 4 * 8 * (128 + 4) * sizeof(float), false},
    {"gemm_tiles", "gemm/tiles.cl", 64, 16, 128, 4 * 16 * (64 + 4) * sizeof(float), false},
    {"gemm_tiles", "gemm/tiles.cl", 32, 16, 64, 4 * 16 * (32 + 4) * sizeof(float), false},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

struct plan {
  const struct kind *kind;
  int64_t splits, share;
  cl_mem parts;  // of the sum, F32, where there are several
};

// ---------------------------------------------------------------- plan

// Vectors are aligned: every row of every batch begins at one.
static bool is_aligned(const heed_tensor *t, int64_t vector) {
  return t->offset % vector == 0 && t->strides[0] % vector == 0 && t->strides[1] % vector == 0 &&
         t->strides[2] % vector == 0;
}

// Tensor cores take 16-bit factors, copied 16 bytes at a time, and F32 ones where rounding them is allowed.
static bool suits_warps(const struct heed__cl *cl, const struct heed__cl_gemm_problem *p) {
  const heed_dtype dtype = p->a->dtype;
  const int64_t chunk = 16 / (int64_t)heed_dtype_size(dtype);
  return (cl->traits.tensor_cores || cl->traits.emulate_warps) && (dtype != HEED_F32 || cl->tf32) &&
         is_aligned(p->a, chunk) && is_aligned(p->b, chunk);
}

static bool is_possible(const struct heed__cl *cl, const struct kind *kind, const struct heed__cl_gemm_problem *p) {
  return kind->items <= cl->traits.max_work_group && kind->local_memory <= cl->traits.local_memory &&
         (!kind->warps || suits_warps(cl, p));
}

static int64_t tiles_of(const struct kind *kind, const struct heed__cl_gemm_problem *p) {
  return heed__ceil_div(p->m, kind->side) * heed__ceil_div(p->n, kind->side);
}

// The largest tile that C fills and that leaves a work-group for every compute unit; without such, the smallest but for a C that is
// smaller than the next.
static bool is_wanted(const struct heed__cl_traits *traits, const struct kind *kind,
                      const struct heed__cl_gemm_problem *p, int64_t asked) {
  if (asked) return kind->side <= asked;
  if (heed__min(p->m, p->n) <= kind->side / 2) return false;
  return kind->side == 64 || tiles_of(kind, p) * p->batches >= traits->compute_units;
}

// `after`: only kinds behind it. NULL: the device can run none.
static const struct kind *choose(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                 const struct kind *after) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  const struct kind *found = NULL;
  for (const struct kind *kind = after ? after + 1 : kinds; kind < kinds + KINDS; ++kind) {
    if (!is_possible(cl, kind, p)) continue;
    if (found && found->warps && !kind->warps) break;
    found = kind;
    if (is_wanted(&cl->traits, kind, p, heed__cl_gemm_state(ctx)->layout.rows)) break;
  }
  return found;
}

static bool parts_fit(const heed_context *ctx, const struct heed__cl_gemm_problem *p, int64_t splits) {
  const uint64_t most = (uint64_t)1 << 30, allowed = heed__cl_state(ctx)->traits.max_allocation;
  int64_t floats;
  return heed__mul(p->m * p->n, p->batches, &floats) && heed__mul(floats, splits, &floats) &&
         (uint64_t)floats <= (most < allowed ? most : allowed) / sizeof(float);
}

// Always the same for a problem on a device, so that the same call sums in the same order.
static void plan_splits(const heed_context *ctx, const struct heed__cl_gemm_problem *p, struct plan *plan) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  const int64_t asked = heed__cl_gemm_state(ctx)->layout.splits, units = cl->traits.compute_units;
  const int64_t groups = tiles_of(plan->kind, p) * p->batches;
  int64_t splits = heed__max(1, heed__ceil_div(p->k, SLICE));
  if (asked)
    splits = heed__max(splits, heed__min(asked, p->k));
  else if (groups < units)
    splits = heed__max(splits, heed__min(heed__ceil_div(2 * units, groups), p->k / SHARE_LEAST));
  if (!parts_fit(ctx, p, splits)) splits = 1;
  plan->share = heed__round_up(heed__max(1, heed__ceil_div(p->k, splits)), plan->kind->depth);
  plan->splits = heed__max(1, heed__ceil_div(p->k, plan->share));
}

bool heed__cl_gemm_gpu_supports(const heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  return p->m <= LARGEST && p->n <= LARGEST && p->k <= LARGEST && p->batches <= LARGEST &&
         choose(ctx, p, NULL) != NULL && tiles_of(choose(ctx, p, NULL), p) <= LARGEST;
}

bool heed__cl_gemm_gpu_uses_warps(const heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  const struct kind *kind = choose(ctx, p, NULL);
  return kind && kind->warps;
}

uint32_t heed__cl_gemm_gpu_class(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                 struct heed__cl_gemm_layout *same, bool *aligned) {
  struct plan plan = {.kind = choose(ctx, p, NULL)};
  *same = (struct heed__cl_gemm_layout){0};
  *aligned = false;
  if (!plan.kind) return 0;  // not a problem that is supported
  plan_splits(ctx, p, &plan);
  *same = (struct heed__cl_gemm_layout){.rows = plan.kind->side, .splits = plan.splits > 1 ? 2 : 1};
  *aligned = is_aligned(p->a, 4) && is_aligned(p->b, 4);
  return 1 | (uint32_t)(plan.kind - kinds) << 1 | (uint32_t)(plan.splits > 1) << 4 | (uint32_t)*aligned << 5;
}

// ---------------------------------------------------------------- launches

static void pass_factor(struct heed__cl_kernel *k, const heed_tensor *t, bool along_k) {
  heed__cl_tensor(k, t);
  heed__cl_strides(k, t, 2);
  heed__cl_long(k, along_k ? t->strides[2] : 1);
  heed__cl_long(k, along_k ? 1 : t->strides[2]);
}

// The values of the bits are those of gemm/grid.cl.
static uint32_t form_of(const struct heed__cl_gemm_problem *p) {
  return (uint32_t)!p->trans_a | (uint32_t)p->trans_b << 1 | (uint32_t)is_aligned(p->a, 4) << 2 |
         (uint32_t)is_aligned(p->b, 4) << 3;
}

// All but the numbers of the first tile and the first batch.
static void describe(struct heed__cl_kernel *k, heed_context *ctx, const struct plan *plan,
                     const struct heed__cl_gemm_problem *p) {
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
    heed__cl_define_int(k, "DEPTH", plan->kind->depth);
    if (ctx->device.type == HEED_DEVICE_CPU) heed__cl_define(k, "ON_CPU", "1");
  }
  if (plan->splits == 1) heed__cl_gemm_epilogue_define(k, p);
  pass_factor(k, p->a, !p->trans_a);
  pass_factor(k, p->b, p->trans_b);
  heed__cl_gemm_result(k, p, plan->splits > 1 ? plan->parts : NULL, plan->splits);
  const int64_t numbers[] = {p->c->dims[1], p->m, p->n, p->k, plan->splits, plan->share};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) heed__cl_uint(k, (uint32_t)numbers[i]);
}

// A launch is what a slow GPU does in about half a second: 4 GFLOP a compute unit, 30 on its tensor cores.
static heed_status launch_all(const struct heed__cl_kernel *described, const struct plan *plan,
                              const struct heed__cl_gemm_problem *p) {
  const double unit = plan->kind->warps ? 3e10 : 4e9, units = heed__cl_state(described->ctx)->traits.compute_units;
  const double work = 2.0 * (double)(plan->kind->side * plan->kind->side) * (double)plan->share;
  const int64_t most = heed__max(1, (int64_t)(unit * units / work)), tiles = tiles_of(plan->kind, p);
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

static heed_status add_parts(heed_context *ctx, const struct plan *plan, const struct heed__cl_gemm_problem *p) {
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "gemm/parts.cl", "gemm_parts");
  heed__cl_define_int(&k, "VECTOR", 4);
  heed__cl_define_dtype(&k, "X_DTYPE", p->c->dtype);
  heed__cl_gemm_epilogue_define(&k, p);
  heed__cl_buffer(&k, plan->parts);
  heed__cl_tensor(&k, p->c);
  heed__cl_strides(&k, p->c, 3);
  heed__cl_gemm_epilogue_args(&k, p);
  heed__cl_uint(&k, (uint32_t)p->c->dims[1]);
  heed__cl_long(&k, p->m);
  heed__cl_long(&k, p->n);
  heed__cl_uint(&k, (uint32_t)plan->splits);
  const size_t global[] = {(size_t)heed__ceil_div(p->n, 4), (size_t)p->m, (size_t)p->batches};
  return heed__cl_launch(&k, 3, global, NULL);
}

// A driver may run a kernel in smaller work-groups only than it runs others: then a smaller tile. What it says may be less than it
// takes (rusticl: its subgroup's size), so that less than the smallest tile's counts for nothing.
static heed_status choose_built(heed_context *ctx, const struct heed__cl_gemm_problem *p, struct plan *plan,
                                struct heed__cl_kernel *k) {
  for (plan->kind = choose(ctx, p, NULL); plan->kind;) {
    plan_splits(ctx, p, plan);
    if (plan->splits > 1)
      HEED__TRY(
          heed__cl_scratch_take(ctx, (size_t)(p->m * p->n * p->batches * plan->splits) * sizeof(float), &plan->parts));
    describe(k, ctx, plan, p);
    size_t limit = 0;
    const heed_status status = heed__cl_work_group_limit(k, &limit);
    const struct kind *next = choose(ctx, p, plan->kind);
    if (status != HEED_OK && (!plan->kind->warps || !next)) return status;
    if (status != HEED_OK) {  // a driver that does not take their instructions: ordinary kernels from now on
      struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
      traits->tensor_cores = traits->emulate_warps = false;
      next = choose(ctx, p, plan->kind);
    }
    const bool fits = limit < kinds[KINDS - 1].items || limit >= plan->kind->items || !next;
    if (status == HEED_OK && fits) return HEED_OK;
    plan->kind = next;
    heed__cl_scratch_give(ctx, plan->parts);
    plan->parts = NULL;
  }
  return heed__fail(HEED_ERROR_UNSUPPORTED, "gemm: %s runs none of heed's tiles", ctx->device.name);
}

static heed_status run_whole(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  struct plan plan = {0};
  struct heed__cl_kernel k;
  heed_status status;
  HEED__TRY_TO(done, status, choose_built(ctx, p, &plan, &k));
  HEED__TRY_TO(done, status, launch_all(&k, &plan, p));
  if (plan.splits > 1) status = add_parts(ctx, &plan, p);
done:
  heed__cl_scratch_give(ctx, plan.parts);
  return status;
}

// Slice [start, start + length) of the summed dimension of a or b, which is their axis `axis`.
static struct heed_tensor depth_slice(const heed_tensor *t, int axis, int64_t start, int64_t length) {
  int64_t dims[4] = {t->dims[0], t->dims[1], t->dims[2], t->dims[3]};
  dims[axis] = length;
  struct heed_tensor view;
  heed__view_init(&view, t, 4, dims, t->strides, t->offset + start * t->strides[axis]);
  return view;
}

heed_status heed__cl_gemm_gpu_run(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  if (p->k <= SLICE || parts_fit(ctx, p, heed__ceil_div(p->k, SLICE))) return run_whole(ctx, p);
  // Too large a C for parts: slices that add to it.
  for (int64_t start = 0; start < p->k; start += SLICE) {
    struct heed__cl_gemm_problem slice = *p;
    slice.k = heed__min(SLICE, p->k - start);
    const struct heed_tensor a = depth_slice(p->a, p->trans_a ? 2 : 3, start, slice.k);
    const struct heed_tensor b = depth_slice(p->b, p->trans_b ? 3 : 2, start, slice.k);
    slice.a = &a;
    slice.b = &b;
    if (start > 0) slice.beta = 1;
    if (start + slice.k < p->k) slice.epilogue = (struct heed__cl_gemm_epilogue){0};
    HEED__TRY(run_whole(ctx, &slice));
  }
  return HEED_OK;
}
