// sqrt_sgd on OpenCL. Launches are short, because GPU watchdogs kill kernels that run for seconds, and llvmpipe silently ends loops after
// 65535 iterations. Between launches, scratch memory holds the state of each element.
#include <math.h>

#include "cl/runtime/grid.h"
#include "cl/operators.h"

enum { EPOCHS_A_LAUNCH = 32768, LAUNCHES_A_LOOK = 256 };
static const int64_t steps_a_launch = 1000000000;  // elements × epochs: below a second on anything

// For each element: what x rounds off, and whether it has stopped. For all: whether any has not stopped.
struct state {
  cl_mem rest, stopped, running;
};

static heed_status launch(heed_context *ctx, const struct heed__call *call, const struct state *state, int64_t epochs,
                          bool first) {
  // a, x0, x: F32 of one shape; rest: F32, stopped: U32, as many elements; running: U32 [1]
  const heed_sqrt_options *options = call->params;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/sqrt_sgd.cl", "sqrt_sgd");
  heed__cl_tensor(&k, call->in[HEED__sqrt_sgd_a]);
  heed__cl_tensor(&k, call->in[HEED__sqrt_sgd_x0]);
  heed__cl_tensor(&k, call->out[HEED__sqrt_sgd_x]);
  heed__cl_buffer(&k, state->rest);
  heed__cl_buffer(&k, state->stopped);
  heed__cl_buffer(&k, state->running);
  heed__cl_long(&k, call->out[HEED__sqrt_sgd_x]->count);
  heed__cl_uint(&k, (uint32_t)epochs);
  heed__cl_uint(&k, first);
  heed__cl_float(&k, 4 * options->lr);
  heed__cl_float(&k, options->tolerance < 0 ? -1 : sqrt(options->tolerance));
  return heed__cl_launch_items(&k, call->out[HEED__sqrt_sgd_x]->count);
}

static heed_status clear(heed_context *ctx, cl_mem running) {
  const uint32_t nothing_runs = 0;
  return heed__cl_upload(ctx, running, 0, &nothing_runs, sizeof nothing_runs);
}

// Waits; *any says whether an element was still running at the end of a launch since the flag was cleared.
static heed_status look(heed_context *ctx, cl_mem running, bool *any) {
  uint32_t flag = 0;
  HEED__TRY(heed__cl_download(ctx, running, 0, &flag, sizeof flag));
  *any = flag != 0;
  return HEED_OK;
}

static heed_status descend(heed_context *ctx, const struct heed__call *call, const struct state *state) {
  const heed_sqrt_options *options = call->params;
  const int64_t chunk = heed__max(1, heed__min(EPOCHS_A_LAUNCH, steps_a_launch / call->out[HEED__sqrt_sgd_x]->count));
  bool any = true;
  int64_t launches = 0;
  // Even without epochs x = x0, which the first launch writes.
  for (int64_t done = 0; any && (done < options->epochs || launches == 0); done += chunk, ++launches) {
    const bool looks = launches % LAUNCHES_A_LOOK == LAUNCHES_A_LOOK - 1;
    if (looks || launches == 0) HEED__TRY(clear(ctx, state->running));
    HEED__TRY(launch(ctx, call, state, heed__min(chunk, options->epochs - done), launches == 0));
    if (looks) HEED__TRY(look(ctx, state->running, &any));
  }
  return HEED_OK;
}

heed_status heed__cl_sqrt_sgd(heed_context *ctx, const struct heed__call *call) {
  const size_t count = (size_t)call->out[HEED__sqrt_sgd_x]->count;
  struct state state = {0};
  heed_status status;
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, count * sizeof(float), &state.rest));
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, count * sizeof(uint32_t), &state.stopped));
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, sizeof(uint32_t), &state.running));
  status = descend(ctx, call, &state);
done:
  heed__cl_scratch_give(ctx, state.running);
  heed__cl_scratch_give(ctx, state.stopped);
  heed__cl_scratch_give(ctx, state.rest);
  return status;
}
