// A training step of a transformer, or of a vit, only queues: from the second step on it makes no buffer, waits for nothing and reads nothing back.
// OpenCL's calls that would do so are counted on their way to the loader.
#include <CL/cl.h>
#include <dlfcn.h>
#include <heed/nn.h>

#include "support_values.h"

static int buffers, waits, reads;

static void *real_of(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  assert_non_null(found);
  return found;
}

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *error) {
  cl_mem (*real)(cl_context, cl_mem_flags, size_t, void *, cl_int *);
  memcpy(&real, &(void *){real_of("clCreateBuffer")}, sizeof real);
  ++buffers;
  return real(context, flags, size, host, error);
}

cl_int clFinish(cl_command_queue queue) {
  cl_int (*real)(cl_command_queue);
  memcpy(&real, &(void *){real_of("clFinish")}, sizeof real);
  ++waits;
  return real(queue);
}

cl_int clWaitForEvents(cl_uint count, const cl_event *events) {
  cl_int (*real)(cl_uint, const cl_event *);
  memcpy(&real, &(void *){real_of("clWaitForEvents")}, sizeof real);
  for (cl_uint i = 0; i < count; ++i) {
    cl_int state = CL_QUEUED;
    clGetEventInfo(events[i], CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
    waits += state != CL_COMPLETE;  // a full queue waits for its oldest work, which is done here
  }
  return real(count, events);
}

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size,
                           void *data, cl_uint count, const cl_event *events, cl_event *event) {
  cl_int (*real)(cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint, const cl_event *, cl_event *);
  memcpy(&real, &(void *){real_of("clEnqueueReadBuffer")}, sizeof real);
  ++reads;
  return real(queue, buffer, blocking, offset, size, data, count, events, event);
}

void *clEnqueueMapBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, cl_map_flags flags, size_t offset,
                         size_t size, cl_uint count, const cl_event *events, cl_event *event, cl_int *error) {
  void *(*real)(cl_command_queue, cl_mem, cl_bool, cl_map_flags, size_t, size_t, cl_uint, const cl_event *, cl_event *,
                cl_int *);
  memcpy(&real, &(void *){real_of("clEnqueueMapBuffer")}, sizeof real);
  reads += (flags & CL_MAP_READ) != 0;
  return real(queue, buffer, blocking, flags, offset, size, count, events, event, error);
}

static const heed_optimizer_config adamw = {
    .kind = HEED_OPTIMIZER_ADAMW,
    .adamw = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1},
    .decay_matrices = true,
    .max_norm = 1};

struct training {
  heed_transformer *transformer;
  heed_vit *vit;
  heed_optimizer *optimizer;
  heed_tensor *tokens, *targets, *loss;  // tokens: images of the vit
};

static void step_tokens(const struct training *t, uint64_t number) {
  const heed_transformer_loss_options options = {.weight = 0.5, .seed = number};
  ASSERT_OK(heed_transformer_loss(t->transformer, t->tokens, t->targets, &options, NULL, t->loss));
  const heed_transformer_loss_options more = {.weight = 0.5, .seed = number + 1, .accumulate = true};
  ASSERT_OK(heed_transformer_loss(t->transformer, t->tokens, t->targets, &more, NULL, t->loss));
  ASSERT_OK(heed_optimizer_step(t->optimizer));
}

static void step_images(const struct training *t, uint64_t number) {
  ASSERT_OK(heed_vit_loss(t->vit, t->tokens, t->targets, number, NULL, t->loss, false));
  ASSERT_OK(heed_vit_loss(t->vit, t->tokens, t->targets, number + 1, NULL, t->loss, true));
  ASSERT_OK(heed_optimizer_step(t->optimizer));
}

static void assert_queues_only(heed_context *ctx, const struct training *t,
                               void (*step)(const struct training *t, uint64_t number)) {
  step(t, 0);  // compiles kernels, tries products, fills the pools
  ASSERT_OK(heed_sync(ctx));
  for (uint64_t number = 1; number < 4; ++number) {
    buffers = waits = reads = 0;
    step(t, number);
    assert_int_equal(buffers, 0);
    assert_int_equal(waits, 0);
    assert_int_equal(reads, 0);
    ASSERT_OK(heed_sync(ctx));
    assert_int_equal(waits, 1);  // the counters count
  }
}

static void assert_tokens_queue_only(heed_context *ctx, const heed_transformer_config *config) {
  enum { B = 2, L = 9 };
  struct training t = {0};
  int32_t ids[B * L];
  for (int i = 0; i < B * L; ++i) ids[i] = i % 7;
  t.tokens = support_put(ctx, HEED_I32, SHAPE(B, L), ids);
  t.targets = support_put(ctx, HEED_I32, SHAPE(B, L), ids);
  t.loss = support_new(ctx, HEED_F32, SHAPE(1));
  ASSERT_OK(heed_transformer_create(ctx, config, 3, &t.transformer));
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(t.transformer, &parameters);
  ASSERT_OK(heed_optimizer_create(parameters, count, &adamw, &t.optimizer));
  assert_queues_only(ctx, &t, step_tokens);
  heed_optimizer_destroy(t.optimizer);
  heed_transformer_destroy(t.transformer);
}

static void a_step_only_queues(void **state) {
  heed_context *ctx = support_context(state);
  heed_transformer_config config = {.layers = 2, .width = 24, .heads = 4, .vocab = 37, .context = 16, .dropout = 0.1};
  assert_tokens_queue_only(ctx, &config);
  config.architecture = HEED_ARCHITECTURE_LLAMA;
  config.kv_heads = 2;
  config.recompute = true;
  assert_tokens_queue_only(ctx, &config);
}

static void a_step_on_images_only_queues(void **state) {
  heed_context *ctx = support_context(state);
  const heed_vit_config config = {
      .rows = 28, .cols = 28, .patch = 7, .classes = 10, .layers = 2, .width = 24, .heads = 4, .dropout = 0.1};
  struct training t = {0};
  t.tokens = support_random(ctx, HEED_F32, SHAPE(5, 28 * 28), 1);
  t.targets = support_put(ctx, HEED_U8, SHAPE(5), (const uint8_t[]){0, 3, 9, 1, 1});
  t.loss = support_new(ctx, HEED_F32, SHAPE(1));
  ASSERT_OK(heed_vit_create(ctx, &config, 3, &t.vit));
  const heed_parameter *parameters;
  const size_t count = heed_vit_parameters(t.vit, &parameters);
  ASSERT_OK(heed_optimizer_create(parameters, count, &adamw, &t.optimizer));
  assert_queues_only(ctx, &t, step_images);
  heed_optimizer_destroy(t.optimizer);
  heed_vit_destroy(t.vit);
}

int main(void) {
  const struct CMUnitTest tests[] = {TEST(a_step_only_queues), TEST(a_step_on_images_only_queues)};
  return cmocka_run_group_tests_name("queue of a transformer", tests, support_open_device, support_close);
}
