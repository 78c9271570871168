// Multi-layer perceptron: linear, relu, ..., linear, with the cross-entropy of its logits. Activations live in memory that
// it keeps from step to step, so that a training step allocates nothing.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/module.h"

struct layer {
  int64_t in, out;
  // [N, out] between this layer and the next: h after its relu, dh the gradient before it. The last layer does not use them.
  struct heed__scratch h, dh;
};

struct heed_mlp {
  heed_context *ctx;
  heed_dtype dtype;
  size_t layers;
  struct layer *layer;
  heed_parameter *parameters;            // weight and bias of each layer in turn
  struct heed__scratch logits, dlogits;  // of heed_mlp_loss()
  const heed_tensor *x;                  // input of the last forward with `train`, for its backward; NULL: none
};

static heed_parameter *weight(const heed_mlp *mlp, size_t layer) { return &mlp->parameters[2 * layer]; }
static heed_parameter *bias(const heed_mlp *mlp, size_t layer) { return &mlp->parameters[2 * layer + 1]; }

static void plan_layer(heed_mlp *mlp, size_t index, int64_t in, int64_t out, struct heed__parameter_plan *plans) {
  const double bound = 1 / sqrt((double)in);
  mlp->layer[index].in = in;
  mlp->layer[index].out = out;
  struct heed__parameter_plan *w = &plans[2 * index], *b = w + 1;
  *w = (struct heed__parameter_plan){.rank = 2, .dims = {out, in}, .bound = bound, .stream = 2 * index};
  *b = (struct heed__parameter_plan){.rank = 1, .dims = {out}, .bound = bound, .stream = 2 * index + 1};
  snprintf(w->name, sizeof w->name, "l%zu.weight", index + 1);
  snprintf(b->name, sizeof b->name, "l%zu.bias", index + 1);
}

static heed_status create_layers(heed_mlp *mlp, const heed_mlp_config *config, uint64_t seed) {
  mlp->layer = calloc(mlp->layers, sizeof *mlp->layer);
  mlp->parameters = calloc(2 * mlp->layers, sizeof *mlp->parameters);
  struct heed__parameter_plan *plans = calloc(2 * mlp->layers, sizeof *plans);
  if (!mlp->layer || !mlp->parameters || !plans) {
    free(plans);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for an mlp of %zu layers", mlp->layers);
  }
  for (size_t i = 0; i < mlp->layers; ++i) plan_layer(mlp, i, config->sizes[i], config->sizes[i + 1], plans);
  const heed_status status = heed__parameters_create(mlp->ctx, mlp->dtype, config->prefix, plans, 2 * mlp->layers, seed,
                                                     true, mlp->parameters);
  free(plans);
  return status == HEED_OK ? HEED_OK : heed__fail_prefix(status, "mlp");
}

heed_status heed_mlp_create(heed_context *ctx, const heed_mlp_config *config, uint64_t seed, heed_mlp **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_mlp_create: out is NULL");
  *out = NULL;
  HEED__REQUIRE(ctx && config && config->sizes, HEED_ERROR_INVALID_ARGUMENT, "heed_mlp_create: an argument is NULL");
  HEED__REQUIRE(config->count >= 2, HEED_ERROR_INVALID_ARGUMENT,
                "mlp: %zu sizes; at least inputs and classes are needed", config->count);
  for (size_t i = 0; i < config->count; ++i)
    HEED__REQUIRE(config->sizes[i] >= 1, HEED_ERROR_INVALID_ARGUMENT,
                  "mlp: size %zu is %" PRId64 "; at least 1 is needed", i, config->sizes[i]);
  HEED__REQUIRE(heed_dtype_is_float(config->dtype), HEED_ERROR_DTYPE, "mlp: dtype %s; F32, F16 or BF16 is needed",
                heed_dtype_string(config->dtype));
  heed_mlp *mlp = calloc(1, sizeof *mlp);
  HEED__REQUIRE(mlp, HEED_ERROR_OUT_OF_MEMORY, "no memory for an mlp");
  mlp->ctx = ctx;
  mlp->dtype = config->dtype;
  mlp->layers = config->count - 1;
  const heed_status status = create_layers(mlp, config, seed);
  if (status != HEED_OK) {
    heed_mlp_destroy(mlp);
    return status;
  }
  *out = mlp;
  return HEED_OK;
}

void heed_mlp_destroy(heed_mlp *mlp) {
  if (!mlp) return;
  for (size_t i = 0; mlp->layer && i < mlp->layers; ++i) {
    heed__scratch_destroy(&mlp->layer[i].h);
    heed__scratch_destroy(&mlp->layer[i].dh);
  }
  for (size_t i = 0; mlp->parameters && i < 2 * mlp->layers; ++i) heed__parameter_destroy(&mlp->parameters[i]);
  heed__scratch_destroy(&mlp->logits);
  heed__scratch_destroy(&mlp->dlogits);
  free(mlp->layer);
  free(mlp->parameters);
  free(mlp);
}

size_t heed_mlp_parameters(const heed_mlp *mlp, const heed_parameter **parameters) {
  if (parameters) *parameters = mlp ? mlp->parameters : NULL;
  return mlp ? 2 * mlp->layers : 0;
}

static int64_t classes(const heed_mlp *mlp) { return mlp->layer[mlp->layers - 1].out; }

