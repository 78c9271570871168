// Writing safetensors over what is there: permissions and links stay, and a write that fails leaves the old file as it was.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <heed/io.h>

#include "support_files.h"

static heed_safetensors *small_file(float value) {
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_create(&file));
  const float data[] = {value, value + 1, value + 2};
  const int64_t dims[] = {3};
  ASSERT_OK(heed_safetensors_add(file, "x", HEED_F32, 1, dims, data));
  return file;
}

static void assert_holds(const char *path, float value) {
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_read(path, &file));
  const heed_array *x = heed_safetensors_find(file, "x");
  assert_non_null(x);
  assert_true(((const float *)x->data)[0] == value);
  heed_safetensors_destroy(file);
}

static void a_new_file_takes_the_umask(void **state) {
  (void)state;
  support_empty_folder();
  heed_safetensors *file = small_file(3);
  const mode_t old = umask(0027);
  ASSERT_OK(heed_safetensors_write(file, support_path("new.safetensors")));
  umask(old);
  struct stat info;
  assert_int_equal(stat(support_path("new.safetensors"), &info), 0);
  assert_int_equal(info.st_mode & 0777, 0640);
  assert_int_equal(support_files_in_folder(), 1);
  heed_safetensors_destroy(file);
}

static void a_file_is_replaced_and_keeps_its_permissions(void **state) {
  (void)state;
  support_empty_folder();
  char *path = support_path("kept.safetensors");
  support_write_file(path, "old", 3);
  assert_int_equal(chmod(path, 0604), 0);
  heed_safetensors *file = small_file(4);
  ASSERT_OK(heed_safetensors_write(file, path));
  heed_safetensors_destroy(file);
  assert_holds(path, 4);
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0604);
  assert_int_equal(support_files_in_folder(), 1);
}

