// The comparison of gradients with finite differences, and the derivation of its tolerance.
//
// With L(x) = Σ w ∘ f(x) in F64, a direction u and D(h) = (L(x + hu) − L(x − hu)) / 2h, the derivative Σ g ∘ u is compared with
//   R(h) = (4 D(h) − D(2h)) / 3 = L' + O(h⁴).
// What separates the two, and so makes up the tolerance:
//   inputs      nothing. x lies on a grid of 2^-9, u on one of 2^-4, and h = 2^-7: x ± 4hu holds in 24 bits exactly.
//   truncation  R(2h) has 16 times the h⁴ term of R(h), so |R(2h) − R(h)| / 15 is the error of R(h); twice that is allowed.
//   out         each element is rounded to F32, an error of at most 2^-24 of it, uniform: 2^-24/√3 of it in the mean square. A function
//               that stores intermediate results has more of such steps. The noise of R(h) is that of L times
//               √(2·64 + 2) / 12h; six standard deviations are allowed.
//   gradient    is stored in F32, and may start from a stored result (softmax's y): 4 roundings of the largest element in each.
// A tolerance says nothing unless it is small: it must stay below 1/300 of ‖g ∘ u‖, the size that Σ g ∘ u has.
#include "support_gradients.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double step = 0x1p-7, rounding = 0x1p-24;
enum { DIRECTIONS = 3 };

static void require_ok(const struct gradient_case *c, heed_status status) {
  if (status != HEED_OK) fail_msg("%s: %s", c->name, heed_last_error());
}

static float *new_values(int64_t count) {
  float *values = malloc((size_t)count * sizeof *values + 1);
  assert_non_null(values);
  return values;
}

static float *download(const struct gradient_case *c, const heed_tensor *t) {
  float *values = new_values(heed_tensor_count(t));
  require_ok(c, heed_tensor_download_f32(t, values, heed_tensor_count(t)));
  return values;
}

// Uniform in [low, high], on a grid of 2^-bits.
static float on_grid(uint64_t seed, uint64_t stream, uint64_t index, double low, double high, int bits) {
  const double value = low + (high - low) * heed_random_uniform(seed, stream, index);
  return (float)ldexp(nearbyint(ldexp(value, bits)), -bits);
}

static void draw(const struct gradient_case *c, heed_tensor *t, uint64_t stream, double low, double high) {
  const int64_t count = heed_tensor_count(t);
  float *values = new_values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = on_grid(c->seed, stream, (uint64_t)i, low, high, 9);
  require_ok(c, heed_tensor_upload_f32(t, values, count));
  free(values);
}

void gradient_begin(struct gradient_case *c, const char *name, heed_context *ctx, uint64_t seed) {
  *c = (struct gradient_case){.name = name, .ctx = ctx, .seed = seed, .roundings = 1};
}

void gradient_end(struct gradient_case *c) {
  for (int i = 0; i < c->count; ++i) {
    if (!c->inputs[i].owned) continue;
    heed_tensor_destroy(c->inputs[i].value);
    heed_tensor_destroy(c->inputs[i].grad);
  }
  heed_tensor_destroy(c->out);
  heed_tensor_destroy(c->dout);
}

void gradient_add_borrowed(struct gradient_case *c, const char *name, heed_tensor *value, heed_tensor *grad, double low,
                           double high) {
  assert_true(c->count < GRADIENT_MAX_INPUTS);
  draw(c, value, (uint64_t)c->count, low, high);
  c->inputs[c->count++] = (struct gradient_input){.name = name, .value = value, .grad = grad};
}

heed_tensor *gradient_add(struct gradient_case *c, const char *name, int rank, const int64_t *dims, double low,
                          double high) {
  heed_tensor *value, *grad;
  require_ok(c, heed_tensor_create(c->ctx, HEED_F32, rank, dims, &value));
  require_ok(c, heed_tensor_create(c->ctx, HEED_F32, rank, dims, &grad));
  gradient_add_borrowed(c, name, value, grad, low, high);
  c->inputs[c->count - 1].owned = true;
  return value;
}

void gradient_set_out(struct gradient_case *c, int rank, const int64_t *dims) {
  require_ok(c, heed_tensor_create(c->ctx, HEED_F32, rank, dims, &c->out));
  require_ok(c, heed_tensor_create(c->ctx, HEED_F32, rank, dims, &c->dout));
  draw(c, c->dout, 100, -1, 1);
}

