// The vision transformer: images cut into patches, the transformer's blocks over them without a causal mask, the mean over the patches and a
// linear classifier. The blocks are those of transformer_fwd.c and transformer_bwd.c.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/transformer.h"

struct heed_vit {
  heed_vit_config config;  // complete; without the prefix
  heed_parameter *parameters;
  size_t count;
  struct heed_transformer encoder;  // blocks and the last norm
  struct heed__dense patch, head;
  struct heed__weight positions;
  int64_t patches;                       // of an image
  struct heed__scratch cut;              // [N·patches, patch²]
  struct heed__scratch pooled, dpooled;  // [N, width]
  struct heed__scratch logits, dlogits;  // of heed_vit_loss()
  struct heed__pass pass;                // of the last forward with `train`, for its backward; batch 0: none
};

// ---------------------------------------------------------------- creation

static heed_status check_images(const heed_vit_config *c) {
  const struct {
    const char *name;
    int64_t value;
  } sizes[] = {{"rows", c->rows}, {"cols", c->cols}, {"patch", c->patch}, {"classes", c->classes}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
    HEED__REQUIRE(sizes[i].value >= 1 && sizes[i].value <= INT32_MAX, HEED_ERROR_INVALID_ARGUMENT,
                  "vit: %s is %" PRId64 "; it must be from 1 to %d", sizes[i].name, sizes[i].value, INT32_MAX);
  HEED__REQUIRE(c->rows % c->patch == 0 && c->cols % c->patch == 0, HEED_ERROR_INVALID_ARGUMENT,
                "vit: images of %" PRId64 " x %" PRId64 " cannot be cut into patches of %" PRId64 " x %" PRId64,
                c->rows, c->cols, c->patch, c->patch);
  return HEED_OK;
}

// The configuration of the blocks, and what follows from it for the vit's own.
static heed_status complete(heed_vit_config *c, heed_transformer_config *blocks) {
  HEED__TRY(check_images(c));
  *blocks = (heed_transformer_config){.architecture = HEED_ARCHITECTURE_GPT2,
                                      .layers = c->layers,
                                      .width = c->width,
                                      .heads = c->heads,
                                      .ffn = c->ffn,
                                      .norm_eps = c->norm_eps,
                                      .dropout = c->dropout,
                                      .dtype = c->dtype,
                                      .context = c->rows / c->patch * (c->cols / c->patch)};
  const heed_status status = heed__transformer_complete_blocks(blocks);
  if (status != HEED_OK) return heed__fail_prefix(status, "vit");
  c->ffn = blocks->ffn;
  c->norm_eps = blocks->norm_eps;
  c->prefix = NULL;
  return HEED_OK;
}

// The names are those of torch.nn.TransformerEncoder, whose layers compute the same with norm_first.
static void plan(const heed_vit *vit, struct heed__plan_list *list) {
  static const char *const parts[HEED__BLOCK_PARTS] = {"norm1.", "self_attn.in_proj_", "self_attn.out_proj.",
                                                       "norm2.", "linear1.",           "linear2."};
  const heed_vit_config *c = &vit->config;
  heed__plan_put(list, HEED__MATRIX, c->width, c->patch * c->patch, "patch.weight");
  heed__plan_put(list, HEED__BIAS, c->width, 0, "patch.bias");
  heed__plan_put(list, HEED__MATRIX, vit->patches, c->width, "positions");
  for (int64_t layer = 0; layer < c->layers; ++layer) {
    char at[48];
    snprintf(at, sizeof at, "encoder.layers.%" PRId64, layer);
    heed__plan_gpt2_block(&vit->encoder.config, at, parts, list);
  }
  heed__plan_put(list, HEED__NORM, c->width, 0, "encoder.norm.weight");
  heed__plan_put(list, HEED__BIAS, c->width, 0, "encoder.norm.bias");
  heed__plan_put(list, HEED__MATRIX, c->classes, c->width, "head.weight");
  heed__plan_put(list, HEED__BIAS, c->classes, 0, "head.bias");
}

static void wire(heed_vit *vit) {
  struct heed__cursor cursor = {.parameters = vit->parameters};
  vit->patch = heed__take_dense(&cursor, true);
  vit->positions = heed__take(&cursor);
  for (int64_t layer = 0; layer < vit->config.layers; ++layer)
    heed__wire_gpt2_block(&cursor, &vit->encoder.blocks[layer]);
  vit->encoder.norm = heed__take_dense(&cursor, true);
  vit->head = heed__take_dense(&cursor, true);
}

static heed_status create_parameters(heed_vit *vit, const char *prefix, uint64_t seed) {
  const size_t most = (size_t)vit->config.layers * HEED__BLOCK_PARAMETERS + 7;
  struct heed__plan_list list = {.plans = calloc(most, sizeof *list.plans), .layers = vit->config.layers};
  vit->parameters = calloc(most, sizeof *vit->parameters);
  if (!list.plans || !vit->parameters) {
    free(list.plans);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu parameters", most);
  }
  plan(vit, &list);
  vit->count = list.count;
  const heed_status status = heed__parameters_create(vit->encoder.ctx, vit->config.dtype, prefix, list.plans,
                                                     list.count, seed, true, vit->parameters);
  free(list.plans);
  return status;
}

heed_status heed_vit_create(heed_context *ctx, const heed_vit_config *config, uint64_t seed, heed_vit **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_vit_create: out is NULL");
  *out = NULL;
  HEED__REQUIRE(ctx && config, HEED_ERROR_INVALID_ARGUMENT, "heed_vit_create: an argument is NULL");
  heed_vit_config own = *config;
  heed_transformer_config blocks;
  HEED__TRY(complete(&own, &blocks));
  heed_vit *vit = calloc(1, sizeof *vit);
  HEED__REQUIRE(vit, HEED_ERROR_OUT_OF_MEMORY, "no memory for a vit");
  vit->config = own;
  vit->patches = blocks.context;
  vit->encoder.ctx = ctx;
  vit->encoder.config = blocks;
  heed_status status = create_parameters(vit, config->prefix, seed);
  if (status == HEED_OK) status = heed__transformer_layers_create(&vit->encoder);
  if (status != HEED_OK) {
    heed_vit_destroy(vit);
    return heed__fail_prefix(status, "vit");
  }
  wire(vit);
  *out = vit;
  return HEED_OK;
}

void heed_vit_destroy(heed_vit *vit) {
  if (!vit) return;
  heed__transformer_layers_destroy(&vit->encoder);
  struct heed__scratch *const all[] = {&vit->cut, &vit->pooled, &vit->dpooled, &vit->logits, &vit->dlogits};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i) heed__scratch_destroy(all[i]);
  for (size_t i = 0; i < vit->count; ++i) heed__parameter_destroy(&vit->parameters[i]);
  free(vit->parameters);
  free(vit);
}

