// An hour, or as many seconds as are asked for, of mixed work in one process: training steps, attention of ever other lengths and
// the cases of `heed check` on one context that lives through many rounds, and beside it the subcommands train, eval, run and check,
// which open their own. Then the context is closed and another one takes its place. What is resident in between has to stay what
// it was after the first lives, and no OpenCL object, which fault_shim counts, may be left. While a context lives PoCL keeps some
// metadata of each program that any context has built (LLVM's context is one for all), so that memory is looked at when none does.
// Usage: LD_PRELOAD=libfault_shim.so soak SECONDS DATA-FOLDER, in a folder for its files.
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <heed/io.h>

#include "cases/case.h"
#include "fault_shim.h"
#include "cli/tool.h"

enum { LIVES = 60, WARM = 3 };
enum { BATCH = 16, WIDTH = 64, CLASSES = 10, STEPS = 20, EVERY_CASE = 17, CASES_A_ROUND = 6, SAMPLES = 1 << 16 };
// What malloc's arenas and the driver's pools may still take between the first third and the last third of the lives.
static const double growth_most_mb = 8;

static const struct fault_shim *shim;
static const char *data;
static FILE *report;  // stdout is the subcommands'

struct soak {
  heed_context *ctx, *host;
  heed_mlp *mlp;
  heed_optimizer *optimizer;
  heed_tensor *x, *target, *logits, *loss;
  heed_case *cases;
  size_t case_count, at;
  uint64_t drawn;
  long steps, lived, checked, commands;  // lived: steps of this context
};

// Between two lives, when nothing is open.
struct sample {
  double rss_mb;
  int objects;  // buffers and programs
};
static struct sample samples[SAMPLES];
static size_t sample_count;

// ---------------------------------------------------------------- on the context that stays

static heed_status set_up_training(struct soak *s) {
  const heed_parameter *parameters;
  const heed_optimizer_config sgd = {.sgd = {.lr = 0.05, .momentum = 0.5}};
  uint8_t labels[BATCH];
  for (int i = 0; i < BATCH; ++i) labels[i] = (uint8_t)(i % CLASSES);
  TRY(heed_mlp_create(s->ctx, &(heed_mlp_config){.sizes = DIMS(WIDTH, 48, CLASSES), .count = 3}, 1, &s->mlp));
  const size_t count = heed_mlp_parameters(s->mlp, &parameters);
  TRY(heed_optimizer_create(parameters, count, &sgd, &s->optimizer));
  TRY(heed_tensor_create(s->ctx, HEED_F32, 2, DIMS(BATCH, WIDTH), &s->x));
  TRY(heed_tensor_create_from(s->ctx, HEED_U8, 1, DIMS(BATCH), labels, &s->target));
  TRY(heed_tensor_create(s->ctx, HEED_F32, 2, DIMS(BATCH, CLASSES), &s->logits));
  return heed_tensor_create(s->ctx, HEED_F32, 1, DIMS(1), &s->loss);
}

// A batch is its labels under noise, so that the loss has to fall and stay low.
static heed_status train(struct soak *s) {
  float values[BATCH * WIDTH], loss = 0;
  for (int step = 0; step < STEPS; ++step, ++s->steps, ++s->lived) {
    for (int i = 0; i < BATCH * WIDTH; ++i) {
      const bool lit = i % WIDTH % CLASSES == i / WIDTH % CLASSES;
      values[i] = (lit ? 1.0F : 0.0F) + 0.1F * (float)heed_random_normal(7, 0, s->drawn++);
    }
    TRY(heed_tensor_upload_f32(s->x, values, BATCH * WIDTH));
    TRY(heed_mlp_loss(s->mlp, s->x, s->target, s->logits, s->loss, false));
    TRY(heed_optimizer_step(s->optimizer));
  }
  TRY(heed_tensor_download_f32(s->loss, &loss, 1));
  return s->lived <= 500 || loss < 1 ? HEED_OK : HEED_ERROR_MISMATCH;
}

