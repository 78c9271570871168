// Cross-entropy of class indices on logits of few classes, a row a lane, loss and gradient in one launch. One work-group goes over all
// rows, if they are not too many, to sum their losses; losses that are not summed have as many groups as it takes. Any other case is
// ops/cross_entropy.cl's, with the same formulas.
// check with: -DVECTOR=16
// check with: -DGROUP=256 -DX_DTYPE=F16 -DT_DTYPE=U8
// check with: -DVECTOR=8 -DWEIGHTED=1

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef T_DTYPE
#define T_DTYPE I64
#endif
#ifndef WEIGHTED
#define WEIGHTED 0
#endif
typedef TYPE(X_DTYPE) real;
typedef TYPE(T_DTYPE) target_type;

// The rows row, row + 1, …, one a lane. Lanes past the last row repeat it; `here` lanes are rows of their own.
typedef struct {
  idx number[VECTOR];
  idx at[VECTOR]; // where each lane's row begins; its elements lie `step` apart
  idx step;
  int here;
  intv label; // −1 where it is no class
  intv is_wrong, is_ignored;
  floatv weight; // of the label
} lane_rows;

// The weight of a class.
float class_weight(const __global float *class_weights, idx col) {
#if WEIGHTED
  return class_weights[col];
#else
  return 1;
#endif
}

lane_rows rows_from(idx row, idx rows, idx cols, idx step, const __global target_type *target,
                    const __global float *class_weights, uint ignores, long ignored) {
  lane_rows r;
  int label[VECTOR], is_ignored[VECTOR];
  float weight[VECTOR];
  r.step = step;
  r.here = rows - row < VECTOR ? (int)(rows - row) : VECTOR;
  for (int lane = 0; lane < VECTOR; ++lane) {
    const idx own = lane < r.here ? row + lane : rows - 1;
    const long index = target[own];
    r.number[lane] = own;
    r.at[lane] = own / step * cols * step + own % step;
    label[lane] = index >= 0 && index < cols ? (int)index : -1;
    is_ignored[lane] = ignores && index == ignored ? -1 : 0;
    weight[lane] = class_weight(class_weights, max(label[lane], 0));
  }
  r.label = VLOAD(label);
  r.is_ignored = VLOAD(is_ignored);
  r.is_wrong = r.label < (intv)0;
  r.weight = VLOAD(weight);
  return r;
}

floatv column_of(const __global real *x, const lane_rows *r, idx col) {
  float part[VECTOR];
  for (int lane = 0; lane < VECTOR; ++lane) part[lane] = LOAD(X_DTYPE, x, r->at[lane] + col * r->step);
  return VLOAD(part);
}

void store_column(__global real *x, const lane_rows *r, idx col, floatv value) {
  float part[VECTOR];
  VSTORE(value, part);
  for (int lane = 0; lane < r->here; ++lane) STORE(X_DTYPE, x, r->at[lane] + col * r->step, part[lane]);
}

// Ignored rows add nothing, wrong ones are NaN.
floatv judged(const lane_rows *r, floatv value) {
  return select(select(value, (floatv)NAN, r->is_wrong), (floatv)0, r->is_ignored);
}

// What smoothing gives the classes that are not the label.
floatv other_weights(const lane_rows *r, const __global float *class_weights, idx cols, float keep, float spread) {
#if WEIGHTED
  floatv sum = 0;
  for (idx col = 0; spread != 0 && col < cols; ++col)
    sum += select((floatv)(spread * class_weights[col]), (floatv)0, r->label == (intv)col);
  return sum;
#else
  return 1 - (keep + spread);
#endif
}

// The losses of these rows; dx, unless it is left out, is the gradient times `scale`, and may lie over x. keep is 1 − ε, spread ε/C. A
// row that is −inf throughout has p = 0 and log p = −inf.
floatv rows_loss(const __global real *x, const lane_rows *r, const __global float *class_weights, idx cols, float keep,
                 float spread, floatv scale, __global real *dx, uint want_gradient) {
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
  const floatv t_own = (keep + spread) * r->weight, t_others = other_weights(r, class_weights, cols, keep, spread);
  const floatv t_sum = WEIGHTED ? t_own + t_others : (floatv)1;

  floatv loss = 0;
  for (idx col = 0; col < cols; ++col) {
    const floatv x_col = column_of(x, r, col);
    const intv is_own = r->label == (intv)col;
    const floatv t = select((floatv)(spread * class_weight(class_weights, col)), t_own, is_own);
    const floatv likelihood = t * (x_col - shift - log_sum);
    loss -= select(likelihood, (floatv)0, t == 0);
    if (!want_gradient) continue;
    // At the label p − t would cancel: there it is (1 − t) − (1 − p).
    const floatv at_label = select(t_others - t_sum * others * inverse_sum, -t, empty);
    const floatv gradient = select(exp(x_col - shift) * inverse_sum * t_sum - t, at_label, is_own) * scale;
    store_column(dx, r, col, judged(r, gradient));
  }
  return judged(r, loss);
}

// What the rows that are not ignored count: each 1, or the weight of its class.
float count_rows(const __global target_type *target, const __global float *class_weights, idx rows, idx cols,
                 uint ignores, long ignored, __local float *scratch) {
  float sum = 0;
  for (idx block = 0; block < rows; block += 256 * GROUP) {
    const idx end = rows - block > 256 * GROUP ? block + 256 * GROUP : rows;
    float part = 0;
    for (idx row = block + ROW_LANE; row < end; row += GROUP) {
      const long label = target[row];
      const bool is_class = label >= 0 && label < cols;
      if (ignores && label == ignored) continue;
      part += is_class || !WEIGHTED ? class_weight(class_weights, is_class ? (idx)label : 0) : 0.0f;
    }
    sum += part;
  }
  return group_sum(sum, scratch);
}

ROW_GROUP __kernel void narrow_rows(const __global real *input, long input_offset, const __global target_type *target,
                                    long target_offset, const __global float *class_weights,
                                    long class_weights_offset, const __global float *dloss, long dloss_offset,
                                    __global float *loss, long loss_offset, __global real *dinput, long dinput_offset,
                                    long rows, long cols, long inner, float keep, float spread, uint mean, uint per_row,
                                    uint ignores, long ignored, uint has_dloss, uint want_loss, uint want_gradient) {
  __local float scratch[GROUP];
  target += target_offset;
  class_weights += class_weights_offset;
  const float counted = count_rows(target, class_weights, mean ? rows : 0, cols, ignores, ignored, scratch);
  const idx span = per_row ? GROUP * VECTOR : ROW_BLOCK, stride = span * (idx)get_num_groups(0);
  floatv sum = 0;
  for (idx block = span * (idx)get_group_id(0); block < rows; block += stride) {
    const idx end = rows - block > span ? block + span : (idx)rows;
    floatv part = 0;
    ROW_LOOP(row, block, end) {
      const lane_rows r = rows_from(row, rows, cols, inner, target, class_weights, ignores, ignored);
      float scale[VECTOR];
      for (int lane = 0; lane < VECTOR; ++lane)
        scale[lane] = (has_dloss ? dloss[dloss_offset + (per_row ? r.number[lane] : 0)] : 1.0f) / (mean ? counted : 1);
      const floatv losses = rows_loss(input + input_offset, &r, class_weights, cols, keep, spread, VLOAD(scale),
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