heed_tensor *gradient_of(const struct gradient_case *c, const char *name) {
  for (int i = 0; i < c->count; ++i)
    if (strcmp(c->inputs[i].name, name) == 0) return c->inputs[i].grad;
  return NULL;
}

// One input's line x + t u, and the loss along it.
struct line {
  struct gradient_case *c;
  heed_tensor *value;
  int64_t count;
  const float *x;
  float *u, *moved;
  const float *w;  // dout
};

// L, and the mean square of what rounding out to F32 adds to it.
static double loss(const struct line *line, double *noise) {
  struct gradient_case *c = line->c;
  require_ok(c, c->forward(c));
  float *out = download(c, c->out);
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < heed_tensor_count(c->out); ++i) {
    const double term = (double)line->w[i] * (double)out[i];
    sum += term;
    squares += term * term;
  }
  free(out);
  *noise = rounding * sqrt(squares / 3 * c->roundings);
  return sum;
}

static double loss_at(const struct line *line, double t) {
  double noise;
  for (int64_t i = 0; i < line->count; ++i) line->moved[i] = (float)((double)line->x[i] + t * (double)line->u[i]);
  require_ok(line->c, heed_tensor_upload_f32(line->value, line->moved, line->count));
  return loss(line, &noise);
}

static double difference(const struct line *line, double h) { return (loss_at(line, h) - loss_at(line, -h)) / (2 * h); }

static void check_direction(const struct line *line, const char *input, const float *g, int direction) {
  double expected = 0, size = 0, reach = 0, largest = 0, noise;
  for (int64_t i = 0; i < line->count; ++i) {
    line->u[i] = on_grid(line->c->seed, 200 + (uint64_t)direction, (uint64_t)i, -2, 2, 4);
    const double term = (double)g[i] * (double)line->u[i];
    expected += term;
    size += term * term;
    reach += fabs((double)line->u[i]);
    largest = fmax(largest, fabs((double)g[i]));
  }
  loss(line, &noise);
  const double d1 = difference(line, step), d2 = difference(line, 2 * step), d4 = difference(line, 4 * step);
  const double r1 = (4 * d1 - d2) / 3, r2 = (4 * d2 - d4) / 3;
  const double tolerance =
      2 * fabs(r2 - r1) / 15 + 6 * noise * sqrt(130) / (12 * step) + 4 * rounding * largest * reach;
  if (!(tolerance <= sqrt(size) / 300))
    fail_msg("%s: the differences along %s are too coarse to judge by: tolerance %g, size %g", line->c->name, input,
             tolerance, sqrt(size));
  if (!(fabs(r1 - expected) <= tolerance))
    fail_msg("%s: gradient of %s along direction %d is %.9g, by differences %.9g (tolerance %.3g)", line->c->name,
             input, direction, expected, r1, tolerance);
}

void gradient_check(struct gradient_case *c) {
  require_ok(c, c->forward(c));
  require_ok(c, c->backward(c));
  float *w = download(c, c->dout);
  for (int i = 0; i < c->count; ++i) {
    const struct gradient_input *input = &c->inputs[i];
    const int64_t count = heed_tensor_count(input->value);
    float *x = download(c, input->value), *g = download(c, input->grad);
    struct line line = {c, input->value, count, x, new_values(count), new_values(count), w};
    for (int direction = 0; direction < DIRECTIONS; ++direction) {
      require_ok(c, heed_tensor_upload_f32(input->value, x, count));
      check_direction(&line, input->name, g, direction);
    }
    require_ok(c, heed_tensor_upload_f32(input->value, x, count));
    free(line.u);
    free(line.moved);
    free(x);
    free(g);
  }
  free(w);
}

void gradient_slopes(double (*value_at)(void *of), void *of, double *values, int64_t count, double width,
                     double *gradient) {
  for (int64_t i = 0; i < count; ++i) {
    const double kept = values[i];
    values[i] = kept + width;
    const double up = value_at(of);
    values[i] = kept - width;
    gradient[i] = (up - value_at(of)) / (2 * width);
    values[i] = kept;
  }
}
