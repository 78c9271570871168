// heed lm eval against probabilities that are computed here from logits, window by window; and what heed lm info tells.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_lm.h"
#include "support_tokenizer.h"

enum { CONTEXT = 12, MOST_TOKENS = 1024 };

static const char hello[] = "hello hello  aaaa 123 hello\n\nh\xc3\xa9llo 's hello hello aaaa";

static int enter(void **state) {
  heed_tokenizer *tokenizer = NULL;
  if (support_lm_on_host(state) != 0) return -1;
  support_lm_write_text("text", 700, 1);
  support_write_file("hello", hello, sizeof hello - 1);
  ASSERT_OK(tokenizer_open(&(tokenizer_parts){0}, &tokenizer));
  ASSERT_OK(heed_tokenizer_save(tokenizer, "."));
  heed_tokenizer_destroy(tokenizer);
#define SHAPE "--layers", "2", "--heads", "2", "--width", "16", "--context", "12", "--steps", "3", "-q", "--save"
  if (LM("train", "--data", "text", SHAPE, "bytes") != 0) return -1;
  return LM("train", "--data", "text", "--tokenizer", ".", "--arch", "qwen2", SHAPE, "merged");
}

static int enter_device(void **state) {
  if (support_lm_on_device(state) != 0) return -1;
  support_lm_write_text("text", 700, 1);
  return 0;
}

// ---------------------------------------------------------------- the direct computation

typedef struct sums {
  double loss;  // mean
  int64_t tokens, bytes;
} sums;

static double loss_of(const float *logits, int64_t vocab, int32_t target) {
  double highest = -INFINITY, sum = 0;
  for (int64_t i = 0; i < vocab; i++) highest = fmax(highest, (double)logits[i]);
  for (int64_t i = 0; i < vocab; i++) sum += exp((double)logits[i] - highest);
  return log(sum) + highest - (double)logits[target];
}

// Every token that a full window predicts and no window before it has.
static sums measure(heed_transformer *transformer, heed_context *ctx, const heed_tokenizer *tokenizer,
                    const int32_t *ids, int64_t count, int64_t context, int64_t stride) {
  const int64_t vocab = heed_transformer_configuration(transformer)->vocab;
  float *logits = malloc((size_t)(context * vocab) * sizeof *logits);
  heed_tensor *out = NULL;
  sums all = {0};
  int64_t counted = 0;  // up to this position
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 3, (const int64_t[]){1, context, vocab}, &out));
  for (int64_t start = 0; start + context < count; start += stride) {
    heed_tensor *tokens = NULL;
    ASSERT_OK(heed_tensor_create_from(ctx, HEED_I32, 2, (const int64_t[]){1, context}, ids + start, &tokens));
    ASSERT_OK(heed_transformer_fwd(transformer, tokens, out));
    ASSERT_OK(heed_tensor_download_f32(out, logits, context * vocab));
    heed_tensor_destroy(tokens);
    for (int64_t i = 0; i < context; i++) {
      if (start + i + 1 <= counted) continue;
      counted = start + i + 1;
      size_t bytes = 0;
      assert_non_null(heed_tokenizer_token(tokenizer, ids[counted], &bytes));
      all.loss += loss_of(logits + i * vocab, vocab, ids[counted]);
      all.bytes += (int64_t)bytes;
      all.tokens++;
    }
  }
  all.loss /= (double)all.tokens;
  heed_tensor_destroy(out);
  free(logits);
  return all;
}

