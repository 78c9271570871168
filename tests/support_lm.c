#include "support_lm.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/tool.h"

static const char *device;  // NULL: what heed_open(NULL) picks

// ---------------------------------------------------------------- fixtures

static int enter(void **state, const char *on) {
  device = on;
  return support_make_folder(state) == 0 && chdir(support_folder()) == 0 ? 0 : -1;
}

int support_lm_on_host(void **state) { return enter(state, "host"); }
int support_lm_on_device(void **state) { return enter(state, NULL); }
int support_lm_leave(void **state) { return chdir("/") == 0 ? support_remove_folder(state) : -1; }

void support_lm_need_device(void) {
  heed_context *ctx = NULL;
  if (device) return;
  const char *host_only = getenv("HEED_TEST_HOST_ONLY"), *required = getenv("HEED_REQUIRE_DEVICE");
  if (host_only && strcmp(host_only, "1") == 0) skip();
  ASSERT_OK(heed_open(NULL, &ctx));
  const bool is_host = heed_context_device(ctx)->type == HEED_DEVICE_HOST;
  heed_context_destroy(ctx);
  if (is_host && required && strcmp(required, "1") == 0) fail_msg("no OpenCL device, but HEED_REQUIRE_DEVICE=1");
  if (is_host) skip();
}

// ---------------------------------------------------------------- runs

int support_lm(const char *const *words) {
  const char *all[96] = {"lm"};
  int count = 1;
  for (; *words && count < 93; words++) all[count++] = *words;
  assert_null(*words);
  if (device) all[count++] = "--device", all[count++] = device;
  return support_command(cmd_lm, all);
}

void support_assert_lm(int status, const char *part, const char *const *words, const char *file, int line) {
  const int actual = support_lm(words);
  if (actual == status && strstr(support_said, part)) return;
  print_error("heed lm");
  for (; *words; words++) print_error(" %s", *words);
  print_error("\nexit status %d, not %d, or no \"%s\" in: %s\n", actual, status, part, support_said);
  _fail(file, line);
}

json_t *support_lm_json(void) {
  json_error_t error;
  json_t *object = json_loads(support_printed, JSON_ALLOW_NUL, &error);
  if (!object) fail_msg("%s: %s", error.text, support_printed);
  return object;
}

// ---------------------------------------------------------------- logs

json_t *support_lm_log(const char *path) {
  FILE *file = fopen(path, "r");
  json_t *log = json_array();
  char *text = NULL;
  size_t room = 0;
  assert_non_null(file);
  while (getline(&text, &room, file) > 0) {
    json_t *object = json_loads(text, JSON_ALLOW_NUL, NULL);
    if (!object) fail_msg("%s has a line that is no JSON: %s", path, text);
    json_array_append_new(log, object);
  }
  free(text);
  fclose(file);
  return log;
}

static bool is_event(const json_t *object, const char *event) {
  return strcmp(json_string_value(json_object_get(object, "event")), event) == 0;
}

size_t support_lm_events(const json_t *log, const char *event) {
  size_t count = 0;
  for (size_t i = 0; i < json_array_size(log); i++) count += is_event(json_array_get(log, i), event);
  return count;
}

const json_t *support_lm_event(const json_t *log, const char *event, size_t n) {
  for (size_t i = 0; i < json_array_size(log); i++)
    if (is_event(json_array_get(log, i), event) && n-- == 0) return json_array_get(log, i);
  fail_msg("the log has too few of the event %s", event);
  return NULL;
}

double support_lm_number(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_number(value)) fail_msg("%s is no number", key);
  return json_number_value(value);
}

// ---------------------------------------------------------------- files

static char *whole_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  struct stat info;
  if (!file) fail_msg("%s is not there", path);
  assert_int_equal(fstat(fileno(file), &info), 0);
  *bytes = (size_t)info.st_size;
  char *content = malloc(*bytes + 1);
  assert_non_null(content);
  assert_int_equal(fread(content, 1, *bytes, file), *bytes);
  content[*bytes] = '\0';
  fclose(file);
  return content;
}

void support_assert_same_files(const char *a, const char *b) {
  size_t of_a, of_b;
  char *x = whole_file(a, &of_a), *y = whole_file(b, &of_b);
  if (of_a != of_b || memcmp(x, y, of_a) != 0) fail_msg("%s and %s differ", a, b);
  free(x);
  free(y);
}

// Calls `function` with the paths of each file of a folder there and in another folder.
static size_t each_file(const char *folder, const char *other, void (*function)(const char *, const char *)) {
  DIR *entries = opendir(folder);
  size_t count = 0;
  if (!entries) fail_msg("%s is not there", folder);
  for (const struct dirent *entry; (entry = readdir(entries));) {
    char from[512], to[512];
    struct stat info;
    snprintf(from, sizeof from, "%s/%s", folder, entry->d_name);
    snprintf(to, sizeof to, "%s/%s", other, entry->d_name);
    if (stat(from, &info) != 0 || !S_ISREG(info.st_mode)) continue;
    count++;
    if (function) function(from, to);
  }
  closedir(entries);
  return count;
}

void support_assert_same_folders(const char *a, const char *b) {
  const size_t of_a = each_file(a, b, support_assert_same_files), of_b = each_file(b, a, NULL);
  assert_int_equal(of_a, of_b);
  assert_true(of_a > 0);
}

static void copy(const char *from, const char *to) {
  size_t bytes;
  char *content = whole_file(from, &bytes);
  support_write_file(to, content, bytes);
  free(content);
}

void support_copy_folder(const char *from, const char *to) { each_file(from, to, copy); }

void support_replace_in_file(const char *path, const char *from, const char *to) {
  size_t bytes;
  char *content = whole_file(path, &bytes), *found = memmem(content, bytes, from, strlen(from));
  if (!found) fail_msg("%s has no %s", path, from);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  const size_t before = (size_t)(found - content), after = before + strlen(from);
  fwrite(content, 1, before, file);
  fputs(to, file);
  fwrite(content + after, 1, bytes - after, file);
  assert_int_equal(fclose(file), 0);
  free(content);
}

void support_lm_write_text(const char *name, size_t bytes, unsigned seed) {
  static const char *const words[] = {"the", "quick", "fox", "dog", "over", "jumps", "brown", "lazy", "a"};
  FILE *file = fopen(name, "wb");
  assert_non_null(file);
  for (unsigned i = 0; ftell(file) < (long)bytes; i++)
    fprintf(file, "%s%s", words[heed_random_below(seed, 1, i, 9)], i % 11 == 10 ? ".\n" : " ");
  assert_int_equal(fclose(file), 0);
}
