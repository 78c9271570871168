// gemm on OpenCL: which provider and which kernel does a problem, and the launch of heed's own kernels.
#include <string.h>

#include "cl/gemm.h"

// ---------------------------------------------------------------- heed's own kernels

// How a kernel is built and laid out: the tile of C that a work-group makes, and its work-items in each dimension.
struct tiling {
  int rows, cols;
  size_t side;
};

// The tensor, its batch strides, and the strides of the rows and columns of its op().
static void pass_matrix(struct heed__cl_kernel *k, const heed_tensor *t, bool trans) {
  heed__cl_tensor(k, t);
  heed__cl_strides(k, t, 2);
  heed__cl_long(k, t->strides[trans ? 3 : 2]);
  heed__cl_long(k, t->strides[trans ? 2 : 3]);
}

static heed_status launch(const struct heed__gemm_problem *p, struct heed__cl_kernel *k, struct tiling tiling) {
  heed__cl_define_dtype(k, "X_DTYPE", p->c->dtype);
  pass_matrix(k, p->a, p->trans_a);
  pass_matrix(k, p->b, p->trans_b);
  pass_matrix(k, p->c, false);
  heed__cl_tensor(k, p->bias);
  heed__cl_uint(k, p->bias != NULL);
  heed__cl_long(k, p->c->dims[1]);
  heed__cl_long(k, p->m);
  heed__cl_long(k, p->n);
  heed__cl_long(k, p->k);
  heed__cl_float(k, p->alpha);
  heed__cl_float(k, p->beta);
  const size_t local[] = {tiling.side, tiling.side, 1};
  const size_t global[] = {(size_t)heed__ceil_div(p->n, tiling.cols) * tiling.side,
                           (size_t)heed__ceil_div(p->m, tiling.rows) * tiling.side, (size_t)p->batches};
  return heed__cl_launch(k, 3, global, local);
}

static bool panels_supports(const heed_context *ctx, const struct heed__gemm_problem *p) {
  (void)p;
  return heed__cl_state(ctx)->traits.cpu_like;
}

static heed_status panels_run(heed_context *ctx, const struct heed__gemm_problem *p) {
  const int vector = heed__cl_state(ctx)->traits.vector_width;
  // Two vectors a row: as many rows as leave registers for B (32 registers come with the widest vectors).
  const int rows = vector == 16 ? 12 : 6, strips = 16;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "gemm.cl", "gemm_panels");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_int(&k, "ROWS", rows);
  return launch(p, &k, (struct tiling){.rows = rows * strips, .cols = 2 * vector, .side = 1});
}

static bool tiles_supports(const heed_context *ctx, const struct heed__gemm_problem *p) {
  (void)p;
  return heed__cl_state(ctx)->traits.max_work_group >= 256;
}

static heed_status tiles_run(heed_context *ctx, const struct heed__gemm_problem *p) {
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "gemm.cl", "gemm_tiles");
  heed__cl_define(&k, "TILED", "1");
  return launch(p, &k, (struct tiling){.rows = 64, .cols = 64, .side = 16});
}

static bool any_supports(const heed_context *ctx, const struct heed__gemm_problem *p) {
  (void)ctx;
  (void)p;
  return true;
}

// The first that supports a problem does it; the last one supports all.
static const struct variant {
  const char *name;
  bool (*supports)(const heed_context *ctx, const struct heed__gemm_problem *p);
  heed_status (*run)(heed_context *ctx, const struct heed__gemm_problem *p);
} variants[] = {
    {"panels", panels_supports, panels_run},
    {"tiles", tiles_supports, tiles_run},
    {"panels on a small device", any_supports, panels_run},
};

static heed_status run_native(heed_context *ctx, const struct heed__gemm_problem *p) {
  const struct variant *variant = variants;
  while (!variant->supports(ctx, p)) ++variant;
  return variant->run(ctx, p);
}

// ---------------------------------------------------------------- choice

// What is left of a problem after its first `done` batches, one at a time.
static heed_status run_native_from(heed_context *ctx, const struct heed__gemm_problem *p, int64_t done) {
  if (done == 0) return run_native(ctx, p);
  for (int64_t batch = done; batch < p->batches; ++batch) {
    struct heed__gemm_problem one = *p;
    struct heed_tensor views[3];
    const heed_tensor *whole[] = {p->a, p->b, p->c};
    for (int i = 0; i < 3; ++i) {
      const int64_t *strides = whole[i]->strides, *dims = whole[i]->dims;
      const int64_t offset = batch / p->c->dims[1] * strides[0] + batch % p->c->dims[1] * strides[1];
      heed__view_init(&views[i], whole[i], 4, (const int64_t[]){1, 1, dims[2], dims[3]}, strides,
                      whole[i]->offset + offset);
    }
    one.a = &views[0];
    one.b = &views[1];
    one.c = &views[2];
    one.batches = 1;
    HEED__TRY(run_native(ctx, &one));
  }
  return HEED_OK;
}

// CLBlast where it is asked for, or by default on what is not a CPU (there heed's own kernels are far faster).
static bool prefers_clblast(const heed_context *ctx, const struct heed__gemm_problem *p) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  if (cl->gemm == HEED__GEMM_NATIVE || !heed__cl_clblast_supports(ctx, p)) return false;
  return cl->gemm == HEED__GEMM_CLBLAST || (!cl->traits.cpu_like && !cl->clblast_failed);
}

heed_status heed__cl_gemm_bias_run(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                                   const heed_tensor *b, const heed_tensor *bias, heed_tensor *c) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const struct heed__gemm_problem p = {.trans_a = params->trans_a,
                                       .trans_b = params->trans_b,
                                       .alpha = params->alpha,
                                       .beta = params->beta,
                                       .a = a,
                                       .b = b,
                                       .bias = bias,
                                       .c = c,
                                       .m = c->dims[2],
                                       .n = c->dims[3],
                                       .k = params->trans_a ? a->dims[2] : a->dims[3],
                                       .batches = c->dims[0] * c->dims[1]};
  if (p.m == 0 || p.n == 0 || p.batches == 0) return HEED_OK;
  if (!prefers_clblast(ctx, &p)) return run_native(ctx, &p);
  int64_t done = 0;
  const heed_status status = heed__cl_clblast_run(ctx, &p, &done);
  if (status == HEED_OK) return p.bias ? heed__cl_add_bias(ctx, p.bias, c) : HEED_OK;
  if (cl->gemm == HEED__GEMM_CLBLAST) return status;
  cl->clblast_failed = true;
  return run_native_from(ctx, &p, done);
}

heed_status heed__cl_gemm_run(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                              const heed_tensor *b, heed_tensor *c) {
  return heed__cl_gemm_bias_run(ctx, params, a, b, NULL, c);
}

heed_status heed__cl_gemm(heed_context *ctx, const struct heed__call *call) {
  return heed__cl_gemm_run(ctx, call->params, call->in[0], call->in[1], call->out[0]);
}