size_t heed_vit_parameters(const heed_vit *vit, const heed_parameter **parameters) {
  if (parameters) *parameters = vit ? vit->parameters : NULL;
  return vit ? vit->count : 0;
}

const heed_vit_config *heed_vit_configuration(const heed_vit *vit) { return vit ? &vit->config : NULL; }

// ---------------------------------------------------------------- forward

// cut [N, down, across, patch, patch] = images [N, down, patch, across, patch].
static heed_status cut_images(heed_vit *vit, const heed_tensor *images) {
  const heed_vit_config *c = &vit->config;
  const int64_t n = heed_tensor_dim(images, 0), p = c->patch, values = p * p;
  const int64_t dims[] = {n, c->rows / p, c->cols / p, p, p};
  const int64_t strides[] = {c->rows * c->cols, p * c->cols, p, c->cols, 1};
  HEED__TRY(heed__scratch_shape(&vit->cut, vit->encoder.ctx, c->dtype, 2, (int64_t[]){n * vit->patches, values}));
  heed_tensor *seen = NULL, *apart = NULL;
  heed_status status = heed_tensor_view(images, 5, dims, strides, 0, &seen);
  if (status == HEED_OK) status = heed_tensor_reshape(vit->cut.tensor, 5, dims, &apart);
  if (status == HEED_OK) status = heed_copy(seen, apart);
  heed_tensor_destroy(seen);
  heed_tensor_destroy(apart);
  return status;
}

// Sees [N·patches, width] as [N, patches, width].
static heed_status see_images(const heed_vit *vit, const struct heed__pass *pass, const heed_tensor *rows,
                              heed_tensor **out) {
  return heed_tensor_reshape(rows, 3, (int64_t[]){pass->batch, vit->patches, vit->config.width}, out);
}

