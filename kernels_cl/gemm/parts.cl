// C = activation(alpha S + beta C + bias), where S is the sum of the parts [batches][splits][m][n] of a product, added up in order.
// Work-item: four columns of a row.
//
// check with: -DVECTOR=4
// check with: -DVECTOR=4 -DX_DTYPE=BF16 -DGELU=2
#include "gemm/epilogue.cl"

__kernel void gemm_parts(const __global float *parts, __global real *c, long c_offset, long c_stride0, long c_stride1,
                         long c_ld, EPILOGUE_ARGUMENTS, uint batches1, long m, long n, uint splits) {
  const long col = (long)get_global_id(0) * VECTOR, row = get_global_id(1), batch = get_global_id(2);
  if (col >= n || row >= m) return;
  const long batch0 = batch / batches1, batch1 = batch % batches1;
  const int count = (int)min(n - col, (long)VECTOR);
  const struct epilogue e = EPILOGUE(batch0, batch1);
  parts += (batch * splits * m + row) * n + col;
  floatv sum = 0;
  for (uint split = 0; split < splits; ++split, parts += m * n) sum += LOADV(F32, parts, 0, count, 0);
  finish(sum, c + c_offset + batch0 * c_stride0 + batch1 * c_stride1 + row * c_ld + col, row, col, count, e);
}
