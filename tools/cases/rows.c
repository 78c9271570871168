// Operators over rows and single elements as cases: softmax, cross-entropy, activations, copies, updates.
#include <stdlib.h>

#include "cases/case.h"

static double count_of(const rows_shape *s) {
  double count = 1;
  for (int axis = 0; axis < s->rank; ++axis) count *= (double)s->dims[axis];
  return count;
}

// ---------------------------------------------------------------- softmax

static heed_status softmax_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, s->rank, s->dims, s->fill, 1));
  TRY(case_output(env, "y", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false)));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  TRY(case_input(env, "dy", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  return case_output(env, "dx", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, true));
}
static heed_status softmax_run(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  heed_tensor *x = case_get(env, "x"), *y = case_get(env, "y"), *dy = case_get(env, "dy"), *dx = case_get(env, "dx");
  TRY(s->log ? heed_log_softmax_fwd(x, s->axis, y) : heed_softmax_fwd(x, s->axis, y));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  return s->log ? heed_log_softmax_bwd(y, dy, s->axis, dx) : heed_softmax_bwd(y, dy, s->axis, dx);
}
static double softmax_bytes(const heed_case *c) {
  const double once = count_of(&c->u.rows) * (double)heed_dtype_size(c->dtype);
  return (c->phase == CASE_FORWARD ? 2 : 5) * once;
}
const case_family case_softmax = {"softmax", softmax_setup, softmax_run, NULL, softmax_bytes};

// ---------------------------------------------------------------- cross-entropy

static heed_status indices(case_env *env, const loss_shape *s) {
  // The same numbers in each width of integer.
  void *data = calloc((size_t)s->n + 1, 8);
  if (!data) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < s->n; ++i) {
    int64_t index = (int64_t)(case_random(env, (uint64_t)i) * (double)s->c);
    if (s->options.has_ignore_index && i % 3 == 0) index = s->options.ignore_index;
    if (s->target == HEED_I64)
      ((int64_t *)data)[i] = index;
    else if (s->target == HEED_I32)
      ((int32_t *)data)[i] = (int32_t)index;
    else
      ((uint8_t *)data)[i] = (uint8_t)index;
  }
  heed_status status = case_input_data(env, "target", s->target, 1, &s->n, data);
  free(data);
  return status;
}

static heed_status loss_setup(case_env *env, const heed_case *c) {
  const loss_shape *s = &c->u.loss;
  const int64_t losses = s->options.reduction == HEED_REDUCTION_NONE ? s->n : 1;
  if (s->options.from_probs) {
    // Probabilities stay off 0: rows of a softmax would do, a uniform draw does as well.
    TRY(case_input(env, "input", c->dtype, 2, DIMS(s->n, s->c), CASE_SAME, 0.25));
  } else {
    TRY(case_input(env, "input", c->dtype, 2, DIMS(s->n, s->c), s->fill, 2));
  }
  if (heed_dtype_is_float(s->target))
    TRY(case_input(env, "target", c->dtype, 2, DIMS(s->n, s->c), CASE_UNIFORM, 1.0 / (double)s->c));
  else
    TRY(indices(env, s));
  TRY(case_output(env, "loss", HEED_F32, 1, &losses, heed_tolerance(HEED_F32, false)));
  TRY(case_input(env, "dloss", HEED_F32, 1, &losses, CASE_UNIFORM, 1));
  return case_output(env, "dinput", c->dtype, 2, DIMS(s->n, s->c), heed_tolerance(c->dtype, true));
}
static heed_status loss_run(case_env *env, const heed_case *c) {
  const loss_shape *s = &c->u.loss;
  TRY(heed_cross_entropy_fwd(case_get(env, "input"), case_get(env, "target"), &s->options, case_get(env, "loss")));
  return heed_cross_entropy_bwd(case_get(env, "input"), case_get(env, "target"), &s->options, case_get(env, "dloss"),
                                case_get(env, "dinput"));
}
const case_family case_cross_entropy = {"cross_entropy", loss_setup, loss_run, NULL, NULL};

