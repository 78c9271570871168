// heed bench: times cases and compares them with the device's peak. tools/cases says what a case is.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "cli/json.h"
#include "cli/table.h"

static const char command[] = "heed bench";

static const char *const dtypes[] = {"f32", "f16", "bf16", NULL};
static const char *const paths[] = {"auto", "staged", "fused", NULL};
static const char *const causals[] = {"none", "top-left", "bottom-right", NULL};
static const char *const masks[] = {"none", "keys", "square", "full", NULL};
static const char *const architectures[] = {"gpt2", "llama", "mistral", "qwen2", NULL};
static const char *const providers[] = {"auto", "native", "clblast", NULL};

static const tool_option options[] = {
    TOOL_OPTION_INTEGER("batch", bench_settings, batch, 1, TOOL_MAX_COUNT, "at least 1",
                        "batch (default 4; mlp 64, rope and transformer 8, decode 1)"),
    TOOL_OPTION_INTEGER("heads", bench_settings, heads, 1, TOOL_MAX_COUNT, "at least 1",
                        "query heads (default 8; rope 12, transformer 6)"),
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
                     "time only the backward; mha, softmax, cross_entropy: forward and backward"),
    TOOL_OPTION_CHOICE("path", bench_settings, path, paths, "PATH", "attention, mha: auto, staged or fused"),
    TOOL_OPTION_INTEGER("m", bench_settings, m, 1, TOOL_MAX_COUNT, "at least 1", "gemm: rows of C (default 1024)"),
    TOOL_OPTION_INTEGER("n", bench_settings, n, 1, TOOL_MAX_COUNT, "at least 1", "gemm: columns of C (default 1024)"),
    TOOL_OPTION_INTEGER("k", bench_settings, k, 1, TOOL_MAX_COUNT, "at least 1", "gemm: length of sums (default 1024)"),
    TOOL_OPTION_FLAG("ta", bench_settings, ta, "gemm: A is transposed"),
    TOOL_OPTION_FLAG("tb", bench_settings, tb, "gemm: B is transposed"),
    TOOL_OPTION_CHOICE("provider", bench_settings, provider, providers, "NAME", "products: auto, native or clblast"),
    TOOL_OPTION_TEXT("sizes", bench_settings, sizes, "A,B,...", "mlp: layer sizes (default 784,512,10)"),
    TOOL_OPTION_INTEGER("rows", bench_settings, rows, 1, TOOL_MAX_COUNT, "at least 1",
                        "rows, or tokens (default 8192; softmax 32768, cross_entropy 1024)"),
    TOOL_OPTION_INTEGER("cols", bench_settings, cols, 1, TOOL_MAX_COUNT, "at least 1",
                        "softmax: columns (default 1024)"),
    TOOL_OPTION_INTEGER(
        "width", bench_settings, width, 1, TOOL_MAX_COUNT, "at least 1",
        "elements of a row (default 768; swiglu 2048, transformer 384); adamw: --rows times --width parameters "
        "(default 124M)"),
    TOOL_OPTION_INTEGER("vocab", bench_settings, vocab, 1, TOOL_MAX_COUNT, "at least 1",
                        "embedding: rows of the table; cross_entropy: classes (default 50257; transformer 65)"),
    TOOL_OPTION_CHOICE("arch", bench_settings, arch, architectures, "NAME",
                       "transformer, decode: gpt2, llama, mistral or qwen2 (default gpt2)"),
    TOOL_OPTION_INTEGER("layers", bench_settings, layers, 1, TOOL_MAX_COUNT, "at least 1", "blocks (default 6)"),
    TOOL_OPTION_INTEGER("context", bench_settings, context, 1, TOOL_MAX_COUNT, "at least 1",
                        "tokens of a text (default 256)"),
    TOOL_OPTION_INTEGER("past", bench_settings, past, 0, TOOL_MAX_COUNT, "at least 0",
                        "decode: tokens in the cache (default --context - 1)"),
    TOOL_OPTION_INTEGER("runs", bench_settings, runs, 1, 100000, "in 1..100000",
                        "timed runs (default: a second's worth)"),
    TOOL_OPTION_FLAG("compare", bench_settings, compare,
                     "also run the case on the CPU: print the errors and both times"),
    TOOL_OPTION_TEXT("plot", bench_settings, plot, "FILE",
                     "draw a roofline plot; FILE ends in .svg or .png, or is svg:- or png:- for standard output"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed bench",
    .usage = "[OPERAND] [options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .max_operands = 1,
    .operands = bench_operands,
    .about =
        "Without an operand, heed prints a table of the usual cases. peak_fraction\n"
        "divides the rate of a case by the peak that heed measures right before and after\n"
        "it, as heed bench peak does: multiply-adds for products, copied bytes for the\n"
        "others. heed counts only the arithmetic that a causal mask or a window leaves.\n"
        "first_ms is the time of the first call, with the compilation of kernels.\n",
};

