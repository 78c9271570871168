// Reaches heed's kernels on tiny shapes, for interpreters of OpenCL such as Oclgrind: once as a device with work-groups, once as
// a CPU with vectors. Prints the names of the kernels that ran. Buffers are written whole by the host, at their creation and as
// inputs: Oclgrind takes for undefined what a write of a part leaves alone, and all that only kernels write. Usage: kernel_tour
#include <dlfcn.h>
#include <heed/tune.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/gemm/gemm.h"
#include "cases/case.h"
#include "cli/tool.h"

enum { MOST_TENSORS = 64, MOST_VALUES = 4096, MOST_KERNELS = 128 };

static heed_tensor *made[MOST_TENSORS];
static int made_count;

// ---------------------------------------------------------------- buffers

// In the place of the loader's, for the whole program: NaNs from end to end.
cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *error) {
  cl_mem (*create)(cl_context, cl_mem_flags, size_t, void *, cl_int *);
  void *found = dlsym(RTLD_NEXT, "clCreateBuffer");
  memcpy(&create, &found, sizeof create);
  cl_device_id device;
  cl_int ignored;
  cl_mem buffer = create(context, flags, size, host, error);
  if (!buffer || clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof device, &device, NULL) != CL_SUCCESS)
    return buffer;
  void *poison = malloc(size);
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, &ignored);
  if (poison && queue) {
    memset(poison, 0xff, size);
    clEnqueueWriteBuffer(queue, buffer, CL_TRUE, 0, size, poison, 0, NULL, NULL);
  }
  if (queue) clReleaseCommandQueue(queue);
  free(poison);
  return buffer;
}

// ---------------------------------------------------------------- tensors

static heed_status output(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, heed_tensor **out) {
  if (made_count == MOST_TENSORS) return HEED_ERROR_OVERFLOW;
  TRY(heed_tensor_create(ctx, dtype, rank, dims, out));
  made[made_count++] = *out;
  return HEED_OK;
}

static heed_status input(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, heed_tensor **out) {
  float values[MOST_VALUES];
  TRY(output(ctx, dtype, rank, dims, out));
  const int64_t count = heed_tensor_count(*out);
  if (count > MOST_VALUES) return HEED_ERROR_OVERFLOW;
  for (int64_t i = 0; i < count; ++i) values[i] = (float)heed_random_normal((uint64_t)made_count, 0, (uint64_t)i);
  return heed_tensor_upload_f32(*out, values, count);
}

static heed_status input_data(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, const void *data,
                              heed_tensor **out) {
  if (made_count == MOST_TENSORS) return HEED_ERROR_OVERFLOW;
  TRY(heed_tensor_create_from(ctx, dtype, rank, dims, data, out));
  made[made_count++] = *out;
  return HEED_OK;
}

// ---------------------------------------------------------------- elements and rows

static heed_status tour_elements(heed_context *ctx, heed_dtype dtype) {
  heed_tensor *x, *y, *z, *turned, *half, *index, *found;
  const int32_t rows[] = {2, 0, 1};
  TRY(input(ctx, dtype, 2, DIMS(3, 5), &x));
  TRY(output(ctx, dtype, 2, DIMS(3, 5), &y));
  TRY(output(ctx, dtype, 2, DIMS(5, 3), &z));
  TRY(output(ctx, dtype == HEED_F32 ? HEED_F16 : HEED_F32, 2, DIMS(3, 5), &half));
  TRY(input_data(ctx, HEED_I32, 1, DIMS(3), rows, &index));
  TRY(output(ctx, HEED_I32, 1, DIMS(3), &found));
  TRY(heed_tensor_permute(z, (const int[]){1, 0}, &turned));
  heed_status status = heed_fill(turned, 2);
  if (status == HEED_OK) status = heed_copy(x, turned);
  heed_tensor_destroy(turned);
  TRY(status);
  TRY(heed_copy(x, half));
  TRY(heed_copy(x, y));
  TRY(heed_add(2, x, 1, y, y));
  TRY(heed_gather_rows(x, index, 1, 0, y));
  TRY(heed_argmax(x, found));
  TRY(heed_relu_fwd(x, y));
  TRY(heed_relu_bwd(x, y, y));
  TRY(heed_fill(y, 1));
  for (int form = 0; form < 2; ++form) {
    TRY(heed_gelu_fwd(x, (heed_gelu_form)form, y));
    TRY(heed_gelu_bwd(x, x, (heed_gelu_form)form, y));
  }
  return HEED_OK;
}