static heed_status loss_both_run(case_env *env, const heed_case *c) {
  return heed_cross_entropy_fwd_bwd(case_get(env, "input"), case_get(env, "target"), &c->u.loss.options,
                                    case_get(env, "loss"), case_get(env, "dinput"));
}
const case_family case_cross_entropy_both = {"cross_entropy_fwd_bwd", loss_setup, loss_both_run, NULL, NULL};

// ---------------------------------------------------------------- activations

static heed_status activation_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, s->rank, s->dims, s->fill, 3));
  TRY(case_input(env, "dy", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  TRY(case_output(env, "y", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false)));
  return case_output(env, "dx", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, true));
}
static heed_status relu_run(case_env *env, const heed_case *c) {
  (void)c;
  TRY(heed_relu_fwd(case_get(env, "x"), case_get(env, "y")));
  return heed_relu_bwd(case_get(env, "x"), case_get(env, "dy"), case_get(env, "dx"));
}
static heed_status gelu_run(case_env *env, const heed_case *c) {
  TRY(heed_gelu_fwd(case_get(env, "x"), (heed_gelu_form)c->form, case_get(env, "y")));
  return heed_gelu_bwd(case_get(env, "x"), case_get(env, "dy"), (heed_gelu_form)c->form, case_get(env, "dx"));
}
const case_family case_relu = {"relu", activation_setup, relu_run, NULL, NULL};
const case_family case_gelu = {"gelu", activation_setup, gelu_run, NULL, NULL};

// ---------------------------------------------------------------- add, copy, fill, gather, argmax

static heed_status add_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "a", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  TRY(case_input(env, "b", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  return case_output(env, "y", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false));
}
static heed_status add_run(case_env *env, const heed_case *c) {
  (void)c;
  return heed_add(1.5, case_get(env, "a"), -0.25, case_get(env, "b"), case_get(env, "y"));
}
const case_family case_add = {"add", add_setup, add_run, NULL, NULL};

// form: the dtype copied to. The source is read as it lies and transposed, since strides have kernels of their own. Exact:
// conversions round once on both sides.
static heed_status copy_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, 2, s->dims, s->fill, 3));
  TRY(case_output(env, "dense", (heed_dtype)c->form, 2, s->dims, 0));
  return case_output(env, "y", (heed_dtype)c->form, 2, DIMS(s->dims[1], s->dims[0]), 0);
}
static heed_status copy_run(case_env *env, const heed_case *c) {
  (void)c;
  heed_tensor *transposed;
  TRY(heed_copy(case_get(env, "x"), case_get(env, "dense")));
  TRY(heed_tensor_permute(case_get(env, "x"), (const int[]){1, 0}, &transposed));
  heed_status status = heed_copy(transposed, case_get(env, "y"));
  heed_tensor_destroy(transposed);
  return status;
}
const case_family case_copy = {"copy", copy_setup, copy_run, NULL, NULL};

static heed_status fill_setup(case_env *env, const heed_case *c) {
  return case_output(env, "y", c->dtype, c->u.rows.rank, c->u.rows.dims, 0);
}
// The left half of the columns once more, with strides.
static heed_status fill_run(case_env *env, const heed_case *c) {
  heed_tensor *half;
  TRY(heed_fill(case_get(env, "y"), 3));
  TRY(heed_tensor_slice(case_get(env, "y"), 1, 0, (c->u.rows.dims[1] + 1) / 2, &half));
  heed_status status = heed_fill(half, -2);
  heed_tensor_destroy(half);
  return status;
}
const case_family case_fill_op = {"fill", fill_setup, fill_run, NULL, NULL};