enum { COLUMNS = 9 };
static const tool_column columns[COLUMNS] = {
    {.title = "op", .width = 13},
    {.title = "shape", .width = 34, .least = 14, .before = 1},
    {.title = "type", .width = 4, .before = 1, .drop = 1},
    {.title = "first ms", .width = 9, .before = 1, .right = true, .drop = 4},
    {.title = "median", .width = 9, .before = 1, .right = true},
    {.title = "p10", .width = 9, .before = 1, .right = true, .drop = 6},
    {.title = "p90", .width = 9, .before = 1, .right = true, .drop = 5},
    {.title = "rate", .width = 17, .before = 1, .right = true, .drop = 2},
    {.title = "peak", .width = 5, .before = 1, .right = true, .drop = 3},
};

// What is measured, and how it is printed.
typedef struct bench_run_of {
  const tool_args *args;
  const bench_settings *settings;
  heed_context *ctx;
  tool_table table;
  bool silent;  // the plot is on stdout
} bench_run_of;

static void print_text(const bench_run_of *b, const bench_record *r) {
  char cells[COLUMNS][32];
  const double ms[] = {r->first_ms, r->median_ms, r->p10_ms, r->p90_ms};
  for (int i = 0; i < 4; ++i) snprintf(cells[3 + i], sizeof cells[0], "%.3f", ms[i]);
  snprintf(cells[7], sizeof cells[0], r->gflops > 0 ? "%.1f GFLOP/s" : "%.2f GB/s   ",
           r->gflops > 0 ? r->gflops : r->gbytes_s);
  snprintf(cells[8], sizeof cells[0], "%.2f", r->peak_fraction);
  tool_table_row(&b->table, (const char *const[]){r->op, r->shape_text, r->dtype, cells[3], cells[4], cells[5],
                                                  cells[6], cells[7], cells[8]});
  tool_push();
}

static int print_json(const bench_run_of *b, const bench_record *r, double seconds) {
  json_error_t error;
  json_t *root = tool_json_start(b->args);
  tool_json_add(root, "op", json_string(r->op));
  tool_json_add(root, "shape", json_loads(r->shape_json, 0, &error));
  tool_json_add(root, "dtype", json_string(r->dtype));
  tool_json_device(root, heed_context_device(b->ctx));
  tool_json_add(root, "runs", json_integer(r->runs));
  tool_json_number(root, "first_ms", r->first_ms);
  tool_json_number(root, "median_ms", r->median_ms);
  tool_json_number(root, "p10_ms", r->p10_ms);
  tool_json_number(root, "p90_ms", r->p90_ms);
  tool_json_number(root, "device_ms", r->device_ms);
  tool_json_number(root, "gflops", r->gflops);
  tool_json_number(root, "gbytes_s", r->gbytes_s);
  tool_json_number(root, "peak_fraction", r->peak_fraction);
  tool_json_number(root, "seconds", seconds);
  tool_json_add(root, "ok", json_true());
  return tool_json_print(b->args, root, true);
}