static void check(const char *model, const char *text_path, const char *context, const char *stride) {
  char text[2048];
  const size_t bytes = support_read_file(text_path, text, sizeof text);
  heed_context *ctx = NULL;
  heed_model_folder *folder = NULL;
  heed_tokenizer *tokenizer = NULL;
  heed_transformer *transformer = NULL;
  int32_t *ids = NULL;
  size_t count = 0;
  ASSERT_OK(heed_open("host", &ctx));
  ASSERT_OK(heed_model_folder_open(model, &folder));
  ASSERT_OK(heed_tokenizer_open(model, &tokenizer));
  ASSERT_OK(heed_transformer_create(ctx, heed_model_folder_config(folder), 1, &transformer));
  ASSERT_OK(heed_model_folder_load(folder, transformer));
  ASSERT_OK(heed_tokenizer_encode_all(tokenizer, text, bytes, NULL, &ids, &count));
  const sums expected = measure(transformer, ctx, tokenizer, ids, (int64_t)count, atol(context), atol(stride));
  ASSERT_LM(0, "", "eval", "--model", model, "--data", text_path, "--context", context, "--stride", stride, "--json");
  json_t *printed = support_lm_json();
  const double loss = support_lm_number(printed, "loss"), bits = support_lm_number(printed, "bits_per_byte");
  assert_int_equal(support_lm_number(printed, "tokens"), expected.tokens);
  if (!(fabs(loss / expected.loss - 1) < 1e-6)) fail_msg("the loss is %.9g, not %.9g", loss, expected.loss);
  const double right = expected.loss * (double)expected.tokens / log(2) / (double)expected.bytes;
  if (!(fabs(bits / right - 1) < 1e-6)) fail_msg("%.9g bits per byte, not %.9g", bits, right);
  if (!(fabs(support_lm_number(printed, "perplexity") / exp(expected.loss) - 1) < 1e-5)) fail_msg("another perplexity");
  json_decref(printed);
  free(ids);
  heed_transformer_destroy(transformer);
  heed_tokenizer_destroy(tokenizer);
  heed_model_folder_close(folder);
  heed_context_destroy(ctx);
}

static void the_loss_is_the_mean_over_full_windows(void **state) {
  (void)state;
  static const char *const strides[][2] = {{"12", "12"}, {"12", "5"}, {"12", "1"}, {"7", "7"}, {"7", "3"}, {"1", "1"}};
  for (size_t i = 0; i < sizeof strides / sizeof *strides; i++) {
    check("bytes", "text", strides[i][0], strides[i][1]);
    check("merged", "hello", strides[i][0], strides[i][1]);
  }
}

static void context_and_stride_are_the_models_if_nobody_says(void **state) {
  (void)state;
  char first[sizeof support_printed];
  ASSERT_LM(0, "", "eval", "--model", "bytes", "--data", "text", "--json");
  strcpy(first, support_printed);
  ASSERT_LM(0, "", "eval", "--model", "bytes", "--data", "text", "--json", "--context", "12", "--stride", "12");
  assert_string_equal(first, support_printed);
  ASSERT_LM(0, "", "eval", "--model", "bytes", "--data", "text");
  assert_non_null(strstr(support_printed, "bits per byte"));
}

// A text of n·12 + 1 tokens has n windows, and one token less has n − 1.
static void the_last_window_that_is_not_full_is_left_out(void **state) {
  (void)state;
  char text[64];
  memset(text, 'a', sizeof text);
  support_write_file("five", text, 5 * CONTEXT + 1);
  support_write_file("four", text, 5 * CONTEXT);
  ASSERT_LM(0, "", "eval", "--model", "bytes", "--data", "five", "--json");
  json_t *printed = support_lm_json();
  assert_int_equal(support_lm_number(printed, "tokens"), 5 * CONTEXT);
  json_decref(printed);
  ASSERT_LM(0, "", "eval", "--model", "bytes", "--data", "four", "--json");
  printed = support_lm_json();
  assert_int_equal(support_lm_number(printed, "tokens"), 4 * CONTEXT);
  json_decref(printed);
  support_write_file("none", text, CONTEXT);
  ASSERT_LM(1, "one window needs 13", "eval", "--model", "bytes", "--data", "none");
}

