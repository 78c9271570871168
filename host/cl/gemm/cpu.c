// gemm on CPUs: how a product is laid out for gemm/cpu.cl (what is packed, how it is cut into work-items), and the launches.
#include <string.h>

#include "cl/gemm/gemm.h"

enum { DOT_EDGE = 4 };

// An operand as the kernels see it: `extent` rows of R or columns of V by k.
struct operand {
  const heed_tensor *t;
  int64_t extent, width;  // width: of its panels when packed
  bool along_k;           // its elements along k are neighbours
  bool pack;
  int64_t batch0, batch1;  // packed: its own batches, without broadcasts
  int64_t packed_floats;   // of one batch
  cl_mem packed;
};

struct plan {
  bool dot, swap;
  int64_t tile_rows, tile_vectors, panel;  // panel: columns
  struct operand r, v;                     // T = R V
  int64_t rows, panels, depth, splits, share;
  bool through_parts;  // splits, or blocks of k under a 16-bit C: F32 parts that gemm_reduce adds up
  cl_mem parts;
};

// ---------------------------------------------------------------- plan

static int64_t leading(const heed_tensor *t) { return t->strides[2]; }

static struct operand operand_of(const heed_tensor *t, int64_t extent, int64_t width, bool along_k) {
  return (struct operand){.t = t,
                          .extent = extent,
                          .width = width,
                          .along_k = along_k,
                          .batch0 = t->strides[0] == 0 ? 1 : t->dims[0],
                          .batch1 = t->strides[1] == 0 ? 1 : t->dims[1]};
}

static bool decide(int asked, bool chosen) { return asked ? asked > 0 : chosen; }

// Neither operand of A Bᵀ has neighbours along C, so that one must be packed; for a small product that costs more than dot products.
static bool wants_dot(const struct heed__cl_gemm_problem *p, int asked, int64_t vector) {
  if (p->trans_a || !p->trans_b) return false;
  const bool small = heed__min(p->m, p->n) < 16 || p->m * p->n <= (1 << 18) / heed__max(p->k, 1);
  return decide(asked, small && p->k >= vector);
}

// V must have neighbours along T's columns, or be packed. So C or its transpose: what packs nothing,
// else the operand that is the smaller by enough to pay for transposing C.
static bool wants_swap(const struct heed__cl_gemm_problem *p, int asked, int64_t vector) {
  bool swap = false;
  if (!p->trans_a && p->trans_b)
    swap = p->m <= p->n / 2;
  else if (p->trans_a && p->trans_b)
    swap = true;
  else if (p->trans_a)
    swap = p->n < vector && p->m >= vector;
  return decide(asked, swap);
}

// The register tile: rows × vectors sums, with room for a row of V and a scalar of R; 32 registers come with the widest vectors.
// A last panel of one vector is the slowest for its size, so that panels of two do better where that leaves no odd one.
static void plan_tile(struct plan *plan, int64_t asked, int64_t columns, int64_t vector) {
  const int64_t all = heed__ceil_div(columns, vector);
  static const double rest[] = {0, 5.5, 8.3};  // of a step's 12 cycles for three
  const double threes = (double)(all / 3) * 12 + rest[all % 3], twos = (double)(all / 2) * 8.3 + rest[all % 2];
  plan->tile_rows = vector == 16 ? 8 : 4;
  plan->tile_vectors = asked ? asked : twos < threes ? 2 : 3;
  plan->panel = plan->tile_vectors * vector;
}

// V is packed where it must be, or where enough rows of T pass over it to pay for that. So is R where its rows lie apart by a page
// for each step of k; rows along k are read well as they lie. 16-bit operands become floats on the way.
static void plan_packing(struct plan *plan, const struct heed__cl_gemm_problem *p,
                         const struct heed__cl_gemm_layout *asked, int64_t vector) {
  struct operand *r = &plan->r, *v = &plan->v;
  const bool convert = p->c->dtype != HEED_F32;
  const bool fits_v = v->extent >= plan->panel || v->extent % vector == 0;
  v->pack = decide(asked->pack_cols, r->extent >= 192 && p->k >= 128) || v->along_k || convert || !fits_v;
  r->pack = decide(asked->pack_rows, !r->along_k && v->extent >= 192 && p->k >= 128) || convert || r->extent < r->width;
}

