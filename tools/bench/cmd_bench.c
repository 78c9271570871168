// heed bench: times cases and compares them with the device's peak. tools/cases says what a case is.
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "cli/tool.h"

static const char command[] = "heed bench";

static const char *const dtypes[] = {"f32", "f16", "bf16", NULL};
static const char *const paths[] = {"auto", "staged", "fused", NULL};
static const char *const causals[] = {"none", "top-left", "bottom-right", NULL};
static const char *const masks[] = {"none", "keys", "square", "full", NULL};
static const char *const providers[] = {"auto", "native", "clblast", NULL};

static const tool_option options[] = {
    TOOL_OPTION_INTEGER("batch", bench_settings, batch, 1, TOOL_MAX_COUNT, "at least 1",
                        "batch (default 4; mlp 64, rope 8)"),
    TOOL_OPTION_INTEGER("heads", bench_settings, heads, 1, TOOL_MAX_COUNT, "at least 1",
                        "query heads (default 8; rope 12)"),
    TOOL_OPTION_INTEGER("kv-heads", bench_settings, kv_heads, 1, TOOL_MAX_COUNT, "at least 1",
                        "key and value heads (default --heads)"),
    TOOL_OPTION_INTEGER("seq", bench_settings, seq, 1, TOOL_MAX_COUNT, "at least 1", "queries (default 1024)"),
    TOOL_OPTION_INTEGER("kv-seq", bench_settings, kv_seq, 1, TOOL_MAX_COUNT, "at least 1", "keys (default --seq)"),
    TOOL_OPTION_INTEGER("dim", bench_settings, dim, 1, TOOL_MAX_COUNT, "at least 1", "width of a head (default 64)"),
    {.name = "causal",
     .kind = TOOL_CHOICE,
     .offset = offsetof(bench_settings, causal),
     .argument = "WHERE",
     .choices = causals,
     .when_bare = "top-left",
     .help = "causal mask: top-left or bottom-right"},
    TOOL_OPTION_CHOICE("mask", bench_settings, mask, masks, "KIND",
                       "boolean mask: keys [B,1,1,L], square [L,L], full [B,H,L,L]"),
    TOOL_OPTION_CHOICE("dtype", bench_settings, dtype, dtypes, "TYPE", "f32, f16 or bf16 (default f32)"),
    TOOL_OPTION_FLAG("backward", bench_settings, backward,
                     "attention: time only the backward; mha, cross_entropy: forward and backward"),
                     "attention, norms: time only the backward; mha: forward and backward"),
                     "time only the backward; mha, softmax: forward and backward"),
    TOOL_OPTION_CHOICE("path", bench_settings, path, paths, "PATH", "attention: auto, staged or fused"),
                     "attention: time only the backward; mha, softmax: forward and backward"),
    TOOL_OPTION_CHOICE("path", bench_settings, path, paths, "PATH", "attention, mha: auto, staged or fused"),
    TOOL_OPTION_INTEGER("m", bench_settings, m, 1, TOOL_MAX_COUNT, "at least 1", "gemm: rows of C (default 1024)"),
    TOOL_OPTION_INTEGER("n", bench_settings, n, 1, TOOL_MAX_COUNT, "at least 1", "gemm: columns of C (default 1024)"),
    TOOL_OPTION_INTEGER("k", bench_settings, k, 1, TOOL_MAX_COUNT, "at least 1", "gemm: length of sums (default 1024)"),
    TOOL_OPTION_FLAG("ta", bench_settings, ta, "gemm: A is transposed"),
    TOOL_OPTION_FLAG("tb", bench_settings, tb, "gemm: B is transposed"),
    TOOL_OPTION_CHOICE("provider", bench_settings, provider, providers, "NAME", "products: auto, native or clblast"),
    TOOL_OPTION_TEXT("sizes", bench_settings, sizes, "A,B,...", "mlp: layer sizes (default 784,512,10)"),
    TOOL_OPTION_INTEGER("rows", bench_settings, rows, 1, TOOL_MAX_COUNT, "at least 1",
                        "softmax: rows (default 32768); cross_entropy (default 1024)"),
    TOOL_OPTION_INTEGER("rows", bench_settings, rows, 1, TOOL_MAX_COUNT, "at least 1",
                        "softmax: rows (default 32768); norms: rows (default 8192)"),
    TOOL_OPTION_INTEGER(
        "width", bench_settings, width, 1, TOOL_MAX_COUNT, "at least 1",
        "norms: elements of a row (default 768); adamw: --rows times --width parameters (default 124M)"),
    TOOL_OPTION_INTEGER("rows", bench_settings, rows, 1, TOOL_MAX_COUNT, "at least 1",
                        "rows, or tokens (default 8192; softmax 32768)"),
    TOOL_OPTION_INTEGER("cols", bench_settings, cols, 1, TOOL_MAX_COUNT, "at least 1",
                        "softmax: columns (default 1024)"),
    TOOL_OPTION_INTEGER("vocab", bench_settings, vocab, 1, TOOL_MAX_COUNT, "at least 1",
                        "cross_entropy: classes (default 50257)"),
    TOOL_OPTION_INTEGER("width", bench_settings, width, 1, TOOL_MAX_COUNT, "at least 1",
                        "elements of a row (default 768; swiglu 2048)"),
    TOOL_OPTION_INTEGER("vocab", bench_settings, vocab, 1, TOOL_MAX_COUNT, "at least 1",
                        "embedding: rows of the table (default 50257)"),
    TOOL_OPTION_INTEGER("runs", bench_settings, runs, 1, 100000, "in 1..100000",
                        "timed runs (default: a second's worth)"),
    TOOL_OPTION_FLAG("compare", bench_settings, compare,
                     "also run the case on the CPU: print the errors and both times"),
    TOOL_OPTION_TEXT("plot", bench_settings, plot, "FILE", "draw a roofline plot; FILE ends in .svg or .png"),
    TOOL_OPTION_FLAG("json", bench_settings, json, "print one JSON object per case, each on one line"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed bench",
    .usage = "[peak|gemm|attention|mha|softmax|cross_entropy|mlp] [options]",
    .usage = "[peak|gemm|attention|mha|softmax|layer_norm|rms_norm|adamw|mlp] [options]",
    .usage = "[peak|gemm|attention|mha|softmax|mlp|embedding|rope|swiglu] [options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .max_operands = 1,
    .about =
        "Without an operand, heed prints a table of the usual cases. peak_fraction divides the rate of a case by the\n"
        "peak that heed measures right before and after it, as heed bench peak does: multiply-adds for products,\n"
        "copied bytes for the others. heed counts only the arithmetic that a causal mask or a window leaves.\n"
        "first_ms is the time of the first call, with the compilation of kernels.\n",
};

