// The activations of a transformer: which ones a pass has, their shapes, and the memory that they live in from pass to pass.
#include <inttypes.h>
#include <math.h>

#include "base/size.h"
#include "nn/transformer.h"

// ---------------------------------------------------------------- shapes

enum { MOST_LOGITS = 1 << 25, ROW_MULTIPLE = 64 };
static const double ROUNDED = 1.1;  // sizes of scratch buffers are rounded up, by up to a quarter

int64_t heed__logit_rows(const heed_transformer_config *config, int64_t rows) {
  const int64_t most = heed__max(MOST_LOGITS / config->vocab / ROW_MULTIPLE, 1) * ROW_MULTIPLE;
  return rows < most ? rows : most;
}

static struct heed__shape matrix(const heed_transformer_config *c, int64_t rows, int64_t columns) {
  return (struct heed__shape){c->dtype, 2, {rows, columns}};
}

struct heed__shape heed__block_shape(const heed_transformer_config *c, enum heed__block_activation which, int64_t batch,
                                     int64_t length, bool train) {
  const int64_t rows = batch * length;
  const struct heed__shape none = {0};
  switch (which) {
    case HEED__A_INPUT:
    case HEED__A_H1:
    case HEED__A_X2:
    case HEED__A_H2:
      return matrix(c, rows, c->width);
    case HEED__A_QKV:
      return matrix(c, rows, heed__qkv_width(c));
    case HEED__A_HEADS:
      return matrix(c, rows, c->heads * c->head_dim);
    case HEED__A_LSE:
      return train ? (struct heed__shape){HEED_F32, 3, {batch, c->heads, length}} : none;
    case HEED__A_GATE:
      return heed__is_gpt2(c) ? none : matrix(c, rows, c->ffn);
    case HEED__A_UP:
    case HEED__A_ACT:
      return matrix(c, rows, c->ffn);
    case HEED__BLOCK_ACTIVATION_COUNT:
      break;
  }
  return none;
}

static struct heed__shape gradient_shape(const heed_transformer_config *c, enum heed__shared_activation which,
                                         int64_t rows) {
  const struct heed__shape none = {0};
  switch (which) {
    case HEED__S_DX:
    case HEED__S_DX2:
    case HEED__S_DH:
      return matrix(c, rows, c->width);
    case HEED__S_DSHARE:
      return heed__is_gpt2(c) ? none : matrix(c, rows, c->width);
    case HEED__S_DBRANCH:
      return c->dropout > 0 ? matrix(c, rows, c->width) : none;
    case HEED__S_DQKV:
      return matrix(c, rows, heed__qkv_width(c));
    case HEED__S_DHEADS:
      return matrix(c, rows, c->heads * c->head_dim);
    case HEED__S_DUP:
    case HEED__S_DGATE:
      return heed__is_gpt2(c) ? none : matrix(c, rows, c->ffn);
    case HEED__S_DACT:
      return matrix(c, rows, c->ffn);
    default:
      return none;
  }
}

struct heed__shape heed__shared_shape(const heed_transformer_config *c, enum heed__shared_activation which,
                                      int64_t batch, int64_t length, bool train) {
  const int64_t rows = batch * length, chunk = heed__has_head(c) ? heed__logit_rows(c, rows) : 0;
  const bool with_loss = train && heed__has_head(c);
  switch (which) {
    case HEED__S_BRANCH:
    case HEED__S_LAST:
    case HEED__S_NORMED:
      return matrix(c, rows, c->width);
    case HEED__S_LOGITS:
      return with_loss ? matrix(c, chunk, c->vocab) : (struct heed__shape){0};
    case HEED__S_LOSSES:
      return with_loss ? (struct heed__shape){HEED_F32, 1, {(rows + chunk - 1) / chunk}} : (struct heed__shape){0};
    case HEED__S_SHARE:
    case HEED__S_FACTOR:
      return with_loss ? (struct heed__shape){HEED_F32, 1, {1}} : (struct heed__shape){0};
    default:
      return train ? gradient_shape(c, which, rows) : (struct heed__shape){0};
  }
}

// ---------------------------------------------------------------- memory

static heed_status shape_one(heed_transformer *t, struct heed__scratch *scratch, struct heed__shape shape) {
  return shape.rank == 0 ? HEED_OK : heed__scratch_shape(scratch, t->ctx, shape.dtype, shape.rank, shape.dims);
}

static void heads_release(struct heed__heads *heads) {
  heed_tensor_destroy(heads->q);
  heed_tensor_destroy(heads->k);
  heed_tensor_destroy(heads->v);
  heed_tensor_destroy(heads->out);
  *heads = (struct heed__heads){0};
}

static heed_status see_heads(const heed_tensor *packed, const struct heed__pass *pass, int64_t heads, int64_t dim,
                             int64_t first, heed_tensor **out) {
  const int64_t row = heed_tensor_dim(packed, 1);
  return heed_tensor_view(packed, 4, (int64_t[]){pass->batch, heads, pass->length, dim},
                          (int64_t[]){pass->length * row, dim, row, 1}, first * dim, out);
}

