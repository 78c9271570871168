// Whether kernels can exchange registers among neighbouring work-items (kernels_cl/shuffle.cl), and how. The traits say what a device
// offers; this file tries it once per context, because no standard says where work-items lie in a subgroup.
#include "cl/runtime/runtime.h"

enum { ITEMS = 64 };

static heed_status read_back(heed_context *ctx, cl_mem buffer, enum heed__cl_shuffle form, float numbers[ITEMS]) {
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "shuffle_probe.cl", "shuffle_probe");
  heed__cl_define_int(&k, "SHUFFLE", form);
  heed__cl_buffer(&k, buffer);
  const size_t items = ITEMS;
  HEED__TRY(heed__cl_launch(&k, 1, &items, &items));
  return heed__cl_download(ctx, buffer, 0, numbers, ITEMS * sizeof *numbers);
}

static bool is_right(const float numbers[ITEMS]) {
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
    cl_mem buffer = NULL;
    float numbers[ITEMS];
    // If the device's compiler rejects the form, do without it: there is another way to the same result.
    heed_status status = heed__cl_scratch_take(ctx, sizeof numbers, &buffer);
    if (status == HEED_OK) status = read_back(ctx, buffer, form, numbers);
    heed__cl_scratch_give(ctx, buffer);
    cl->shuffle_right = status == HEED_OK && is_right(numbers);
    cl->shuffle_tried = form;
  }
  return cl->shuffle_right ? form : HEED__SHUFFLE_NONE;
}
