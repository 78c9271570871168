// One step of PyTorch's SGD, in place.

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
typedef TYPE(X_DTYPE) real;
// Bits of a step's mode; `first`: the buffer holds no history. Arguments, since a program for each would take longer to compile than
// the choice, the same for all elements, ever costs.
enum { MOMENTUM = 1, NESTEROV = 2, FIRST = 4 };

__kernel void sgd(const __global real *grad, long grad_offset, __global real *param, long param_offset,
                  __global real *buffer, long buffer_offset, long count, float lr, float momentum, float fresh,
                  float weight_decay, uint mode) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  param += param_offset;
  buffer += buffer_offset;
  const float p = LOAD(X_DTYPE, param, i);
  float g = LOAD(X_DTYPE, grad + grad_offset, i);
  if (weight_decay != 0) g += weight_decay * p; // 0 · Inf would be NaN
  if (mode & MOMENTUM) {
    const float kept = momentum * LOAD(X_DTYPE, buffer, i) + fresh * g;
    const float history = mode & FIRST ? g : kept;
    STORE(X_DTYPE, buffer, i, history);
    g = mode & NESTEROV ? g + momentum * history : history;
  }
  STORE(X_DTYPE, param, i, p - lr * g);
}