static heed_status compare(struct soak *s, const heed_case *c) {
  case_result result;
  const heed_status status = case_compare(c, s->ctx, s->host, &result);
  s->checked += 1;
  if (status == HEED_OK && result.passed) return HEED_OK;
  fprintf(stderr, "soak: %s: %s\n", c->name, result.message);
  return HEED_ERROR_MISMATCH;
}

static int64_t draw(struct soak *s, uint64_t bound) { return 1 + (int64_t)heed_random_below(11, 0, s->drawn++, bound); }

// The next few cases of the table, each followed by itself in other lengths where it is attention without a mask of its own.
static heed_status check(struct soak *s) {
  for (int i = 0; i < CASES_A_ROUND; ++i, s->at = (s->at + 1) % s->case_count) {
    heed_case c = s->cases[s->at];
    TRY(compare(s, &c));
    if (c.family != &attention_family) continue;
    c.u.attention.lq = draw(s, 150);
    c.u.attention.lk = draw(s, 150);
    TRY(compare(s, &c));
  }
  return HEED_OK;
}

// ---------------------------------------------------------------- subcommands

#define COMMAND(function, ...) command(function, (const char *[]){__VA_ARGS__, NULL})
static heed_status command(int (*function)(int, const char **), const char **words) {
  int count = 0;
  while (words[count]) ++count;
  const int status = function(count, words);
  if (status == TOOL_DONE) return HEED_OK;
  fprintf(stderr, "soak: heed %s: exit status %d\n", words[0], status);
  return HEED_ERROR_MISMATCH;
}

static heed_status run_commands(struct soak *s) {
  s->commands += 4;
  TRY(COMMAND(cmd_train, "train", "--data", data, "--hidden", "16", "--batch", "16", "--epochs", "1", "--save",
              "model"));
  TRY(COMMAND(cmd_eval, "eval", "--data", data, "--model", "model"));
  TRY(COMMAND(cmd_run, "run", "softmax", "-i", "in.safetensors", "-o", "out.safetensors"));
  return COMMAND(cmd_check, "check", "--op", "relu", "--quick", "--json", "--serial");
}

static heed_status write_input(struct soak *s) {
  heed_safetensors *file = NULL;
  TRY(heed_safetensors_create(&file));
  heed_status status = heed_safetensors_add_tensor(file, "x", s->x);
  if (status == HEED_OK) status = heed_safetensors_write(file, "in.safetensors");
  heed_safetensors_destroy(file);
  return status;
}

// ---------------------------------------------------------------- rounds

static double resident_mb(void) {
  long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
  if (file) fclose(file);
  return (double)pages * (double)sysconf(_SC_PAGESIZE) / 0x1p20;
}

static heed_status round_of_work(struct soak *s) {
  TRY(train(s));
  TRY(check(s));
  TRY(run_commands(s));
  return heed_sync(s->ctx);
}

static void tell(double seconds) {
  const struct mallinfo2 heap = mallinfo2();
  fprintf(report, "%5.0f s: resident %.1f MB, of the heap %.1f in use; %d buffers, %d programs\n", seconds,
          resident_mb(), (double)(heap.uordblks + heap.hblkhd) / 0x1p20, shim->buffers(), shim->programs());
  fflush(report);
}

// A share of the cases that --quick runs: about forty.
static heed_status pick_cases(struct soak *s) {
  size_t count, kept = 0, seen = 0;
  TRY(case_table(&s->cases, &count));
  for (size_t i = 0; i < count; ++i)
    if (s->cases[i].level == 0 && seen++ % EVERY_CASE == 0) s->cases[kept++] = s->cases[i];
  s->case_count = kept;
  return kept ? HEED_OK : HEED_ERROR_MISMATCH;
}

static heed_status open_all(struct soak *s) {
  TRY(heed_open(NULL, &s->ctx));
  TRY(heed_open("host", &s->host));
  TRY(set_up_training(s));
  return write_input(s);
}

