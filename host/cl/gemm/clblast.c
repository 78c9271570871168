// gemm through CLBlast: which problems it can do, the calls, and its error codes. Only F32, because its half-precision GEMM also
// accumulates in half precision.
#include "cl/gemm/variant.h"

#include <clblast_c.h>
#include <pthread.h>

// CLBlast keeps its programs and tuning tables in the process, and filling them is not safe from two threads, whatever
// contexts they use. This mutex guards them for all of heed's contexts; there is nothing to release.
static pthread_mutex_t clblast_lock = PTHREAD_MUTEX_INITIALIZER;

// clang-format off
#define CLBLAST_CODES(X) \
  X(NotImplemented) X(InvalidMatrixA) X(InvalidMatrixB) X(InvalidMatrixC) X(InvalidDimension) \
  X(InvalidLeadDimA) X(InvalidLeadDimB) X(InvalidLeadDimC) \
  X(InsufficientMemoryA) X(InsufficientMemoryB) X(InsufficientMemoryC) X(InsufficientMemoryTemp) \
  X(InvalidBatchCount) X(InvalidOverrideKernel) X(MissingOverrideParameter) X(InvalidLocalMemUsage) \
  X(NoHalfPrecision) X(NoDoublePrecision) X(DatabaseError) X(UnknownError) X(UnexpectedError) \
  X(InvalidLocalNumDimensions) X(InvalidLocalThreadsTotal) X(InvalidLocalThreadsDim)
// clang-format on

// Codes that CLBlast shares with OpenCL have OpenCL's names.
static const char *code_name(CLBlastStatusCode code) {
  switch ((int)code) {
#define CODE_CASE(name) \
  case CLBlast##name:   \
    return "CLBlast" #name;
    CLBLAST_CODES(CODE_CASE)
#undef CODE_CASE
    default:
      return heed__cl_error_name(code);
  }
}

// Tells whether rows have one leading dimension. A single row may have any stride, because nothing steps over it.
static int64_t leading_dimension(const heed_tensor *t) {
  return t->dims[2] > 1 ? t->strides[2] : heed__max(t->dims[3], 1);
}

// CLBlast counts in 32-bit integers, even inside the copies that it pads to tiles.
static bool fits(const heed_tensor *t) {
  int64_t padded;
  return leading_dimension(t) >= t->dims[3] && heed__tensor_span(t) <= INT32_MAX &&
         heed__mul(heed__round_up(t->dims[2], 256), heed__round_up(t->dims[3], 256), &padded) && padded <= INT32_MAX;
}

static bool supports(const heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  const int64_t longest = heed__cl_state(ctx)->traits.short_loops ? 1 << 15 : INT32_MAX;  // its loops over k
  return p->c->dtype == HEED_F32 && p->k > 0 && p->k <= longest && fits(p->a) && fits(p->b) && fits(p->c);
}

// Tells whether all batches follow one another without gaps from the start of the buffer: if the matrix fills whole tiles, CLBlast's
// batched GEMM ignores strides and offsets.
static bool is_packed(const heed_tensor *t, int64_t batches) {
  const int64_t padded = heed__round_up(t->dims[2], 256) * heed__round_up(t->dims[3], 256);
  return heed__cl_gemm_is_packed(t) && padded <= INT32_MAX / batches;
}

static CLBlastTranspose transpose_of(bool trans) { return trans ? CLBlastTransposeYes : CLBlastTransposeNo; }

// The offset of matrix `batch`.
static size_t batch_offset(const heed_tensor *t, int64_t batch) {
  return (size_t)(t->offset + batch / t->dims[1] * t->strides[0] + batch % t->dims[1] * t->strides[1]);
}

static heed_status finish(heed_context *ctx, CLBlastStatusCode code, const char *what, cl_event event) {
  // A lack of memory now says nothing about CLBlast.
  const bool no_memory = (int)code == CL_MEM_OBJECT_ALLOCATION_FAILURE || (int)code == CL_OUT_OF_HOST_MEMORY;
  HEED__REQUIRE(code == CLBlastSuccess, no_memory ? HEED_ERROR_OUT_OF_MEMORY : HEED_ERROR_DEVICE,
                "%s on %s failed with %s (%d); the gemm provider 'native' (HEED_GEMM) does without CLBlast", what,
                ctx->device.name, code_name(code), (int)code);
  if (event) {
    heed__cl_profile_event(ctx, what, event);
    clReleaseEvent(event);
  }
  return HEED_OK;
}

