// What no standard promises of a device, and a context therefore tries before kernels count on it: whether neighbouring work-items can exchange
// registers, and how (kernels_cl/shuffle.cl); and whether native_exp2() is exact enough.
#include "cl/runtime/runtime.h"

enum { ITEMS = 64 };

// Runs a kernel of one work-group, which leaves a number an item.
static heed_status run_trial(heed_context *ctx, const char *file, const char *kernel, enum heed__cl_shuffle form,
                             float numbers[ITEMS]) {
  cl_mem buffer = NULL;
  HEED__TRY(heed__cl_scratch_take(ctx, ITEMS * sizeof *numbers, &buffer));
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, file, kernel);
  heed__cl_define_int(&k, "SHUFFLE", form);
  heed__cl_buffer(&k, buffer);
  const size_t items = ITEMS;
  heed_status status = heed__cl_launch(&k, 1, &items, &items);
  if (status == HEED_OK) status = heed__cl_download(ctx, buffer, 0, numbers, ITEMS * sizeof *numbers);
  heed__cl_scratch_give(ctx, buffer);
  return status;
}

// ---------------------------------------------------------------- shuffles

static bool lie_in_order(const float numbers[ITEMS]) {
  for (int i = 0; i < ITEMS; ++i) {
    int number = 0;
    for (int mask = 1; mask <= 8; mask *= 2) number = number * ITEMS + (i ^ mask);
    if (!(numbers[i] == (float)number)) return false;
  }
  return true;
}

enum heed__cl_shuffle heed__cl_shuffle(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const enum heed__cl_shuffle form = cl->traits.shuffle;
  if (form == HEED__SHUFFLE_NONE) return form;
  if (cl->shuffle_tried != form) {
    // If the device's compiler rejects the form, do without it: there is another way to the same result.
    float numbers[ITEMS];
    cl->shuffle_right =
        run_trial(ctx, "shuffle_probe.cl", "shuffle_probe", form, numbers) == HEED_OK && lie_in_order(numbers);
    cl->shuffle_tried = form;
  }
  return cl->shuffle_right ? form : HEED__SHUFFLE_NONE;
}

// ---------------------------------------------------------------- exponentials

// Two units in the last place beside the three by which exp2() may err: no more than a sum of a few such numbers errs by in any case.
static const float EXP2_ERROR = 6e-7f;

bool heed__cl_native_exp2(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (cl->exp2 == HEED__EXP2_UNTRIED) {
    float answers[ITEMS];
    bool is_right = run_trial(ctx, "exp2_probe.cl", "exp2_probe", HEED__SHUFFLE_NONE, answers) == HEED_OK;
    for (int i = 0; is_right && i < ITEMS; ++i) is_right = answers[i] >= 1 && answers[i] <= 1 + EXP2_ERROR * (1 << 20);
    cl->exp2 = is_right ? HEED__EXP2_NATIVE : HEED__EXP2_CAREFUL;
  }
  return cl->exp2 == HEED__EXP2_NATIVE;
}
