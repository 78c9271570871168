// The command line, word for word: each file in tests/cli/ is a transcript of commands with what they print and how they exit.
//   $ command        run by sh in an empty folder with the files below, HEED_DEVICE=host
//   text             a line on stdout; <*> stands for any text within the line
//   ! text           a line on stderr
//   = N              the exit status
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <heed/io.h>

#include "support_devices.h"

static char folder[64];

// ---------------------------------------------------------------- the files that transcripts use

static void add(heed_safetensors *file, const char *name, heed_dtype dtype, int rank, const int64_t *dims) {
  static const uint64_t zeros[512] = {0};
  ASSERT_OK(heed_safetensors_add(file, name, dtype, rank, dims, zeros));
}

static void write_file(heed_safetensors *file, const char *name) {
  ASSERT_OK(heed_safetensors_write(file, name));
  heed_safetensors_destroy(file);
}

static heed_safetensors *create(void) {
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_create(&file));
  return file;
}

#define DIMS(...) \
  (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) { __VA_ARGS__ }

// q, k, v with k's width and q's dtype to choose, so that files can be wrong in one way each.
static void write_attention(const char *name, heed_dtype dtype, int64_t key_width, bool values) {
  heed_safetensors *file = create();
  add(file, "q", dtype, DIMS(1, 2, 3, 4));
  add(file, "k", HEED_F32, DIMS(1, 2, 5, key_width));
  if (values) add(file, "v", HEED_F32, DIMS(1, 2, 5, 4));
  write_file(file, name);
}

static void add_layer(heed_safetensors *file, const char *weight, const char *bias, int64_t out, int64_t in) {
  add(file, weight, HEED_F32, DIMS(out, in));
  add(file, bias, HEED_F32, DIMS(out));
}

// Files whose names heed does not know, or should not guess about.
static void write_names(void) {
  heed_safetensors *file = create();
  add(file, "x", HEED_F32, DIMS(2, 3));
  add(file, "grad_out", HEED_F32, DIMS(2, 3));
  add(file, "expected.out", HEED_F32, DIMS(2, 3));
  write_file(file, "grad_out.safetensors");
  file = create();
  add(file, "param", HEED_F32, DIMS(2));
  add(file, "grad", HEED_F32, DIMS(2));
  add(file, "momentum", HEED_F32, DIMS(2));
  write_file(file, "momentum.safetensors");
  file = create();
  add(file, "q", HEED_F32, DIMS(1, 2, 3, 4));
  add(file, "mask", HEED_BOOL, DIMS(3, 5));
  add(file, "attn_mask", HEED_BOOL, DIMS(3, 5));
  write_file(file, "masks.safetensors");
  file = create();
  add(file, "query", HEED_F32, DIMS(1, 3, 4));
  add(file, "attn_mask", HEED_BOOL, DIMS(3, 3));
  add(file, "in_proj_weight", HEED_F32, DIMS(12, 4));
  add(file, "k_proj.weight", HEED_F32, DIMS(4, 4));
  write_file(file, "bool.safetensors");
  file = create();
  add(file, "query", HEED_F32, DIMS(1, 3, 4));
  add(file, "in_proj_weight", HEED_F32, DIMS(12, 4));
  add(file, "k_proj.weight", HEED_F32, DIMS(4, 4));
  write_file(file, "projections.safetensors");
  file = create();
  add(file, "x", HEED_F32, DIMS(2, 5));
  add_layer(file, "l1.weight", "l1.bias", 10, 5);
  add_layer(file, "l3.weight", "l3.bias", 10, 10);
  write_file(file, "gap.safetensors");
  file = create();
  add(file, "x", HEED_F32, DIMS(2, 5));
  add_layer(file, "0.weight", "0.bias", 10, 5);
  add_layer(file, "3.weight", "3.bias", 10, 10);
  write_file(file, "dropout.safetensors");
  file = create();
  add(file, "x", HEED_F32, DIMS(2, 5));
  add_layer(file, "l1.weight", "l1.bias", 10, 5);
  add_layer(file, "2.weight", "2.bias", 10, 10);
  write_file(file, "mixed.safetensors");
}

