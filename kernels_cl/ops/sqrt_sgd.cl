// Square roots by gradient descent on f(x) = (x² − a)². One launch takes at most `epochs` steps; x, rest and `stopped` carry
// an element from launch to launch.

// The value is x + rest, since small steps would drown in the rounding of x alone. f <= tolerance is asked of |x² − a| and
// √tolerance, because f itself underflows.
__kernel void sqrt_sgd(const __global float *a, long a_offset, const __global float *x0, long x0_offset,
                       __global float *x, long x_offset, __global float *rest, __global uint *stopped,
                       volatile __global uint *running, long count, uint epochs, uint first, float rate,
                       float residual_limit) {
  const idx i = get_global_id(0);
  if (i >= count || (!first && stopped[i])) return;
  const float target = a[a_offset + i];
  float high = first ? x0[x0_offset + i] : x[x_offset + i], low = first ? 0 : rest[i];
  uint done = 0;
  for (uint epoch = 0; epoch < epochs && !done; ++epoch) {
    const float residual = fma(2 * high, low, fma(high, high, -target));
    const float change = fma(-rate * high, residual, low), next = high + change;
    // A value that a step leaves as it was stays so for ever.
    done = fabs(residual) <= residual_limit || change == low;
    low = change - (next - high);
    high = next;
  }
  x[x_offset + i] = high;
  rest[i] = low;
  stopped[i] = done;
  if (!done) atomic_or(running, 1u);
}
