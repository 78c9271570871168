// Staged attention: brings q, k, v and dout, whatever their dtype and strides, into the F32 layout the products read.
#ifndef X_DTYPE
#define X_DTYPE F32
#endif

// A matrix of `depth` x `columns` a head is cut into panels of some columns: packed[z][panel][depth][column in panel]. A product
// walks down the depth of a panel, so it reads memory in order. One panel as wide as the matrix is plain row-major.
// Places outside the matrix are 0. global: (width of a panel, depth_pad, heads x panels), rounded up but for the last
__kernel void attention_pack(__global const TYPE(X_DTYPE) *x, long x_offset, long stride_batch, long stride_head,
                             long stride_depth, long stride_column, __global float *packed, long heads_per_batch,
                             long head0, long depth, long depth_pad, long columns, long width, long panels) {
  const idx d = get_global_id(1), c = get_global_id(0);
  const idx z = get_global_id(2) / (idx)panels, first = (get_global_id(2) - z * (idx)panels) * (idx)width;
  const idx batch = ((idx)head0 + z) / (idx)heads_per_batch, head = ((idx)head0 + z) - batch * (idx)heads_per_batch;
  // What neighbours share comes first, so that a compiler may join their loads and stores.
  const idx from = (idx)x_offset + batch * (idx)stride_batch + head * (idx)stride_head + d * (idx)stride_depth +
                   first * (idx)stride_column;
  const idx to = ((idx)get_global_id(2) * (idx)depth_pad + d) * (idx)width;
  const bool inside = d < (idx)depth && c < (idx)columns - first;
  if (c < (idx)width && d < (idx)depth_pad)
    packed[to + c] = inside ? LOAD(X_DTYPE, x, from + c * (idx)stride_column) : 0;
}
