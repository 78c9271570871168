// IDX files: plain and gzip'd are read alike, and what is torn, too long, of another kind or at odds with its neighbour is refused.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include <heed/io.h>

#include "support_files.h"

static void write_gz(const char *path, const void *bytes, size_t count) {
  gzFile file = gzopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(gzwrite(file, bytes, (unsigned)count), count);
  assert_int_equal(gzclose(file), Z_OK);
}

// Magic and dimensions, then data 0, 1, 2, ... modulo `modulus`.
static size_t build(uint8_t *out, int rank, const uint32_t *dims, int modulus) {
  size_t at = 4, count = 1;
  memcpy(out, (uint8_t[]){0, 0, 8, (uint8_t)rank}, 4);
  for (int i = 0; i < rank; ++i) {
    for (int shift = 24; shift >= 0; shift -= 8) out[at++] = (uint8_t)(dims[i] >> shift);
    count *= dims[i];
  }
  for (size_t i = 0; i < count; ++i) out[at++] = (uint8_t)(i % (size_t)modulus);
  return at;
}

static size_t build_images(uint8_t *out) { return build(out, 3, (const uint32_t[]){5, 4, 3}, 256); }

static void assert_refused(const void *bytes, size_t count, const char *part) {
  char *path = support_path("bad");
  support_write_file(path, bytes, count);
  heed_idx idx;
  ASSERT_FAILS(HEED_ERROR_FORMAT, part, heed_idx_read(path, &idx));
  assert_null(idx.data);
  assert_non_null(strstr(heed_last_error(), path));
}

static void assert_images(const char *path) {
  heed_idx idx;
  ASSERT_OK(heed_idx_read(path, &idx));
  assert_int_equal(idx.rank, 3);
  assert_int_equal(idx.dims[0], 5);
  assert_int_equal(idx.dims[1], 4);
  assert_int_equal(idx.dims[2], 3);
  assert_int_equal(idx.bytes, 60);
  for (int i = 0; i < 60; ++i) assert_int_equal(idx.data[i], i);
  heed_idx_free(&idx);
  assert_null(idx.data);
}

static void plain_and_gzip_are_read_alike(void **state) {
  (void)state;
  uint8_t bytes[256];
  const size_t count = build_images(bytes);
  support_write_file(support_path("plain"), bytes, count);
  assert_images(support_path("plain"));
  write_gz(support_path("packed.gz"), bytes, count);
  assert_images(support_path("packed.gz"));
  assert_images(support_path("packed"));  // falls back to .gz
  write_gz(support_path("renamed"), bytes, count);
  assert_images(support_path("renamed"));  // content decides, not the name
}

static void the_plain_name_goes_before_gz(void **state) {
  (void)state;
  uint8_t bytes[256];
  const size_t count = build_images(bytes);
  support_write_file(support_path("both"), bytes, count);
  support_write_file(support_path("both.gz"), "garbage", 7);
  assert_images(support_path("both"));
}

static void what_is_no_file_is_refused(void **state) {
  (void)state;
  heed_idx idx;
  ASSERT_FAILS(HEED_ERROR_IO, "absent.gz is there", heed_idx_read(support_path("absent"), &idx));
  ASSERT_FAILS(HEED_ERROR_IO, "directory", heed_idx_read(support_folder(), &idx));
}

static void a_wrong_header_is_refused(void **state) {
  (void)state;
  uint8_t bytes[256];
  const size_t count = build_images(bytes);
  assert_refused("", 0, "truncated");
  assert_refused(bytes, 3, "truncated");
  assert_refused(bytes, 7, "truncated");
  assert_refused("PK\3\4 and so on", 14, "not an IDX file");
  bytes[2] = 0x0D;
  assert_refused(bytes, count, "IDX type 0x0d");
  bytes[2] = 8;
  bytes[3] = 0;
  assert_refused(bytes, count, "IDX rank 0");
  bytes[3] = 6;
  assert_refused(bytes, count, "IDX rank 6");
}

static void a_claim_that_the_file_cannot_keep_is_refused(void **state) {
  (void)state;
  const uint8_t huge[] = {0, 0, 8, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1};
  const uint8_t large[] = {0, 0, 8, 1, 0x7f, 0xff, 0xff, 0xff, 1};  // on 32 bits, too, it fits in memory
  assert_refused(huge, sizeof huge, "more bytes than fit");
  assert_refused(large, sizeof large, "truncated");
  heed_idx idx;
  write_gz(support_path("large.gz"), large, sizeof large);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "more than a gzip file", heed_idx_read(support_path("large.gz"), &idx));
}

