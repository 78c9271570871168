// add, mul and reduce_sum on OpenCL: what broadcasts, and the sums that are its gradient.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

// ---------------------------------------------------------------- add, mul

enum { VIEWS = 3 };  // a, b, y

// The axes of a, b and y, of which y is contiguous: neighbours that form one run in all three are joined.
struct walk {
  int rank;
  int64_t dims[HEED_MAX_RANK], strides[VIEWS][HEED_MAX_RANK];
};

static bool joins(const struct walk *w, const heed_tensor *const views[VIEWS], int axis) {
  if (w->rank == 0) return false;
  for (int v = 0; v < VIEWS; ++v)
    if (w->strides[v][w->rank - 1] != views[v]->strides[axis] * views[v]->dims[axis]) return false;
  return true;
}

static struct walk walk_of(const heed_tensor *const views[VIEWS]) {
  struct walk w = {0};
  for (int axis = 0; axis < views[0]->rank; ++axis) {
    const int64_t dim = views[0]->dims[axis];
    if (dim == 1) continue;
    const bool joined = joins(&w, views, axis);
    const int at = joined ? w.rank - 1 : w.rank++;
    w.dims[at] = joined ? w.dims[at] * dim : dim;
    for (int v = 0; v < VIEWS; ++v) w.strides[v][at] = views[v]->strides[axis];
  }
  if (w.rank > 0) return w;
  w = (struct walk){.rank = 1, .dims = {1}};
  return w;
}

// mul has the slots of add.
static heed_status combine(heed_context *ctx, const struct heed__call *call, bool mul, double alpha, double beta) {
  // a, b, y: one shape; y contiguous, a and b with stride 0 where they broadcast
  const heed_tensor *const views[VIEWS] = {call->in[HEED__add_a], call->in[HEED__add_b], call->out[HEED__add_y]};
  const struct walk w = walk_of(views);
  const int last = w.rank - 1;
  const heed_tensor *y = views[2];
  const struct heed__cl_runs runs =
      heed__cl_runs_for(ctx, y->count, VIEWS * heed_tensor_bytes(y), y->dtype == HEED_F32);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/broadcast.cl", "combine");
  heed__cl_define_runs(&k, runs);
  heed__cl_define_dtype(&k, "X_DTYPE", y->dtype);
  heed__cl_define_int(&k, "MUL", mul);
  heed__cl_define_int(&k, "A_STEP", w.strides[0][last] != 0);
  heed__cl_define_int(&k, "B_STEP", w.strides[1][last] != 0);
  for (int v = 0; v < VIEWS; ++v) {
    heed__cl_tensor(&k, views[v]);
    for (int axis = w.rank - HEED_MAX_RANK; v < 2 && axis < w.rank; ++axis)
      heed__cl_long(&k, axis < 0 ? 0 : w.strides[v][axis]);
  }
  // No index needs the first of the five.
  for (int axis = w.rank - HEED_MAX_RANK + 1; axis < w.rank; ++axis) heed__cl_long(&k, axis < 0 ? 1 : w.dims[axis]);
  heed__cl_long(&k, y->count);
  heed__cl_long(&k, runs.share);
  heed__cl_float(&k, alpha);
  heed__cl_float(&k, beta);
  return heed__cl_launch_runs(&k, runs, y->count);
}

heed_status heed__cl_add(heed_context *ctx, const struct heed__call *call) {
  const struct heed__add_params *params = call->params;
  return combine(ctx, call, false, params->alpha, params->beta);
}

heed_status heed__cl_mul(heed_context *ctx, const struct heed__call *call) { return combine(ctx, call, true, 1, 1); }

// ---------------------------------------------------------------- reduce_sum

// What a work-item sums in one go: rows of a column, elements of a row. Longer sums are summed in pieces, and then the pieces.
enum { COLUMN_PIECE = 256, ROW_PIECE = 16384, TILE = 512 };

// x as far as it is summed: axes that stay and axes that are summed take turns.
struct stage {
  const heed_tensor *tensor;  // the input itself, or
  cl_mem buffer;              // sums in F32
  int rank;
  int64_t dims[HEED_MAX_RANK];
  bool summed[HEED_MAX_RANK];
};

static void append_axis(struct stage *s, int64_t dim, bool summed) {
  if (s->rank > 0 && s->summed[s->rank - 1] == summed) {
    s->dims[s->rank - 1] *= dim;
    return;
  }
  s->dims[s->rank] = dim;
  s->summed[s->rank++] = summed;
}

static struct stage first_stage(const heed_tensor *x, const heed_tensor *y) {
  struct stage s = {.tensor = x};
  for (int axis = 0; axis < x->rank; ++axis)
    if (x->dims[axis] != 1) append_axis(&s, x->dims[axis], y->dims[axis] == 1);
  return s;
}

