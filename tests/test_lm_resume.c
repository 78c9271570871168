// heed lm train with breaks: a run that goes on ends in the same bits as one without a break, knows what belongs to it, and whatever stops it
// leaves the last good state. On the host, and the bits on the device, too.
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support_lm.h"

#define SMALL "--layers", "2", "--heads", "2", "--width", "16", "--context", "12", "--batch", "2", "-q"
#define TRAIN(...) LM("train", "--data", "text", __VA_ARGS__)
#define ASSERT_TRAIN(status, part, ...) ASSERT_LM(status, part, "train", "--data", "text", __VA_ARGS__)

static int enter_on(void **state, int (*fixture)(void **)) {
  if (fixture(state) != 0) return -1;
  support_lm_write_text("text", 3000, 1);
  support_lm_write_text("other", 3000, 2);
  return 0;
}
static int enter(void **state) { return enter_on(state, support_lm_on_host); }
static int enter_device(void **state) { return enter_on(state, support_lm_on_device); }

static void remove_folder(const char *path) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", path);
  assert_int_equal(system(command), 0);
}

// ---------------------------------------------------------------- the same bits

static void with_a_break(const char *const *options, const char *first, const char *steps) {
  const char *words[48] = {"train", "--data", "text", SMALL};
  size_t count = 0, given;
  while (words[count]) count++;
  for (; *options; options++) words[count++] = *options;
  given = count;
  remove_folder("whole");
  remove_folder("parts");
  words[count++] = "--save", words[count++] = "whole", words[count++] = "--steps", words[count++] = steps;
  assert_int_equal(support_lm(words), 0);
  words[given + 1] = "parts", words[given + 3] = first;
  assert_int_equal(support_lm(words), 0);
  ASSERT_TRAIN(0, "", "--resume", "parts", "--steps", steps, "-q");
  support_assert_same_folders("whole", "parts");
}
#define WITH_A_BREAK(first, steps, ...) with_a_break((const char *const[]){__VA_ARGS__, NULL}, first, steps)

static void a_run_that_goes_on_ends_in_the_same_bits(void **state) {
  (void)state;
  support_lm_need_device();
  WITH_A_BREAK("5", "12", "--dropout", "0.1", "--accumulate", "2", "--clip", "1", "--weight-decay", "0.1");
  WITH_A_BREAK("1", "9", "--dtype", "bf16", "--order", "sequential", "--recompute");
  WITH_A_BREAK("6", "9", "--dtype", "f16", "--dropout", "0.2");
}

static void so_does_a_run_of_any_shape(void **state) {
  (void)state;
  WITH_A_BREAK("7", "14", "--arch", "llama", "--kv-heads", "1", "--tie", "--val-fraction", "0");
  WITH_A_BREAK("3", "8", "--arch", "qwen2", "--schedule", "cosine", "--decay-steps", "6", "--warmup", "2", "--min-lr",
               "1e-4");
  WITH_A_BREAK("3", "8", "--arch", "mistral", "--tokenizer", "chars", "--save-dtype", "bf16");
  WITH_A_BREAK("4", "8", "--keep-best", "--eval-every", "2");
  support_assert_same_folders("whole/best", "parts/best");
  WITH_A_BREAK("0", "4", "--seed", "18446744073709551615");
}

// ---------------------------------------------------------------- what belongs to a run

static void options_that_agree_may_be_given_again(void **state) {
  (void)state;
  remove_folder("run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "4", "--save", "run", "--tokenizer", "chars", "--lr", "0.002");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "5", "--save", "run", "--resume", "run", "--tokenizer", "chars", "--lr", "2e-3",
               "--seed", "1", "--arch", "gpt2", "--tie");
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "6", "--save", "run/", "--eval-every", "3", "--log-every", "2",
               "--save-every", "1", "--sample-every", "3", "--eval-batches", "1", "--keep-best", "--log", "log", "-q");
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "6", "-q");  // nothing to do
}

