// The list of all cases, from the lists of all families, and what families of rows and of elements share.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases/case.h"

#define ENTRY(name) &name##_family,
const case_family *const case_families[] = {CASE_FAMILIES(ENTRY) NULL};
#undef ENTRY

const heed_dtype case_floats[CASE_FLOATS] = {HEED_F32, HEED_F16, HEED_BF16};
const char *const case_suffixes[CASE_FLOATS] = {"", "_f16", "_bf16"};
const int64_t case_sizes[CASE_SIZES][2] = {{1, 1}, {3, 5}, {17, 31}, {64, 129}, {1, 4097}};

heed_case *case_append(case_list *list, const case_family *family, heed_dtype dtype, int level) {
  if (list->count == list->capacity) {
    const size_t capacity = list->capacity ? 2 * list->capacity : 256;
    heed_case *grown = realloc(list->cases, capacity * sizeof *grown);
    if (!grown) {
      list->failed = true;
      return NULL;
    }
    list->cases = grown;
    list->capacity = capacity;
  }
  heed_case *c = &list->cases[list->count++];
  memset(c, 0, sizeof *c);
  c->family = family;
  c->dtype = dtype;
  c->level = level;
  return c;
}

void case_add_rows(case_list *list, const case_family *family, const char *what, rows_shape s, int dtype, int form,
                   int level) {
  heed_case *c = case_append(list, family, case_floats[dtype], level);
  if (!c) return;
  c->u.rows = s;
  c->form = form;
  CASE_NAME(c, "%s_%lldx%lld_%d%s", what, (long long)s.dims[0], (long long)s.dims[1], form, case_suffixes[dtype]);
}

void case_add_elements(case_list *list, const case_family *family) {
  for (size_t i = 0; i < CASE_SIZES; ++i)
    for (int dtype = 0; dtype < CASE_FLOATS; ++dtype)
      case_add_rows(list, family, family->op,
                    (rows_shape){2, {case_sizes[i][0], case_sizes[i][1]}, 0, false, CASE_NORMAL}, dtype, 0,
                    dtype ? 1 : 0);
}

void case_add_tiny_elements(case_list *list, const case_family *family, int form) {
  for (int dtype = 0; dtype < CASE_FLOATS; dtype += 2)
    case_add_rows(list, family, family->op, (rows_shape){2, {3, 5}, 0, false, CASE_NORMAL}, dtype, form, 0);
}

bool case_any(const heed_case *c) {
  (void)c;
  return true;
}
bool case_has_plain_rows(const heed_case *c) { return c->u.rows.fill == CASE_NORMAL; }

static heed_status hand_out(case_list *list, heed_case **out, size_t *count) {
  *out = list->cases;
  *count = list->count;
  if (!list->failed) return HEED_OK;
  free(list->cases);
  *out = NULL;
  *count = 0;
  return HEED_ERROR_OUT_OF_MEMORY;
}

heed_status case_table(heed_case **out, size_t *count) {
  case_list list = {0};
  for (const case_family *const *family = case_families; *family; ++family) (*family)->cases(&list);
  return hand_out(&list, out, count);
}

heed_status case_tiny_table(heed_case **out, size_t *count) {
  case_list list = {0};
  for (const case_family *const *family = case_families; *family; ++family) (*family)->tiny(&list);
  for (size_t i = 0; i < list.count; ++i) {
    heed_case *c = &list.cases[i];
    memmove(c->name + 5, c->name, sizeof c->name - 5);
    memcpy(c->name, "tiny_", 5);
    c->name[sizeof c->name - 1] = 0;
  }
  return hand_out(&list, out, count);
}