static heed_status run_packed(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const heed_tensor *a = p->a, *b = p->b, *c = p->c;
  cl_event event = NULL;
  const CLBlastStatusCode code = CLBlastSgemmStridedBatched(
      CLBlastLayoutRowMajor, transpose_of(p->trans_a), transpose_of(p->trans_b), (size_t)p->m, (size_t)p->n,
      (size_t)p->k, (float)p->alpha, a->buffer->handle, 0, (size_t)a->dims[3], (size_t)(a->dims[2] * a->dims[3]),
      b->buffer->handle, 0, (size_t)b->dims[3], (size_t)(b->dims[2] * b->dims[3]), (float)p->beta, c->buffer->handle, 0,
      (size_t)c->dims[3], (size_t)(c->dims[2] * c->dims[3]), (size_t)p->batches, &cl->queue,
      cl->profiling ? &event : NULL);
  return finish(ctx, code, "CLBlastSgemmStridedBatched", event);
}

static heed_status run_one(heed_context *ctx, const struct heed__cl_gemm_problem *p, int64_t batch) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const heed_tensor *a = p->a, *b = p->b, *c = p->c;
  cl_event event = NULL;
  const CLBlastStatusCode code = CLBlastSgemm(
      CLBlastLayoutRowMajor, transpose_of(p->trans_a), transpose_of(p->trans_b), (size_t)p->m, (size_t)p->n,
      (size_t)p->k, (float)p->alpha, a->buffer->handle, batch_offset(a, batch), (size_t)leading_dimension(a),
      b->buffer->handle, batch_offset(b, batch), (size_t)leading_dimension(b), (float)p->beta, c->buffer->handle,
      batch_offset(c, batch), (size_t)leading_dimension(c), &cl->queue, cl->profiling ? &event : NULL);
  return finish(ctx, code, "CLBlastSgemm", event);
}

static heed_status run_locked(heed_context *ctx, const struct heed__cl_gemm_problem *p, int64_t *done) {
  heed__cl_gemm_state(ctx)->clblast_used = true;
  const int64_t batches = p->batches;
  if (batches > 1 && is_packed(p->a, batches) && is_packed(p->b, batches) && is_packed(p->c, batches)) {
    HEED__TRY(run_packed(ctx, p));
    *done = batches;
  }
  for (; *done < batches; ++*done) HEED__TRY(run_one(ctx, p, *done));
  return HEED_OK;
}

// a: [B0, B1, m, k]; b: [B0, B1, k, n], either transposed -> c: [B0, B1, m, n]
static heed_status run(heed_context *ctx, const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan,
                       int64_t *done) {
  (void)plan;
  *done = 0;
  pthread_mutex_lock(&clblast_lock);
  const heed_status status = run_locked(ctx, p, done);
  pthread_mutex_unlock(&clblast_lock);
  return status == HEED_OK ? heed__cl_gemm_epilogue_run(ctx, p) : status;
}

static bool make_plan(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                      const struct heed__cl_tuning_choice *choice, struct heed__cl_gemm_plan *plan) {
  (void)choice;
  *plan = (struct heed__cl_gemm_plan){.variant = &heed__cl_gemm_clblast};
  return supports(ctx, p);
}

// CLBlast changes from its direct kernel to its indirect one somewhere between 512³ and 1280³, depending on the device, and each form has
// its own kernels.
static void specimen(const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan,
                     struct heed__cl_gemm_specimen *specimen) {
  (void)plan;
  const double volume = (double)p->m * (double)p->n * (double)p->k;
  const int size = volume < 0x1p27 ? 1 : volume < 1280.0 * 1280 * 1280 ? 2 : 3;
  static const int64_t sides[] = {0, 0, 772, 1284};
  if (size > 1) {
    specimen->m = specimen->n = specimen->k = sides[size];
    specimen->batches = 1;
  }
  // Batches that lie back to back are one call, of another function.
  specimen->packed =
      p->batches > 1 && is_packed(p->a, p->batches) && is_packed(p->b, p->batches) && is_packed(p->c, p->batches);
  if (specimen->packed) specimen->batches = 2;
  specimen->class = (uint32_t)size | (uint32_t)specimen->packed << 2;
}

const struct heed__cl_gemm_variant heed__cl_gemm_clblast = {
    .tuning = {"clblast", 0}, .provider = HEED__GEMM_CLBLAST, .plan = make_plan, .run = run, .specimen = specimen};

// A cached program keeps its OpenCL context alive, so only clearing the cache releases it. Other contexts then build again.
void heed__cl_gemm_clblast_close(heed_context *ctx) {
  if (!heed__cl_gemm_state(ctx)->clblast_used) return;
  pthread_mutex_lock(&clblast_lock);
  CLBlastClearCache();
  pthread_mutex_unlock(&clblast_lock);
  heed__cl_gemm_state(ctx)->clblast_used = false;
}
