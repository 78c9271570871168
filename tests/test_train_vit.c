// heed train's choices: vision transformers beside perceptrons, AdamW beside SGD, schedules, micro-batches. Runs with breaks end in the same
// bits, files say which model they hold, and options that do not fit are refused.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <heed/nn.h>

#include "support_train.h"

#define SMALL_VIT "--arch", "vit", "--layers", "1", "--width", "8", "--heads", "2"

static void assert_says(const char *part) {
  if (!strstr(tool_last_failure(), part)) fail_msg("\"%s\" has no \"%s\"", tool_last_failure(), part);
}

#define ASSERT_TRAIN_FAILS(status, part, ...)               \
  do {                                                      \
    assert_int_equal(TRAIN_ON_HOST(__VA_ARGS__), (status)); \
    assert_says(part);                                      \
  } while (0)

// ---------------------------------------------------------------- the same bits

// Breaks in the middle of the first epoch and at its end; dropout, clipping, warmup and a cosine are a vit's defaults.
static void a_resumed_vit_ends_in_the_same_bits(void **state) {
  (void)state;
  assert_int_equal(TRAIN(SMALL_VIT, "--epochs", "2", "--max-steps", "130", "--save", "whole"), TOOL_DONE);
  assert_int_equal(TRAIN(SMALL_VIT, "--epochs", "2", "--max-steps", "50", "--save", "parts"), TOOL_DONE);
  heed_safetensors *file = support_read_tensors("parts");
  assert_string_equal(heed_safetensors_metadata(file, "arch"), "vit");
  assert_string_equal(heed_safetensors_metadata(file, "heads"), "2");
  assert_string_equal(heed_safetensors_metadata(file, "optimizer"), "adamw");
  assert_int_equal(heed_safetensors_count(file), 19);  // the weights alone
  assert_non_null(heed_safetensors_find(file, "encoder.layers.0.self_attn.in_proj_weight"));
  heed_safetensors_destroy(file);
  file = support_read_tensors("parts.state");
  assert_non_null(heed_safetensors_find(file, "exp_avg.patch.weight"));
  assert_non_null(heed_safetensors_find(file, "exp_avg_sq.head.bias"));
  heed_safetensors_destroy(file);
  assert_int_equal(TRAIN("--resume", "parts", "--max-steps", "120", "--save", "parts"), TOOL_DONE);
  assert_int_equal(TRAIN("--resume", "parts", "--max-steps", "130", "--save", "parts"), TOOL_DONE);
  support_assert_same_tensors("whole", "parts");
  support_assert_same_tensors("whole.state", "parts.state");
}

static void a_resumed_perceptron_with_adamw_ends_in_the_same_bits(void **state) {
  (void)state;
#define CHOICES                                                                                                  \
  "--hidden", "16", "--optimizer", "adamw", "--schedule", "wsd", "--warmup", "5", "--accumulate", "7", "--clip", \
      "0.5", "--weight-decay", "0.1", "--beta2", "0.99"
  // 18 steps an epoch, the last one of a single micro-batch.
  assert_int_equal(TRAIN(CHOICES, "--epochs", "3", "--save", "whole"), TOOL_DONE);
  assert_int_equal(TRAIN(CHOICES, "--epochs", "3", "--max-steps", "10", "--save", "parts"), TOOL_DONE);
  assert_int_equal(TRAIN("--resume", "parts", "--max-steps", "18", "--save", "parts"), TOOL_DONE);
  assert_int_equal(TRAIN("--resume", "parts", "--save", "parts"), TOOL_DONE);
#undef CHOICES
  support_assert_same_tensors("whole", "parts");
  support_assert_same_tensors("whole.state", "parts.state");
  heed_safetensors *file = support_read_tensors("whole");
  assert_string_equal(heed_safetensors_metadata(file, "steps"), "54");
  assert_string_equal(heed_safetensors_metadata(file, "applied_steps"), "54");
  heed_safetensors_destroy(file);
  unlink("parts.state");
  ASSERT_TRAIN_FAILS(TOOL_FAILED, "with the moments is missing", "--resume", "parts", "--epochs", "4");
}

// ---------------------------------------------------------------- what a step does

// How far one step of plain SGD moved a weight: the negative gradient, with --lr 1.
static void read_move(const char *from, const char *to, const char *name, size_t count, double *move) {
  heed_safetensors *a = support_read_tensors(from), *b = support_read_tensors(to);
  const heed_array *x = heed_safetensors_find(a, name), *y = heed_safetensors_find(b, name);
  assert_true(x && y && x->bytes >= count * sizeof(float));
  for (size_t i = 0; i < count; i++)
    move[i] = (double)((const float *)y->data)[i] - (double)((const float *)x->data)[i];
  heed_safetensors_destroy(a);
  heed_safetensors_destroy(b);
}

