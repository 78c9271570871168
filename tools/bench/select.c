// Turns an operand and shape options into cases, writes shapes as text, and has the table that `heed bench` shows without an operand.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

static int64_t or (int64_t value, int64_t otherwise) { return value ? value : otherwise; }

static const char *attention_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &attention_family, .dtype = (heed_dtype)s->dtype};
  c->phase = s->backward ? CASE_BACKWARD : CASE_FORWARD;
  const int64_t heads = or (s->heads, 8), seq = or (s->seq, 1024), dim = or (s->dim, 64);
  c->u.attention =
      (attention_shape){.b = or (s->batch, 4),
                        .hq = heads,
                        .hkv = or (s->kv_heads, heads),
                        .lq = seq,
                        .lk = or (s->kv_seq, seq),
                        .d = dim,
                        .dv = dim,
                        .mask = (case_mask)s->mask,
                        .options = {.causal = (heed_causal)s->causal, .path = (heed_attention_path)s->path}};
  return NULL;
}

static const char *mha_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &mha_family, .dtype = (heed_dtype)s->dtype};
  c->phase = s->backward ? CASE_BOTH : CASE_FORWARD;
  const int64_t heads = or (s->heads, 8), seq = or (s->seq, 1024);
  c->u.mha = (mha_shape){.b = or (s->batch, 4),
                         .lq = seq,
                         .lk = or (s->kv_seq, seq),
                         .model = heads * or (s->dim, 64),
                         .heads = heads,
                         .kv_heads = s->kv_heads,
                         .cross = s->kv_seq && s->kv_seq != seq,
                         .options = {.causal = (heed_causal)s->causal, .path = (heed_attention_path)s->path}};
  return NULL;
}

static const char *gemm_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &gemm_family, .dtype = (heed_dtype)s->dtype};
  c->u.gemm = (gemm_shape){.batch = or (s->batch, 1),
                           .m = or (s->m, 1024),
                           .n = or (s->n, 1024),
                           .k = or (s->k, 1024),
                           .ta = s->ta,
                           .tb = s->tb,
                           .alpha = 1};
  return NULL;
}

static const char *softmax_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &softmax_family, .dtype = (heed_dtype)s->dtype};
  c->phase = s->backward ? CASE_BOTH : CASE_FORWARD;
  c->u.rows = (rows_shape){2, { or (s->rows, 32768), or (s->cols, 1024)}, -1, false, CASE_NORMAL};
  return NULL;
}

static const char *cross_entropy_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = s->backward ? &cross_entropy_fwd_bwd_family : &cross_entropy_family,
                   .dtype = (heed_dtype)s->dtype,
                   .phase = s->backward ? CASE_BOTH : CASE_FORWARD};
  c->u.loss = (loss_shape){.n = or (s->rows, 1024), .c = or (s->vocab, 50257), .target = HEED_I32, .fill = CASE_NORMAL};
  return NULL;
}

static const char *norm_of(const case_family *family, const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = family, .dtype = (heed_dtype)s->dtype};
  c->phase = s->backward ? CASE_BACKWARD : CASE_FORWARD;
  c->u.norm = (norm_shape){.rows = or (s->rows, 8192),
                           .cols = or (s->width, 768),
                           .eps = 1e-5,
                           .fill = CASE_NORMAL,
                           .bias = family == &layer_norm_family};
  return NULL;
}
static const char *layer_norm_of(const bench_settings *s, heed_case *c) { return norm_of(&layer_norm_family, s, c); }
static const char *rms_norm_of(const bench_settings *s, heed_case *c) { return norm_of(&rms_norm_family, s, c); }

// All parameters of GPT-2's smallest model by default, else of a matrix.
static const char *adamw_of(const bench_settings *s, heed_case *c) {
  enum { GPT2 = 124439808 };
  *c = (heed_case){.family = &adamw_family, .dtype = (heed_dtype)s->dtype};
  int64_t n = GPT2;
  if ((s->rows || s->width) && __builtin_mul_overflow(or (s->rows, 1), or (s->width, 1), &n))
    return "--rows times --width must be below 2^63";
  c->u.adamw = (adamw_shape){
      .n = n, .options = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .step = 10}};
  c->u.adamw.fill = CASE_SAME;
  return NULL;
}

static case_phase phase_of(const bench_settings *s) { return s->backward ? CASE_BACKWARD : CASE_FORWARD; }

