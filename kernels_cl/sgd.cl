// One step of PyTorch's SGD, in place. NESTEROV, and `first` (the buffer holds no history), matter where MOMENTUM is set.

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef MOMENTUM
#define MOMENTUM 0
#endif
#ifndef NESTEROV
#define NESTEROV 0
#endif
typedef TYPE(X_DTYPE) real;

__kernel void sgd(const __global real *grad, long grad_offset, __global real *param, long param_offset,
                  __global real *buffer, long buffer_offset, long count, float lr, float momentum, float fresh,
                  float weight_decay, uint first) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  param += param_offset;
  buffer += buffer_offset;
  const float p = LOAD(X_DTYPE, param, i);
  float g = LOAD(X_DTYPE, grad + grad_offset, i);
  if (weight_decay != 0) g += weight_decay * p; // 0 · Inf would be NaN
#if MOMENTUM
  const float kept = momentum * LOAD(X_DTYPE, buffer, i) + fresh * g;
  const float history = first ? g : kept;
  STORE(X_DTYPE, buffer, i, history);
  g = NESTEROV ? g + momentum * history : history;
#endif
  STORE(X_DTYPE, param, i, p - lr * g);
}
