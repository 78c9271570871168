// One step of PyTorch's SGD, in place. A work-item goes over `walk` elements, a multiple of VECTOR: one after the other on a CPU, one
// alone on a GPU.
//
// check with: -DVECTOR=8
// check with: -DX_DTYPE=BF16

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
typedef TYPE(X_DTYPE) real;
// Bits of a step's mode; FIRST: the buffer holds no history. Arguments, since a program for each would take longer to compile than
// the choice, the same for all elements, ever costs.
enum { MOMENTUM = 1, NESTEROV = 2, FIRST = 4 };

__kernel void sgd(const __global real *grad, long grad_offset, __global real *param, long param_offset,
                  __global real *buffer, long buffer_offset, long count, uint walk, float lr, float momentum,
                  float fresh, float weight_decay, uint mode) {
  const idx first = (idx)get_global_id(0) * walk, end = min((long)count, (long)first + walk);
  grad += grad_offset;
  param += param_offset;
  buffer += buffer_offset;
  for (idx i = first; i < end; i += VECTOR) {
    const floatv p = LOADV(X_DTYPE, param, i, end, 0);
    floatv g = LOADV(X_DTYPE, grad, i, end, 0);
    if (weight_decay != 0) g += weight_decay * p; // 0 · Inf would be NaN
    if (mode & MOMENTUM) {
      const floatv old = LOADV(X_DTYPE, buffer, i, end, 0), kept = momentum * old + fresh * g;
      const floatv history = mode & FIRST ? g : kept;
      STOREV(X_DTYPE, buffer, i, end, history);
      g = mode & NESTEROV ? g + momentum * history : history;
    }
    STOREV(X_DTYPE, param, i, end, p - lr * g);
  }
}
