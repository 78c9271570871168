// Batches of a data set on the device: all its images held there as bytes, or, where they are too many for that, each batch's sent
// while the one before it is being used. Both give the same bits.
#ifndef HEED_FEED_H
#define HEED_FEED_H

#include "train/dataset.h"

typedef struct feed {
  const char *command;
  const heed_mnist *part;  // borrowed
  int64_t batch, pixels;
  const int32_t *order_host;        // borrowed from feed_start()
  heed_tensor *order, *labels;      // I32 [count], U8 [count] in this order
  heed_tensor *images;              // U8 [count, pixels]; NULL: sent batch by batch
  heed_tensor *staged[2];           // U8 [batch, pixels], filled in turn
  heed_tensor *numbers;             // I32 [batch]: 0, 1, 2, …
  uint8_t *labels_host, *gathered;  // on their way: all labels in order, and a batch of images
  unsigned turn;
} feed;

// Images of more than HEED_DATA_MEMORY bytes (default: a quarter of the device's memory) are sent batch by batch.
int feed_create(const char *command, heed_context *ctx, const heed_mnist *part, int64_t batch, feed *out);
// The order that batches are taken in, [count]; to stay until the next call.
int feed_start(feed *feed, const int32_t *order);
// Images start .. start + rows − 1 of the order, normalised, into x [rows, pixels]; *target: their labels, U8 [rows], to be
// destroyed by the caller. Queues work only.
int feed_batch(feed *feed, int64_t start, int64_t rows, heed_tensor *x, heed_tensor **target);
void feed_destroy(feed *feed);

#endif
