// gemm with the simplest of heed's kernels (panels.cl), which accepts every problem: on CPUs those that cpu.c does not, elsewhere those of
// devices whose work-groups are too small for a tile of gpu.c.
#include "cl/gemm/variant.h"

// Passes the tensor, its batch strides, and the strides of the rows and columns of its op().
static void pass_matrix(struct heed__cl_kernel *k, const heed_tensor *t, bool trans) {
  heed__cl_tensor(k, t);
  heed__cl_strides(k, t, 2);
  heed__cl_long(k, t->strides[trans ? 3 : 2]);
  heed__cl_long(k, t->strides[trans ? 2 : 3]);
}

// a: [B0, B1, m, k]; b: [B0, B1, k, n], either transposed -> c: [B0, B1, m, n]
static heed_status launch(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  const int vector = heed__cl_state(ctx)->traits.vector_width;
  // Two vectors per row, and as many rows as leave registers for B (CPUs with the widest vectors have 32 registers).
  const int rows = vector == 16 ? 12 : 6, strips = 16;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "gemm/panels.cl", "gemm_panels");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_int(&k, "ROWS", rows);
  heed__cl_define_dtype(&k, "X_DTYPE", p->c->dtype);
  heed__cl_gemm_epilogue_define(&k, p);
  pass_matrix(&k, p->a, p->trans_a);
  pass_matrix(&k, p->b, p->trans_b);
  pass_matrix(&k, p->c, false);
  heed__cl_gemm_epilogue_args(&k, p);
  heed__cl_long(&k, p->c->dims[1]);
  heed__cl_long(&k, p->m);
  heed__cl_long(&k, p->n);
  heed__cl_long(&k, p->k);
  const size_t global[] = {(size_t)heed__ceil_div(p->n, 2 * vector), (size_t)heed__ceil_div(p->m, rows * strips),
                           (size_t)p->batches};
  return heed__cl_launch(&k, 3, global, (const size_t[]){1, 1, 1});
}

static heed_status run(heed_context *ctx, const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan,
                       int64_t *done) {
  (void)plan;
  const heed_status status = launch(ctx, p);
  *done = status == HEED_OK ? p->batches : 0;
  return status;
}

static bool plan_on_cpus(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                         const struct heed__cl_tuning_choice *choice, struct heed__cl_gemm_plan *plan) {
  (void)p;
  (void)choice;
  *plan = (struct heed__cl_gemm_plan){.variant = &heed__cl_gemm_panels};
  return heed__cl_state(ctx)->traits.cpu_like;
}

static bool plan_anywhere(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                          const struct heed__cl_tuning_choice *choice, struct heed__cl_gemm_plan *plan) {
  (void)ctx;
  (void)p;
  (void)choice;
  *plan = (struct heed__cl_gemm_plan){.variant = &heed__cl_gemm_panels_small};
  return true;
}

static void specimen(const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan,
                     struct heed__cl_gemm_specimen *specimen) {
  (void)p;
  (void)plan;
  specimen->any_form = true;
}

const struct heed__cl_gemm_variant heed__cl_gemm_panels = {
    .tuning = {"panels", 0}, .provider = HEED__GEMM_NATIVE, .plan = plan_on_cpus, .run = run, .specimen = specimen};
const struct heed__cl_gemm_variant heed__cl_gemm_panels_small = {.tuning = {"panels-small", 0},
                                                                 .provider = HEED__GEMM_NATIVE,
                                                                 .plan = plan_anywhere,
                                                                 .run = run,
                                                                 .specimen = specimen};