static void data_too_short_or_too_long_are_refused(void **state) {
  (void)state;
  uint8_t bytes[256];
  const size_t count = build_images(bytes);
  heed_idx idx;
  for (size_t length = 0; length < count; ++length) assert_refused(bytes, length, "truncated");
  bytes[count] = 0;
  assert_refused(bytes, count + 1, "1 bytes after");
  write_gz(support_path("short.gz"), bytes, count - 1);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "truncated", heed_idx_read(support_path("short.gz"), &idx));
  write_gz(support_path("long.gz"), bytes, count + 1);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "data after", heed_idx_read(support_path("long.gz"), &idx));
}

static void a_damaged_gzip_file_is_refused(void **state) {
  (void)state;
  uint8_t bytes[256], packed[256];
  const size_t count = build_images(bytes);
  write_gz(support_path("whole.gz"), bytes, count);
  const size_t size = support_read_file(support_path("whole.gz"), packed, sizeof packed);
  for (size_t length = 4; length < size; ++length) assert_refused(packed, length, "gzip");
  packed[size - 8] ^= 1;  // the CRC
  assert_refused(packed, size, "bad: damaged gzip file: incorrect data check; copy it again");
  packed[size - 8] ^= 1;
  packed[size - 1] ^= 1;  // the length
  assert_refused(packed, size, "damaged gzip file");
}

static void write_part(const char *part, uint32_t images, uint32_t labels, int modulus) {
  uint8_t bytes[256];
  char name[64];
  size_t count = build(bytes, 3, (const uint32_t[]){images, 4, 3}, 256);
  snprintf(name, sizeof name, "%s-images-idx3-ubyte", part);
  support_write_file(support_path(name), bytes, count);
  count = build(bytes, 1, &labels, modulus);
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte.gz", part);
  write_gz(support_path(name), bytes, count);
}

static void a_part_of_mnist_is_read(void **state) {
  (void)state;
  write_part("train", 12, 12, 10);
  heed_mnist mnist;
  ASSERT_OK(heed_mnist_read(support_folder(), "train", 10, &mnist));
  assert_int_equal(mnist.count, 12);
  assert_int_equal(mnist.rows, 4);
  assert_int_equal(mnist.cols, 3);
  assert_int_equal(mnist.images[12 * 12 - 1], 143);
  assert_int_equal(mnist.labels[11], 1);
  heed_mnist_free(&mnist);
  assert_null(mnist.images);
}

static void images_and_labels_must_agree(void **state) {
  (void)state;
  heed_mnist mnist;
  ASSERT_FAILS(HEED_ERROR_IO, "absent-images-idx3-ubyte", heed_mnist_read(support_folder(), "absent", 10, &mnist));
  write_part("odd", 12, 11, 10);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "11 labels for the 12 images", heed_mnist_read(support_folder(), "odd", 10, &mnist));
  write_part("odd", 12, 12, 11);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "label 10 is 10; with 10 classes it is 0 to 9",
               heed_mnist_read(support_folder(), "odd", 10, &mnist));
  write_part("odd", 0, 0, 10);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "holds no images", heed_mnist_read(support_folder(), "odd", 10, &mnist));
  assert_null(mnist.images);
  assert_null(mnist.labels);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "0 classes", heed_mnist_read(support_folder(), "odd", 0, &mnist));
  uint8_t bytes[256];
  write_part("odd", 12, 12, 10);
  support_write_file(support_path("odd-images-idx3-ubyte"), bytes, build(bytes, 1, (const uint32_t[]){12}, 10));
  ASSERT_FAILS(HEED_ERROR_FORMAT, "images have 3", heed_mnist_read(support_folder(), "odd", 10, &mnist));
}

// ---------------------------------------------------------------- under the names that people have them

static void write_named(const char *images, const char *labels) {
  uint8_t bytes[256];
  write_gz(support_path(images), bytes, build(bytes, 3, (const uint32_t[]){2, 4, 3}, 256));
  support_write_file(support_path(labels), bytes, build(bytes, 1, (const uint32_t[]){2}, 10));
}

static void assert_found(const char *dir, const char *part) {
  heed_mnist mnist;
  assert_true(heed_mnist_is_there(dir, part));
  ASSERT_OK(heed_mnist_read(dir, part, 10, &mnist));
  assert_int_equal(mnist.count, 2);
  heed_mnist_free(&mnist);
}

static void make_folders(const char *first, const char *second) {
  assert_true(mkdir(support_path(first), 0700) == 0 || errno == EEXIST);
  assert_true(mkdir(support_path(second), 0700) == 0 || errno == EEXIST);
}

