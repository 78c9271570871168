// The self-test: a few small calls on its own validating context, which compares each with the host. Their shapes are odd, so that they end
// inside vectors and tiles. `heed check` tests a device thoroughly.
#include "api/self_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DIMS(...) \
  (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) { __VA_ARGS__ }

// ---------------------------------------------------------------- the calls

enum { MOST_TENSORS = 24 };
struct bench {
  heed_context *ctx;
  heed_tensor *tensors[MOST_TENSORS];
  int count;
  heed_status status;  // of the first tensor that could not be made
};

// Makes a tensor of normal numbers, owned by the bench; returns NULL from the first failure on.
static heed_tensor *make(struct bench *bench, int rank, const int64_t *dims) {
  if (bench->status != HEED_OK) return NULL;
  heed_tensor **tensor = &bench->tensors[bench->count];
  bench->status = heed_tensor_create(bench->ctx, HEED_F32, rank, dims, tensor);
  if (bench->status != HEED_OK) return NULL;
  const uint64_t stream = (uint64_t)bench->count++;
  const int64_t count = heed_tensor_count(*tensor);
  float *values = malloc((size_t)count * sizeof *values);
  if (!values) {
    bench->status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "self-test: no host memory");
    return NULL;
  }
  for (int64_t i = 0; i < count; ++i) values[i] = (float)heed_random_normal(1, stream, (uint64_t)i);
  bench->status = heed_tensor_upload_f32(*tensor, values, count);
  free(values);
  return *tensor;
}

// This is the form of a weight's gradient; on CPUs it even uses the same kernel, which training needs next.
static heed_status products(struct bench *bench) {
  heed_tensor *a = make(bench, DIMS(29, 37)), *b = make(bench, DIMS(29, 41)), *c = make(bench, DIMS(37, 41));
  HEED__TRY(bench->status);
  return heed_gemm(true, false, 0.75, a, b, 0, c);
}

static heed_status rows(struct bench *bench) {
  heed_tensor *x = make(bench, DIMS(5, 67)), *y = make(bench, DIMS(5, 67));
  HEED__TRY(bench->status);
  return heed_softmax_fwd(x, 1, y);
}

static heed_status attention(struct bench *bench) {
  // Two query heads per key head, and more rows than a tile has. The heads are narrow, because wide ones take a CPU's compiler longer.
  heed_tensor *q = make(bench, DIMS(1, 2, 19, 8)), *k = make(bench, DIMS(1, 1, 37, 8)),
              *v = make(bench, DIMS(1, 1, 37, 8));
  heed_tensor *out = make(bench, DIMS(1, 2, 19, 8)), *dout = make(bench, DIMS(1, 2, 19, 8));
  heed_tensor *lse = make(bench, DIMS(1, 2, 19)), *dq = make(bench, DIMS(1, 2, 19, 8));
  heed_tensor *dk = make(bench, DIMS(1, 1, 37, 8)), *dv = make(bench, DIMS(1, 1, 37, 8));
  HEED__TRY(bench->status);
  const heed_attention_inputs inputs = {.q = q, .k = k, .v = v};
  const heed_attention_options options = {.causal = HEED_CAUSAL_BOTTOM_RIGHT};
  HEED__TRY(heed_attention_fwd(&inputs, &options, out, lse, NULL));
  return heed_attention_bwd(&inputs, &options, out, lse, dout, &(heed_attention_grads){.dq = dq, .dk = dk, .dv = dv});
}

static heed_status training(struct bench *bench) {
  heed_tensor *logits = make(bench, DIMS(9, 10)), *loss = make(bench, DIMS(1)), *dlogits = make(bench, DIMS(9, 10));
  heed_tensor *param = make(bench, DIMS(65)), *grad = make(bench, DIMS(65)), *momentum = make(bench, DIMS(65));
  // A layer with few outputs: its backward is a kernel of its own on CPUs.
  heed_tensor *x = make(bench, DIMS(9, 67)), *weight = make(bench, DIMS(10, 67)), *dx = make(bench, DIMS(9, 67));
  heed_tensor *dweight = make(bench, DIMS(10, 67)), *dbias = make(bench, DIMS(10));
  HEED__TRY(bench->status);
  static const int64_t count = 9;
  static const uint8_t classes[] = {3, 1, 4, 1, 5, 9, 2, 6, 5};
  heed_tensor *target = NULL;
  HEED__TRY(heed_tensor_create_from(bench->ctx, HEED_U8, 1, &count, classes, &target));
  heed_status status = heed_cross_entropy_fwd_bwd(logits, target, NULL, NULL, loss, dlogits);
  heed_tensor_destroy(target);
  HEED__TRY(status);
  HEED__TRY(heed_sgd(&(heed_sgd_options){.lr = 0.1, .momentum = 0.9}, grad, param, momentum));
  return heed_relu_linear_bwd(x, weight, dlogits, dx, dweight, dbias, false);
}

static const struct part {
  unsigned use;
  const char *name;
  heed_status (*calls)(struct bench *);
} parts[] = {{HEED_USES_PRODUCTS, "products", products},
             {HEED_USES_ROWS, "rows", rows},
             {HEED_USES_TRAINING, "training", training},
             {HEED_USES_ATTENTION, "attention", attention}};