static int64_t items_of(const struct plan *plan, int64_t batches) {
  return heed__ceil_div(plan->v.extent, plan->panel * plan->panels) * heed__ceil_div(plan->r.extent, plan->rows) *
         batches;
}

// A work-item has `panels` panels by `rows` rows, `depth` steps of k at a time: its rows of R, or else all of V, should stay in the
// second cache. Fewer of them while there are cores to feed and enough to do in each.
static void plan_items(struct plan *plan, const struct heed__cl_gemm_problem *p,
                       const struct heed__cl_gemm_layout *asked, int64_t cores) {
  const int64_t step = plan->tile_rows * (plan->swap ? 2 : 1), blocks = heed__max(1, (p->k + 512) / 1024);
  plan->depth = asked->depth ? asked->depth : heed__max(1, heed__ceil_div(p->k, blocks));
  const bool small = plan->v.extent <= (1 << 18) / plan->depth;
  plan->panels = asked->panels ? asked->panels : small ? 1 : 4;
  plan->rows = heed__round_up(asked->rows ? asked->rows : heed__min(small ? 64 : 256, plan->r.extent), step);
  while (!asked->panels && plan->panels > 1 && items_of(plan, p->batches) < 8 * cores) plan->panels /= 2;
  while (!asked->rows && plan->rows > step && items_of(plan, p->batches) < 8 * cores &&
         plan->rows * plan->panel * p->k > 1 << 15)
    plan->rows = heed__round_up(plan->rows / 2, step);
}

// Where C has too little to keep the cores busy and k is long, k is cut into parts: always the same ones, summed in order.
static void plan_splits(struct plan *plan, const struct heed__cl_gemm_problem *p,
                        const struct heed__cl_gemm_layout *asked, int64_t cores) {
  const int64_t items = items_of(plan, p->batches);
  int64_t splits = 1;
  if (items < 4 * cores && p->k >= 1024) splits = heed__max(1, heed__min(heed__ceil_div(8 * cores, items), p->k / 256));
  if (asked->splits) splits = heed__max(1, heed__min(asked->splits, p->k));
  plan->share = heed__max(1, heed__ceil_div(p->k, splits));
  plan->splits = heed__max(1, heed__ceil_div(p->k, plan->share));
  if (plan->depth >= plan->share) plan->depth = plan->share;
  plan->through_parts = plan->splits > 1 || (plan->depth < plan->share && p->c->dtype != HEED_F32);
}

// False where sizes pass what one launch and one buffer can hold.
static bool plan_sizes(struct plan *plan, const struct heed__cl_gemm_problem *p, uint64_t most_bytes) {
  struct operand *both[] = {&plan->r, &plan->v};
  int64_t floats;
  for (int i = 0; i < 2; ++i) {
    struct operand *o = both[i];
    if (!o->pack) continue;
    if (!heed__mul(heed__round_up(o->extent, o->width), p->k, &o->packed_floats) ||
        !heed__mul(o->packed_floats, o->batch0 * o->batch1, &floats) || (uint64_t)floats > most_bytes / sizeof(float))
      return false;
  }
  return !plan->through_parts ||
         (heed__mul(p->m * p->n, p->batches, &floats) && heed__mul(floats, plan->splits, &floats) &&
          (uint64_t)floats <= most_bytes / sizeof(float));
}

static bool make_plan_with(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                           const struct heed__cl_gemm_layout *asked, struct plan *plan) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  const int64_t vector = cl->traits.vector_width, most = 1 << 30;
  if (p->m > most || p->n > most || p->k > most || p->batches > most) return false;
  const int64_t cores = cl->traits.compute_units;
  *plan = (struct plan){0};
  plan->dot = wants_dot(p, asked->dot, vector);
  if (plan->dot) {
    plan->rows = heed__round_up(asked->rows ? asked->rows : p->m, DOT_EDGE);
    while (!asked->rows && plan->rows > DOT_EDGE &&
           heed__ceil_div(p->n, DOT_EDGE) * heed__ceil_div(p->m, plan->rows) * p->batches < 8 * cores)
      plan->rows = heed__round_up(plan->rows / 2, DOT_EDGE);
    return true;
  }
  plan->swap = wants_swap(p, asked->swap, vector);
  const struct operand a = operand_of(p->a, p->m, 0, !p->trans_a), b = operand_of(p->b, p->n, 0, p->trans_b);
  plan->r = plan->swap ? b : a;
  plan->v = plan->swap ? a : b;
  plan_tile(plan, asked->vectors, plan->v.extent, vector);
  plan->r.width = plan->tile_rows;
  plan->v.width = plan->panel;
  plan_packing(plan, p, asked, vector);
  plan_items(plan, p, asked, cores);
  plan_splits(plan, p, asked, cores);
  return plan_sizes(plan, p, cl->traits.max_allocation);
}

