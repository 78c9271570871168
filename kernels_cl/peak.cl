// What a device reaches: multiply-adds on registers, and a plain copy.
// -DWIDTH=4|8|16 floats a vector; -DREQD=1 where a work-group is one work-item.
#ifndef WIDTH
#define WIDTH 4
#define REQD 1
#endif
#pragma OPENCL FP_CONTRACT ON

typedef HEED_JOIN(float, WIDTH) vec;

#if REQD
#define WORK_GROUP __attribute__((reqd_work_group_size(1, 1, 1)))
#else
#define WORK_GROUP
#endif

// Twelve independent chains hide the latency of a multiply-add and fit sixteen vector registers with b and c.
#define CHAINS 12

// On GPUs the chain is the addend, as it is in products: instructions that do two multiply-adds at once (packed, dual) want it so. What is
// multiplied must change from step to step, or a compiler would multiply once and only add. It is another chain, so far off that neighbours
// may run at once; b is so small that none of them grows. On CPUs each chain tends to c / (1 − b).
#if REQD
#define STEP(i) acc[i] * vb + vc
#else
#define STEP(i) vb * acc[((i) + CHAINS / 2) % CHAINS] + acc[i]
#endif

// out[item] = a sum that keeps every chain alive. 12 · 8 · WIDTH multiply-adds a round.
__kernel WORK_GROUP void peak_fma(__global float *out, const long rounds, const float b, const float c) {
  const idx item = get_global_id(0);
  const vec vb = (vec)(b), vc = (vec)(c);
  vec acc[CHAINS];
#pragma unroll
  for (int i = 0; i < CHAINS; ++i) acc[i] = (vec)((float)(item + i + 1));
  for (long round = 0; round < rounds; ++round) {
#pragma unroll
    for (int step = 0; step < 8; ++step) {
#pragma unroll
      for (int i = 0; i < CHAINS; ++i) acc[i] = STEP(i);
    }
  }
  vec sum = (vec)(0.0f);
#pragma unroll
  for (int i = 0; i < CHAINS; ++i) sum += acc[i];
  __private float parts[WIDTH];
  HEED_JOIN(vstore, WIDTH)(sum, 0, parts);
  float total = 0.0f;
  for (int i = 0; i < WIDTH; ++i) total += parts[i];
  out[item] = total;
}

// y = x, `count` vectors; each work-item copies `chunk` of them, side by side where it is alone in its work-group, else
// `stride` apart so that neighbours touch neighbouring memory.
__kernel WORK_GROUP void peak_copy(const __global vec *x, __global vec *y, const long count, const long chunk) {
  const idx item = get_global_id(0);
#if REQD
  const idx first = item * (idx)chunk, stride = 1;
  const idx end = min(first + (idx)chunk, (idx)count);
#else
  const idx first = item, stride = get_global_size(0), end = count;
#endif
  for (idx i = first; i < end; i += stride) y[i] = x[i];
}