static void options_that_do_not_agree_are_refused(void **state) {
  (void)state;
  static const char *const others[][2] = {
      {"--lr", "0.1"},         {"--min-lr", "0.1"},      {"--warmup", "3"},    {"--schedule", "linear"},
      {"--decay-steps", "3"},  {"--beta1", "0.8"},       {"--beta2", "0.9"},   {"--eps", "1e-6"},
      {"--weight-decay", "1"}, {"--clip", "1"},          {"--dropout", "0.5"}, {"--dtype", "bf16"},
      {"--batch", "3"},        {"--accumulate", "2"},    {"--context", "5"},   {"--order", "sequential"},
      {"--seed", "2"},         {"--val-fraction", "0"},  {"--layers", "3"},    {"--heads", "1"},
      {"--kv-heads", "1"},     {"--width", "8"},         {"--ffn", "8"},       {"--vocab", "300"},
      {"--arch", "llama"},     {"--tokenizer", "chars"}, {"--heads", "4"},     {"--lr", "0.0010001"}};
  remove_folder("run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "3", "--save", "run");
  support_copy_folder("run", "same/");
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    ASSERT_TRAIN(2, others[i][0], "--resume", "run", "--steps", "4", others[i][0], others[i][1]);
  ASSERT_TRAIN(2, "own folder", "--resume", "run", "--steps", "4", "--save", "elsewhere");
  ASSERT_TRAIN(2, "--init", "--resume", "run", "--steps", "4", "--init", "elsewhere");
  ASSERT_TRAIN(2, "recompute", "--resume", "run", "--steps", "4", "--recompute");
  ASSERT_TRAIN(2, "--no-tie does not fit", "--resume", "run", "--steps", "4", "--no-tie");
  support_assert_same_folders("run", "same");
  assert_int_not_equal(access("elsewhere", F_OK), 0);
}

static void other_data_are_refused(void **state) {
  (void)state;
  remove_folder("run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "3", "--save", "run");
  ASSERT_LM(1, "other tokens", "train", "--data", "other", "--resume", "run", "--steps", "4");
  ASSERT_LM(1, "other tokens", "train", "--data", "text,other", "--resume", "run", "--steps", "4");
  ASSERT_LM(1, "other tokens", "train", "--data", "text", "--val", "other", "--resume", "run", "--steps", "4");
  ASSERT_LM(2, "--data", "train", "--resume", "run", "--steps", "4");
}

// A run goes on from its state alone: model files may be newer.
static void the_state_is_what_counts(void **state) {
  (void)state;
  remove_folder("run");
  remove_folder("whole");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "8", "--save", "whole");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "4", "--save", "run");
  support_copy_folder("whole", "newer/");
  assert_int_equal(rename("newer/model.safetensors", "run/model.safetensors"), 0);
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "8", "-q");
  support_assert_same_folders("whole", "run");
}

// Nor need they be there.
static void a_run_goes_on_without_the_weights_beside_its_state(void **state) {
  (void)state;
  remove_folder("run");
  remove_folder("whole");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "8", "--save", "whole", "--dtype", "bf16");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "4", "--save", "run", "--dtype", "bf16");
  assert_int_equal(unlink("run/model.safetensors"), 0);
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "6", "-q");
  support_write_file("run/model.safetensors", "torn", 4);
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "8", "-q");
  support_assert_same_folders("whole", "run");
  assert_int_equal(unlink("run/config.json"), 0);
  ASSERT_TRAIN(1, "config.json", "--resume", "run", "--steps", "9", "-q");
}

// The same command line, with --resume: the model that the run began with is not read again.
static void a_run_that_began_from_a_model_goes_on(void **state) {
  (void)state;
  remove_folder("first");
  remove_folder("whole");
  remove_folder("run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "3", "--save", "first");
  ASSERT_TRAIN(0, "", "--init", "first", "--steps", "5", "-q", "--save", "whole");
  ASSERT_TRAIN(0, "", "--init", "first", "--steps", "2", "-q", "--save", "run");
  ASSERT_TRAIN(0, "", "--init", "first", "--steps", "3", "-q", "--save", "run", "--resume", "run");
  remove_folder("first");
  ASSERT_TRAIN(0, "", "--init", "first", "--steps", "4", "-q", "--save", "run", "--resume", "run");
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "5", "-q");
  support_assert_same_folders("whole", "run");
  remove_folder("new");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "2", "--save", "new");
  ASSERT_TRAIN(2, "began with a new model", "--resume", "new", "--init", "run", "--steps", "3");
}

// A run that was killed while it wrote its first checkpoint begins again by the same command line; other people's models stay.
static void a_run_without_a_state_begins_again(void **state) {
  (void)state;
  remove_folder("run");
  remove_folder("whole");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "3", "--save", "whole");
  support_copy_folder("whole", "run/");
  assert_int_equal(unlink("run/heed_state.safetensors"), 0);
  ASSERT_TRAIN(1, "there is a config.json already", SMALL, "--steps", "3", "--save", "run");
  ASSERT_TRAIN(1, "start from its model with --init", "--resume", "run", "--steps", "3");
  support_write_file("run/.heed-unfinished", "", 0);
  ASSERT_TRAIN(1, "ended before its first checkpoint", "--resume", "run", "--steps", "3");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "3", "--save", "run");
  support_assert_same_folders("whole", "run");
  // One that was killed between its first state and the end of the mark has its state.
  support_write_file("run/.heed-unfinished", "", 0);
  ASSERT_TRAIN(1, "--resume run goes on with it", SMALL, "--steps", "3", "--save", "run");
  support_write_file("run/.heed-unfinished", "", 0);
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "3", "-q");
  support_assert_same_folders("whole", "run");
}