static void without_a_tokenizer_there_are_no_bytes(void **state) {
  (void)state;
  int32_t header[256] = {20240520, 1, 40};
  uint16_t ids[40] = {1, 2, 3};
  FILE *file = fopen("tokens.bin", "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(header, sizeof header, 1, file), 1);
  assert_int_equal(fwrite(ids, sizeof ids, 1, file), 1);
  assert_int_equal(fclose(file), 0);
  ASSERT_LM(0, "", "train", "--data", "tokens.bin", "--vocab", "50", SHAPE, "numbers", "--force", "--batch", "1");
  ASSERT_LM(0, "", "eval", "--model", "numbers", "--data", "tokens.bin", "--json");
  json_t *printed = support_lm_json();
  assert_true(json_is_null(json_object_get(printed, "bits_per_byte")));
  json_decref(printed);
  ASSERT_LM(1, "tokenizer", "eval", "--model", "numbers", "--data", "text");
  ids[7] = 50;
  file = fopen("tokens.bin", "r+b");
  assert_non_null(file);
  assert_int_equal(fseek(file, sizeof header + 14, SEEK_SET), 0);
  assert_int_equal(fwrite(&ids[7], 2, 1, file), 1);
  assert_int_equal(fclose(file), 0);
  ASSERT_LM(1, "tokens.bin", "eval", "--model", "numbers", "--data", "tokens.bin");
  assert_non_null(strstr(support_said, "50"));
  assert_non_null(strstr(support_said, "7"));
}

static void what_makes_no_sense_is_refused(void **state) {
  (void)state;
  ASSERT_LM(2, "--model", "eval", "--data", "text");
  ASSERT_LM(2, "--data", "eval", "--model", "bytes");
  ASSERT_LM(1, "--context 13", "eval", "--model", "bytes", "--data", "text", "--context", "13");
  ASSERT_LM(2, "--stride 6", "eval", "--model", "bytes", "--data", "text", "--context", "5", "--stride", "6");
  ASSERT_LM(1, "absent", "eval", "--model", "absent", "--data", "text");
  ASSERT_LM(1, "absent", "eval", "--model", "bytes", "--data", "absent");
  ASSERT_LM(2, "--model", "info");
  ASSERT_LM(1, "absent", "info", "--model", "absent");
}

// ---------------------------------------------------------------- info

static void info_tells_the_shapes(void **state) {
  (void)state;
  ASSERT_LM(0, "", "info", "--model", "bytes", "--json", "--batch", "3");
  json_t *printed = support_lm_json();
  assert_int_equal(support_lm_number(printed, "layers"), 2);
  assert_int_equal(support_lm_number(printed, "width"), 16);
  assert_int_equal(support_lm_number(printed, "ffn"), 64);
  assert_int_equal(support_lm_number(printed, "context"), CONTEXT);
  const int64_t block = 16 * 48 + 48 + 16 * 16 + 16 + 2 * 16 * 64 + 64 + 16 + 4 * 16;
  const int64_t parameters = 256 * 16 + CONTEXT * 16 + 2 * block + 2 * 16;
  assert_int_equal(support_lm_number(printed, "parameters"), parameters);
  const json_t *train = json_object_get(printed, "train_bytes"), *run = json_object_get(printed, "run_bytes");
  assert_int_equal(support_lm_number(train, "gradients"), 4 * parameters);
  assert_int_equal(support_lm_number(train, "optimizer"), 8 * parameters);
  assert_true(support_lm_number(train, "activations") > 0);
  assert_true(support_lm_number(run, "cache") >= 2 * 2 * 16 * CONTEXT * 4);
  json_decref(printed);
  ASSERT_LM(0, "", "info", "--model", "bytes");
  const char *said = strstr(support_printed, "chat templates are not applied");
  assert_non_null(said);
  assert_null(strstr(said + 1, "chat templates"));
}

// With recompute the activations of one block are kept, not those of all.
static void recompute_needs_less_memory(void **state) {
  (void)state;
  double activations[2];
  for (int i = 0; i < 2; i++) {
    ASSERT_LM(0, "", "info", "--model", "bytes", "--json", "--batch", "64", i ? "--recompute" : "--verbose");
    json_t *printed = support_lm_json();
    activations[i] = support_lm_number(json_object_get(printed, "train_bytes"), "activations");
    json_decref(printed);
  }
  assert_true(activations[1] < activations[0]);
}

static void the_device_measures_what_the_host_does(void **state) {
  (void)state;
  support_lm_need_device();
  ASSERT_LM(0, "", "train", "--data", "text", SHAPE, "bytes");
  check("bytes", "text", "12", "5");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_loss_is_the_mean_over_full_windows),
      cmocka_unit_test(context_and_stride_are_the_models_if_nobody_says),
      cmocka_unit_test(the_last_window_that_is_not_full_is_left_out),
      cmocka_unit_test(without_a_tokenizer_there_are_no_bytes),
      cmocka_unit_test(what_makes_no_sense_is_refused),
      cmocka_unit_test(info_tells_the_shapes),
      cmocka_unit_test(recompute_needs_less_memory),
  };
  const struct CMUnitTest device_tests[] = {cmocka_unit_test(the_device_measures_what_the_host_does)};
  const int on_host = cmocka_run_group_tests_name("host", tests, enter, support_lm_leave);
  return cmocka_run_group_tests_name("device", device_tests, enter_device, support_lm_leave) + on_host;
}
