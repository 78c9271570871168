// A warp: 32 neighbouring work-items of a one-dimensional work-group that hold the parts of small matrices in their registers
// and multiply them on tensor cores. In two forms that give the same results:
//   WARP_EMULATED=0  inline PTX, for NVIDIA devices of compute capability 8.0 and up
//   WARP_EMULATED=1  OpenCL C 1.2: the items exchange their registers through local memory, with barriers. Slow; it lets other
//                    devices run the kernels, and so proves which element lies in which register.
// For the second form's sake every function that takes `scratch` must be called by all items of a work-group alike.
//
// Layouts (PTX ISA 8.5, sections 9.7.14.5.8 and 9.7.14.5.15), of item `lane` with g = lane / 4 and t = lane % 4. A register of
// 16-bit elements holds two, the first in its low half. m16n8k16, D[16 x 8] += A[16 x 16] B[16 x 8]:
//   a[0] = A[g][2t, 2t+1]     a[1] = A[g+8][2t, 2t+1]     a[2] = A[g][2t+8, 2t+9]     a[3] = A[g+8][2t+8, 2t+9]
//   b[0] = B[2t, 2t+1][g]     b[1] = B[2t+8, 2t+9][g]
//   d[0], d[1] = D[g][2t, 2t+1]                           d[2], d[3] = D[g+8][2t, 2t+1]
// so that two neighbouring tiles of D, rounded to 16 bits, are an A. m16n8k8 with TF32, one element a register, D as above:
//   a[0] = A[g][t]   a[1] = A[g+8][t]   a[2] = A[g][t+4]   a[3] = A[g+8][t+4]   b[0] = B[t][g]   b[1] = B[t+4][g]
// warp_load4 fetches four matrices of 8 x 8 16-bit elements: item i says where row i % 8 of matrix i / 8 begins (16-byte
// aligned), and gets r[m] = matrix m [g][2t, 2t+1]; transposed, r[m] = matrix m [2t, 2t+1][g]. warp_load2: two of them, by
// items 0 to 15; what the others say must still be an address of local memory.
#ifndef WARP_EMULATED
#define WARP_EMULATED 1
#endif
#define WARP 32
#define WARP_LANE ((int)((uint)get_local_id(0) % WARP))
#define WARP_NUMBER ((int)((uint)get_local_id(0) / WARP)) // of the work-group's warps

#if WARP_EMULATED
// ---------------------------------------------------------------- emulation

// A kernel of `items` work-items declares its scratch with this and hands it on.
#define WARP_SCRATCH(name, items) __local uint name[(items)*6]
typedef __local uint *warp_scratch;
// Loops over registers: unrolled they would repeat the barriers of the emulation, which takes compilers minutes.
#define WARP_UNROLL _Pragma("nounroll")
#define WARP_SYNC barrier(CLK_LOCAL_MEM_FENCE)

// Registers of the first item of this item's warp: `count` of each item.
warp_scratch warp_registers(int count, warp_scratch scratch) { return scratch + WARP_NUMBER * WARP * count; }

void warp_load(uint *r, int matrices, bool transposed, const __local ushort *row, warp_scratch scratch) {
  __local ulong *rows = (__local ulong *)warp_registers(2, scratch);
  const int g = WARP_LANE / 4, t = WARP_LANE % 4;
  rows[WARP_LANE] = (ulong)row;
  WARP_SYNC;
  for (int m = 0; m < matrices; ++m) {
    const int first = transposed ? 2 * t : g, second = transposed ? 2 * t + 1 : g;
    const int column = transposed ? g : 2 * t;
    const uint low = ((const __local ushort *)rows[m * 8 + first])[column];
    const uint high = ((const __local ushort *)rows[m * 8 + second])[transposed ? column : column + 1];
    r[m] = low | high << 16;
  }
  WARP_SYNC;
}
void warp_load4(uint r[4], const __local ushort *row, warp_scratch scratch) { warp_load(r, 4, false, row, scratch); }
void warp_load2(uint r[2], const __local ushort *row, warp_scratch scratch) { warp_load(r, 2, false, row, scratch); }
void warp_load4_trans(uint r[4], const __local ushort *row, warp_scratch scratch) {
  warp_load(r, 4, true, row, scratch);
}
void warp_load2_trans(uint r[2], const __local ushort *row, warp_scratch scratch) {
  warp_load(r, 2, true, row, scratch);
}

