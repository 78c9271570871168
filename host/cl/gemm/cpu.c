// gemm on CPUs: the launches of cpu.cl, cpu_pack.cl and cpu_small.cl that a plan of cpu_plan.c asks for.
#include "cl/gemm/variant.h"

// An operand as the kernels see it: `extent` rows of R or columns of V by k.
struct operand {
  const heed_tensor *t;
  int64_t extent, width;  // width: of its panels when packed
  bool along_k;           // its elements along k are neighbours
  bool pack;
  int64_t batch0, batch1;  // if packed: its own batches, without broadcasts
  int64_t packed_floats;   // per batch; pairs count as one
  cl_mem packed;
};

// A product being computed: the plan's operands, with the memory of this call.
struct product {
  const struct heed__cl_gemm_problem *p;
  const struct heed__cl_gemm_cpu_plan *plan;
  struct operand r, v;  // T = R V
  cl_mem parts;
};

static int64_t leading(const heed_tensor *t) { return t->strides[2]; }

static struct operand operand_of(const heed_tensor *t, int64_t extent, int64_t width, bool along_k, bool pack,
                                 int64_t steps) {
  struct operand o = {.t = t,
                      .extent = extent,
                      .width = width,
                      .along_k = along_k,
                      .pack = pack,
                      .batch0 = t->strides[0] == 0 ? 1 : t->dims[0],
                      .batch1 = t->strides[1] == 0 ? 1 : t->dims[1]};
  if (pack) heed__cl_gemm_cpu_packed(extent, width, steps, &o.packed_floats);  // the plan has seen that it fits
  return o;
}

// ---------------------------------------------------------------- launches

static void begin(struct heed__cl_kernel *k, heed_context *ctx, const char *file, const char *kernel, heed_dtype dtype,
                  bool pairs) {
  heed__cl_begin(k, ctx, file, kernel);
  if (pairs) heed__cl_define_int(k, "PAIRS", heed__cl_state(ctx)->traits.bf16_dots == HEED__BF16_EMULATED ? 2 : 1);
  heed__cl_define_int(k, "VECTOR", heed__cl_state(ctx)->traits.vector_width);
  heed__cl_define_dtype(k, "X_DTYPE", dtype);
}

static heed_status launch(struct heed__cl_kernel *k, int64_t x, int64_t y, int64_t z) {
  return heed__cl_launch(k, 3, (const size_t[]){(size_t)x, (size_t)y, (size_t)z}, (const size_t[]){1, 1, 1});
}

// o: [batch0, batch1, extent, k] or [batch0, batch1, k, extent] -> panels [batch0 batch1, extent/width, steps, width], F32 or pairs
static heed_status pack(heed_context *ctx, struct operand *o, const struct product *x) {
  const int64_t depth = x->plan->steps;
  const int64_t cores = heed__cl_state(ctx)->traits.compute_units, all = heed__ceil_div(o->extent, o->width);
  const int64_t batches = o->batch0 * o->batch1, panels = heed__ceil_div(o->along_k ? 64 : 256, o->width);
  int64_t share = o->along_k ? 256 : 64;
  while (share > 32 && heed__ceil_div(all, panels) * heed__ceil_div(depth, share) * batches < 8 * cores) share /= 2;
  HEED__TRY(heed__cl_scratch_take(ctx, (uint64_t)heed__max(o->packed_floats * batches, 1) * sizeof(float), &o->packed));
  struct heed__cl_kernel k;
  begin(&k, ctx, "gemm/cpu_pack.cl", o->along_k ? "gemm_pack_along_k" : "gemm_pack_along_x", o->t->dtype,
        x->plan->pairs);
  heed__cl_tensor(&k, o->t);
  heed__cl_strides(&k, o->t, 2);
  heed__cl_long(&k, leading(o->t));
  heed__cl_buffer(&k, o->packed);
  heed__cl_long(&k, o->packed_floats);
  heed__cl_uint(&k, (uint32_t)o->batch1);
  heed__cl_uint(&k, (uint32_t)o->extent);
  heed__cl_uint(&k, (uint32_t)x->p->k);
  heed__cl_uint(&k, (uint32_t)o->width);
  heed__cl_uint(&k, (uint32_t)panels);
  heed__cl_uint(&k, (uint32_t)share);
  return launch(&k, heed__ceil_div(all, panels), heed__ceil_div(depth, share), batches);
}