static void print_text(const bench_record *r) {
  printf("%-13s %-34s %-4s %9.3f %9.3f %9.3f %9.3f", r->op, r->shape_text, r->dtype, r->first_ms, r->median_ms,
         r->p10_ms, r->p90_ms);
  if (r->gflops > 0)
    printf(" %9.1f GFLOP/s", r->gflops);
  else
    printf(" %9.2f GB/s   ", r->gbytes_s);
  printf(" %5.2f\n", r->peak_fraction);
  fflush(stdout);
}

static void print_header(void) {
  printf("%-13s %-34s %-4s %9s %9s %9s %9s %17s %5s\n", "op", "shape", "type", "first ms", "median", "p10", "p90",
         "rate", "peak");
}

static void print_json(const bench_record *r, const heed_device_info *device) {
  json_error_t error;
  json_t *shape = json_loads(r->shape_json, 0, &error);
  json_t *root =
      json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "op", r->op, "shape",
                shape ? shape : json_object(), "dtype", r->dtype, "device", device->name, "driver", device->driver,
                "version", heed_version(), "runs", (json_int_t)r->runs, "first_ms", r->first_ms, "median_ms",
                r->median_ms, "p10_ms", r->p10_ms, "p90_ms", r->p90_ms, "device_ms", r->device_ms, "gflops", r->gflops,
                "gbytes_s", r->gbytes_s, "peak_fraction", r->peak_fraction);
  char *line = root ? json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
  if (line) printf("%s\n", line);
  free(line);
  json_decref(root);
  fflush(stdout);
}

static int show_peak(const bench_settings *s, const bench_peak *peak, const heed_device_info *device) {
  if (s->json) {
    json_t *root = json_pack("{s:s, s:{}, s:s, s:s, s:s, s:s, s:f, s:f}", "op", "peak", "shape", "dtype", "F32",
                             "device", device->name, "driver", device->driver, "version", heed_version(), "gflops",
                             peak->gflops, "gbytes_s", peak->gbytes_s);
    char *line = json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (line) printf("%s\n", line);
    free(line);
    json_decref(root);
  } else {
    printf("%s (driver %s)\npeak       multiply-add %.1f GFLOP/s, copy %.2f GB/s\n", device->name, device->driver,
           peak->gflops, peak->gbytes_s);
  }
  fflush(stdout);
  return TOOL_DONE;
}

static heed_status measure_peak(heed_context *ctx, bench_peak *peak) {
  return heed_measure_peak(ctx, (size_t)64 << 20, &peak->gflops, &peak->gbytes_s);
}

static bench_peak larger_of(bench_peak a, bench_peak b) {
  return (bench_peak){fmax(a.gflops, b.gflops), fmax(a.gbytes_s, b.gbytes_s)};
}