static struct heed__cl_gemm_layout layout_of(const struct heed__cl_tuning_choice *choice) {
  const int64_t *v = choice->values;
  return (struct heed__cl_gemm_layout){.vectors = v[HEED__TUNE_vectors],
                                       .rows = v[HEED__TUNE_rows],
                                       .panels = v[HEED__TUNE_panels],
                                       .depth = v[HEED__TUNE_depth],
                                       .splits = v[HEED__TUNE_splits],
                                       .swap = (int)v[HEED__TUNE_swap],
                                       .pack_rows = (int)v[HEED__TUNE_pack_rows],
                                       .pack_cols = (int)v[HEED__TUNE_pack_cols],
                                       .dot = (int)v[HEED__TUNE_dot]};
}

// As the context asks (tests, probes), else as was tuned.
static bool make_plan(const heed_context *ctx, const struct heed__cl_gemm_problem *p, struct plan *plan) {
  static const struct heed__cl_gemm_layout own;
  const struct heed__cl_gemm_layout *asked = &heed__cl_gemm_state(ctx)->layout;
  const struct heed__cl_tuning_choice *tuned = memcmp(asked, &own, sizeof own) ? NULL : heed__cl_gemm_tuned(ctx, p);
  const struct heed__cl_gemm_layout layout = tuned ? layout_of(tuned) : *asked;
  return make_plan_with(ctx, p, &layout, plan);
}

bool heed__cl_gemm_cpu_supports(const heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  struct plan plan;
  return heed__cl_state(ctx)->traits.cpu_like && make_plan(ctx, p, &plan);
}

uint32_t heed__cl_gemm_cpu_class(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                 struct heed__cl_gemm_layout *same) {
  struct plan plan;
  if (!make_plan(ctx, p, &plan)) return 0;
  if (plan.dot) {
    *same = (struct heed__cl_gemm_layout){.dot = 1};
    return 1;
  }
  *same = (struct heed__cl_gemm_layout){.dot = -1,
                                        .vectors = plan.tile_vectors,
                                        .swap = plan.swap ? 1 : -1,
                                        .pack_rows = plan.r.pack ? 1 : -1,
                                        .pack_cols = plan.v.pack ? 1 : -1,
                                        .splits = plan.through_parts ? 2 : 1,
                                        .depth = p->c->dtype == HEED_F32 ? 40 : 0};
  return 2 | (uint32_t)plan.swap << 2 | (uint32_t)plan.r.pack << 3 | (uint32_t)plan.v.pack << 4 |
         (uint32_t)plan.through_parts << 5 | (uint32_t)(plan.tile_vectors == 2) << 6;
}

static bool same_plan(const struct plan *a, const struct plan *b) {
  return a->dot == b->dot && a->swap == b->swap && a->tile_vectors == b->tile_vectors && a->r.pack == b->r.pack &&
         a->v.pack == b->v.pack && a->rows == b->rows && a->panels == b->panels && a->depth == b->depth &&
         a->splits == b->splits && a->share == b->share;
}

// Twice and half of what the plan has, and the other side of its switches.
void heed__cl_gemm_cpu_neighbours(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                  const struct heed__cl_tuning_choice *choice, struct heed__cl_tuning_choices *out) {
  struct heed__cl_gemm_layout layout = layout_of(choice);
  struct plan plan, other;
  if (!make_plan_with(ctx, p, &layout, &plan)) return;
  const struct {
    enum heed__cl_tuning_tunable what;
    int64_t value;
  } steps[] = {
      {HEED__TUNE_dot, plan.dot ? -1 : 1},
      {HEED__TUNE_vectors, 5 - plan.tile_vectors},
      {HEED__TUNE_swap, plan.swap ? -1 : 1},
      {HEED__TUNE_pack_rows, plan.r.pack ? -1 : 1},
      {HEED__TUNE_pack_cols, plan.v.pack ? -1 : 1},
      {HEED__TUNE_rows, plan.rows * 2},
      {HEED__TUNE_rows, plan.rows / 2},
      {HEED__TUNE_panels, plan.panels * 2},
      {HEED__TUNE_panels, plan.panels / 2},
      {HEED__TUNE_depth, plan.depth * 2},
      {HEED__TUNE_depth, plan.depth / 2},
      {HEED__TUNE_splits, plan.splits * 2},
      {HEED__TUNE_splits, plan.splits / 2},
  };
  for (size_t i = 0; i < sizeof steps / sizeof *steps; ++i) {
    const size_t before = out->count;
    heed__cl_tuning_choices_add(out, choice, steps[i].what, steps[i].value);
    if (out->count == before) continue;
    layout = layout_of(&out->list[before]);
    if (!make_plan_with(ctx, p, &layout, &other) || same_plan(&plan, &other)) out->count = before;
  }
}

