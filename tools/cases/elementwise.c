// add, mul, reduce_sum, copy and fill as cases.
#include <stdio.h>

#include "cases/case.h"

// form: how b broadcasts to the shape of a and y; mul also swaps the two.
enum { SAME, LAST_AXIS, LEADING_AXES, MIDDLE_AXIS, SCALAR, FORMS };
static void narrow(const rows_shape *s, int form, rows_shape *b) {
  *b = *s;
  if (form == LAST_AXIS) b->dims[s->rank - 1] = 1;
  if (form == MIDDLE_AXIS) b->dims[s->rank / 2] = 1;
  if (form == SCALAR) b->rank = 0;
  if (form != LEADING_AXES) return;
  b->rank = 1;
  b->dims[0] = s->dims[s->rank - 1];
}

static heed_status add_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  rows_shape b;
  narrow(s, c->form, &b);
  TRY(case_input(env, "a", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  TRY(case_input(env, "b", c->dtype, b.rank, b.dims, CASE_NORMAL, 1));
  return case_output(env, "y", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false));
}
static heed_status add_run(case_env *env, const heed_case *c) {
  (void)c;
  return heed_add(1.5, case_get(env, "a"), -0.25, case_get(env, "b"), case_get(env, "y"));
}
static heed_status mul_run(case_env *env, const heed_case *c) {
  (void)c;
  return heed_mul(case_get(env, "b"), case_get(env, "a"), case_get(env, "y"));
}

// form: as above, of y.
static heed_status reduce_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  rows_shape y;
  narrow(s, c->form, &y);
  TRY(case_input(env, "x", c->dtype, s->rank, s->dims, s->fill, 1));
  TRY(case_output(env, "y", c->dtype, y.rank, y.dims, heed_tolerance(c->dtype, false)));
  return case_state(env, "added", c->dtype, y.rank, y.dims, CASE_NORMAL, 3, heed_tolerance(c->dtype, false));
}
static heed_status reduce_run(case_env *env, const heed_case *c) {
  (void)c;
  TRY(heed_reduce_sum(case_get(env, "x"), case_get(env, "y"), false));
  return heed_reduce_sum(case_get(env, "x"), case_get(env, "added"), true);
}

// form: the target dtype. The case copies the source as it lies and transposed, because strides have their own kernels. The results must be
// exact, because conversions round once on both sides.
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

static heed_status fill_setup(case_env *env, const heed_case *c) {
  return case_output(env, "y", c->dtype, c->u.rows.rank, c->u.rows.dims, 0);
}
// Copies the left half of the columns again, with strides.
static heed_status fill_run(case_env *env, const heed_case *c) {
  heed_tensor *half;
  TRY(heed_fill(case_get(env, "y"), 3));
  TRY(heed_tensor_slice(case_get(env, "y"), 1, 0, (c->u.rows.dims[1] + 1) / 2, &half));
  heed_status status = heed_fill(half, -2);
  heed_tensor_destroy(half);
  return status;
}

// ---------------------------------------------------------------- shapes

static const rows_shape shapes[] = {
    {3, {3, 7, 33}, 0, false, CASE_NORMAL}, {4, {2, 3, 5, 8}, 0, false, CASE_NORMAL},
    {2, {600, 70}, 0, false, CASE_NORMAL},  {1, {40000}, 0, false, CASE_NORMAL},
    {2, {1030, 3}, 0, false, CASE_NORMAL},  {4, {2, 300, 3, 2}, 0, false, CASE_NORMAL},
};
static void add_broadcast(case_list *list, const case_family *family) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int form = LAST_AXIS; form < FORMS; ++form)
      for (int dtype = 0; dtype < CASE_FLOATS; ++dtype) {
        char name[32];
        snprintf(name, sizeof name, "%s_%zu", family->op, i);
        case_add_rows(list, family, name, shapes[i], dtype, form, dtype || i > 2 ? 1 : 0);
      }
}
static void add_cases(case_list *list) {
  case_add_elements(list, &add_family);
  add_broadcast(list, &add_family);
}
static void add_tiny(case_list *list) {
  for (int form = SAME; form < FORMS; ++form) case_add_tiny_elements(list, &add_family, form);
}
static void mul_cases(case_list *list) {
  case_add_elements(list, &mul_family);
  add_broadcast(list, &mul_family);
}
static void mul_tiny(case_list *list) {
  for (int form = SAME; form < FORMS; ++form) case_add_tiny_elements(list, &mul_family, form);
}
static void reduce_cases(case_list *list) {
  case_add_elements(list, &reduce_sum_family);
  add_broadcast(list, &reduce_sum_family);
}
// Nothing summed, rows, columns, both; and pieces.
static void reduce_tiny(case_list *list) {
  for (int form = SAME; form < FORMS; ++form) case_add_tiny_elements(list, &reduce_sum_family, form);
  case_add_rows(list, &reduce_sum_family, "reduce_sum", (rows_shape){2, {300, 2}, 0, false, CASE_NORMAL}, 0,
                LEADING_AXES, 0);
}
static void fill_cases(case_list *list) { case_add_elements(list, &fill_family); }
static void fill_tiny(case_list *list) { case_add_tiny_elements(list, &fill_family, 0); }

// Each target dtype is a program of its own, so --quick has three of them.
static void copy_cases(case_list *list) {
  for (size_t i = 0; i < CASE_SIZES; ++i)
    for (int dtype = 0; dtype < 3; ++dtype)
      for (int to = 0; heed_dtype_size((heed_dtype)to) > 0; ++to) {
        const bool core = i == 2 && (to == HEED_F32 || to == HEED_F16 || to == HEED_I32);
        const rows_shape s = {2, {case_sizes[i][0], case_sizes[i][1]}, 0, false, CASE_NORMAL};
        case_add_rows(list, &copy_family, "copy", s, dtype, to, core && dtype == 0 ? 0 : 1);
      }
}
static void copy_tiny(case_list *list) {
  case_add_tiny_elements(list, &copy_family, HEED_F32);
  case_add_tiny_elements(list, &copy_family, HEED_F16);
}

const case_family add_family = {.op = "add", .setup = add_setup, .run = add_run, .cases = add_cases, .tiny = add_tiny};
const case_family mul_family = {.op = "mul", .setup = add_setup, .run = mul_run, .cases = mul_cases, .tiny = mul_tiny};
const case_family reduce_sum_family = {
    .op = "reduce_sum", .setup = reduce_setup, .run = reduce_run, .cases = reduce_cases, .tiny = reduce_tiny};
const case_family copy_family = {
    .op = "copy", .setup = copy_setup, .run = copy_run, .cases = copy_cases, .tiny = copy_tiny};
const case_family fill_family = {
    .op = "fill", .setup = fill_setup, .run = fill_run, .cases = fill_cases, .tiny = fill_tiny};