heed_status heed_mlp_fwd(heed_mlp *mlp, const heed_tensor *x, bool train, heed_tensor *logits) {
  HEED__REQUIRE(mlp && x && logits, HEED_ERROR_INVALID_ARGUMENT, "heed_mlp_fwd: an argument is NULL");
  mlp->x = NULL;
  const int64_t in[] = {-1, mlp->layer[0].in};
  HEED__REQUIRE(heed__has_shape(x, 2, in), HEED_ERROR_SHAPE, "mlp: x is %s; [N, %" PRId64 "] is needed",
                heed_tensor_describe(x), in[1]);
  const int64_t n = heed_tensor_dim(x, 0), out[] = {n, classes(mlp)};
  HEED__REQUIRE(heed__has_shape(logits, 2, out), HEED_ERROR_SHAPE,
                "mlp: logits is %s; [%" PRId64 ", %" PRId64 "] is needed", heed_tensor_describe(logits), n, out[1]);
  HEED__TRY(heed__check_apart("mlp", &(struct heed__named){"logits", logits}, 1, &(struct heed__named){"x", x}, 1,
                              mlp->parameters, 2 * mlp->layers));
  const heed_tensor *input = x;
  for (size_t i = 0; i < mlp->layers; ++i) {
    struct layer *layer = &mlp->layer[i];
    const bool last = i + 1 == mlp->layers;
    if (!last) HEED__TRY(heed__scratch_shape(&layer->h, mlp->ctx, mlp->dtype, 2, (int64_t[]){n, layer->out}));
    heed_tensor *output = last ? logits : layer->h.tensor;
    if (last)
      HEED__TRY(heed_linear_fwd(input, weight(mlp, i)->value, bias(mlp, i)->value, output));
    else
      HEED__TRY(heed_linear_relu_fwd(input, weight(mlp, i)->value, bias(mlp, i)->value, output));
    input = output;
  }
  if (train) mlp->x = x;
  return HEED_OK;
}

heed_status heed_mlp_bwd(heed_mlp *mlp, const heed_tensor *dlogits, heed_tensor *dx, bool accumulate) {
  HEED__REQUIRE(mlp && dlogits, HEED_ERROR_INVALID_ARGUMENT, "heed_mlp_bwd: an argument is NULL");
  HEED__REQUIRE(mlp->x, HEED_ERROR_INVALID_ARGUMENT, "mlp: a backward needs a forward with train before it");
  const heed_tensor *x = mlp->x;
  const int64_t n = heed_tensor_dim(x, 0), out[] = {n, classes(mlp)};
  HEED__REQUIRE(heed__has_shape(dlogits, 2, out), HEED_ERROR_SHAPE,
                "mlp: dlogits is %s; [%" PRId64 ", %" PRId64 "] is needed", heed_tensor_describe(dlogits), n, out[1]);
  const struct heed__named read[] = {{"x", x}, {"dlogits", dlogits}};
  HEED__TRY(heed__check_apart("mlp", &(struct heed__named){"dx", dx}, 1, read, 2, mlp->parameters, 2 * mlp->layers));
  mlp->x = NULL;
  const heed_tensor *dy = dlogits;
  for (size_t i = mlp->layers; i-- > 0;) {
    struct layer *below = i > 0 ? &mlp->layer[i - 1] : NULL;
    if (below) HEED__TRY(heed__scratch_shape(&below->dh, mlp->ctx, mlp->dtype, 2, (int64_t[]){n, below->out}));
    const heed_tensor *input = below ? below->h.tensor : x;
    heed_tensor *dinput = below ? below->dh.tensor : dx;
    const heed_tensor *w = weight(mlp, i)->value;
    heed_tensor *dw = weight(mlp, i)->grad, *db = bias(mlp, i)->grad;
    HEED__TRY(below ? heed_relu_linear_bwd(input, w, dy, dinput, dw, db, accumulate)
                    : heed_linear_bwd(input, w, dy, dinput, dw, db, accumulate));
    dy = dinput;
  }
  return HEED_OK;
}

heed_status heed_mlp_loss(heed_mlp *mlp, const heed_tensor *x, const heed_tensor *target, heed_tensor *logits,
                          heed_tensor *loss, bool accumulate) {
  HEED__REQUIRE(mlp && x && target && loss, HEED_ERROR_INVALID_ARGUMENT, "heed_mlp_loss: an argument is NULL");
  const int64_t out[] = {heed_tensor_dim(x, 0), classes(mlp)};
  if (!logits) {
    HEED__TRY(heed__scratch_shape(&mlp->logits, mlp->ctx, mlp->dtype, 2, out));
    logits = mlp->logits.tensor;
  }
  const struct heed__named outputs[] = {{"logits", logits}, {"loss", loss}}, inputs[] = {{"x", x}, {"target", target}};
  HEED__TRY(heed__check_apart("mlp", outputs, 2, inputs, 2, mlp->parameters, 2 * mlp->layers));
  HEED__TRY(heed_mlp_fwd(mlp, x, true, logits));
  heed_tensor *dlogits = logits;
  if (dlogits != mlp->logits.tensor) {
    HEED__TRY(heed__scratch_shape(&mlp->dlogits, mlp->ctx, mlp->dtype, 2, out));
    dlogits = mlp->dlogits.tensor;
  }
  HEED__TRY(heed_cross_entropy_fwd_bwd(logits, target, NULL, NULL, loss, dlogits));
  return heed_mlp_bwd(mlp, dlogits, NULL, accumulate);
}
