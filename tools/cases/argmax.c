// argmax as cases.
#include "cases/case.h"

static heed_status argmax_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, 2, s->dims, s->fill, 1));
  return case_output(env, "y", HEED_I32, 1, DIMS(s->dims[0]), 0);
}
static heed_status argmax_run(case_env *env, const heed_case *c) {
  (void)c;
  return heed_argmax(case_get(env, "x"), case_get(env, "y"));
}

static void argmax_cases(case_list *list) { case_add_elements(list, &argmax_family); }
static void argmax_tiny(case_list *list) { case_add_tiny_elements(list, &argmax_family, 0); }

const case_family argmax_family = {
    .op = "argmax", .setup = argmax_setup, .run = argmax_run, .cases = argmax_cases, .tiny = argmax_tiny};