// If the shape is that of the last pass, this does nothing.
static heed_status shape_heads(const heed_transformer_config *c, const struct heed__pass *pass, const heed_tensor *qkv,
                               const heed_tensor *output, struct heed__heads *heads) {
  if (heed__has_shape(heads->out, 4, (int64_t[]){pass->batch, c->heads, pass->length, c->head_dim})) return HEED_OK;
  heads_release(heads);
  HEED__TRY(see_heads(qkv, pass, c->heads, c->head_dim, 0, &heads->q));
  HEED__TRY(see_heads(qkv, pass, c->kv_heads, c->head_dim, c->heads, &heads->k));
  HEED__TRY(see_heads(qkv, pass, c->kv_heads, c->head_dim, c->heads + c->kv_heads, &heads->v));
  return see_heads(output, pass, c->heads, c->head_dim, 0, &heads->out);
}

static heed_status shape_block(heed_transformer *t, const struct heed__pass *pass, struct heed__block_tensors *tensors,
                               bool with_input) {
  for (int i = 0; i < HEED__BLOCK_ACTIVATION_COUNT; ++i)
    if (i != HEED__A_INPUT || with_input)
      HEED__TRY(shape_one(
          t, &tensors->tensor[i],
          heed__block_shape(&t->config, (enum heed__block_activation)i, pass->batch, pass->length, pass->train)));
  return shape_heads(&t->config, pass, tensors->tensor[HEED__A_QKV].tensor, tensors->tensor[HEED__A_HEADS].tensor,
                     &tensors->heads);
}

heed_status heed__transformer_shape(heed_transformer *t, const struct heed__pass *pass) {
  const heed_transformer_config *c = &t->config;
  for (int i = 0; i < HEED__SHARED_ACTIVATION_COUNT; ++i)
    HEED__TRY(
        shape_one(t, &t->shared[i],
                  heed__shared_shape(c, (enum heed__shared_activation)i, pass->batch, pass->length, pass->train)));
  if (!pass->train || c->recompute) HEED__TRY(shape_block(t, pass, &t->working, !pass->train));
  if (!pass->train) return HEED_OK;
  HEED__TRY(shape_heads(c, pass, t->shared[HEED__S_DQKV].tensor, t->shared[HEED__S_DHEADS].tensor, &t->dheads));
  for (int64_t layer = 0; layer < c->layers; ++layer) {
    HEED__TRY(
        shape_one(t, &t->inputs[layer], heed__block_shape(c, HEED__A_INPUT, pass->batch, pass->length, pass->train)));
    if (!c->recompute) HEED__TRY(shape_block(t, pass, &t->kept[layer], false));
  }
  return HEED_OK;
}

heed_status heed__transformer_shape_loss(heed_transformer *t, const struct heed__pass *pass) {
  static const enum heed__shared_activation needed[] = {HEED__S_LOGITS, HEED__S_LOSSES, HEED__S_SHARE};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; ++i)
    HEED__TRY(shape_one(t, &t->shared[needed[i]],
                        heed__shared_shape(&t->config, needed[i], pass->batch, pass->length, true)));
  return HEED_OK;
}

static void block_release(struct heed__block_tensors *tensors) {
  heads_release(&tensors->heads);
  for (int i = 0; i < HEED__BLOCK_ACTIVATION_COUNT; ++i) heed__scratch_destroy(&tensors->tensor[i]);
}

void heed__transformer_release(heed_transformer *t) {
  for (int64_t layer = 0; layer < t->config.layers; ++layer) {
    if (t->inputs) heed__scratch_destroy(&t->inputs[layer]);
    if (t->kept) block_release(&t->kept[layer]);
  }
  block_release(&t->working);
  heads_release(&t->dheads);
  for (int i = 0; i < HEED__SHARED_ACTIVATION_COUNT; ++i) heed__scratch_destroy(&t->shared[i]);
}

// ---------------------------------------------------------------- reckoning

static uint64_t bytes_of(struct heed__shape shape) {
  uint64_t bytes = shape.rank == 0 ? 0 : heed_dtype_size(shape.dtype);
  for (int i = 0; i < shape.rank; ++i) bytes *= (uint64_t)shape.dims[i];
  return bytes;
}

static uint64_t block_bytes(const heed_transformer_config *c, int64_t batch, int64_t length, bool train) {
  uint64_t bytes = 0;
  for (int i = 0; i < HEED__BLOCK_ACTIVATION_COUNT; ++i)
    if (i != HEED__A_INPUT)
      bytes += bytes_of(heed__block_shape(c, (enum heed__block_activation)i, batch, length, train));
  return bytes;
}

