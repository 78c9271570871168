// Every GEMM gives the host's result for random draws of form, sizes, strides, batches, scalars, epilogue and dtype: heed's kernels for
// CPUs in every layout, that for pairs of BF16 numbers (emulated where the processor has no instruction for it), those for GPUs and for tensor cores (run on whatever device there is), and CLBlast.
// HEED_DRAWS sets how many (default 120), HEED_SEED the first seed; HEED_DRAW_PATH=cpu, cpu-pairs, gpu, warp or clblast draws only those kernels;
// HEED_DRAW_LARGEST bounds m, n and k, for devices that interpret. What kernels are compiled for comes in a table of kinds: a new one
// costs seconds, a draw milliseconds. A failing draw prints what it drew and the command that repeats it.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cl/gemm/gemm.h"
#include "support_devices.h"

enum path { CPU, CPU_BF16, GPU, WARP, CLBLAST, PATHS };
static const char *const path_names[PATHS] = {"cpu", "cpu-pairs", "gpu", "warp", "clblast"};

struct contexts {
  heed_context *host;
  heed_context *device;  // NULL where there is no OpenCL device
};

// A matrix operand: rank 4 view [B0, B1, rows, cols] of a larger buffer.
struct operand {
  int64_t dims[4], strides[4], offset, span;
};

// What a draw's programs are compiled for, beside what its layout and epilogue say.
struct kind {
  enum path path;
  heed_dtype dtype;
  int gelu;       // 0: another activation, 1: erf, 2: tanh
  int64_t tile;   // CPU and CPU_BF16: vectors of a panel; else the side of the tile
  int swap, dot;  // CPU and CPU_BF16
  int form;       // WARP: trans_a, trans_b in its low bits
};

struct draw {
  uint64_t seed, count;
  struct kind kind;
  bool trans_a, trans_b;
  double alpha, beta;
  struct operand a, b, c;
  bool has_epilogue, has_bias;
  enum heed__cl_gemm_activation activation;
  heed_gelu_form gelu;
  struct operand mask;
  struct heed__cl_tuning_choice choice;
};

// ---------------------------------------------------------------- drawing a problem

static const struct kind kinds[] = {
    {CPU, HEED_F32, 0, 3, -1, 0, 0},      {CPU, HEED_F32, 1, 2, 1, 0, 0},        {CPU, HEED_F32, 0, 0, 0, 1, 0},
    {CPU, HEED_F16, 2, 2, -1, 0, 0},      {CPU, HEED_BF16, 0, 3, 1, 0, 0},       {GPU, HEED_F32, 0, 128, 0, 0, 0},
    {GPU, HEED_F32, 1, 64, 0, 0, 0},      {GPU, HEED_F16, 0, 64, 0, 0, 0},       {GPU, HEED_BF16, 2, 32, 0, 0, 0},
    {CLBLAST, HEED_F32, 0, 0, 0, 0, 0},   {WARP, HEED_F16, 0, 64, 0, 0, 0},      {WARP, HEED_F16, 0, 64, 0, 0, 3},
    {WARP, HEED_BF16, 0, 64, 0, 0, 1},    {WARP, HEED_BF16, 2, 128, 0, 0, 2},    {WARP, HEED_F32, 0, 64, 0, 0, 1},
    {WARP, HEED_F32, 0, 64, 0, 0, 2},     {CPU_BF16, HEED_BF16, 0, 3, -1, 0, 0}, {CPU_BF16, HEED_BF16, 0, 2, 1, 0, 0},
    {CPU_BF16, HEED_BF16, 2, 3, 0, 0, 0},
};

static int64_t below(struct draw *d, int64_t n) {
  return (int64_t)heed_random_below(d->seed, 1, d->count++, (uint64_t)n);
}

static struct kind draw_kind(struct draw *d) {
  const char *path = getenv("HEED_DRAW_PATH");
  struct kind kind;
  do {
    kind = kinds[below(d, sizeof kinds / sizeof *kinds)];
  } while (path && *path && strcmp(path, path_names[kind.path]) != 0);
  return kind;
}

