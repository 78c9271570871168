// One model on two devices: each computes the gradients of its half of a batch, and the average of the two is what one device
// computes for the whole batch.
//
//   cc two_devices.c $(pkg-config --cflags --libs heed) -o two_devices
//   ./two_devices [DEVICE [DEVICE]]       by default the best device there is, and the host
//
// Everything of heed hangs on a context, and two contexts know nothing of each other: what is to go from one to the other goes
// through the program's memory, or over a network. With one context each on several machines, this is data-parallel training.
#include <heed/heed.h>
#include <heed/nn.h>
#include <stdio.h>
#include <stdlib.h>

enum {
  B = 8,
  IN = 32,
  HIDDEN = 16,
  CLASSES = 4,
  PLACES = 3,
  SEED = 1
};  // PLACES: two halves, and the whole to compare with

#define TRY(call)                                                            \
  do {                                                                       \
    if ((call) != HEED_OK) {                                                 \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, heed_last_error()); \
      exit(EXIT_FAILURE);                                                    \
    }                                                                        \
  } while (0)

// A context with a model on it. The same seed gives the same parameters on any device.
typedef struct place {
  heed_context *ctx;
  heed_mlp *mlp;
  heed_tensor *x, *target, *loss, *gradient;  // gradient: all gradients of the model, one after another, as one tensor
} place;

// Puts rows [first, first + rows) of the batch on a device. xs: [B, IN]; targets: [B].
static void set_up(place *p, const char *device, float xs[B][IN], int32_t targets[B], int first, int rows) {
  TRY(heed_open(device, &p->ctx));
  const heed_mlp_config config = {.sizes = (int64_t[]){IN, HIDDEN, CLASSES}, .count = 3};
  TRY(heed_mlp_create(p->ctx, &config, SEED, &p->mlp));
  TRY(heed_tensor_create_from(p->ctx, HEED_F32, 2, (int64_t[]){rows, IN}, xs[first], &p->x));
  TRY(heed_tensor_create_from(p->ctx, HEED_I32, 1, (int64_t[]){rows}, targets + first, &p->target));
  TRY(heed_tensor_create(p->ctx, HEED_F32, 1, (int64_t[]){1}, &p->loss));
  // The gradients of a module lie side by side in memory, so that one tensor, and one transfer, holds them all.
  const heed_parameter *parameters = NULL;
  const heed_tensor *parts[4];
  const size_t count = heed_mlp_parameters(p->mlp, &parameters);
  for (size_t i = 0; i < count; i++) parts[i] = parameters[i].grad;
  TRY(heed_tensor_join(parts, count, &p->gradient));
}

static void tear_down(place *p) {
  heed_tensor_destroy(p->gradient);
  heed_tensor_destroy(p->loss);
  heed_tensor_destroy(p->target);
  heed_tensor_destroy(p->x);
  heed_mlp_destroy(p->mlp);
  heed_context_destroy(p->ctx);
}

int main(int argc, char **argv) {
  const char *devices[2] = {argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : "host"};
  float xs[B][IN];
  int32_t targets[B];
  for (int b = 0; b < B; b++) {
    targets[b] = (int32_t)heed_random_below(SEED, 1, (uint64_t)b, CLASSES);
    for (int i = 0; i < IN; i++) xs[b][i] = (float)heed_random_normal(SEED, 2, (uint64_t)(b * IN + i));
  }

  place places[PLACES] = {{0}};
  set_up(&places[0], devices[0], xs, targets, 0, B / 2);
  set_up(&places[1], devices[1], xs, targets, B / 2, B / 2);
  set_up(&places[2], "host", xs, targets, 0, B);

  // Both devices work at once: these calls queue work and return.
  for (int i = 0; i < PLACES; i++)
    TRY(heed_mlp_loss(places[i].mlp, places[i].x, places[i].target, NULL, places[i].loss, false));

  // The average. The second half is downloaded, and added on the first device: there it is ready for an optimizer.
  const int64_t numbers = heed_tensor_count(places[0].gradient);
  float *half = malloc((size_t)numbers * sizeof *half);
  heed_tensor *other = NULL;
  if (!half) return EXIT_FAILURE;
  TRY(heed_tensor_download_f32(places[1].gradient, half, numbers));
  TRY(heed_tensor_create_from(places[0].ctx, HEED_F32, 1, &numbers, half, &other));
  TRY(heed_add(0.5, places[0].gradient, 0.5, other, places[0].gradient));

  // Tensors of two contexts may be compared. heed_tolerance() is what heed allows an F32 gradient to be off by.
  heed_difference difference;
  TRY(heed_tensor_compare(places[0].gradient, places[2].gradient, &difference));
  const bool same = heed_difference_within(&difference, heed_tolerance(HEED_F32, true));
  printf("half on %s\nhalf on %s\n%lld numbers: ", heed_context_device(places[0].ctx)->name,
         heed_context_device(places[1].ctx)->name, (long long)numbers);
  printf("their average is the gradient of the whole batch%s (relative difference %.2g)\n", same ? "" : " NOT",
         difference.relative);

  heed_tensor_destroy(other);
  free(half);
  for (int i = 0; i < PLACES; i++) tear_down(&places[i]);
  return same ? EXIT_SUCCESS : EXIT_FAILURE;
}