// x = patches Wᵀ + b + positions, the input of the first block.
static heed_status embed(heed_vit *vit, const struct heed__pass *pass) {
  heed_tensor *x = heed__block_input(&vit->encoder, pass, 0), *apart = NULL;
  HEED__TRY(heed_linear_fwd(vit->cut.tensor, vit->patch.weight.value, vit->patch.bias.value, x));
  HEED__TRY(see_images(vit, pass, x, &apart));
  const heed_status status = heed_add(1, apart, 1, vit->positions.value, apart);
  heed_tensor_destroy(apart);
  return status == HEED_OK ? heed__drop(pass, &vit->encoder, 0, HEED__DROP_EMBEDDING, x) : status;
}

// pooled [N, width] = the mean over each image's patches.
static heed_status pool(heed_vit *vit, const struct heed__pass *pass) {
  const int64_t width = vit->config.width;
  HEED__TRY(heed__scratch_shape(&vit->pooled, vit->encoder.ctx, vit->config.dtype, 2, (int64_t[]){pass->batch, width}));
  heed_tensor *pooled = vit->pooled.tensor, *images = NULL, *sums = NULL;
  heed_status status = see_images(vit, pass, vit->encoder.shared[HEED__S_NORMED].tensor, &images);
  if (status == HEED_OK) status = heed_tensor_reshape(pooled, 3, (int64_t[]){pass->batch, 1, width}, &sums);
  if (status == HEED_OK) status = heed_reduce_sum(images, sums, false);
  heed_tensor_destroy(images);
  heed_tensor_destroy(sums);
  return status == HEED_OK ? heed_add(1 / (double)vit->patches, pooled, 0, pooled, pooled) : status;
}

static heed_status check_forward(const heed_vit *vit, const heed_tensor *images, const heed_tensor *logits) {
  const heed_vit_config *c = &vit->config;
  const int64_t in[] = {-1, c->rows * c->cols}, out[] = {heed_tensor_dim(images, 0), c->classes};
  HEED__REQUIRE(heed__has_shape(images, 2, in) && out[0] > 0 && heed_tensor_is_contiguous(images), HEED_ERROR_SHAPE,
                "vit: images is %s; a contiguous [N, %" PRId64 "] is needed, with at least one image",
                heed_tensor_describe(images), in[1]);
  HEED__REQUIRE(heed_tensor_dtype(images) == c->dtype, HEED_ERROR_DTYPE, "vit: images is %s, and the model's dtype %s",
                heed_tensor_describe(images), heed_dtype_string(c->dtype));
  HEED__REQUIRE(heed__has_shape(logits, 2, out), HEED_ERROR_SHAPE,
                "vit: logits is %s; [%" PRId64 ", %" PRId64 "] is needed", heed_tensor_describe(logits), out[0],
                out[1]);
  return heed__check_apart("vit", &(struct heed__named){"logits", logits}, 1, &(struct heed__named){"images", images},
                           1, vit->parameters, vit->count);
}

heed_status heed_vit_fwd(heed_vit *vit, const heed_tensor *images, bool train, uint64_t seed, heed_tensor *logits) {
  HEED__REQUIRE(vit && images && logits, HEED_ERROR_INVALID_ARGUMENT, "heed_vit_fwd: an argument is NULL");
  vit->pass = (struct heed__pass){0};
  HEED__TRY(check_forward(vit, images, logits));
  const int64_t n = heed_tensor_dim(images, 0);
  const struct heed__pass pass = {.batch = n,
                                  .length = vit->patches,
                                  .rows = n * vit->patches,
                                  .train = train,
                                  .drops = train,
                                  .seed = seed,
                                  .is_full = true};
  HEED__TRY(heed__transformer_shape(&vit->encoder, &pass));
  HEED__TRY(cut_images(vit, images));
  HEED__TRY(embed(vit, &pass));
  HEED__TRY(heed__transformer_body(&vit->encoder, &pass));
  HEED__TRY(pool(vit, &pass));
  HEED__TRY(heed_linear_fwd(vit->pooled.tensor, vit->head.weight.value, vit->head.bias.value, logits));
  if (train) vit->pass = pass;
  return HEED_OK;
}

// ---------------------------------------------------------------- backward

