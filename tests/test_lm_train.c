// heed lm train: its log, its data, what it refuses, and that the same training gives the same bytes. On the host, where a run takes
// milliseconds; what a device must also do is done there again.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support_lm.h"

// A small model on a text of 4,000 characters.
#define SMALL "--layers", "2", "--heads", "2", "--width", "16", "--context", "12", "-q"
#define TRAIN(...) LM("train", "--data", "text", SMALL, __VA_ARGS__)
#define ASSERT_TRAIN(status, part, ...) ASSERT_LM(status, part, "train", "--data", "text", SMALL, __VA_ARGS__)

static int enter(void **state) {
  if (support_lm_on_host(state) != 0) return -1;
  support_lm_write_text("text", 4000, 1);
  support_lm_write_text("other", 900, 2);
  return 0;
}

static int enter_device(void **state) {
  if (support_lm_on_device(state) != 0) return -1;
  support_lm_write_text("text", 4000, 1);
  return 0;
}

// llm.c's file of 16 bits.
static void write_tokens(const char *path, const char *text_path) {
  char text[8192];
  const size_t count = support_read_file(text_path, text, sizeof text);
  int32_t header[256] = {20240520, 1, (int32_t)count};
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(header, sizeof header, 1, file), 1);
  for (size_t i = 0; i < count; i++) fwrite(&(uint16_t){(unsigned char)text[i]}, 2, 1, file);
  assert_int_equal(fclose(file), 0);
}

// ---------------------------------------------------------------- the log

