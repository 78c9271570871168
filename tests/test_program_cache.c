// Programs: what an entry of the disk cache must survive and refuse, and that a context builds, finds and rebuilds its kernels.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cl/runtime/runtime.h"
#include "support_devices.h"

// ---------------------------------------------------------------- a folder for each test

struct folder {
  char root[64], cache[96], kernels[96];
};
static struct folder folder;

static int folder_make(void **state) {
  (void)state;
  strcpy(folder.root, "/tmp/heed-test-XXXXXX");
  if (!mkdtemp(folder.root)) return -1;
  snprintf(folder.cache, sizeof folder.cache, "%s/a/cache", folder.root);
  snprintf(folder.kernels, sizeof folder.kernels, "%s/kernels", folder.root);
  return mkdir(folder.kernels, 0700);
}

static void remove_all(const char *path) {
  DIR *stream = opendir(path);
  for (struct dirent *item = NULL; stream && (item = readdir(stream));) {
    char inner[512];
    if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) continue;
    snprintf(inner, sizeof inner, "%s/%s", path, item->d_name);
    if (unlink(inner) != 0) remove_all(inner);
  }
  if (stream) closedir(stream);
  rmdir(path);
}

static int folder_remove(void **state) {
  (void)state;
  chmod(folder.cache, 0700);
  remove_all(folder.root);
  return 0;
}

static void write_file(const char *path, const void *data, size_t bytes) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
}

static size_t read_file(const char *path, unsigned char *data, size_t room) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  const size_t bytes = fread(data, 1, room, file);
  fclose(file);
  return bytes;
}

// Files in the cache folder; the last one's path goes to `path`.
static int entries(char *path, size_t size) {
  DIR *stream = opendir(folder.cache);
  int count = 0;
  for (struct dirent *item = NULL; stream && (item = readdir(stream));) {
    if (item->d_name[0] == '.' && strncmp(item->d_name, ".heed", 5) != 0) continue;
    if (path) snprintf(path, size, "%s/%s", folder.cache, item->d_name);
    ++count;
  }
  if (stream) closedir(stream);
  return count;
}

