// What `heed tune` tries: classes of calls, with examples, and how it checks and times a choice.
#ifndef HEED_TOOL_TUNE_H
#define HEED_TOOL_TUNE_H

#include <heed/tune.h>

#include "cases/case.h"
#include "cli/tool.h"

// A class, described by two of its calls: heed tunes for the first, and the second must not become slower.
typedef struct tune_class {
  heed_tune_op op;
  bool ta, tb, causal;
  int64_t first[HEED_TUNE_SIZES], second[HEED_TUNE_SIZES];  // as heed_tune_problem.sizes
} tune_class;
extern const tune_class tune_classes[];
extern const size_t tune_class_count;

heed_tune_problem tune_problem(const tune_class *class, const int64_t *sizes);
heed_case tune_case(const tune_class *class, const int64_t *sizes);
// A small call for comparing a choice with the host.
heed_case tune_small_case(const tune_class *class);
// Writes "gemm 4096x512x512 NT" into text of TUNE_NAME bytes; returns text.
enum { TUNE_NAME = 64 };
const char *tune_name(const tune_class *class, char *text);

// One call on the device, with the results of heed's own choice to compare others with.
typedef struct tune_bench {
  heed_context *ctx;
  const tune_class *class;
  heed_case timed, whole;  // whole: timed, with the forward that a backward needs
  case_env env;
  heed_tensor *expected[CASE_MAX_TENSORS];
  int64_t inner;  // runs per sample
} tune_bench;
heed_status tune_bench_open(tune_bench *bench, heed_context *ctx, const tune_class *class, const int64_t *sizes);
void tune_bench_close(tune_bench *bench);

// Tells whether a choice computes correctly: a small call like the host, this call like heed's own choice. Empty `why`: yes. An error of
// the device is a reason like any other.
enum { TUNE_WHY = 320 };
void tune_check(tune_bench *bench, heed_context *host, const char *choice, char why[TUNE_WHY]);
// Measures the time of `choice` divided by that of `reference`: the median over rounds that time one after the other, and the medians of
// both. It gives up a choice early that is clearly slower, and makes fewer rounds past the deadline (as tool_seconds()). Errors: the
// device's.
typedef struct tune_timing {
  double ratio, reference_ms, ms;
  bool sure;  // most rounds agree on which is faster
} tune_timing;
heed_status tune_time(tune_bench *bench, const char *reference, const char *choice, int rounds, double deadline,
                      tune_timing *timing);

#endif