enum {
  PARTS = sizeof parts / sizeof *parts,
  ALL_USES = HEED_USES_PRODUCTS | HEED_USES_ROWS | HEED_USES_TRAINING | HEED_USES_ATTENTION
};

static heed_status run_calls(heed_context *ctx, const struct part *part) {
  struct bench bench = {.ctx = ctx};
  heed_status status = part->calls(&bench);
  if (status == HEED_OK) status = heed_sync(ctx);
  for (int t = 0; t < bench.count; ++t) heed_tensor_destroy(bench.tensors[t]);
  return status;
}

// ---------------------------------------------------------------- what it runs on

// Opens a context with the caller's cache and kernels, but with heed's own products: other providers are tried when they are used, and TF32
// would look like an error. It does not store programs, because no other call has these shapes.
static heed_status open_validating(const heed_open_options *options, const struct heed__found *found,
                                   heed_context **out) {
  const heed_open_options own = {.cache_dir = options->cache_dir,
                                 .kernel_dir = options->kernel_dir,
                                 .store_programs = -1,
                                 .gemm = "native",
                                 .gemm_probe = options->gemm_probe,
                                 .tf32 = -1,
                                 .bf16_dots = options->bf16_dots};
  heed_context *ctx, *host;
  HEED__TRY(heed__context_create(&ctx));
  ctx->progress = options->progress;
  ctx->progress_user = options->progress_user;
  heed_status status = found->driver->open(ctx, found->handle, &own);
  if (status == HEED_OK) status = heed__driver_create_reference(&host);
  if (status == HEED_OK) {
    heed__validate_attach(ctx, host);
    *out = ctx;
  } else {
    heed_context_destroy(ctx);
  }
  return status;
}

static void set_verdict(heed_device_info *info, heed_self_test verdict, const char *reason, size_t length) {
  info->self_test = verdict;
  snprintf(info->self_test_reason, sizeof info->self_test_reason, "%.*s", (int)length, reason);
}

// ---------------------------------------------------------------- what is remembered

// Where heed keeps the verdicts on a device; key NULL: nowhere.
struct memory {
  const struct heed__driver_verdicts *driver;
  char *key, folder[4096];
};

static void memory_open(const heed_open_options *options, const struct heed__found *found, struct memory *memory) {
  memory->driver = found->driver->verdicts;
  char *device = memory->driver->key(options, &found->info, memory->folder, sizeof memory->folder);
  memory->key = NULL;
  if (device && asprintf(&memory->key, "%sself-test\n", device) < 0) memory->key = NULL;
  free(device);
}

// NULL: there is no memory for a key, or heed keeps no verdicts.
static char *part_key(const struct memory *memory, const struct part *part) {
  char *own = NULL;
  if (!memory->key) return NULL;
  return asprintf(&own, "%spart %u\n", memory->key, part->use) < 0 ? NULL : own;
}

// An entry is one letter, followed by the reason if the test failed.
enum { ENTRY_OK = 'k', ENTRY_FAILED = 'f', ENTRY_UNTESTED = 'u' };

// Tells whether there is an entry. A failure stays, whatever the other entries say.
static bool recall(const struct memory *memory, const char *key, heed_device_info *info) {
  unsigned char *entry = NULL;
  size_t size = 0;
  if (!memory->driver->load(memory->folder, key, &entry, &size)) return false;
  const bool failed = info->self_test == HEED_SELF_TEST_FAILED;
  if (entry[0] == ENTRY_OK && !failed) set_verdict(info, HEED_SELF_TEST_OK, "", 0);
  if (entry[0] == ENTRY_FAILED && !failed) set_verdict(info, HEED_SELF_TEST_FAILED, (const char *)entry + 1, size - 1);
  free(entry);
  return true;
}

static void remember(const struct memory *memory, const char *key, const heed_device_info *info) {
  unsigned char entry[1 + sizeof info->self_test_reason];
  entry[0] = info->self_test == HEED_SELF_TEST_OK ? ENTRY_OK : ENTRY_FAILED;
  const size_t length = strlen(info->self_test_reason);
  memcpy(entry + 1, info->self_test_reason, length);
  memory->driver->store(memory->folder, key, entry, 1 + length);
}

// The parts that have a kept verdict, as bits.
static unsigned recall_parts(const struct memory *memory, heed_device_info *info) {
  unsigned known = 0;
  for (int i = 0; i < PARTS; ++i) {
    char *own = part_key(memory, &parts[i]);
    if (own && recall(memory, own, info)) known |= parts[i].use;
    free(own);
  }
  return known;
}

void heed__self_test_recall(const heed_open_options *options, struct heed__found *found) {
  struct memory memory;
  if (!found->driver->verdicts) return;
  memory_open(options, found, &memory);
  recall_parts(&memory, &found->info);
  free(memory.key);
}

// Tells whether the cache keeps entries. If the home cannot be written to, every open would test again.
static bool can_remember(const struct memory *memory, heed_device_info *info) {
  const unsigned char entry = ENTRY_UNTESTED;
  if (!memory->key) return false;
  memory->driver->store(memory->folder, memory->key, &entry, 1);
  return recall(memory, memory->key, info);
}

