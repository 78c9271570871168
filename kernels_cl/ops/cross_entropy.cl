// Cross-entropy of rows of classes, forward and backward. CLASSES: target holds class indices; else it holds rows of probabilities.
// FROM_PROBS: the input holds probabilities too, and the loss of a row is −Σ w t log x. WEIGHTED: the classes have weights w, else all
// are 1. With logits the loss is −Σ w t (x − shift − log Σ exp(x − shift)); a weight w t of 0 adds nothing, whatever it stands at.
// The elements of a row lie `step` apart, which is 1 where VECTOR is not. dinput may lie over input: whatever the work-items of a row
// read of each other's elements they read before the last barrier in front of the gradient.
//
// check with: -DVECTOR=8
// check with: -DVECTOR=8 -DKEEPS_EXP=1 -DWEIGHTED=1
// check with: -DVECTOR=8 -DCLASSES=1 -DKEEPS_EXP=1
// check with: -DX_DTYPE=F16 -DGROUP=64 -DCLASSES=1 -DT_DTYPE=U8
// check with: -DFROM_PROBS=1 -DWEIGHTED=1

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef CLASSES
#define CLASSES 0
#endif
#ifndef FROM_PROBS
#define FROM_PROBS 0
#endif
#ifndef WEIGHTED
#define WEIGHTED 0
#endif
// Whether the exp() of each element, in F32, waits in its gradient's place until the row's sum is known. GROUP is 1 then. The row stays
// in a core's cache, so that it costs less than a second exp().
#ifndef KEEPS_EXP
#define KEEPS_EXP 0
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
#pragma OPENCL FP_CONTRACT ON
#include "exp.cl"

// Elements i, i + 1, … of a row, of which those from `end` on are not there.
#if VECTOR == 1
#define GET(dtype, x, i, end, padding) LOAD(dtype, x, (i) * step)
#define PUT(x, i, end, value) STORE(X_DTYPE, x, (i) * step, value)
#else
#define GET(dtype, x, i, end, padding) LOADV(dtype, x, i, end, padding)
#define PUT(x, i, end, value) STOREV(X_DTYPE, x, i, end, value)
#endif

// Loops over a row run in strips of so many whole vectors where vectors are wide, so that neither constants nor the row's end are looked
// at for each of them: STRIP_LOOP(i, first, end) does the strips and leaves in `first` where they end. In its body vector u of a strip
// begins at i + u VECTOR, and what it needs an end for gets the vector's own, so that the compiler sees that it is whole.
#define STRIP 4
#define VECTOR_AT(dtype, x, i) LOADV(dtype, x, i, (i) + VECTOR, 0)
#define STRIP_LOOP(i, first, end) for (idx i = (first); (end) - i >= STRIP * VECTOR; i += STRIP * VECTOR, (first) = i)

// What all rows have in common: keep is 1 − ε, spread ε/C.
typedef struct {
  idx cols, step;
  const __global float *class_weights;
  float keep, spread;
  uint ignores;
  long ignored;
} problem;

// A row: where it begins in input and target, and its class (−1: probabilities).
typedef struct {
  const __global real *x;
  const __global target_type *target;
  long label;
  int state;
  float at_label; // x there
} row_data;

// What a row with this label is: ignored rows add nothing, wrong ones are NaN.
#define IGNORED 0
#define COUNTED 1
#define WRONG 2
int state_of(long label, const problem *p) {
  if (p->ignores && label == p->ignored) return IGNORED;
  return (ulong)label < (ulong)p->cols ? COUNTED : WRONG; // negative ones are huge then
}

// The label as a place that can be read.
idx place_of(long label, const problem *p) { return (idx)clamp(label, 0L, (long)p->cols - 1); }

row_data row_of(const __global real *input, const __global target_type *target, idx row, const problem *p) {
  row_data r;
  const idx start = row / p->step * p->cols * p->step + row % p->step;
  r.x = input + start;
#if CLASSES
  r.target = target;
  r.label = target[row];
  r.state = state_of(r.label, p);
  r.at_label = LOAD(X_DTYPE, r.x, place_of(r.label, p) * p->step);
#else
  r.target = target + start;
  r.label = -1;
  r.state = COUNTED;
  r.at_label = 0;
#endif
  return r;
}

