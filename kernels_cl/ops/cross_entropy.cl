// Cross-entropy of rows [N, C], forward and backward. CLASSES: target holds class indices; else it holds rows of
// probabilities. FROM_PROBS: the input holds probabilities too, and the loss of a row is −Σ t log x.
// With logits the loss is −Σ t (x − shift − log Σ exp(x − shift)); a weight t of 0 adds nothing, whatever it stands at.

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef CLASSES
#define CLASSES 0
#endif
#ifndef FROM_PROBS
#define FROM_PROBS 0
#endif
#if CLASSES
#ifndef T_DTYPE
#define T_DTYPE I64
#endif
#else
#undef T_DTYPE
#define T_DTYPE X_DTYPE
#endif
typedef TYPE(X_DTYPE) real;
typedef TYPE(T_DTYPE) target_type;

// What a row with this label is: ignored rows add nothing, wrong ones are NaN.
#define IGNORED 0
#define COUNTED 1
#define WRONG 2
int state_of(long label, long cols, uint has_ignore, long ignore) {
  if (has_ignore && label == ignore) return IGNORED;
  return (ulong)label < (ulong)cols ? COUNTED : WRONG; // negative ones are huge then
}

// Which of the columns i, i + 1, … is the label's.
intv label_lane(long label, idx i) {
  const int lane = label >= i && label - i < VECTOR ? (int)(label - i) : -1;
  return LANES == (intv)lane;
}

// The weights t of columns i, i + 1, …: a one-hot or a row of probabilities, smoothed to (1 − ε) t + ε/C; 0 past the
// row's end. keep is 1 − ε, spread ε/C.
floatv weights_at(const __global target_type *target, long label, idx i, idx cols, float keep, float spread) {
  const int here = cols - i < VECTOR ? (int)(cols - i) : VECTOR;
#if CLASSES
  const floatv t = select((floatv)spread, (floatv)(keep + spread), label_lane(label, i));
#else
  const floatv t = keep * LOADV(T_DTYPE, target, i, cols, 0) + spread;
#endif
  return select((floatv)0, t, LANES < (intv)here);
}

// Of a row of logits; where it is −inf throughout all but log_sum are 0.
typedef struct {
  float shift, log_sum, inverse_sum;
  float own, others; // exp(x − shift) of the label, and Σ of the rest: what 1 − p comes to where p is nearly 1
} normaliser;

normaliser normaliser_of(const __global real *x, long label, idx cols, __local float *scratch) {
#if FROM_PROBS
  const normaliser none = {0, 0, 1, 0, 0};
  return none;
#else
  normaliser n;
  floatv largest = -INFINITY, others = 0, own = 0;
  ROW_LOOP(i, 0, cols) largest = fmax(largest, LOADV(X_DTYPE, x, i, cols, -INFINITY));
  n.shift = row_max(largest, scratch);
  if (n.shift == -INFINITY) n.shift = 0;
  for (idx block = 0; block < cols; block += ROW_BLOCK) {
    const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;
    floatv part = 0;
    ROW_LOOP(i, block, end) {
      const floatv e = exp(LOADV(X_DTYPE, x, i, cols, -INFINITY) - n.shift);
      const intv is_own = label_lane(label, i);
      part += select(e, (floatv)0, is_own);
      own += select((floatv)0, e, is_own);
    }
    others += part;
  }
  n.own = row_sum(own, scratch);
  n.others = row_sum(others, scratch);
  const float total = n.own + n.others;
  // A label that has nearly all of p: its loss is this logarithm, of a number just above 1.
  n.log_sum = n.own == 1 ? log1p(n.others) : log(total);
  n.inverse_sum = total == 0 ? 0 : 1 / total;
  return n;
#endif
}

// log p: x − shift − log Σ, where −inf − (−inf) is still −inf.
floatv log_probability(floatv x, normaliser n) {
#if FROM_PROBS
  return log(x);
#else
  return (x - n.shift) - (n.inverse_sum == 0 ? 0.0f : n.log_sum);
#endif
}

// Σ t log p over a row, where 0 · log 0 is 0. A one-hot without smoothing has its weight in one block, so no other is read.
float row_likelihood(const __global real *x, const __global target_type *target, long label, idx cols, float keep,
                     float spread, normaliser n, __local float *scratch) {
  const bool one_hot = CLASSES && spread == 0;
  const idx first = one_hot ? (idx)clamp(label, 0L, (long)cols - 1) / ROW_BLOCK * ROW_BLOCK : 0;
  const idx last = one_hot && cols - first > ROW_BLOCK ? first + ROW_BLOCK : cols;
  floatv sum = 0;
  for (idx block = first; block < last; block += ROW_BLOCK) {
    const idx end = last - block > ROW_BLOCK ? block + ROW_BLOCK : last;
    floatv part = 0;
    ROW_LOOP(i, block, end) {
      const floatv t = weights_at(target, label, i, cols, keep, spread);
      const floatv log_p = log_probability(LOADV(X_DTYPE, x, i, cols, 0), n);
      part += select(t * log_p, (floatv)0, t == 0);
    }
    sum += part;
  }
  return row_sum(sum, scratch);
}

