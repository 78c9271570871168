// A transformer's configuration: its defaults, and what is refused.
#include <inttypes.h>
#include <math.h>

#include "base/size.h"
#include "nn/transformer.h"

static const char *const architecture_names[] = {"gpt2", "llama", "mistral", "qwen2"};

const char *heed_architecture_string(heed_architecture architecture) {
  const size_t count = sizeof architecture_names / sizeof *architecture_names;
  return (size_t)architecture < count ? architecture_names[architecture] : "";
}

// ---------------------------------------------------------------- configuration

enum { MOST_LAYERS = 1 << 16 };

static int64_t otherwise(int64_t value, int64_t fallback) { return value != 0 ? value : fallback; }

static heed_status check_size(const char *name, int64_t value) {
  HEED__REQUIRE(value >= 1, HEED_ERROR_INVALID_ARGUMENT, "transformer: %s is %" PRId64 "; at least 1 is needed", name,
                value);
  HEED__REQUIRE(value <= INT32_MAX, HEED_ERROR_OVERFLOW, "transformer: %s is %" PRId64 "; at most %d is possible", name,
                value, INT32_MAX);
  return HEED_OK;
}

static heed_status check_sizes(const heed_transformer_config *c) {
  HEED__TRY(check_size("layers", c->layers));
  HEED__TRY(check_size("width", c->width));
  HEED__TRY(check_size("heads", c->heads));
  HEED__TRY(check_size("context", c->context));
  HEED__TRY(check_size("kv_heads", c->kv_heads));
  HEED__TRY(check_size("head_dim", c->head_dim));
  return check_size("ffn", c->ffn);
}

static heed_status check_heads(const heed_transformer_config *c) {
  HEED__REQUIRE(c->layers <= MOST_LAYERS, HEED_ERROR_INVALID_ARGUMENT,
                "transformer: layers is %" PRId64 "; at most %d are possible", c->layers, MOST_LAYERS);
  HEED__REQUIRE(c->heads % c->kv_heads == 0, HEED_ERROR_INVALID_ARGUMENT,
                "transformer: heads %" PRId64 " is not a multiple of kv_heads %" PRId64, c->heads, c->kv_heads);
  if (heed__is_gpt2(c))
    HEED__REQUIRE(c->kv_heads == c->heads && c->head_dim * c->heads == c->width, HEED_ERROR_INVALID_ARGUMENT,
                  "transformer: gpt2 has no kv_heads and no head_dim of its own: width must be heads × head_dim");
  else
    HEED__REQUIRE(c->head_dim % 2 == 0, HEED_ERROR_INVALID_ARGUMENT,
                  "transformer: head_dim is %" PRId64 "; rotary positions need an even one", c->head_dim);
  HEED__REQUIRE(c->window >= 0 && (c->window == 0 || c->architecture == HEED_ARCHITECTURE_MISTRAL),
                HEED_ERROR_INVALID_ARGUMENT, "transformer: window is %" PRId64 "; only mistral has one, of at least 1",
                c->window);
  int64_t all = 0;
  HEED__REQUIRE(heed__mul(c->heads + 2 * c->kv_heads, c->head_dim, &all) && all <= INT32_MAX, HEED_ERROR_OVERFLOW,
                "transformer: heads times head_dim does not fit");
  return HEED_OK;
}

static heed_status check_numbers(const heed_transformer_config *c) {
  HEED__REQUIRE(c->norm_eps > 0 && isfinite(c->norm_eps), HEED_ERROR_INVALID_ARGUMENT,
                "transformer: norm_eps is %g; a number over 0 is needed", c->norm_eps);
  HEED__REQUIRE(c->rope_theta > 0 && isfinite(c->rope_theta), HEED_ERROR_INVALID_ARGUMENT,
                "transformer: rope_theta is %g; a number over 0 is needed", c->rope_theta);
  HEED__REQUIRE(c->dropout >= 0 && c->dropout < 1, HEED_ERROR_INVALID_ARGUMENT,
                "transformer: dropout is %g; it must be from 0 to below 1", c->dropout);
  HEED__REQUIRE(heed_dtype_is_float(c->dtype), HEED_ERROR_DTYPE, "transformer: dtype %s; F32, F16 or BF16 is needed",
                heed_dtype_string(c->dtype));
  return HEED_OK;
}

heed_status heed__transformer_complete_blocks(heed_transformer_config *c) {
  HEED__REQUIRE(heed_architecture_string(c->architecture)[0], HEED_ERROR_INVALID_ARGUMENT,
                "transformer: architecture %d is unknown", (int)c->architecture);
  const bool gpt2 = heed__is_gpt2(c);
  c->kv_heads = otherwise(c->kv_heads, c->heads);
  HEED__REQUIRE(c->head_dim != 0 || c->heads < 1 || c->width % c->heads == 0, HEED_ERROR_INVALID_ARGUMENT,
                "transformer: width %" PRId64 " is not a multiple of %" PRId64 " heads, and there is no head_dim",
                c->width, c->heads);
  if (c->heads >= 1) c->head_dim = otherwise(c->head_dim, c->width / c->heads);
  if (c->ffn == 0 && c->width >= 1 && c->width <= INT32_MAX)
    c->ffn = gpt2 ? 4 * c->width : (8 * c->width + 3 * 32 - 1) / (3 * 32) * 32;
  if (c->norm_eps == 0) c->norm_eps = gpt2 ? 1e-5 : 1e-6;
  if (c->rope_theta == 0) c->rope_theta = 1e4;
  c->tied = c->tied > 0 || (c->tied == 0 && gpt2) ? 1 : -1;
  HEED__TRY(check_sizes(c));
  HEED__TRY(check_heads(c));
  return check_numbers(c);
}

heed_status heed_transformer_complete(heed_transformer_config *c) {
  HEED__REQUIRE(c, HEED_ERROR_INVALID_ARGUMENT, "heed_transformer_complete: the configuration is NULL");
  HEED__TRY(heed__transformer_complete_blocks(c));
  return check_size("vocab", c->vocab);
}