// Every token is as likely; the gradient is added to, as that of a table which is tied to the head.
static const char *embedding_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &embedding_family, .dtype = (heed_dtype)s->dtype, .phase = phase_of(s)};
  const int64_t vocab = or (s->vocab, 50257);
  c->u.embedding = (embedding_shape){.rows = vocab,
                                     .used = vocab,
                                     .count = or (s->rows, 8192),
                                     .width = or (s->width, 768),
                                     .tokens = HEED_I32,
                                     .accumulate = true};
  return NULL;
}

static const char *rope_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &rope_family, .dtype = (heed_dtype)s->dtype, .phase = phase_of(s)};
  c->u.rope = (rope_shape){
      .b = or (s->batch, 8), .h = or (s->heads, 12), .l = or (s->seq, 1024), .d = or (s->dim, 64), .theta = 1e4};
  return c->u.rope.d % 2 ? "--dim must be even" : NULL;
}

static const char *swiglu_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &swiglu_family, .dtype = (heed_dtype)s->dtype, .phase = phase_of(s)};
  c->u.rows = (rows_shape){2, { or (s->rows, 8192), or (s->width, 2048)}, 0, false, CASE_NORMAL};
  return NULL;
}

// Six blocks of 384 over characters by default.
static transformer_shape transformer_shape_of(const bench_settings *s) {
  transformer_shape shape = {.length = or (s->context, 256)};
  shape.config = (heed_transformer_config){.architecture = (heed_architecture)s->arch,
                                           .layers = or (s->layers, 6),
                                           .width = or (s->width, 384),
                                           .heads = or (s->heads, 6),
                                           .kv_heads = s->kv_heads,
                                           .vocab = or (s->vocab, 65),
                                           .context = shape.length};
  return shape;
}

static const char *check_model(const transformer_shape *s) {
  heed_transformer_config config = s->config;
  return heed_transformer_complete(&config) == HEED_OK ? NULL : heed_last_error();
}

static const char *transformer_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &transformer_family, .dtype = (heed_dtype)s->dtype};
  c->u.transformer = transformer_shape_of(s);
  c->u.transformer.batch = or (s->batch, 8);
  return check_model(&c->u.transformer);
}

static const char *decode_of(const bench_settings *s, heed_case *c) {
  *c = (heed_case){.family = &decode_family, .dtype = (heed_dtype)s->dtype};
  transformer_shape *shape = &c->u.transformer;
  *shape = transformer_shape_of(s);
  shape->batch = or (s->batch, 1);
  shape->past = s->past || shape->length == 1 ? s->past : shape->length - 1;
  return shape->past < shape->length ? check_model(shape) : "--past must be below --context";
}

// Reads "784,512,10" into the shape; returns false unless it is a list of 2 to 8 counts.
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
  *c = (heed_case){.family = &mlp_family, .dtype = (heed_dtype)s->dtype};
  c->u.mlp.batch = or (s->batch, 64);
  return read_sizes(s->sizes ? s->sizes : "784,512,10", &c->u.mlp)
             ? NULL
             : "--sizes needs 2 to 8 layer sizes, such as 784,512,10";
}

static void add(const char *(*make)(const bench_settings *, heed_case *), const bench_settings *settings,
                heed_case *cases, size_t *count) {
  if (!make(settings, &cases[*count])) *count += 1;
}

// The table without an operand: what heed promises to be good at.
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
  for (size_t i = 0; i < sizeof gemms / sizeof *gemms; ++i) add(gemm_of, &gemms[i], cases, count);
  for (size_t i = 0; i < sizeof attentions / sizeof *attentions; ++i) add(attention_of, &attentions[i], cases, count);
  for (int backward = 0; backward < 2; ++backward)
    add(mha_of, &(bench_settings){.causal = 1, .backward = backward}, cases, count);
  add(softmax_of, &(bench_settings){0}, cases, count);
  add(cross_entropy_of, &(bench_settings){.backward = true}, cases, count);
  static const char *(*const rows[])(const bench_settings *, heed_case *) = {layer_norm_of, rms_norm_of, embedding_of,
                                                                             rope_of, swiglu_of};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i)
    for (int backward = 0; backward < 2; ++backward)
      add(rows[i], &(bench_settings){.backward = backward}, cases, count);
  add(adamw_of, &(bench_settings){0}, cases, count);
  static const bench_settings models[] = {
      {.layers = 4, .heads = 4, .width = 128, .context = 64, .batch = 12},
      {0},
      {.layers = 12, .heads = 12, .width = 768, .context = 64, .batch = 4, .vocab = 50257},
  };
  for (size_t i = 0; i < sizeof models / sizeof *models; ++i) add(transformer_of, &models[i], cases, count);
  add(decode_of, &(bench_settings){.layers = 12, .heads = 12, .width = 768, .context = 1024, .vocab = 50257}, cases,
      count);
  for (int64_t batch = 64; batch <= 1024; batch *= 16) add(mlp_of, &(bench_settings){.batch = batch}, cases, count);
}