static void set_time(const char *path, time_t seconds, long nanoseconds) {
  const struct timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
  assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

// ---------------------------------------------------------------- entries on disk

static const unsigned char binary[] = "not a program, but bytes\0with a zero";

static void store(const char *key) { heed__cl_cache_store(folder.cache, key, binary, sizeof binary); }

static bool loads(const char *key) {
  unsigned char *got = NULL;
  size_t size = 0;
  const bool loaded = heed__cl_cache_load(folder.cache, key, &got, &size);
  if (loaded) {
    assert_int_equal(size, sizeof binary);
    assert_memory_equal(got, binary, size);
  }
  free(got);
  return loaded;
}

static void what_is_stored_is_loaded_by_its_key_alone(void **state) {
  (void)state;
  assert_false(loads("key"));
  store("key");
  assert_true(loads("key"));
  assert_false(loads("key2"));
  assert_false(loads("ke"));
  assert_int_equal(entries(NULL, 0), 1);
}

static void the_folder_is_made_for_the_user_alone(void **state) {
  (void)state;
  char parent[96], entry[512];
  struct stat info;
  store("key");
  snprintf(parent, sizeof parent, "%s/a", folder.root);
  assert_int_equal(stat(parent, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0700);
  assert_int_equal(stat(folder.cache, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0700);
  entries(entry, sizeof entry);
  assert_int_equal(stat(entry, &info), 0);
  assert_int_equal(info.st_mode & 0077, 0);
}

// Every length of a torn file and every single damaged byte.
static void a_damaged_entry_is_absent(void **state) {
  (void)state;
  char path[512];
  unsigned char whole[512], damaged[513];
  store("key");
  assert_int_equal(entries(path, sizeof path), 1);
  const size_t bytes = read_file(path, whole, sizeof whole);
  for (size_t length = 0; length < bytes; ++length) {
    write_file(path, whole, length);
    assert_false(loads("key"));
  }
  for (size_t i = 0; i < bytes; ++i) {
    memcpy(damaged, whole, bytes);
    damaged[i] ^= 0x10;
    write_file(path, damaged, bytes);
    assert_false(loads("key"));
  }
  memcpy(damaged, whole, bytes);
  damaged[bytes] = 0;
  write_file(path, damaged, bytes + 1);
  assert_false(loads("key"));
  store("key");
  assert_true(loads("key"));
}

static void an_entry_under_anothers_name_is_absent(void **state) {
  (void)state;
  char path[512], moved[512];
  store("key");
  entries(path, sizeof path);
  snprintf(moved, sizeof moved, "%s/moved", folder.root);
  assert_int_equal(rename(path, moved), 0);
  store("another key");
  entries(path, sizeof path);
  assert_int_equal(rename(moved, path), 0);
  assert_false(loads("another key"));
}

static void only_the_users_own_files_are_trusted(void **state) {
  (void)state;
  char path[512], moved[512];
  store("key");
  entries(path, sizeof path);
  assert_int_equal(chmod(path, 0620), 0);
  assert_false(loads("key"));
  assert_int_equal(chmod(path, 0602), 0);
  assert_false(loads("key"));
  assert_int_equal(chmod(path, 0600), 0);
  assert_true(loads("key"));
  snprintf(moved, sizeof moved, "%s/moved", folder.root);
  assert_int_equal(rename(path, moved), 0);
  assert_int_equal(symlink(moved, path), 0);
  assert_false(loads("key"));
  assert_int_equal(unlink(path), 0);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_false(loads("key"));  // and does not wait for a writer
  store("key");
  assert_true(loads("key"));
  if (geteuid() != 0) return;
  assert_int_equal(chown(path, 65534, 65534), 0);
  assert_false(loads("key"));
}

static void a_folder_that_others_may_write_to_is_not_used(void **state) {
  (void)state;
  char link[96];
  store("key");
  assert_int_equal(chmod(folder.cache, 0770), 0);
  assert_false(loads("key"));
  store("second");
  assert_int_equal(chmod(folder.cache, 0700), 0);
  assert_true(loads("key"));
  assert_false(loads("second"));
  snprintf(link, sizeof link, "%s/link", folder.root);
  assert_int_equal(symlink(folder.cache, link), 0);
  unsigned char *got = NULL;
  size_t size = 0;
  assert_false(heed__cl_cache_load(link, "key", &got, &size));
  heed__cl_cache_store(link, "third", binary, sizeof binary);
  assert_false(loads("third"));
}

static void a_folder_that_cannot_be_made_is_no_error(void **state) {
  (void)state;
  char file[96], inside[128];
  snprintf(file, sizeof file, "%s/file", folder.root);
  write_file(file, "x", 1);
  snprintf(inside, sizeof inside, "%s/cache", file);
  unsigned char *got = NULL;
  size_t size = 0;
  heed__cl_cache_store(inside, "key", binary, sizeof binary);
  assert_false(heed__cl_cache_load(inside, "key", &got, &size));
  assert_false(heed__cl_cache_load(file, "key", &got, &size));
}

// Entries of 100 MB that take no space: the oldest go until the rest fits 256 MB. Files of others stay.
static void the_oldest_entries_make_room(void **state) {
  (void)state;
  char paths[4][128], foreign[128], temporary[128];
  store("key");
  for (int i = 0; i < 4; ++i) {
    snprintf(paths[i], sizeof paths[i], "%s/%d.clbin", folder.cache, i);
    write_file(paths[i], "", 0);
    assert_int_equal(truncate(paths[i], 100 << 20), 0);
    set_time(paths[i], 1000000, 5 * i);  // files of one second too
  }
  snprintf(foreign, sizeof foreign, "%s/readme", folder.cache);
  write_file(foreign, "mine", 4);
  set_time(foreign, 1000, 0);
  snprintf(temporary, sizeof temporary, "%s/.heed-1-2-3-4", folder.cache);
  write_file(temporary, "torn", 4);
  set_time(temporary, 1000, 0);
  store("another key");
  assert_int_not_equal(access(paths[0], F_OK), 0);
  assert_int_not_equal(access(paths[1], F_OK), 0);
  assert_int_equal(access(paths[2], F_OK), 0);
  assert_int_equal(access(paths[3], F_OK), 0);
  assert_int_equal(access(foreign, F_OK), 0);
  assert_int_not_equal(access(temporary, F_OK), 0);
  assert_true(loads("key"));
  assert_true(loads("another key"));
}

// ---------------------------------------------------------------- programs of a context

static const char times_three[] =
    "#ifndef FACTOR\n#define FACTOR 3\n#endif\n"
    "__kernel void scale(__global float *x, const long offset, const long n) {\n"
    "  const idx i = get_global_id(0);\n"
    "  if (i < n) x[offset + i] *= FACTOR;\n"
    "}\n"
    "__kernel void idx_bytes(__global float *x, const long offset, const long n) { x[offset] = sizeof(idx); }\n";

static void write_kernel(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder.kernels, name);
  write_file(path, text, strlen(text));
}

// A context like the group's, with the test's folders; skips where there is no device.
static heed_context *open_test_storing(void **state, const char *cache, int store_programs) {
  char spec[96];
  heed_context *ctx = NULL;
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  const heed_open_options options = {.device = spec,
                                     .cache_dir = cache,
                                     .store_programs = store_programs,
                                     .kernel_dir = folder.kernels,
                                     .validate = -1};
  ASSERT_OK(heed_open_with(&options, &ctx));
  return ctx;
}

static heed_context *open_test(void **state, const char *cache) { return open_test_storing(state, cache, 0); }

// x = {2, 2, 2} through `kernel` of test.cl.
static heed_status try_kernel(heed_context *ctx, const char *file, const char *kernel, const char *factor, int64_t n,
                              float *result) {
  const float two[3] = {2, 2, 2};
  float got[3] = {0};
  heed_tensor *x = NULL;
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, (const int64_t[]){3}, two, &x));
  struct heed__cl_kernel k;
  const size_t global = 3;
  heed__cl_begin(&k, ctx, file, kernel);
  if (factor) heed__cl_define(&k, "FACTOR", factor);
  heed__cl_tensor(&k, x);
  heed__cl_long(&k, n);
  const heed_status status = heed__cl_launch(&k, 1, &global, NULL);
  ASSERT_OK(heed_tensor_download(x, got, sizeof got));
  heed_tensor_destroy(x);
  *result = got[0];
  return status;
}

