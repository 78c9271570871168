// What every operator checks of its tensors: once, before the backend sees them.
#ifndef HEED__CHECK_H
#define HEED__CHECK_H

#include "core/core.h"

enum heed__arg_flags {
  HEED__OUT = 1,       // written; must not share memory with an input
  HEED__IN_PLACE = 2,  // ... but may be the very same elements as an input
  HEED__OPTIONAL = 4,  // may be NULL
  HEED__STRIDED = 8,   // need not be contiguous
  HEED__FLOAT = 16,    // floating point; all tensors with this flag have one dtype
  HEED__IS_F32 = 32,
  HEED__IS_I32 = 64,
};

struct heed__arg {
  const char *name;
  const heed_tensor *tensor;
  unsigned flags;
};

// Checks presence, context, contiguity, dtype and aliasing; *ctx is the context they share. `op` begins the messages.
heed_status heed__check_args(const char *op, const struct heed__arg *args, int count, heed_context **ctx);
#define HEED__CHECK_ARGS(op, ctx, ...)                                    \
  HEED__TRY(heed__check_args(op, (const struct heed__arg[]){__VA_ARGS__}, \
                             (int)(sizeof((const struct heed__arg[]){__VA_ARGS__}) / sizeof(struct heed__arg)), ctx))

bool heed__same_shape(const heed_tensor *a, const heed_tensor *b);
// Fails with SHAPE and both shapes unless they are the same.
heed_status heed__check_same_shape(const char *op, const char *a_name, const heed_tensor *a, const char *b_name,
                                   const heed_tensor *b);
heed_status heed__check_gelu_form(const char *op, heed_gelu_form form);
// A negative axis counts from the end. Errors: INVALID_ARGUMENT if the tensor has no such axis.
heed_status heed__check_axis(const char *op, const char *name, const heed_tensor *x, int axis, int *out);

#endif
