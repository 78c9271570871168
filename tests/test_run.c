// heed run: the same attention by other means gives the same result: heads side by side in rank 3, keys split into past and
// new, 16-bit storage. Runs on the device that heed_open(NULL) picks.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <heed/io.h>

#include "support_devices.h"
#include "support_listen.h"
#include "cli/tool.h"

enum { B = 2, HQ = 4, HKV = 2, LQ = 5, LK = 7, D = 6, DV = 3 };

static char in_path[64], out_path[64];

static int name_files(void **state) {
  (void)state;
  snprintf(in_path, sizeof in_path, "/tmp/heed-run-%ld-in.safetensors", (long)getpid());
  snprintf(out_path, sizeof out_path, "/tmp/heed-run-%ld-out.safetensors", (long)getpid());
  return 0;
}

static int remove_files(void **state) {
  (void)state;
  unlink(in_path);
  unlink(out_path);
  return 0;
}

// One named array of F32 values [B, H, L, D] in the test's memory.
typedef struct array4 {
  const char *name;
  int64_t heads, length, width;
  uint64_t seed;
} array4;

static const array4 q = {"q", HQ, LQ, D, 1}, k = {"k", HKV, LK, D, 2}, v = {"v", HKV, LK, DV, 3},
                    dout = {"grad.out", HQ, LQ, DV, 4};

static float value(const array4 *a, int64_t b, int64_t h, int64_t l, int64_t d) {
  const int64_t index = ((b * a->heads + h) * a->length + l) * a->width + d;
  return (float)(2 * heed_random_uniform(a->seed, 0, (uint64_t)index) - 1);
}

// Adds keys (or queries) from..to of the array under `name`, in rank 4 or as [B, L, H·D].
static void add_part(heed_safetensors *file, const array4 *a, const char *name, int64_t from, int64_t to, int rank) {
  const int64_t length = to - from;
  float data[B * HQ * LK * D];
  for (int64_t b = 0; b < B; b++)
    for (int64_t h = 0; h < a->heads; h++)
      for (int64_t l = 0; l < length; l++)
        for (int64_t d = 0; d < a->width; d++) {
          const int64_t rank4 = ((b * a->heads + h) * length + l) * a->width + d;
          const int64_t rank3 = ((b * length + l) * a->heads + h) * a->width + d;
          data[rank == 4 ? rank4 : rank3] = value(a, b, h, l + from, d);
        }
  const int64_t dims4[] = {B, a->heads, length, a->width}, dims3[] = {B, length, a->heads * a->width};
  ASSERT_OK(heed_safetensors_add(file, name, HEED_F32, rank, rank == 4 ? dims4 : dims3, data));
}

static void add(heed_safetensors *file, const array4 *a, int rank) { add_part(file, a, a->name, 0, a->length, rank); }

static heed_safetensors *create(void) {
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_create(&file));
  return file;
}

// Writes the file, frees it, runs heed run on it, and reads the result. words end with NULL.
static heed_safetensors *run(heed_safetensors *file, const char *const *words) {
  const char *all[16] = {"run"};
  int count = 1;
  for (; *words; words++) all[count++] = *words;
  const char *const files[] = {"-i", in_path, "-o", out_path};
  for (int i = 0; i < 4; i++) all[count++] = files[i];
  ASSERT_OK(heed_safetensors_write(file, in_path));
  heed_safetensors_destroy(file);
  assert_int_equal(cmd_run(count, all), TOOL_DONE);
  heed_safetensors *result = NULL;
  ASSERT_OK(heed_safetensors_read(out_path, &result));
  return result;
}
#define RUN(file, ...) run((file), (const char *const[]){__VA_ARGS__, NULL})

static const float *floats(const heed_safetensors *file, const char *name, int64_t count) {
  const heed_array *array = heed_safetensors_find(file, name);
  if (!array) fail_msg("there is no %s", name);
  assert_int_equal(array->dtype, HEED_F32);
  assert_int_equal(array->bytes, (size_t)count * sizeof(float));
  return array->data;
}

