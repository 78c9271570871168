// Small inputs on which heed was wrong once, by `heed run` on the host and on the device, and attention on every path. A case is a row
// of the table below: the file, the call, and what is right: a file beside it, values, the definition in double precision, a refusal
// that says why, or only that the call succeeds. HEED_REPORTED names the folder. With the argument "device" the host is left out, and without a device all are skipped.
#include <heed/io.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/tool.h"
#include "support_listen.h"
#include "support_values.h"

enum { MOST_WORDS = 24, MOST_VALUES = 8 };
static char folder[1024], output[64];

// Float64 results, in the order of heed's names for them.
struct right {
  const char *name;
  double *values;
  int64_t count;
};

struct reported {
  const char *file, *op, *options;
  double tolerance;  // of ‖x − r‖/‖r‖, for each tensor
  const char *right_file;
  struct {
    const char *name;
    int count;
    double values[MOST_VALUES];
  } values[2];
  double softcap;       // not 0: attention by its definition
  bool softmax;         // of "x" by its definition
  const char *refusal;  // what the message says where heed must not compute anything
  bool only_staged;     // the fused path does not compute all of the file's gradients, and says so
};

static const struct reported cases[] = {
    // Scores of 0, so that each is a mean of v, which is 1, 2 and 6: by the mask of the first, and of the first two; by the length of the first.
    {.file = "01_attn_mask", .op = "attention", .options = "", .values = {{"out", 2, {1, 1.5}}}, .tolerance = 1e-6},
    {.file = "01_nonpad_kv_seqlen",
     .op = "attention",
     .options = "",
     .values = {{"out", 2, {1, 1}}},
     .tolerance = 1e-6},
    {.file = "01_grad_out", .op = "attention", .options = "", .refusal = "grad_out: attention has no such tensor"},
    {.file = "01_sgd_momentum",
     .op = "sgd",
     .options = "--momentum 0.9 --lr 1",
     .refusal = "momentum: sgd has no such tensor; did you mean momentum_buffer?"},
    {.file = "01_ce_weight",
     .op = "cross_entropy",
     .options = "",
     .tolerance = 5e-5,
     .values = {{"loss", 1, {2.1283}}}},
    // What F32 cannot know must not stop validation.
    {.file = "02_self_attention", .op = "attention", .options = "--validate"},
    {.file = "02_self_attention_d128", .op = "attention", .options = "--validate"},
    {.file = "02_softmax_sum", .op = "softmax", .options = "--validate"},
    {.file = "02_mask_minus_10000", .op = "attention", .options = "--validate"},
    {.file = "02_mask_per_query_grad", .op = "attention", .options = "--validate", .only_staged = true},
    {.file = "03_ce_inf",
     .op = "cross_entropy",
     .options = "--grad --reduction none",
     .values = {{"loss", 1, {NAN}}, {"grad.logits", 4, {NAN, NAN, NAN, NAN}}}},
    // ONNX: q, k and v of rank 3, the past of rank 4. Sums of at most 18 terms.
    {.file = "05_onnx_3d_with_past",
     .op = "attention",
     .options = "--heads 3",
     .right_file = "05_onnx_3d_with_past.right",
     .tolerance = 1e-6},
    // A rounding of results to BF16 is 2^-9; four of them.
    {.file = "06_bf16_peaky",
     .op = "attention",
     .options = "",
     .right_file = "06_bf16_peaky.right",
     .tolerance = 0x1p-7},
    // 2e-6: the sums of a row of three in F32.
    {.file = "09_x_beside_F8_E4M3", .op = "softmax", .options = "", .softmax = true, .tolerance = 2e-6},
    {.file = "09_x_beside_I8", .op = "softmax", .options = "", .softmax = true, .tolerance = 2e-6},
    {.file = "07_softcap_saturated", .op = "attention", .options = "--softcap 50", .softcap = 50, .tolerance = 2e-5},
    {.file = "10_ce_out_of_range",
     .op = "cross_entropy",
     .options = "",
     .refusal = "target of row 3 is 3; with 3 classes it must be 0 to 2"},
};

// ---------------------------------------------------------------- files

static heed_safetensors *read_file(const char *name) {
  char path[2048];
  heed_safetensors *file = NULL;
  snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
  ASSERT_OK(heed_safetensors_read(path, &file));
  return file;
}

static const float *values_of(const heed_safetensors *file, const char *name, int64_t *count) {
  const heed_array *array = heed_safetensors_find(file, name);
  if (!array) fail_msg("there is no %s", name);
  heed_tensor *t = NULL;
  ASSERT_OK(heed_array_to_tensor(array, support_other(), &t));
  *count = heed_tensor_count(support_keep(t));
  return support_get(t);
}