static void the_log_has_as_many_steps_as_asked_for(void **state) {
  (void)state;
  static const struct {
    const char *every;
    size_t count;
  } cases[] = {{"1", 17}, {"5", 4}, {"16", 2}, {"17", 1}, {"100", 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    ASSERT_TRAIN(0, "", "--steps", "17", "--batch", "2", "--log", "log", "--log-every", cases[i].every, "--eval-every",
                 "5");
    json_t *log = support_lm_log("log");
    assert_int_equal(support_lm_events(log, "step"), cases[i].count);
    assert_int_equal(support_lm_events(log, "eval"), 4);  // after 5, 10, 15, 17
    assert_int_equal(support_lm_events(log, "start"), 1);
    assert_int_equal(support_lm_events(log, "end"), 1);
    const long every = atol(cases[i].every);
    for (size_t n = 0; n < cases[i].count; n++)
      assert_int_equal(support_lm_number(support_lm_event(log, "step", n), "step"), (long)n * every);
    const json_t *end = json_array_get(log, json_array_size(log) - 1);
    assert_string_equal(json_string_value(json_object_get(end, "event")), "end");
    assert_string_equal(json_string_value(json_object_get(end, "outcome")), "done");
    assert_true(support_lm_number(end, "peak_bytes") > 0);
    json_decref(log);
  }
}

static double schedule(const char *name, int s, int warmup, int decay, double lr, double least) {
  if (s < warmup) return lr * (s + 1) / warmup;
  if (strcmp(name, "constant") == 0) return lr;
  if (s >= decay) return least;
  const double part = (double)(s - warmup) / (decay - warmup);
  if (strcmp(name, "linear") == 0) return least + (1 - part) * (lr - least);
  if (strcmp(name, "cosine") == 0) return least + 0.5 * (1 + cos(M_PI * part)) * (lr - least);
  if (s < 0.8 * decay) return lr;
  return least + (1 - sqrt((s - 0.8 * decay) / (0.2 * decay))) * (lr - least);
}

static void learning_rates_are_those_of_the_schedule(void **state) {
  (void)state;
  static const char *const names[] = {"constant", "linear", "cosine", "wsd"};
  for (size_t i = 0; i < 4; i++) {
    ASSERT_TRAIN(0, "", "--steps", "24", "--batch", "1", "--val-fraction", "0", "--log", "log", "--log-every", "1",
                 "--schedule", names[i], "--lr", "3e-3", "--min-lr", "2e-4", "--warmup", "4", "--decay-steps", "20");
    json_t *log = support_lm_log("log");
    for (int s = 0; s < 24; s++) {
      const double lr = support_lm_number(support_lm_event(log, "step", (size_t)s), "lr");
      const double expected = schedule(names[i], s, 4, 20, 3e-3, 2e-4);
      if (!(fabs(lr / expected - 1) < 1e-6)) fail_msg("%s: step %d: %.9g, not %.9g", names[i], s, lr, expected);
    }
    json_decref(log);
  }
}

static void a_log_on_standard_output_is_all_there_is(void **state) {
  (void)state;
  ASSERT_TRAIN(0, "", "--steps", "3", "--batch", "1", "--log", "-", "--log-every", "1", "--sample-every", "2");
  size_t lines = 0, samples = 0;
  for (char *line = strtok(support_printed, "\n"); line; line = strtok(NULL, "\n"), lines++) {
    json_t *object = json_loads(line, JSON_ALLOW_NUL, NULL);
    assert_non_null(object);
    const char *event = json_string_value(json_object_get(object, "event"));
    if (strcmp(event, "sample") == 0) {
      samples++;
      assert_true(json_is_string(json_object_get(object, "text")));
      assert_int_equal(json_array_size(json_object_get(object, "ids")), 200);
    }
    json_decref(object);
  }
  assert_int_equal(lines, 1 + 3 + 1 + 1 + 1);
  assert_int_equal(samples, 1);
}

// ---------------------------------------------------------------- data

static double number_of(const char *log_path, const char *event, const char *key) {
  json_t *log = support_lm_log(log_path);
  const double value = support_lm_number(support_lm_event(log, event, 0), key);
  json_decref(log);
  return value;
}

static void the_last_part_of_a_text_is_for_validation(void **state) {
  (void)state;
  char text[8192];
  const double count = (double)support_read_file("text", text, sizeof text);
  ASSERT_TRAIN(0, "", "--steps", "1", "--batch", "1", "--log", "log");
  assert_true(number_of("log", "start", "validation_tokens") == ceil(0.1 * count));
  assert_true(number_of("log", "start", "tokens") == count - ceil(0.1 * count));
  ASSERT_TRAIN(0, "", "--steps", "1", "--batch", "1", "--log", "log", "--val-fraction", "0.3");
  assert_true(number_of("log", "start", "validation_tokens") == ceil(0.3 * count));
  ASSERT_TRAIN(0, "", "--steps", "1", "--batch", "1", "--log", "log", "--val-fraction", "0");
  assert_true(number_of("log", "start", "tokens") == count);
  assert_true(number_of("log", "start", "validation_tokens") == 0);
  ASSERT_TRAIN(0, "", "--steps", "1", "--batch", "1", "--log", "log", "--val", "other");
  assert_true(number_of("log", "start", "tokens") == count);
  assert_true(number_of("log", "start", "validation_tokens") == (double)support_read_file("other", text, sizeof text));
  ASSERT_TRAIN(2, "--val", "--steps", "1", "--val", "other", "--val-fraction", "0.2");
}

static void losses_of(const char *path, double *losses, size_t count) {
  json_t *log = support_lm_log(path);
  assert_int_equal(support_lm_events(log, "step"), count);
  for (size_t i = 0; i < count; i++) losses[i] = support_lm_number(support_lm_event(log, "step", i), "loss");
  json_decref(log);
}

static void assert_same_losses(const char *a, const char *b, size_t count) {
  double x[32], y[32];
  losses_of(a, x, count);
  losses_of(b, y, count);
  for (size_t i = 0; i < count; i++)
    if (x[i] != y[i]) fail_msg("step %zu: %.9g in %s, %.9g in %s", i, x[i], a, y[i], b);
}

static void several_files_follow_one_another(void **state) {
  (void)state;
  char all[8192];
  size_t bytes = support_read_file("text", all, sizeof all);
  bytes += support_read_file("other", all + bytes, sizeof all - bytes);
  support_write_file("both", all, bytes);
#define SEQUENTIAL "--order", "sequential", "--batch", "4", "--val-fraction", "0", "--log-every", "1"
  ASSERT_LM(0, "", "train", "--data", "text,other", SMALL, "--steps", "8", SEQUENTIAL, "--log", "two");
  ASSERT_LM(0, "", "train", "--data", "both", SMALL, "--steps", "8", SEQUENTIAL, "--log", "one");
  assert_same_losses("one", "two", 8);
  ASSERT_LM(2, "empty", "train", "--data", "text,,other", SMALL, "--steps", "1");
  ASSERT_LM(1, "absent", "train", "--data", "text,absent", SMALL, "--steps", "1", "--save", "new");
  assert_int_not_equal(access("new", F_OK), 0);  // a folder that was made for nothing
}

static void a_token_file_is_the_text_that_it_holds(void **state) {
  (void)state;
  write_tokens("text.bin", "text");
  ASSERT_LM(0, "", "train", "--data", "text", SMALL, "--steps", "5", SEQUENTIAL, "--log", "one");
  ASSERT_LM(0, "", "train", "--data", "text.bin", "--vocab", "256", SMALL, "--steps", "5", SEQUENTIAL, "--log", "two");
  assert_same_losses("one", "two", 5);
  ASSERT_LM(2, "--vocab", "train", "--data", "text.bin", SMALL, "--steps", "1");
  ASSERT_LM(1, "text.bin", "train", "--data", "text.bin", "--vocab", "50", SMALL, "--steps", "1");
}

// ---------------------------------------------------------------- micro-batches

// The mean of four means of two rows is that of eight rows, but for the order of sums.
static void micro_batches_add_up_to_a_batch(void **state) {
  (void)state;
  support_lm_need_device();
  double one[6], four[6];
#define ORDER "--steps", "6", "--order", "sequential", "--val-fraction", "0", "--log-every", "1", "--clip", "1"
  ASSERT_TRAIN(0, "", ORDER, "--batch", "8", "--log", "one");
  ASSERT_TRAIN(0, "", ORDER, "--batch", "2", "--accumulate", "4", "--log", "four");
  losses_of("one", one, 6);
  losses_of("four", four, 6);
  for (int i = 0; i < 6; i++)
    if (!(fabs(one[i] / four[i] - 1) < 1e-6)) fail_msg("step %d: %.9g and %.9g", i, one[i], four[i]);
}

// ---------------------------------------------------------------- the same bytes

static void the_same_training_gives_the_same_bytes(void **state) {
  (void)state;
  support_lm_need_device();
#define DROPS \
  "--steps", "12", "--batch", "3", "--accumulate", "2", "--dropout", "0.1", "--keep-best", "--eval-every", "4"
  ASSERT_TRAIN(0, "", DROPS, "--save", "a");
  ASSERT_TRAIN(0, "", DROPS, "--save", "b");
  support_assert_same_folders("a", "b");
  support_assert_same_folders("a/best", "b/best");
  ASSERT_TRAIN(0, "", DROPS, "--save", "b", "--force", "--recompute");
  support_assert_same_files("a/model.safetensors", "b/model.safetensors");
}

// ---------------------------------------------------------------- refusals

static void what_makes_no_sense_is_refused(void **state) {
  (void)state;
  ASSERT_LM(2, "--data", "train");
  ASSERT_TRAIN(2, "--tie", "--tie", "--no-tie");
  ASSERT_TRAIN(2, "--keep-best", "--keep-best");
  ASSERT_TRAIN(2, "--save", "--save", "");
  ASSERT_TRAIN(2, "--batch", "--batch", "0");
  ASSERT_TRAIN(2, "--beta1", "--beta1", "1");
  ASSERT_TRAIN(2, "--lr", "--lr", "nan");
  ASSERT_TRAIN(2, "heads", "--heads", "3");
  ASSERT_TRAIN(2, "kv_heads", "--arch", "llama", "--kv-heads", "3");
  ASSERT_TRAIN(1, "tokens to train on", "--context", "5000");
  ASSERT_TRAIN(1, "absent", "--init", "absent");
  ASSERT_TRAIN(1, "absent", "--resume", "absent");
  ASSERT_TRAIN(1, "absent/log", "--log", "absent/log", "--steps", "1");
  ASSERT_TRAIN(1, "this needs", "--batch", "2147483647", "--steps", "1");
  support_write_file("bad", "abc\xff", 4);
  ASSERT_LM(1, "bad", "train", "--data", "bad", "--tokenizer", "chars", SMALL, "--steps", "1");
}

static void a_folder_of_something_else_is_left_alone(void **state) {
  (void)state;
  static const char *const files[] = {"config.json", "model.safetensors", "model.safetensors.index.json",
                                      "tokenizer.json", "vocab.json"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char path[64], kept[8];
    snprintf(path, sizeof path, "foreign%zu/%s", i, files[i]);
    support_write_file(path, "mine", 4);
    *strrchr(path, '/') = '\0';
    ASSERT_TRAIN(1, "--force", "--steps", "1", "--save", path);
    path[strlen(path)] = '/';
    assert_int_equal(support_read_file(path, kept, sizeof kept), 4);
    assert_memory_equal(kept, "mine", 4);
  }
  ASSERT_TRAIN(0, "", "--steps", "1", "--save", "foreign0", "--force");
  ASSERT_TRAIN(0, "", "--steps", "1", "--save", "plain");
  support_assert_same_folders("foreign0", "plain");
  ASSERT_TRAIN(1, "is no folder", "--steps", "1", "--save", "text");
}

static void with_init_the_context_is_that_of_rows_alone(void **state) {
  (void)state;
  ASSERT_TRAIN(0, "", "--steps", "2", "--save", "first");
  ASSERT_LM(0, "", "train", "--data", "text", "--init", "first", "--context", "5", "--steps", "2", "--save", "second",
            "-q");
  support_assert_same_files("first/config.json", "second/config.json");
  ASSERT_LM(2, "--context", "train", "--data", "text", "--init", "first", "--context", "13", "--steps", "1");
  ASSERT_LM(2, "--width", "train", "--data", "text", "--init", "first", "--width", "32", "--steps", "1");
  ASSERT_LM(2, "--arch", "train", "--data", "text", "--init", "first", "--arch", "llama", "--steps", "1");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_log_has_as_many_steps_as_asked_for),
      cmocka_unit_test(learning_rates_are_those_of_the_schedule),
      cmocka_unit_test(a_log_on_standard_output_is_all_there_is),
      cmocka_unit_test(the_last_part_of_a_text_is_for_validation),
      cmocka_unit_test(several_files_follow_one_another),
      cmocka_unit_test(a_token_file_is_the_text_that_it_holds),
      cmocka_unit_test(micro_batches_add_up_to_a_batch),
      cmocka_unit_test(the_same_training_gives_the_same_bytes),
      cmocka_unit_test(what_makes_no_sense_is_refused),
      cmocka_unit_test(a_folder_of_something_else_is_left_alone),
      cmocka_unit_test(with_init_the_context_is_that_of_rows_alone),
  };
  const struct CMUnitTest device_tests[] = {
      cmocka_unit_test(micro_batches_add_up_to_a_batch),
      cmocka_unit_test(the_same_training_gives_the_same_bytes),
  };
  const int on_host = cmocka_run_group_tests_name("host", tests, enter, support_lm_leave);
  return cmocka_run_group_tests_name("device", device_tests, enter_device, support_lm_leave) + on_host;
}