// Elements from..to along the length of `whole` in file a, [B, H, L, D], are those of `part` in file b, in rank 4 or 3.
static void assert_same(const heed_safetensors *a, const array4 *shape, const char *whole, const heed_safetensors *b,
                        const char *part, int64_t from, int64_t to, int rank) {
  const int64_t length = to - from, rows = B * shape->heads;
  const float *x = floats(a, whole, rows * shape->length * shape->width);
  const float *y = floats(b, part, rows * length * shape->width);
  double difference = 0, norm = 0;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t l = 0; l < length; l++)
      for (int64_t d = 0; d < shape->width; d++) {
        const int64_t head = r % shape->heads, batch = r / shape->heads;
        const int64_t rank3 = ((batch * length + l) * shape->heads + head) * shape->width + d;
        const double expected = (double)x[(r * shape->length + l + from) * shape->width + d];
        const double actual = (double)y[rank == 4 ? (r * length + l) * shape->width + d : rank3];
        difference += (actual - expected) * (actual - expected);
        norm += expected * expected;
      }
  // Another memory layout may take another kernel, and so another order of sums of at most 35 terms: 35 · 2^-24 = 2e-6.
  if (!(sqrt(difference) <= 2e-6 * sqrt(norm))) fail_msg("%s: relative difference %g", part, sqrt(difference / norm));
}

static heed_safetensors *attention_of_rank(int rank) {
  heed_safetensors *file = create();
  add(file, &q, rank);
  add(file, &k, rank);
  add(file, &v, rank);
  add(file, &dout, rank);
  return file;
}

static void rank_3_is_rank_4_with_heads_side_by_side(void **state) {
  (void)state;
  heed_safetensors *rank4 = RUN(attention_of_rank(4), "attention", "--causal=bottom-right", "--weights");
  heed_safetensors *rank3 =
      RUN(attention_of_rank(3), "attention", "--causal=bottom-right", "--weights", "--heads", "4", "--kv-heads", "2");
  assert_int_equal(heed_safetensors_find(rank3, "out")->rank, 3);
  assert_int_equal(heed_safetensors_find(rank3, "grad.k")->rank, 3);
  assert_same(rank4, &dout, "out", rank3, "out", 0, LQ, 3);
  assert_same(rank4, &q, "grad.q", rank3, "grad.q", 0, LQ, 3);
  assert_same(rank4, &k, "grad.k", rank3, "grad.k", 0, LK, 3);
  assert_same(rank4, &v, "grad.v", rank3, "grad.v", 0, LK, 3);
  const array4 lse = {"lse", HQ, LQ, 1, 0}, weights = {"weights", HQ, LQ, LK, 0};
  assert_same(rank4, &lse, "lse", rank3, "lse", 0, LQ, 4);
  assert_same(rank4, &weights, "weights", rank3, "weights", 0, LQ, 4);
  heed_safetensors_destroy(rank4);
  heed_safetensors_destroy(rank3);
}

// The first query stands at position 2 = Lk − Lq, so that bottom-right without a past is top-left with one.
enum { PAST = LK - LQ };

static heed_safetensors *attention_with_past(int rank, int past_rank) {
  heed_safetensors *file = create();
  add(file, &q, rank);
  add(file, &dout, rank);
  add_part(file, &k, "past_k", 0, PAST, past_rank);
  add_part(file, &v, "past_v", 0, PAST, past_rank);
  add_part(file, &k, "k", PAST, LK, rank);
  add_part(file, &v, "v", PAST, LK, rank);
  return file;
}

// ONNX has q, k and v of rank 3 beside a past of rank 4.
static void past_keys_are_keys_that_stand_before_the_new_ones(void **state) {
  (void)state;
  heed_safetensors *whole = RUN(attention_of_rank(4), "attention", "--causal=bottom-right");
  for (int rank = 3; rank <= 4; rank++)
    for (int past_rank = 3; past_rank <= 4; past_rank++) {
      heed_safetensors *split =
          RUN(attention_with_past(rank, past_rank), "attention", "--causal", "--heads", "4", "--kv-heads", "2");
      assert_int_equal(heed_safetensors_find(split, "grad.k")->rank, rank);
      assert_int_equal(heed_safetensors_find(split, "grad.past_k")->rank, past_rank);
      assert_same(whole, &dout, "out", split, "out", 0, LQ, rank);
      assert_same(whole, &q, "grad.q", split, "grad.q", 0, LQ, rank);
      assert_same(whole, &k, "grad.k", split, "grad.past_k", 0, PAST, past_rank);
      assert_same(whole, &k, "grad.k", split, "grad.k", PAST, LK, rank);
      assert_same(whole, &v, "grad.v", split, "grad.past_v", 0, PAST, past_rank);
      assert_same(whole, &v, "grad.v", split, "grad.v", PAST, LK, rank);
      heed_safetensors_destroy(split);
    }
  heed_safetensors_destroy(whole);
}

