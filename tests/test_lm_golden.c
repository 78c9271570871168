// heed lm on models that PyTorch trained in float64: ten steps of AdamW from the same weights give its losses, norms and weights, and what
// is saved then continues texts greedily as `transformers` does. HEED_GOLDEN_TRANSFORMER names the folder: models/NAME.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <heed/io.h>

#include "support_lm.h"

enum { STEPS = 10 };
// Ten steps add up the rounding of F32: PyTorch itself is within 1.5e-7 and 6e-6 of its float64.
static const double loss_tolerance = 1e-6, weight_tolerance = 2e-5;
// A keys' bias has a gradient of zero or nearly, whose rounding AdamW scales up.
static const double key_bias_tolerance = 1e-3;

static const char *const models[] = {"gpt2", "llama", "mistral", "qwen2"};
enum { MODELS = sizeof models / sizeof *models };

static const char *path_of(const char *model, const char *file) {
  static char ring[4][512];
  static unsigned next;
  const char *named = getenv("HEED_GOLDEN_TRANSFORMER");
  char *path = ring[next++ % 4];
  snprintf(path, sizeof ring[0], "%s/models/%s%s%s",
           named && *named ? named : HEED_SOURCE_DIR "/../shared/golden-transformer", model, *file ? "/" : "", file);
  return path;
}

static void need_models(void) {
  const char *ci = getenv("CI");
  if (access(path_of(models[0], "config.json"), R_OK) == 0) return;
  if (ci && *ci) fail_msg("%s is missing; name its folder in HEED_GOLDEN_TRANSFORMER", path_of(models[0], ""));
  skip();
}

static heed_safetensors *read_file(const char *path) {
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_read(path, &file));
  return file;
}

// ---------------------------------------------------------------- weights

static double value_at(const heed_array *array, size_t i) {
  assert_int_equal(array->dtype, HEED_F32);
  return (double)((const float *)array->data)[i];  // 64 bits are read as 32, whose rounding is under 6e-8
}

static double error_of(const heed_array *actual, const heed_array *expected) {
  const size_t count = actual->bytes / heed_dtype_size(actual->dtype);
  assert_int_equal(count, expected->bytes / heed_dtype_size(expected->dtype));
  double difference = 0, size = 0;
  for (size_t i = 0; i < count; i++) {
    difference += pow(value_at(actual, i) - value_at(expected, i), 2);
    size += pow(value_at(expected, i), 2);
  }
  return sqrt(difference) / sqrt(size);
}

static void check_weights(const heed_safetensors *expected, const char *path) {
  heed_safetensors *saved = read_file(path);
  size_t compared = 0;
  for (size_t i = 0; i < heed_safetensors_count(expected); i++) {
    const heed_array *array = heed_safetensors_get(expected, i);
    if (strcmp(array->name, "losses") == 0 || strcmp(array->name, "norms") == 0) continue;
    const heed_array *actual = heed_safetensors_find(saved, array->name);
    if (!actual) fail_msg("%s has no %s", path, array->name);
    const bool key_bias = strstr(array->name, "c_attn.bias") || strstr(array->name, "k_proj.bias");
    const double error = error_of(actual, array), most = key_bias ? key_bias_tolerance : weight_tolerance;
    if (!(error <= most)) fail_msg("%s is %g off, more than %g", array->name, error, most);
    compared++;
  }
  assert_int_equal(compared, heed_safetensors_count(saved));
  heed_safetensors_destroy(saved);
}

static void check_log(const heed_safetensors *expected) {
  const heed_array *losses = heed_safetensors_find(expected, "losses"),
                   *norms = heed_safetensors_find(expected, "norms");
  json_t *log = support_lm_log("log");
  assert_int_equal(support_lm_events(log, "step"), STEPS);
  for (size_t i = 0; i < STEPS; i++) {
    const json_t *step = support_lm_event(log, "step", i);
    const double loss = support_lm_number(step, "loss"), norm = support_lm_number(step, "norm");
    assert_int_equal(support_lm_number(step, "step"), i);
    if (!(fabs(loss / value_at(losses, i) - 1) <= loss_tolerance))
      fail_msg("step %zu: the loss is %.9g, not %.9g", i, loss, value_at(losses, i));
    if (!(fabs(norm / value_at(norms, i) - 1) <= 1e-5))
      fail_msg("step %zu: the norm is %.9g, not %.9g", i, norm, value_at(norms, i));
  }
  json_decref(log);
}

// ---------------------------------------------------------------- texts

static void check_text(const json_t *prompt, const json_t *continued) {
  char ids[512] = "", tokens[16];
  size_t used = 0;
  for (size_t i = 0; i < json_array_size(prompt); i++)
    used += (size_t)snprintf(ids + used, sizeof ids - used, "%s%d", i ? "," : "",
                             (int)json_integer_value(json_array_get(prompt, i)));
  snprintf(tokens, sizeof tokens, "%zu", json_array_size(continued));
  ASSERT_LM(0, "", "generate", "--model", "model", "--ids", ids, "--tokens", tokens, "--temperature", "0",
            "--ignore-eos", "--json");
  json_t *printed = support_lm_json();
  if (!json_equal(json_object_get(printed, "ids"), continued)) fail_msg("another text: %s", support_printed);
  assert_null(json_object_get(printed, "text"));
  json_decref(printed);
}

static void check_texts(const char *model) {
  json_t *greedy = json_load_file(path_of(model, "greedy.json"), 0, NULL);
  const json_t *prompts = json_object_get(greedy, "prompt"), *texts = json_object_get(greedy, "continued");
  assert_true(json_array_size(prompts) > 0);
  for (size_t i = 0; i < json_array_size(prompts); i++)
    check_text(json_array_get(prompts, i), json_array_get(texts, i));
  json_decref(greedy);
}

// ---------------------------------------------------------------- all of it

static void train(const char *model, const heed_safetensors *expected, const char *batch, const char *accumulate) {
  ASSERT_LM(0, "", "train", "--init", path_of(model, ""), "--data", path_of(model, "tokens.bin"), "--order",
            "sequential", "--batch", batch, "--accumulate", accumulate, "--context",
            heed_safetensors_metadata(expected, "context"), "--steps", "10", "--lr", "1e-3", "--beta2", "0.95",
            "--weight-decay", "0.1", "--clip", "1.0", "--val-fraction", "0", "--save", "model", "--force", "--log",
            "log", "--log-every", "1", "-q");
  check_log(expected);
  check_weights(expected, "model/model.safetensors");
}

// Also in micro-batches of one text, whose gradients are summed in the tree by which ranks share them: test_mpi_bits.sh shows that ranks give
// the same bits.
static void ten_steps_and_greedy_texts_are_those_of_pytorch(void **state) {
  (void)state;
  need_models();
  support_lm_need_device();
  for (size_t i = 0; i < MODELS; i++) {
    const char *model = models[i];
    print_message("%s\n", model);
    heed_safetensors *expected = read_file(path_of(model, "after_10_steps.safetensors"));
    const char *batch = heed_safetensors_metadata(expected, "batch");
    train(model, expected, "1", batch);
    train(model, expected, batch, "1");
    heed_safetensors_destroy(expected);
    check_texts(model);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(ten_steps_and_greedy_texts_are_those_of_pytorch)};
  const int on_host = cmocka_run_group_tests_name("host", tests, support_lm_on_host, support_lm_leave);
  return cmocka_run_group_tests_name("device", tests, support_lm_on_device, support_lm_leave) + on_host;
}
