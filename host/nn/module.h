// What the modules share: parameters with gradients, and device memory that is kept from call to call.
#ifndef HEED__MODULE_H
#define HEED__MODULE_H

#include <heed/nn.h>

#include "base/status.h"

// ---------------------------------------------------------------- kept memory

// A tensor that is asked for in every step. Its memory is reused while the count of elements does not grow.
struct heed__scratch {
  heed_tensor *storage;  // rank 1, as large as ever asked for
  heed_tensor *tensor;   // the shape of the last request; undefined contents after a change of shape
};
// Zero-initialise. Afterwards scratch->tensor is contiguous, of these dims and this dtype.
heed_status heed__scratch_shape(struct heed__scratch *scratch, heed_context *ctx, heed_dtype dtype, int rank,
                                const int64_t *dims);
void heed__scratch_destroy(struct heed__scratch *scratch);

// ---------------------------------------------------------------- parameters

// A parameter and its gradient, which starts as zeros. name is copied. values: uniform in ±bound from (seed, stream); bound 0
// gives zeros. After a failure heed__parameter_destroy() is still to be called.
heed_status heed__parameter_create(heed_context *ctx, const char *name, heed_dtype dtype, int rank, const int64_t *dims,
                                   double bound, uint64_t seed, uint64_t stream, heed_parameter *out);
void heed__parameter_destroy(heed_parameter *parameter);

// ---------------------------------------------------------------- messages

// "F32[2, 3]", or "none".
struct heed__shape_text {
  char text[144];
};
struct heed__shape_text heed__shape_text(const heed_tensor *tensor);
// Whether the tensor has this rank and these dims; a dim of −1 fits any.
bool heed__has_shape(const heed_tensor *tensor, int rank, const int64_t *dims);

#endif
