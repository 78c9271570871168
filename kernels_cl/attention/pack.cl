// Staged attention: brings q, k, v and dout, whatever their dtype and strides, into the F32 layout the products read.
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#include "attention/call.cl"

// A matrix of `depth` x `columns` a head is cut into panels of some columns: packed[z][panel][depth][column in panel]. A product
// walks down the depth of a panel, so it reads memory in order. One panel as wide as the matrix is plain row-major.
// Places outside the matrix are 0. global: (width of a panel, depth_pad, heads x panels), rounded up but for the last
__kernel void attention_pack(__global const TYPE(X_DTYPE) *x, __global float *packed,
                             const struct heed__cl_attention_matrix m) {
  const idx d = get_global_id(1), c = get_global_id(0);
  const idx z = get_global_id(2) / (idx)m.panels, first = (get_global_id(2) - z * (idx)m.panels) * (idx)m.width;
  const idx batch = ((idx)m.head0 + z) / (idx)m.heads_per_batch;
  const idx head = ((idx)m.head0 + z) - batch * (idx)m.heads_per_batch;
  // What neighbours share comes first, so that a compiler may join their loads and stores.
  const idx from = (idx)m.offset + batch * (idx)m.stride_batch + head * (idx)m.stride_head + d * (idx)m.stride_depth +
                   first * (idx)m.stride_column;
  const idx to = ((idx)get_global_id(2) * (idx)m.depth_pad + d) * (idx)m.width;
  const bool inside = d < (idx)m.depth && c < (idx)m.columns - first;
  if (c < (idx)m.width && d < (idx)m.depth_pad)
    packed[to + c] = inside ? LOAD(X_DTYPE, x, from + c * (idx)m.stride_column) : 0;
}
