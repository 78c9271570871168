// The runs that fault_program.c makes fail: what heed's users do, each a function of a context that leaves numbers behind.
#ifndef FAULT_PROGRAM_H
#define FAULT_PROGRAM_H

#include <heed/heed.h>

enum { FAULT_MAX_VALUES = 1 << 16 };

struct fault_values {
  float values[FAULT_MAX_VALUES];
  int64_t count;
  const char *broken;  // a promise of the library that was not kept; NULL: none
};

struct fault_scenario {
  const char *name;
  heed_open_options options;
  heed_status (*work)(heed_context *ctx, struct fault_values *values);  // NULL: lists the devices, opens none
  const char *case_op;                                                  // work on the first tiny case of this family
  heed_dtype dtype;  // of the numbers, by which they are compared; default: F32
  bool own_objects;  // opened on OpenCL objects of the program's own
  bool cold_cache;   // the folder "cold" is removed before each run
  bool writes_file;  // "out.safetensors"
};

extern const struct fault_scenario fault_scenarios[];  // ends with a NULL name
// In fault_training.c.
heed_status fault_work_train(heed_context *ctx, struct fault_values *values);
heed_status fault_work_gpt2(heed_context *ctx, struct fault_values *values);
heed_status fault_work_llama(heed_context *ctx, struct fault_values *values);
// For the scenarios with a case_op, and for the listing of devices.
heed_status fault_work_case(heed_context *ctx, const char *op, struct fault_values *values);
heed_status fault_work_list(struct fault_values *values);
heed_status fault_open(const struct fault_scenario *scenario, heed_context **out);
// Before the first failure: what fault_open gives to scenarios with own_objects, and the table of cases.
bool fault_prepare(void);

// Records a pointer that a failing call left behind. out: where the pointer is.
heed_status fault_made(struct fault_values *values, heed_status status, const void *out);
// A tensor of random numbers of this seed.
heed_status fault_create(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, uint64_t seed,
                         struct fault_values *values, heed_tensor **out);
// Adds a tensor's numbers to the values.
heed_status fault_keep(struct fault_values *values, const heed_tensor *tensor);

#endif
