// heed train: a run with breaks ends in the same bits as one without, Ctrl-C leaves the last checkpoint, synthetic digits are
// always the same and can be learned, the log is one JSON object a line. Runs on the device that heed_open(NULL) picks.
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "train/digits.h"
#include "support_train.h"

static void a_resumed_run_ends_in_the_same_bits(void **state) {
  (void)state;
  // 120 steps an epoch: breaks in the middle of the first epoch, and at the end of it.
  assert_int_equal(TRAIN("--hidden", "24,16", "--epochs", "2", "--save", "whole"), TOOL_DONE);
  assert_int_equal(TRAIN("--hidden", "24,16", "--epochs", "2", "--max-steps", "50", "--save", "parts"), TOOL_DONE);
  heed_safetensors *file = support_read_tensors("parts");
  assert_string_equal(heed_safetensors_metadata(file, "steps"), "50");
  assert_string_equal(heed_safetensors_metadata(file, "hidden"), "24,16");
  assert_int_equal(heed_safetensors_count(file), 6);  // the weights alone, as load_state_dict() wants them
  heed_safetensors_destroy(file);
  file = support_read_tensors("parts.state");
  assert_non_null(heed_safetensors_find(file, "momentum.l3.bias"));
  heed_safetensors_destroy(file);
  assert_int_equal(TRAIN("--resume", "parts", "--max-steps", "120", "--save", "parts"), TOOL_DONE);
  assert_int_equal(TRAIN("--resume", "parts", "--save", "parts"), TOOL_DONE);
  support_assert_same_tensors("whole", "parts");
  support_assert_same_tensors("whole.state", "parts.state");
}

static void copy(const char *from, const char *to) {
  static char bytes[1 << 20];
  support_write_file(to, bytes, support_read_file(from, bytes, sizeof bytes));
}

// The state is written first: after a kill between the two writes the weights are one checkpoint older.
static void a_break_between_the_two_files_loses_nothing(void **state) {
  (void)state;
  assert_int_equal(TRAIN_ON_HOST("--hidden", "16", "--max-steps", "90", "--save", "undisturbed"), TOOL_DONE);
  assert_int_equal(TRAIN_ON_HOST("--hidden", "16", "--max-steps", "30", "--save", "torn"), TOOL_DONE);
  copy("torn", "older");
  assert_int_equal(TRAIN_ON_HOST("--resume", "torn", "--max-steps", "60", "--save", "torn"), TOOL_DONE);
  copy("older", "torn");
  assert_int_equal(TRAIN_ON_HOST("--resume", "torn", "--max-steps", "90", "--save", "torn"), TOOL_DONE);
  support_assert_same_tensors("undisturbed", "torn");
}

static void files_that_do_not_belong_together_are_refused(void **state) {
  (void)state;
  assert_int_equal(TRAIN_ON_HOST("--hidden", "16", "--max-steps", "2", "--save", "first"), TOOL_DONE);
  assert_int_equal(TRAIN_ON_HOST("--hidden", "16", "--max-steps", "2", "--seed", "2", "--save", "second"), TOOL_DONE);
  copy("second", "first");
  assert_int_equal(TRAIN_ON_HOST("--resume", "first", "--max-steps", "3"), TOOL_FAILED);
  unlink("first.state");
  assert_int_equal(TRAIN_ON_HOST("--resume", "first", "--max-steps", "3"), TOOL_FAILED);  // no momentum anywhere
  assert_int_equal(TRAIN_ON_HOST("--init", "first", "--max-steps", "3"), TOOL_DONE);
}

// Checkpoints were one file once, as FILE.state is.
static void a_checkpoint_in_one_file_is_resumed(void **state) {
  (void)state;
  assert_int_equal(TRAIN_ON_HOST("--hidden", "16", "--max-steps", "60", "--save", "at_once"), TOOL_DONE);
  assert_int_equal(TRAIN_ON_HOST("--hidden", "16", "--max-steps", "30", "--save", "old"), TOOL_DONE);
  copy("old.state", "old");
  unlink("old.state");
  assert_int_equal(TRAIN_ON_HOST("--resume", "old", "--max-steps", "60", "--save", "old"), TOOL_DONE);
  support_assert_same_tensors("at_once", "old");
  // Without momentum there is nothing to miss at the end of an epoch.
  assert_int_equal(TRAIN_ON_HOST("--hidden", "16", "--momentum", "0", "--epochs", "1", "--save", "plain"), TOOL_DONE);
  unlink("plain.state");
  assert_int_equal(TRAIN_ON_HOST("--resume", "plain", "--epochs", "2", "--max-steps", "121"), TOOL_DONE);
}

