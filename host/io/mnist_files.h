// Where the two files of one part of MNIST, or of a data set in its format, lie, under the names that people have them.
#ifndef HEED__MNIST_FILES_H
#define HEED__MNIST_FILES_H

#include "base/status.h"

// Finds both; the caller frees *images and *labels, which heed_idx_read() takes. Errors: IO, with what was looked for and what is there,
// or with the sets between which the caller must choose.
heed_status heed__mnist_find(const char *dir, const char *part, char **images, char **labels);

#endif
