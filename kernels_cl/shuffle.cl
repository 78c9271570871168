// Neighbouring work-items of a one-dimensional work-group exchange registers, for maxima and sums over the items of a row without
// a trip through local memory. SHUFFLE says how; see enum heed__cl_shuffle:
//   0  not at all
//   1  emulated in local memory, so that every device can run, and test, what the others do
//   2  cl_khr_subgroup_shuffle
//   3  inline PTX: NVIDIA's drivers have no extension for it. A warp's 32 items meet each exchange together
// No standard says that items lie in a subgroup's lanes in their order, nor that a driver takes inline PTX: host/cl/runtime/trials.c tries
// it before it chooses 2 or 3.
#ifndef SHUFFLE
#define SHUFFLE 0
#endif

#if SHUFFLE == 1
#define SHUFFLE_REACHES(items) 1
// Unrolled, the loop around would repeat its barriers, which takes compilers minutes.
#define SHUFFLE_UNROLL _Pragma("nounroll")
#elif SHUFFLE == 2
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#pragma OPENCL EXTENSION cl_khr_subgroup_shuffle : enable
#define SHUFFLE_XOR(x, mask) sub_group_shuffle_xor(x, (uint)(mask))
#elif SHUFFLE == 3
#define SHUFFLE_REACHES(items) ((items) <= 32)
float shuffle_xor(float x, int mask) {
  uint other;
  __asm__ volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(other) : "r"(as_uint(x)), "r"(mask));
  return as_float(other);
}
#define SHUFFLE_XOR(x, mask) shuffle_xor(x, mask)
#endif
// Whether `items` neighbours, a power of two, lie in one subgroup: a compiler may choose its size anew for every kernel.
#ifndef SHUFFLE_REACHES
#define SHUFFLE_REACHES(items) (get_max_sub_group_size() >= (items))
#endif
#ifndef SHUFFLE_UNROLL
#define SHUFFLE_UNROLL _Pragma("unroll")
#endif

#if SHUFFLE == 1
// All items of the work-group must meet its barriers. scratch: a float for each of them.
float shuffle_xor(float x, int mask, __local float *scratch) {
  barrier(CLK_LOCAL_MEM_FENCE);
  scratch[get_local_id(0)] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  return scratch[get_local_id(0) ^ mask];
}
#define SHUFFLE_XOR(x, mask) shuffle_xor(x, mask, scratch)
#endif

// x folded over `items` items, a power of two, `step` apart, another power of two; all of them get the result. `scratch` in scope is the
// emulation's.
#define SHUFFLE_FOLD(x, step, items, combine) \
  SHUFFLE_UNROLL for (int mask = (items) / 2 * (step); mask >= (step); mask /= 2) x = combine(x, SHUFFLE_XOR(x, mask))
#define SHUFFLE_ADD(a, b) ((a) + (b))
