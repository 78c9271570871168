// Finds out whether a GEMM provider computes correctly on this device, because drivers and tuned kernels have given wrong products. At the
// first call of a class it computes a small problem of that class and compares it with the host's sum. It keeps the answer in the context
// and, with the compiled programs, on disk.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "cl/gemm/variant.h"
#include "cl/runtime/device_key.h"

// A specimen with the dtype and the forms of the problem that it represents.
struct probe {
  struct heed__cl_gemm_specimen specimen;
  const struct heed__cl_gemm_variant *variant;
  uint32_t class;
  heed_dtype dtype;
  bool trans_a, trans_b;
};

struct heed__cl_gemm_verdicts {
  size_t count, room;
  struct verdict {
    uint32_t class;
    bool right;
  } * known;
};

// ---------------------------------------------------------------- classes

static struct probe probe_of(const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan) {
  struct probe probe = {.specimen = {.m = 53, .n = 101, .k = 90, .batches = 2},
                        .variant = plan->variant,
                        .dtype = p->c->dtype,
                        .trans_a = p->trans_a,
                        .trans_b = p->trans_b};
  snprintf(probe.specimen.choice.variant, sizeof probe.specimen.choice.variant, "%s", plan->variant->tuning.key);
  plan->variant->specimen(p, plan, &probe.specimen);
  const uint32_t form = probe.specimen.any_form ? 0 : (uint32_t)p->trans_a << 1 | p->trans_b;
  uint32_t place = 0;
  while (heed__cl_gemm_variant_at(place) != plan->variant) ++place;
  probe.class = (uint32_t)p->c->dtype << 2 | form | probe.specimen.class << 8 | place << 24;
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

// Multiples of 1/64 in [−1, 1), with gaps between the rows unless the specimen is packed.
static heed_status matrix_make(heed_context *ctx, const struct probe *probe, int64_t rows, int64_t cols, uint64_t seed,
                               struct matrix *matrix) {
  const int64_t gap = probe->specimen.packed ? 0 : probe->specimen.aligned ? heed__round_up(cols, 8) + 8 - cols : 3;
  const int64_t ld = cols + gap, count = probe->specimen.batches * rows * ld;
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
                                      .dims = {1, probe->specimen.batches, rows, cols},
                                      .strides = {count, rows * ld, ld, 1},
                                      .count = probe->specimen.batches * rows * cols};
  return heed__cl_upload(ctx, memory, 0, matrix->values, matrix->bytes);
}

static double element(const struct matrix *matrix, int64_t batch, bool trans, int64_t row, int64_t col) {
  const int64_t *strides = matrix->view.strides;
  return heed__load(matrix->values, matrix->view.dtype,
                    batch * strides[1] + (trans ? col * strides[2] + row : row * strides[2] + col));
}

#define ALPHA 0.5
#define BETA 2.0

// c->values is what c was before, `computed` what it is now. Of large matrices, compares some rows and columns.
static bool agrees(const struct probe *probe, const struct matrix *a, const struct matrix *b, const struct matrix *c,
                   const struct matrix *computed) {
  const double unit = probe->dtype == HEED_F32 ? 0x1p-20 : probe->dtype == HEED_F16 ? 0x1p-10 : 0x1p-7;
  const bool large = probe->specimen.m > 256;
  for (int64_t batch = 0; batch < probe->specimen.batches; ++batch)
    for (int64_t i = 0; i < probe->specimen.m; i += large ? 61 : 1)
      for (int64_t j = large ? i % 7 : 0; j < probe->specimen.n; j += large ? 7 : 1) {
        double sum = 0, size = 1;
        for (int64_t l = 0; l < probe->specimen.k; ++l) {
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
  struct heed__cl_gemm_plan plan;
  int64_t done;
  HEED__REQUIRE(heed__cl_gemm_plan(ctx, p, &probe->specimen.choice, &plan), HEED_ERROR_UNSUPPORTED,
                "gemm: the variant %s does not take the small product that would show whether it is right",
                probe->variant->tuning.key);
  if (plan.variant->prepare) HEED__TRY(plan.variant->prepare(ctx, p, &plan));
  const size_t mark = heed__cl_profile_mark(ctx);
  const heed_status status = plan.variant->run(ctx, p, &plan, &done);
  heed__cl_profile_drop(ctx, mark);  // the user's records contain only the user's calls
  return status;
}

static heed_status compute(heed_context *ctx, const struct probe *probe, struct matrix *matrices, bool *right) {
  const int64_t m = probe->specimen.m, n = probe->specimen.n, k = probe->specimen.k;
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
                                          .batches = probe->specimen.batches};
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
  char *device = heed__cl_device_key(&ctx->device, heed__cl_state(ctx)->kernel_dir), *key = NULL;
  if (!device) return NULL;
  const int length = asprintf(&key, "%sgemm probe, class %x\n", device, probe->class);
  free(device);
  return length < 0 ? NULL : key;
}

// Reads and keeps the answer on disk, under a key with the hash of all kernels.
static heed_status recall_or_run(heed_context *ctx, const struct probe *probe, bool *right) {
  static const char answers[][6] = {"wrong", "right"};
  const struct heed__cl *cl = heed__cl_state(ctx);
  char *key = cl->cache_dir ? make_key(ctx, probe) : NULL;
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

heed_status heed__cl_gemm_probe(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                const struct heed__cl_gemm_plan *plan, bool *right) {
  struct heed__cl_gemm_state *state = heed__cl_gemm_state(ctx);
  *right = true;
  if (state->probe_off) return HEED_OK;
  if (!state->verdicts) state->verdicts = calloc(1, sizeof *state->verdicts);
  struct heed__cl_gemm_verdicts *verdicts = state->verdicts;
  HEED__REQUIRE(verdicts, HEED_ERROR_OUT_OF_MEMORY, "gemm: no host memory");
  const struct probe probe = probe_of(p, plan);
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

// A sum, for the order in which problems were met does not matter.
uint64_t heed__cl_gemm_verdicts(const heed_context *ctx) {
  const struct heed__cl_gemm_state *state = heed__cl_gemm_state(ctx);
  const uint32_t chosen[] = {(uint32_t)state->provider, state->probe_off, state->clblast_failed};
  const bool plain = state->provider == HEED__GEMM_AUTO && !state->probe_off && !state->clblast_failed;
  uint64_t sum = plain ? 0 : heed__hash(HEED__HASH_START, chosen, sizeof chosen);
  for (size_t i = 0; state->verdicts && i < state->verdicts->count; ++i)
    if (!state->verdicts->known[i].right)
      sum += heed__hash(HEED__HASH_START, &state->verdicts->known[i].class, sizeof(uint32_t));
  return sum;
}

void heed__cl_gemm_verdicts_free(heed_context *ctx) {
  struct heed__cl_gemm_state *state = heed__cl_gemm_state(ctx);
  if (state->verdicts) free(state->verdicts->known);
  free(state->verdicts);
  state->verdicts = NULL;
}