// Which of the columns i, i + 1, … is the label's.
intv label_lane(long label, idx i) {
  const int lane = label >= i && label - i < VECTOR ? (int)(label - i) : -1;
  return LANES == (intv)lane;
}

float label_weight(const row_data *r, const problem *p) {
#if WEIGHTED
  return (p->keep + p->spread) * p->class_weights[place_of(r->label, p)];
#else
  return p->keep + p->spread;
#endif
}

// The weights w t of columns i, i + 1, …: a one-hot or a row of probabilities, smoothed to (1 − ε) t + ε/C, times those of the
// classes; 0 past the row's end.
floatv weights_at(const row_data *r, idx i, idx end, const problem *p) {
  const idx step = p->step;
  const int here = end - i < VECTOR ? (int)(end - i) : VECTOR;
#if CLASSES
  floatv t = select((floatv)p->spread, (floatv)(p->keep + p->spread), label_lane(r->label, i));
#else
  floatv t = p->keep * GET(T_DTYPE, r->target, i, end, 0) + p->spread;
#endif
#if WEIGHTED
  t *= LOADV(F32, p->class_weights, i, end, 0);
#endif
  return select((floatv)0, t, LANES < (intv)here);
}

// fmax without its care for NaN: one in x is passed over, and comes back through exp().
floatv larger_of(floatv largest, floatv x) { return x > largest ? x : largest; }

floatv row_largest(const __global real *x, idx cols, idx step) {
  floatv largest = -INFINITY;
#if !FROM_PROBS
  ROW_LOOP(i, 0, cols) largest = larger_of(largest, GET(X_DTYPE, x, i, cols, -INFINITY));
#endif
  return largest;
}

// Of a row of logits; where it is −inf throughout all but log_sum are 0.
typedef struct {
  float shift, log_sum, inverse_sum;
  float own, others; // exp(x − shift) of the label, and Σ of the rest: what 1 − p comes to where p is nearly 1
} normaliser;

#if KEEPS_EXP
#define KEEP(i, end, e) STOREV(F32, dx, i, end, e)
#else
#define KEEP(i, end, e)
#endif

// Where a work-item takes row after row, the largest element of the next row is found on the way, so that memory is read while exp() is
// computed. It is asked for as many elements before that as take a page or half of one, since the processor's own prefetching ends with each.
#define ASKED_AHEAD 1024
#define LOOKS_AHEAD (VECTOR > 1 && !FROM_PROBS)
#if LOOKS_AHEAD
#define LOOK_AHEAD(i, end)                                                 \
  {                                                                         \
    PREFETCH_READ(next + (i) + ASKED_AHEAD);                                \
    largest = larger_of(largest, LOADV(X_DTYPE, next, i, end, -INFINITY)); \
  }
#define NEXT_OF(x) (row + 1 < row_end ? (x) + p.cols : (x))
#else
#define LOOK_AHEAD(i, end)
#define NEXT_OF(x) (x)
#endif

// Σ exp(x − shift) of the columns from first to end; *ahead looks at those of the next row.
floatv exp_sum(const __global real *x, idx first, idx end, idx step, float shift, __global real *dx,
               const __global real *next, floatv *ahead) {
  floatv sum = 0, largest = *ahead;
#if VECTOR > 1
  STRIP_LOOP(i, first, end) {
    floatv e[STRIP];
#pragma unroll
    for (int u = 0; u < STRIP; ++u) e[u] = exp_flushed(VECTOR_AT(X_DTYPE, x, i + u * VECTOR) - shift);
#pragma unroll
    for (int u = 0; u < STRIP; ++u) {
      KEEP(i + u * VECTOR, i + (u + 1) * VECTOR, e[u]);
      LOOK_AHEAD(i + u * VECTOR, i + (u + 1) * VECTOR)
      sum += e[u];
    }
  }
#endif
  ROW_LOOP(i, first, end) {
    const floatv e = exp_flushed(GET(X_DTYPE, x, i, end, -INFINITY) - shift);
    KEEP(i, end, e);
    LOOK_AHEAD(i, end)
    sum += e;
  }
  *ahead = largest;
  return sum;
}

