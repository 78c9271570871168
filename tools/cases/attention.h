// The shapes of attention cases. attention.c makes and runs the cases.
#ifndef HEED_CASES_ATTENTION_H
#define HEED_CASES_ATTENTION_H

#include "cases/case.h"

void attention_cases(case_list *list);
void attention_tiny(case_list *list);

#endif