// Small, or at the edges of the tiles.
static int64_t draw_size(struct draw *d) {
  static const int64_t edges[] = {1,  2,  7,  8,  11, 12, 13,  15,  16,  17,  24,  31,  32,  33,  40,
                                  56, 63, 64, 65, 95, 97, 120, 127, 128, 129, 136, 191, 192, 193, 264};
  const int64_t size = below(d, 3) ? edges[below(d, sizeof edges / sizeof *edges)] : 1 + below(d, 40);
  return heed__min(size, (int64_t)support_number("HEED_DRAW_LARGEST", 264));
}

// Gaps between rows and batches, and an offset, or none of them where `packed`, and all multiples of `unit`; dimensions of 1 are
// broadcast by the operator.
static struct operand draw_operand(struct draw *d, const int64_t *dims, bool packed, int64_t unit) {
  struct operand o = {.dims = {dims[0], dims[1], dims[2], dims[3]}, .strides = {0, 0, 0, 1}};
  o.strides[2] = heed__round_up(dims[3] + (packed ? 0 : below(d, 9)), unit);
  o.strides[1] = heed__round_up(o.strides[2] * dims[2] + (packed ? 0 : below(d, 30)), unit);
  o.strides[0] = heed__round_up(o.strides[1] * dims[1] + (packed ? 0 : below(d, 50)), unit);
  o.offset = packed ? 0 : unit * below(d, 20);
  o.span = o.offset + o.strides[0] * dims[0];
  return o;
}

static bool is_for_cpus(const struct kind *kind) { return kind->path == CPU || kind->path == CPU_BF16; }

// Parts of a sum are F32, which is one more program for a 16-bit kind or one with GELU: some kinds do without.
static bool may_split(const struct kind *kind) {
  if (kind->path == WARP) return kind->form == 3 || (kind->dtype == HEED_F32 && kind->form == 1);
  return is_for_cpus(kind) ? kind->gelu != 1 : kind->dtype != HEED_F16;
}

static const char *const keys[PATHS] = {
    [CPU] = "cpu", [CPU_BF16] = "cpu-pairs", [GPU] = "gpu", [WARP] = "gpu-tensor", [CLBLAST] = "clblast"};

// Small blocks and splits, so that small problems go through what large ones do; 0 is the library's own choice.
static struct heed__cl_tuning_choice draw_choice(struct draw *d) {
  struct heed__cl_tuning_choice choice = {0};
  int64_t *values = choice.values;
  snprintf(choice.variant, sizeof choice.variant, "%s", keys[d->kind.path]);
  values[HEED__TUNE_splits] = 1 + (may_split(&d->kind) && below(d, 2) ? below(d, 5) : 0);
  if (!is_for_cpus(&d->kind)) {
    values[HEED__TUNE_rows] = d->kind.tile;
    return choice;
  }
  values[HEED__TUNE_dot] = d->kind.dot ? 1 : -1;
  values[HEED__TUNE_swap] = d->kind.swap;
  values[HEED__TUNE_vectors] = d->kind.tile;
  if (below(d, 2)) return choice;
  values[HEED__TUNE_pack_rows] = below(d, 3) - 1;
  values[HEED__TUNE_pack_cols] = below(d, 3) - 1;
  values[HEED__TUNE_rows] = below(d, 2) ? 8 * (1 + below(d, 5)) : 0;
  values[HEED__TUNE_panels] = below(d, 3);
  values[HEED__TUNE_depth] = below(d, 2) ? 7 + below(d, 60) : 0;
  return choice;
}

static void draw_epilogue(struct draw *d) {
  static const enum heed__cl_gemm_activation some[] = {HEED__GEMM_LINEAR, HEED__GEMM_RELU, HEED__GEMM_MASK};
  d->has_epilogue = d->kind.gelu || below(d, 2);
  d->has_bias = d->has_epilogue && below(d, 2);
  if (d->has_epilogue) d->activation = d->kind.gelu ? HEED__GEMM_GELU : some[below(d, 3)];
  d->gelu = d->kind.gelu == 2 ? HEED_GELU_TANH : HEED_GELU_ERF;
}

