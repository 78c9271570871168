// What a training shows of its losses: the picture of --plot, and a line on a terminal in the end.
#ifndef HEED_TRAIN_PICTURE_H
#define HEED_TRAIN_PICTURE_H

#include "draw/curves.h"

typedef struct train_picture {
  tool_curves *curves;  // NULL: no --plot
  double *losses;       // means of equal parts of each epoch
  size_t count;
  bool failed;  // and said so
} train_picture;

struct trainer;
// Call it once the shape and the data are known. A run that goes on has the points of its --log.
int train_picture_open(struct trainer *t);
// The loss of the last step, from time to time.
void train_picture_report(struct trainer *t, double loss);
// After `steps` steps of an epoch, whose losses are the first of t->losses_host.
void train_picture_epoch(struct trainer *t, int64_t steps, double test_loss);
// Draws the last picture. If the training is done, prints how the losses went, on a terminal.
void train_picture_end(struct trainer *t, bool done);
void train_picture_close(struct trainer *t);

#endif
