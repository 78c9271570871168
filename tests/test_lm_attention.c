// heed lm attention: the table, the object, the file and the picture have the weights that the library gives on the host; tokens are shown so
// that one sees them; what cannot be done is refused before it is.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <heed/io.h>

#include "lm/lm.h"
#include "support_lm.h"
#include "support_tokenizer.h"

enum { LAYERS = 2, HEADS = 4, CONTEXT = 48 };
static const char sentence[] = "The quick fox and the lazy dog";
static const char *const architectures[] = {"gpt2", "llama", "mistral", "qwen2"};

static bool has_gnuplot(void) { return system("gnuplot --version >/dev/null 2>&1") == 0; }

// A folder of the architecture's name. heed makes no model with a window, so it is written into the configuration.
static int train(const char *architecture) {
  const bool is_gpt2 = strcmp(architecture, "gpt2") == 0;
#define SHAPE "--layers", "2", "--heads", "4", "--width", "32", "--context", "48", "--steps", "20", "--lr", "0.03", "-q"
#define KEPT "--batch", "2", "--val-fraction", "0", "--save", architecture, "--arch", architecture
  const int status = is_gpt2 ? LM("train", "--data", "text", SHAPE, KEPT)
                             : LM("train", "--data", "text", SHAPE, KEPT, "--kv-heads", "2");
  if (status != 0) print_error("%s", support_said);
  if (status == 0 && strcmp(architecture, "mistral") == 0)
    support_replace_in_file("mistral/config.json", "\"sliding_window\": null", "\"sliding_window\": 7");
  return status;
}

static int enter_host(void **state) {
  if (support_lm_on_host(state) != 0) return -1;
  support_lm_write_text("text", 900, 1);
  support_write_file("sentence", sentence, sizeof sentence - 1);
  for (int i = 0; i < 4; i++)
    if (train(architectures[i]) != 0) return -1;
  return 0;
}

static int enter_device(void **state) {
  if (support_lm_on_device(state) != 0) return -1;
  support_lm_write_text("text", 900, 1);
  return 0;
}

// ---------------------------------------------------------------- what the library gives

// [LAYERS, HEADS, L, L], by the host; the caller frees it.
static float *weights_of(const char *model, const char *text, int64_t length) {
  const int64_t dims[] = {1, HEADS, length, length}, count = HEADS * length * length;
  int32_t ids[CONTEXT];
  heed_context *ctx = NULL;
  heed_model_folder *folder = NULL;
  heed_transformer *transformer = NULL;
  heed_tensor *tokens = NULL, *weights[LAYERS] = {NULL};
  float *values = malloc((size_t)(LAYERS * count) * sizeof *values);
  assert_non_null(values);
  for (int64_t i = 0; i < length; i++) ids[i] = (unsigned char)text[i];  // the tokenizer is that of bytes
  ASSERT_OK(heed_open("host", &ctx));
  ASSERT_OK(heed_model_folder_open(model, &folder));
  ASSERT_OK(heed_transformer_create(ctx, heed_model_folder_config(folder), 1, &transformer));
  ASSERT_OK(heed_model_folder_load(folder, transformer));
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_I32, 2, (const int64_t[]){1, length}, ids, &tokens));
  for (int i = 0; i < LAYERS; i++) ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 4, dims, &weights[i]));
  ASSERT_OK(heed_transformer_attention(transformer, tokens, weights));
  for (int i = 0; i < LAYERS; i++) {
    ASSERT_OK(heed_tensor_download_f32(weights[i], values + i * count, count));
    heed_tensor_destroy(weights[i]);
  }
  heed_tensor_destroy(tokens);
  heed_transformer_destroy(transformer);
  heed_model_folder_close(folder);
  heed_context_destroy(ctx);
  return values;
}