// Element `which` (0 or 1) of a register of 16-bit elements; a whole register for TF32.
float warp_element_F16(const __local uint *r, int which) { return vload_half(which, (const __local half *)r); }
float warp_element_BF16(const __local uint *r, int which) { return as_float(which ? *r & 0xffff0000 : *r << 16); }
float warp_element_TF32(const __local uint *r, int which) { return as_float(*r & 0xffffe000); }

// PACK: elements of a register. Of A, lane (g, t) holds element k of row g in register k / (4 PACK) * 2, where t is k / PACK % 4.
#define WARP_DEFINE_MMA(dtype, PACK)                                                                             \
  void warp_mma_##dtype(float d[4], const uint a[4], const uint b[2], warp_scratch scratch) {                    \
    warp_scratch all = warp_registers(6, scratch);                                                               \
    const int g = WARP_LANE / 4, t = WARP_LANE % 4;                                                              \
    for (int i = 0; i < 4; ++i) all[WARP_LANE * 6 + i] = a[i];                                                   \
    for (int i = 0; i < 2; ++i) all[WARP_LANE * 6 + 4 + i] = b[i];                                               \
    WARP_SYNC;                                                                                                   \
    for (int k = 0; k < 8 * PACK; ++k) {                                                                         \
      const int second = k / (4 * PACK), lane = k / PACK % 4;                                                    \
      const __local uint *row = all + (g * 4 + lane) * 6 + 2 * second;                                           \
      const __local uint *column = all + (2 * t * 4 + lane) * 6 + 4 + second;                                    \
      const float a0 = warp_element_##dtype(row, k % PACK), a1 = warp_element_##dtype(row + 1, k % PACK);        \
      const float b0 = warp_element_##dtype(column, k % PACK), b1 = warp_element_##dtype(column + 24, k % PACK); \
      d[0] += a0 * b0;                                                                                           \
      d[1] += a0 * b1;                                                                                           \
      d[2] += a1 * b0;                                                                                           \
      d[3] += a1 * b1;                                                                                           \
    }                                                                                                            \
    WARP_SYNC;                                                                                                   \
  }
WARP_DEFINE_MMA(F16, 2)
WARP_DEFINE_MMA(BF16, 2)
WARP_DEFINE_MMA(TF32, 1)

uint warp_xor_uint(uint x, int mask, warp_scratch scratch) {
  warp_scratch all = warp_registers(1, scratch);
  all[WARP_LANE] = x;
  WARP_SYNC;
  const uint other = all[WARP_LANE ^ mask];
  WARP_SYNC;
  return other;
}

void warp_copy16(__local ushort *to, const __global ushort *from, bool there) {
  *(__local uint4 *)to = there ? *(const __global uint4 *)from : (uint4)0;
}
#define warp_copy_commit()
#define warp_copy_wait(groups)

uint warp_pack_F16(float low, float high) {
  uint pair;
  vstore_half_rte(low, 0, (half *)&pair);
  vstore_half_rte(high, 1, (half *)&pair);
  return pair;
}
uint warp_pack_BF16(float low, float high) { return bf16_of(low) | (uint)bf16_of(high) << 16; }
uint warp_round_TF32(float x) { return (as_uint(x) + 0x1000) & 0xffffe000; }
float warp_low_F16(uint pair) { return vload_half(0, (const half *)&pair); }
float warp_high_F16(uint pair) { return vload_half(1, (const half *)&pair); }
int warp_forget(int x) { return x; }
float warp_exp2(float x) { return exp2(x); }
float warp_log2(float x) { return log2(x); }

#else
// ---------------------------------------------------------------- inline PTX

#define WARP_SCRATCH(name, items) const int name = 0
typedef int warp_scratch;
#define WARP_UNROLL _Pragma("unroll")

// As instructions take an address in local memory, which PTX calls shared.
#define WARP_ADDRESS(pointer) ((uint)(ulong)(pointer))