static uint64_t activation_bytes(const heed_transformer_config *c, int64_t batch, int64_t length, bool train) {
  uint64_t bytes = 0;
  for (int i = 0; i < HEED__SHARED_ACTIVATION_COUNT; ++i)
    bytes += bytes_of(heed__shared_shape(c, (enum heed__shared_activation)i, batch, length, train));
  const uint64_t layers = (uint64_t)c->layers;
  const uint64_t input = bytes_of(heed__block_shape(c, HEED__A_INPUT, batch, length, train));
  bytes += (train ? layers : 1) * input;
  return bytes + (train && !c->recompute ? layers : 1) * block_bytes(c, batch, length, train);
}

// What an OpenCL CPU packs: the operands of products, and of attention. Its backend keeps such buffers, and gives one to whoever needs at
// most so much and more than half of it; so one of each octave stays, while attention has its own at a time.
static uint64_t scratch_bytes(const heed_transformer_config *c, int64_t batch, int64_t length, bool train) {
  const double rows = (double)batch * (double)length, width = (double)c->width, ffn = (double)c->ffn;
  const double chunk = train ? (double)heed__logit_rows(c, batch * length) : (double)batch, vocab = (double)c->vocab;
  // An operand is packed if many rows pass over it, or if it must be converted.
  const bool wide = c->width >= 192 || c->dtype != HEED_F32;
  double packed[] = {vocab * width, train ? chunk * vocab : 0, rows * (wide ? ffn : width), ffn * width,
                     (double)heed__qkv_width(c) * width};
  double sum = 0;
  for (double above = INFINITY;;) {
    double largest = 0;
    for (size_t i = 0; i < sizeof packed / sizeof *packed; ++i)
      if (packed[i] <= above / 2 && packed[i] > largest) largest = packed[i];
    if (largest == 0) break;
    sum += largest;
    above = largest;
  }
  const double head = (double)c->head_dim, block = length <= 64 ? 64 : length <= 128 ? 128 : 256;
  const double keys = (double)heed__ceil_div(length, (int64_t)block) * block;
  sum += 2 * (double)batch * (double)c->kv_heads * keys * head;
  if (train) sum += 3 * rows * (double)c->heads * head;
  return (uint64_t)(4 * ROUNDED * sum);
}

static heed_status parameter_count(const heed_transformer_config *c, uint64_t *count) {
  const uint64_t width = (uint64_t)c->width, ffn = (uint64_t)c->ffn, qkv = (uint64_t)heed__qkv_width(c);
  const bool gpt2 = heed__is_gpt2(c);
  uint64_t block = qkv * width + (uint64_t)(c->heads * c->head_dim) * width + (gpt2 ? 2 : 3) * ffn * width;
  block += gpt2 ? 4 * width + qkv + width + ffn + width : 2 * width;
  if (c->architecture == HEED_ARCHITECTURE_QWEN2) block += qkv;
  const uint64_t table = (uint64_t)c->vocab * width;
  *count = (uint64_t)c->layers * block + table + (c->tied < 0 ? table : 0) + (gpt2 ? 2 : 1) * width +
           (gpt2 ? (uint64_t)c->context * width : 0);
  HEED__REQUIRE((double)c->layers * (double)block < 1e17, HEED_ERROR_OVERFLOW,
                "transformer: its parameters do not fit 64 bits");
  return HEED_OK;
}

heed_status heed_transformer_reckon(const heed_transformer_config *config, int64_t batch, int64_t length, int64_t cache,
                                    heed_transformer_memory *memory) {
  HEED__REQUIRE(config && memory, HEED_ERROR_INVALID_ARGUMENT, "heed_transformer_reckon: an argument is NULL");
  *memory = (heed_transformer_memory){0};
  heed_transformer_config c = *config;
  HEED__TRY(heed_transformer_complete(&c));
  HEED__REQUIRE(batch >= 0 && length >= 0 && cache >= 0, HEED_ERROR_INVALID_ARGUMENT,
                "heed_transformer_reckon: batch, length and cache must be at least 0");
  uint64_t count = 0;
  HEED__TRY(parameter_count(&c, &count));
  const uint64_t size = heed_dtype_size(c.dtype);
  const double largest = (double)c.layers * (double)heed__max(heed__qkv_width(&c), c.ffn) * 16 *
                         ((double)heed__max(batch, 1) * (double)heed__max(length, 1) + (double)cache);
  HEED__REQUIRE(largest < 1e17, HEED_ERROR_OVERFLOW, "transformer: its activations do not fit 64 bits");
  memory->parameters = count * size;
  if (!c.frozen) memory->gradients = count * size;  // made with the parameters
  if (!heed__is_gpt2(&c)) memory->parameters += 4 * (uint64_t)(c.context * c.head_dim);
  memory->activations = activation_bytes(&c, heed__max(batch, 1), length, batch > 0);
  memory->scratch = scratch_bytes(&c, heed__max(batch, 1), length, batch > 0);
  memory->cache = 2 * size * (uint64_t)(c.layers * c.kv_heads * c.head_dim) * (uint64_t)cache;
  return HEED_OK;
}
