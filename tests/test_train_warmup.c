// The second process of a first training: it works where a device is new, and is gone where nothing is to be done or all is over.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support_files.h"
#include "support_values.h"
#include "train/warmup.h"

static const classifier_shape mlp = {.mlp = {.sizes = {20, 24, 17, 10}, .count = 4, .dtype = HEED_F32}};
static const classifier_shape vit = {
    .arch = CLASSIFIER_VIT,
    .vit = {.rows = 6, .cols = 6, .patch = 3, .classes = 5, .layers = 1, .width = 8, .heads = 2, .dropout = 0.1}};
static const tool_args args = {.command = "heed train", .progress = &(tool_progress){0}};

static int begin(void **state) {
  unsetenv("HEED_SELF_TEST");
  if (support_make_folder(state) != 0) return -1;
  return setenv("HEED_CACHE", support_folder(), 1);  // where nothing is remembered
}

static bool is_host_only(void) {
  const char *text = getenv("HEED_TEST_HOST_ONLY");
  return text && strcmp(text, "1") == 0;
}

// First, since it forks before OpenCL is in this process.
static void on_a_new_device_it_does_what_training_does(void **state) {
  (void)state;
  if (is_host_only()) skip();
  train_warmup all[2];
  const classifier_shape *const shapes[2] = {&mlp, &vit};
  for (int i = 0; i < 2; i++) train_warmup_start(&args, &all[i]);
  if (!all[0].pid) skip();  // a device is named, or one core
  for (int i = 0; i < 2; i++) train_warmup_go(&all[i], &args, shapes[i], 33);
  heed_device_list *list = NULL;
  size_t index = 0;
  ASSERT_OK(heed_device_list_create(&list));
  ASSERT_OK(heed_device_list_find(list, NULL, &index));
  const bool is_cpu = heed_device_list_get(list, index)->type == HEED_DEVICE_CPU;
  heed_device_list_destroy(list);
  for (int i = 0; i < 2; i++) {
    int status = -1;
    assert_int_equal(all[i].pid > 0, is_cpu);
    if (!is_cpu) continue;
    assert_int_equal(waitpid(all[i].pid, &status, 0), all[i].pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(all[i].to);
  }
}

static void assert_none(const char *name, const char *value) {
  train_warmup w;
  const char *given = getenv(name);
  char *before = given ? strdup(given) : NULL;
  setenv(name, value, 1);
  train_warmup_start(&args, &w);
  if (before)
    setenv(name, before, 1);
  else
    unsetenv(name);
  free(before);
  assert_int_equal(w.pid, 0);
  train_warmup_go(&w, &args, &mlp, 33);
  train_warmup_stop(&w);
}

static void there_is_none_where_the_device_is_not_tested(void **state) {
  (void)state;
  assert_none("HEED_SELF_TEST", "off");
  assert_none("HEED_DEVICE", "host");
  assert_none("HEED_CACHE", "off");
}

// A device that no list has is none that is new.
static void it_ends_where_it_is_not_needed(void **state) {
  (void)state;
  if (is_host_only()) skip();
  const tool_args elsewhere = {.command = "heed train", .device = "no such device", .progress = &(tool_progress){0}};
  train_warmup w;
  train_warmup_start(&elsewhere, &w);
  if (!w.pid) skip();
  const pid_t pid = w.pid;
  train_warmup_go(&w, &elsewhere, &mlp, 33);
  assert_int_equal(w.pid, 0);
  assert_int_equal(kill(pid, 0), -1);
}

static void it_ends_with_the_training(void **state) {
  (void)state;
  train_warmup w;
  train_warmup_start(&args, &w);
  if (!w.pid) skip();
  const pid_t pid = w.pid;
  train_warmup_stop(&w);
  assert_int_equal(kill(pid, 0), -1);
  train_warmup_stop(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(on_a_new_device_it_does_what_training_does),
      cmocka_unit_test(there_is_none_where_the_device_is_not_tested),
      cmocka_unit_test(it_ends_where_it_is_not_needed),
      cmocka_unit_test(it_ends_with_the_training),
  };
  return cmocka_run_group_tests_name("train warm-up", tests, begin, support_remove_folder);
}