static struct draw draw_problem(uint64_t seed) {
  static const double alphas[] = {1, -0.75, 2}, betas[] = {0, 0, 1, -0.5};
  struct draw d = {.seed = seed};
  d.kind = draw_kind(&d);
  d.trans_a = d.kind.path == WARP ? d.kind.form >> 1 : below(&d, 2);
  d.trans_b = d.kind.path == WARP ? d.kind.form & 1 : below(&d, 2);
  d.alpha = alphas[below(&d, 3)];
  d.beta = betas[below(&d, 4)];
  const bool packed = below(&d, 3) == 0, batched = below(&d, 2);
  const int64_t unit = d.kind.path == WARP || below(&d, 3) == 0 ? 8 : 1;
  const int64_t m = draw_size(&d), n = draw_size(&d), k = below(&d, 20) ? draw_size(&d) : 0;
  const int64_t b0 = batched ? 1 + below(&d, 3) : 1, b1 = batched ? 1 + below(&d, 3) : 1;
  const bool share_a = below(&d, 3) == 0, share_b = below(&d, 3) == 0;
  const int64_t a[] = {share_a ? 1 : b0, b1, d.trans_a ? k : m, d.trans_a ? m : k};
  const int64_t b[] = {b0, share_b ? 1 : b1, d.trans_b ? n : k, d.trans_b ? k : n};
  const int64_t c[] = {b0, b1, m, n};
  d.a = draw_operand(&d, a, packed, unit);
  d.b = draw_operand(&d, b, packed, unit);
  d.c = draw_operand(&d, c, packed, unit);
  draw_epilogue(&d);
  d.mask = draw_operand(&d, c, packed, unit);
  d.choice = draw_choice(&d);
  return d;
}

static void print_draw(const struct draw *d) {
  char choice[HEED_TUNE_TEXT];
  heed__cl_tuning_choice_text(&d->choice, choice);
  print_error(
      "seed %llu: %s %s %c%c [%lld, %lld, %lld x %lld] k %lld, offsets %lld %lld, row strides %lld %lld %lld, alpha "
      "%g, beta "
      "%g, bias %d, activation %d, %s\n",
      (unsigned long long)d->seed, path_names[d->kind.path], heed_dtype_string(d->kind.dtype), d->trans_a ? 'T' : 'N',
      d->trans_b ? 'T' : 'N', (long long)d->c.dims[0], (long long)d->c.dims[1], (long long)d->c.dims[2],
      (long long)d->c.dims[3], (long long)d->a.dims[d->trans_a ? 2 : 3], (long long)d->a.offset, (long long)d->b.offset,
      (long long)d->a.strides[2], (long long)d->b.strides[2], (long long)d->c.strides[2], d->alpha, d->beta,
      d->has_bias, (int)d->activation, choice);
  const char *path = getenv("HEED_DRAW_PATH");
  print_error("repeat it with: HEED_SEED=%llu HEED_DRAWS=1 HEED_DRAW_PATH=%s HEED_DRAW_LARGEST=%lld test_gemm_random\n",
              (unsigned long long)d->seed, path ? path : "", (long long)support_number("HEED_DRAW_LARGEST", 264));
}

// ---------------------------------------------------------------- running it

// What lies between the elements of a view is NaN: a kernel that reads it spoils its result, one that writes it is seen. So is C
// where beta is 0 and it must not be read.
static void make_operand(heed_context *ctx, const struct draw *d, const struct operand *o, uint64_t seed, bool is_nan,
                         heed_tensor **buffer, heed_tensor **view) {
  float *values = malloc((size_t)(o->span + 1) * sizeof *values);
  assert_non_null(values);
  support_fill(values, o->span, seed);
  for (int64_t i = 0; i < o->span; ++i) {
    const int64_t at = i - o->offset, in_batch = at < 0 ? 0 : at % o->strides[0] % o->strides[1];
    const bool inside = at >= 0 && at % o->strides[0] < o->strides[1] * o->dims[1] &&
                        in_batch < o->strides[2] * o->dims[2] && in_batch % o->strides[2] < o->dims[3];
    if (!inside || is_nan) values[i] = NAN;
  }
  ASSERT_OK(heed_tensor_create(ctx, d->kind.dtype, 1, &o->span, buffer));
  ASSERT_OK(heed_tensor_upload_f32(*buffer, values, o->span));
  ASSERT_OK(heed_tensor_view(*buffer, 4, o->dims, o->strides, o->offset, view));
  free(values);
}

