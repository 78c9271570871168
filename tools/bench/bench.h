// What `heed bench` measures: which cases, how it times them, and what it prints about each.
#ifndef HEED_BENCH_H
#define HEED_BENCH_H

#include "cases/case.h"
#include "cli/tool.h"

typedef struct bench_settings {
  int64_t batch, heads, kv_heads, seq, kv_seq, dim, m, n, k, rows, cols, width, vocab, runs;
  int64_t layers, context, past;
  int causal, mask, dtype, path, provider, arch;  // indices into their choices; the enums of heed.h have the same order
  bool backward, ta, tb, compare;
  const char *sizes, *plot;
} bench_settings;

enum { BENCH_MAX_CASES = 64 };

// Makes the cases that an operand (NULL: the usual table) and options name. Returns NULL, or what is wrong with them.
const char *bench_select(const char *op, const bench_settings *settings, heed_case cases[BENCH_MAX_CASES],
                         size_t *count);
extern const char *const bench_operands[];  // up to NULL
// The options that an operand (NULL: the usual table) takes beside --plot, which all take; up to NULL.
const char *const *bench_options(const char *op);

typedef struct bench_peak {
  double gflops, gbytes_s;
} bench_peak;

typedef struct bench_record {
  const char *op, *dtype;
  char shape_text[96], shape_json[256];
  int64_t runs;
  double first_ms, median_ms, p10_ms, p90_ms;
  double device_ms;  // median of the kernels' own time from events, 0 where the device records none
  double gflops, gbytes_s, peak_fraction;
  double flops, bytes;  // of one run, for the plot: softmax has flops here, though it is memory work
  bool is_memory_work;  // compare it with the copy rate
} bench_record;
// Writes operator, dtype and shape into the record.
void bench_describe(const heed_case *c, bench_record *record);

typedef struct bench_watch {
  const volatile sig_atomic_t *interrupted;
  tool_progress *progress;
} bench_watch;
// Times one case, without its peak_fraction. runs 0: as many as take about a second, at least 5. Once *interrupted is set it stops, and
// record->runs stays 0. Errors: those of the case.
heed_status bench_run(const heed_case *c, heed_context *ctx, int64_t runs, const bench_watch *watch,
                      bench_record *record);
void bench_set_fraction(bench_record *record, bench_peak peak);

// A case that ran on a device and on the host: the time of each (the device's after a warm-up), and how every output differs.
typedef struct bench_comparison {
  const char *op, *dtype;
  char shape_text[96], shape_json[256];
  double device_ms, host_ms;
  int count;
  struct {
    char name[32];
    double relative, tolerance;
    bool passed;
  } outputs[CASE_MAX_TENSORS];
} bench_comparison;
heed_status bench_compare(const heed_case *c, heed_context *device, heed_context *host, bench_comparison *comparison);

// A roofline plot in a .svg or .png file, or on stdout: svg:- or png:-. Both return TOOL_DONE, or say what is wrong and return the status to leave with.
// Checks that a plot can be written to `path`, so that no measurement is made in vain.
int bench_plot_check(const char *command, const char *path);
int bench_plot_write(const char *command, const char *path, const heed_device_info *device, const bench_peak *peak,
                     const bench_record *records, size_t count);

#endif