static void assert_close(const float *found, const float *expected, int64_t count) {
  double error = 0, size = 0;
  for (int64_t i = 0; i < count; i++) {
    error += ((double)found[i] - (double)expected[i]) * ((double)found[i] - (double)expected[i]);
    size += (double)expected[i] * (double)expected[i];
  }
  if (!(sqrt(error) <= 1e-5 * sqrt(size))) fail_msg("relative error %g", sqrt(error / size));
}

static const heed_array *array_of(const heed_safetensors *file, const char *name, int64_t heads, int64_t length) {
  const heed_array *array = heed_safetensors_find(file, name);
  if (!array) fail_msg("there is no %s", name);
  assert_int_equal(array->rank, 4);
  assert_int_equal(array->dims[0], 1);
  assert_int_equal(array->dims[1], heads);
  assert_int_equal(array->dims[2], length);
  assert_int_equal(array->dims[3], length);
  return array;
}

static void check_file(const char *model) {
  const int64_t length = sizeof sentence - 1, count = HEADS * length * length;
  heed_safetensors *file = NULL;
  float *expected = weights_of(model, sentence, length);
  ASSERT_LM(0, "", "attention", "--model", model, "--text", sentence, "--layer", "all", "-o", "out.safetensors");
  ASSERT_OK(heed_safetensors_read("out.safetensors", &file));
  assert_int_equal(heed_safetensors_count(file), 1 + LAYERS);
  assert_close(array_of(file, "attentions.0", HEADS, length)->data, expected, count);
  const float *second = array_of(file, "attentions.1", HEADS, length)->data;
  assert_close(second, expected + count, count);
  const int64_t window = strcmp(model, "mistral") == 0 ? 7 : length;
  for (int64_t row = 0; row < HEADS * length; row++) {
    double sum = 0;
    for (int64_t key = 0, query = row % length; key < length; key++) {
      if (key > query || key <= query - window) assert_true(second[row * length + key] == 0);
      sum += (double)second[row * length + key];
    }
    assert_true(fabs(sum - 1) < 1e-5);
  }
  const int32_t *ids = heed_safetensors_find(file, "tokens")->data;
  for (int64_t i = 0; i < length; i++) assert_int_equal(ids[i], sentence[i]);
  heed_safetensors_destroy(file);
  free(expected);
}

static void the_file_has_the_weights_of_each_layer(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) check_file(architectures[i]);
}

static void the_device_gives_what_the_host_gives(void **state) {
  (void)state;
  support_lm_need_device();
  for (int i = 0; i < 4; i++) {
    assert_int_equal(train(architectures[i]), 0);
    check_file(architectures[i]);
  }
}

// ---------------------------------------------------------------- which are wanted

static void a_layer_and_a_head_can_be_chosen(void **state) {
  (void)state;
  const int64_t length = sizeof sentence - 1, head = length * length;
  heed_safetensors *file = NULL;
  float *expected = weights_of("llama", sentence, length);
  ASSERT_LM(0, "", "attention", "--model", "llama", "--data", "sentence", "--layer", "1", "--head", "2", "-o", "out");
  assert_non_null(strstr(support_printed, "layer 1\n"));
  assert_non_null(strstr(support_printed, "head 2"));
  assert_null(strstr(support_printed, "layer 0"));
  assert_null(strstr(support_printed, "head 1"));
  ASSERT_OK(heed_safetensors_read("out", &file));
  assert_int_equal(heed_safetensors_count(file), 2);
  assert_close(array_of(file, "attentions.1", 1, length)->data, expected + (HEADS + 2) * head, head);
  heed_safetensors_destroy(file);
  ASSERT_LM(0, "", "attention", "--model", "llama", "--text", sentence, "-o", "out");  // the first layer, all heads
  ASSERT_OK(heed_safetensors_read("out", &file));
  assert_close(array_of(file, "attentions.0", HEADS, length)->data, expected, HEADS * head);
  heed_safetensors_destroy(file);
  free(expected);
}

static size_t most_of(const float *row, size_t length) {
  size_t most = 0;
  for (size_t i = 1; i < length; i++)
    if (row[i] > row[most]) most = i;
  return most;
}