static int show_peak(const bench_run_of *b, const bench_peak *peak) {
  const heed_device_info *device = heed_context_device(b->ctx);
  if (b->silent) return TOOL_DONE;
  if (!b->args->json) {
    tool_progress_clear(b->args->progress);
    printf("%s (driver %s)\npeak       multiply-add %.1f GFLOP/s, copy %.2f GB/s\n", device->name, device->driver,
           peak->gflops, peak->gbytes_s);
    tool_push();
    return TOOL_DONE;
  }
  json_t *root = tool_json_start(b->args);
  tool_json_add(root, "op", json_string("peak"));
  tool_json_add(root, "shape", json_object());
  tool_json_add(root, "dtype", json_string("F32"));
  tool_json_device(root, device);
  tool_json_number(root, "gflops", peak->gflops);
  tool_json_number(root, "gbytes_s", peak->gbytes_s);
  tool_json_number(root, "seconds", tool_seconds() - b->args->record->started);
  tool_json_add(root, "ok", json_true());
  return tool_json_print(b->args, root, true);
}

static heed_status measure_peak(const bench_run_of *b, bench_peak *peak) {
  tool_progress_show(b->args->progress, "measuring the peak of the device");
  return heed_measure_peak(b->ctx, (size_t)64 << 20, &peak->gflops, &peak->gbytes_s);
}

static bench_peak larger_of(bench_peak a, bench_peak b) {
  return (bench_peak){fmax(a.gflops, b.gflops), fmax(a.gbytes_s, b.gbytes_s)};
}

static int show_case(const bench_run_of *b, const bench_record *record, double seconds) {
  tool_progress_clear(b->args->progress);
  if (b->args->json) return print_json(b, record, seconds);
  if (!b->silent) print_text(b, record);
  return TOOL_DONE;
}

// A device's peak changes with its clock and with other work. So compare a case with the mean of the peaks measured right before and right
// after it. *done counts the cases that are measured and shown.
static int time_cases(const bench_run_of *b, const heed_case *cases, size_t count,
                      const volatile sig_atomic_t *interrupted, bench_peak *peak, bench_record *records, size_t *done) {
  const bench_watch watch = {.interrupted = interrupted, .progress = b->args->progress};
  bench_peak before, after;
  TOOL_HEED(command, measure_peak(b, &before));
  *peak = before;
  if (count == 0 || !b->args->json) TOOL_TRY(show_peak(b, peak));
  if (count && !b->args->json && !b->silent) tool_table_head(&b->table);
  for (size_t i = 0; i < count && !*interrupted; ++i) {
    const double started = tool_seconds();
    bench_record described;
    bench_describe(&cases[i], &described);
    tool_progress_count(b->args->progress, "case", (int64_t)i + 1, (int64_t)count);
    tool_progress_show(b->args->progress, "%s %s", described.op, described.shape_text);
    TOOL_HEED(command, bench_run(&cases[i], b->ctx, b->settings->runs, &watch, &records[i]));
    if (records[i].runs == 0) break;
    TOOL_HEED(command, measure_peak(b, &after));
    bench_set_fraction(&records[i],
                       (bench_peak){(before.gflops + after.gflops) / 2, (before.gbytes_s + after.gbytes_s) / 2});
    *peak = larger_of(*peak, after);
    before = after;
    TOOL_TRY(show_case(b, &records[i], tool_seconds() - started));
    *done = i + 1;
  }
  return TOOL_DONE;
}

