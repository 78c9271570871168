// Square roots by gradient descent on f(x) = (x² − a)². One launch takes at most `epochs` steps; x and `stopped` carry
// an element from launch to launch.

// f <= tolerance is asked of |x² − a| and √tolerance, because f itself underflows.
__kernel void sqrt_sgd(const __global float *a, long a_offset, const __global float *x0, long x0_offset,
                       __global float *x, long x_offset, __global uint *stopped, volatile __global uint *running,
                       long count, uint epochs, uint first, float rate, float residual_limit) {
  const idx i = get_global_id(0);
  if (i >= count || (!first && stopped[i])) return;
  const float target = a[a_offset + i];
  float value = first ? x0[x0_offset + i] : x[x_offset + i];
  uint done = 0;
  for (uint epoch = 0; epoch < epochs && !done; ++epoch) {
    const float residual = fma(value, value, -target);
    const float next = fma(-rate * value, residual, value);
    // A value that a step leaves as it was stays so for ever.
    done = fabs(residual) <= residual_limit || next == value;
    value = next;
  }
  x[x_offset + i] = value;
  stopped[i] = done;
  if (!done) atomic_or(running, 1u);
}