#define WARP_DEFINE_LOAD4(name, form)                                                       \
  void name(uint r[4], const __local ushort *row, warp_scratch scratch) {                   \
    uint r0, r1, r2, r3;                                                                    \
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4" form ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3)                                   \
                 : "r"(WARP_ADDRESS(row))                                                   \
                 : "memory");                                                               \
    r[0] = r0;                                                                              \
    r[1] = r1;                                                                              \
    r[2] = r2;                                                                              \
    r[3] = r3;                                                                              \
  }
WARP_DEFINE_LOAD4(warp_load4, "")
WARP_DEFINE_LOAD4(warp_load4_trans, ".trans")
#define WARP_DEFINE_LOAD2(name, form)                                               \
  void name(uint r[2], const __local ushort *row, warp_scratch scratch) {           \
    uint r0, r1;                                                                    \
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x2" form ".shared.b16 {%0, %1}, [%2];" \
                 : "=r"(r0), "=r"(r1)                                               \
                 : "r"(WARP_ADDRESS(row))                                           \
                 : "memory");                                                       \
    r[0] = r0;                                                                      \
    r[1] = r1;                                                                      \
  }
WARP_DEFINE_LOAD2(warp_load2, "")
WARP_DEFINE_LOAD2(warp_load2_trans, ".trans")

#define WARP_DEFINE_MMA(dtype, shape, type)                                                   \
  void warp_mma_##dtype(float d[4], const uint a[4], const uint b[2], warp_scratch scratch) { \
    float d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3];                                         \
    __asm__ volatile("mma.sync.aligned." shape ".row.col.f32." type "." type                      \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"       \
                 : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)                                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));         \
    d[0] = d0;                                                                                \
    d[1] = d1;                                                                                \
    d[2] = d2;                                                                                \
    d[3] = d3;                                                                                \
  }
WARP_DEFINE_MMA(F16, "m16n8k16", "f16")
WARP_DEFINE_MMA(BF16, "m16n8k16", "bf16")
WARP_DEFINE_MMA(TF32, "m16n8k8", "tf32")

uint warp_xor_uint(uint x, int mask, warp_scratch scratch) {
  uint other;
  __asm__ volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(other) : "r"(x), "r"(mask));
  return other;
}

void warp_copy16(__local ushort *to, const __global ushort *from, bool there) {
  __asm__ volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(WARP_ADDRESS(to)), "l"((ulong)from), "r"(there ? 16 : 0)
               : "memory");
}
#define warp_copy_commit() __asm__ volatile("cp.async.commit_group;" : : : "memory")
#define warp_copy_wait(groups) __asm__ volatile("cp.async.wait_group %0;" : : "n"(groups) : "memory")

uint warp_pack_F16(float low, float high) {
  uint pair;
  __asm__("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
uint warp_pack_BF16(float low, float high) {
  uint pair;
  __asm__("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
uint warp_round_TF32(float x) {
  uint rounded;
  __asm__("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return rounded;
}
float warp_low_F16(uint pair) {
  float low;
  __asm__("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low; }" : "=f"(low) : "r"(pair));
  return low;
}
float warp_high_F16(uint pair) {
  float high;
  __asm__("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, high; }" : "=f"(high) : "r"(pair));
  return high;
}
int warp_forget(int x) {
  __asm__ volatile("" : "+r"(x));
  return x;
}
float warp_exp2(float x) {
  float y;
  __asm__("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
float warp_log2(float x) {
  float y;
  __asm__("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#endif

// ---------------------------------------------------------------- both

// x of the item whose lane differs in the bits of `mask`.
float warp_xor(float x, int mask, warp_scratch scratch) { return as_float(warp_xor_uint(as_uint(x), mask, scratch)); }
// warp_forget(x) is x, and the compiler takes it for another one each time: addresses that depend on it are made where they are
// used, and not before a loop, in registers that the loop needs.
// The elements of a register of 16-bit ones.
float warp_low_BF16(uint pair) { return as_float(pair << 16); }
float warp_high_BF16(uint pair) { return as_float(pair & 0xffff0000); }
// warp_copy16 begins to copy 16 bytes, or zeros where nothing is `there`; both addresses are 16-byte aligned. What an item has
// begun until warp_copy_commit is a group; warp_copy_wait(n) waits until all but its n last groups are there, after which a
// barrier shows them to the other items.
#define WARP_MMA(dtype, d, a, b, scratch) HEED_JOIN(warp_mma_, dtype)(d, a, b, scratch)
#define WARP_PACK(dtype, low, high) HEED_JOIN(warp_pack_, dtype)(low, high)
#define WARP_LOW(dtype, pair) HEED_JOIN(warp_low_, dtype)(pair)
#define WARP_HIGH(dtype, pair) HEED_JOIN(warp_high_, dtype)(pair)
