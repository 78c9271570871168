// Draws digits: each is a few pen strokes, bent, slanted, scaled and shifted at random, with noise on the paper.
#include "train/digits.h"

#include <heed/heed.h>
#include <math.h>

typedef struct point {
  float x, y;  // of a unit square, y downwards
} point;

enum { MOST_POINTS = 16 };

// clang-format off
static const point strokes[10][MOST_POINTS] = {
    {{.50f, .08f}, {.32f, .16f}, {.23f, .36f}, {.22f, .60f}, {.31f, .84f}, {.50f, .92f}, {.68f, .84f}, {.78f, .62f},
     {.77f, .36f}, {.68f, .16f}, {.50f, .08f}},
    {{.36f, .26f}, {.54f, .08f}, {.53f, .50f}, {.53f, .92f}},
    {{.24f, .27f}, {.33f, .13f}, {.50f, .08f}, {.67f, .13f}, {.74f, .28f}, {.68f, .45f}, {.46f, .70f}, {.24f, .91f},
     {.50f, .90f}, {.78f, .91f}},
    {{.26f, .15f}, {.48f, .08f}, {.68f, .15f}, {.72f, .30f}, {.62f, .43f}, {.44f, .48f}, {.64f, .53f}, {.75f, .68f},
     {.68f, .85f}, {.48f, .92f}, {.24f, .85f}},
    {{.60f, .92f}, {.61f, .50f}, {.62f, .08f}, {.40f, .38f}, {.21f, .65f}, {.50f, .65f}, {.80f, .64f}},
    {{.72f, .09f}, {.33f, .09f}, {.28f, .45f}, {.50f, .40f}, {.69f, .49f}, {.75f, .68f}, {.66f, .86f}, {.47f, .92f},
     {.24f, .85f}},
    {{.66f, .09f}, {.45f, .20f}, {.30f, .42f}, {.25f, .68f}, {.34f, .87f}, {.52f, .92f}, {.69f, .84f}, {.74f, .67f},
     {.64f, .53f}, {.46f, .51f}, {.29f, .62f}},
    {{.23f, .10f}, {.50f, .09f}, {.77f, .09f}, {.60f, .45f}, {.43f, .92f}},
    {{.50f, .48f}, {.32f, .38f}, {.30f, .20f}, {.50f, .08f}, {.70f, .20f}, {.68f, .38f}, {.50f, .48f}, {.29f, .62f},
     {.27f, .80f}, {.50f, .92f}, {.73f, .80f}, {.71f, .62f}, {.50f, .48f}},
    {{.71f, .38f}, {.55f, .49f}, {.37f, .47f}, {.27f, .33f}, {.31f, .16f}, {.48f, .08f}, {.66f, .13f}, {.75f, .32f},
     {.70f, .60f}, {.55f, .80f}, {.36f, .91f}},
};
// clang-format on
static const int stroke_points[10] = {11, 4, 10, 11, 7, 9, 11, 5, 13, 11};

// The random numbers of one image, in order.
typedef struct dice {
  uint64_t seed, image, next;
} dice;

static float uniform(dice *roll, float low, float high) {
  return low + (high - low) * (float)heed_random_uniform(roll->seed, roll->image, roll->next++);
}

// The digit's points in pixels.
static void place(dice *roll, int digit, point points[MOST_POINTS]) {
  const float angle = uniform(roll, -.22f, .22f), slant = uniform(roll, -.25f, .25f);
  const float width = uniform(roll, 14, 21), height = uniform(roll, 17, 22);
  const float x0 = uniform(roll, 11.5f, 15.5f), y0 = uniform(roll, 12, 15);
  for (int i = 0; i < stroke_points[digit]; i++) {
    const float x = (strokes[digit][i].x - .5f + uniform(roll, -.045f, .045f)) * width;
    const float y = (strokes[digit][i].y - .5f + uniform(roll, -.045f, .045f)) * height;
    const float u = x - slant * y;
    points[i] = (point){x0 + u * cosf(angle) - y * sinf(angle), y0 + u * sinf(angle) + y * cosf(angle)};
  }
}

static float squared_distance(point p, point a, point b) {
  const float dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  float t = length > 0 ? ((p.x - a.x) * dx + (p.y - a.y) * dy) / length : 0;
  t = fminf(fmaxf(t, 0), 1);
  const float ex = p.x - a.x - t * dx, ey = p.y - a.y - t * dy;
  return ex * ex + ey * ey;
}

// Adds noise to four pixels. Each noise is the sum of four bytes of a random word, which is close enough to normal.
static void add_noise(const dice *roll, int first, float strength, float *ink) {
  const uint32_t counter[4] = {(uint32_t)first, (uint32_t)roll->image, (uint32_t)(roll->image >> 32), 0x6e6f6973};
  uint32_t random[4];
  heed_philox(roll->seed, counter, random);
  for (int i = 0; i < 4; i++) {
    const uint32_t r = random[i];
    const int sum = (int)(r & 255) + (int)(r >> 8 & 255) + (int)(r >> 16 & 255) + (int)(r >> 24) - 510;
    ink[i] += strength * (float)sum / 148;  // 148: the standard deviation of sum
  }
}

static void draw(dice *roll, int digit, uint8_t *image) {
  point points[MOST_POINTS];
  place(roll, digit, points);
  const float radius = uniform(roll, .7f, 1.7f), pressure = uniform(roll, .75f, 1), noise = uniform(roll, 0, .08f);
  float ink[DIGITS_PIXELS];
  for (int pixel = 0; pixel < DIGITS_PIXELS; pixel++) {
    const point p = {(float)(pixel % DIGITS_SIDE), (float)(pixel / DIGITS_SIDE)};
    float nearest = 1e6f;
    for (int i = 0; i + 1 < stroke_points[digit]; i++)
      nearest = fminf(nearest, squared_distance(p, points[i], points[i + 1]));
    ink[pixel] = pressure * fminf(fmaxf(radius + .5f - sqrtf(nearest), 0), 1);
  }
  for (int pixel = 0; pixel < DIGITS_PIXELS; pixel += 4) add_noise(roll, pixel, noise, ink + pixel);
  for (int pixel = 0; pixel < DIGITS_PIXELS; pixel++)
    image[pixel] = (uint8_t)lrintf(255 * fminf(fmaxf(ink[pixel], 0), 1));
}

void digits_draw(uint64_t seed, int64_t count, uint8_t *images, uint8_t *labels) {
  for (int64_t n = 0; n < count; n++) {
    dice random = {seed, (uint64_t)n, 0};
    const int digit = (int)(10 * heed_random_uniform(random.seed, random.image, random.next++));
    labels[n] = (uint8_t)digit;
    draw(&random, digit, images + n * DIGITS_PIXELS);
  }
}