// A weight near 0.5 holds a move of this size to one part in 2^24 / 0.01, which leaves 1e-4 of it after rounding.
static void assert_same_move(const char *from, const char *to_a, const char *to_b, const char *name, size_t count) {
  double a[256], b[256], difference = 0, size = 0;
  assert_true(count <= 256);
  read_move(from, to_a, name, count, a);
  read_move(from, to_b, name, count, b);
  for (size_t i = 0; i < count; i++) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  assert_true(size > 0);
  if (!(sqrt(difference / size) <= 1e-4)) fail_msg("%s moved by another %g", name, sqrt(difference / size));
}

// 12000 images: two micro-batches of 7000 and 5000 are one of 12000.
static void micro_batches_give_the_gradients_of_the_whole_batch(void **state) {
  (void)state;
#define MLP "--hidden", "8", "--momentum", "0", "--max-steps", "1", "--no-shuffle"
  assert_int_equal(TRAIN_ON_HOST(MLP, "--lr", "0", "--save", "start"), TOOL_DONE);
  assert_int_equal(TRAIN_ON_HOST(MLP, "--lr", "1", "--batch", "12000", "--save", "once"), TOOL_DONE);
  assert_int_equal(TRAIN_ON_HOST(MLP, "--lr", "1", "--batch", "7000", "--accumulate", "2", "--save", "parts"),
                   TOOL_DONE);
#undef MLP
  assert_same_move("start", "parts", "once", "l1.bias", 8);
  assert_same_move("start", "parts", "once", "l2.weight", 80);
#define VIT                                                                                                   \
  SMALL_VIT, "--optimizer", "sgd", "--momentum", "0", "--clip", "0", "--dropout", "0", "--weight-decay", "0", \
      "--warmup", "0", "--schedule", "constant", "--max-steps", "1", "--no-shuffle"
  assert_int_equal(TRAIN(VIT, "--lr", "0", "--save", "start"), TOOL_DONE);
  assert_int_equal(TRAIN(VIT, "--lr", "1", "--batch", "600", "--save", "once"), TOOL_DONE);
  assert_int_equal(TRAIN(VIT, "--lr", "1", "--batch", "200", "--accumulate", "3", "--save", "parts"), TOOL_DONE);
#undef VIT
  assert_same_move("start", "parts", "once", "head.weight", 80);
  assert_same_move("start", "parts", "once", "positions", 128);
}

// The line of the log with this event, counted from 0.
static const json_t *event_of(const json_t *lines, const char *event, size_t number) {
  for (size_t i = 0; i < json_array_size(lines); i++) {
    const json_t *line = json_array_get(lines, i);
    if (strcmp(json_string_value(json_object_get(line, "event")), event) == 0 && number-- == 0) return line;
  }
  fail_msg("the log has no such event: %s", event);
  return NULL;
}

static void the_log_has_the_learning_rate_of_the_schedule(void **state) {
  (void)state;
  static const char *const names[] = {"constant", "linear", "cosine", "wsd"};
  for (int kind = 0; kind < 4; kind++) {
    const heed_schedule schedule = {
        .kind = (heed_schedule_kind)kind, .lr = 0.02, .min_lr = kind ? 0.005 : 0, .warmup = 150, .decay_steps = 240};
    unlink("log");
    assert_int_equal(TRAIN_ON_HOST("--hidden", "4", "--epochs", "2", "--log", "log", "--lr", "0.02", "--warmup", "150",
                                   "--schedule", names[kind], kind ? "--min-lr=0.005" : NULL),
                     TOOL_DONE);
    json_t *lines = support_read_log("log");
    const json_t *start = event_of(lines, "start", 0);
    assert_string_equal(json_string_value(json_object_get(start, "schedule")), names[kind]);
    assert_string_equal(json_string_value(json_object_get(start, "optimizer")), "sgd");
    for (size_t number = 0; number < 2; number++) {
      const json_t *step = event_of(lines, "step", number);
      const json_int_t steps = json_integer_value(json_object_get(step, "step"));
      const double lr = json_real_value(json_object_get(step, "lr")),
                   expected = heed_schedule_rate(&schedule, steps - 1);
      if (!(fabs(lr - expected) <= 1e-8 * expected)) fail_msg("%s: lr %.10g, not %.10g", names[kind], lr, expected);
    }
    json_decref(lines);
  }
}

