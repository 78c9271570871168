// Whether a GEMM provider computes right on this device: drivers and tuned kernels have been seen to give wrong products. At the
// first call of a class, a small problem of that class is computed and compared with the host's sum; the answer is kept in the
// context and, with the compiled programs, on disk.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/random.h"
#include "cl/gemm/gemm.h"

// What a problem exercises: the provider's kernels for it, all else alike.
struct probe {
  uint32_t class;
  enum heed__cl_gemm_provider provider;
  heed_dtype dtype;
  bool trans_a, trans_b;
  int64_t m, n, k, batches;
  const char *variant;  // of heed's own; NULL: not to be forced
  struct heed__cl_gemm_layout layout;
  bool aligned;  // every row begins at a multiple of 8 elements
};

struct heed__cl_gemm_verdicts {
  bool off;  // HEED_GEMM_PROBE
  size_t count, room;
  struct verdict {
    uint32_t class;
    bool right;
  } * known;
};

// ---------------------------------------------------------------- classes

// CLBlast goes over from its direct kernel to its indirect one somewhere between 512³ and 1280³, depending on the device, and each
// form has kernels of its own. heed's kernels differ by variant and layout besides.
static struct probe probe_of(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                             enum heed__cl_gemm_provider provider) {
  struct probe probe = {.provider = provider,
                        .dtype = p->c->dtype,
                        .trans_a = p->trans_a,
                        .trans_b = p->trans_b,
                        .m = 53,
                        .n = 101,
                        .k = 90,
                        .batches = 2};
  uint32_t class = (uint32_t)p->c->dtype << 3 | (uint32_t)p->trans_a << 1 | p->trans_b;
  if (provider == HEED__GEMM_CLBLAST) {
    const double volume = (double)p->m * (double)p->n * (double)p->k;
    const int size = volume < 0x1p27 ? 1 : volume < 1280.0 * 1280 * 1280 ? 2 : 3;
    static const int64_t sides[] = {0, 0, 772, 1284};
    if (size > 1) {
      probe.m = probe.n = probe.k = sides[size];
      probe.batches = 1;
    }
    class |= (uint32_t)size << 8;
  } else {
    uint32_t place;
    probe.variant = heed__cl_gemm_native_variant(ctx, p, &place);
    if (strcmp(probe.variant, "cpu") == 0) {
      class |= heed__cl_gemm_cpu_class(ctx, p, &probe.layout) << 10;
    } else if (strcmp(probe.variant, "gpu") == 0) {
      class |= heed__cl_gemm_gpu_class(ctx, p, &probe.layout, &probe.aligned) << 10 | 1U << 20 | place << 21;
    } else {
      class &= ~3U;
      class |= 1U << 20 | place << 21;
    }
  }
  probe.class = class;
  return probe;
}

// ---------------------------------------------------------------- one probe

struct matrix {
  struct heed_tensor view;
  struct heed__buffer buffer;
  void *values;
  size_t bytes;
};

static void matrix_free(heed_context *ctx, struct matrix *matrix) {
  heed__cl_scratch_give(ctx, matrix->buffer.handle);
  free(matrix->values);
}

// Multiples of 1/64 in [−1, 1), with gaps between the rows.
static heed_status matrix_make(heed_context *ctx, const struct probe *probe, int64_t rows, int64_t cols, uint64_t seed,
                               struct matrix *matrix) {
  const int64_t ld = probe->aligned ? heed__round_up(cols, 8) + 8 : cols + 3, count = probe->batches * rows * ld;
  matrix->buffer = (struct heed__buffer){.ctx = ctx};
  matrix->bytes = (size_t)count * heed_dtype_size(probe->dtype);
  matrix->values = malloc(matrix->bytes);
  HEED__REQUIRE(matrix->values, HEED_ERROR_OUT_OF_MEMORY, "gemm: no host memory to check the device's products");
  for (int64_t i = 0; i < count; ++i)
    heed__store(matrix->values, probe->dtype, i, (double)heed_random_below(seed, 0, (uint64_t)i, 128) / 64 - 1);
  cl_mem memory = NULL;
  HEED__TRY(heed__cl_scratch_take(ctx, matrix->bytes, &memory));
  matrix->buffer.handle = memory;
  matrix->view = (struct heed_tensor){.ctx = ctx,
                                      .buffer = &matrix->buffer,
                                      .dtype = probe->dtype,
                                      .rank = 4,
                                      .dims = {1, probe->batches, rows, cols},
                                      .strides = {count, rows * ld, ld, 1},
                                      .count = probe->batches * rows * cols};
  return heed__cl_upload(ctx, memory, 0, matrix->values, matrix->bytes);
}

