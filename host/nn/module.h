// What the modules share: parameters with gradients, and device memory that they keep from call to call.
#ifndef HEED__MODULE_H
#define HEED__MODULE_H

#include <heed/nn.h>

#include "base/status.h"

// ---------------------------------------------------------------- kept memory

// A tensor that every step needs. Its memory is reused while the number of elements does not grow.
struct heed__scratch {
  heed_tensor *storage;  // rank 1, as large as the largest request
  heed_tensor *tensor;   // the shape of the last request; undefined contents after a change of shape
};
// Zero-initialise. Afterwards scratch->tensor is contiguous, of these dims and this dtype.
heed_status heed__scratch_shape(struct heed__scratch *scratch, heed_context *ctx, heed_dtype dtype, int rank,
                                const int64_t *dims);
void heed__scratch_destroy(struct heed__scratch *scratch);

// ---------------------------------------------------------------- parameters

// What a parameter is made from. Each value is constant + bound · uniform in ±1 + deviation · normal, drawn from (seed, stream).
struct heed__parameter_plan {
  char name[80];  // after the module's prefix
  int rank;
  int64_t dims[2];
  double constant, bound, deviation;  // at most one of bound and deviation is not 0
  uint64_t stream;
  bool with_previous;  // must follow the parameter before in memory, because the module reads both as one
};
// Makes parameters, with gradients of zeros if `with_grads`. `prefix` begins their names; NULL: none. The values are views that follow one another, in this
// order, in one storage (or in a few, if the device has no buffer that large), and so are the gradients. So one launch can go over all of a
// module's parameters (heed_tensor_join()).
// After a failure, still call heed__parameter_destroy() for each.
heed_status heed__parameters_create(heed_context *ctx, heed_dtype dtype, const char *prefix,
                                    const struct heed__parameter_plan *plans, size_t count, uint64_t seed,
                                    bool with_grads, heed_parameter *out);
void heed__parameter_destroy(heed_parameter *parameter);
// Makes a contiguous tensor of zeros. It uploads them, because building a kernel does not pay for something done once.
heed_status heed__zeros_create(heed_context *ctx, heed_dtype dtype, int64_t count, heed_tensor **out);

// ---------------------------------------------------------------- shapes

// Tells whether the tensor has this rank and these dims; a dim of −1 fits any.
bool heed__has_shape(const heed_tensor *tensor, int rank, const int64_t *dims);

// ---------------------------------------------------------------- aliasing

// A tensor of a module's call, with the name that the call gives it; tensor NULL: left out.
struct heed__named {
  const char *name;
  const heed_tensor *tensor;
};
// A module writes its outputs while it still reads its inputs and parameters, so no output may overlap another output, an input or a
// parameter. Errors, whose messages begin with `who`: INVALID_ARGUMENT.
heed_status heed__check_apart(const char *who, const struct heed__named *outputs, size_t output_count,
                              const struct heed__named *inputs, size_t input_count, const heed_parameter *parameters,
                              size_t parameter_count);

#endif