// Copies by bytes, where the dtype stays, and with a conversion; dense and turned.
static heed_status tour_moves(heed_context *ctx) {
  heed_tensor *x, *y, *turned;
  const int32_t values[6] = {1, 2, 3, 4, 5, 6};
  TRY(input_data(ctx, HEED_I32, 2, DIMS(2, 3), values, &x));
  TRY(output(ctx, HEED_I32, 2, DIMS(2, 3), &y));
  TRY(heed_copy(x, y));
  TRY(output(ctx, HEED_I32, 2, DIMS(3, 2), &y));
  TRY(heed_tensor_permute(y, (const int[]){1, 0}, &turned));
  heed_status status = heed_copy(x, turned);
  heed_tensor_destroy(turned);
  TRY(status);
  TRY(output(ctx, HEED_F16, 2, DIMS(3, 2), &y));
  TRY(heed_tensor_permute(y, (const int[]){1, 0}, &turned));
  status = heed_copy(x, turned);
  heed_tensor_destroy(turned);
  return status;
}

static heed_status tour_softmax(heed_context *ctx, const int64_t *dims, int axis) {
  heed_tensor *x, *y, *dx;
  TRY(input(ctx, HEED_F32, 2, dims, &x));
  TRY(output(ctx, HEED_F32, 2, dims, &y));
  TRY(output(ctx, HEED_F32, 2, dims, &dx));
  TRY(heed_softmax_fwd(x, axis, y));
  TRY(heed_softmax_bwd(y, x, axis, dx));
  TRY(heed_log_softmax_fwd(x, axis, y));
  return heed_log_softmax_bwd(y, x, axis, dx);
}

static heed_status tour_loss(heed_context *ctx, int64_t classes) {
  heed_tensor *x, *target, *probs, *loss, *rows, *dx;
  const int32_t classes_of[] = {1, 0, 2};
  heed_cross_entropy_options options = {.label_smoothing = 0.1, .has_ignore_index = true, .ignore_index = 0};
  TRY(input(ctx, HEED_F32, 2, DIMS(3, classes), &x));
  TRY(input_data(ctx, HEED_I32, 1, DIMS(3), classes_of, &target));
  TRY(output(ctx, HEED_F32, 1, DIMS(1), &loss));
  TRY(output(ctx, HEED_F32, 1, DIMS(3), &rows));
  TRY(output(ctx, HEED_F32, 2, DIMS(3, classes), &dx));
  TRY(output(ctx, HEED_F32, 2, DIMS(3, classes), &probs));
  TRY(heed_cross_entropy_fwd(x, target, &options, loss));
  TRY(heed_cross_entropy_bwd(x, target, &options, NULL, dx));
  TRY(heed_cross_entropy_fwd_bwd(x, target, &options, loss, dx));
  options = (heed_cross_entropy_options){.reduction = HEED_REDUCTION_NONE};
  TRY(heed_cross_entropy_fwd(x, target, &options, rows));
  TRY(heed_cross_entropy_bwd(x, target, &options, rows, dx));
  TRY(heed_softmax_fwd(x, 1, probs));
  options = (heed_cross_entropy_options){.from_probs = true};
  TRY(heed_cross_entropy_fwd(probs, probs, &options, loss));
  return heed_cross_entropy_bwd(probs, probs, &options, NULL, dx);
}

static heed_status tour_updates(heed_context *ctx) {
  heed_tensor *grad, *param, *buffer, *a, *x0, *root;
  const float positive[] = {2, 0.25F, 10, 1};
  TRY(input(ctx, HEED_F32, 1, DIMS(4), &grad));
  TRY(input(ctx, HEED_F32, 1, DIMS(4), &param));
  TRY(input(ctx, HEED_F32, 1, DIMS(4), &buffer));
  TRY(heed_sgd(&(heed_sgd_options){.lr = 0.1}, grad, param, NULL));
  TRY(heed_sgd(&(heed_sgd_options){.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.1}, grad, param,
               buffer));
  TRY(input_data(ctx, HEED_F32, 1, DIMS(4), positive, &a));
  TRY(input_data(ctx, HEED_F32, 1, DIMS(4), positive, &x0));
  TRY(output(ctx, HEED_F32, 1, DIMS(4), &root));
  return heed_sqrt_sgd(&(heed_sqrt_options){.lr = 0.01, .epochs = 3, .tolerance = 1e-6}, a, x0, root);
}

// ---------------------------------------------------------------- products