// As heed_gemm brings an operand to the shape of C.
static struct heed_tensor broadcast(const heed_tensor *t, const struct operand *c) {
  struct heed_tensor view;
  const int64_t dims[] = {c->dims[0], c->dims[1], t->dims[2], t->dims[3]};
  const int64_t strides[] = {t->dims[0] == dims[0] ? t->strides[0] : 0, t->dims[1] == dims[1] ? t->strides[1] : 0,
                             t->strides[2], 1};
  heed__view_init(&view, t, 4, dims, strides, t->offset);
  return view;
}

static void run_forced(const struct draw *d, uint64_t seed, heed_tensor *const *views) {
  heed_context *ctx = heed_tensor_context(views[2]);
  heed_tensor *mask_buffer, *mask, *bias = support_tensor(ctx, d->kind.dtype, 1, &d->c.dims[3], seed + 3, NULL);
  make_operand(ctx, d, &d->mask, seed + 4, false, &mask_buffer, &mask);
  const struct heed_tensor a = broadcast(views[0], &d->c), b = broadcast(views[1], &d->c);
  const struct heed__gemm_params params = {d->trans_a, d->trans_b, d->alpha, d->beta};
  const struct heed__cl_gemm_epilogue epilogue = {.bias = d->has_bias ? bias : NULL,
                                                  .activation = d->activation,
                                                  .gelu = d->gelu,
                                                  .argument = d->activation == HEED__GEMM_MASK ? mask : NULL};
  struct heed__cl_tuning_choice choice = d->choice;
  // CLBlast does not take a k of 0, nor F16.
  const int64_t k = d->a.dims[d->trans_a ? 2 : 3];
  if (d->kind.path == CLBLAST && (k == 0 || d->kind.dtype != HEED_F32)) choice.variant[0] = 0;
  ASSERT_OK(heed__cl_gemm_forced(ctx, &params, &a, &b, d->has_epilogue ? &epilogue : NULL, &choice, views[2]));
  heed_tensor_destroy(mask);
  heed_tensor_destroy(mask_buffer);
  heed_tensor_destroy(bias);
}

// The whole buffer of C afterwards.
static heed_tensor *run(heed_context *ctx, const struct draw *d, uint64_t seed) {
  heed_tensor *buffers[3], *views[3];
  make_operand(ctx, d, &d->a, seed, false, &buffers[0], &views[0]);
  make_operand(ctx, d, &d->b, seed + 1, false, &buffers[1], &views[1]);
  make_operand(ctx, d, &d->c, seed + 2, d->beta == 0, &buffers[2], &views[2]);
  if (heed_context_device(ctx)->type != HEED_DEVICE_HOST)
    run_forced(d, seed, views);
  else
    ASSERT_OK(heed_gemm(d->trans_a, d->trans_b, d->alpha, views[0], views[1], d->beta, views[2]));
  for (int i = 0; i < 3; ++i) heed_tensor_destroy(views[i]);
  for (int i = 0; i < 2; ++i) heed_tensor_destroy(buffers[i]);
  return buffers[2];
}

static double activate(const struct draw *d, double x, double mask) {
  switch (d->activation) {
    case HEED__GEMM_RELU:
      return x < 0 ? 0 : x;
    case HEED__GEMM_MASK:
      return mask > 0 ? x : 0;
    case HEED__GEMM_GELU:
      if (d->gelu == HEED_GELU_ERF) return 0.5 * x * erfc(-x * sqrt(0.5));
      return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    default:
      return x;
  }
}