// Each patch's share of the gradient of their mean.
static heed_status unpool(heed_vit *vit, const struct heed__pass *pass) {
  heed_tensor *means = NULL, *images = NULL;
  heed_status status =
      heed_tensor_reshape(vit->dpooled.tensor, 3, (int64_t[]){pass->batch, 1, vit->config.width}, &means);
  if (status == HEED_OK) status = see_images(vit, pass, vit->encoder.shared[HEED__S_DH].tensor, &images);
  if (status == HEED_OK) status = heed_add(1 / (double)vit->patches, means, 0, means, images);
  heed_tensor_destroy(means);
  heed_tensor_destroy(images);
  return status;
}

static heed_status embed_bwd(heed_vit *vit, const struct heed__pass *pass, bool accumulate) {
  const heed_tensor *dx = NULL;
  heed_tensor *apart = NULL;
  HEED__TRY(heed__undrop(&vit->encoder, pass, 0, HEED__DROP_EMBEDDING, vit->encoder.shared[HEED__S_DX].tensor, &dx));
  HEED__TRY(see_images(vit, pass, dx, &apart));
  const heed_status status = heed_reduce_sum(apart, vit->positions.grad, accumulate);
  heed_tensor_destroy(apart);
  HEED__TRY(status);
  return heed_linear_bwd(vit->cut.tensor, vit->patch.weight.value, dx, NULL, vit->patch.weight.grad,
                         vit->patch.bias.grad, accumulate);
}

heed_status heed_vit_bwd(heed_vit *vit, const heed_tensor *dlogits, bool accumulate) {
  HEED__REQUIRE(vit && dlogits, HEED_ERROR_INVALID_ARGUMENT, "heed_vit_bwd: an argument is NULL");
  const struct heed__pass pass = vit->pass;
  HEED__REQUIRE(pass.batch > 0, HEED_ERROR_INVALID_ARGUMENT, "vit: a backward needs a forward with train before it");
  const int64_t out[] = {pass.batch, vit->config.classes};
  HEED__REQUIRE(heed__has_shape(dlogits, 2, out), HEED_ERROR_SHAPE,
                "vit: dlogits is %s; [%" PRId64 ", %" PRId64 "] is needed", heed_tensor_describe(dlogits), out[0],
                out[1]);
  HEED__TRY(heed__scratch_shape(&vit->dpooled, vit->encoder.ctx, vit->config.dtype, 2,
                                (int64_t[]){pass.batch, vit->config.width}));
  vit->pass = (struct heed__pass){0};
  HEED__TRY(heed_linear_bwd(vit->pooled.tensor, vit->head.weight.value, dlogits, vit->dpooled.tensor,
                            vit->head.weight.grad, vit->head.bias.grad, accumulate));
  HEED__TRY(unpool(vit, &pass));
  HEED__TRY(heed__transformer_body_bwd(&vit->encoder, &pass, accumulate));
  return embed_bwd(vit, &pass, accumulate);
}

heed_status heed_vit_loss(heed_vit *vit, const heed_tensor *images, const heed_tensor *target, uint64_t seed,
                          heed_tensor *logits, heed_tensor *loss, bool accumulate) {
  HEED__REQUIRE(vit && images && target && loss, HEED_ERROR_INVALID_ARGUMENT, "heed_vit_loss: an argument is NULL");
  heed_context *ctx = vit->encoder.ctx;
  const int64_t out[] = {heed_tensor_dim(images, 0), vit->config.classes};
  if (!logits) {
    HEED__TRY(heed__scratch_shape(&vit->logits, ctx, vit->config.dtype, 2, out));
    logits = vit->logits.tensor;
  }
  const struct heed__named outputs[] = {{"logits", logits}, {"loss", loss}};
  const struct heed__named inputs[] = {{"images", images}, {"target", target}};
  HEED__TRY(heed__check_apart("vit", outputs, 2, inputs, 2, vit->parameters, vit->count));
  HEED__TRY(heed_vit_fwd(vit, images, true, seed, logits));
  heed_tensor *dlogits = logits;
  if (dlogits != vit->logits.tensor) {
    HEED__TRY(heed__scratch_shape(&vit->dlogits, ctx, vit->config.dtype, 2, out));
    dlogits = vit->dlogits.tensor;
  }
  HEED__TRY(heed_cross_entropy_fwd_bwd(logits, target, NULL, NULL, loss, dlogits));
  return heed_vit_bwd(vit, dlogits, accumulate);
}