static heed_status tour_gemm(heed_context *ctx, int64_t m, int64_t n, int64_t k) {
  for (int form = 0; form < 4; ++form) {
    const bool ta = form & 1, tb = form & 2;
    heed_tensor *a, *b, *c;
    TRY(input(ctx, HEED_F32, 2, ta ? DIMS(k, m) : DIMS(m, k), &a));
    TRY(input(ctx, HEED_F32, 2, tb ? DIMS(n, k) : DIMS(k, n), &b));
    TRY(input(ctx, HEED_F32, 2, DIMS(m, n), &c));
    TRY(heed_gemm(ta, tb, 0.5, a, b, form == 3 ? 2 : 0, c));
  }
  return HEED_OK;
}

// What tuning may ask for: a sum in parts, and the form that any device can run.
static heed_status tour_gemm_variants(heed_context *ctx) {
  TRY(heed_tune_force(ctx, HEED_TUNE_GEMM, heed__cl_state(ctx)->traits.cpu_like ? "cpu: splits=2" : "gpu: splits=2"));
  TRY(tour_gemm(ctx, 5, 7, 40));
  TRY(heed_tune_force(ctx, HEED_TUNE_GEMM, "panels-small"));
  TRY(tour_gemm(ctx, 5, 7, 9));
  return heed_tune_force(ctx, HEED_TUNE_GEMM, NULL);
}

static heed_status tour_linear(heed_context *ctx) {
  heed_tensor *x, *weight, *bias, *y, *dx, *dweight, *dbias;
  TRY(input(ctx, HEED_F32, 2, DIMS(5, 9), &x));
  TRY(input(ctx, HEED_F32, 2, DIMS(7, 9), &weight));
  TRY(input(ctx, HEED_F32, 1, DIMS(7), &bias));
  TRY(output(ctx, HEED_F32, 2, DIMS(5, 7), &y));
  TRY(output(ctx, HEED_F32, 2, DIMS(5, 9), &dx));
  TRY(output(ctx, HEED_F32, 2, DIMS(7, 9), &dweight));
  TRY(output(ctx, HEED_F32, 1, DIMS(7), &dbias));
  TRY(heed_linear_fwd(x, weight, bias, y));
  TRY(heed_linear_bwd(x, weight, y, dx, dweight, dbias));
  TRY(heed_linear_relu_fwd(x, weight, bias, y));
  return heed_relu_linear_bwd(x, weight, y, dx, dweight, dbias);
}

// ---------------------------------------------------------------- attention

struct attention {
  int64_t queries, keys;
  heed_attention_options options;
  bool bool_mask, float_mask, lengths, weights, forward_only;
};

static heed_status tour_attention(heed_context *ctx, const struct attention *a) {
  heed_tensor *q, *k, *v, *out, *lse, *dout, *dq, *dk, *dv, *mask = NULL, *lengths = NULL, *weights = NULL,
                                                            *dmask = NULL;
  const int64_t wide[] = {1, 2, a->queries, 4}, narrow[] = {1, 1, a->keys, 4};
  uint8_t allowed[MOST_VALUES];
  for (int i = 0; i < MOST_VALUES; ++i) allowed[i] = i % 3 != 1;
  const int32_t length = (int32_t)a->keys - 1;
  TRY(input(ctx, HEED_F32, 4, wide, &q));
  TRY(input(ctx, HEED_F32, 4, narrow, &k));
  TRY(input(ctx, HEED_F32, 4, narrow, &v));
  TRY(input(ctx, HEED_F32, 4, wide, &dout));
  TRY(output(ctx, HEED_F32, 4, wide, &out));
  TRY(output(ctx, HEED_F32, 3, wide, &lse));
  TRY(output(ctx, HEED_F32, 4, wide, &dq));
  TRY(output(ctx, HEED_F32, 4, narrow, &dk));
  TRY(output(ctx, HEED_F32, 4, narrow, &dv));
  if (a->bool_mask) TRY(input_data(ctx, HEED_BOOL, 2, DIMS(a->queries, a->keys), allowed, &mask));
  if (a->float_mask) TRY(input(ctx, HEED_F32, 2, DIMS(a->queries, a->keys), &mask));
  if (a->float_mask) TRY(output(ctx, HEED_F32, 2, DIMS(a->queries, a->keys), &dmask));
  if (a->lengths) TRY(input_data(ctx, HEED_I32, 1, DIMS(1), &length, &lengths));
  if (a->weights) TRY(output(ctx, HEED_F32, 4, DIMS(1, 2, a->queries, a->keys), &weights));
  const heed_attention_inputs in = {.q = q, .k = k, .v = v, .mask = mask, .kv_lengths = lengths};
  const heed_attention_grads grads = {.dq = dq, .dk = dk, .dv = dv, .dmask = dmask};
  TRY(heed_attention_fwd(&in, &a->options, out, lse, weights));
  return a->forward_only ? HEED_OK : heed_attention_bwd(&in, &a->options, out, lse, dout, &grads);
}

