// What `heed check` prints about each operator at the end: how many cases, how many failed, and which came closest to its tolerance.
#ifndef HEED_CHECK_SUMMARY_H
#define HEED_CHECK_SUMMARY_H

#include "cases/case.h"

typedef struct check_operator {
  char op[40];
  size_t cases, failed, with_nan;
  double relative, used;  // the worst case's error, and the share of its tolerance that it uses
  bool is_unmeasured;     // the worst case failed without a result: a crash, a refusal
  char worst[96];
} check_operator;

typedef struct check_summary {
  check_operator *operators;  // in the order in which they came
  size_t count, capacity;
} check_summary;

// Adds one case's outcome. Returns false if memory ran out; then the case is not counted.
bool check_summary_add(check_summary *summary, const char *op, const char *case_name, const case_result *result);
void check_summary_free(check_summary *summary);

#endif