// The host's product in F32, in which the values of every dtype are exact, and the epilogue on it.
static heed_tensor *run_on_host(heed_context *host, const struct draw *d, uint64_t seed) {
  struct draw plain = *d;
  plain.kind.dtype = HEED_F32;
  plain.has_epilogue = false;
  heed_tensor *c = run(host, &plain, seed);
  if (!d->has_epilogue) return c;
  float *values = malloc((size_t)d->c.span * sizeof *values), *bias = malloc((size_t)d->c.dims[3] * sizeof *bias);
  float *mask = malloc((size_t)d->mask.span * sizeof *mask);
  assert_true(values && bias && mask);
  ASSERT_OK(heed_tensor_download_f32(c, values, d->c.span));
  support_fill(bias, d->c.dims[3], seed + 3);
  support_fill(mask, d->mask.span, seed + 4);
  for (int64_t i = 0; i < d->c.dims[0] * d->c.dims[1] * d->c.dims[2] * d->c.dims[3]; ++i) {
    const int64_t col = i % d->c.dims[3], row = i / d->c.dims[3] % d->c.dims[2];
    const int64_t batch = i / d->c.dims[3] / d->c.dims[2], b0 = batch / d->c.dims[1], b1 = batch % d->c.dims[1];
    const int64_t at = d->c.offset + b0 * d->c.strides[0] + b1 * d->c.strides[1] + row * d->c.strides[2] + col;
    const int64_t masked =
        d->mask.offset + b0 * d->mask.strides[0] + b1 * d->mask.strides[1] + row * d->mask.strides[2];
    values[at] = (float)activate(d, values[at] + (d->has_bias ? (double)bias[col] : 0), mask[masked + col]);
  }
  ASSERT_OK(heed_tensor_upload_f32(c, values, d->c.span));
  free(values);
  free(bias);
  free(mask);
  return c;
}

// Values are multiples of 2^-8 below 1, so products and their sums are exact in F32 and only alpha and beta round, for each block
// of k, and the bias and GELU (whose exponential is good to a few units); then comes one rounding to storage, which a difference
// there may turn the other way.
static double tolerance_of(const struct draw *d) {
  if (d->kind.dtype != HEED_F32) return d->kind.dtype == HEED_F16 ? 0x1p-11 : 0x1p-8;
  return d->activation == HEED__GEMM_GELU ? 0x1p-20 : 0x1p-22;
}

// The provider and the class of device that a draw asks for, for the length of a call: all kernels are right on any device.
static heed_tensor *run_on_device(heed_context *ctx, const struct draw *d) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const struct heed__cl_traits traits = cl->traits;
  cl->traits.cpu_like = is_for_cpus(&d->kind);
  if (traits.bf16_dots == HEED__BF16_NONE || !traits.cpu_like) cl->traits.bf16_dots = HEED__BF16_EMULATED;
  cl->traits.tensor_cores = d->kind.path == WARP && traits.tensor_cores;
  cl->traits.emulate_warps = cl->tf32 = d->kind.path == WARP;
  if (is_for_cpus(&d->kind) && !traits.cpu_like) cl->traits.vector_width = 8;
  heed_tensor *c = run(ctx, d, d->seed);
  cl->traits = traits;
  cl->tf32 = false;
  return c;
}

// The relative difference; negative where it passes the tolerance.
static double difference_of(const struct contexts *contexts, const struct draw *d) {
  heed_tensor *expected = run_on_host(contexts->host, d, d->seed), *actual = run_on_device(contexts->device, d);
  heed_difference difference;
  ASSERT_OK(heed_tensor_compare(actual, expected, &difference));
  const bool good = heed_difference_within(&difference, tolerance_of(d));
  if (!good) {
    print_error("relative %g, element %lld is %.9g, not %.9g; ", difference.relative, (long long)difference.index,
                difference.actual, difference.expected);
    print_draw(d);
  }
  heed_tensor_destroy(expected);
  heed_tensor_destroy(actual);
  return good ? difference.relative : -1;
}

// ---------------------------------------------------------------- the statements

static const struct contexts *usable(void **state) {
  const struct contexts *contexts = *state;
  if (!contexts->device) skip();
  return contexts;
}

static void any_problem_matches_the_host(void **state) {
  const struct contexts *contexts = usable(state);
  const uint64_t draws = support_number("HEED_DRAWS", 120), first = support_number("HEED_SEED", 1);
  uint64_t failures = 0, counts[PATHS] = {0};
  double worst[PATHS][8] = {{0}};
  for (uint64_t i = 0; i < draws; ++i) {
    const struct draw d = draw_problem(first + i);
    const double difference = difference_of(contexts, &d);
    failures += difference < 0;
    ++counts[d.kind.path];
    worst[d.kind.path][d.kind.dtype] = fmax(worst[d.kind.path][d.kind.dtype], difference);
  }
  for (int path = 0; path < PATHS; ++path)
    print_message("%s: %llu draws, worst difference F32 %.2g, F16 %.2g, BF16 %.2g\n", path_names[path],
                  (unsigned long long)counts[path], worst[path][HEED_F32], worst[path][HEED_F16],
                  worst[path][HEED_BF16]);
  if (failures) fail_msg("%llu of %llu draws differ", (unsigned long long)failures, (unsigned long long)draws);
}