static void files_are_found_under_other_names(void **state) {
  (void)state;
  static const char *const names[][2] = {
      {"train-images.idx3-ubyte", "train-labels.idx1-ubyte"},
      {"train-images-idx3-ubyte.gz", "train-labels.idx1-ubyte.gz"},
      {"emnist-letters-train-images-idx3-ubyte.gz", "emnist-letters-train-labels-idx1-ubyte"},
      {"MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte"},
      {"FashionMNIST/raw/train-images-idx3-ubyte.gz", "FashionMNIST/raw/train-labels-idx1-ubyte.gz"},
      {"train-images-idx3-ubyte/train-images-idx3-ubyte", "train-labels-idx1-ubyte/train-labels-idx1-ubyte"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    support_empty_folder();
    assert_false(heed_mnist_is_there(support_folder(), "train"));
    make_folders("MNIST", "FashionMNIST");
    make_folders("MNIST/raw", "FashionMNIST/raw");
    if (strstr(names[i][0], "ubyte/")) make_folders("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    write_named(names[i][0], names[i][1]);
    assert_found(support_folder(), "train");
    assert_false(heed_mnist_is_there(support_folder(), "t10k"));
  }
  write_named("emnist-digits-test-images-idx3-ubyte.gz", "emnist-digits-test-labels-idx1-ubyte.gz");
  assert_found(support_folder(), "t10k");
}

static void of_several_sets_one_must_be_named(void **state) {
  (void)state;
  heed_mnist mnist;
  support_empty_folder();
  make_folders("EMNIST", "MNIST");
  make_folders("EMNIST/raw", "MNIST/raw");
  write_named("EMNIST/raw/emnist-letters-train-images-idx3-ubyte", "EMNIST/raw/emnist-letters-train-labels-idx1-ubyte");
  write_named("EMNIST/raw/emnist-digits-train-images-idx3-ubyte", "EMNIST/raw/emnist-digits-train-labels-idx1-ubyte");
  write_named("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte");
  ASSERT_FAILS(HEED_ERROR_IO, "several sets", heed_mnist_read(support_folder(), "train", 10, &mnist));
  assert_non_null(strstr(heed_last_error(), "EMNIST/raw/emnist-letters"));
  assert_found(support_path("MNIST"), "train");
  assert_found(support_path("EMNIST/raw/emnist-digits"), "train");
  assert_found(support_path("MNIST/raw/"), "train");
  write_named("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
  assert_found(support_folder(), "train");  // what lies right there does not compete with folders below
}

static void what_is_found_instead_is_said(void **state) {
  (void)state;
  heed_mnist mnist;
  support_empty_folder();
  support_write_file(support_path("mnist.pkl.gz"), "x", 1);
  ASSERT_FAILS(HEED_ERROR_IO, "there is mnist.pkl.gz", heed_mnist_read(support_folder(), "train", 10, &mnist));
  assert_non_null(strstr(heed_last_error(), "train-images-idx3-ubyte"));
  ASSERT_FAILS(HEED_ERROR_IO, "no such folder", heed_mnist_read(support_path("a/b"), "train", 10, &mnist));
  ASSERT_FAILS(HEED_ERROR_IO, "a file, not a folder",
               heed_mnist_read(support_path("mnist.pkl.gz"), "train", 10, &mnist));
  write_named("train-images-idx3-ubyte", "other-labels-idx1-ubyte");
  ASSERT_FAILS(HEED_ERROR_IO, "no labels-idx1-ubyte beside it", heed_mnist_read(support_folder(), "train", 10, &mnist));
  support_write_file(support_path("train-labels-idx1-ubyte"), "<!DOCTYPE html><html>", 21);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "a web page", heed_mnist_read(support_folder(), "train", 10, &mnist));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_and_gzip_are_read_alike),
      cmocka_unit_test(the_plain_name_goes_before_gz),
      cmocka_unit_test(what_is_no_file_is_refused),
      cmocka_unit_test(a_wrong_header_is_refused),
      cmocka_unit_test(a_claim_that_the_file_cannot_keep_is_refused),
      cmocka_unit_test(data_too_short_or_too_long_are_refused),
      cmocka_unit_test(a_damaged_gzip_file_is_refused),
      cmocka_unit_test(a_part_of_mnist_is_read),
      cmocka_unit_test(images_and_labels_must_agree),
      cmocka_unit_test(files_are_found_under_other_names),
      cmocka_unit_test(of_several_sets_one_must_be_named),
      cmocka_unit_test(what_is_found_instead_is_said),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
