// Digits to train and test on: MNIST's files if there are any, else digits that the program draws.
#ifndef HEED_DATASET_H
#define HEED_DATASET_H

#include <heed/io.h>

#include "cli/tool.h"

typedef struct dataset {
  bool synthetic;
  char *source;      // "synthetic", or the folder
  heed_mnist train;  // empty unless the caller asks for it
  heed_mnist test;
} dataset;

// For shells: what --data may be beside a folder; up to NULL.
extern const char *const dataset_words[];
// option: --data's value, or NULL for HEED_DATA, else the user's data folder if it has the files, else synthetic digits (which it says on
// stderr). classes: labels are below it.
int dataset_open(const tool_args *args, const char *option, bool with_train, int64_t classes, dataset *out);
// The highest label + 1.
int64_t dataset_classes(const dataset *data);
void dataset_close(dataset *data);
// A checksum of images and labels, to tell one training set from another.
uint32_t dataset_checksum(const heed_mnist *part);

#endif
