// The epilogue of a product: y = activation(alpha x + beta y + bias), on vectors or (VECTOR 1) elements. Included by what stores C.
#pragma OPENCL FP_CONTRACT ON
#ifndef X_DTYPE
#define X_DTYPE F32 // of C, bias and mask
#endif
#if GELU // 1: through Φ, 2: through tanh
#define TANH (GELU == 2)
#include "gelu.cl"
#else
typedef TYPE(X_DTYPE) real;
#endif
#define INLINE static inline __attribute__((always_inline))

// A CPU runtime may turn vstore16 into four stores, which a wide load that follows cannot forward from; a store through a
// type of lower alignment stays one.
typedef floatv floatv_any __attribute__((aligned(4)));

INLINE void put_F32(floatv x, __global float *p) { *(__global floatv_any *)p = x; }
INLINE void put_F16(floatv x, __global half *p) { VSTORE_HALF(x, p); }
INLINE void put_BF16(floatv x, __global ushort *p) { VSTORE_BF16(x, p); }
#define WHOLE(p) HEED_JOIN(whole_, X_DTYPE)(p)
#define PUT(x, p) HEED_JOIN(put_, X_DTYPE)(x, p)

#define ACTIVATION_RELU 1
#define ACTIVATION_GELU 2
#define ACTIVATION_MASK 3 // x where its argument > 0, else 0: the backward of relu, whose argument may also be its result
#define ACTIVATION_GELU_SLOPE 4

struct epilogue {
  const __global real *bias; // of the first column
  __global real *argument;   // of the activation, the first element: gelu writes it if there is one, backwards read it
  long argument_ld;
  float alpha, beta;
  uint has_bias, has_argument, activation;
};
#define EPILOGUE_ARGUMENTS                                                                                             \
  const __global real *bias, long bias_offset, __global real *argument, long argument_offset, long argument_stride0,   \
      long argument_stride1, long argument_ld, float alpha, float beta, uint has_bias, uint has_argument, uint activation

// Of batch (batch0, batch1).
#define EPILOGUE(batch0, batch1)                                                                                       \
  {bias + bias_offset, argument + argument_offset + (batch0)*argument_stride0 + (batch1)*argument_stride1,             \
   argument_ld, alpha, beta, has_bias, has_argument, activation}

INLINE int is_plain(struct epilogue e) { return !e.has_bias && !e.activation; }

INLINE void put_lanes(floatv x, __global real *p, int count) {
  if (count >= VECTOR)
    PUT(x, p);
  else
    STOREV(X_DTYPE, p, 0, count, x);
}

// `count` lanes of x to row `row` of C from column `col` on; c points there.
INLINE void finish(floatv x, __global real *c, long row, long col, int count, struct epilogue e) {
  x *= e.alpha;
  if (e.beta != 0) x += e.beta * LOADV(X_DTYPE, c, 0, count, 0);
  if (e.has_bias) x += LOADV(X_DTYPE, e.bias + col, 0, count, 0);
  if (e.activation == ACTIVATION_RELU) // not fmax, which would turn NaN into 0
    x = select(x, (floatv)0, x < 0);
#if GELU
  else if (e.activation == ACTIVATION_GELU) {
    if (e.has_argument) put_lanes(x, e.argument + row * e.argument_ld + col, count);
    x = gelu_of(x);
  } else if (e.activation == ACTIVATION_GELU_SLOPE)
    x *= gelu_slope(LOADV(X_DTYPE, e.argument + row * e.argument_ld + col, 0, count, 0));
#endif
  else if (e.activation == ACTIVATION_MASK)
    x = select((floatv)0, x, LOADV(X_DTYPE, e.argument + row * e.argument_ld + col, 0, count, 0) > 0);
  put_lanes(x, c, count);
}