// ---------------------------------------------------------------- the tour

static void release(void) {
  while (made_count > 0) heed_tensor_destroy(made[--made_count]);
}

#define TOUR(call)                                           \
  do {                                                       \
    const heed_status tour_status = (call);                  \
    fprintf(stderr, "%6.1f s: %s\n", tool_seconds(), #call); \
    release();                                               \
    if (tour_status == HEED_OK) break;                       \
    fprintf(stderr, "kernel_tour: %s\n", #call);             \
    return tour_status;                                      \
  } while (0)

static heed_status tour(heed_context *ctx) {
  static const struct attention attentions[] = {
      {5, 7, {.path = HEED_PATH_FUSED, .causal = HEED_CAUSAL_TOP_LEFT}, .bool_mask = true},
      {5, 7, {.path = HEED_PATH_FUSED, .dropout = 0.25, .softcap = 3}, .lengths = true},
      {1, 40, {.path = HEED_PATH_FUSED}, .lengths = false},
      {5,
       7,
       {.path = HEED_PATH_STAGED, .dropout = 0.25, .causal = HEED_CAUSAL_BOTTOM_RIGHT},
       .float_mask = true,
       .weights = true},
      {5, 7, {.path = HEED_PATH_STAGED, .softcap = 3}, .bool_mask = true, .lengths = true},
  };
  TOUR(tour_elements(ctx, HEED_F32));
  TOUR(tour_elements(ctx, HEED_BF16));
  TOUR(tour_moves(ctx));
  TOUR(tour_softmax(ctx, DIMS(3, 40), 1));
  TOUR(tour_softmax(ctx, DIMS(3, 5), 1));
  TOUR(tour_softmax(ctx, DIMS(5, 3), 0));
  TOUR(tour_loss(ctx, 4));
  TOUR(tour_loss(ctx, 70));
  TOUR(tour_updates(ctx));
  TOUR(tour_gemm(ctx, 5, 7, 9));
  TOUR(tour_gemm(ctx, 1, 3, 300));
  TOUR(tour_gemm(ctx, 17, 33, 20));
  TOUR(tour_gemm_variants(ctx));
  TOUR(tour_linear(ctx));
  for (size_t i = 0; i < sizeof attentions / sizeof *attentions; ++i) TOUR(tour_attention(ctx, &attentions[i]));
  // Keys enough for two work-groups to share a row, which an interpreter takes long over.
  static const struct attention split = {1, 512, {.path = HEED_PATH_FUSED}, .forward_only = true};
  if (!heed__cl_state(ctx)->traits.cpu_like) TOUR(tour_attention(ctx, &split));
  return heed_sync(ctx);
}

static const char *names[MOST_KERNELS];
static int name_count;

static heed_status note_kernels(heed_context *ctx) {
  const heed_profile_record *records;
  size_t count;
  TRY(heed_profile_records(ctx, &records, &count));
  for (size_t i = 0; i < count; ++i) {
    int at = 0;
    while (at < name_count && strcmp(names[at], records[i].kernel) != 0) ++at;
    if (at < name_count || name_count == MOST_KERNELS) continue;
    names[name_count++] = strdup(records[i].kernel);
    printf("%s\n", records[i].kernel);
  }
  return HEED_OK;
}

int main(void) {
  heed_status status = HEED_OK;
  for (int as_cpu = 0; as_cpu < 2 && status == HEED_OK; ++as_cpu) {
    heed_context *ctx = NULL;
    status = heed_open_with(&(heed_open_options){.profile = 1}, &ctx);
    if (status == HEED_OK && heed_context_device(ctx)->type == HEED_DEVICE_HOST) return 77;
    if (status == HEED_OK) {
      heed__cl_gemm_state(ctx)->provider = HEED__GEMM_NATIVE;
      heed__cl_state(ctx)->traits.cpu_like = as_cpu;
      heed__cl_state(ctx)->traits.vector_width = 4;
      status = tour(ctx);
    }
    if (status == HEED_OK) status = note_kernels(ctx);
    if (status != HEED_OK) fprintf(stderr, "kernel_tour: %s\n", heed_last_error());
    heed_context_destroy(ctx);
  }
  for (int i = 0; i < name_count; ++i) free((char *)names[i]);
  return status == HEED_OK ? 0 : 1;
}
