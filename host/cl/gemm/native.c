// gemm by heed's own kernels: which of them does a problem, and the launch of gemm/panels.cl. The others are in cpu.c and gpu.c.
#include <string.h>

#include "cl/gemm/gemm.h"

// ---------------------------------------------------------------- gemm/panels.cl

// The tensor, its batch strides, and the strides of the rows and columns of its op().
static void pass_matrix(struct heed__cl_kernel *k, const heed_tensor *t, bool trans) {
  heed__cl_tensor(k, t);
  heed__cl_strides(k, t, 2);
  heed__cl_long(k, t->strides[trans ? 3 : 2]);
  heed__cl_long(k, t->strides[trans ? 2 : 3]);
}

static bool panels_supports(const heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  (void)p;
  return heed__cl_state(ctx)->traits.cpu_like;
}

static heed_status panels_run(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  const int vector = heed__cl_state(ctx)->traits.vector_width;
  // Two vectors a row: as many rows as leave registers for B (32 registers come with the widest vectors).
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

static bool any_supports(const heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  (void)ctx;
  (void)p;
  return true;
}

// The first that supports a problem does it; the last one supports all.
#define BIT(value) (1u << HEED__TUNE_##value)
static const struct variant {
  struct heed__cl_tuning_variant tuning;
  bool (*supports)(const heed_context *ctx, const struct heed__cl_gemm_problem *p);
  heed_status (*run)(heed_context *ctx, const struct heed__cl_gemm_problem *p);
} variants[] = {
    {{"cpu", BIT(vectors) | BIT(rows) | BIT(panels) | BIT(depth) | BIT(splits) | BIT(swap) | BIT(pack_rows) |
                 BIT(pack_cols) | BIT(dot)},
     heed__cl_gemm_cpu_supports,
     heed__cl_gemm_cpu_run},
    {{"panels", 0}, panels_supports, panels_run},
    {{"gpu", 0}, heed__cl_gemm_gpu_supports, heed__cl_gemm_gpu_run},
    {{"panels-small", 0}, any_supports, panels_run},  // on a device that runs no tile of the others
};
#undef BIT

enum { VARIANTS = sizeof variants / sizeof *variants };

// CLBlast stands behind heed's own: in choices it is a variant like them.
const struct heed__cl_tuning_variant *heed__cl_gemm_variant(size_t i) {
  static const struct heed__cl_tuning_variant clblast = {"clblast", 0};
  return i < VARIANTS ? &variants[i].tuning : i == VARIANTS ? &clblast : NULL;
}

// The variant of this name, if there is one that supports the problem.
static const struct variant *find(const heed_context *ctx, const struct heed__cl_gemm_problem *p, const char *name) {
  for (size_t i = 0; i < VARIANTS; ++i)
    if (strcmp(variants[i].tuning.key, name) == 0 && variants[i].supports(ctx, p)) return &variants[i];
  return NULL;
}

static const struct variant *pick(const heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  const struct heed__cl_tuning_choice *tuned = heed__cl_gemm_tuned(ctx, p);
  const char *asked = heed__cl_gemm_state(ctx)->variant;
  const struct variant *variant = asked ? find(ctx, p, asked) : tuned ? find(ctx, p, tuned->variant) : NULL;
  if (variant) return variant;
  for (variant = variants; !variant->supports(ctx, p);) ++variant;
  return variant;
}

const char *heed__cl_gemm_native_variant(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                         uint32_t *place) {
  const struct variant *variant = pick(ctx, p);
  *place = (uint32_t)(variant - variants);
  return variant->tuning.key;
}

heed_status heed__cl_gemm_native(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  return pick(ctx, p)->run(ctx, p);
}