// ---------------------------------------------------------------- attention by its definition, of one head

struct head {
  int64_t queries, keys, dim;
  const float *q, *k, *v, *dout;
  double *dq, *dk, *dv;
};

static double *zeros(int64_t count) { return support_memory((size_t)count * sizeof(double)); }

static double dot(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t d = 0; d < n; ++d) sum += (double)a[d] * (double)b[d];
  return sum;
}

static void row_gradients(const struct head *a, int64_t i, double cap) {
  const double scale = 1 / sqrt((double)a->dim);
  double *p = zeros(a->keys), *slope = zeros(a->keys), most = -INFINITY, sum = 0, delta = 0;
  const float *q = a->q + i * a->dim, *dout = a->dout + i * a->dim;
  for (int64_t j = 0; j < a->keys; ++j) {
    const double x = scale * dot(q, a->k + j * a->dim, a->dim) / cap;
    slope[j] = 1 / (cosh(x) * cosh(x));
    p[j] = cap * tanh(x);
    most = fmax(most, p[j]);
  }
  for (int64_t j = 0; j < a->keys; ++j) sum += p[j] = exp(p[j] - most);
  for (int64_t j = 0; j < a->keys; ++j) delta += (p[j] /= sum) * dot(dout, a->v + j * a->dim, a->dim);
  for (int64_t j = 0; j < a->keys; ++j) {
    const double ds = p[j] * (dot(dout, a->v + j * a->dim, a->dim) - delta) * slope[j] * scale;
    for (int64_t d = 0; d < a->dim; ++d) {
      a->dq[i * a->dim + d] += ds * (double)a->k[j * a->dim + d];
      a->dk[j * a->dim + d] += ds * (double)q[d];
      a->dv[j * a->dim + d] += p[j] * (double)dout[d];
    }
  }
}

static size_t attention_gradients(const heed_safetensors *file, double cap, struct right *right) {
  int64_t q_count, k_count;
  struct head a = {.dim = heed_safetensors_find(file, "q")->dims[3]};
  a.q = values_of(file, "q", &q_count);
  a.dout = values_of(file, "grad.out", &q_count);
  a.k = values_of(file, "k", &k_count);
  a.v = values_of(file, "v", &k_count);
  a.queries = q_count / a.dim, a.keys = k_count / a.dim;
  a.dq = zeros(q_count), a.dk = zeros(k_count), a.dv = zeros(k_count);
  for (int64_t i = 0; i < a.queries; ++i) row_gradients(&a, i, cap);
  right[0] = (struct right){"grad.q", a.dq, q_count};
  right[1] = (struct right){"grad.k", a.dk, k_count};
  right[2] = (struct right){"grad.v", a.dv, k_count};
  return 3;
}

static struct right softmax_of(const heed_safetensors *file) {
  int64_t count;
  const float *x = values_of(file, "x", &count);
  const int64_t row = heed_safetensors_find(file, "x")->dims[1];
  double *out = zeros(count);
  for (int64_t start = 0; start < count; start += row) {
    double sum = 0;
    for (int64_t i = start; i < start + row; ++i) sum += out[i] = exp((double)x[i]);
    for (int64_t i = start; i < start + row; ++i) out[i] /= sum;
  }
  return (struct right){"out", out, count};
}

// ---------------------------------------------------------------- a case

enum { MOST_RIGHT = 8 };
static size_t right_of(const struct reported *c, struct right *right) {
  size_t count = 0;
  if (c->right_file) {
    heed_safetensors *file = read_file(c->right_file);
    for (size_t t = 0; t < heed_safetensors_count(file) && count < MOST_RIGHT; ++t) {
      int64_t n;
      const char *name = heed_safetensors_get(file, t)->name;
      const float *values = values_of(file, name, &n);
      right[count] = (struct right){strcpy(support_memory(strlen(name)), name), zeros(n), n};
      for (int64_t i = 0; i < n; ++i) right[count].values[i] = (double)values[i];
      ++count;
    }
    heed_safetensors_destroy(file);
  } else if (c->softcap > 0) {
    heed_safetensors *file = read_file(c->file);
    count = attention_gradients(file, c->softcap, right);
    heed_safetensors_destroy(file);
  } else if (c->softmax) {
    heed_safetensors *file = read_file(c->file);
    right[count++] = softmax_of(file);
    heed_safetensors_destroy(file);
  } else {
    for (; count < 2 && c->values[count].name; ++count)
      right[count] = (struct right){c->values[count].name, (double *)c->values[count].values, c->values[count].count};
  }
  return count;
}