// Images that are sent batch by batch, for training and for testing, are the images that are held on the device.
static void images_that_do_not_fit_are_trained_on_to_the_same_bits(void **state) {
  (void)state;
  char outs[2][256] = {{0}};
  for (int sent = 0; sent < 2; sent++) {
    if (sent) setenv("HEED_DATA_MEMORY", "1000000", 1);
    assert_int_equal(TRAIN("--hidden", "16", "--epochs", "2", "--max-steps", "150", "--save", sent ? "sent" : "held"),
                     TOOL_DONE);
    unsetenv("HEED_DATA_MEMORY");
    // "epoch 1/2: loss 1.23, test accuracy 45.67 %, 0.10 s": all but the seconds.
    const size_t length = strcspn(support_printed, "%");
    assert_true(support_printed[length] && length < sizeof *outs);
    memcpy(outs[sent], support_printed, length);
  }
  support_assert_same_tensors("held", "sent");
  assert_string_equal(outs[0], outs[1]);
  setenv("HEED_DATA_MEMORY", "much", 1);
  assert_int_equal(TRAIN("--hidden", "16", "--max-steps", "1"), TOOL_USAGE);
  unsetenv("HEED_DATA_MEMORY");
}

static void the_seed_decides_weights_and_order(void **state) {
  (void)state;
  assert_int_equal(TRAIN("--hidden", "16", "--max-steps", "3", "--save", "one", "--seed", "7"), TOOL_DONE);
  assert_int_equal(TRAIN("--hidden", "16", "--max-steps", "3", "--save", "two", "--seed", "7"), TOOL_DONE);
  support_assert_same_tensors("one", "two");
  assert_int_equal(TRAIN("--hidden", "16", "--max-steps", "3", "--save", "two", "--seed", "8"), TOOL_DONE);
  heed_safetensors *one = support_read_tensors("one"), *two = support_read_tensors("two");
  const heed_array *x = heed_safetensors_find(one, "l1.weight"), *y = heed_safetensors_find(two, "l1.weight");
  assert_true(memcmp(x->data, y->data, x->bytes) != 0);
  heed_safetensors_destroy(one);
  heed_safetensors_destroy(two);
}

static void weights_can_be_a_start_for_another_run(void **state) {
  (void)state;
  assert_int_equal(TRAIN("--hidden", "16", "--max-steps", "2", "--save", "start"), TOOL_DONE);
  assert_int_equal(TRAIN("--init", "start", "--max-steps", "1", "--lr", "0", "--save", "next"), TOOL_DONE);
  heed_safetensors *start = support_read_tensors("start"), *next = support_read_tensors("next");
  const heed_array *x = heed_safetensors_find(start, "l2.weight"), *y = heed_safetensors_find(next, "l2.weight");
  assert_int_equal(x->bytes, y->bytes);
  assert_memory_equal(x->data, y->data, x->bytes);  // lr 0 moves nothing
  assert_string_equal(heed_safetensors_metadata(next, "steps"), "1");
  heed_safetensors_destroy(start);
  heed_safetensors_destroy(next);
}

static void a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(void **state) {
  (void)state;
  assert_int_equal(TRAIN("--hidden", "16", "--max-steps", "2", "--save", "kept"), TOOL_DONE);
  assert_int_equal(TRAIN("--hidden", "16", "--max-steps", "2", "--save", "same"), TOOL_DONE);
  assert_int_equal(TRAIN("--resume", "kept", "--lr", "1e30", "--save", "kept"), TOOL_FAILED);
  support_assert_same_tensors("same", "kept");
}