static void close_all(struct soak *s) {
  heed_tensor *tensors[] = {s->x, s->target, s->logits, s->loss};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; ++i) heed_tensor_destroy(tensors[i]);
  heed_optimizer_destroy(s->optimizer);
  heed_mlp_destroy(s->mlp);
  heed_context_destroy(s->ctx);
  heed_context_destroy(s->host);
  s->x = s->target = s->logits = s->loss = NULL;
  s->optimizer = NULL;
  s->mlp = NULL;
  s->ctx = s->host = NULL;
}

// All the cases, and more of them until the time is over.
static heed_status life_of_a_context(struct soak *s, double end) {
  TRY(open_all(s));
  s->lived = 0;
  for (bool all = false; !all || tool_seconds() < end;) {
    const size_t before = s->at;
    TRY(round_of_work(s));
    if (s->at < before) all = true;
  }
  return HEED_OK;
}

static heed_status work(struct soak *s, double seconds) {
  TRY(pick_cases(s));
  const double start = tool_seconds(), life = seconds / LIVES;
  double told = start;
  // The first lives build programs and make the allocator take what it keeps.
  for (size_t lives = 0; lives < WARM + 6 || tool_seconds() < start + seconds; ++lives) {
    const heed_status status = life_of_a_context(s, tool_seconds() + life);
    if (tool_seconds() - told >= 60) {
      told = tool_seconds();
      tell(told - start);
    }
    close_all(s);
    TRY(status);
    if (lives < WARM || sample_count == SAMPLES) continue;
    samples[sample_count++] = (struct sample){resident_mb(), shim->buffers() + shim->programs()};
  }
  return HEED_OK;
}

// ---------------------------------------------------------------- the verdict

static int by_size(const void *a, const void *b) {
  const double x = ((const struct sample *)a)->rss_mb, y = ((const struct sample *)b)->rss_mb;
  return (x > y) - (x < y);
}

static struct sample median(size_t from, size_t count) {
  struct sample sorted[SAMPLES / 3 + 1];
  memcpy(sorted, samples + from, count * sizeof *sorted);
  qsort(sorted, count, sizeof *sorted, by_size);
  return sorted[count / 2];
}

// Whether the last third of the lives left no more behind than the first one.
static bool is_steady(void) {
  const size_t third = sample_count / 3;
  const double first = median(0, third).rss_mb, middle = median(third, third).rss_mb;
  const double last = median(sample_count - third, third).rss_mb;
  int most = 0;
  for (size_t i = 0; i < sample_count; ++i)
    if (samples[i].objects > most) most = samples[i].objects;
  fprintf(report,
          "resident memory while nothing is open: %.1f MB in the first third, %.1f in the middle, %.1f in the last; at "
          "most "
          "%.0f more are allowed\n",
          first, middle, last, growth_most_mb);
  fprintf(report, "buffers and programs held then: at most %d\n", most);
  return last - first <= growth_most_mb && most == 0;
}

int main(int argc, char **argv) {
  const double seconds = argc == 3 ? strtod(argv[1], NULL) : 0;
  shim = dlsym(RTLD_DEFAULT, "fault_shim");
  if (argc != 3 || !shim) {
    fprintf(stderr, "usage: LD_PRELOAD=libfault_shim.so %s SECONDS DATA-FOLDER\n", argv[0]);
    return TOOL_USAGE;
  }
  data = argv[2];
  report = fdopen(dup(STDOUT_FILENO), "w");
  if (!report || !freopen("/dev/null", "w", stdout)) return TOOL_FAILED;
  struct soak s = {0};
  struct fault_report left;
  shim->arm(FAULT_NONE, 0, 0, false);
  heed_status status = work(&s, seconds);
  if (status != HEED_OK) fprintf(stderr, "soak: %s: %s\n", heed_status_string(status), heed_last_error());
  free(s.cases);
  shim->disarm(&left);
  fprintf(report, "%zu lives after the first: %ld training steps, %ld cases, %ld subcommands; left over: %s\n",
          sample_count, s.steps, s.checked, s.commands, *left.leaks ? left.leaks : "nothing");
  const bool good = status == HEED_OK && is_steady() && !*left.leaks;
  fclose(report);
  return good ? TOOL_DONE : TOOL_FAILED;
}
