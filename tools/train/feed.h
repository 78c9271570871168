// Batches of a data set on the device. The device holds all images as bytes; if they are too many, the feed sends each batch while the
// device works on the one before it. Both give the same bits.
#ifndef HEED_FEED_H
#define HEED_FEED_H

#include "train/dataset.h"

typedef struct feed {
  const char *command;
  const heed_mnist *part;  // borrowed
  int64_t batch, pixels;
  const int32_t *order_host;        // borrowed from feed_start()
  heed_tensor *order, *labels;      // I32 [count], U8 [count] in this order
  heed_tensor *images;              // U8 [count, pixels]; NULL: they are sent batch by batch
  heed_tensor *staged[2];           // U8 [batch, pixels], filled in turn
  heed_tensor *numbers;             // I32 [batch]: 0, 1, 2, …
  uint8_t *labels_host, *gathered;  // for uploads: all labels in order, and a batch of images
  unsigned turn;
} feed;

// Images of more than HEED_DATA_MEMORY bytes (default: a quarter of the device's memory) are sent batch by batch.
int feed_create(const char *command, heed_context *ctx, const heed_mnist *part, int64_t batch, feed *out);
// Sets the order in which batches take the images, [count]; it must stay valid until the next call.
int feed_start(feed *feed, const int32_t *order);
// Writes images start .. start + rows − 1 of the order, normalised, to x [rows, pixels]; *target: their labels, U8 [rows], which the caller
// destroys. It only queues work.
int feed_batch(feed *feed, int64_t start, int64_t rows, heed_tensor *x, heed_tensor **target);
void feed_destroy(feed *feed);

#endif