static void a_link_stays_a_link(void **state) {
  (void)state;
  support_empty_folder();
  heed_safetensors *file = small_file(5);
  assert_int_equal(symlink("second", support_path("first")), 0);
  assert_int_equal(symlink(support_path("target"), support_path("second")), 0);
  for (int round = 0; round < 2; ++round) {  // the target is first made, then replaced
    ASSERT_OK(heed_safetensors_write(file, support_path("first")));
    struct stat info;
    assert_int_equal(lstat(support_path("first"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(lstat(support_path("target"), &info), 0);
    assert_true(S_ISREG(info.st_mode));
    assert_holds(support_path("target"), 5);
    assert_int_equal(support_files_in_folder(), 3);
  }
  assert_int_equal(symlink("loop", support_path("loop")), 0);
  ASSERT_FAILS(HEED_ERROR_IO, strerror(ELOOP), heed_safetensors_write(file, support_path("loop")));
  heed_safetensors_destroy(file);
}

static void what_cannot_be_written_is_named(void **state) {
  (void)state;
  heed_safetensors *file = small_file(6);
  ASSERT_FAILS(HEED_ERROR_IO, strerror(EISDIR), heed_safetensors_write(file, support_folder()));
  ASSERT_FAILS(HEED_ERROR_IO, strerror(ENOENT), heed_safetensors_write(file, support_path("no/such")));
  ASSERT_FAILS(HEED_ERROR_IO, strerror(ENOENT), heed_safetensors_write(file, ""));
  ASSERT_OK(heed_safetensors_write(file, "/dev/null"));
  ASSERT_FAILS(HEED_ERROR_IO, "/dev/full: cannot write: No space left", heed_safetensors_write(file, "/dev/full"));
  struct stat info;
  assert_int_equal(stat("/dev/full", &info), 0);
  assert_true(S_ISCHR(info.st_mode));
  heed_safetensors_destroy(file);
}

// RLIMIT_FSIZE stands in for a full disk: a part of the file fits, then the write fails.
static void a_write_that_runs_out_of_room_leaves_the_old_file(void **state) {
  (void)state;
  support_empty_folder();
  char *path = support_path("room.safetensors");
  heed_safetensors *file = small_file(7);
  ASSERT_OK(heed_safetensors_write(file, path));
  heed_safetensors_destroy(file);
  file = small_file(8);
  const int64_t dims[] = {1 << 16};
  float *more = calloc(1 << 16, sizeof *more);
  ASSERT_OK(heed_safetensors_add(file, "more", HEED_F32, 1, dims, more));
  free(more);
  struct rlimit old, small;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = old;
  small.rlim_cur = 4096;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  const heed_status status = heed_safetensors_write(file, path);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_FAILS(HEED_ERROR_IO, strerror(EFBIG), status);
  assert_non_null(strstr(heed_last_error(), path));
  assert_holds(path, 7);
  assert_int_equal(support_files_in_folder(), 1);
  ASSERT_OK(heed_safetensors_write(file, path));
  assert_holds(path, 8);
  heed_safetensors_destroy(file);
}

static void a_protected_folder_or_file_is_respected(void **state) {
  (void)state;
  support_empty_folder();
  char *path = support_path("protected.safetensors");
  heed_safetensors *file = small_file(9), *other = small_file(10);
  ASSERT_OK(heed_safetensors_write(file, path));
  assert_int_equal(chmod(path, 0666), 0);
  assert_int_equal(chmod(support_folder(), 0555), 0);
  const uid_t user = geteuid();  // root may do everything
  if (user == 0) assert_int_equal(seteuid(65534), 0);
  const heed_status in_protected_folder = heed_safetensors_write(other, path);
  if (user == 0) assert_int_equal(seteuid(user), 0);
  ASSERT_FAILS(HEED_ERROR_IO, strerror(EACCES), in_protected_folder);
  assert_int_equal(chmod(support_folder(), 0777), 0);
  assert_int_equal(chmod(path, 0444), 0);
  if (user == 0) assert_int_equal(seteuid(65534), 0);
  const heed_status over_protected_file = heed_safetensors_write(other, path);
  if (user == 0) assert_int_equal(seteuid(user), 0);
  ASSERT_FAILS(HEED_ERROR_IO, strerror(EACCES), over_protected_file);
  assert_int_equal(chmod(support_folder(), 0700), 0);
  assert_holds(path, 9);
  assert_int_equal(support_files_in_folder(), 1);
  heed_safetensors_destroy(file);
  heed_safetensors_destroy(other);
}

// Behind what stands there already, and up to where the reader is.
static void an_open_descriptor_is_written_and_read_where_it_stands(void **state) {
  (void)state;
  support_empty_folder();
  heed_safetensors *file = small_file(3), *back = NULL;
  FILE *stream = fopen(support_path("open"), "w+");
  assert_non_null(stream);
  const int fd = fileno(stream);
  assert_int_equal(write(fd, "head", 4), 4);
  ASSERT_OK(heed_safetensors_write_fd(file, fd, "the stream"));
  assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
  ASSERT_OK(heed_safetensors_read_fd(fd, "the stream", &back));
  assert_true(((const float *)heed_safetensors_find(back, "x")->data)[2] == 5);
  heed_safetensors_destroy(back);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "the stream: ", heed_safetensors_read_fd(fd, "the stream", &back));  // at its end
  assert_null(back);
  fclose(stream);
  ASSERT_FAILS(HEED_ERROR_IO, "the stream: cannot write: Bad file", heed_safetensors_write_fd(file, fd, "the stream"));
  ASSERT_FAILS(HEED_ERROR_IO, "the stream: cannot read: Bad file", heed_safetensors_read_fd(fd, "the stream", &back));
  assert_int_equal(support_files_in_folder(), 1);
  heed_safetensors_destroy(file);
}

static void a_pipe_carries_a_file(void **state) {
  (void)state;
  int ends[2];
  heed_safetensors *file = small_file(7), *back = NULL;
  assert_int_equal(pipe(ends), 0);
  ASSERT_OK(heed_safetensors_write_fd(file, ends[1], "the pipe"));
  close(ends[1]);
  ASSERT_OK(heed_safetensors_read_fd(ends[0], "the pipe", &back));
  assert_true(((const float *)heed_safetensors_find(back, "x")->data)[0] == 7);
  close(ends[0]);
  heed_safetensors_destroy(back);
  heed_safetensors_destroy(file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_new_file_takes_the_umask),
      cmocka_unit_test(a_file_is_replaced_and_keeps_its_permissions),
      cmocka_unit_test(a_link_stays_a_link),
      cmocka_unit_test(what_cannot_be_written_is_named),
      cmocka_unit_test(a_write_that_runs_out_of_room_leaves_the_old_file),
      cmocka_unit_test(a_protected_folder_or_file_is_respected),
      cmocka_unit_test(an_open_descriptor_is_written_and_read_where_it_stands),
      cmocka_unit_test(a_pipe_carries_a_file),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