// ---------------------------------------------------------------- launches

static void begin(struct heed__cl_kernel *k, heed_context *ctx, const char *file, const char *kernel,
                  heed_dtype dtype) {
  heed__cl_begin(k, ctx, file, kernel);
  heed__cl_define_int(k, "VECTOR", heed__cl_state(ctx)->traits.vector_width);
  heed__cl_define_dtype(k, "X_DTYPE", dtype);
}

static heed_status launch(struct heed__cl_kernel *k, int64_t x, int64_t y, int64_t z) {
  return heed__cl_launch(k, 3, (const size_t[]){(size_t)x, (size_t)y, (size_t)z}, (const size_t[]){1, 1, 1});
}

static heed_status pack(heed_context *ctx, struct operand *o, int64_t depth) {
  const int64_t cores = heed__cl_state(ctx)->traits.compute_units, all = heed__ceil_div(o->extent, o->width);
  const int64_t batches = o->batch0 * o->batch1, panels = heed__ceil_div(o->along_k ? 64 : 256, o->width);
  int64_t share = o->along_k ? 256 : 64;
  while (share > 32 && heed__ceil_div(all, panels) * heed__ceil_div(depth, share) * batches < 8 * cores) share /= 2;
  HEED__TRY(heed__cl_scratch_take(ctx, (size_t)heed__max(o->packed_floats * batches, 1) * sizeof(float), &o->packed));
  struct heed__cl_kernel k;
  begin(&k, ctx, "gemm/cpu_pack.cl", o->along_k ? "gemm_pack_along_k" : "gemm_pack_along_x", o->t->dtype);
  heed__cl_tensor(&k, o->t);
  heed__cl_strides(&k, o->t, 2);
  heed__cl_long(&k, leading(o->t));
  heed__cl_buffer(&k, o->packed);
  heed__cl_long(&k, o->packed_floats);
  heed__cl_uint(&k, (uint32_t)o->batch1);
  heed__cl_uint(&k, (uint32_t)o->extent);
  heed__cl_uint(&k, (uint32_t)depth);
  heed__cl_uint(&k, (uint32_t)o->width);
  heed__cl_uint(&k, (uint32_t)panels);
  heed__cl_uint(&k, (uint32_t)share);
  return launch(&k, heed__ceil_div(all, panels), heed__ceil_div(depth, share), batches);
}

// Buffer, offset, batch strides, and how far apart its rows (or columns) and its steps of k are.
static void pass_operand(struct heed__cl_kernel *k, const struct operand *o, int64_t depth) {
  if (!o->pack) {
    heed__cl_tensor(k, o->t);
    heed__cl_strides(k, o->t, 2);
    heed__cl_long(k, o->along_k ? leading(o->t) : 1);
    heed__cl_long(k, o->along_k ? 1 : leading(o->t));
    return;
  }
  heed__cl_buffer(k, o->packed);
  heed__cl_long(k, 0);
  heed__cl_long(k, o->batch0 == 1 ? 0 : o->packed_floats * o->batch1);
  heed__cl_long(k, o->batch1 == 1 ? 0 : o->packed_floats);
  heed__cl_long(k, depth);
  heed__cl_long(k, o->width);
}