// Passes the buffer, the offset, the batch strides, and the distances of its rows (or columns) and of its steps of k.
static void pass_operand(struct heed__cl_kernel *k, const struct operand *o,
                         const struct heed__cl_gemm_cpu_plan *plan) {
  if (!o->pack) {
    const int64_t each = plan->pairs ? 2 : 1;
    heed__cl_memory(k, o->t);
    heed__cl_long(k, o->t->offset / each);
    for (int axis = 0; axis < 2; ++axis) heed__cl_long(k, o->t->strides[axis] / each);
    heed__cl_long(k, o->along_k ? leading(o->t) / each : 1);
    heed__cl_long(k, o->along_k ? 1 : leading(o->t));
    return;
  }
  heed__cl_buffer(k, o->packed);
  heed__cl_long(k, 0);
  heed__cl_long(k, o->batch0 == 1 ? 0 : o->packed_floats * o->batch1);
  heed__cl_long(k, o->batch1 == 1 ? 0 : o->packed_floats);
  heed__cl_long(k, plan->steps);
  heed__cl_long(k, o->width);
}

// a: [B0, B1, m, k]; b: [B0, B1, k, n], each as stored or packed -> c: [B0, B1, m, n], or parts: [B0 B1, splits, m, n]
static heed_status multiply(heed_context *ctx, const struct product *x) {
  const struct heed__cl_gemm_problem *p = x->p;
  const struct heed__cl_gemm_cpu_plan *plan = x->plan;
  struct heed__cl_kernel k;
  begin(&k, ctx, "gemm/cpu.cl", "gemm_cpu", plan->through_parts ? HEED_F32 : p->c->dtype, plan->pairs);
  heed__cl_define_int(&k, "TILE_ROWS", plan->tile_rows);
  heed__cl_define_int(&k, "TILE_VECTORS", plan->tile_vectors);
  heed__cl_define_int(&k, "ROWS_APART", !x->r.pack && x->r.along_k);
  heed__cl_define_int(&k, "SWAP", plan->swap);
  if (!plan->through_parts) heed__cl_gemm_epilogue_define(&k, p);
  pass_operand(&k, &x->r, plan);
  pass_operand(&k, &x->v, plan);
  heed__cl_gemm_result(&k, p, plan->through_parts ? x->parts : NULL, plan->splits);
  const int64_t numbers[] = {p->c->dims[1], x->r.extent,  x->v.extent, plan->steps, plan->rows, plan->panels,
                             plan->depth,   plan->splits, plan->share, x->r.pack,   x->v.pack};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) heed__cl_uint(&k, (uint32_t)numbers[i]);
  return launch(&k, heed__ceil_div(x->v.extent, plan->panel * plan->panels), heed__ceil_div(x->r.extent, plan->rows),
                p->batches * plan->splits);
}

// parts: [B0 B1, splits, m, n] -> c: [B0, B1, m, n], summed in the order of the parts
static heed_status reduce(heed_context *ctx, const struct product *x) {
  const struct heed__cl_gemm_problem *p = x->p;
  struct heed__cl_kernel k;
  begin(&k, ctx, "gemm/cpu_small.cl", "gemm_reduce", p->c->dtype, false);
  heed__cl_gemm_epilogue_define(&k, p);
  heed__cl_buffer(&k, x->parts);
  heed__cl_tensor(&k, p->c);
  heed__cl_strides(&k, p->c, 2);
  heed__cl_long(&k, leading(p->c));
  heed__cl_gemm_epilogue_args(&k, p);
  heed__cl_uint(&k, (uint32_t)p->c->dims[1]);
  heed__cl_uint(&k, (uint32_t)p->m);
  heed__cl_uint(&k, (uint32_t)p->n);
  heed__cl_uint(&k, (uint32_t)x->plan->splits);
  return launch(&k, p->m, p->batches, 1);
}

