// Reads one part of MNIST, images and labels, from two IDX files that must agree. mnist_files.c finds them.
#include <inttypes.h>
#include <stdlib.h>

#include <heed/io.h>

#include "base/status.h"
#include "io/mnist_files.h"

static heed_status check_images(const char *path, const heed_idx *images) {
  HEED__REQUIRE(images->rank == 3, HEED_ERROR_FORMAT, "%s: IDX rank %d; images have 3: count, rows, columns", path,
                images->rank);
  HEED__REQUIRE(images->bytes > 0, HEED_ERROR_FORMAT, "%s: holds no images (%" PRId64 " of %" PRId64 " x %" PRId64 ")",
                path, images->dims[0], images->dims[1], images->dims[2]);
  return HEED_OK;
}

static heed_status check_labels(const char *path, const heed_idx *labels, const heed_idx *images, int classes) {
  HEED__REQUIRE(labels->rank == 1, HEED_ERROR_FORMAT, "%s: IDX rank %d; labels have 1", path, labels->rank);
  HEED__REQUIRE(labels->dims[0] == images->dims[0], HEED_ERROR_FORMAT,
                "%s: %" PRId64 " labels for the %" PRId64 " images beside it", path, labels->dims[0], images->dims[0]);
  for (int64_t i = 0; i < labels->dims[0]; ++i)
    HEED__REQUIRE(labels->data[i] < classes, HEED_ERROR_FORMAT,
                  "%s: label %" PRId64 " is %d; with %d classes it is 0 to %d", path, i, labels->data[i], classes,
                  classes - 1);
  return HEED_OK;
}

static heed_status read_part(const char *images_path, const char *labels_path, int classes, heed_idx *images,
                             heed_idx *labels) {
  HEED__TRY(heed_idx_read(images_path, images));
  HEED__TRY(check_images(images_path, images));
  HEED__TRY(heed_idx_read(labels_path, labels));
  return check_labels(labels_path, labels, images, classes);
}

heed_status heed_mnist_read(const char *dir, const char *part, int classes, heed_mnist *out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_mnist_read: out is NULL");
  *out = (heed_mnist){0};
  HEED__REQUIRE(dir && part, HEED_ERROR_INVALID_ARGUMENT, "heed_mnist_read: an argument is NULL");
  HEED__REQUIRE(classes >= 1, HEED_ERROR_INVALID_ARGUMENT, "heed_mnist_read: %d classes; at least 1 is needed",
                classes);
  heed_idx images = {0}, labels = {0};
  char *images_path = NULL, *labels_path = NULL;
  heed_status status = heed__mnist_find(dir, part, &images_path, &labels_path);
  if (status == HEED_OK) status = read_part(images_path, labels_path, classes, &images, &labels);
  free(images_path);
  free(labels_path);
  if (status != HEED_OK) {
    heed_idx_free(&images);
    heed_idx_free(&labels);
    return status;
  }
  *out = (heed_mnist){.count = images.dims[0],
                      .rows = images.dims[1],
                      .cols = images.dims[2],
                      .images = images.data,
                      .labels = labels.data};
  images.data = labels.data = NULL;
  heed_idx_free(&images);
  heed_idx_free(&labels);
  return HEED_OK;
}

bool heed_mnist_is_there(const char *dir, const char *part) {
  char *images = NULL, *labels = NULL;
  const bool found = dir && part && heed__mnist_find(dir, part, &images, &labels) == HEED_OK;
  free(images);
  free(labels);
  return found;
}

void heed_mnist_free(heed_mnist *mnist) {
  if (!mnist) return;
  free(mnist->images);
  free(mnist->labels);
  *mnist = (heed_mnist){0};
}
