// Handwritten-looking digits that the program draws itself, for training without a download.
#ifndef HEED_DIGITS_H
#define HEED_DIGITS_H

#include <stdint.h>

enum { DIGITS_SIDE = 28, DIGITS_PIXELS = DIGITS_SIDE * DIGITS_SIDE };

// Draws `count` digits: images [count, 28·28] of 0 (paper) to 255 (ink), labels [count] of 0 to 9. Image n depends only on seed and n, and
// is the same on every machine up to rounding of the last grey level.
void digits_draw(uint64_t seed, int64_t count, uint8_t *images, uint8_t *labels);

#endif