// ---------------------------------------------------------------- shapes as text

static void describe_attention(const heed_case *c, bench_record *r) {
  const attention_shape *s = &c->u.attention;
  static const char *const causals[] = {"", " causal", " causal-br"}, *const masks[] = {"", " keys", " square",
                                                                                        " full"};
  static const char *const paths[] = {"auto", "staged", "fused"};
  char kv[64] = "";
  if (s->hkv != s->hq || s->lk != s->lq) snprintf(kv, sizeof kv, " kv %" PRId64 "x%" PRId64, s->hkv, s->lk);
  snprintf(r->shape_text, sizeof r->shape_text, "B%" PRId64 " H%" PRId64 " L%" PRId64 " D%" PRId64 "%s%s%s%s", s->b,
           s->hq, s->lq, s->d, kv, causals[s->options.causal], s->mask <= CASE_MASK_FULL ? masks[s->mask] : "",
           c->phase == CASE_BACKWARD ? " bwd" : "");
  snprintf(r->shape_json, sizeof r->shape_json,
           "{\"batch\":%" PRId64 ",\"heads\":%" PRId64 ",\"kv_heads\":%" PRId64 ",\"seq\":%" PRId64
           ",\"kv_seq\":%" PRId64 ",\"dim\":%" PRId64 ",\"causal\":%d,\"mask\":\"%s\",\"backward\":%s,\"path\":\"%s\"}",
           s->b, s->hq, s->hkv, s->lq, s->lk, s->d, (int)s->options.causal,
           s->mask == CASE_MASK_NONE ? "none" : masks[s->mask] + 1, c->phase == CASE_BACKWARD ? "true" : "false",
           paths[s->options.path]);
}

static void describe_mha(const heed_case *c, bench_record *r) {
  const mha_shape *s = &c->u.mha;
  snprintf(r->shape_text, sizeof r->shape_text, "B%" PRId64 " L%" PRId64 " model %" PRId64 " H%" PRId64 "%s%s", s->b,
           s->lq, s->model, s->heads, s->options.causal ? " causal" : "", c->phase == CASE_BOTH ? " fwd+bwd" : "");
  snprintf(r->shape_json, sizeof r->shape_json,
           "{\"batch\":%" PRId64 ",\"seq\":%" PRId64 ",\"kv_seq\":%" PRId64 ",\"model\":%" PRId64 ",\"heads\":%" PRId64
           ",\"kv_heads\":%" PRId64 ",\"causal\":%d,\"backward\":%s}",
           s->b, s->lq, s->cross ? s->lk : s->lq, s->model, s->heads, s->kv_heads ? s->kv_heads : s->heads,
           (int)s->options.causal, c->phase == CASE_BOTH ? "true" : "false");
}

static void describe_gemm(const heed_case *c, bench_record *r) {
  const gemm_shape *s = &c->u.gemm;
  snprintf(r->shape_text, sizeof r->shape_text, "%" PRId64 "x%" PRId64 "x%" PRId64 " %c%c", s->m, s->n, s->k,
           s->ta ? 'T' : 'N', s->tb ? 'T' : 'N');
  if (s->batch > 1) snprintf(r->shape_text + strlen(r->shape_text), 32, " batch %" PRId64, s->batch);
  snprintf(r->shape_json, sizeof r->shape_json,
           "{\"batch\":%" PRId64 ",\"m\":%" PRId64 ",\"n\":%" PRId64 ",\"k\":%" PRId64 ",\"ta\":%s,\"tb\":%s}",
           s->batch, s->m, s->n, s->k, s->ta ? "true" : "false", s->tb ? "true" : "false");
}

static void describe_mlp(const heed_case *c, bench_record *r) {
  const mlp_shape *s = &c->u.mlp;
  char sizes[80] = "";
  for (int i = 0; i < s->count; ++i)
    snprintf(sizes + strlen(sizes), sizeof sizes - strlen(sizes), "%s%" PRId64, i ? "," : "", s->sizes[i]);
  snprintf(r->shape_text, sizeof r->shape_text, "%s batch %" PRId64, sizes, s->batch);
  snprintf(r->shape_json, sizeof r->shape_json, "{\"batch\":%" PRId64 ",\"sizes\":[%s]}", s->batch, sizes);
}