static heed_status multiply(heed_context *ctx, const struct plan *plan, const struct heed__cl_gemm_problem *p) {
  struct heed__cl_kernel k;
  begin(&k, ctx, "gemm/cpu.cl", "gemm_cpu", plan->through_parts ? HEED_F32 : p->c->dtype);
  heed__cl_define_int(&k, "TILE_ROWS", plan->tile_rows);
  heed__cl_define_int(&k, "TILE_VECTORS", plan->tile_vectors);
  heed__cl_define_int(&k, "ROWS_APART", !plan->r.pack && plan->r.along_k);
  heed__cl_define_int(&k, "SWAP", plan->swap);
  if (!plan->through_parts) heed__cl_gemm_epilogue_define(&k, p);
  pass_operand(&k, &plan->r, p->k);
  pass_operand(&k, &plan->v, p->k);
  heed__cl_gemm_result(&k, p, plan->through_parts ? plan->parts : NULL, plan->splits);
  const int64_t numbers[] = {p->c->dims[1], plan->r.extent, plan->v.extent, p->k,         plan->rows,  plan->panels,
                             plan->depth,   plan->splits,   plan->share,    plan->r.pack, plan->v.pack};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) heed__cl_uint(&k, (uint32_t)numbers[i]);
  return launch(&k, heed__ceil_div(plan->v.extent, plan->panel * plan->panels),
                heed__ceil_div(plan->r.extent, plan->rows), p->batches * plan->splits);
}

static heed_status reduce(heed_context *ctx, const struct plan *plan, const struct heed__cl_gemm_problem *p) {
  struct heed__cl_kernel k;
  begin(&k, ctx, "gemm/cpu_small.cl", "gemm_reduce", p->c->dtype);
  heed__cl_gemm_epilogue_define(&k, p);
  heed__cl_buffer(&k, plan->parts);
  heed__cl_tensor(&k, p->c);
  heed__cl_strides(&k, p->c, 2);
  heed__cl_long(&k, leading(p->c));
  heed__cl_gemm_epilogue_args(&k, p);
  heed__cl_uint(&k, (uint32_t)p->c->dims[1]);
  heed__cl_uint(&k, (uint32_t)p->m);
  heed__cl_uint(&k, (uint32_t)p->n);
  heed__cl_uint(&k, (uint32_t)plan->splits);
  return launch(&k, p->m, p->batches, 1);
}

static heed_status dot(heed_context *ctx, const struct plan *plan, const struct heed__cl_gemm_problem *p) {
  struct heed__cl_kernel k;
  begin(&k, ctx, "gemm/cpu_small.cl", "gemm_dot", p->c->dtype);
  heed__cl_gemm_epilogue_define(&k, p);
  const heed_tensor *tensors[] = {p->a, p->b, p->c};
  for (int i = 0; i < 3; ++i) {
    heed__cl_tensor(&k, tensors[i]);
    heed__cl_strides(&k, tensors[i], 2);
    heed__cl_long(&k, leading(tensors[i]));
  }
  heed__cl_gemm_epilogue_args(&k, p);
  heed__cl_uint(&k, (uint32_t)p->c->dims[1]);
  heed__cl_uint(&k, (uint32_t)p->m);
  heed__cl_uint(&k, (uint32_t)p->n);
  heed__cl_uint(&k, (uint32_t)p->k);
  heed__cl_uint(&k, (uint32_t)plan->rows);
  return launch(&k, heed__ceil_div(p->n, DOT_EDGE), heed__ceil_div(p->m, plan->rows), p->batches);
}

static heed_status run_planned(heed_context *ctx, struct plan *plan, const struct heed__cl_gemm_problem *p) {
  if (plan->r.pack && p->k > 0) HEED__TRY(pack(ctx, &plan->r, p->k));
  if (plan->v.pack && p->k > 0) HEED__TRY(pack(ctx, &plan->v, p->k));
  if (plan->through_parts)
    HEED__TRY(
        heed__cl_scratch_take(ctx, (size_t)(p->m * p->n * p->batches * plan->splits) * sizeof(float), &plan->parts));
  HEED__TRY(multiply(ctx, plan, p));
  return plan->through_parts ? reduce(ctx, plan, p) : HEED_OK;
}

heed_status heed__cl_gemm_cpu_run(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  struct plan plan;
  HEED__REQUIRE(make_plan(ctx, p, &plan), HEED_ERROR_UNSUPPORTED,
                "gemm: %lld x %lld x %lld does not fit the CPU's kernels", (long long)p->m, (long long)p->n,
                (long long)p->k);
  if (plan.dot) return dot(ctx, &plan, p);
  const heed_status status = run_planned(ctx, &plan, p);
  heed__cl_scratch_give(ctx, plan.parts);
  heed__cl_scratch_give(ctx, plan.v.packed);
  heed__cl_scratch_give(ctx, plan.r.packed);
  return status;
}