static void ctrl_c_leaves_the_last_checkpoint(void **state) {
  (void)state;
  unlink("interrupted");
  fflush(NULL);
  const pid_t child = fork();
  assert_true(child >= 0);
  // "host", as an OpenCL runtime may not outlive a fork.
  if (child == 0) _exit(TRAIN("--hidden", "8", "--epochs", "100000", "--save", "interrupted", "--device", "host"));
  for (int i = 0; i < 3000 && access("interrupted", R_OK) != 0; i++) usleep(20000);
  usleep(50000);
  assert_int_equal(kill(child, SIGINT), 0);
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), TOOL_INTERRUPTED);
  heed_safetensors *file = support_read_tensors("interrupted");
  assert_string_equal(heed_safetensors_metadata(file, "step_in_epoch"), "0");
  assert_non_null(heed_safetensors_find(file, "l2.bias"));
  heed_safetensors_destroy(file);
}

static void the_log_is_one_json_object_a_line(void **state) {
  (void)state;
  static const char *const events[] = {"start", "step", "epoch", "step", "epoch", "end"};
  assert_int_equal(TRAIN("--hidden", "16", "--epochs", "2", "--log", "log"), TOOL_DONE);
  FILE *stream = fopen("log", "r");
  assert_non_null(stream);
  char line[4096];
  size_t lines = 0;
  for (; fgets(line, sizeof line, stream); lines++) {
    json_t *object = json_loads(line, 0, NULL);
    assert_non_null(object);
    assert_true(lines < sizeof events / sizeof *events);
    assert_string_equal(json_string_value(json_object_get(object, "event")), events[lines]);
    if (strcmp(events[lines], "epoch") == 0) {
      assert_true(json_real_value(json_object_get(object, "images_per_s")) > 0);
      assert_true(json_real_value(json_object_get(object, "accuracy")) > 0.5);
    }
    json_decref(object);
  }
  fclose(stream);
  assert_int_equal(lines, sizeof events / sizeof *events);
}

static void synthetic_digits_can_be_learned(void **state) {
  (void)state;
  assert_int_equal(TRAIN("--hidden", "64", "--epochs", "4", "--lr", "0.05", "--log", "learned"), TOOL_DONE);
  FILE *stream = fopen("learned", "r");
  assert_non_null(stream);
  char line[4096];
  double accuracy = 0;
  while (fgets(line, sizeof line, stream)) {
    json_t *object = json_loads(line, 0, NULL);
    const json_t *value = json_object_get(object, "accuracy");
    if (value) accuracy = json_real_value(value);
    json_decref(object);
  }
  fclose(stream);
  if (!(accuracy > 0.95)) fail_msg("the test accuracy is %g", accuracy);
}

static void an_image_depends_on_seed_and_number_alone(void **state) {
  (void)state;
  static uint8_t few[3 * DIGITS_PIXELS], many[5 * DIGITS_PIXELS], other[3 * DIGITS_PIXELS];
  uint8_t few_labels[3], many_labels[5], other_labels[3];
  digits_draw(1, 3, few, few_labels);
  digits_draw(1, 5, many, many_labels);
  digits_draw(2, 3, other, other_labels);
  assert_memory_equal(few, many, sizeof few);
  assert_memory_equal(few_labels, many_labels, sizeof few_labels);
  assert_true(memcmp(few, other, sizeof few) != 0);
  for (int i = 0; i < 5; i++) {
    int ink = 0;
    for (int p = 0; p < DIGITS_PIXELS; p++) ink += many[i * DIGITS_PIXELS + p] > 127;
    assert_true(many_labels[i] < 10 && ink > 15 && ink < DIGITS_PIXELS / 2);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_image_depends_on_seed_and_number_alone),
      cmocka_unit_test(ctrl_c_leaves_the_last_checkpoint),
      cmocka_unit_test(a_resumed_run_ends_in_the_same_bits),
      cmocka_unit_test(a_break_between_the_two_files_loses_nothing),
      cmocka_unit_test(files_that_do_not_belong_together_are_refused),
      cmocka_unit_test(a_checkpoint_in_one_file_is_resumed),
      cmocka_unit_test(images_that_do_not_fit_are_trained_on_to_the_same_bits),
      cmocka_unit_test(the_seed_decides_weights_and_order),
      cmocka_unit_test(weights_can_be_a_start_for_another_run),
      cmocka_unit_test(a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint),
      cmocka_unit_test(the_log_is_one_json_object_a_line),
      cmocka_unit_test(synthetic_digits_can_be_learned),
  };
  return cmocka_run_group_tests(tests, support_enter_folder, support_leave_folder);
}