static float run_kernel(heed_context *ctx, const char *kernel, const char *factor, int64_t n) {
  float result = 0;
  ASSERT_OK(try_kernel(ctx, "test.cl", kernel, factor, n, &result));
  return result;
}

static float run_once(void **state, const char *cache) {
  heed_context *ctx = open_test(state, cache);
  const float result = run_kernel(ctx, "scale", NULL, 3);
  heed_context_destroy(ctx);
  return result;
}

static void a_second_context_loads_what_the_first_built(void **state) {
  char path[512];
  struct stat before, after;
  write_kernel("test.cl", times_three);
  assert_true(run_once(state, folder.cache) == 6);
  if (entries(path, sizeof path) == 0) skip();  // the driver gives no binaries
  assert_int_equal(entries(path, sizeof path), 1);
  set_time(path, 1000000, 0);
  assert_int_equal(stat(path, &before), 0);
  assert_true(run_once(state, folder.cache) == 6);
  assert_int_equal(stat(path, &after), 0);
  assert_int_equal(before.st_ino, after.st_ino);  // not written again,
  assert_true(after.st_mtime > 1000000);          // but read
}

static void a_context_that_stores_none_loads_and_compiles_nothing_twice(void **state) {
  char path[512];
  write_kernel("test.cl", times_three);
  heed_context *ctx = open_test_storing(state, folder.cache, -1);
  const bool late = heed__cl_state(ctx)->traits.compiles_late;
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  ASSERT_OK(heed_sync(ctx));
  heed_context_destroy(ctx);
  if (late) assert_int_equal(entries(path, sizeof path), 0);
  assert_true(run_once(state, folder.cache) == 6);
  const int stored = entries(path, sizeof path);
  if (stored == 0) skip();
  set_time(path, 1000000, 0);
  ctx = open_test_storing(state, folder.cache, -1);
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  heed_context_destroy(ctx);
  struct stat loaded;
  assert_int_equal(stat(path, &loaded), 0);
  assert_true(loaded.st_mtime > 1000000);  // read
}

static void a_changed_source_is_built_anew(void **state) {
  write_kernel("test.cl", times_three);
  assert_true(run_once(state, folder.cache) == 6);
  write_kernel("test.cl",
               "__kernel void scale(__global float *x, const long offset, const long n) {\n"
               "  if (get_global_id(0) < n) x[offset + get_global_id(0)] *= 5;\n}\n");
  assert_true(run_once(state, folder.cache) == 10);
}