static double element(const struct matrix *matrix, int64_t batch, bool trans, int64_t row, int64_t col) {
  const int64_t *strides = matrix->view.strides;
  return heed__load(matrix->values, matrix->view.dtype,
                    batch * strides[1] + (trans ? col * strides[2] + row : row * strides[2] + col));
}

#define ALPHA 0.5
#define BETA 2.0

// c->values is what c was, `computed` what it is now. Of large matrices some rows and columns are compared.
static bool agrees(const struct probe *probe, const struct matrix *a, const struct matrix *b, const struct matrix *c,
                   const struct matrix *computed) {
  const double unit = probe->dtype == HEED_F32 ? 0x1p-20 : probe->dtype == HEED_F16 ? 0x1p-10 : 0x1p-7;
  const bool large = probe->m > 256;
  for (int64_t batch = 0; batch < probe->batches; ++batch)
    for (int64_t i = 0; i < probe->m; i += large ? 61 : 1)
      for (int64_t j = large ? i % 7 : 0; j < probe->n; j += large ? 7 : 1) {
        double sum = 0, size = 1;
        for (int64_t l = 0; l < probe->k; ++l) {
          const double product = element(a, batch, probe->trans_a, i, l) * element(b, batch, probe->trans_b, l, j);
          sum += product;
          size += fabs(product);
        }
        const double expected = ALPHA * sum + BETA * element(c, batch, false, i, j);
        if (!(fabs(element(computed, batch, false, i, j) - expected) <= unit * size)) return false;
      }
  return true;
}

static heed_status multiply(heed_context *ctx, const struct probe *probe, const struct heed__cl_gemm_problem *p) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const struct heed__cl_gemm_layout layout = heed__cl_gemm_state(ctx)->layout;
  const char *variant = heed__cl_gemm_state(ctx)->variant;
  const bool profiling = cl->profiling;
  cl->profiling = false;  // the user's records are of the user's calls
  heed__cl_gemm_state(ctx)->layout = probe->layout;
  heed__cl_gemm_state(ctx)->variant = probe->variant;
  int64_t done;
  const heed_status status =
      probe->provider == HEED__GEMM_CLBLAST ? heed__cl_gemm_clblast_run(ctx, p, &done) : heed__cl_gemm_native(ctx, p);
  cl->profiling = profiling;
  heed__cl_gemm_state(ctx)->layout = layout;
  heed__cl_gemm_state(ctx)->variant = variant;
  return status;
}

static heed_status compute(heed_context *ctx, const struct probe *probe, struct matrix *matrices, bool *right) {
  const int64_t m = probe->m, n = probe->n, k = probe->k;
  struct matrix *a = &matrices[0], *b = &matrices[1], *c = &matrices[2], *computed = &matrices[3];
  HEED__TRY(matrix_make(ctx, probe, probe->trans_a ? k : m, probe->trans_a ? m : k, 1, a));
  HEED__TRY(matrix_make(ctx, probe, probe->trans_b ? n : k, probe->trans_b ? k : n, 2, b));
  HEED__TRY(matrix_make(ctx, probe, m, n, 3, c));
  computed->view = c->view;
  computed->values = malloc(c->bytes);
  HEED__REQUIRE(computed->values, HEED_ERROR_OUT_OF_MEMORY, "gemm: no host memory to check the device's products");
  const struct heed__cl_gemm_problem p = {.trans_a = probe->trans_a,
                                          .trans_b = probe->trans_b,
                                          .alpha = ALPHA,
                                          .beta = BETA,
                                          .a = &a->view,
                                          .b = &b->view,
                                          .c = &c->view,
                                          .m = m,
                                          .n = n,
                                          .k = k,
                                          .batches = probe->batches};
  HEED__TRY(multiply(ctx, probe, &p));
  HEED__TRY(heed__cl_download(ctx, c->buffer.handle, 0, computed->values, c->bytes));
  *right = agrees(probe, a, b, c, computed);
  return HEED_OK;
}