static void assert_present(heed_safetensors *result) {
  static const array4 *const arrays[] = {&k, &v};
  for (int i = 0; i < 2; i++) {
    const char *name = i ? "present_v" : "present_k";
    const float *present = floats(result, name, B * HKV * LK * arrays[i]->width);
    assert_int_equal(heed_safetensors_find(result, name)->rank, 4);
    for (int64_t at = 0; at < B * HKV * LK * arrays[i]->width; at++)
      assert_true(present[at] == (float)(2 * heed_random_uniform(arrays[i]->seed, 0, (uint64_t)at) - 1));
  }
  heed_safetensors_destroy(result);
}

static void present_keys_are_past_and_new_ones(void **state) {
  (void)state;
  for (int rank = 3; rank <= 4; rank++) {
    assert_present(RUN(attention_with_past(rank, 4), "attention", "--present", "--heads", "4", "--kv-heads", "2"));
    assert_present(RUN(attention_of_rank(rank), "attention", "--present", "--heads", "4", "--kv-heads", "2"));
  }
}

static void weights_are_those_of_the_step_that_is_named(void **state) {
  (void)state;
  enum { COUNT = B * HQ * LQ * LK };
  static const char *const steps[] = {"--weights=raw", "--weights=softcap", "--weights=masked", "--weights=softmax"};
  heed_safetensors *results[5];
  const float *w[5];
  for (int i = 0; i < 5; i++) {
    results[i] = RUN(attention_of_rank(4), "attention", "--causal", "--softcap", "0.5", i < 4 ? steps[i] : "--weights");
    w[i] = floats(results[i], "weights", COUNT);
  }
  assert_string_equal(heed_safetensors_metadata(results[0], "options"), "--causal --softcap 0.5 --weights=raw");
  const float *lse = floats(results[2], "lse", B * HQ * LQ);
  for (int64_t at = 0; at < COUNT; at++) {
    const double softcap = 0.5 * tanh((double)w[0][at] / 0.5), masked = (double)w[2][at];
    assert_true(fabs((double)w[1][at] - softcap) <= 1e-6);
    assert_true(at % LK > at / LK % LQ ? masked == -INFINITY : fabs(masked - softcap) <= 1e-6);
    assert_true(fabs((double)w[3][at] - exp(masked - (double)lse[at / LK])) <= 1e-6);
    assert_true(w[3][at] == w[4][at]);
  }
  for (int i = 0; i < 5; i++) heed_safetensors_destroy(results[i]);
}

static void outputs_have_the_dtype_of_the_inputs(void **state) {
  (void)state;
  static const heed_dtype dtypes[] = {HEED_F16, HEED_BF16};
  static const uint16_t zeros[B * HQ * LK * D];
  for (int i = 0; i < 2; i++) {
    heed_safetensors *file = create();
    const array4 *const arrays[] = {&q, &k, &v, &dout};
    for (int j = 0; j < 4; j++)
      ASSERT_OK(heed_safetensors_add(file, arrays[j]->name, dtypes[i], 4,
                                     (const int64_t[]){B, arrays[j]->heads, arrays[j]->length, arrays[j]->width},
                                     zeros));
    ASSERT_OK(heed_safetensors_add(file, "mask", dtypes[i], 2, (const int64_t[]){LQ, LK}, zeros));
    heed_safetensors *result = RUN(file, "attention", "--weights");
    static const char *const names[] = {"out", "weights", "grad.q", "grad.k", "grad.v", "grad.mask"};
    for (int j = 0; j < 6; j++) {
      assert_non_null(heed_safetensors_find(result, names[j]));
      assert_int_equal(heed_safetensors_find(result, names[j])->dtype, dtypes[i]);
    }
    assert_int_equal(heed_safetensors_find(result, "lse")->dtype, HEED_F32);
    heed_safetensors_destroy(result);
  }
}