static void a_state_that_is_a_pipe_is_refused(void **state) {
  (void)state;
  remove_folder("run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "2", "--save", "run");
  assert_int_equal(unlink("run/heed_state.safetensors"), 0);
  assert_int_equal(mkfifo("run/heed_state.safetensors", 0600), 0);
  ASSERT_TRAIN(1, "is no file, but a pipe", "--resume", "run", "--steps", "3", "-q");
}

static void a_broken_state_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *from, *to;
  } breaks[] = {{"\"lm train 1\"", "\"lm train 9\""},
                {"\"step\":\"3\"", "\"step\":\"x\""},
                {"\"lr\":\"0.001", "\"lr\":\"-1.01"},
                {"\"batch\":\"2\"", "\"batch\":\"0\""},
                {"\"schedule\":\"c", "\"schedule\":\"d"},
                {"exp_avg.transformer.wte.weight", "exp_avg.transformer.wtf.weight"},
                {"\"counts\"", "\"kounts\""}};
  remove_folder("run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "3", "--save", "run");
  for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
    remove_folder("broken");
    support_copy_folder("run", "broken/");
    support_replace_in_file("broken/heed_state.safetensors", breaks[i].from, breaks[i].to);
    ASSERT_TRAIN(1, "broken/heed_state.safetensors", "--resume", "broken", "--steps", "4");
  }
  support_copy_folder("run", "broken/");
  assert_int_equal(truncate("broken/heed_state.safetensors", 20000), 0);
  ASSERT_TRAIN(1, "broken/heed_state.safetensors", "--resume", "broken", "--steps", "4");
  unlink("broken/heed_state.safetensors");
  ASSERT_TRAIN(1, "heed_state.safetensors", "--resume", "broken", "--steps", "4");
}

// ---------------------------------------------------------------- the log

static void the_log_goes_on_where_the_state_does(void **state) {
  (void)state;
  remove_folder("run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "6", "--save", "run", "--log", "log", "--log-every", "1", "--eval-every", "3");
  // As a kill in the tenth step leaves it: lines of steps whose state is lost, and a torn one.
  FILE *log = fopen("log", "a");
  for (int step = 6; step < 10; step++)
    fprintf(log, "{\"command\":\"heed lm train\",\"event\":\"step\",\"step\":%d,\"loss\":1}\n", step);
  fprintf(log, "{\"command\":\"heed lm train\",\"event\":\"eval\",\"step\":9,\"loss\":1}\n{\"command\":\"he");
  assert_int_equal(fclose(log), 0);
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "12", "--log", "log", "-q");
  json_t *whole = support_lm_log("log");
  assert_int_equal(support_lm_events(whole, "step"), 12);
  for (size_t i = 0; i < 12; i++) {
    const json_t *step = support_lm_event(whole, "step", i);
    assert_int_equal(support_lm_number(step, "step"), i);
    assert_true(support_lm_number(step, "loss") > 2);
  }
  assert_int_equal(support_lm_events(whole, "eval"), 4);
  assert_int_equal(support_lm_events(whole, "start"), 2);
  assert_int_equal(support_lm_events(whole, "end"), 2);
  json_decref(whole);
}

// ---------------------------------------------------------------- what goes wrong

static void a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(void **state) {
  (void)state;
  support_lm_need_device();
  remove_folder("run");
  remove_folder("same");
  ASSERT_TRAIN(1, "in step", SMALL, "--steps", "60", "--save", "run", "--lr", "1e30", "--save-every", "1", "--log",
               "log", "--log-every", "1");
  assert_non_null(strstr(support_said, "run has the state after 1 step"));
  json_t *log = support_lm_log("log");
  const json_t *end = support_lm_event(log, "end", 0);
  assert_true(json_is_false(json_object_get(end, "ok")));
  assert_non_null(strstr(json_string_value(json_object_get(end, "error")), "in step"));
  json_decref(log);
  support_copy_folder("run", "same/");
  ASSERT_TRAIN(1, "in step", "--resume", "run", "--steps", "60", "-q");
  support_assert_same_folders("run", "same");
  // Nobody looks at the steps before the checkpoint.
  ASSERT_TRAIN(1, "in step", SMALL, "--steps", "60", "--save", "run", "--force", "--lr", "1e30", "--save-every", "50");
  support_assert_same_folders("run", "same");
}