static void describe_softmax(const heed_case *c, bench_record *r) {
  const rows_shape *s = &c->u.rows;
  snprintf(r->shape_text, sizeof r->shape_text, "%" PRId64 " rows of %" PRId64 "%s", s->dims[0], s->dims[1],
           c->phase == CASE_BOTH ? " fwd+bwd" : "");
  snprintf(r->shape_json, sizeof r->shape_json, "{\"rows\":%" PRId64 ",\"cols\":%" PRId64 ",\"backward\":%s}",
           s->dims[0], s->dims[1], c->phase == CASE_BOTH ? "true" : "false");
}

static void describe_cross_entropy(const heed_case *c, bench_record *r) {
  const loss_shape *s = &c->u.loss;
  snprintf(r->shape_text, sizeof r->shape_text, "%" PRId64 " rows of %" PRId64 "%s", s->n, s->c,
           c->phase == CASE_BOTH ? " fwd+bwd" : "");
  snprintf(r->shape_json, sizeof r->shape_json, "{\"rows\":%" PRId64 ",\"vocab\":%" PRId64 ",\"backward\":%s}", s->n,
           s->c, c->phase == CASE_BOTH ? "true" : "false");
}

static void describe_norm(const heed_case *c, bench_record *r) {
  const norm_shape *s = &c->u.norm;
  snprintf(r->shape_text, sizeof r->shape_text, "%" PRId64 " rows of %" PRId64 "%s", s->rows, s->cols,
           c->phase == CASE_BACKWARD ? " bwd" : "");
  snprintf(r->shape_json, sizeof r->shape_json, "{\"rows\":%" PRId64 ",\"width\":%" PRId64 ",\"backward\":%s}", s->rows,
           s->cols, c->phase == CASE_BACKWARD ? "true" : "false");
}
#define describe_layer_norm describe_norm
#define describe_rms_norm describe_norm

static void describe_adamw(const heed_case *c, bench_record *r) {
  snprintf(r->shape_text, sizeof r->shape_text, "%" PRId64 " parameters", c->u.adamw.n);
  snprintf(r->shape_json, sizeof r->shape_json, "{\"parameters\":%" PRId64 "}", c->u.adamw.n);
}

static void describe_embedding(const heed_case *c, bench_record *r) {
  const embedding_shape *s = &c->u.embedding;
  const bool backward = c->phase == CASE_BACKWARD;
  snprintf(r->shape_text, sizeof r->shape_text, "%" PRId64 " of %" PRId64 "x%" PRId64 "%s", s->count, s->rows, s->width,
           backward ? " bwd" : "");
  snprintf(r->shape_json, sizeof r->shape_json,
           "{\"rows\":%" PRId64 ",\"vocab\":%" PRId64 ",\"width\":%" PRId64 ",\"backward\":%s}", s->count, s->rows,
           s->width, backward ? "true" : "false");
}

static void describe_rope(const heed_case *c, bench_record *r) {
  const rope_shape *s = &c->u.rope;
  const bool backward = c->phase == CASE_BACKWARD;
  snprintf(r->shape_text, sizeof r->shape_text, "B%" PRId64 " H%" PRId64 " L%" PRId64 " D%" PRId64 "%s", s->b, s->h,
           s->l, s->d, backward ? " bwd" : "");
  snprintf(r->shape_json, sizeof r->shape_json,
           "{\"batch\":%" PRId64 ",\"heads\":%" PRId64 ",\"seq\":%" PRId64 ",\"dim\":%" PRId64 ",\"backward\":%s}",
           s->b, s->h, s->l, s->d, backward ? "true" : "false");
}

static void describe_swiglu(const heed_case *c, bench_record *r) {
  const rows_shape *s = &c->u.rows;
  const bool backward = c->phase == CASE_BACKWARD;
  snprintf(r->shape_text, sizeof r->shape_text, "%" PRId64 " rows of %" PRId64 "%s", s->dims[0], s->dims[1],
           backward ? " bwd" : "");
  snprintf(r->shape_json, sizeof r->shape_json, "{\"rows\":%" PRId64 ",\"width\":%" PRId64 ",\"backward\":%s}",
           s->dims[0], s->dims[1], backward ? "true" : "false");
}

static void describe_model(const heed_case *c, const char *lengths, bench_record *r) {
  const transformer_shape *s = &c->u.transformer;
  snprintf(r->shape_text, sizeof r->shape_text, "%s %" PRId64 "x%" PRId64 " H%" PRId64 " V%" PRId64 " B%" PRId64 "%s",
           heed_architecture_string(s->config.architecture), s->config.layers, s->config.width, s->config.heads,
           s->config.vocab, s->batch, lengths);
  snprintf(r->shape_json, sizeof r->shape_json,
           "{\"arch\":\"%s\",\"layers\":%" PRId64 ",\"width\":%" PRId64 ",\"heads\":%" PRId64 ",\"vocab\":%" PRId64
           ",\"batch\":%" PRId64 ",\"context\":%" PRId64 ",\"past\":%" PRId64 "}",
           heed_architecture_string(s->config.architecture), s->config.layers, s->config.width, s->config.heads,
           s->config.vocab, s->batch, s->length, s->past);
}

