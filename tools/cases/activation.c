// Activations as cases, forward and backward.
#include "cases/case.h"

static heed_status activation_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, s->rank, s->dims, s->fill, 3));
  TRY(case_input(env, "dy", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  TRY(case_output(env, "y", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false)));
  // The gradient of relu only selects.
  return case_output(env, "dx", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, c->family != &relu_family));
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
static heed_status silu_run(case_env *env, const heed_case *c) {
  (void)c;
  TRY(heed_silu_fwd(case_get(env, "x"), case_get(env, "y")));
  return heed_silu_bwd(case_get(env, "x"), case_get(env, "dy"), case_get(env, "dx"));
}

static heed_status swiglu_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "gate", c->dtype, s->rank, s->dims, s->fill, 3));
  TRY(case_input(env, "up", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  if (c->phase != CASE_BACKWARD)
    TRY(case_output(env, "y", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false)));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  TRY(case_input(env, "dy", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  TRY(case_output(env, "dgate", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, true)));
  return case_output(env, "dup", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, true));
}
static heed_status swiglu_run(case_env *env, const heed_case *c) {
  const heed_tensor *gate = case_get(env, "gate"), *up = case_get(env, "up");
  if (c->phase != CASE_BACKWARD) TRY(heed_swiglu_fwd(gate, up, case_get(env, "y")));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  return heed_swiglu_bwd(gate, up, case_get(env, "dy"), case_get(env, "dgate"), case_get(env, "dup"));
}
static double swiglu_bytes(const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  const double once = (double)s->dims[0] * (double)s->dims[1] * (double)heed_dtype_size(c->dtype);
  return (c->phase == CASE_FORWARD ? 3 : c->phase == CASE_BACKWARD ? 5 : 8) * once;
}

// form: how many elements came before.
static heed_status dropout_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, s->rank, s->dims, s->fill, 1));
  TRY(case_input(env, "dy", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  TRY(case_output(env, "y", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false)));
  return case_output(env, "dx", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false));
}
static heed_status dropout_run(case_env *env, const heed_case *c) {
  const heed_dropout_options options = {.p = 0.3, .seed = 0x123456789abcdef, .offset = (uint64_t)c->form};
  TRY(heed_dropout_fwd(case_get(env, "x"), &options, case_get(env, "y")));
  return heed_dropout_bwd(case_get(env, "dy"), &options, case_get(env, "dx"));
}

// ---------------------------------------------------------------- shapes

static void relu_cases(case_list *list) { case_add_elements(list, &relu_family); }
static void relu_tiny(case_list *list) { case_add_tiny_elements(list, &relu_family, 0); }

static void gelu_cases(case_list *list) {
  for (size_t i = 0; i < CASE_SIZES; ++i)
    for (int dtype = 0; dtype < 3; ++dtype) {
      const rows_shape s = {2, {case_sizes[i][0], case_sizes[i][1]}, 0, false, CASE_NORMAL};
      const int level = dtype ? 1 : 0;
      case_add_rows(list, &gelu_family, "gelu_erf", s, dtype, HEED_GELU_ERF, i ? level : 1);
      case_add_rows(list, &gelu_family, "gelu_tanh", s, dtype, HEED_GELU_TANH, level);
    }
  const rows_shape huge = {2, {9, 77}, 0, false, CASE_HUGE};
  case_add_rows(list, &gelu_family, "gelu_erf_huge", huge, 0, HEED_GELU_ERF, 0);
  case_add_rows(list, &gelu_family, "gelu_tanh_huge", huge, 0, HEED_GELU_TANH, 0);
}
static void gelu_tiny(case_list *list) {
  case_add_tiny_elements(list, &gelu_family, HEED_GELU_ERF);
  case_add_tiny_elements(list, &gelu_family, HEED_GELU_TANH);
}

// Plain sizes, and arguments near the ends of exp.
static void add_with_huge(case_list *list, const case_family *family) {
  case_add_elements(list, family);
  case_add_rows(list, family, family->op, (rows_shape){2, {9, 77}, 0, false, CASE_HUGE}, 0, 0, 0);
  case_add_rows(list, family, family->op, (rows_shape){2, {5, 63}, 0, false, CASE_OUTLIER}, 0, 0, 0);
  case_add_rows(list, family, family->op, (rows_shape){2, {5, 65}, 0, false, CASE_DENORMAL}, 0, 0, 0);
}
static void silu_cases(case_list *list) { add_with_huge(list, &silu_family); }
static void silu_tiny(case_list *list) { case_add_tiny_elements(list, &silu_family, 0); }
static void swiglu_cases(case_list *list) { add_with_huge(list, &swiglu_family); }
static void swiglu_tiny(case_list *list) { case_add_tiny_elements(list, &swiglu_family, 0); }

static void dropout_cases(case_list *list) {
  case_add_elements(list, &dropout_family);
  static const int before[] = {1, 15, 63, 64, 1000};
  for (int i = 0; i < 5; ++i)
    for (int dtype = 0; dtype < CASE_FLOATS; ++dtype)
      case_add_rows(list, &dropout_family, "dropout", (rows_shape){2, {9, 29}, 0, false, CASE_NORMAL}, dtype, before[i],
                    dtype ? 1 : 0);
}
static void dropout_tiny(case_list *list) { case_add_tiny_elements(list, &dropout_family, 55); }

const case_family relu_family = {
    .op = "relu",
    .setup = activation_setup,
    .run = relu_run,
    .cases = relu_cases,
    .tiny = relu_tiny,
    .has_gradient = case_has_plain_rows,
    .has_kink = true,
};
const case_family gelu_family = {
    .op = "gelu",
    .setup = activation_setup,
    .run = gelu_run,
    .cases = gelu_cases,
    .tiny = gelu_tiny,
    .has_gradient = case_has_plain_rows,
};
const case_family silu_family = {
    .op = "silu",
    .setup = activation_setup,
    .run = silu_run,
    .cases = silu_cases,
    .tiny = silu_tiny,
    .has_gradient = case_has_plain_rows,
};
const case_family swiglu_family = {
    .op = "swiglu",
    .setup = swiglu_setup,
    .run = swiglu_run,
    .bytes = swiglu_bytes,
    .cases = swiglu_cases,
    .tiny = swiglu_tiny,
    .has_gradient = case_has_plain_rows,
};
const case_family dropout_family = {
    .op = "dropout",
    .setup = dropout_setup,
    .run = dropout_run,
    .cases = dropout_cases,
    .tiny = dropout_tiny,
    .has_gradient = case_has_plain_rows,
};
