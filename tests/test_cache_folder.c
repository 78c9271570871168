// The folder of the program cache, where it is not to be trusted: why is told, with the folder's name.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/runtime/runtime.h"
#include "cl/runtime/sources.h"
#include "support_files.h"
#include "support_values.h"

static void assert_notice(const char *dir, const char *reason) {
  char text[1024];
  memset(text, 'x', sizeof text);
  heed__cl_cache_notice(dir, text, sizeof text);
  if (!reason) {
    assert_string_equal(text, "");
    return;
  }
  assert_non_null(strstr(text, dir));
  assert_non_null(strstr(text, reason));
}

// Made before each test, removed after it.
static int make_cache(void **state) {
  (void)state;
  return mkdir(support_path("cache"), 0700);
}

static int remove_cache(void **state) {
  (void)state;
  return rmdir(support_path("cache"));
}

static void a_folder_of_the_user_alone_needs_no_word(void **state) {
  (void)state;
  assert_notice(support_path("cache"), NULL);
  assert_notice(support_path("to be made"), NULL);
}

static void a_folder_that_others_may_write_to_is_told(void **state) {
  (void)state;
  assert_int_equal(chmod(support_path("cache"), 0720), 0);
  assert_notice(support_path("cache"), "others may write to it; chmod go-w");
  assert_int_equal(chmod(support_path("cache"), 0702), 0);
  assert_notice(support_path("cache"), "others may write to it; chmod go-w");
}

static void a_symbolic_link_is_told(void **state) {
  (void)state;
  assert_int_equal(symlink(support_path("cache"), support_path("link")), 0);
  assert_notice(support_path("link"), "it is a symbolic link");
}

static void what_is_no_folder_is_told(void **state) {
  (void)state;
  support_write_file(support_path("file"), "x", 1);
  assert_notice(support_path("file"), "it is not a folder");
  assert_notice(support_path("file/cache"), "Not a directory");
}

static void a_folder_of_someone_else_is_told(void **state) {
  (void)state;
  if (geteuid() != 0) skip();
  assert_int_equal(chown(support_path("cache"), 65534, 65534), 0);
  assert_notice(support_path("cache"), "it belongs to another user");
}

// The reason is there even where the name is too long to be shown.
static void a_long_name_does_not_hide_the_reason(void **state) {
  (void)state;
  char name[3000], text[1024];
  memset(name, '/', sizeof name);
  snprintf(name + 1000, sizeof name - 1000, "%s", "etc/passwd");
  heed__cl_cache_notice(name, text, sizeof text);
  assert_non_null(strstr(text, "it is not a folder"));
}

#define IN_CACHE(test) cmocka_unit_test_setup_teardown(test, make_cache, remove_cache)
static void a_folder_that_is_named_must_serve(void **state) {
  (void)state;
  support_write_file(support_path("plain"), "x", 1);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "(HEED_CACHE): it is not a folder; name a folder of your own, or off",
               heed__cl_cache_check(support_path("plain")));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "(HEED_CACHE)", heed__cl_cache_check("/proc/absent"));
  ASSERT_OK(heed__cl_cache_check(support_path("made by the check")));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "(HEED_KERNELS) cannot be used: it has no .cl file",
               heed__cl_source_check(support_path("made by the check")));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "(HEED_KERNELS) cannot be used: Not a directory",
               heed__cl_source_check(support_path("plain")));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "(HEED_KERNELS) cannot be used: No such file",
               heed__cl_source_check(support_path("absent")));
  ASSERT_OK(heed__cl_source_check(HEED_SOURCE_DIR "/kernels_cl"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_CACHE(a_folder_of_the_user_alone_needs_no_word),
      IN_CACHE(a_folder_that_others_may_write_to_is_told),
      IN_CACHE(a_symbolic_link_is_told),
      IN_CACHE(what_is_no_folder_is_told),
      IN_CACHE(a_folder_of_someone_else_is_told),
      IN_CACHE(a_long_name_does_not_hide_the_reason),
      IN_CACHE(a_folder_that_is_named_must_serve),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