// One tensor beside those that an operator needs, as people have it from PyTorch, ONNX or by a slip.
static void write_habit(const char *name, const char *tensor, heed_dtype dtype, int rank, const int64_t *dims) {
  heed_safetensors *file = create();
  add(file, "q", HEED_F32, DIMS(2, 2, 3, 4));
  add(file, "k", HEED_F32, DIMS(2, 2, 5, 4));
  add(file, "v", HEED_F32, DIMS(2, 2, 5, 4));
  add(file, tensor, dtype, rank, dims);
  write_file(file, name);
}

static void write_habits(void) {
  write_habit("attention_mask.safetensors", "attention_mask", HEED_I64, DIMS(2, 5));
  write_habit("present.safetensors", "present_key", HEED_F32, DIMS(2, 2, 5, 4));
  write_habit("dout.safetensors", "dout", HEED_F32, DIMS(2, 2, 3, 4));
  write_habit("padding.safetensors", "mask", HEED_BOOL, DIMS(2, 5));
  write_habit("query.safetensors", "query", HEED_F32, DIMS(2, 2, 3, 4));
  write_habit("past.safetensors", "past_key", HEED_F32, DIMS(2, 4, 1, 4));
  heed_safetensors *file = create();
  add(file, "q", HEED_F32, DIMS(2, 2, 3, 4));
  add(file, "k", HEED_F32, DIMS(2, 5, 8));
  add(file, "v", HEED_F32, DIMS(2, 5, 8));
  write_file(file, "ranks.safetensors");
  file = create();
  add(file, "q", HEED_F32, DIMS(2, 3, 2, 4));
  add(file, "k", HEED_F32, DIMS(2, 5, 2, 4));
  add(file, "v", HEED_F32, DIMS(2, 5, 2, 4));
  write_file(file, "length-first.safetensors");
  file = create();
  add(file, "query", HEED_F32, DIMS(2, 3, 4));
  add(file, "in_proj_weight", HEED_F32, DIMS(12, 4));
  write_file(file, "no-out.safetensors");
  add(file = create(), "query", HEED_F32, DIMS(2, 3, 4));
  add(file, "key_padding_mask", HEED_BOOL, DIMS(2, 3));
  write_file(file, "key_padding_mask.safetensors");
  add(file = create(), "query", HEED_F32, DIMS(2, 3, 4));
  add(file, "attn_mask", HEED_F32, DIMS(4, 3, 3));
  write_file(file, "mask3.safetensors");
  add(file = create(), "input", HEED_F32, DIMS(2, 3));
  write_file(file, "input.safetensors");
  add(file = create(), "y", HEED_F32, DIMS(2, 3));
  write_file(file, "y.safetensors");
  add(file = create(), "\033[1mtwo\nlines", HEED_F32, DIMS(2, 3));
  write_file(file, "control.safetensors");
  add(file = create(), "logits", HEED_F32, DIMS(2, 4));
  add(file, "target", HEED_F32, DIMS(2));
  write_file(file, "float-classes.safetensors");
  add(file = create(), "param", HEED_F32, DIMS(2));
  add(file, "grad", HEED_F32, DIMS(2));
  add(file, "momentum_buffer", HEED_F32, DIMS(2));
  write_file(file, "buffer.safetensors");
}

static void add_integers(heed_safetensors *file, const char *name, int64_t a, int64_t b) {
  ASSERT_OK(heed_safetensors_add(file, name, HEED_I64, DIMS(2), (const int64_t[]){a, b}));
}