// On the host this takes the longest of all tests, and says nothing of it that test_vit does not.
static void a_vit_learns_synthetic_digits(void **state) {
  (void)state;
  const char *host_only = getenv("HEED_TEST_HOST_ONLY");
  if (host_only && *host_only == '1') skip();
  assert_int_equal(TRAIN("--arch", "vit", "--layers", "2", "--width", "32", "--epochs", "2", "--lr", "0.003",
                         "--warmup", "20", "--dropout", "0", "--log", "learned"),
                   TOOL_DONE);
  json_t *lines = support_read_log("learned");
  assert_int_equal(json_integer_value(json_object_get(event_of(lines, "start", 0), "width")), 32);
  const double accuracy = json_real_value(json_object_get(event_of(lines, "epoch", 1), "accuracy"));
  json_decref(lines);
  if (!(accuracy > 0.9)) fail_msg("the test accuracy is %g", accuracy);
}

// ---------------------------------------------------------------- files

#define EVAL(...) COMMAND(cmd_eval, "eval", "--data", "synthetic", "--device", "host", __VA_ARGS__)

static void assert_eval_says(const char *path, const char *arch) {
  assert_int_equal(EVAL("--json", "--model", path), TOOL_DONE);
  json_t *object = json_loads(support_printed, 0, NULL);
  assert_non_null(object);
  assert_string_equal(json_string_value(json_object_get(object, "arch")), arch);
  json_decref(object);
}

// Copies a file, without one tensor or with other metadata of one key.
static void copy_but(const char *from, const char *to, const char *tensor, const char *key, const char *value) {
  heed_safetensors *file = support_read_tensors(from), *out = NULL;
  ASSERT_OK(heed_safetensors_create(&out));
  for (size_t i = 0; i < heed_safetensors_metadata_count(file); i++) {
    const char *own = heed_safetensors_metadata_key(file, i);
    if (!key || strcmp(own, key) != 0)
      ASSERT_OK(heed_safetensors_set_metadata(out, own, heed_safetensors_metadata(file, own)));
  }
  if (value) ASSERT_OK(heed_safetensors_set_metadata(out, key, value));
  for (size_t i = 0; i < heed_safetensors_count(file); i++) {
    const heed_array *a = heed_safetensors_get(file, i);
    if (!tensor || strcmp(a->name, tensor) != 0)
      ASSERT_OK(heed_safetensors_add(out, a->name, a->dtype, a->rank, a->dims, a->data));
  }
  ASSERT_OK(heed_safetensors_write(out, to));
  heed_safetensors_destroy(file);
  heed_safetensors_destroy(out);
}

static void a_file_says_which_model_it_holds(void **state) {
  (void)state;
  assert_int_equal(TRAIN_ON_HOST(SMALL_VIT, "--max-steps", "1", "--save", "vit"), TOOL_DONE);
  assert_int_equal(TRAIN_ON_HOST("--hidden", "8", "--max-steps", "1", "--save", "mlp"), TOOL_DONE);
  assert_eval_says("vit", "vit");
  assert_eval_says("mlp", "mlp");
  copy_but("vit", "unsaid", NULL, "arch", NULL);  // the tensors' names tell, too
  assert_eval_says("unsaid", "vit");
  copy_but("vit", "wrong", NULL, "arch", "mlp");
  assert_int_equal(EVAL("--model", "wrong"), TOOL_FAILED);
  assert_says("its tensors are those of vit");
  copy_but("vit", "wrong", NULL, "heads", NULL);
  assert_int_equal(EVAL("--model", "wrong"), TOOL_FAILED);
  assert_says("'heads'");
  copy_but("vit", "wrong", "encoder.layers.0.linear2.bias", NULL, NULL);
  assert_int_equal(EVAL("--model", "wrong"), TOOL_FAILED);
  assert_says("no tensor 'encoder.layers.0.linear2.bias'");
  copy_but("vit", "wrong", "positions", NULL, NULL);
  assert_int_equal(EVAL("--model", "wrong"), TOOL_FAILED);
  assert_says("no tensor 'positions'");
}