static void metadata_tells_what_was_run(void **state) {
  (void)state;
  heed_safetensors *file = create();
  ASSERT_OK(heed_safetensors_add(file, "x", HEED_F32, 2, (const int64_t[]){2, 2}, (const float[]){0, 0, 0, 0}));
  heed_safetensors *result = RUN(file, "softmax", "--axis", "0", "--log");
  assert_string_equal(heed_safetensors_metadata(result, "op"), "softmax");
  assert_string_equal(heed_safetensors_metadata(result, "options"), "--axis 0 --log");
  assert_string_equal(heed_safetensors_metadata(result, "heed"), heed_version());
  assert_non_null(heed_safetensors_metadata(result, "device"));
  for (int i = 0; i < 4; i++)
    assert_true(fabs((double)floats(result, "out", 4)[i] + log(2)) <= 1e-6);  // log ½, a few ulp
  assert_null(heed_safetensors_find(result, "grad.x"));
  heed_safetensors_destroy(result);
}

static void a_first_sgd_step_makes_its_momentum_buffer(void **state) {
  (void)state;
  heed_safetensors *file = create();
  ASSERT_OK(heed_safetensors_add(file, "param", HEED_F32, 1, (const int64_t[]){2}, (const float[]){1, 2}));
  ASSERT_OK(heed_safetensors_add(file, "grad", HEED_F32, 1, (const int64_t[]){2}, (const float[]){4, -8}));
  heed_safetensors *result = RUN(file, "sgd", "--lr", "0.25", "--momentum", "0.5", "--dampening", "0.5");
  const float *param = floats(result, "param", 2), *buffer = floats(result, "momentum_buffer", 2);
  assert_true(buffer[0] == 4 && buffer[1] == -8);  // the gradient itself, not dampened
  assert_true(param[0] == 0 && param[1] == 4);
  heed_safetensors_destroy(result);
}

// PyTorch has one row also as [C] with a target without axes; values are those of [1, C].
static void cross_entropy_takes_one_row_without_its_axis(void **state) {
  (void)state;
  const float logits[] = {0.5f, -1, 2};
  const int64_t target = 2;
  heed_safetensors *results[2];
  for (int flat = 0; flat < 2; flat++) {
    heed_safetensors *file = create();
    ASSERT_OK(heed_safetensors_add(file, "logits", HEED_F32, 2 - flat,
                                   flat ? (const int64_t[]){3} : (const int64_t[]){1, 3}, logits));
    ASSERT_OK(heed_safetensors_add(file, "target", HEED_I64, 1 - flat, (const int64_t[]){1}, &target));
    results[flat] = RUN(file, "cross_entropy", "--grad");
  }
  assert_int_equal(heed_safetensors_find(results[1], "grad.logits")->rank, 1);
  for (int i = 0; i < 3; i++)
    assert_true(floats(results[0], "grad.logits", 3)[i] == floats(results[1], "grad.logits", 3)[i]);
  const double loss = log(exp(0.5) + exp(-1) + exp(2)) - 2;
  assert_true(fabs(floats(results[1], "loss", 1)[0] - loss) <= 1e-6);
  heed_safetensors_destroy(results[0]);
  heed_safetensors_destroy(results[1]);
}

// ---------------------------------------------------------------- names

// A tensor under heed's name and under another; values follow from the position in the list.
typedef struct named {
  const char *own, *other;
  heed_dtype dtype;
  int rank;
  int64_t dims[4];
} named;

static void add_named(heed_safetensors *file, const named *tensor, uint64_t seed, bool other) {
  union {
    float real[256];
    int64_t integer[256];
    uint8_t boolean[256];
  } data;
  for (uint64_t i = 0; i < 256; i++) {
    const double random = heed_random_uniform(seed, 1, i);
    if (tensor->dtype == HEED_F32) data.real[i] = (float)(2 * random - 1);
    if (tensor->dtype == HEED_I64) data.integer[i] = 2;
    if (tensor->dtype == HEED_BOOL) data.boolean[i] = random < 0.7;
  }
  ASSERT_OK(heed_safetensors_add(file, other ? tensor->other : tensor->own, tensor->dtype, tensor->rank, tensor->dims,
                                 &data));
}