// Files whose second row counts or names what there is not.
static void write_ranges(void) {
  heed_safetensors *file = create();
  add(file, "logits", HEED_F32, DIMS(2, 4));
  add_integers(file, "target", 3, 4);
  write_file(file, "class4.safetensors");
  file = create();
  add(file, "logits", HEED_F32, DIMS(2, 4));
  add_integers(file, "target", 3, -100);
  write_file(file, "ignored.safetensors");
  file = create();
  add(file, "logits", HEED_F32, DIMS(1, 3, 3));
  add(file, "weight", HEED_F32, DIMS(3));
  ASSERT_OK(heed_safetensors_add(file, "target", HEED_U8, DIMS(1, 3), "\2\0\1"));
  write_file(file, "places.safetensors");
  file = create();
  add(file, "x", HEED_F32, DIMS(2, 5));
  add_layer(file, "l1.weight", "l1.bias", 3, 5);
  ASSERT_OK(heed_safetensors_add(file, "target", HEED_U8, DIMS(2), "\2\3"));
  write_file(file, "class3.safetensors");
  file = create();
  add(file, "q", HEED_F32, DIMS(2, 2, 3, 4));
  add(file, "k", HEED_F32, DIMS(2, 2, 5, 4));
  add(file, "v", HEED_F32, DIMS(2, 2, 5, 4));
  add_integers(file, "nonpad_kv_seqlen", 5, 6);
  write_file(file, "length6.safetensors");
  file = create();
  add(file, "query", HEED_F32, DIMS(2, 3, 4));
  add(file, "in_proj_weight", HEED_F32, DIMS(12, 4));
  add(file, "out_proj.weight", HEED_F32, DIMS(4, 4));
  add_integers(file, "kv_lengths", 0, -1);
  write_file(file, "length-1.safetensors");
  file = create();
  add(file, "weight", HEED_F32, DIMS(4, 3));
  add_integers(file, "tokens", 3, 4);
  write_file(file, "token4.safetensors");
  file = create();
  add(file, "x", HEED_F32, DIMS(1, 2, 3, 4));
  add(file, "grad.out", HEED_F32, DIMS(1, 2, 3, 4));
  write_file(file, "elements.safetensors");
}

static void write_files(void) {
  write_names();
  write_habits();
  write_ranges();
  write_attention("attention.safetensors", HEED_F32, 4, true);
  write_attention("width.safetensors", HEED_F32, 3, true);
  write_attention("dtype.safetensors", HEED_I32, 4, true);
  write_attention("missing.safetensors", HEED_F32, 4, false);
  heed_safetensors *file = create();
  add(file, "q", HEED_F32, DIMS(1, 3, 8));
  add(file, "k", HEED_F32, DIMS(1, 5, 8));
  add(file, "v", HEED_F32, DIMS(1, 5, 8));
  add(file, "grad.out", HEED_F32, DIMS(1, 3, 7));
  write_file(file, "rank3.safetensors");
  file = create();
  add(file, "logits", HEED_F32, DIMS(3, 4));
  add(file, "target", HEED_I64, DIMS(3));
  write_file(file, "logits.safetensors");
  file = create();
  add(file, "l1.weight", HEED_F32, DIMS(10, 5));
  add(file, "l1.bias", HEED_F32, DIMS(10));
  write_file(file, "narrow.safetensors");
}

static int enter_folder(void **state) {
  (void)state;
  strcpy(folder, "/tmp/heed-cli-XXXXXX");
  if (!mkdtemp(folder) || chdir(folder) != 0) return -1;
  char path[8192];
  snprintf(path, sizeof path, "%s:%s", HEED_PROGRAM_DIR, getenv("PATH"));
  setenv("PATH", path, 1);
  setenv("HEED_DEVICE", "host", 1);
  setenv("HOME", folder, 1);
  setenv("XDG_DATA_HOME", "data", 1);
  static const char *const unwanted[] = {"HEED_DATA", "HEED_VALIDATE", "HEED_GEMM", "HEED_KERNELS", "HEED_TUNE"};
  for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++) unsetenv(unwanted[i]);
  write_files();
  return 0;
}