// What a version without these choices wrote: the settings that it had.
static void an_older_checkpoint_is_resumed(void **state) {
  (void)state;
  static const char *const newer[] = {"arch",  "accumulate", "optimizer", "schedule",     "warmup", "min_lr",
                                      "beta1", "beta2",      "eps",       "weight_decay", "clip",   "dropout"};
  assert_int_equal(TRAIN_ON_HOST("--hidden", "8", "--max-steps", "60", "--save", "whole"), TOOL_DONE);
  assert_int_equal(TRAIN_ON_HOST("--hidden", "8", "--max-steps", "20", "--save", "old"), TOOL_DONE);
  for (size_t i = 0; i < sizeof newer / sizeof *newer; i++) {
    copy_but("old", "old", NULL, newer[i], NULL);
    copy_but("old.state", "old.state", NULL, newer[i], NULL);
  }
  ASSERT_TRAIN_FAILS(TOOL_USAGE, "trained with sgd", "--resume", "old", "--optimizer", "adamw");
  assert_int_equal(TRAIN_ON_HOST("--resume", "old", "--max-steps", "60", "--save", "old"), TOOL_DONE);
  support_assert_same_tensors("whole", "old");
  support_assert_same_tensors("whole.state", "old.state");
}

static void options_that_do_not_fit_a_file_are_refused(void **state) {
  (void)state;
  assert_int_equal(TRAIN_ON_HOST(SMALL_VIT, "--max-steps", "1", "--save", "vit"), TOOL_DONE);
  assert_int_equal(TRAIN_ON_HOST("--hidden", "8", "--max-steps", "1", "--save", "mlp"), TOOL_DONE);
  ASSERT_TRAIN_FAILS(TOOL_USAGE, "--arch mlp does not fit vit", "--init", "vit", "--arch", "mlp");
  ASSERT_TRAIN_FAILS(TOOL_USAGE, "--arch vit does not fit mlp", "--init", "mlp", "--arch", "vit");
  ASSERT_TRAIN_FAILS(TOOL_USAGE, "trained with vit", "--resume", "vit", "--arch", "mlp");
  ASSERT_TRAIN_FAILS(TOOL_USAGE, "trained with mlp", "--resume", "mlp", "--arch", "vit");
  ASSERT_TRAIN_FAILS(TOOL_USAGE, "trained with adamw", "--resume", "vit", "--optimizer", "sgd");
  ASSERT_TRAIN_FAILS(TOOL_USAGE, "trained with 1;", "--resume", "vit", "--accumulate", "2");
  ASSERT_TRAIN_FAILS(TOOL_USAGE, "--layers 3 does not fit vit, which is vit (layers 1, heads 2", "--init", "vit",
                     "--layers", "3");
  assert_int_equal(TRAIN_ON_HOST("--init", "vit", "--max-steps", "1", "--layers", "1", "--width", "8"), TOOL_DONE);
}

static void options_that_do_not_fit_each_other_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *part, *words[6];
  } wrong[] = {{"--momentum belongs to --optimizer sgd", {"--arch", "vit", "--momentum", "0.9"}},
               {"--beta1 belongs to --optimizer adamw", {"--beta1", "0.8"}},
               {"--hidden belongs to --arch mlp", {"--arch", "vit", "--hidden", "16"}},
               {"--dropout belongs to --arch vit", {"--dropout", "0.1"}},
               {"--min-lr belongs to a schedule that falls", {"--min-lr", "0.1"}},
               {"--dropout 1: must be below 1", {"--arch", "vit", "--dropout", "1"}},
               {"--schedule", {"--schedule", "circle"}},
               {"--arch", {"--arch", "cnn"}}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(support_train(wrong[i].words), TOOL_USAGE);
    assert_says(wrong[i].part);
  }
  ASSERT_TRAIN_FAILS(TOOL_FAILED, "cannot be cut into patches of 5 x 5", SMALL_VIT, "--patch", "5");
  ASSERT_TRAIN_FAILS(TOOL_FAILED, "multiple of 3 heads", "--arch", "vit", "--heads", "3");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_resumed_vit_ends_in_the_same_bits),
      cmocka_unit_test(a_resumed_perceptron_with_adamw_ends_in_the_same_bits),
      cmocka_unit_test(micro_batches_give_the_gradients_of_the_whole_batch),
      cmocka_unit_test(the_log_has_the_learning_rate_of_the_schedule),
      cmocka_unit_test(a_vit_learns_synthetic_digits),
      cmocka_unit_test(a_file_says_which_model_it_holds),
      cmocka_unit_test(an_older_checkpoint_is_resumed),
      cmocka_unit_test(options_that_do_not_fit_a_file_are_refused),
      cmocka_unit_test(options_that_do_not_fit_each_other_are_refused),
  };
  return cmocka_run_group_tests(tests, support_enter_folder, support_leave_folder);
}
