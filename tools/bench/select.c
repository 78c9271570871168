// From an operand and shape options to cases, and the table that `heed bench` shows without any.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

static int64_t or (int64_t value, int64_t otherwise) { return value ? value : otherwise; }

static heed_case attention_of(const bench_settings *s) {
  heed_case c = {.family = &case_attention, .dtype = (heed_dtype)s->dtype};
  c.phase = s->backward ? CASE_BACKWARD : CASE_FORWARD;
  const int64_t heads = or (s->heads, 8), seq = or (s->seq, 1024), dim = or (s->dim, 64);
  c.u.attention =
      (attention_shape){.b = or (s->batch, 4),
                        .hq = heads,
                        .hkv = or (s->kv_heads, heads),
                        .lq = seq,
                        .lk = or (s->kv_seq, seq),
                        .d = dim,
                        .dv = dim,
                        .mask = (case_mask)s->mask,
                        .options = {.causal = (heed_causal)s->causal, .path = (heed_attention_path)s->path}};
  return c;
}

static heed_case mha_of(const bench_settings *s) {
  heed_case c = {.family = &case_mha, .dtype = (heed_dtype)s->dtype};
  c.phase = s->backward ? CASE_BOTH : CASE_FORWARD;
  const int64_t heads = or (s->heads, 8), seq = or (s->seq, 1024);
  c.u.mha = (mha_shape){.b = or (s->batch, 4),
                        .lq = seq,
                        .lk = or (s->kv_seq, seq),
                        .model = heads * or (s->dim, 64),
                        .heads = heads,
                        .kv_heads = s->kv_heads,
                        .cross = s->kv_seq && s->kv_seq != seq,
                        .options = {.causal = (heed_causal)s->causal, .path = (heed_attention_path)s->path}};
  return c;
}

static heed_case gemm_of(const bench_settings *s) {
  heed_case c = {.family = &case_gemm, .dtype = (heed_dtype)s->dtype};
  c.u.gemm = (gemm_shape){.batch = or (s->batch, 1),
                          .m = or (s->m, 1024),
                          .n = or (s->n, 1024),
                          .k = or (s->k, 1024),
                          .ta = s->ta,
                          .tb = s->tb,
                          .alpha = 1};
  return c;
}

static heed_case softmax_of(const bench_settings *s) {
  heed_case c = {.family = &case_softmax, .dtype = (heed_dtype)s->dtype};
  c.phase = s->backward ? CASE_BOTH : CASE_FORWARD;
  c.u.rows = (rows_shape){2, { or (s->rows, 32768), or (s->cols, 1024)}, -1, false, CASE_NORMAL};
  return c;
}

// "784,512,10" into the shape; false when it is no list of 2 to 8 counts.
static bool read_sizes(const char *text, mlp_shape *shape) {
  for (shape->count = 0; shape->count < 8;) {
    char *end;
    errno = 0;
    const long long size = strtoll(text, &end, 10);
    if (end == text || errno || size < 1 || size > INT32_MAX) return false;
    shape->sizes[shape->count++] = size;
    if (*end == 0) return shape->count >= 2;
    if (*end != ',') return false;
    text = end + 1;
  }
  return false;
}

static const char *mlp_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &case_mlp, .dtype = (heed_dtype)s->dtype};
  c->u.mlp.batch = or (s->batch, 64);
  return read_sizes(s->sizes ? s->sizes : "784,512,10", &c->u.mlp)
             ? NULL
             : "--sizes needs 2 to 8 layer sizes, such as 784,512,10";
}

// The table without an operand: what the project promises to be good at.
static void usual_table(heed_case *cases, size_t *count) {
  static const bench_settings gemms[] = {
      {.m = 4096, .n = 512, .k = 512, .tb = true},
      {.m = 2048, .n = 2048, .k = 2048},
      {.m = 2048, .n = 2048, .k = 2048, .tb = true},
      {.m = 2048, .n = 2048, .k = 2048, .ta = true},
      {.m = 64, .n = 512, .k = 784, .tb = true},
      {.m = 512, .n = 784, .k = 64, .ta = true},
      {.m = 1023, .n = 1025, .k = 1027},
      {.batch = 32, .m = 256, .n = 256, .k = 64},
  };
  static const bench_settings attentions[] = {
      {0},
      {.causal = 1},
      {.backward = true},
      {.causal = 1, .backward = true},
      {.mask = 1},
      {.mask = 2},
      {.dim = 33, .causal = 1},
      {.dim = 80, .causal = 1},
      {.dim = 96, .causal = 1},
      {.dim = 128, .causal = 1},
      {.batch = 1, .heads = 4, .seq = 8192},
      {.batch = 1, .heads = 32, .kv_heads = 8, .seq = 1, .kv_seq = 16384, .dim = 128},
  };
  for (size_t i = 0; i < sizeof gemms / sizeof *gemms; ++i) cases[(*count)++] = gemm_of(&gemms[i]);
  for (size_t i = 0; i < sizeof attentions / sizeof *attentions; ++i) cases[(*count)++] = attention_of(&attentions[i]);
  for (int backward = 0; backward < 2; ++backward)
    cases[(*count)++] = mha_of(&(bench_settings){.causal = 1, .backward = backward});
  cases[(*count)++] = softmax_of(&(bench_settings){0});
  for (int64_t batch = 64; batch <= 1024; batch *= 16)
    if (!mlp_of(&(bench_settings){.batch = batch}, &cases[*count])) *count += 1;
}

const char *bench_select(const char *op, const bench_settings *settings, heed_case cases[BENCH_MAX_CASES],
                         size_t *count) {
  *count = 0;
  if (!op) {
    usual_table(cases, count);
    return NULL;
  }
  if (strcmp(op, "peak") == 0) return NULL;
  if (settings->heads && settings->kv_heads && settings->heads % settings->kv_heads)
    return "--kv-heads must divide --heads";
  *count = 1;
  if (strcmp(op, "gemm") == 0)
    cases[0] = gemm_of(settings);
  else if (strcmp(op, "attention") == 0)
    cases[0] = attention_of(settings);
  else if (strcmp(op, "mha") == 0)
    cases[0] = mha_of(settings);
  else if (strcmp(op, "softmax") == 0)
    cases[0] = softmax_of(settings);
  else if (strcmp(op, "mlp") == 0)
    return mlp_of(settings, &cases[0]);
  else
    return "the operand must be one of peak, gemm, attention, mha, softmax, mlp";
  return NULL;
}
