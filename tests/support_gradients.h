// Gradients against finite differences: a function of tensors is named by its forward and backward, and every input's
// gradient is compared with differences of the forward along random directions. Values are F32 on any context.
#ifndef SUPPORT_GRADIENTS_H
#define SUPPORT_GRADIENTS_H

#include <heed/heed.h>

#define GRADIENT_MAX_INPUTS 16

struct gradient_input {
  const char *name;
  heed_tensor *value, *grad;
  bool owned;  // the case destroys both
};

// forward reads the inputs' values into out; backward writes the inputs' grads from dout.
struct gradient_case {
  const char *name;
  heed_context *ctx;
  uint64_t seed;
  struct gradient_input inputs[GRADIENT_MAX_INPUTS];
  int count;
  heed_tensor *out, *dout;
  // How many times a result is rounded to F32 between inputs and out: 1 for an operator, the number of operators for a module.
  int roundings;
  heed_status (*forward)(struct gradient_case *c);
  heed_status (*backward)(struct gradient_case *c);
  void *function;  // whatever these two need
};

void gradient_begin(struct gradient_case *c, const char *name, heed_context *ctx, uint64_t seed);
void gradient_end(struct gradient_case *c);  // destroys what the case owns

// A new input with values in [low, high] on the grid that differences need, and memory for its gradient.
heed_tensor *gradient_add(struct gradient_case *c, const char *name, int rank, const int64_t *dims, double low,
                          double high);
// An input that belongs to somebody else, a module's parameter say; its values are drawn anew.
void gradient_add_borrowed(struct gradient_case *c, const char *name, heed_tensor *value, heed_tensor *grad, double low,
                           double high);
void gradient_set_out(struct gradient_case *c, int rank, const int64_t *dims);
heed_tensor *gradient_of(const struct gradient_case *c, const char *name);  // NULL: no such input

// Fails the running test where a gradient is off.
void gradient_check(struct gradient_case *c);

// The slopes of an F64 function along each of the values that it reads from `of`, by central differences of this width; the values stay as they
// are.
void gradient_slopes(double (*value_at)(void *of), void *of, double *values, int64_t count, double width,
                     double *gradient);

#endif
