#include "support_train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int support_enter_folder(void **state) {
  return support_make_folder(state) == 0 && chdir(support_folder()) == 0 ? 0 : -1;
}

int support_leave_folder(void **state) { return chdir("/") == 0 ? support_remove_folder(state) : -1; }

int support_train(const char *const *words) {
  const char *all[48] = {"train", "--data", "synthetic", "--batch", "100"};
  for (int count = 5; *words; words++) {
    assert_true(count < 47);
    all[count++] = *words;
  }
  const int status = support_command(cmd_train, all);
  fputs(support_said, stderr);
  return status;
}

heed_safetensors *support_read_tensors(const char *path) {
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_read(path, &file));
  return file;
}

void support_assert_same_tensors(const char *path_a, const char *path_b) {
  heed_safetensors *a = support_read_tensors(path_a), *b = support_read_tensors(path_b);
  assert_int_equal(heed_safetensors_count(a), heed_safetensors_count(b));
  for (size_t i = 0; i < heed_safetensors_count(a); i++) {
    const heed_array *x = heed_safetensors_get(a, i), *y = heed_safetensors_find(b, x->name);
    assert_non_null(y);
    assert_int_equal(x->bytes, y->bytes);
    if (memcmp(x->data, y->data, x->bytes) != 0) fail_msg("%s differs", x->name);
  }
  heed_safetensors_destroy(a);
  heed_safetensors_destroy(b);
}

json_t *support_read_log(const char *path) {
  FILE *stream = fopen(path, "r");
  assert_non_null(stream);
  json_t *lines = json_array();
  char line[4096];
  while (fgets(line, sizeof line, stream)) {
    json_t *object = json_loads(line, 0, NULL);
    assert_non_null(object);
    assert_int_equal(json_array_append_new(lines, object), 0);
  }
  fclose(stream);
  return lines;
}