static void the_object_has_the_most_looked_at_tokens(void **state) {
  (void)state;
  const size_t length = sizeof sentence - 1;
  float *expected = weights_of("qwen2", sentence, (int64_t)length);
  ASSERT_LM(0, "", "attention", "--model", "qwen2", "--text", sentence, "--layer", "all", "--json");
  json_t *printed = support_lm_json();
  const json_t *tokens = json_object_get(printed, "tokens"), *layers = json_object_get(printed, "layers");
  assert_int_equal(json_array_size(tokens), length);
  assert_int_equal(json_array_size(json_object_get(printed, "ids")), length);
  assert_string_equal(json_string_value(json_array_get(tokens, 4)), "q");
  assert_int_equal(json_array_size(layers), LAYERS);
  for (size_t layer = 0; layer < LAYERS; layer++) {
    const json_t *heads = json_object_get(json_array_get(layers, layer), "heads");
    assert_int_equal(support_lm_number(json_array_get(layers, layer), "layer"), layer);
    assert_int_equal(json_array_size(heads), HEADS);
    for (size_t head = 0; head < HEADS; head++) {
      const json_t *one = json_array_get(heads, head);
      assert_int_equal(support_lm_number(one, "head"), head);
      for (size_t token = 0; token < length; token++) {
        const float *row = expected + ((layer * HEADS + head) * length + token) * length;
        const size_t most = most_of(row, length);
        assert_int_equal(json_integer_value(json_array_get(json_object_get(one, "most"), token)), most);
        const double weight = json_number_value(json_array_get(json_object_get(one, "weight"), token));
        if (!(fabs(weight - (double)row[most]) < 1e-5)) fail_msg("%g, not %g", weight, (double)row[most]);
      }
    }
  }
  json_decref(printed);
  free(expected);
}

static void the_table_has_a_line_for_each_token(void **state) {
  (void)state;
  const size_t length = sizeof sentence - 1;
  float *expected = weights_of("gpt2", sentence, (int64_t)length);
  ASSERT_LM(0, "", "attention", "--model", "gpt2", "--text", sentence, "--head", "3");
  char *rest = support_printed;
  assert_string_equal(strsep(&rest, "\n"), "layer 0");
  assert_string_equal(strsep(&rest, "\n"), "    token   head 3");
  for (size_t token = 0; token < length; token++) {
    const float *row = expected + (3 * length + token) * length;
    const size_t most = most_of(row, length);
    const char *labels[2] = {sentence[token] == ' ' ? "\xe2\x90\xa3" : (char[]){sentence[token], '\0'},
                             sentence[most] == ' ' ? "\xe2\x90\xa3" : (char[]){sentence[most], '\0'}};
    char line[96];
    snprintf(line, sizeof line, "%2zu  %s       %2zu %s     %.2f", token, labels[0], most, labels[1],
             (double)row[most]);
    assert_string_equal(strsep(&rest, "\n"), line);
  }
  assert_string_equal(rest, "");
  free(expected);
}

// ---------------------------------------------------------------- tokens as they are shown