// form: the dtype of the table. dims: rows of the table, width, rows gathered.
static heed_status gather_setup(case_env *env, const heed_case *c) {
  const int64_t n = c->u.rows.dims[0], width = c->u.rows.dims[1], rows = c->u.rows.dims[2];
  const heed_dtype from = (heed_dtype)c->form;
  if (from == HEED_U8) {
    uint8_t *bytes = malloc((size_t)(n * width));
    if (!bytes) return HEED_ERROR_OUT_OF_MEMORY;
    for (int64_t i = 0; i < n * width; ++i) bytes[i] = (uint8_t)(256 * case_random(env, (uint64_t)i));
    heed_status status = case_input_data(env, "x", from, 2, DIMS(n, width), bytes);
    free(bytes);
    TRY(status);
  } else {
    TRY(case_input(env, "x", from, 2, DIMS(n, width), CASE_NORMAL, 1));
  }
  int32_t *index = malloc((size_t)rows * sizeof *index + 1);
  if (!index) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < rows; ++i) index[i] = (int32_t)(case_random(env, (uint64_t)(i + n * width)) * (double)n);
  if (rows > 2) index[1] = (int32_t)n;  // out of range: NaN
  heed_status status = case_input_data(env, "index", HEED_I32, 1, &rows, index);
  free(index);
  TRY(status);
  return case_output(env, "y", c->dtype, 2, DIMS(rows, width), heed_tolerance(c->dtype, false));
}
static heed_status gather_run(case_env *env, const heed_case *c) {
  (void)c;
  return heed_gather_rows(case_get(env, "x"), case_get(env, "index"), 1 / (255 * 0.3081), -0.1307 / 0.3081,
                          case_get(env, "y"));
}
const case_family case_gather = {"gather_rows", gather_setup, gather_run, NULL, NULL};

static heed_status argmax_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, 2, s->dims, s->fill, 1));
  return case_output(env, "y", HEED_I32, 1, DIMS(s->dims[0]), 0);
}
static heed_status argmax_run(case_env *env, const heed_case *c) {
  (void)c;
  return heed_argmax(case_get(env, "x"), case_get(env, "y"));
}
const case_family case_argmax = {"argmax", argmax_setup, argmax_run, NULL, NULL};

// ---------------------------------------------------------------- updates

static heed_status sgd_setup(case_env *env, const heed_case *c) {
  const update_shape *s = &c->u.update;
  const double tolerance = heed_tolerance(c->dtype, false);
  TRY(case_input(env, "grad", c->dtype, 1, &s->n, CASE_NORMAL, 1));
  TRY(case_state(env, "param", c->dtype, 1, &s->n, CASE_NORMAL, 1, tolerance));
  if (s->sgd.momentum == 0) return HEED_OK;
  return case_state(env, "momentum_buffer", c->dtype, 1, &s->n, CASE_NORMAL, 1, tolerance);
}
static heed_status sgd_run(case_env *env, const heed_case *c) {
  return heed_sgd(&c->u.update.sgd, case_get(env, "grad"), case_get(env, "param"), case_get(env, "momentum_buffer"));
}
const case_family case_sgd = {"sgd", sgd_setup, sgd_run, NULL, NULL};

static heed_status sqrt_setup(case_env *env, const heed_case *c) {
  const int64_t n = c->u.update.n;
  TRY(case_input(env, "a", HEED_F32, 1, &n, CASE_UNIFORM, 30));
  TRY(case_input(env, "x0", HEED_F32, 1, &n, CASE_SAME, 1));
  return case_output(env, "x", HEED_F32, 1, &n, heed_tolerance(HEED_F32, false));
}
static heed_status sqrt_run(case_env *env, const heed_case *c) {
  return heed_sqrt_sgd(&c->u.update.sqrt, case_get(env, "a"), case_get(env, "x0"), case_get(env, "x"));
}
const case_family case_sqrt_sgd = {"sqrt_sgd", sqrt_setup, sqrt_run, NULL, NULL};