static void weights_that_are_no_numbers_are_found(void **state) {
  (void)state;
  remove_folder("run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "1", "--save", "run");
  FILE *file = fopen("run/model.safetensors", "r+b");
  assert_non_null(file);
  assert_int_equal(fseek(file, -4, SEEK_END), 0);
  assert_int_equal(fwrite(&(float){NAN}, 4, 1, file), 1);
  assert_int_equal(fclose(file), 0);
  ASSERT_TRAIN(1, "in step 0", "--init", "run", "--steps", "5", "-q");
  ASSERT_LM(1, "NaN", "eval", "--model", "run", "--data", "text");
  ASSERT_LM(1, "weights", "generate", "--model", "run", "--prompt", "the", "--tokens", "2");
}

// In a child, on the host: an OpenCL runtime may not outlive a fork. What the run says goes on to the parent's stderr.
static pid_t begin_in_child(const char *const *words, rlim_t largest_file) {
  fflush(NULL);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child > 0) return child;
  setrlimit(RLIMIT_FSIZE, &(struct rlimit){largest_file, largest_file});
  const int status = support_lm(words);
  fputs(support_said, stderr);
  fflush(stderr);
  _exit(status);
}

// The signal is sent when there is something in the file `when`. Returns what waitpid() says.
static int interrupted_run(const char *const *words, int signal_number, const char *when) {
  const pid_t child = begin_in_child(words, RLIM_INFINITY);
  struct stat info = {0};
  for (int i = 0; i < 3000 && (stat(when, &info) != 0 || info.st_size == 0); i++) usleep(10000);
  usleep(30000);
  assert_int_equal(kill(child, signal_number), 0);
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

static int64_t steps_of(const char *path) {
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_read(path, &file));
  const int64_t steps = atoll(heed_safetensors_metadata(file, "step"));
  heed_safetensors_destroy(file);
  return steps;
}

static void ctrl_c_saves_a_state_to_go_on_from(void **state) {
  (void)state;
  static const int signals[] = {SIGINT, SIGTERM};
  for (int i = 0; i < 2; i++) {
    remove_folder("run");
    remove_folder("whole");
    char message[2048];
    const support_listening listening = support_listen_begin(STDERR_FILENO);
    const int status =
        interrupted_run((const char *const[]){"train", "--data", "text", SMALL, "--steps", "10000000", "--save", "run",
                                              "--save-every", "20", "--dropout", "0.1", NULL},
                        signals[i], "run/heed_state.safetensors");
    support_listen_end(listening, message, sizeof message);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    assert_non_null(strstr(message, "heed lm train --resume run --data text"));
    char steps[32];
    const int64_t done = steps_of("run/heed_state.safetensors");
    assert_true(done > 0);
    snprintf(steps, sizeof steps, "%lld", (long long)done + 3);
    ASSERT_TRAIN(0, "", "--resume", "run", "--steps", steps, "-q");
    ASSERT_TRAIN(0, "", SMALL, "--steps", steps, "--save", "whole", "--save-every", "20", "--dropout", "0.1");
    support_assert_same_folders("whole", "run");
  }
}

// A step of a million micro-batches would take minutes.
static void ctrl_c_does_not_wait_for_a_long_step(void **state) {
  (void)state;
  remove_folder("run");
  const int status = interrupted_run((const char *const[]){"train", "--data", "text", SMALL, "--accumulate", "1000000",
                                                           "--steps", "1", "--save", "run", "--log", "started", NULL},
                                     SIGINT, "started");
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 130);
  assert_int_equal(steps_of("run/heed_state.safetensors"), 0);
}

static void what_a_kill_leaves_is_removed_by_the_next_run(void **state) {
  (void)state;
  remove_folder("run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "2", "--save", "run", "--keep-best");
  support_write_file("run/.heed-0123abcd.tmp", "torn", 4);
  support_write_file("run/best/.heed-89abcdef.tmp", "torn", 4);
  support_write_file("run/.heed-notes", "mine", 4);
  support_write_file("run/.heed-0123abcd.tmp.mine", "mine", 4);
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "3", "-q");
  assert_int_not_equal(access("run/.heed-0123abcd.tmp", F_OK), 0);
  assert_int_not_equal(access("run/best/.heed-89abcdef.tmp", F_OK), 0);
  assert_int_equal(access("run/.heed-notes", F_OK), 0);
  assert_int_equal(access("run/.heed-0123abcd.tmp.mine", F_OK), 0);
}

