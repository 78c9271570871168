#include "check/summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static check_operator *operator_of(check_summary *summary, const char *op) {
  for (size_t i = 0; i < summary->count; ++i)
    if (strcmp(summary->operators[i].op, op) == 0) return &summary->operators[i];
  if (summary->count == summary->capacity) {
    const size_t capacity = summary->capacity ? 2 * summary->capacity : 32;
    check_operator *grown = realloc(summary->operators, capacity * sizeof *grown);
    if (!grown) return NULL;
    summary->operators = grown;
    summary->capacity = capacity;
  }
  check_operator *new = &summary->operators[summary->count++];
  *new = (check_operator){0};
  snprintf(new->op, sizeof new->op, "%s", op);
  return new;
}

bool check_summary_add(check_summary *summary, const char *op, const char *case_name, const case_result *result) {
  check_operator *of = operator_of(summary, op);
  if (!of) return false;
  of->cases += 1;
  of->failed += !result->passed;
  of->with_nan += result->has_nan;
  const bool is_unmeasured = !result->passed && !result->output[0];
  const double used = is_unmeasured           ? INFINITY
                      : result->tolerance > 0 ? result->relative / result->tolerance
                      : result->relative > 0  ? 1e300
                                              : 0;
  if (used <= of->used && of->worst[0]) return true;
  of->used = used;
  of->relative = result->relative;
  of->is_unmeasured = is_unmeasured;
  snprintf(of->worst, sizeof of->worst, is_unmeasured ? "%s" : "%s (%s)", case_name, result->output);
  return true;
}

void check_summary_free(check_summary *summary) {
  free(summary->operators);
  *summary = (check_summary){0};
}