// NaN where one is NaN and the other is not.
static double error_of(const float *actual, const struct right *right) {
  double error = 0, norm = 0;
  for (int64_t i = 0; i < right->count; ++i) {
    if (isnan(actual[i]) && isnan(right->values[i])) continue;
    error += pow((double)actual[i] - right->values[i], 2);
    norm += pow(right->values[i], 2);
  }
  return norm > 0 ? sqrt(error / norm) : sqrt(error);
}

static int run_refused(const struct reported *c, int count, const char **words) {
  char said[1024];
  const support_listening listening = support_listen_begin(STDERR_FILENO);
  const int status = cmd_run(count, words);
  support_listen_end(listening, said, sizeof said);
  if (status == TOOL_FAILED && strstr(said, c->refusal)) return 0;
  print_error("%s: exit %d instead of a refusal with \"%s\": %s\n", c->file, status, c->refusal, said);
  return 1;
}

static int run_case(const struct reported *c, const char *device, const char *more) {
  char path[2048], options[256];
  snprintf(path, sizeof path, "%s/%s.safetensors", folder, c->file);
  snprintf(options, sizeof options, "%s %s", c->options, more);
  const char *words[MOST_WORDS] = {"run", c->op, "-i", path, "-o", output};
  int count = 6, wrong = 0;
  if (device) words[count++] = "--device", words[count++] = device;
  char *rest = NULL;
  for (char *word = strtok_r(options, " ", &rest); word && count + 1 < MOST_WORDS; word = strtok_r(NULL, " ", &rest))
    words[count++] = word;
  if (c->refusal) return run_refused(c, count, words);
  heed_safetensors *result = NULL;
  if (cmd_run(count, words) != TOOL_DONE) return 1;
  ASSERT_OK(heed_safetensors_read(output, &result));
  struct right right[MOST_RIGHT];
  const size_t rights = right_of(c, right);
  for (size_t t = 0; t < rights; ++t) {
    int64_t n;
    const float *actual = values_of(result, right[t].name, &n);
    assert_int_equal(n, right[t].count);
    const double error = error_of(actual, &right[t]);
    if (error <= c->tolerance) continue;
    print_error("%s %s: %s misses by %.3g (tolerance %.3g)\n", c->file, more, right[t].name, error, c->tolerance);
    ++wrong;
  }
  heed_safetensors_destroy(result);
  return wrong;
}

static void run_cases(const char *device) {
  static const char *const paths[] = {"", "--path staged", "--path fused"};
  int wrong = 0;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const size_t count = strcmp(cases[i].op, "attention") == 0 ? 3 : 1;
    for (size_t path = 0; path < (cases[i].only_staged ? 2 : count); ++path)
      wrong += run_case(&cases[i], device, paths[path]);
  }
  assert_int_equal(wrong, 0);
}

static void the_host_is_right(void **state) {
  (void)state;
  run_cases("host");
}

static void the_device_is_right(void **state) {
  support_context(state);  // skips the test where there is none
  run_cases(NULL);
}

// Whether HEED_DEVICE, or who else decides, finds one.
static bool has_device(void) {
  heed_device_list *list = NULL;
  size_t index = 0;
  const char *host_only = getenv("HEED_TEST_HOST_ONLY");
  if (host_only && strcmp(host_only, "1") == 0) return false;
  if (heed_device_list_create(&list) != HEED_OK) return false;
  const bool found = heed_device_list_find(list, NULL, &index) == HEED_OK &&
                     heed_device_list_get(list, index)->type != HEED_DEVICE_HOST;
  heed_device_list_destroy(list);
  return found;
}

int main(int argc, char **argv) {
  const bool only_device = argc > 1 && strcmp(argv[1], "device") == 0;
  const char *named = getenv("HEED_REPORTED"), *ci = getenv("CI");
  snprintf(folder, sizeof folder, "%s", named && *named ? named : HEED_SOURCE_DIR "/../shared/reported");
  struct stat found;
  if (stat(folder, &found) != 0) {
    fprintf(stderr, "there is no folder %s; name it in HEED_REPORTED\n", folder);
    return ci && strcmp(ci, "true") == 0 ? 1 : 77;
  }
  snprintf(output, sizeof output, "/tmp/heed-reported-%ld.safetensors", (long)getpid());
  const struct CMUnitTest on_host[] = {TEST(the_host_is_right)}, on_device[] = {TEST(the_device_is_right)};
  if (only_device && !has_device()) return 77;
  const int failed =
      (only_device ? 0 : cmocka_run_group_tests_name("reported, on the host", on_host, NULL, NULL)) +
      cmocka_run_group_tests_name("reported, on the device", on_device, support_open_device, support_close);
  unlink(output);
  return failed;
}