static void assert_same_results(heed_safetensors *a, heed_safetensors *b) {
  assert_int_equal(heed_safetensors_count(a), heed_safetensors_count(b));
  for (size_t i = 0; i < heed_safetensors_count(a); i++) {
    const heed_array *x = heed_safetensors_get(a, i), *y = heed_safetensors_find(b, x->name);
    if (!y || y->bytes != x->bytes || memcmp(x->data, y->data, x->bytes) != 0) fail_msg("%s differs", x->name);
  }
  heed_safetensors_destroy(a);
  heed_safetensors_destroy(b);
}

// The operator takes the file under either kind of names, to the same results under heed's own.
static void assert_synonyms(const named *list, size_t count, const char *const *words) {
  heed_safetensors *results[2];
  for (int other = 0; other < 2; other++) {
    heed_safetensors *file = create();
    for (size_t i = 0; i < count; i++) add_named(file, &list[i], i, other);
    results[other] = run(file, words);
  }
  assert_same_results(results[0], results[1]);
}
#define ASSERT_SYNONYMS(list, ...) \
  assert_synonyms(list, sizeof(list) / sizeof *(list), (const char *const[]){__VA_ARGS__, NULL})

static void attention_takes_the_names_of_onnx_and_pytorch(void **state) {
  (void)state;
  static const named past[] = {
      {"q", "query", HEED_F32, 4, {1, 2, 2, 4}},          {"k", "key", HEED_F32, 4, {1, 2, 3, 4}},
      {"v", "value", HEED_F32, 4, {1, 2, 3, 4}},          {"grad.out", "grad.out", HEED_F32, 4, {1, 2, 2, 4}},
      {"mask", "attn_mask", HEED_F32, 2, {2, 5}},         {"past_k", "past_key", HEED_F32, 4, {1, 2, 2, 4}},
      {"past_v", "past_value", HEED_F32, 4, {1, 2, 2, 4}}};
  static const named lengths[] = {{"q", "Q", HEED_F32, 4, {1, 2, 2, 4}},
                                  {"k", "K", HEED_F32, 4, {1, 2, 3, 4}},
                                  {"v", "V", HEED_F32, 4, {1, 2, 3, 4}},
                                  {"mask", "attn_mask", HEED_BOOL, 2, {2, 3}},
                                  {"kv_lengths", "nonpad_kv_seqlen", HEED_I64, 1, {1}}};
  ASSERT_SYNONYMS(past, "attention");
  ASSERT_SYNONYMS(lengths, "attention");
}

static void cross_entropy_takes_the_names_of_onnx_and_pytorch(void **state) {
  (void)state;
  static const named onnx[] = {{"logits", "scores", HEED_F32, 2, {1, 5}},
                               {"target", "labels", HEED_F32, 2, {1, 5}},
                               {"weight", "weights", HEED_F32, 1, {5}}};
  static const named torch[] = {{"logits", "input", HEED_F32, 2, {3, 5}}, {"target", "target", HEED_F32, 2, {3, 5}}};
  ASSERT_SYNONYMS(onnx, "cross_entropy", "--grad", "--class-axis", "last");
  ASSERT_SYNONYMS(torch, "cross_entropy", "--grad", "--class-axis", "last");
}

static void mlp_takes_the_names_of_sequential(void **state) {
  (void)state;
  static const named layers[] = {{"x", "x", HEED_F32, 2, {2, 3}},
                                 {"grad.out", "grad.out", HEED_F32, 2, {2, 5}},
                                 {"l1.weight", "0.weight", HEED_F32, 2, {4, 3}},
                                 {"l1.bias", "0.bias", HEED_F32, 1, {4}},
                                 {"l2.weight", "2.weight", HEED_F32, 2, {5, 4}},
                                 {"l2.bias", "2.bias", HEED_F32, 1, {5}}};
  ASSERT_SYNONYMS(layers, "mlp");
}

