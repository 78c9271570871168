// Makes batches: gathers them on the device from all images, or gathers them on the host and queues an upload.
#include "train/feed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// MNIST's mean and standard deviation of a pixel in [0, 1].
#define PIXEL_MEAN 0.1307
#define PIXEL_DEVIATION 0.3081

// ---------------------------------------------------------------- creation

// The number of bytes of the device's memory that images may take.
static int image_memory(const char *command, const heed_context *ctx, uint64_t *bytes) {
  const heed_device_info *device = heed_context_device(ctx);
  const char *text = getenv("HEED_DATA_MEMORY");
  *bytes = device->memory / 4;
  if (text && *text && !tool_read_unsigned(text, bytes))
    return tool_usage(command, "HEED_DATA_MEMORY is '%s'; it must be a number of bytes", text);
  if (*bytes > device->max_allocation) *bytes = device->max_allocation;
  return TOOL_DONE;
}

static int create_resident(feed *f, heed_context *ctx) {
  const int64_t dims[] = {f->part->count, f->pixels};
  TOOL_HEED(f->command, heed_tensor_create_from(ctx, HEED_U8, 2, dims, f->part->images, &f->images));
  return TOOL_DONE;
}

static int create_staging(feed *f, heed_context *ctx) {
  const int64_t dims[] = {f->batch, f->pixels};
  f->gathered = malloc((size_t)(f->batch * f->pixels));
  int32_t *numbers = malloc((size_t)f->batch * sizeof *numbers);
  heed_status status = HEED_ERROR_OUT_OF_MEMORY;
  if (f->gathered && numbers) {
    for (int64_t i = 0; i < f->batch; i++) numbers[i] = (int32_t)i;
    status = heed_tensor_create_from(ctx, HEED_I32, 1, &f->batch, numbers, &f->numbers);
    for (int i = 0; status == HEED_OK && i < 2; i++) status = heed_tensor_create(ctx, HEED_U8, 2, dims, &f->staged[i]);
  }
  const bool had_memory = f->gathered && numbers;
  free(numbers);
  if (!had_memory) return tool_fail(f->command, "out of memory");
  return status == HEED_OK ? TOOL_DONE : tool_fail_status(f->command, status);
}

int feed_create(const char *command, heed_context *ctx, const heed_mnist *part, int64_t batch, feed *out) {
  const int64_t count = part->count;
  *out = (feed){.command = command, .part = part, .batch = batch, .pixels = part->rows * part->cols};
  uint64_t memory;
  TOOL_TRY(image_memory(command, ctx, &memory));
  out->labels_host = malloc((size_t)count);
  if (!out->labels_host) return tool_fail(command, "out of memory");
  TOOL_HEED(command, heed_tensor_create(ctx, HEED_U8, 1, &count, &out->labels));
  TOOL_HEED(command, heed_tensor_create(ctx, HEED_I32, 1, &count, &out->order));
  const bool fits = (uint64_t)(count * out->pixels) <= memory;
  return fits ? create_resident(out, ctx) : create_staging(out, ctx);
}

void feed_destroy(feed *f) {
  heed_tensor *const all[] = {f->order, f->labels, f->images, f->staged[0], f->staged[1], f->numbers};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) heed_tensor_destroy(all[i]);
  free(f->labels_host);
  free(f->gathered);
  *f = (feed){0};
}

// ---------------------------------------------------------------- batches

int feed_start(feed *f, const int32_t *order) {
  const size_t count = (size_t)f->part->count;
  f->order_host = order;
  for (size_t i = 0; i < count; i++) f->labels_host[i] = f->part->labels[order[i]];
  TOOL_HEED(f->command, heed_tensor_upload(f->order, order, count * sizeof *order));
  TOOL_HEED(f->command, heed_tensor_upload(f->labels, f->labels_host, count));
  return TOOL_DONE;
}

// x = the rows of `images` that `index` names, normalised.
static int normalise(const feed *f, const heed_tensor *images, const heed_tensor *index, heed_tensor *x) {
  TOOL_HEED(f->command, heed_gather_rows(images, index, 1 / (255 * PIXEL_DEVIATION), -PIXEL_MEAN / PIXEL_DEVIATION, x));
  return TOOL_DONE;
}

static int batch_of_resident(const feed *f, int64_t start, int64_t rows, heed_tensor *x) {
  heed_tensor *index = NULL;
  TOOL_HEED(f->command, heed_tensor_slice(f->order, 0, start, rows, &index));
  const int status = normalise(f, f->images, index, x);
  heed_tensor_destroy(index);
  return status;
}

static int send(feed *f, int64_t start, int64_t rows, heed_tensor *images) {
  const size_t pixels = (size_t)f->pixels;
  for (int64_t i = 0; i < rows; i++)
    memcpy(f->gathered + (size_t)i * pixels, f->part->images + (size_t)f->order_host[start + i] * pixels, pixels);
  TOOL_HEED(f->command, heed_tensor_upload(images, f->gathered, (size_t)rows * pixels));
  return TOOL_DONE;
}

// The previous batch may still read the other staging tensor.
static int batch_of_host(feed *f, int64_t start, int64_t rows, heed_tensor *x) {
  heed_tensor *images = NULL, *index = NULL;
  heed_status made = heed_tensor_slice(f->staged[f->turn++ % 2], 0, 0, rows, &images);
  if (made == HEED_OK) made = heed_tensor_slice(f->numbers, 0, 0, rows, &index);
  int status = made == HEED_OK ? send(f, start, rows, images) : tool_fail_status(f->command, made);
  if (status == TOOL_DONE) status = normalise(f, images, index, x);
  heed_tensor_destroy(images);
  heed_tensor_destroy(index);
  return status;
}

int feed_batch(feed *f, int64_t start, int64_t rows, heed_tensor *x, heed_tensor **target) {
  *target = NULL;
  TOOL_TRY(f->images ? batch_of_resident(f, start, rows, x) : batch_of_host(f, start, rows, x));
  TOOL_HEED(f->command, heed_tensor_slice(f->labels, 0, start, rows, target));
  return TOOL_DONE;
}