// The longest axis that is summed; −1: none.
static int longest_summed(const struct stage *s) {
  int longest = -1;
  for (int axis = 0; axis < s->rank; ++axis)
    if (s->summed[axis] && (longest < 0 || s->dims[axis] > s->dims[longest])) longest = axis;
  return longest;
}

// One launch: [outer, axis, inner] to [outer, pieces, inner].
struct pass {
  int64_t outer, axis, inner, piece, pieces;
};

static struct pass pass_over(const struct stage *s, int axis) {
  struct pass p = {.outer = 1, .axis = axis < 0 ? 1 : s->dims[axis], .inner = 1};
  for (int i = 0; i < axis; ++i) p.outer *= s->dims[i];
  for (int i = axis + 1; i < s->rank; ++i) p.inner *= s->dims[i];
  p.piece = p.inner == 1 ? ROW_PIECE : COLUMN_PIECE;
  p.pieces = heed__ceil_div(p.axis, p.piece);
  return p;
}

static struct stage stage_after(const struct stage *s, int summed, const struct pass *p, cl_mem buffer) {
  struct stage next = {.buffer = buffer};
  for (int axis = 0; axis < s->rank; ++axis)
    if (axis != summed)
      append_axis(&next, s->dims[axis], s->summed[axis]);
    else if (p->pieces > 1)
      append_axis(&next, p->pieces, true);
  return next;
}

static void pass_place(struct heed__cl_kernel *k, const heed_tensor *tensor, cl_mem buffer) {
  if (tensor) {
    heed__cl_tensor(k, tensor);
    return;
  }
  heed__cl_buffer(k, buffer);
  heed__cl_long(k, 0);
}

// y NULL: into `sums`, in F32.
static heed_status sum_pass(heed_context *ctx, const struct stage *from, const struct pass *p, const heed_tensor *y,
                            cl_mem sums, bool accumulate) {
  const bool by_rows = p->inner == 1, cpu_like = heed__cl_state(ctx)->traits.cpu_like;
  struct heed__cl_rows layout = heed__cl_rows_for(ctx, by_rows ? heed__min(p->axis, p->piece) : p->inner);
  if (!by_rows) layout.group = 1;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/reduce.cl", by_rows ? "sum_rows" : "sum_columns");
  heed__cl_define_rows(&k, layout);
  heed__cl_define_dtype(&k, "X_DTYPE", from->tensor ? from->tensor->dtype : HEED_F32);
  heed__cl_define_dtype(&k, "Y_DTYPE", y ? y->dtype : HEED_F32);
  const int64_t tile = cpu_like ? TILE : 1;
  if (!by_rows) heed__cl_define_int(&k, "TILE", tile);
  pass_place(&k, from->tensor, from->buffer);
  pass_place(&k, y, sums);
  heed__cl_long(&k, p->outer);
  heed__cl_long(&k, p->axis);
  heed__cl_long(&k, p->inner);
  heed__cl_long(&k, p->piece);
  heed__cl_long(&k, p->pieces);
  heed__cl_uint(&k, y && accumulate);
  if (by_rows) return heed__cl_launch_rows(&k, layout, p->outer * p->pieces);
  const int64_t items = p->outer * p->pieces * heed__ceil_div(p->inner, tile);
  return cpu_like ? heed__cl_launch_walks(&k, items) : heed__cl_launch_items(&k, items);
}

heed_status heed__cl_reduce_sum(heed_context *ctx, const struct heed__call *call) {
  // x, y: one rank; y has 1 where x is summed
  const struct heed__reduce_params *params = call->params;
  const heed_tensor *x = call->in[HEED__reduce_sum_x], *y = call->out[HEED__reduce_sum_y];
  struct stage stage = first_stage(x, y);
  heed_status status = HEED_OK;
  for (bool done = false; status == HEED_OK && !done;) {
    const int axis = longest_summed(&stage);
    const struct pass p = pass_over(&stage, axis);
    cl_mem sums = NULL;
    struct stage next = stage_after(&stage, axis, &p, NULL);
    done = longest_summed(&next) < 0;
    if (!done) status = heed__cl_scratch_take(ctx, (uint64_t)(p.outer * p.pieces * p.inner) * sizeof(float), &sums);
    if (status == HEED_OK) status = sum_pass(ctx, &stage, &p, done ? y : NULL, sums, params->accumulate);
    heed__cl_scratch_give(ctx, stage.buffer);
    stage = next;
    stage.buffer = sums;
  }
  heed__cl_scratch_give(ctx, stage.buffer);
  return status;
}