// a: [B0, B1, m, k]; b: [B0, B1, n, k] -> c: [B0, B1, m, n]
static heed_status dot(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                       const struct heed__cl_gemm_cpu_plan *plan) {
  struct heed__cl_kernel k;
  begin(&k, ctx, "gemm/cpu_small.cl", "gemm_dot", p->c->dtype, false);
  heed__cl_define_int(&k, "DOT_ROWS", plan->tile_rows);
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
  heed__cl_uint(&k, (uint32_t)plan->panel);
  return launch(&k, heed__ceil_div(p->n, plan->panel), heed__ceil_div(p->m, plan->rows), p->batches);
}

static heed_status run_product(heed_context *ctx, struct product *x) {
  const struct heed__cl_gemm_problem *p = x->p;
  if (x->r.pack && p->k > 0) HEED__TRY(pack(ctx, &x->r, x));
  if (x->v.pack && p->k > 0) HEED__TRY(pack(ctx, &x->v, x));
  if (x->plan->through_parts)
    HEED__TRY(
        heed__cl_scratch_take(ctx, (uint64_t)(p->m * p->n * p->batches * x->plan->splits) * sizeof(float), &x->parts));
  HEED__TRY(multiply(ctx, x));
  return x->plan->through_parts ? reduce(ctx, x) : HEED_OK;
}

static heed_status run(heed_context *ctx, const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *made,
                       int64_t *done) {
  const struct heed__cl_gemm_cpu_plan *plan = &made->of.cpu;
  heed_status status;
  *done = 0;
  if (plan->dot) {
    status = dot(ctx, p, plan);
  } else {
    struct product x = {.p = p, .plan = plan};
    const heed_tensor *rows = plan->swap ? p->b : p->a, *columns = plan->swap ? p->a : p->b;
    x.r = operand_of(rows, plan->swap ? p->n : p->m, plan->tile_rows, plan->swap ? p->trans_b : !p->trans_a,
                     plan->pack_r, plan->steps);
    x.v = operand_of(columns, plan->swap ? p->m : p->n, plan->panel, plan->swap ? !p->trans_a : p->trans_b,
                     plan->pack_v, plan->steps);
    status = run_product(ctx, &x);
    heed__cl_scratch_give(ctx, x.parts);
    heed__cl_scratch_give(ctx, x.v.packed);
    heed__cl_scratch_give(ctx, x.r.packed);
  }
  if (status == HEED_OK) *done = p->batches;
  return status;
}

static bool make_plan(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                      const struct heed__cl_tuning_choice *choice, struct heed__cl_gemm_plan *plan) {
  *plan = (struct heed__cl_gemm_plan){.variant = &heed__cl_gemm_cpu};
  return heed__cl_gemm_cpu_make_plan(ctx, p, choice, false, &plan->of.cpu);
}

static bool make_plan_in_pairs(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                               const struct heed__cl_tuning_choice *choice, struct heed__cl_gemm_plan *plan) {
  *plan = (struct heed__cl_gemm_plan){.variant = &heed__cl_gemm_cpu_bf16};
  return heed__cl_gemm_cpu_make_plan(ctx, p, choice, true, &plan->of.cpu);
}

#define BIT(value) (1u << HEED__TUNE_##value)
const struct heed__cl_gemm_variant heed__cl_gemm_cpu = {
    .tuning = {"cpu", BIT(vectors) | BIT(rows) | BIT(panels) | BIT(depth) | BIT(splits) | BIT(swap) | BIT(pack_rows) |
                          BIT(pack_cols) | BIT(dot)},
    .provider = HEED__GEMM_NATIVE,
    .plan = make_plan,
    .run = run,
    .specimen = heed__cl_gemm_cpu_specimen,
    .neighbours = heed__cl_gemm_cpu_neighbours};
const struct heed__cl_gemm_variant heed__cl_gemm_cpu_bf16 = {
    .tuning = {"cpu-pairs",
               BIT(vectors) | BIT(rows) | BIT(panels) | BIT(depth) | BIT(splits) | BIT(swap) | BIT(pack_rows)},
    .provider = HEED__GEMM_NATIVE,
    .on_bf16_dots = true,
    .plan = make_plan_in_pairs,
    .run = run,
    .specimen = heed__cl_gemm_cpu_specimen,
    .neighbours = heed__cl_gemm_cpu_bf16_neighbours};