static int bench_cases(bench_run_of *b, const heed_case *cases, size_t count) {
  const bench_settings *s = b->settings;
  bench_peak peak;
  bench_record records[BENCH_MAX_CASES];
  size_t done = 0;
  tool_table_start(&b->table, columns, COLUMNS, b->args->columns);
  const volatile sig_atomic_t *interrupted = tool_interrupt_start();
  int status = time_cases(b, cases, count, interrupted, &peak, records, &done);
  tool_interrupt_end();
  if (status == TOOL_DONE && done < count) {
    tool_say(command, "interrupted after %zu of %zu cases", done, count);
    status = TOOL_INTERRUPTED;
  }
  if (s->plot && (status == TOOL_DONE || (status == TOOL_INTERRUPTED && done > 0)))
    TOOL_TRY(bench_plot_write(command, s->plot, heed_context_device(b->ctx), &peak, records, done));
  return status;
}

static json_t *comparison_json(const tool_args *args, heed_context *ctx, const bench_comparison *r, bool ok) {
  json_error_t error;
  json_t *root = tool_json_start(args), *outputs = json_array();
  tool_json_add(root, "op", json_string(r->op));
  tool_json_add(root, "shape", json_loads(r->shape_json, 0, &error));
  tool_json_add(root, "dtype", json_string(r->dtype));
  tool_json_device(root, heed_context_device(ctx));
  tool_json_number(root, "device_ms", r->device_ms);
  tool_json_number(root, "host_ms", r->host_ms);
  for (int t = 0; t < r->count; ++t) {
    json_t *output = json_object();
    tool_json_add(output, "name", json_string(r->outputs[t].name));
    tool_json_number(output, "relative_error", r->outputs[t].relative);
    tool_json_number(output, "tolerance", r->outputs[t].tolerance);
    tool_json_add(output, "ok", json_boolean(r->outputs[t].passed));
    tool_json_append(outputs, output);
  }
  tool_json_add(root, "outputs", outputs);
  tool_json_number(root, "seconds", tool_seconds() - args->record->started);
  tool_json_add(root, "ok", json_boolean(ok));
  return root;
}

static void print_comparison(const heed_context *ctx, const bench_comparison *r) {
  printf("%s %s\n", r->op, r->shape_text);
  printf("  device  %9.1f ms   %s\n", r->device_ms, heed_context_device(ctx)->name);
  printf("  CPU     %9.1f ms   reference in double precision\n", r->host_ms);
  for (int t = 0; t < r->count; ++t)
    printf("  %-16s relative error %.2e, tolerated %.0e  %s\n", r->outputs[t].name, r->outputs[t].relative,
           r->outputs[t].tolerance, r->outputs[t].passed ? "ok" : "FAILED");
}

static int compare_case(const tool_args *args, heed_context *ctx, const heed_case *c) {
  heed_context *host;
  bench_comparison r;
  TOOL_HEED(command, heed_open("host", &host));
  tool_progress_show(args->progress, "comparing %s with the CPU", c->family->op);
  const heed_status compared = bench_compare(c, ctx, host, &r);
  const int failed = compared == HEED_OK ? TOOL_DONE : tool_fail_status(command, compared);
  heed_context_destroy(host);
  if (failed) return failed;
  tool_progress_clear(args->progress);
  bool ok = true;
  for (int t = 0; t < r.count; ++t) ok = ok && r.outputs[t].passed;
  if (args->json)
    TOOL_TRY(tool_json_print(args, comparison_json(args, ctx, &r, ok), true));
  else
    print_comparison(ctx, &r);
  return ok ? TOOL_DONE : TOOL_FAILED;
}

static bool is_among(const char *name, const char *const *names) {
  while (*names && strcmp(*names, name) != 0) names++;
  return *names != NULL;
}

// An option that the operand does not take would be ignored, and the numbers be those of another case than the user meant.
static int refuse_others(const tool_args *args, const char *op) {
  static const char *const of_all[] = {"plot", NULL};
  const char *const *takes = bench_options(op);
  for (size_t i = 0; i < sizeof options / sizeof *options; ++i) {
    const char *name = options[i].name;
    if (!tool_given(args, name) || is_among(name, of_all) || is_among(name, takes)) continue;
    char list[256] = "";
    for (size_t used = 0; *takes && used < sizeof list; ++takes)
      used += (size_t)snprintf(list + used, sizeof list - used, " --%s", *takes);
    return tool_usage(command, "%s takes no --%s; it takes%s --plot", op ? op : "the table of the usual cases", name,
                      list);
  }
  return TOOL_DONE;
}

