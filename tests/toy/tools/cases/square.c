// square as cases.
#include "cases/case.h"

static heed_status setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, s->rank, s->dims, s->fill, 1));
  TRY(case_input(env, "dy", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  TRY(case_output(env, "y", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false)));
  return case_output(env, "dx", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, true));
}

static heed_status run(case_env *env, const heed_case *c) {
  (void)c;
  TRY(heed_square_fwd(case_get(env, "x"), case_get(env, "y")));
  return heed_square_bwd(case_get(env, "x"), case_get(env, "dy"), case_get(env, "dx"));
}

static void cases(case_list *list) { case_add_elements(list, &square_family); }
static void tiny(case_list *list) { case_add_tiny_elements(list, &square_family, 0); }

const case_family square_family = {
    .op = "square", .setup = setup, .run = run, .cases = cases, .tiny = tiny, .has_gradient = case_has_plain_rows};