static void a_damaged_entry_is_built_anew_and_replaced(void **state) {
  char path[512];
  static unsigned char whole[1 << 20];
  write_kernel("test.cl", times_three);
  assert_true(run_once(state, folder.cache) == 6);
  if (entries(path, sizeof path) == 0) skip();
  const size_t bytes = read_file(path, whole, sizeof whole);
  whole[bytes / 2] ^= 1;
  write_file(path, whole, bytes);
  assert_true(run_once(state, folder.cache) == 6);
  assert_int_equal(entries(path, sizeof path), 1);
  static unsigned char again[1 << 20];
  assert_int_equal(read_file(path, again, sizeof again), bytes);
  whole[bytes / 2] ^= 1;
  assert_memory_equal(whole, again, bytes / 2);
}

// The entry is whole, but what it holds is no program for this driver.
static void a_binary_that_the_driver_refuses_is_built_from_source(void **state) {
  char path[512];
  static unsigned char whole[1 << 20];
  // rusticl aborts the process on a binary that it does not know.
  if (strcmp(heed_context_device(support_context(state))->platform, "rusticl") == 0) skip();
  write_kernel("test.cl", times_three);
  assert_true(run_once(state, folder.cache) == 6);
  if (entries(path, sizeof path) == 0) skip();
  const size_t bytes = read_file(path, whole, sizeof whole);
  unsigned char *key = NULL;
  for (size_t i = 0; i + 5 < bytes && !key; ++i)
    if (memcmp(whole + i, "heed ", 5) == 0) key = whole + i;
  assert_non_null(key);
  uint64_t key_bytes = 0;
  memcpy(&key_bytes, whole + 8, sizeof key_bytes);
  char *text = strndup((char *)key, key_bytes);
  heed__cl_cache_store(folder.cache, text, binary, sizeof binary);
  assert_true(loads(text));
  assert_true(run_once(state, folder.cache) == 6);
  assert_int_equal(entries(NULL, 0), 1);
  unsigned char *got = NULL;
  size_t size = 0;
  assert_true(heed__cl_cache_load(folder.cache, text, &got, &size));
  assert_true(size > sizeof binary);
  free(got);
  free(text);
}

static void a_context_works_without_a_usable_cache(void **state) {
  char file[96];
  write_kernel("test.cl", times_three);
  snprintf(file, sizeof file, "%s/file", folder.root);
  write_file(file, "x", 1);
  assert_true(run_once(state, file) == 6);
  assert_true(run_once(state, "off") == 6);
  heed_context *ctx = open_test(state, file);
  assert_non_null(strstr(heed_context_notice(ctx), file));
  heed_context_destroy(ctx);
  ctx = open_test(state, "off");
  assert_string_equal(heed_context_notice(ctx), "");
  heed_context_destroy(ctx);
}

static void options_tell_programs_apart(void **state) {
  write_kernel("test.cl", times_three);
  heed_context *ctx = open_test(state, "off");
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  assert_true(run_kernel(ctx, "scale", "4", 3) == 8);
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  char factor[16];
  for (int i = 0; i < 12; ++i) {  // more than the table's first room
    snprintf(factor, sizeof factor, "%d", i);
    assert_true(run_kernel(ctx, "scale", factor, 3) == (float)(2 * i));
  }
  heed_context_destroy(ctx);
}

static void indices_are_64_bit_only_where_they_must_be(void **state) {
  write_kernel("test.cl", times_three);
  heed_context *ctx = open_test(state, "off");
  assert_true(run_kernel(ctx, "idx_bytes", NULL, INT32_MAX) == 4);
  assert_true(run_kernel(ctx, "idx_bytes", NULL, (int64_t)INT32_MAX + 1) == 8);
  assert_true(run_kernel(ctx, "idx_bytes", NULL, -1) == 4);
  heed_context_destroy(ctx);
}

static void a_build_failure_names_file_device_and_log(void **state) {
  float result = 0;
  write_kernel("broken.cl", "__kernel void scale(__global float *x) {\n  x[0] = no_such_name;\n}\n");
  heed_context *ctx = open_test(state, folder.cache);
  for (int again = 0; again < 2; ++again) {
    ASSERT_FAILS(HEED_ERROR_BUILD, "broken.cl", try_kernel(ctx, "broken.cl", "scale", NULL, 3, &result));
    assert_non_null(strstr(heed_last_error(), heed_context_device(ctx)->name));
    assert_non_null(strstr(heed_last_error(), "no_such_name"));
  }
  write_kernel("test.cl", times_three);
  ASSERT_FAILS(HEED_ERROR_BUILD, "no kernel nothing", try_kernel(ctx, "test.cl", "nothing", NULL, 3, &result));
  ASSERT_FAILS(HEED_ERROR_BUILD, "missing.cl", try_kernel(ctx, "missing.cl", "scale", NULL, 3, &result));
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  heed_context_destroy(ctx);
}