static void two_runs_do_not_share_a_folder(void **state) {
  (void)state;
  remove_folder("run");
  remove_folder("same");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "2", "--save", "run");
  support_copy_folder("run", "same/");
  const int lock = open("run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  assert_true(lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0);
  support_write_file("run/.heed-0123abcd.tmp", "new", 3);  // what the other run is writing
  ASSERT_TRAIN(1, "another run", "--resume", "run", "--steps", "3", "-q");
  ASSERT_TRAIN(1, "another run", SMALL, "--steps", "3", "--save", "run", "--force");
  assert_int_equal(unlink("run/.heed-0123abcd.tmp"), 0);
  support_assert_same_folders("run", "same");
  close(lock);
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "3", "-q");
}

// Files past a limit are what a full disk is: the old checkpoint stays whole, and training says so.
static void a_checkpoint_that_cannot_be_written_leaves_the_old_one(void **state) {
  (void)state;
  remove_folder("run");
  remove_folder("same");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "2", "--save", "run");
  support_copy_folder("run", "same/");
  const support_listening listening = support_listen_begin(STDERR_FILENO);
  const char *const words[] = {"train", "--data", "text", "--resume", "run", "--steps", "4", "-q", NULL};
  const pid_t child = begin_in_child(words, 40000);
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  char message[2048];
  support_listen_end(listening, message, sizeof message);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 1);
  assert_non_null(strstr(message, "File too large"));
  support_assert_same_files("run/heed_state.safetensors", "same/heed_state.safetensors");
  assert_int_equal(steps_of("run/heed_state.safetensors"), 2);
  ASSERT_TRAIN(0, "", "--resume", "run", "--steps", "4", "-q");
}

static void force_replaces_an_older_run_and_its_state(void **state) {
  (void)state;
  remove_folder("run");
  remove_folder("plain");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "5", "--save", "run");
  ASSERT_TRAIN(1, "--resume run goes on with it", SMALL, "--steps", "2", "--save", "run");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "2", "--save", "run", "--force", "--seed", "3");
  ASSERT_TRAIN(0, "", SMALL, "--steps", "2", "--save", "plain", "--seed", "3");
  support_assert_same_folders("run", "plain");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ctrl_c_does_not_wait_for_a_long_step),  // first: OpenMP's threads do not outlive a fork
      cmocka_unit_test(a_run_that_goes_on_ends_in_the_same_bits),
      cmocka_unit_test(so_does_a_run_of_any_shape),
      cmocka_unit_test(options_that_agree_may_be_given_again),
      cmocka_unit_test(options_that_do_not_agree_are_refused),
      cmocka_unit_test(other_data_are_refused),
      cmocka_unit_test(the_state_is_what_counts),
      cmocka_unit_test(a_run_goes_on_without_the_weights_beside_its_state),
      cmocka_unit_test(a_run_that_began_from_a_model_goes_on),
      cmocka_unit_test(a_run_without_a_state_begins_again),
      cmocka_unit_test(a_state_that_is_a_pipe_is_refused),
      cmocka_unit_test(a_broken_state_is_refused),
      cmocka_unit_test(the_log_goes_on_where_the_state_does),
      cmocka_unit_test(a_loss_that_is_no_number_stops_and_keeps_the_last_good_state),
      cmocka_unit_test(weights_that_are_no_numbers_are_found),
      cmocka_unit_test(ctrl_c_saves_a_state_to_go_on_from),
      cmocka_unit_test(what_a_kill_leaves_is_removed_by_the_next_run),
      cmocka_unit_test(two_runs_do_not_share_a_folder),
      cmocka_unit_test(a_checkpoint_that_cannot_be_written_leaves_the_old_one),
      cmocka_unit_test(force_replaces_an_older_run_and_its_state),
  };
  const struct CMUnitTest device_tests[] = {
      cmocka_unit_test(a_run_that_goes_on_ends_in_the_same_bits),
      cmocka_unit_test(a_loss_that_is_no_number_stops_and_keeps_the_last_good_state),
  };
  const int on_host = cmocka_run_group_tests_name("host", tests, enter, support_lm_leave);
  return cmocka_run_group_tests_name("device", device_tests, enter_device, support_lm_leave) + on_host;
}
