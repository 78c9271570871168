// What an entry of the disk cache must survive and refuse.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/runtime/runtime.h"
#include "support_cache.h"

static void what_is_stored_is_loaded_by_its_key_alone(void **state) {
  (void)state;
  assert_false(support_cache_loads("key"));
  support_cache_store("key");
  assert_true(support_cache_loads("key"));
  assert_false(support_cache_loads("key2"));
  assert_false(support_cache_loads("ke"));
  assert_int_equal(support_cache_entries(NULL, 0), 1);
}

static void the_folder_is_made_for_the_user_alone(void **state) {
  (void)state;
  char parent[96], entry[512];
  struct stat info;
  support_cache_store("key");
  snprintf(parent, sizeof parent, "%s/a", support_cache.root);
  assert_int_equal(stat(parent, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0700);
  assert_int_equal(stat(support_cache.cache, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0700);
  support_cache_entries(entry, sizeof entry);
  assert_int_equal(stat(entry, &info), 0);
  assert_int_equal(info.st_mode & 0077, 0);
}

// Every length of a torn file and every single damaged byte.
static void a_damaged_entry_is_absent(void **state) {
  (void)state;
  char path[512];
  unsigned char whole[512], damaged[513];
  support_cache_store("key");
  assert_int_equal(support_cache_entries(path, sizeof path), 1);
  const size_t bytes = support_read_file(path, whole, sizeof whole);
  for (size_t length = 0; length < bytes; ++length) {
    support_write_file(path, whole, length);
    assert_false(support_cache_loads("key"));
  }
  for (size_t i = 0; i < bytes; ++i) {
    memcpy(damaged, whole, bytes);
    damaged[i] ^= 0x10;
    support_write_file(path, damaged, bytes);
    assert_false(support_cache_loads("key"));
  }
  memcpy(damaged, whole, bytes);
  damaged[bytes] = 0;
  support_write_file(path, damaged, bytes + 1);
  assert_false(support_cache_loads("key"));
  support_cache_store("key");
  assert_true(support_cache_loads("key"));
}

static void an_entry_under_anothers_name_is_absent(void **state) {
  (void)state;
  char path[512], moved[512];
  support_cache_store("key");
  support_cache_entries(path, sizeof path);
  snprintf(moved, sizeof moved, "%s/moved", support_cache.root);
  assert_int_equal(rename(path, moved), 0);
  support_cache_store("another key");
  support_cache_entries(path, sizeof path);
  assert_int_equal(rename(moved, path), 0);
  assert_false(support_cache_loads("another key"));
}

static void only_the_users_own_files_are_trusted(void **state) {
  (void)state;
  char path[512], moved[512];
  support_cache_store("key");
  support_cache_entries(path, sizeof path);
  assert_int_equal(chmod(path, 0620), 0);
  assert_false(support_cache_loads("key"));
  assert_int_equal(chmod(path, 0602), 0);
  assert_false(support_cache_loads("key"));
  assert_int_equal(chmod(path, 0600), 0);
  assert_true(support_cache_loads("key"));
  snprintf(moved, sizeof moved, "%s/moved", support_cache.root);
  assert_int_equal(rename(path, moved), 0);
  assert_int_equal(symlink(moved, path), 0);
  assert_false(support_cache_loads("key"));
  assert_int_equal(unlink(path), 0);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_false(support_cache_loads("key"));  // and does not wait for a writer
  support_cache_store("key");
  assert_true(support_cache_loads("key"));
  if (geteuid() != 0) return;
  assert_int_equal(chown(path, 65534, 65534), 0);
  assert_false(support_cache_loads("key"));
}

static void a_folder_that_others_may_write_to_is_not_used(void **state) {
  (void)state;
  char link[96];
  support_cache_store("key");
  assert_int_equal(chmod(support_cache.cache, 0770), 0);
  assert_false(support_cache_loads("key"));
  support_cache_store("second");
  assert_int_equal(chmod(support_cache.cache, 0700), 0);
  assert_true(support_cache_loads("key"));
  assert_false(support_cache_loads("second"));
  snprintf(link, sizeof link, "%s/link", support_cache.root);
  assert_int_equal(symlink(support_cache.cache, link), 0);
  unsigned char *got = NULL;
  size_t size = 0;
  assert_false(heed__cl_cache_load(link, "key", &got, &size));
  heed__cl_cache_store(link, "third", support_cache_binary, sizeof support_cache_binary);
  assert_false(support_cache_loads("third"));
}

static void a_folder_that_cannot_be_made_is_no_error(void **state) {
  (void)state;
  char file[96], inside[128];
  snprintf(file, sizeof file, "%s/file", support_cache.root);
  support_write_file(file, "x", 1);
  snprintf(inside, sizeof inside, "%s/cache", file);
  unsigned char *got = NULL;
  size_t size = 0;
  heed__cl_cache_store(inside, "key", support_cache_binary, sizeof support_cache_binary);
  assert_false(heed__cl_cache_load(inside, "key", &got, &size));
  assert_false(heed__cl_cache_load(file, "key", &got, &size));
}

// Entries of 100 MB that take no space: the oldest go until the rest fits 256 MB. Files of others stay.
static void the_oldest_entries_make_room(void **state) {
  (void)state;
  char paths[4][128], foreign[128], temporary[128];
  support_cache_store("key");
  for (int i = 0; i < 4; ++i) {
    snprintf(paths[i], sizeof paths[i], "%s/%d.clbin", support_cache.cache, i);
    support_write_file(paths[i], "", 0);
    assert_int_equal(truncate(paths[i], 100 << 20), 0);
    support_set_time(paths[i], 1000000, 5 * i);  // files of one second too
  }
  snprintf(foreign, sizeof foreign, "%s/readme", support_cache.cache);
  support_write_file(foreign, "mine", 4);
  support_set_time(foreign, 1000, 0);
  snprintf(temporary, sizeof temporary, "%s/.heed-1-2-3-4", support_cache.cache);
  support_write_file(temporary, "torn", 4);
  support_set_time(temporary, 1000, 0);
  support_cache_store("another key");
  assert_int_not_equal(access(paths[0], F_OK), 0);
  assert_int_not_equal(access(paths[1], F_OK), 0);
  assert_int_equal(access(paths[2], F_OK), 0);
  assert_int_equal(access(paths[3], F_OK), 0);
  assert_int_equal(access(foreign, F_OK), 0);
  assert_int_not_equal(access(temporary, F_OK), 0);
  assert_true(support_cache_loads("key"));
  assert_true(support_cache_loads("another key"));
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, support_cache_make, support_cache_remove)
int main(void) {
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
  return cmocka_run_group_tests_name("entries on disk", disk, NULL, NULL);
}