// The same for columns among which is the label's, whose exp() goes to *own and not to the sum.
floatv exp_sum_of_others(const __global real *x, long label, idx first, idx end, idx step, float shift,
                         __global real *dx, const __global real *next, floatv *ahead, floatv *own) {
  floatv sum = 0, largest = *ahead;
  ROW_LOOP(i, first, end) {
    const floatv e = exp_flushed(GET(X_DTYPE, x, i, end, -INFINITY) - shift);
    const intv is_own = label_lane(label, i);
    KEEP(i, end, e);
    LOOK_AHEAD(i, end)
    sum += select(e, (floatv)0, is_own);
    *own += select((floatv)0, e, is_own);
  }
  *ahead = largest;
  return sum;
}

// *largest: of what this work-item has of the row; it becomes that of the next row, if there is one.
normaliser normaliser_of(const row_data *r, const problem *p, __global real *dx, const __global real *next,
                         floatv *largest, __local float *scratch) {
#if FROM_PROBS
  const normaliser none = {0, 0, 1, 0, 0};
  return none;
#else
  const idx cols = p->cols;
  normaliser n;
  floatv others = 0, own = 0, ahead = -INFINITY;
  n.shift = row_max(*largest, scratch);
  if (n.shift == -INFINITY) n.shift = 0;
  for (idx block = 0; block < cols; block += ROW_BLOCK) {
    const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;
    others += r->label >= block && r->label < end
                  ? exp_sum_of_others(r->x, r->label, block, end, p->step, n.shift, dx, next, &ahead, &own)
                  : exp_sum(r->x, block, end, p->step, n.shift, dx, next, &ahead);
  }
  *largest = ahead;
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

// Σ w t log p over a row, where 0 · log 0 is 0. A one-hot without smoothing has but one term.
float row_likelihood(const row_data *r, const problem *p, normaliser n, __local float *scratch) {
  const idx step = p->step, cols = CLASSES && p->spread == 0 ? 0 : p->cols;
  floatv sum = 0;
  for (idx block = 0; block < cols; block += ROW_BLOCK) {
    const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;
    floatv part = 0;
    ROW_LOOP(i, block, end) {
      const floatv t = weights_at(r, i, cols, p);
      const floatv log_p = log_probability(GET(X_DTYPE, r->x, i, cols, 0), n);
      part += select(t * log_p, (floatv)0, t == 0);
    }
    sum += part;
  }
  const float total = row_sum(sum, scratch);
#if CLASSES
  const float t = label_weight(r, p);
  if (p->spread == 0) return t == 0 ? 0 : t * ((r->at_label - n.shift) - (n.inverse_sum == 0 ? 0.0f : n.log_sum));
#endif
  return total;
}

float row_loss(const row_data *r, const problem *p, normaliser n, __local float *scratch) {
  const float loss = -row_likelihood(r, p, n, scratch);
  return r->state == COUNTED ? loss : r->state == IGNORED ? 0.0f : NAN;
}

// Σ w t of the columns that are not the label's.
float other_weights(const row_data *r, const problem *p, __local float *scratch) {
#if CLASSES && !WEIGHTED
  return 1 - label_weight(r, p);
#else
  const idx cols = CLASSES && p->spread == 0 ? 0 : p->cols;
  floatv sum = 0;
  for (idx block = 0; block < cols; block += ROW_BLOCK) {
    const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;
    floatv part = 0;
    ROW_LOOP(i, block, end) part += select(weights_at(r, i, cols, p), (floatv)0, label_lane(r->label, i));
    sum += part;
  }
  return row_sum(sum, scratch);
#endif
}

// A row's gradient: p Σ w t − w t, or −w t / x of probabilities, times scale.
typedef struct {
  float shift, factor, scale; // factor is what makes p Σ w t scale of exp(x − shift)
  float spread;               // ε/C scale
} slope;

// Columns i, i + 1, … of which none is the label's. dx: where exp() of them waits, if it does.
floatv gradient_at(const row_data *r, idx i, idx end, const problem *p, slope s, const __global real *dx) {
  const idx step = p->step;
#if FROM_PROBS
  const floatv t = weights_at(r, i, end, p);
  return select(-t / GET(X_DTYPE, r->x, i, end, 0) * s.scale, (floatv)0, t == 0);
#else
#if KEEPS_EXP
  const floatv gradient = LOADV(F32, dx, i, end, 0) * s.factor;
#else
  const floatv gradient = exp_flushed(GET(X_DTYPE, r->x, i, end, 0) - s.shift) * s.factor;
#endif
#if !CLASSES
  return gradient - weights_at(r, i, end, p) * s.scale;
#elif WEIGHTED
  return s.spread == 0 ? gradient : gradient - s.spread * LOADV(F32, p->class_weights, i, end, 0);
#else
  return gradient - s.spread;
#endif
#endif
}

void store_row_gradient(const row_data *row, const problem *problem_of_rows, slope s, __global real *dx) {
  const row_data data = *row, *r = &data; // copies, which no store can change
  const problem copy = *problem_of_rows, *p = &copy;
  const idx cols = p->cols, step = p->step;
  idx first = 0;
#if VECTOR > 1
  STRIP_LOOP(i, first, cols) {
#pragma unroll
    for (int u = 0; u < STRIP; ++u) {
      const idx at = i + u * VECTOR, end = at + VECTOR;
      STOREV(X_DTYPE, dx, at, end, gradient_at(r, at, end, p, s, dx));
    }
  }
#endif
  ROW_LOOP(i, first, cols) PUT(dx, i, cols, gradient_at(r, i, cols, p, s, dx));
}

// d loss / d input of a row, times `scale`.
void row_gradient(const row_data *r, const problem *p, normaliser n, float scale, __global real *dx,
                  __local float *scratch) {
  const idx cols = p->cols, step = p->step;
#if FROM_PROBS
  const slope s = {0, 0, scale, 0};
  store_row_gradient(r, p, s, dx);
#elif !CLASSES
  const slope s = {n.shift, n.inverse_sum * other_weights(r, p, scratch) * scale, scale, 0};
  store_row_gradient(r, p, s, dx);
#else
  const float own = label_weight(r, p), others = other_weights(r, p, scratch);
  const float weight = WEIGHTED ? own + others : 1.0f;
  if (r->state == COUNTED) {
    const slope s = {n.shift, n.inverse_sum * weight * scale, scale, p->spread * scale};
    store_row_gradient(r, p, s, dx);
    // p − t of a label with most of p cancels, so there it is (1 − t) − (1 − p).
    const float of_others = weight * n.others * n.inverse_sum, of_own = weight * n.own * n.inverse_sum;
    const idx label = r->label;
    if (label / VECTOR % GROUP == ROW_LANE)
      STORE(X_DTYPE, dx, label * step, (n.own > n.others ? others - of_others : of_own - own) * scale);
  } else {
    ROW_LOOP(i, 0, cols) PUT(dx, i, cols, (floatv)(r->state == IGNORED ? 0.0f : NAN));
  }
#endif
}

// ---------------------------------------------------------------- kernels over rows

#define PROBLEM_PARAMETERS                                                                                            \
  const __global real *input, long input_offset, const __global target_type *target, long target_offset,               \
      const __global float *class_weights, long class_weights_offset, long cols, long inner, float keep, float spread, \
      uint ignores, long ignored
#define PROBLEM {cols, inner, class_weights + class_weights_offset, keep, spread, ignores, ignored}

// The rows of a work-item, one after the other: r, with the largest of its elements in `largest` if that is known.
#define PROBLEM_ROWS(row, rows)            \
  const problem p = PROBLEM;               \
  floatv largest = -INFINITY;              \
  bool is_known = false;                   \
  ROWS_LOOP(row, rows)
#define NORMALISER_OF(r, dx)                                                    \
  if (!is_known) largest = row_largest((r).x, p.cols, p.step);                     \
  is_known = LOOKS_AHEAD;                                                          \
  const normaliser n = normaliser_of(&(r), &p, dx, NEXT_OF((r).x), &largest, scratch);

ROW_GROUP __kernel void row_losses(PROBLEM_PARAMETERS, __global float *losses, long losses_offset, long rows) {
  __local float scratch[GROUP];
  PROBLEM_ROWS(row, rows) {
    const row_data r = row_of(input + input_offset, target + target_offset, row, &p);
    NORMALISER_OF(r, 0);
    const float loss = row_loss(&r, &p, n, scratch);
    if (ROW_LANE == 0) losses[losses_offset + row] = loss;
  }
}

// dloss: one value for all rows, or one per row, or 1. The mean divides by count[0].
float scale_of(const __global float *dloss, const __global float *count, idx row, uint has_dloss, uint per_row, uint mean) {
  float scale = has_dloss ? dloss[per_row ? row : 0] : 1.0f;
  if (mean) scale /= count[0];
  return scale;
}

#define GRADIENT_PARAMETERS                                                                                    \
  const __global float *dloss, long dloss_offset, const __global float *count,           \
      __global real *dinput, long dinput_offset, long rows, uint has_dloss, uint per_row, uint mean

// What both kernels below do for each row; LOSS is a statement between the row's sums and its gradient.
#define GRADIENT_OF_ROWS(LOSS)                                                                \
  __local float scratch[GROUP];                                                               \
  PROBLEM_ROWS(row, rows) {                                                                   \
    const row_data r = row_of(input + input_offset, target + target_offset, row, &p);         \
    const float scale = scale_of(dloss + dloss_offset, count, row, has_dloss, per_row, mean); \
    __global real *dx = dinput + dinput_offset + (r.x - (input + input_offset));              \
    NORMALISER_OF(r, dx);                                                              \
    LOSS;                                                                                     \
    row_gradient(&r, &p, n, scale, dx, scratch);                                   \
  }

ROW_GROUP __kernel void input_gradient(PROBLEM_PARAMETERS, GRADIENT_PARAMETERS) { GRADIENT_OF_ROWS((void)0) }

ROW_GROUP __kernel void losses_and_gradient(PROBLEM_PARAMETERS, GRADIENT_PARAMETERS, __global float *losses,
                                            long losses_offset) {
  GRADIENT_OF_ROWS(const float loss = row_loss(&r, &p, n, scratch);
                   if (ROW_LANE == 0) losses[losses_offset + row] = loss)
}

// ---------------------------------------------------------------- sums over rows

// What the rows that are not ignored count: each 1, or the weight of its class.
float count_rows(const __global target_type *target, const __global float *class_weights, idx rows, idx cols,
                 uint ignores, long ignored, __local float *scratch) {
#if CLASSES && WEIGHTED
  float sum = 0;
  for (idx block = 0; block < rows; block += 256 * GROUP) {
    const idx end = rows - block > 256 * GROUP ? block + 256 * GROUP : rows;
    float part = 0;
    for (idx row = block + ROW_LANE; row < end; row += GROUP) {
      const long label = target[row];
      const bool is_counted = !(ignores && label == ignored) && (ulong)label < (ulong)cols;
      part += is_counted ? class_weights[label] : 0.0f;
    }
    sum += part;
  }
  return group_sum(sum, scratch);
#elif CLASSES
  uint counted = 0; // a work-item's share is exact
  for (idx row = ROW_LANE; row < rows; row += GROUP) counted += !ignores || (long)target[row] != ignored;
  return group_sum(counted, scratch);
#else
  return rows;
#endif
}

#define COUNT_PARAMETERS                                                                                     \
  const __global target_type *target, long target_offset, const __global float *class_weights,               \
      long class_weights_offset, long rows, long cols, uint ignores, long ignored
#define COUNT_ROWS \
  count_rows(target + target_offset, class_weights + class_weights_offset, rows, cols, ignores, ignored, scratch)

ROW_GROUP __kernel void row_count(COUNT_PARAMETERS, __global float *count) {
  __local float scratch[GROUP];
  const float counted = COUNT_ROWS;
  if (ROW_LANE == 0) count[0] = counted;
}

ROW_GROUP __kernel void row_share(COUNT_PARAMETERS, __global float *share, long share_offset) {
  __local float scratch[GROUP];
  const float counted = COUNT_ROWS;
  if (ROW_LANE == 0) share[share_offset] = 1 / counted;
}

// One work-group: the sum of all losses, divided by what the rows count for the mean. No row at all has the mean NaN.
ROW_GROUP __kernel void loss_total(COUNT_PARAMETERS, const __global float *losses, __global float *loss,
                                   long loss_offset, uint mean) {
  __local float scratch[GROUP];
  const float counted = COUNT_ROWS;
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