static void mha_takes_the_joined_projections_of_pytorch(void **state) {
  (void)state;
  static const named rest[] = {{"query", "query", HEED_F32, 3, {1, 3, 4}},
                               {"grad.out", "grad.out", HEED_F32, 3, {1, 3, 4}},
                               {"mask", "attn_mask", HEED_F32, 2, {3, 3}},
                               {"o_proj.weight", "out_proj.weight", HEED_F32, 2, {4, 4}},
                               {"o_proj.bias", "out_proj.bias", HEED_F32, 1, {4}}};
  float weight[12 * 4], bias[12];
  for (uint64_t i = 0; i < 48; i++) weight[i] = (float)heed_random_uniform(5, 0, i);
  for (uint64_t i = 0; i < 12; i++) bias[i] = (float)heed_random_uniform(6, 0, i);
  heed_safetensors *apart = create(), *joined = create();
  for (size_t i = 0; i < 5; i++) {
    add_named(apart, &rest[i], i, false);
    add_named(joined, &rest[i], i, true);
  }
  for (int i = 0; i < 3; i++) {
    const char *const weights[] = {"q_proj.weight", "k_proj.weight", "v_proj.weight"};
    const char *const biases[] = {"q_proj.bias", "k_proj.bias", "v_proj.bias"};
    ASSERT_OK(heed_safetensors_add(apart, weights[i], HEED_F32, 2, (const int64_t[]){4, 4}, weight + i * 16));
    ASSERT_OK(heed_safetensors_add(apart, biases[i], HEED_F32, 1, (const int64_t[]){4}, bias + i * 4));
  }
  ASSERT_OK(heed_safetensors_add(joined, "in_proj_weight", HEED_F32, 2, (const int64_t[]){12, 4}, weight));
  ASSERT_OK(heed_safetensors_add(joined, "in_proj_bias", HEED_F32, 1, (const int64_t[]){12}, bias));
  heed_safetensors *result = RUN(apart, "mha", "--heads", "2");
  assert_same_results(result, RUN(joined, "mha", "--heads", "2"));
}

// ---------------------------------------------------------------- the device

// What heed run says on stderr, into text.
static void listen(const char *device, char text[1024]) {
  heed_safetensors *file = create();
  add_named(file, &(named){"x", NULL, HEED_F32, 1, {3}}, 1, false);
  const support_listening listening = support_listen_begin(STDERR_FILENO);
  heed_safetensors_destroy(RUN(file, "softmax", "--device", device));
  support_listen_end(listening, text, 1024);
}

// Named, it is what the user knows already; and there may be nothing to choose from.
static void the_device_is_told_where_nobody_chose_it(void **state) {
  (void)state;
  char text[1024];
  listen("host", text);
  assert_string_equal(text, "");
  if (getenv("HEED_TEST_HOST_ONLY")) skip();
  heed_device_list *list = NULL;
  ASSERT_OK(heed_device_list_create(&list));
  const bool several = heed_device_list_count(list) > 2;  // and the host
  heed_device_list_destroy(list);
  listen("auto", text);
  assert_int_equal(strstr(text, "--device names another") != NULL, several);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rank_3_is_rank_4_with_heads_side_by_side),
      cmocka_unit_test(past_keys_are_keys_that_stand_before_the_new_ones),
      cmocka_unit_test(present_keys_are_past_and_new_ones),
      cmocka_unit_test(weights_are_those_of_the_step_that_is_named),
      cmocka_unit_test(outputs_have_the_dtype_of_the_inputs),
      cmocka_unit_test(metadata_tells_what_was_run),
      cmocka_unit_test(a_first_sgd_step_makes_its_momentum_buffer),
      cmocka_unit_test(attention_takes_the_names_of_onnx_and_pytorch),
      cmocka_unit_test(cross_entropy_takes_one_row_without_its_axis),
      cmocka_unit_test(cross_entropy_takes_the_names_of_onnx_and_pytorch),
      cmocka_unit_test(mlp_takes_the_names_of_sequential),
      cmocka_unit_test(mha_takes_the_joined_projections_of_pytorch),
      cmocka_unit_test(the_device_is_told_where_nobody_chose_it),
  };
  return cmocka_run_group_tests(tests, name_files, remove_files);
}
