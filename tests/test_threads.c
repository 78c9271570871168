// Contexts in threads: two of them at once do the same work to the same bits, and to those of one alone.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <heed/opencl.h>

#include "support_values.h"

// ---------------------------------------------------------------- the work of one thread: no cmocka in here

enum { ROUNDS = 4, BATCH = 2, HEADS = 4, LENGTH = 45, WIDTH = 24, TENSORS = 16 };
enum { ELEMENTS = BATCH * HEADS * LENGTH * WIDTH };
enum { Q, K, V, OUT, LSE, DOUT, DQ, DK, DV, SOFT, WEIGHT, LINEAR, DX, DWEIGHT, USED };

struct job {
  heed_context *ctx;
  heed_status status;
  char message[512];
  float results[7][ELEMENTS];
};

#define WORK(call)                                  \
  do {                                              \
    const heed_status work_status = (call);         \
    if (work_status != HEED_OK) return work_status; \
  } while (0)

static heed_status new_tensor(const struct job *job, heed_tensor **t, uint64_t seed, int rank, const int64_t *dims) {
  WORK(heed_tensor_create(job->ctx, HEED_F32, rank, dims, t));
  float *values = calloc(ELEMENTS, sizeof *values);
  if (!values) return HEED_ERROR_OUT_OF_MEMORY;
  support_fill(values, heed_tensor_count(*t), seed);
  const heed_status status = heed_tensor_upload_f32(*t, values, heed_tensor_count(*t));
  free(values);
  return status;
}

static heed_status make_tensors(const struct job *job, heed_tensor **t, uint64_t seed) {
  for (int i = Q; i <= SOFT; ++i)
    if (i == LSE)
      WORK(new_tensor(job, &t[i], 0, SHAPE(BATCH, HEADS, LENGTH)));
    else
      WORK(new_tensor(job, &t[i], seed + (uint64_t)i, SHAPE(BATCH, HEADS, LENGTH, WIDTH)));
  WORK(new_tensor(job, &t[WEIGHT], seed + 20, SHAPE(WIDTH, WIDTH)));
  WORK(new_tensor(job, &t[DWEIGHT], 0, SHAPE(WIDTH, WIDTH)));
  WORK(new_tensor(job, &t[LINEAR], 0, SHAPE(BATCH, HEADS, LENGTH, WIDTH)));
  return new_tensor(job, &t[DX], 0, SHAPE(BATCH, HEADS, LENGTH, WIDTH));
}

static heed_status run_round(struct job *job, heed_tensor **t) {
  const heed_attention_inputs in = {.q = t[Q], .k = t[K], .v = t[V]};
  const heed_attention_options options = {.causal = HEED_CAUSAL_TOP_LEFT, .dropout = 0.2, .seed = 5};
  const heed_attention_grads grads = {.dq = t[DQ], .dk = t[DK], .dv = t[DV]};
  const heed_sgd_options sgd = {.lr = 0.1};
  WORK(heed_attention_fwd(&in, &options, t[OUT], t[LSE], NULL));
  WORK(heed_attention_bwd(&in, &options, t[OUT], t[LSE], t[DOUT], &grads));
  WORK(heed_softmax_fwd(t[OUT], 2, t[SOFT]));
  WORK(heed_linear_fwd(t[SOFT], t[WEIGHT], NULL, t[LINEAR]));
  WORK(heed_linear_bwd(t[SOFT], t[WEIGHT], t[LINEAR], t[DX], t[DWEIGHT], NULL, false));
  WORK(heed_sgd(&sgd, t[DWEIGHT], t[WEIGHT], NULL));
  // An error of this thread is nobody else's.
  if (heed_softmax_fwd(t[OUT], 9, t[SOFT]) != HEED_ERROR_INVALID_ARGUMENT) return HEED_ERROR_MISMATCH;
  const int kept[] = {OUT, DQ, DK, DV, LINEAR, DX, WEIGHT};
  for (int i = 0; i < 7; ++i)
    WORK(heed_tensor_download_f32(t[kept[i]], job->results[i], heed_tensor_count(t[kept[i]])));
  return heed_sync(job->ctx);
}

static void *work(void *argument) {
  struct job *job = argument;
  for (uint64_t round = 0; round < ROUNDS && job->status == HEED_OK; ++round) {
    heed_tensor *t[TENSORS] = {0};
    job->status = make_tensors(job, t, 100 * round);
    if (job->status == HEED_OK) job->status = run_round(job, t);
    for (int i = 0; i < USED; ++i) heed_tensor_destroy(t[i]);
  }
  snprintf(job->message, sizeof job->message, "%s", heed_last_error());
  return NULL;
}

// ---------------------------------------------------------------- statements