static void characters_without_a_shape_are_visible(void **state) {
  (void)state;
  static const struct {
    const char *text, *shown;
    int width;
  } cases[] = {{" ", "\xe2\x90\xa3", 1},
               {"\n", "\\n", 2},
               {"\t", "\\t", 2},
               {"\r", "\\r", 2},
               {"\\", "\\\\", 2},
               {"\x1b", "\\x1b", 4},
               {"\x7f", "\\x7f", 4},
               {"\xc2\x85", "\\u0085", 6},                   // next line
               {"\xc2\xad", "\\u00ad", 6},                   // soft hyphen
               {"\xe2\x80\x8b", "\\u200b", 6},               // a blank of no width
               {"\xe2\x80\xae", "\\u202e", 6},               // right to left from here
               {"\xf3\xa0\x80\xa1", "\\U000e0021", 10},      // a tag
               {"\xc3\xa9", "\xc3\xa9", 1},                  // e with acute
               {"\xe6\xbc\xa2", "\xe6\xbc\xa2", 2},          // a Chinese character
               {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", 2},  // a face
               {"\xcc\x81", "\xe2\x97\x8c\xcc\x81", 1},      // an accent alone
               {"'", "'", 1},
               {"%", "%", 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    heed_tokenizer *tokenizer = NULL;
    lm_label label;
    support_write_file("character", cases[i].text, strlen(cases[i].text));
    ASSERT_OK(heed_tokenizer_create_chars(&(const char *){"character"}, 1, &tokenizer));
    lm_labels(tokenizer, &(int32_t){0}, 1, &label);
    assert_string_equal(label.text, cases[i].shown);
    assert_int_equal(label.width, cases[i].width);
    heed_tokenizer_destroy(tokenizer);
  }
}

static void pieces_and_long_tokens_are_shown(void **state) {
  (void)state;
  const tokenizer_parts parts = {
      .added_tokens =
          "[{\"id\": 270, \"content\": \"<|fourteen12|>\", \"special\": true},"
          "{\"id\": 271, \"content\": \"<|fifteen_1234|\", \"special\": true},"
          "{\"id\": 272, \"content\": \"\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2"
          "\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2\", \"special\": true}]"};
  static const int32_t ids[] = {0xc3, 265, 261, 270, 271, 272};
  static const char *const shown[] = {
      "\\xc3",
      "\xc3\xa9",
      "\xe2\x90\xa3\xe2\x90\xa3",
      "<|fourteen12|>",
      "<|fifteen_123\xe2\x80\xa6",
      "\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2\xe2\x80\xa6"};
  heed_tokenizer *tokenizer = NULL;
  lm_label labels[6];
  ASSERT_OK(tokenizer_open(&parts, &tokenizer));
  lm_labels(tokenizer, ids, 6, labels);
  for (int i = 0; i < 6; i++) {
    assert_string_equal(labels[i].text, shown[i]);
    assert_true(labels[i].width <= LM_LABEL_WIDTH);
  }
  assert_int_equal(labels[5].width, 13);
  heed_tokenizer_destroy(tokenizer);
}

// ---------------------------------------------------------------- pictures

static char picture[1 << 20];

static void assert_shown(const char *path, const char *part) {
  picture[support_read_file(path, picture, sizeof picture - 1)] = '\0';
  if (!strstr(picture, part)) fail_msg("%s does not show %s", path, part);
}

static void the_picture_has_tokens_on_its_axes(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  ASSERT_LM(0, "", "attention", "--model", "gpt2/", "--text", "it's 100%\n\x1b<&", "--plot", "map.svg");
  static const char *const parts[] = {"attention of gpt2, layer 0<",
                                      ">13 tokens<",
                                      ">head 0<",
                                      ">head 3<",
                                      ">'<",
                                      ">\xe2\x90\xa3<",
                                      ">%<",
                                      ">\\n<",
                                      ">\\x1b<",
                                      ">&lt;<",
                                      ">&amp;<",
                                      ">key<",
                                      ">query<"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) assert_shown("map.svg", parts[i]);
  ASSERT_LM(0, "", "attention", "--model", "gpt2", "--text", "some", "--plot", "svg:-", "--layer", "all");
  assert_ptr_equal(strstr(support_printed, "layer 1\n"), NULL);
  assert_non_null(strstr(support_printed, ">layer 1, head 3<"));
  // 41 tokens are too many for their text.
  ASSERT_LM(0, "", "attention", "--model", "gpt2", "--text", "01234567890123456789012345678901234567890", "--plot",
            "map.svg");
  assert_shown("map.svg", ">41 tokens, numbered<");
  assert_null(strstr(picture, ">9<"));
  ASSERT_LM(0, "", "attention", "--model", "gpt2", "--text", "0123456789012345678901234567890123456789", "--plot",
            "map.svg");
  assert_shown("map.svg", ">9<");
}

// ---------------------------------------------------------------- refusals

static void what_cannot_be_done_is_refused(void **state) {
  (void)state;
#define REFUSED(status, part, ...) ASSERT_LM(status, part, "attention", "--model", "gpt2", __VA_ARGS__)
  ASSERT_LM(2, "--model", "attention", "--text", "a");
  REFUSED(2, "--text or --data", "--layer", "0");
  REFUSED(2, "--text or --data", "--text", "a", "--data", "sentence");
  REFUSED(2, "--text: the value is empty", "--text", "");
  support_write_file("empty", "", 0);
  REFUSED(1, "the text has no tokens", "--data", "empty");
  REFUSED(1, "the text has 902 tokens, but the model's context is 48", "--data", "text");
  REFUSED(1, "--layer 2: the model has 2 layers, 0 to 1", "--text", "a", "--layer", "2");
  REFUSED(1, "--head 4: the model has 4 heads, 0 to 3", "--text", "a", "--head", "4");
  REFUSED(2, "--layer -1: must be a whole number of at least 0, or all", "--text", "a", "--layer", "-1");
  REFUSED(2, "--head x: must", "--text", "a", "--head", "x");
  REFUSED(2, "--layer every: must", "--text", "a", "--layer", "every");
  REFUSED(1, "--data absent: No such file", "--data", "absent");
  REFUSED(2, "must end in .svg or .png", "--text", "a", "--plot", "map.pdf");
  REFUSED(2, "--plot svg:- and --json both", "--text", "a", "--plot", "svg:-", "--json");
  REFUSED(2, "--plot svg:- and -o - both", "--text", "a", "--plot", "svg:-", "-o", "-");
  REFUSED(2, "-o - and --json both", "--text", "a", "-o", "-", "--json");
  REFUSED(1, "cannot write into its folder", "--text", "a", "-o", "absent/out");
  ASSERT_LM(1, "absent", "attention", "--model", "absent", "--text", "a");
  support_copy_folder("gpt2", "bare");
  unlink("bare/tokenizer.json");
  ASSERT_LM(1, "bare has no tokenizer", "attention", "--model", "bare", "--text", "a");
}

static void weights_that_are_not_finite_are_told(void **state) {
  (void)state;
  heed_safetensors *file = NULL;
  support_copy_folder("gpt2", "broken");
  ASSERT_OK(heed_safetensors_read("broken/model.safetensors", &file));
  const heed_array *bias = heed_safetensors_find(file, "transformer.h.1.ln_1.bias");
  assert_non_null(bias);
  ((float *)bias->data)[0] = NAN;
  ASSERT_OK(heed_safetensors_write(file, "broken/model.safetensors"));
  heed_safetensors_destroy(file);
  ASSERT_LM(0, "", "attention", "--model", "broken", "--text", "a");  // the first layer alone
  ASSERT_LM(1, "layer 1: the weights in broken are not finite", "attention", "--model", "broken", "--text", "a",
            "--layer", "all");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_file_has_the_weights_of_each_layer),   cmocka_unit_test(a_layer_and_a_head_can_be_chosen),
      cmocka_unit_test(the_object_has_the_most_looked_at_tokens), cmocka_unit_test(the_table_has_a_line_for_each_token),
      cmocka_unit_test(characters_without_a_shape_are_visible),   cmocka_unit_test(pieces_and_long_tokens_are_shown),
      cmocka_unit_test(the_picture_has_tokens_on_its_axes),       cmocka_unit_test(what_cannot_be_done_is_refused),
      cmocka_unit_test(weights_that_are_not_finite_are_told),
  };
  const struct CMUnitTest device_tests[] = {cmocka_unit_test(the_device_gives_what_the_host_gives)};
  const int on_host = cmocka_run_group_tests_name("host", tests, enter_host, support_lm_leave);
  return cmocka_run_group_tests_name("device", device_tests, enter_device, support_lm_leave) + on_host;
}