// Who asks for some draws only, on a device that is slow, does not want the rest.
static bool only_draws(void) { return getenv("HEED_DRAW_PATH") || getenv("HEED_DRAW_LARGEST"); }

static struct draw packed_draw(const struct kind *kind, int64_t b1, int64_t m, int64_t n, int64_t k) {
  struct draw d = {.seed = 7, .kind = *kind, .trans_b = true, .alpha = 1.0 / 3, .beta = 1.0 / 7};
  d.a = draw_operand(&d, (const int64_t[]){1, b1, m, k}, true, 1);
  d.b = draw_operand(&d, (const int64_t[]){1, b1, n, k}, true, 1);
  d.c = draw_operand(&d, (const int64_t[]){1, b1, m, n}, true, 1);
  snprintf(d.choice.variant, sizeof d.choice.variant, "%s", keys[kind->path]);
  if (!is_for_cpus(kind)) d.choice.values[HEED__TUNE_rows] = kind->tile;
  return d;
}

// CLBlast changes its kernel at some size between 512³ and 1280³; heed's own walk many blocks of k here. The CPU's kernels do more in
// a work-item than llvmpipe allows, which leaves its loops after 65535 rounds, and takes the GPU's in earnest.
static void a_large_product_matches_the_host(void **state) {
  const struct contexts *contexts = usable(state);
  if (only_draws()) skip();
  static const struct kind some[] = {
      {.path = CPU}, {CPU_BF16, HEED_BF16, 0, 0, 0, 0, 0}, {.path = GPU}, {.path = CLBLAST}};
  for (size_t i = 0; i < sizeof some / sizeof *some; ++i) {
    if (is_for_cpus(&some[i]) && !heed__cl_state(contexts->device)->traits.cpu_like) continue;
    const struct draw d = packed_draw(&some[i], 1, 700, 710, 1000);
    assert_true(difference_of(contexts, &d) >= 0);
  }
}

static void the_same_call_gives_the_same_bits(void **state) {
  const struct contexts *contexts = usable(state);
  if (only_draws()) skip();
  static const struct kind some[] = {
      {.path = CPU}, {CPU_BF16, HEED_BF16, 0, 0, 0, 0, 0}, {.path = GPU}, {.path = CLBLAST}};
  for (size_t i = 0; i < sizeof some / sizeof *some; ++i) {
    const struct draw d = packed_draw(&some[i], 3, 65, 67, 600);
    heed_tensor *first = run_on_device(contexts->device, &d), *second = run_on_device(contexts->device, &d);
    heed_difference difference;
    ASSERT_OK(heed_tensor_compare(first, second, &difference));
    assert_true(heed_difference_within(&difference, 0));
    heed_tensor_destroy(first);
    heed_tensor_destroy(second);
  }
}

// ---------------------------------------------------------------- contexts

static int open_contexts(void **state) {
  static struct contexts contexts;
  void *host = NULL, *device = NULL;
  *state = &contexts;
  // What the draws do themselves; and it builds kernels of its own.
  if (setenv("HEED_GEMM_PROBE", "off", 1) != 0) return -1;
  if (support_open_host(&host) != 0 || support_open_device(&device) != 0) return -1;
  contexts = (struct contexts){.host = host, .device = device};
  return 0;
}

static int close_contexts(void **state) {
  struct contexts *contexts = *state;
  void *host = contexts->host, *device = contexts->device;
  const int host_left = support_close(&host), device_left = support_close(&device);
  return host_left == 0 && device_left == 0 ? 0 : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(any_problem_matches_the_host),
      cmocka_unit_test(a_large_product_matches_the_host),
      cmocka_unit_test(the_same_call_gives_the_same_bits),
  };
  return cmocka_run_group_tests(tests, open_contexts, close_contexts);
}