static struct job *new_job(heed_context *ctx) {
  struct job *job = support_memory(sizeof *job);
  job->ctx = ctx;
  return job;
}

static void assert_done(const struct job *job) {
  if (job->status != HEED_OK) fail_msg("%s: %s", heed_status_string(job->status), job->message);
  assert_int_equal(heed_context_live_tensors(job->ctx), 0);
}

static void run_together(struct job **jobs, int count) {
  pthread_t threads[4];
  for (int i = 0; i < count; ++i) assert_int_equal(pthread_create(&threads[i], NULL, work, jobs[i]), 0);
  for (int i = 0; i < count; ++i) assert_int_equal(pthread_join(threads[i], NULL), 0);
  for (int i = 0; i < count; ++i) assert_done(jobs[i]);
}

static heed_context *open_like(heed_context *ctx) {
  const heed_device_info *device = heed_context_device(ctx);
  char spec[96];
  snprintf(spec, sizeof spec, device->type == HEED_DEVICE_HOST ? "host" : "id:%s", device->id);
  heed_context *other = NULL;
  ASSERT_OK(heed_open(spec, &other));
  return other;
}

static void two_contexts_on_one_device_give_the_bits_of_one(void **state) {
  heed_context *ctx = support_context(state);
  struct job *alone = new_job(ctx), *jobs[2];
  work(alone);
  assert_done(alone);
  for (int i = 0; i < 2; ++i) jobs[i] = new_job(open_like(ctx));
  run_together(jobs, 2);
  for (int i = 0; i < 2; ++i) {
    assert_memory_equal(jobs[i]->results, alone->results, sizeof alone->results);
    heed_context_destroy(jobs[i]->ctx);
  }
}

static void *open_and_close(void *argument) {
  bool *good = argument;
  for (int i = 0; i < 3 && *good; ++i) {
    heed_context *ctx = NULL;
    *good = heed_open(NULL, &ctx) == HEED_OK;
    heed_context_destroy(ctx);
  }
  return NULL;
}

static void contexts_open_and_close_in_threads(void **state) {
  support_context(state);
  pthread_t threads[3];
  bool good[3] = {true, true, true};
  for (int i = 0; i < 3; ++i) assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &good[i]), 0);
  for (int i = 0; i < 3; ++i) assert_int_equal(pthread_join(threads[i], NULL), 0);
  for (int i = 0; i < 3; ++i) assert_true(good[i]);
}

// Two halves of a device, each a device of its own.
static void two_sub_devices_give_each_others_bits(void **state) {
  heed_context *ctx = support_context(state);
  cl_device_id device, subs[2] = {NULL, NULL};
  cl_uint made = 0, most = 0;
  ASSERT_OK(heed_opencl_handles(ctx, NULL, &device, NULL));
  const cl_device_partition_property halves[] = {CL_DEVICE_PARTITION_BY_COUNTS, 1, 1,
                                                 CL_DEVICE_PARTITION_BY_COUNTS_LIST_END, 0};
  // Some drivers do not survive the call where they cannot divide.
  clGetDeviceInfo(device, CL_DEVICE_PARTITION_MAX_SUB_DEVICES, sizeof most, &most, NULL);
  if (most < 2 || clCreateSubDevices(device, halves, 2, subs, &made) != CL_SUCCESS || made < 2) skip();
  struct job *jobs[2];
  for (int i = 0; i < 2; ++i) {
    cl_int error = CL_SUCCESS;
    cl_context context = clCreateContext(NULL, 1, &subs[i], NULL, NULL, &error);
    assert_int_equal(error, CL_SUCCESS);
    cl_command_queue queue = clCreateCommandQueue(context, subs[i], 0, &error);
    assert_int_equal(error, CL_SUCCESS);
    heed_context *own = NULL;
    ASSERT_OK(heed_open_opencl(context, subs[i], queue, NULL, &own));
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
    clReleaseDevice(subs[i]);
    jobs[i] = new_job(own);
  }
  run_together(jobs, 2);
  assert_memory_equal(jobs[1]->results, jobs[0]->results, sizeof jobs[0]->results);
  for (int i = 0; i < 2; ++i) heed_context_destroy(jobs[i]->ctx);
}

int main(void) {
  const struct CMUnitTest host[] = {TEST(two_contexts_on_one_device_give_the_bits_of_one)};
  const struct CMUnitTest device[] = {
      TEST(two_contexts_on_one_device_give_the_bits_of_one),
      TEST(contexts_open_and_close_in_threads),
      TEST(two_sub_devices_give_each_others_bits),
  };
  const int failed = cmocka_run_group_tests_name("threads on the host", host, support_open_host, support_close);
  return failed + cmocka_run_group_tests_name("threads on the device", device, support_open_device, support_close);
}