// heed bench times any device, but a device that computes wrong has no times worth knowing.
static heed_status note_verdict(const tool_args *args, const heed_device_info *device) {
  heed_device_list *list;
  if (device->type == HEED_DEVICE_HOST) return HEED_OK;
  const heed_status status = heed_device_list_create(&list);
  if (status != HEED_OK) return status;
  for (size_t i = 0; i < heed_device_list_count(list); ++i) {
    const heed_device_info *listed = heed_device_list_get(list, i);
    if (listed->platform_index != device->platform_index || listed->device_index != device->device_index) continue;
    if (listed->self_test == HEED_SELF_TEST_FAILED)
      tool_note(args, "warning: this device has FAILED heed's self-test, these are times of wrong results: %s",
                listed->self_test_reason);
    else if (listed->self_test == HEED_SELF_TEST_UNTESTED)
      tool_note(args, "this device is untested; heed check --quick --device %d:%d tells whether its results are right",
                device->platform_index, device->device_index);
  }
  heed_device_list_destroy(list);
  return HEED_OK;
}

static int check_operand(const char *op, const char *problem) {
  for (const char *const *known = bench_operands; op && *known; known++)
    if (strcmp(*known, op) == 0) op = NULL;
  if (!op) return tool_usage(command, "%s", problem);
  const char *nearest = tool_nearest(op, bench_operands);
  if (nearest) return tool_usage(command, "unknown operand '%s'; did you mean '%s'?", op, nearest);
  return tool_usage(command, "unknown operand '%s'; %s", op, problem);
}

static int bench(const tool_args *args, const bench_settings *s) {
  heed_case cases[BENCH_MAX_CASES];
  size_t count = 0;
  if (s->compare && args->operand_count == 0) return tool_usage(command, "--compare needs an operand");
  const char *op = args->operand_count ? args->operands[0] : NULL;
  const char *problem = bench_select(op, s, cases, &count);
  if (problem) return check_operand(op, problem);
  TOOL_TRY(refuse_others(args, op));
  if (s->compare && tool_given(args, "runs"))
    return tool_usage(command, "--runs and --compare exclude each other: --compare times only one run");
  if (s->compare && s->plot)
    return tool_usage(command, "--plot and --compare exclude each other: --compare times only one run");
  const bool silent = s->plot && (strcmp(s->plot, "svg:-") == 0 || strcmp(s->plot, "png:-") == 0);
  if (silent && args->json) return tool_usage(command, "--plot %s and --json both write to standard output", s->plot);
  if (s->plot) TOOL_TRY(bench_plot_check(command, s->plot));
  // The library reads the provider from the environment, as it does for every subcommand.
  if (tool_given(args, "provider") && setenv("HEED_GEMM", providers[s->provider], 1) != 0)
    return tool_fail(command, "cannot set HEED_GEMM");
  heed_context *ctx;
  TOOL_TRY(tool_open(args, true, &ctx));
  bench_run_of run = {.args = args, .settings = s, .ctx = ctx, .silent = silent};
  const heed_status noted = note_verdict(args, heed_context_device(ctx));
  int status = noted == HEED_OK ? TOOL_DONE : tool_fail_status(command, noted);
  if (status == TOOL_DONE) status = s->compare ? compare_case(args, ctx, &cases[0]) : bench_cases(&run, cases, count);
  heed_context_destroy(ctx);
  return status;
}

int cmd_bench(int argc, const char **argv) {
  bench_settings settings = {0};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  args.diagnoses = true;
  if (status == TOOL_PROCEED) status = bench(&args, &settings);
  return tool_finish(&args, status);
}
