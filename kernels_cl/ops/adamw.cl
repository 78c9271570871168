// One step of AdamW, in place. A work-item goes over `walk` elements, a multiple of VECTOR: one after the other on a CPU, few on a GPU.
//
// check with: -DVECTOR=8
// check with: -DG_DTYPE=BF16 -DCOPY_DTYPE=BF16 -DHAS_COPY=1
// check with: -DVECTOR=8 -DG_DTYPE=F16 -DCOPY_DTYPE=F16 -DHAS_COPY=1
#ifndef G_DTYPE
#define G_DTYPE F32
#endif
#ifndef HAS_COPY
#define HAS_COPY 0
#endif
#ifndef COPY_DTYPE
#define COPY_DTYPE F32
#endif
// As in cl/ops/adamw.c. Arguments, since a program for each would take longer to compile than the choice ever costs.
enum { HAS_RANGES = 1, HAS_FACTOR = 2, HAS_STEPS = 4 };

struct adamw_step {
  float rate, beta1, fresh1, beta2, fresh2, eps, factor; // rate: lr / (1 − beta1ᵗ)
  float root;                                            // 1 / √(1 − beta2ᵗ)
};

struct adamw_memory {
  const __global TYPE(G_DTYPE) *grad;
  __global float *param, *exp_avg, *exp_avg_sq;
  __global TYPE(COPY_DTYPE) *copy;
};

// Elements i to i + VECTOR, of which those from `end` on are not there. (1 − beta2) g is made first: g² alone may overflow or vanish.
void adamw_vector(const struct adamw_memory *at, const struct adamw_step *s, float decay, idx i, idx end) {
  const floatv g = LOADV(G_DTYPE, at->grad, i, end, 0) * s->factor, p = LOADV(F32, at->param, i, end, 0);
  const floatv m = s->beta1 * LOADV(F32, at->exp_avg, i, end, 0) + s->fresh1 * g;
  const floatv v = s->beta2 * LOADV(F32, at->exp_avg_sq, i, end, 0) + s->fresh2 * g * g;
  const floatv next = p - (decay * p + s->rate * m / (sqrt(v) * s->root + s->eps));
  STOREV(F32, at->exp_avg, i, end, m);
  STOREV(F32, at->exp_avg_sq, i, end, v);
  STOREV(F32, at->param, i, end, next);
#if HAS_COPY
  STOREV(COPY_DTYPE, at->copy, i, end, next);
#endif
}

// The first of the ascending ranges [first, end) that ends after element i.
idx range_after(const __global long *decaying, idx ranges, idx i) {
  idx low = 0, high = ranges;
  while (low < high) {
    const idx middle = low + (high - low) / 2;
    if (decaying[2 * middle + 1] > i)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// decay: lr · weight_decay, of elements in the ranges, or of all. log1, log2: ln beta1 and ln beta2, since 1 − betaᵗ needs more digits
// of beta than it has in F32.
__kernel void adamw(const __global TYPE(G_DTYPE) *grad, long grad_offset, const __global long *decaying,
                    long decaying_offset, const __global float *factor, long factor_offset, const __global int *steps,
                    long steps_offset, __global float *param, long param_offset, __global float *exp_avg,
                    long exp_avg_offset, __global float *exp_avg_sq, long exp_avg_sq_offset,
                    __global TYPE(COPY_DTYPE) *copy, long copy_offset, long count, long ranges, uint walk, float lr,
                    float beta1, float fresh1, float log1, float beta2, float fresh2, float log2, float eps, float decay,
                    float step, uint what) {
  const idx first = (idx)get_global_id(0) * walk, end = min(count, (long)first + walk);
  struct adamw_step s = {0, beta1, fresh1, beta2, fresh2, eps, 1, 0};
  if (what & HAS_FACTOR) s.factor = factor[factor_offset];
  if (first >= end || !isfinite(s.factor)) return;
  if (what & HAS_STEPS) step = steps[steps_offset];
  s.rate = lr / -expm1(step * log1);
  s.root = 1 / sqrt(-expm1(step * log2));
  const struct adamw_memory at = {grad + grad_offset, param + param_offset, exp_avg + exp_avg_offset,
                                  exp_avg_sq + exp_avg_sq_offset, copy + copy_offset};
  decaying += decaying_offset;
  idx range = what & HAS_RANGES ? range_after(decaying, ranges, first) : 0;
  for (idx i = first; i < end;) {
    idx stop = end;
    bool decays = true;
    if (what & HAS_RANGES) {
      decays = range < ranges && decaying[2 * range] <= i;
      if (range < ranges) stop = max((long)i, min((long)end, decaying[2 * range + (decays ? 1 : 0)]));
      range += decays;
    }
    const float d = decays ? decay : 0;
    for (; stop - i >= VECTOR; i += VECTOR) adamw_vector(&at, &s, d, i, i + VECTOR);
    if (i < stop) adamw_vector(&at, &s, d, i, stop);
    i = stop;
  }
}