static heed_status run(heed_context *ctx, const struct probe *probe, bool *right) {
  struct matrix matrices[4] = {0};
  const heed_status status = compute(ctx, probe, matrices, right);
  for (int i = 0; i < 4; ++i) matrix_free(ctx, &matrices[i]);
  return status;
}

// ---------------------------------------------------------------- what is remembered

static char *make_key(const heed_context *ctx, const struct probe *probe) {
  const heed_device_info *device = &ctx->device;
  char *key = NULL;
  const int length = asprintf(&key, "heed %s\ngemm probe %d, class %x\nplatform %s\n%s\ndevice %s\n%s\ndriver %s\n%s\n",
                              heed_version(), (int)probe->provider, probe->class, device->platform,
                              device->platform_version, device->vendor, device->name, device->driver, device->version);
  return length < 0 ? NULL : key;
}

// Through the disk, where the kernels are those the library came with.
static heed_status recall_or_run(heed_context *ctx, const struct probe *probe, bool *right) {
  static const char answers[][6] = {"wrong", "right"};
  const struct heed__cl *cl = heed__cl_state(ctx);
  char *key = cl->cache_dir && !cl->kernel_dir ? make_key(ctx, probe) : NULL;
  unsigned char *text = NULL;
  size_t size = 0;
  heed_status status = HEED_OK;
  if (key && heed__cl_cache_load(cl->cache_dir, key, &text, &size) && size == 5 &&
      (memcmp(text, answers[0], size) == 0 || memcmp(text, answers[1], size) == 0)) {
    *right = memcmp(text, answers[1], size) == 0;
  } else {
    status = run(ctx, probe, right);
    if (status == HEED_OK && key) heed__cl_cache_store(cl->cache_dir, key, (const unsigned char *)answers[*right], 5);
  }
  free(text);
  free(key);
  return status;
}

static struct heed__cl_gemm_verdicts *verdicts_of(const heed_context *ctx) {
  struct heed__cl_gemm_state *state = heed__cl_gemm_state(ctx);
  if (!state->verdicts) {
    state->verdicts = calloc(1, sizeof *state->verdicts);
    const char *text = getenv("HEED_GEMM_PROBE");
    if (state->verdicts && text) state->verdicts->off = strcasecmp(text, "off") == 0 || strcmp(text, "0") == 0;
  }
  return state->verdicts;
}

heed_status heed__cl_gemm_probe(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                enum heed__cl_gemm_provider provider, bool *right) {
  struct heed__cl_gemm_verdicts *verdicts = verdicts_of(ctx);
  HEED__REQUIRE(verdicts, HEED_ERROR_OUT_OF_MEMORY, "gemm: no host memory");
  *right = true;
  if (verdicts->off) return HEED_OK;
  const struct probe probe = probe_of(ctx, p, provider);
  for (size_t i = 0; i < verdicts->count; ++i) {
    if (verdicts->known[i].class != probe.class) continue;
    *right = verdicts->known[i].right;
    return HEED_OK;
  }
  if (verdicts->count == verdicts->room) {
    const size_t room = verdicts->room * 2 + 16;
    struct verdict *grown = realloc(verdicts->known, room * sizeof *grown);
    HEED__REQUIRE(grown, HEED_ERROR_OUT_OF_MEMORY, "gemm: no host memory");
    verdicts->known = grown;
    verdicts->room = room;
  }
  HEED__TRY(recall_or_run(ctx, &probe, right));
  verdicts->known[verdicts->count++] = (struct verdict){probe.class, *right};
  return HEED_OK;
}

void heed__cl_gemm_verdicts_free(heed_context *ctx) {
  struct heed__cl_gemm_state *state = heed__cl_gemm_state(ctx);
  if (state->verdicts) free(state->verdicts->known);
  free(state->verdicts);
  state->verdicts = NULL;
}