static void a_kernel_file_that_is_none_is_refused(void **state) {
  char path[256];
  float result = 0;
  snprintf(path, sizeof path, "%s/folder.cl", folder.kernels);
  assert_int_equal(mkdir(path, 0700), 0);
  write_kernel("long.cl", "");
  snprintf(path, sizeof path, "%s/long.cl", folder.kernels);
  assert_int_equal(truncate(path, 64 << 20), 0);
  heed_context *ctx = open_test(state, "off");
  ASSERT_FAILS(HEED_ERROR_IO, "folder.cl: cannot", try_kernel(ctx, "folder.cl", "scale", NULL, 3, &result));
  ASSERT_FAILS(HEED_ERROR_IO, "long.cl: it is longer than", try_kernel(ctx, "long.cl", "scale", NULL, 3, &result));
  heed_context_destroy(ctx);
}

static void launches_that_cannot_be_are_refused(void **state) {
  write_kernel("test.cl", times_three);
  heed_context *ctx = open_test(state, "off");
  struct heed__cl_kernel k;
  const size_t none = 0, ten = 10, three = 3, huge = heed__cl_state(ctx)->traits.max_work_group + 1;
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  ASSERT_OK(heed__cl_launch(&k, 1, &none, NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "multiple", heed__cl_launch(&k, 1, &ten, &three));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "work-group", heed__cl_launch(&k, 1, &huge, &huge));
  ASSERT_FAILS(HEED_ERROR_DEVICE, "CL_INVALID_KERNEL_ARGS", heed__cl_launch(&k, 1, &ten, NULL));
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  heed__cl_local(&k, (size_t)heed__cl_state(ctx)->traits.local_memory + 1);
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "local memory", heed__cl_launch(&k, 1, &ten, NULL));
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  for (int i = 0; i <= HEED__CL_MAX_ARGS; ++i) heed__cl_uint(&k, 0);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "arguments", heed__cl_launch(&k, 1, &ten, NULL));
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  for (int i = 0; i < 200; ++i) heed__cl_define_int(&k, "AN_OPTION", i);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "options", heed__cl_launch(&k, 1, &ten, NULL));
  size_t limit = 0;
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  ASSERT_OK(heed__cl_work_group_limit(&k, &limit));
  assert_true(limit >= 1);
  heed_context_destroy(ctx);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)
// Where a test has a folder of its own, *state still is the group's context.
int main(void) {
  if (setenv("HEED_SELF_TEST", "off", 1) != 0) return 1;  // its verdict would be an entry among those counted here
  const struct CMUnitTest disk[] = {
      IN_FOLDER(what_is_stored_is_loaded_by_its_key_alone),
      IN_FOLDER(the_folder_is_made_for_the_user_alone),
      IN_FOLDER(a_damaged_entry_is_absent),
      IN_FOLDER(an_entry_under_anothers_name_is_absent),
      IN_FOLDER(only_the_users_own_files_are_trusted),
      IN_FOLDER(a_folder_that_others_may_write_to_is_not_used),
      IN_FOLDER(a_folder_that_cannot_be_made_is_no_error),
      IN_FOLDER(the_oldest_entries_make_room),
  };
  const struct CMUnitTest programs[] = {
      IN_FOLDER(a_second_context_loads_what_the_first_built),
      IN_FOLDER(a_context_that_stores_none_loads_and_compiles_nothing_twice),
      IN_FOLDER(a_changed_source_is_built_anew),
      IN_FOLDER(a_damaged_entry_is_built_anew_and_replaced),
      IN_FOLDER(a_binary_that_the_driver_refuses_is_built_from_source),
      IN_FOLDER(a_context_works_without_a_usable_cache),
      IN_FOLDER(options_tell_programs_apart),
      IN_FOLDER(indices_are_64_bit_only_where_they_must_be),
      IN_FOLDER(a_build_failure_names_file_device_and_log),
      IN_FOLDER(a_kernel_file_that_is_none_is_refused),
      IN_FOLDER(launches_that_cannot_be_are_refused),
  };
  const int failed = cmocka_run_group_tests_name("entries on disk", disk, NULL, NULL);
  return failed + cmocka_run_group_tests_name("programs", programs, support_open_device, support_close);
}
