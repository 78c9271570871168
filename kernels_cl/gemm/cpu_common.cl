// What the CPU's GEMM kernels share beside the epilogue: transposes of small blocks.
#include "gemm/epilogue.cl"
#define ONE_ITEM __attribute__((reqd_work_group_size(1, 1, 1)))
typedef float8 float8_any __attribute__((aligned(4)));

// ---- 8 × 8 transpose: three rounds of pairwise exchange

INLINE void transpose8(float8 *r) {
  float8 a, b;
#define EXCHANGE(i, j, low, high) a = r[i], b = r[j], r[i] = (float8)low, r[j] = (float8)high;
#define EXCHANGE_4(i, j) EXCHANGE(i, j, (a.s0123, b.s0123), (a.s4567, b.s4567))
#define EXCHANGE_2(i, j) EXCHANGE(i, j, (a.s01, b.s01, a.s45, b.s45), (a.s23, b.s23, a.s67, b.s67))
#define EXCHANGE_1(i, j)                                                                                               \
  EXCHANGE(i, j, (a.s0, b.s0, a.s2, b.s2, a.s4, b.s4, a.s6, b.s6), (a.s1, b.s1, a.s3, b.s3, a.s5, b.s5, a.s7, b.s7))
  EXCHANGE_4(0, 4) EXCHANGE_4(1, 5) EXCHANGE_4(2, 6) EXCHANGE_4(3, 7)
  EXCHANGE_2(0, 2) EXCHANGE_2(1, 3) EXCHANGE_2(4, 6) EXCHANGE_2(5, 7)
  EXCHANGE_1(0, 1) EXCHANGE_1(2, 3) EXCHANGE_1(4, 5) EXCHANGE_1(6, 7)
}
