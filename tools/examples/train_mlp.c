// Trains a small classifier: which of three arms of a spiral is a point on? A first program with gradients.
//
//   cc train_mlp.c $(pkg-config --cflags --libs heed) -o train_mlp && ./train_mlp
//
// The model is x [N, 2] → linear → relu → linear → relu → linear → logits [N, 3]. heed_mlp has its parameters and gradients;
// heed_mlp_loss() computes the loss and all gradients, and heed_optimizer_step() changes the parameters by them.
#include <heed/heed.h>
#include <heed/nn.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARMS = 3, N = 300, HIDDEN = 64, STEPS = 400, SEED = 1 };

#define TRY(call)                                                            \
  do {                                                                       \
    if ((call) != HEED_OK) {                                                 \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, heed_last_error()); \
      exit(EXIT_FAILURE);                                                    \
    }                                                                        \
  } while (0)

// Points go outwards along an arm, while the direction turns by a small angle each time (so that this needs no sine), with a little
// noise. xs: [N, 2]; arms: [N].
static void draw_points(float xs[N][2], int32_t arms[N]) {
  static const double first[ARMS][2] = {{1, 0}, {-0.5, 0.8660254}, {-0.5, -0.8660254}};  // a third of a circle apart
  for (int arm = 0, i = 0; arm < ARMS; arm++) {
    double x = first[arm][0], y = first[arm][1];
    for (int k = 0; k < N / ARMS; k++, i++) {
      const double radius = (k + 1.0) * ARMS / N, turned = 0.9992 * x - 0.03999 * y;  // 2.3 degrees
      y = 0.03999 * x + 0.9992 * y;
      x = turned;
      xs[i][0] = (float)(radius * x + 0.02 * heed_random_normal(SEED, 0, 2 * (uint64_t)i));
      xs[i][1] = (float)(radius * y + 0.02 * heed_random_normal(SEED, 0, 2 * (uint64_t)i + 1));
      arms[i] = arm;
    }
  }
}

// The share of points whose highest logit is that of their arm.
static double accuracy(heed_mlp *mlp, const heed_tensor *x, heed_tensor *logits, const int32_t arms[N]) {
  heed_tensor *guess = NULL;
  int32_t guesses[N];
  int right = 0;
  TRY(heed_tensor_create(heed_tensor_context(x), HEED_I32, 1, (int64_t[]){N}, &guess));
  TRY(heed_mlp_fwd(mlp, x, false, logits));
  TRY(heed_argmax(logits, guess));
  TRY(heed_tensor_download(guess, guesses, sizeof guesses));
  for (int i = 0; i < N; i++) right += guesses[i] == arms[i];
  heed_tensor_destroy(guess);
  return (double)right / N;
}

int main(void) {
  static float xs[N][2];
  static int32_t arms[N];
  heed_context *ctx = NULL;
  heed_mlp *mlp = NULL;
  heed_optimizer *optimizer = NULL;
  heed_tensor *x = NULL, *target = NULL, *logits = NULL, *loss = NULL;
  draw_points(xs, arms);

  TRY(heed_open(NULL, &ctx));
  TRY(heed_tensor_create_from(ctx, HEED_F32, 2, (int64_t[]){N, 2}, xs, &x));
  TRY(heed_tensor_create_from(ctx, HEED_I32, 1, (int64_t[]){N}, arms, &target));
  TRY(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){N, ARMS}, &logits));
  TRY(heed_tensor_create(ctx, HEED_F32, 1, (int64_t[]){1}, &loss));

  const heed_mlp_config config = {.sizes = (int64_t[]){2, HIDDEN, HIDDEN, ARMS}, .count = 4};
  TRY(heed_mlp_create(ctx, &config, SEED, &mlp));
  const heed_parameter *parameters = NULL;
  const size_t count = heed_mlp_parameters(mlp, &parameters);  // l1.weight [64, 2], l1.bias [64], l2.weight, ...
  const heed_optimizer_config choice = {.kind = HEED_OPTIMIZER_ADAMW,
                                        .adamw = {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}};
  TRY(heed_optimizer_create(parameters, count, &choice, &optimizer));

  for (int step = 0; step < STEPS; step++) {
    TRY(heed_mlp_loss(mlp, x, target, NULL, loss, false));  // writes every gradient; true would add to them
    TRY(heed_optimizer_step(optimizer));
    if (step % (STEPS / 8) != 0 && step != STEPS - 1) continue;
    float value = 0;
    TRY(heed_tensor_download(loss, &value, sizeof value));  // the only place where a step waits
    printf("step %3d   loss %.4f\n", step, (double)value);
  }
  printf("%.1f %% of %d points are right\n", 100 * accuracy(mlp, x, logits, arms), N);

  heed_optimizer_destroy(optimizer);
  heed_mlp_destroy(mlp);
  heed_tensor_destroy(loss);
  heed_tensor_destroy(logits);
  heed_tensor_destroy(target);
  heed_tensor_destroy(x);
  heed_context_destroy(ctx);
  return 0;
}