static void describe_transformer(const heed_case *c, bench_record *r) {
  char lengths[32];
  snprintf(lengths, sizeof lengths, " L%" PRId64, c->u.transformer.length);
  describe_model(c, lengths, r);
}

static void describe_decode(const heed_case *c, bench_record *r) {
  char lengths[32];
  snprintf(lengths, sizeof lengths, " past %" PRId64, c->u.transformer.past);
  describe_model(c, lengths, r);
}

// ---------------------------------------------------------------- the operators

// The list of all operands of `heed bench` except peak. OP_of makes the case, describe_OP writes its shape as text.
#define BENCH_OPS(X) \
  X(gemm)            \
  X(attention)       \
  X(mha)             \
  X(softmax)         \
  X(cross_entropy) X(layer_norm) X(rms_norm) X(embedding) X(rope) X(swiglu) X(adamw) X(mlp) X(transformer) X(decode)

// The options that each operand takes, beside those that say how to measure and print.
static const char *const gemm_options[] = {"runs", "compare", "batch", "m",        "n", "k",
                                           "ta",   "tb",      "dtype", "provider", NULL};
static const char *const attention_options[] = {"runs",  "compare",  "batch",    "heads",  "kv-heads",
                                                "seq",   "kv-seq",   "dim",      "causal", "mask",
                                                "dtype", "backward", "provider", "path",   NULL};
static const char *const mha_options[] = {"runs", "compare", "batch", "heads",    "kv-heads", "seq",  "kv-seq",
                                          "dim",  "causal",  "dtype", "backward", "provider", "path", NULL};
static const char *const softmax_options[] = {"runs", "compare", "rows", "cols", "dtype", "backward", NULL};
static const char *const cross_entropy_options[] = {"runs", "compare", "rows", "vocab", "dtype", "backward", NULL};
static const char *const layer_norm_options[] = {"runs", "compare", "rows", "width", "dtype", "backward", NULL};
#define rms_norm_options layer_norm_options
#define swiglu_options layer_norm_options
static const char *const embedding_options[] = {"runs", "compare", "rows", "width", "vocab", "dtype", "backward", NULL};
static const char *const rope_options[] = {"runs", "compare", "batch",    "heads", "seq",
                                           "dim",  "dtype",   "backward", NULL};
static const char *const adamw_options[] = {"runs", "compare", "rows", "width", "dtype", NULL};
static const char *const transformer_options[] = {"runs",     "compare",  "arch",    "layers", "heads",
                                                  "kv-heads", "width",    "context", "batch",  "vocab",
                                                  "dtype",    "provider", NULL};
static const char *const decode_options[] = {"runs",    "compare", "arch",  "layers", "heads", "kv-heads", "width",
                                             "context", "batch",   "vocab", "dtype",  "past",  "provider", NULL};
static const char *const mlp_options[] = {"runs", "compare", "batch", "sizes", "dtype", "provider", NULL};

const char *const *bench_options(const char *op) {
  static const char *const usual[] = {"runs", "provider", NULL}, *const peak[] = {NULL};
  if (!op) return usual;
#define OPTIONS(name) \
  if (strcmp(op, #name) == 0) return name##_options;
  BENCH_OPS(OPTIONS)
#undef OPTIONS
  return peak;
}

#define NAME(name) #name,
const char *const bench_operands[] = {"peak", BENCH_OPS(NAME) NULL};
#undef NAME

// The operand that makes such a case.
static const char *op_of(const heed_case *c) {
  return c->family == &cross_entropy_fwd_bwd_family ? cross_entropy_family.op : c->family->op;
}
static bool is_op(const heed_case *c, const char *name) { return strcmp(op_of(c), name) == 0; }

void bench_describe(const heed_case *c, bench_record *r) {
  r->op = op_of(c);
  r->dtype = heed_dtype_string(c->dtype);
#define DESCRIBE(name) \
  if (is_op(c, #name)) describe_##name(c, r);
  BENCH_OPS(DESCRIBE)
#undef DESCRIBE
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
#define SELECT(name) \
  if (strcmp(op, #name) == 0) return name##_of(settings, &cases[0]);
  BENCH_OPS(SELECT)
#undef SELECT
#define LISTED(name) ", " #name
  return "the operand must be one of peak" BENCH_OPS(LISTED);
#undef LISTED
}
