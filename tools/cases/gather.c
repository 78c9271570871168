// gather_rows as cases.
#include <stdlib.h>

#include "cases/case.h"

// form: the dtype of the table. dims: rows of the table, width, rows to gather.
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

static void gather_cases(case_list *list) {
  for (size_t i = 0; i < CASE_SIZES; ++i)
    for (int dtype = 0; dtype < 3; ++dtype) {
      const int64_t rows = case_sizes[i][0];
      const rows_shape s = {3, {rows, case_sizes[i][1], 2 * rows + 1}, 0, false, CASE_NORMAL};
      const int level = dtype ? 1 : 0;
      case_add_rows(list, &gather_rows_family, "gather", s, dtype, HEED_U8, i ? level : 1);
      case_add_rows(list, &gather_rows_family, "gather", s, dtype, case_floats[dtype], level);
    }
}
static void gather_tiny(case_list *list) {
  case_add_rows(list, &gather_rows_family, "gather", (rows_shape){3, {3, 5, 4}, 0, false, CASE_NORMAL}, 0, HEED_F32, 0);
}

const case_family gather_rows_family = {
    .op = "gather_rows", .setup = gather_setup, .run = gather_run, .cases = gather_cases, .tiny = gather_tiny};