// The loss of each row.
ROW_GROUP __kernel void row_losses(const __global real *input, long input_offset, const __global target_type *target,
                                   long target_offset, __global float *losses, long losses_offset, long rows,
                                   long cols, float keep, float spread, uint has_ignore, long ignore) {
  __local float scratch[GROUP];
  ROWS_LOOP(row, rows) {
    const __global real *x = input + input_offset + row * (idx)cols;
    const __global target_type *t = target + target_offset;
    float loss;
#if CLASSES
    const long label = t[row];
    const int state = state_of(label, cols, has_ignore, ignore);
    const normaliser n = normaliser_of(x, label, cols, scratch);
    loss = -row_likelihood(x, t, label, cols, keep, spread, n, scratch);
    if (state != COUNTED) loss = state == IGNORED ? 0.0f : NAN;
#else
    const normaliser n = normaliser_of(x, -1, cols, scratch);
    loss = -row_likelihood(x, t + row * (idx)cols, -1, cols, keep, spread, n, scratch);
#endif
    if (ROW_LANE == 0) losses[losses_offset + row] = loss;
  }
}

// The rows that are not ignored. Each work-item's share is exact, the sum as good as a float.
float count_rows(const __global target_type *target, idx rows, uint has_ignore, long ignore, __local float *scratch) {
#if CLASSES
  uint counted = 0;
  for (idx row = ROW_LANE; row < rows; row += GROUP) counted += !has_ignore || (long)target[row] != ignore;
  return group_sum(counted, scratch);
#else
  return rows;
#endif
}

ROW_GROUP __kernel void row_count(const __global target_type *target, long target_offset, __global float *count,
                                  long rows, uint has_ignore, long ignore) {
  __local float scratch[GROUP];
  const float counted = count_rows(target + target_offset, rows, has_ignore, ignore, scratch);
  if (ROW_LANE == 0) count[0] = counted;
}

// One work-group: the sum of all losses, divided by the rows that count for the mean. No row at all has the mean NaN.
ROW_GROUP __kernel void loss_total(const __global float *losses, const __global target_type *target,
                                   long target_offset, __global float *loss, long loss_offset, long rows, uint mean,
                                   uint has_ignore, long ignore) {
  __local float scratch[GROUP];
  const float counted = count_rows(target + target_offset, rows, has_ignore, ignore, scratch);
  floatv sum = 0;
  for (idx block = 0; block < rows; block += ROW_BLOCK) {
    const idx end = rows - block > ROW_BLOCK ? block + ROW_BLOCK : (idx)rows;
    floatv part = 0;
    ROW_LOOP(i, block, end) part += LOADV(F32, losses, i, rows, 0);
    sum += part;
  }
  const float total = row_sum(sum, scratch);
  if (ROW_LANE == 0) loss[loss_offset] = mean ? total / counted : total;
}

// d loss / d input of a row, times `scale`. Logits: p Σ t − t; probabilities: −t / x. Ignored and wrong rows go the same way, as
// far as the last line: a barrier inside a branch, even one that all take, makes PoCL 3 run past the end of the loop around it.
void row_gradient(const __global real *x, const __global target_type *target, long label, int state, idx cols,
                  float keep, float spread, float scale, __global real *dx, __local float *scratch) {
#if !FROM_PROBS
  const normaliser n = normaliser_of(x, label, cols, scratch);
  float weight = 1;
#if !CLASSES
  floatv weights = 0;
  for (idx block = 0; block < cols; block += ROW_BLOCK) {
    const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;
    floatv part = 0;
    ROW_LOOP(i, block, end) part += weights_at(target, label, i, cols, keep, spread);
    weights += part;
  }
  weight = row_sum(weights, scratch);
#endif
#endif
  ROW_LOOP(i, 0, cols) {
    const floatv x_i = LOADV(X_DTYPE, x, i, cols, 0), t = weights_at(target, label, i, cols, keep, spread);
#if FROM_PROBS
    const floatv gradient = select(-t / x_i * scale, (floatv)0, t == 0);
#else
    const floatv p = exp(x_i - n.shift) * n.inverse_sum;
    // p − t of a label with most of p cancels, so there it is (1 − t) − (1 − p).
    const floatv at_label = n.own > n.others ? (1 - t) - n.others * n.inverse_sum : p - t;
    const floatv gradient = select(p * weight - t, at_label, label_lane(label, i)) * scale;
#endif
    STOREV(X_DTYPE, dx, i, cols, state == COUNTED ? gradient : state == IGNORED ? (floatv)0 : (floatv)NAN);
  }
}

// dloss: one value for all rows, or one per row, or 1. The mean divides by count[0].
ROW_GROUP __kernel void input_gradient(const __global real *input, long input_offset,
                                       const __global target_type *target, long target_offset,
                                       const __global float *dloss, long dloss_offset, const __global float *count,
                                       __global real *dinput, long dinput_offset, long rows, long cols, float keep,
                                       float spread, uint has_ignore, long ignore, uint has_dloss, uint per_row,
                                       uint mean) {
  __local float scratch[GROUP];
  ROWS_LOOP(row, rows) {
    const idx start = row * (idx)cols;
    const __global real *x = input + input_offset + start;
    __global real *dx = dinput + dinput_offset + start;
    float scale = has_dloss ? dloss[dloss_offset + (per_row ? row : 0)] : 1.0f;
    if (mean) scale /= count[0];
#if CLASSES
    const long label = target[target_offset + row];
    const int state = state_of(label, cols, has_ignore, ignore);
    row_gradient(x, target, label, state, cols, keep, spread, scale, dx, scratch);
#else
    row_gradient(x, target + target_offset + start, -1, COUNTED, cols, keep, spread, scale, dx, scratch);
#endif
  }
}