static int leave_folder(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

// ---------------------------------------------------------------- transcripts

static char *read_text(const char *path) {
  FILE *stream = fopen(path, "rb");
  if (!stream) fail_msg("%s cannot be opened", path);
  char *text = calloc(1, 1 << 16);
  assert_non_null(text);
  const size_t length = fread(text, 1, (1 << 16) - 1, stream);
  fclose(stream);
  assert_true(length < (1 << 16) - 1);
  return text;
}

// Whether text is as the pattern, in which <*> is any text.
static bool matches(const char *pattern, const char *text) {
  const char *gap = strstr(pattern, "<*>");
  if (!gap) return strcmp(pattern, text) == 0;
  const size_t before = (size_t)(gap - pattern);
  if (strncmp(pattern, text, before) != 0) return false;
  for (const char *rest = text + before;; rest++) {
    if (matches(gap + 3, rest)) return true;
    if (!*rest) return false;
  }
}

static bool lines_match(char *expected, char *actual) {
  char *expected_rest = NULL, *actual_rest = NULL;
  char *want = strtok_r(expected, "\n", &expected_rest), *have = strtok_r(actual, "\n", &actual_rest);
  for (; want && have; want = strtok_r(NULL, "\n", &expected_rest), have = strtok_r(NULL, "\n", &actual_rest))
    if (!matches(want, have)) {
      print_error("expected: %s\nprinted:  %s\n", want, have);
      return false;
    }
  if (want) print_error("expected: %s\nprinted:  nothing\n", want);
  if (have) print_error("expected: nothing\nprinted:  %s\n", have);
  return !want && !have;
}

typedef struct expectation {
  char command[1024], out[1 << 14], err[1 << 14];
} expectation;

// Runs the command and compares; both outputs are compared even where the first differs.
static bool holds(expectation *e, int status) {
  char line[1200];
  snprintf(line, sizeof line, "{ %s; } >.out 2>.err </dev/null", e->command);
  const int result = system(line);
  const int actual = WIFEXITED(result) ? WEXITSTATUS(result) : -1;
  char *out = read_text(".out"), *err = read_text(".err");
  bool same = lines_match(e->out, out);
  same = lines_match(e->err, err) && same;
  if (actual != status) print_error("expected exit status %d, was %d\n", status, actual);
  free(out);
  free(err);
  return same && actual == status;
}

static void append(char *text, size_t size, const char *line) {
  const size_t used = strlen(text);
  assert_true(used + strlen(line) + 2 < size);
  snprintf(text + used, size - used, "%s\n", line);
}

static void transcript(void **state) {
  char path[1024];
  snprintf(path, sizeof path, "%s/tests/cli/%s.txt", HEED_SOURCE_DIR, (const char *)*state);
  char *text = read_text(path), *rest = NULL;
  expectation *e = calloc(1, sizeof *e);
  assert_non_null(e);
  size_t failures = 0, commands = 0;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    if (strncmp(line, "$ ", 2) == 0) {
      *e = (expectation){0};
      snprintf(e->command, sizeof e->command, "%s", line + 2);
    } else if (strncmp(line, "! ", 2) == 0) {
      append(e->err, sizeof e->err, line + 2);
    } else if (strncmp(line, "= ", 2) == 0) {
      commands++;
      if (holds(e, atoi(line + 2))) continue;
      print_error("in: $ %s\n", e->command);
      failures++;
    } else {
      append(e->out, sizeof e->out, line);
    }
  }
  free(text);
  free(e);
  assert_true(commands > 0);
  if (failures > 0) fail_msg("%s: %zu of %zu commands behave otherwise", path, failures, commands);
}

#define TRANSCRIPT(name) \
  { name, transcript, NULL, NULL, (void *)(uintptr_t)(name) }

int main(void) {
  const struct CMUnitTest tests[] = {
      TRANSCRIPT("heed"), TRANSCRIPT("devices"), TRANSCRIPT("run"),   TRANSCRIPT("train"), TRANSCRIPT("eval"),
      TRANSCRIPT("sqrt"), TRANSCRIPT("tune"),    TRANSCRIPT("check"), TRANSCRIPT("lm"),
  };
  return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