// ---------------------------------------------------------------- a run

// Wrong results and kernels that do not build are permanent; a device that fails a call may work another time.
static bool is_lasting(const struct memory *memory, const heed_context *ctx, heed_status status) {
  if (status == HEED_ERROR_BUILD) return !memory->driver->build_may_work_later(ctx);
  return status == HEED_OK || status == HEED_ERROR_MISMATCH;
}

// What helps where a processor runs OpenCL of a vendor whose runtime is older than the processor. Empty: nothing that heed knows of.
static const char *remedy_of(const heed_device_info *device) {
  const bool is_cpu = device->type == HEED_DEVICE_CPU || device->type == HEED_DEVICE_ACCELERATOR;
  if (!is_cpu || !strcasestr(device->platform, "intel")) return "";
  return "; a runtime that does not know this processor needs CL_CONFIG_CPU_TARGET_ARCH=core-avx2";
}

// Why a part failed, in one line: as much of the message's first one as there is room for, and the remedy.
static void tell_failure(const char *message, heed_device_info *info) {
  const char *remedy = remedy_of(info);
  const size_t room = sizeof info->self_test_reason - 1 - strlen(remedy);
  size_t length = strcspn(message, "\n");
  if (length > room) length = room;
  char reason[sizeof info->self_test_reason];
  const int written = snprintf(reason, sizeof reason, "%.*s%s", (int)length, message, remedy);
  set_verdict(info, HEED_SELF_TEST_FAILED, reason, (size_t)written);
}

// Runs one part, and keeps the verdict if heed keeps any.
static heed_status run_part(heed_context *ctx, const struct memory *memory, const struct part *part,
                            heed_device_info *info) {
  const heed_status status = run_calls(ctx, part);
  if (status == HEED_ERROR_OUT_OF_MEMORY) return status;
  if (status == HEED_OK)
    set_verdict(info, HEED_SELF_TEST_OK, "", 0);
  else
    tell_failure(heed_last_error(), info);
  char *own = is_lasting(memory, ctx, status) ? part_key(memory, part) : NULL;
  if (own) remember(memory, own, info);
  free(own);
  return HEED_OK;
}

// Runs the parts in turn, up to the first one that fails.
static heed_status run(const heed_open_options *options, unsigned uses, const struct memory *memory,
                       struct heed__found *found) {
  heed_context *ctx = NULL;
  // If the device cannot be opened, the open that follows reports why.
  heed_status status = open_validating(options, found, &ctx);
  if (status != HEED_OK) return status == HEED_ERROR_OUT_OF_MEMORY ? status : HEED_OK;
  const size_t total = (size_t)__builtin_popcount(uses);
  size_t done = 0;
  for (int i = 0; status == HEED_OK && i < PARTS && found->info.self_test != HEED_SELF_TEST_FAILED; ++i) {
    if (!(uses & parts[i].use)) continue;
    heed__context_tell(ctx, HEED_ACTIVITY_SELF_TEST, parts[i].name, done++, total);
    status = run_part(ctx, memory, &parts[i], &found->info);
  }
  if (!found->kept) found->kept = memory->driver->keep(ctx);
  heed_context_destroy(ctx);
  return status;
}

heed_status heed__self_test(enum heed__self_test_mode mode, const heed_open_options *options,
                            struct heed__found *found) {
  heed_device_info *info = &found->info;
  if (mode == HEED__SELF_TEST_OFF || info->self_test != HEED_SELF_TEST_UNTESTED || !found->driver->verdicts ||
      !info->has_compiler)
    return HEED_OK;
  struct memory memory;
  memory_open(options, found, &memory);
  unsigned uses = options->uses & ALL_USES;
  if (uses == 0) uses = ALL_USES;
  uses &= ~recall_parts(&memory, info);
  heed_status status = HEED_OK;
  if (uses != 0 && info->self_test != HEED_SELF_TEST_FAILED &&
      (mode == HEED__SELF_TEST_ALWAYS || can_remember(&memory, info)))
    status = run(options, uses, &memory, found);
  free(memory.key);
  return status;
}

heed_status heed__self_test_mode(int given, enum heed__self_test_mode *mode) {
  const char *text = getenv("HEED_SELF_TEST");
  *mode = given > 0 ? HEED__SELF_TEST_ALWAYS : given < 0 ? HEED__SELF_TEST_OFF : HEED__SELF_TEST_REMEMBERED;
  if (given != 0 || !text || !*text || strcasecmp(text, "auto") == 0) return HEED_OK;
  const bool on = strcasecmp(text, "on") == 0 || strcmp(text, "1") == 0;
  *mode = on ? HEED__SELF_TEST_ALWAYS : HEED__SELF_TEST_OFF;
  HEED__REQUIRE(on || strcasecmp(text, "off") == 0 || strcmp(text, "0") == 0, HEED_ERROR_INVALID_ARGUMENT,
                "open: HEED_SELF_TEST is '%s'; auto, on or off is needed", text);
  return HEED_OK;
}