// A device's peak changes with its clock and with other work. So compare a case with the mean of the peaks measured right before and right
// after it.
static int bench_cases(const bench_settings *s, heed_context *ctx, const heed_case *cases, size_t count) {
  const heed_device_info *device = heed_context_device(ctx);
  bench_peak before, after, peak;
  TOOL_HEED(command, measure_peak(ctx, &before));
  peak = before;
  if (count == 0 || !s->json) show_peak(s, &peak, device);
  bench_record records[BENCH_MAX_CASES];
  if (count && !s->json) print_header();
  for (size_t i = 0; i < count; ++i) {
    TOOL_HEED(command, bench_run(&cases[i], ctx, s->runs, &records[i]));
    TOOL_HEED(command, measure_peak(ctx, &after));
    bench_set_fraction(&records[i],
                       (bench_peak){(before.gflops + after.gflops) / 2, (before.gbytes_s + after.gbytes_s) / 2});
    peak = larger_of(peak, after);
    before = after;
    if (s->json)
      print_json(&records[i], device);
    else
      print_text(&records[i]);
  }
  if (s->plot) TOOL_TRY(bench_plot_write(command, s->plot, device, &peak, records, count));
  return tool_flush(command, TOOL_DONE);
}

static int compare_cases(heed_context *ctx, const heed_case *cases, size_t count) {
  heed_context *host;
  TOOL_HEED(command, heed_open("host", &host));
  int status = TOOL_DONE;
  for (size_t i = 0; i < count && status != TOOL_FAILED; ++i) {
    bench_comparison r;
    const heed_status compared = bench_compare(&cases[i], ctx, host, &r);
    if (compared != HEED_OK) {
      status = tool_fail_status(command, compared);
      break;
    }
    printf("%s %s\n", r.op, r.shape_text);
    printf("  device  %9.1f ms   %s\n", r.device_ms, heed_context_device(ctx)->name);
    printf("  CPU     %9.1f ms   reference in double precision\n", r.host_ms);
    for (int t = 0; t < r.count; ++t) {
      printf("  %-16s relative error %.2e, tolerated %.0e  %s\n", r.outputs[t].name, r.outputs[t].relative,
             r.outputs[t].tolerance, r.outputs[t].passed ? "ok" : "FAILED");
      if (!r.outputs[t].passed) status = TOOL_FAILED;
    }
  }
  heed_context_destroy(host);
  return tool_flush(command, status);
}

static bool is_among(const char *name, const char *const *names) {
  while (*names && strcmp(*names, name) != 0) names++;
  return *names != NULL;
}

// An option that the operand does not take would be ignored, and the numbers be those of another case than the user meant.
static int refuse_others(const tool_args *args, const char *op) {
  static const char *const of_all[] = {"plot", "json", NULL};
  const char *const *takes = bench_options(op);
  for (size_t i = 0; i < sizeof options / sizeof *options; ++i) {
    const char *name = options[i].name;
    if (!tool_given(args, name) || is_among(name, of_all) || is_among(name, takes)) continue;
    char list[256] = "";
    for (size_t used = 0; *takes && used < sizeof list; ++takes)
      used += (size_t)snprintf(list + used, sizeof list - used, " --%s", *takes);
    return tool_usage(command, "%s takes no --%s; it takes%s --plot --json", op ? op : "the table of the usual cases",
                      name, list);
  }
  return TOOL_DONE;
}

static int bench(const tool_args *args, const bench_settings *s) {
  heed_case cases[BENCH_MAX_CASES];
  size_t count = 0;
  if (s->compare && (s->json || args->operand_count == 0))
    return tool_usage(command, "--compare needs an operand and excludes --json; for JSON use heed check --json");
  const char *op = args->operand_count ? args->operands[0] : NULL;
  const char *problem = bench_select(op, s, cases, &count);
  if (problem) return tool_usage(command, "%s", problem);
  TOOL_TRY(refuse_others(args, op));
  if (s->compare && tool_given(args, "runs"))
    return tool_usage(command, "--runs and --compare exclude each other: --compare times only one run");
  if (s->compare && s->plot)
    return tool_usage(command, "--plot and --compare exclude each other: --compare times only one run");
  if (s->plot) TOOL_TRY(bench_plot_check(command, s->plot));
  // The library reads the provider from the environment, as it does for every subcommand.
  if (tool_given(args, "provider") && setenv("HEED_GEMM", providers[s->provider], 1) != 0)
    return tool_fail(command, "cannot set HEED_GEMM");
  heed_context *ctx;
  TOOL_TRY(tool_open(args, true, &ctx));
  const int status = s->compare ? compare_cases(ctx, cases, count) : bench_cases(s, ctx, cases, count);
  heed_context_destroy(ctx);
  return status;
}

int cmd_bench(int argc, const char **argv) {
  bench_settings settings = {0};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  args.diagnoses = true;
  if (status == TOOL_PROCEED) status = bench(&args, &settings);
  tool_args_free(&args);
  return status;
}
