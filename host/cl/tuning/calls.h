// heed/tune.h on an OpenCL context: host/api calls these functions after it has checked the arguments.
#ifndef HEED__TUNING_CALLS_H
#define HEED__TUNING_CALLS_H

#include <heed/tune.h>

void heed__cl_tuning_get(heed_context *ctx, const heed_tune_problem *problem, heed_tune_choice *choice);
heed_status heed__cl_tuning_enter(heed_context *ctx, const heed_tune_problem *problem, const char *choice,
                                  double speedup);
heed_status heed__cl_tuning_force(heed_context *ctx, heed_tune_op op, const char *choice);
heed_status heed__cl_tuning_neighbours(heed_context *ctx, const heed_tune_problem *problem, const char *choice,
                                       heed_tune_choice *neighbours, size_t room, size_t *count);
const char *heed__cl_tuning_path(const heed_context *ctx);
heed_status heed__cl_tuning_load(heed_context *ctx, const char *path);

#endif
