// Cross-entropy of class indices on logits [N, C] for few columns and not too many rows: one work-group goes over all rows, a row
// a lane, and makes the loss and its gradient in one launch. Any other case is ops/cross_entropy.cl's, with the same formulas.
// check with: -DVECTOR=16
// check with: -DGROUP=256 -DX_DTYPE=F16 -DT_DTYPE=U8

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef T_DTYPE
#define T_DTYPE I64
#endif
typedef TYPE(X_DTYPE) real;
typedef TYPE(T_DTYPE) target_type;

// The rows row, row + 1, …, one a lane. Lanes past the last row repeat it; `here` lanes are rows of their own.
typedef struct {
  idx number[VECTOR];
  idx at[VECTOR]; // where each lane's row begins
  int here;
  intv label; // −1 where it is no class
  intv is_wrong, is_ignored;
} lane_rows;

lane_rows rows_from(idx row, idx rows, idx cols, const __global target_type *target, uint has_ignore, long ignore) {
  lane_rows r;
  int label[VECTOR], is_ignored[VECTOR];
  r.here = rows - row < VECTOR ? (int)(rows - row) : VECTOR;
  for (int lane = 0; lane < VECTOR; ++lane) {
    const idx own = lane < r.here ? row + lane : rows - 1;
    const long index = target[own];
    r.number[lane] = own;
    r.at[lane] = own * cols;
    label[lane] = index >= 0 && index < cols ? (int)index : -1;
    is_ignored[lane] = has_ignore && index == ignore ? -1 : 0;
  }
  r.label = VLOAD(label);
  r.is_ignored = VLOAD(is_ignored);
  r.is_wrong = r.label < (intv)0;
  return r;
}

floatv column_of(const __global real *x, const lane_rows *r, idx col) {
  float part[VECTOR];
  for (int lane = 0; lane < VECTOR; ++lane) part[lane] = LOAD(X_DTYPE, x, r->at[lane] + col);
  return VLOAD(part);
}

void store_column(__global real *x, const lane_rows *r, idx col, floatv value) {
  float part[VECTOR];
  VSTORE(value, part);
  for (int lane = 0; lane < r->here; ++lane) STORE(X_DTYPE, x, r->at[lane] + col, part[lane]);
}

// Ignored rows add nothing, wrong ones are NaN.
floatv judged(const lane_rows *r, floatv value) {
  return select(select(value, (floatv)NAN, r->is_wrong), (floatv)0, r->is_ignored);
}

// The losses of these rows; dx, unless it is left out, is the gradient times `scale`. keep is 1 − ε, spread ε/C. A row that is
// −inf throughout has p = 0 and log p = −inf.
floatv rows_loss(const __global real *x, const lane_rows *r, idx cols, float keep, float spread, floatv scale,
                 __global real *dx, uint want_gradient) {
  floatv shift = -INFINITY, others = 0, own = 0;
  for (idx col = 0; col < cols; ++col) shift = fmax(shift, column_of(x, r, col));
  shift = select(shift, (floatv)0, shift == -INFINITY);
  for (idx col = 0; col < cols; ++col) {
    const floatv e = exp(column_of(x, r, col) - shift);
    const intv is_own = r->label == (intv)col;
    others += select(e, (floatv)0, is_own);
    own += select((floatv)0, e, is_own);
  }
  const floatv total = others + own;
  const intv empty = total == 0;
  // A label that has nearly all of p: its loss is this logarithm, of a number just above 1.
  floatv log_sum = select(log(total), log1p(others), own == 1);
  log_sum = select(log_sum, (floatv)0, empty);
  const floatv inverse_sum = select(1 / total, (floatv)0, empty);

  floatv loss = 0;
  for (idx col = 0; col < cols; ++col) {
    const floatv x_col = column_of(x, r, col);
    const intv is_own = r->label == (intv)col;
    const floatv t = select((floatv)spread, (floatv)(keep + spread), is_own);
    const floatv likelihood = t * (x_col - shift - log_sum);
    loss -= select(likelihood, (floatv)0, t == 0);
    if (!want_gradient) continue;
    // At the label p − t would cancel: there it is (1 − t) − (1 − p).
    const floatv at_label = select(1 - t - others * inverse_sum, -t, empty);
    const floatv gradient = select(exp(x_col - shift) * inverse_sum - t, at_label, is_own) * scale;
    store_column(dx, r, col, judged(r, gradient));
  }
  return judged(r, loss);
}

ROW_GROUP __kernel void narrow_rows(const __global real *input, long input_offset, const __global target_type *target,
                                    long target_offset, const __global float *dloss, long dloss_offset,
                                    __global float *loss, long loss_offset, __global real *dinput, long dinput_offset,
                                    long rows, long cols, float keep, float spread, uint mean, uint per_row,
                                    uint has_ignore, long ignore, uint has_dloss, uint want_loss, uint want_gradient) {
  __local float scratch[GROUP];
  target += target_offset;
  uint ignored = 0;
  if (has_ignore)
    for (idx row = ROW_LANE; row < rows; row += GROUP) ignored += (long)target[row] == ignore;
  const float counted = rows - group_sum(ignored, scratch);
  floatv sum = 0;
  for (idx block = 0; block < rows; block += ROW_BLOCK) {
    const idx end = rows - block > ROW_BLOCK ? block + ROW_BLOCK : (idx)rows;
    floatv part = 0;
    ROW_LOOP(row, block, end) {
      const lane_rows r = rows_from(row, rows, cols, target, has_ignore, ignore);
      float scale[VECTOR];
      for (int lane = 0; lane < VECTOR; ++lane)
        scale[lane] = (has_dloss ? dloss[dloss_offset + (per_row ? r.number[lane] : 0)] : 1.0f) / (mean ? counted : 1);
      const floatv losses = rows_loss(input + input_offset, &r, cols, keep, spread, VLOAD(scale),
                                      dinput + dinput_offset, want_gradient);
      if (want_loss && per_row) STOREV(F32, loss + loss_offset, row, (idx)rows, losses);
      part += select((floatv)0, losses, LANES < (intv)r.here);
    }
    sum += part;
  }
  const float total = row_sum(sum, scratch);
  const uint one_loss = want_loss && !per_row;
  if (one_loss)
    if (ROW_LANE == 0) loss[loss_offset] = mean ? total / counted : total;
}
