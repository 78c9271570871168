// The table of cases that `heed check`, `heed bench` and the tests share. Sizes sit at the edges of vectors and tiles;
// values are plain, huge, equal, or planted with outliers and NaN.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases/case.h"

typedef struct table {
  heed_case *cases;
  size_t count, capacity;
  bool failed;
} table;

// A zeroed case to fill in; NULL once memory has run out, which case_table() reports at its end.
static heed_case *append(table *t, const case_family *family, heed_dtype dtype, int level) {
  if (t->count == t->capacity) {
    const size_t capacity = t->capacity ? 2 * t->capacity : 256;
    heed_case *grown = realloc(t->cases, capacity * sizeof *grown);
    if (!grown) {
      t->failed = true;
      return NULL;
    }
    t->cases = grown;
    t->capacity = capacity;
  }
  heed_case *c = &t->cases[t->count++];
  memset(c, 0, sizeof *c);
  c->family = family;
  c->dtype = dtype;
  c->level = level;
  return c;
}

#define NAME(c, ...) snprintf((c)->name, sizeof(c)->name, __VA_ARGS__)

static const heed_dtype floats[] = {HEED_F32, HEED_F16, HEED_BF16};
static const char *const suffixes[] = {"", "_f16", "_bf16"};

// ---------------------------------------------------------------- attention

static void add_attention(table *t, const char *what, attention_shape s, int dtype, int level) {
  heed_case *c = append(t, &case_attention, floats[dtype], level);
  if (!c) return;
  if (s.hkv == 0) s.hkv = s.hq;
  if (s.dv == 0) s.dv = s.d;
  c->u.attention = s;
  NAME(c, "%s_b%lldh%lldk%lldq%llds%lldd%lldv%lld%s", what, (long long)s.b, (long long)s.hq, (long long)s.hkv,
       (long long)s.lq, (long long)s.lk, (long long)s.d, (long long)s.dv, suffixes[dtype]);
}

#define SOFTCAP_DROPOUT .softcap = 5, .dropout = 0.3, .seed = 42
#define CAUSAL .options = {.causal = HEED_CAUSAL_TOP_LEFT}

// AUTO takes the staged path only for what no other path can do, so cases of attention run on it by name too: these in every
// run, the others a level later.
static bool is_staged_core(const char *name) {
  static const char *const core[] = {"mask_square", "bias_softcap_dropout", "kv_lengths_causal"};
  for (size_t i = 0; i < sizeof core / sizeof *core; ++i)
    if (strcmp(name, core[i]) == 0) return true;
  return false;
}

// Options that make a program of their own, which takes a CPU's compiler seconds: --quick has them together, in
// bias_softcap_dropout and its like, and they stand alone a level later.
static bool is_alone(const attention_shape *s) {
  const bool added = s->mask >= CASE_MASK_FLOAT;
  return (added || s->options.softcap > 0 || s->options.dropout > 0) &&
         !(added && s->options.softcap > 0 && s->options.dropout > 0);
}

static void attention_options(table *t, int dtype, int level) {
  // 40 columns end inside a vector of 16, and between two of 8 that make a tile.
  const attention_shape base = {.b = 2, .hq = 4, .hkv = 2, .lq = 35, .lk = 67, .d = 40};
  const struct {
    const char *name;
    attention_shape s;
  } variants[] = {
      {"plain", {.scale = 1}},
      {"causal", {CAUSAL}},
      {"causal_bottom_right", {.options = {.causal = HEED_CAUSAL_BOTTOM_RIGHT}}},
      {"window", {.options = {.has_window = true, .window_left = 9, .window_right = 4}}},
      {"window_causal", {.options = {.causal = 1, .has_window = true, .window_left = 16, .window_right = -1}}},
      {"scale", {.options = {.has_scale = true, .scale = 0.05}}},
      {"softcap", {.options = {.softcap = 5}, .scale = 4}},
      {"softcap_mask", {.options = {.softcap = 5}, .mask = CASE_MASK_SQUARE}},
      {"dropout", {.options = {.dropout = 0.3, .seed = 42}}},
      {"dropout_causal", {.options = {.causal = 1, .dropout = 0.5, .seed = 7}}},
      {"mask_keys", {.mask = CASE_MASK_KEYS}},
      {"mask_square", {.mask = CASE_MASK_SQUARE}},
      {"mask_full", {.mask = CASE_MASK_FULL}},
      {"mask_rank1", {.mask = CASE_MASK_RANK1}},
      {"mask_short", {.mask = CASE_MASK_SHORT}},
      {"mask_causal", {CAUSAL, .mask = CASE_MASK_SQUARE}},
      {"dead_rows", {.mask = CASE_MASK_DEAD}},
      {"bias", {.mask = CASE_MASK_FLOAT}},
      {"bias_neginf", {.mask = CASE_MASK_NEGINF}},
      {"bias_lowest", {.mask = CASE_MASK_LOWEST}},
      {"bias_softcap_dropout", {.options = {SOFTCAP_DROPOUT}, .scale = 4, .mask = CASE_MASK_FLOAT}},
      {"bias_neginf_softcap_dropout", {.options = {SOFTCAP_DROPOUT}, .mask = CASE_MASK_NEGINF}},
      {"bias_lowest_softcap_dropout", {.options = {SOFTCAP_DROPOUT}, .mask = CASE_MASK_LOWEST}},
      {"bias_gradient", {.mask = CASE_MASK_FLOAT, .mask_grad = true}},
      {"bias_gradient_softcap_dropout", {.options = {SOFTCAP_DROPOUT}, .mask = CASE_MASK_FLOAT, .mask_grad = true}},
      {"weights", {.weights = true, CAUSAL}},
      {"weights_dropout", {.weights = true, .options = {.dropout = 0.25, .seed = 3}}},
      {"kv_lengths", {.kv_lengths = true}},
      {"kv_lengths_causal", {.kv_lengths = true, CAUSAL}},
      {"kv_lengths_nan", {.kv_lengths = true, .poison_masked = true}},
      {"mask_nan", {.mask = CASE_MASK_SQUARE, .poison_masked = true}},
      {"bias_neginf_nan", {.mask = CASE_MASK_NEGINF, .poison_masked = true}},
      {"bias_neginf_nan_softcap_dropout",
       {.options = {SOFTCAP_DROPOUT}, .mask = CASE_MASK_NEGINF, .poison_masked = true}},
      {"past", {.past = 13}},
      {"past_causal", {.past = 13, CAUSAL}},
      {"rows_first", {.rows_first = true, CAUSAL}},
      {"huge_logits", {.scale = 40}},
      {"outlier", {.fill = CASE_OUTLIER}},
      {"denormal", {.fill = CASE_DENORMAL}},
      {"equal", {.fill = CASE_SAME, .scale = 0.5}},
  };
  for (size_t i = 0; i < sizeof variants / sizeof *variants; ++i) {
    attention_shape s = variants[i].s;
    s.b = base.b, s.hq = base.hq, s.hkv = base.hkv, s.lq = base.lq, s.lk = base.lk, s.d = base.d;
    const int own = level == 0 && is_alone(&s) ? 1 : level;
    add_attention(t, variants[i].name, s, dtype, own);
    char name[48];
    snprintf(name, sizeof name, "staged_%s", variants[i].name);
    s.options.path = HEED_PATH_STAGED;
    add_attention(t, name, s, dtype, is_staged_core(variants[i].name) ? own : own + 1);
  }
}

static void attention_cases(table *t) {
  attention_options(t, 0, 0);
  attention_options(t, 1, 1);
  attention_options(t, 2, 1);
  // Lengths and widths at the edges of vectors and tiles.
  static const int64_t edges[] = {1,  2,  7,  8,  9,  11, 12, 13,  15,  16,  17,  31,  32,
                                  33, 63, 64, 65, 95, 96, 97, 127, 128, 129, 255, 256, 257};
  const size_t count = sizeof edges / sizeof *edges;
  for (size_t i = 0; i < count; ++i) {
    const int64_t l = edges[i], other = edges[(i * 7 + 3) % count];
    add_attention(t, "length", (attention_shape){.b = 1, .hq = 2, .lq = l, .lk = other, .d = 40}, 0, i % 4 ? 1 : 0);
    add_attention(t, "length_causal", (attention_shape){.b = 1, .hq = 2, .lq = l, .lk = l, .d = 40, CAUSAL}, 0,
                  i % 4 ? 1 : 0);
    add_attention(t, "length_mask",
                  (attention_shape){.b = 1, .hq = 2, .lq = l, .lk = other, .d = 40, .mask = CASE_MASK_SQUARE}, 0,
                  i % 4 || l == 1 ? 1 : 0);
    add_attention(t, "width", (attention_shape){.b = 1, .hq = 2, .lq = 19, .lk = 37, .d = l, .dv = other, CAUSAL}, 0,
                  i % 6 ? 2 : 1);
  }
  for (int dtype = 0; dtype < 3; ++dtype) {
    add_attention(t, "wide_value", (attention_shape){.b = 2, .hq = 2, .lq = 35, .lk = 67, .d = 32, .dv = 72}, dtype, 1);
    add_attention(t, "decode", (attention_shape){.b = 2, .hq = 8, .hkv = 2, .lq = 1, .lk = 700, .d = 64}, dtype, 1);
    if (dtype) {  // what tensor cores do, and one row less than a tile, and one more
      add_attention(t, "warps", (attention_shape){.b = 2, .hq = 4, .hkv = 2, .lq = 65, .lk = 129, .d = 64, CAUSAL},
                    dtype, 1);
      add_attention(t, "warps", (attention_shape){.b = 1, .hq = 2, .hkv = 1, .lq = 63, .lk = 65, .d = 128}, dtype, 1);
    }
    add_attention(t, "long", (attention_shape){.b = 1, .hq = 2, .lq = 520, .lk = 520, .d = 64, CAUSAL}, dtype, 1);
  }
  add_attention(t, "huge_head", (attention_shape){.b = 1, .hq = 1, .lq = 9, .lk = 21, .d = 512}, 0, 2);
  add_attention(t, "longer", (attention_shape){.b = 1, .hq = 2, .lq = 2048, .lk = 2048, .d = 64, CAUSAL}, 0, 2);
  for (int path = HEED_PATH_STAGED; path <= HEED_PATH_FUSED; ++path) {
    attention_shape s = {.b = 2, .hq = 4, .hkv = 2, .lq = 65, .lk = 127, .d = 40};
    s.options.path = (heed_attention_path)path;
    s.options.causal = HEED_CAUSAL_TOP_LEFT;
    add_attention(t, path == HEED_PATH_STAGED ? "path_staged" : "path_fused", s, 0, 0);
  }
}

// ---------------------------------------------------------------- products

static void add_gemm(table *t, gemm_shape s, int dtype, int level) {
  heed_case *c = append(t, &case_gemm, floats[dtype], level);
  if (!c) return;
  c->u.gemm = s;
  NAME(c, "gemm_%c%c_%lldx%lldx%lld_b%lld_a%gb%g%s", s.ta ? 'T' : 'N', s.tb ? 'T' : 'N', (long long)s.m, (long long)s.n,
       (long long)s.k, (long long)s.batch, s.alpha, s.beta, suffixes[dtype]);
}

static void gemm_cases(table *t) {
  static const int64_t sizes[][3] = {{1, 1, 1},     {1, 17, 5},    {17, 1, 33},     {15, 16, 17},  {31, 33, 32},
                                     {64, 10, 512}, {65, 127, 63}, {129, 128, 127}, {12, 32, 256}, {13, 31, 257}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
    for (int form = 0; form < 4; ++form)
      for (int dtype = 0; dtype < 3; ++dtype)
        add_gemm(t,
                 (gemm_shape){.batch = 1 + (int64_t)i % 3,
                              .m = sizes[i][0],
                              .n = sizes[i][1],
                              .k = sizes[i][2],
                              .ta = form & 1,
                              .tb = form & 2,
                              .alpha = i % 2 ? 1 : 0.75,
                              .beta = i % 4 == 3 ? -0.5 : 0},
                 dtype, dtype == 0 ? 0 : 1);
  add_gemm(t, (gemm_shape){.batch = 1, .m = 64, .n = 512, .k = 784, .tb = true, .alpha = 1}, 0, 0);
  add_gemm(t, (gemm_shape){.batch = 1, .m = 512, .n = 784, .k = 64, .ta = true, .alpha = 1}, 0, 0);
  add_gemm(t, (gemm_shape){.batch = 1, .m = 10, .n = 12, .k = 20000, .ta = true, .alpha = 1}, 0, 1);
  add_gemm(t, (gemm_shape){.batch = 1, .m = 1023, .n = 1025, .k = 1027, .alpha = 1}, 0, 2);
}

static void module_cases(table *t) {
  static const int64_t linear[][3] = {{1, 1, 1}, {5, 129, 64}, {33, 65, 10}, {64, 784, 512}, {257, 31, 33}};
  for (size_t i = 0; i < 2 * (sizeof linear / sizeof *linear); ++i)
    for (int dtype = 0; dtype < 3; ++dtype) {
      const int64_t *size = linear[i / 2];
      heed_case *c = append(t, &case_linear, floats[dtype], dtype ? 1 : 0);
      if (!c) return;
      c->u.linear = (linear_shape){size[0], size[1], size[2], .bias = i / 2 % 2 == 0, .relu = i % 2};
      NAME(c, "linear_%lldx%lldx%lld%s%s%s", (long long)size[0], (long long)size[1], (long long)size[2],
           i / 2 % 2 ? "_nobias" : "", i % 2 ? "_relu" : "", suffixes[dtype]);
    }
  static const mha_shape mha[] = {
      {.b = 2, .lq = 33, .model = 80, .heads = 2, .options = {.causal = HEED_CAUSAL_TOP_LEFT}},
      {.b = 2, .lq = 17, .lk = 41, .model = 120, .heads = 3, .kv_heads = 1, .cross = true},
      {.b = 1, .lq = 130, .model = 160, .heads = 4},
  };
  for (size_t i = 0; i < sizeof mha / sizeof *mha; ++i) {
    heed_case *c = append(t, &case_mha, HEED_F32, 0);
    if (!c) return;
    c->u.mha = mha[i];
    NAME(c, "mha_b%lldq%lldm%lldh%lld", (long long)mha[i].b, (long long)mha[i].lq, (long long)mha[i].model,
         (long long)mha[i].heads);
  }
  static const mlp_shape mlp[] = {
      {3, {5, 2}, 2}, {33, {19, 64, 33, 7}, 4}, {64, {784, 512, 10}, 3}, {31, {784, 512, 10}, 3}};
  for (size_t i = 0; i < sizeof mlp / sizeof *mlp; ++i) {
    heed_case *c = append(t, &case_mlp, HEED_F32, 0);
    if (!c) return;
    c->u.mlp = mlp[i];
    NAME(c, "mlp_b%lld_%lld_%lld", (long long)mlp[i].batch, (long long)mlp[i].sizes[0], (long long)mlp[i].sizes[1]);
  }
}

// ---------------------------------------------------------------- rows and elements

static void softmax_cases(table *t) {
  static const rows_shape shapes[] = {
      {2, {4, 1}, -1, false, CASE_NORMAL},         {2, {7, 33}, -1, false, CASE_NORMAL},
      {2, {33, 5}, 0, false, CASE_NORMAL},         {3, {3, 17, 4}, 1, false, CASE_NORMAL},
      {2, {2, 20011}, -1, false, CASE_NORMAL},     {2, {9, 1000}, -1, false, CASE_HUGE},
      {2, {5, 63}, -1, false, CASE_SAME},          {2, {5, 257}, -1, false, CASE_OUTLIER},
      {4, {2, 3, 64, 65}, -1, false, CASE_NORMAL}, {3, {2, 129, 31}, 1, false, CASE_HUGE},
      {2, {9, 63}, -1, false, CASE_DENORMAL},      {1, {127}, 0, false, CASE_NORMAL},
      {2, {3, 4096}, -1, false, CASE_NORMAL},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int log = 0; log < 2; ++log)
      for (int dtype = 0; dtype < 3; ++dtype) {
        // Rows shorter than a vector have programs of their own, of which --quick has softmax's.
        const bool is_short = shapes[i].dims[shapes[i].rank - 1] < 8;
        heed_case *c = append(t, &case_softmax, floats[dtype], dtype || (log && is_short) ? 1 : 0);
        if (!c) return;
        c->u.rows = shapes[i];
        c->u.rows.log = log;
        NAME(c, "%ssoftmax_%zu_axis%d_%lldx%lld%s", log ? "log_" : "", i, shapes[i].axis, (long long)shapes[i].dims[0],
             (long long)shapes[i].dims[1], suffixes[dtype]);
      }
}

static void loss_cases(table *t) {
  static const loss_shape shapes[] = {
      {64, 10, {0}, HEED_I64, CASE_NORMAL},
      {31, 10, {0}, HEED_U8, CASE_NORMAL},
      {9, 33, {.reduction = HEED_REDUCTION_SUM}, HEED_I64, CASE_NORMAL},
      {9, 33, {.reduction = HEED_REDUCTION_NONE}, HEED_I64, CASE_NORMAL},
      {31, 100, {.label_smoothing = 0.1}, HEED_I64, CASE_NORMAL},
      {31, 10, {.has_ignore_index = true, .ignore_index = -100}, HEED_I64, CASE_NORMAL},
      {31, 10, {.has_ignore_index = true, .ignore_index = 3, .label_smoothing = 0.2}, HEED_I64, CASE_NORMAL},
      {16, 5000, {0}, HEED_I64, CASE_HUGE},
      {16, 21, {0}, HEED_F32, CASE_NORMAL},
      {16, 21, {.label_smoothing = 0.3, .reduction = HEED_REDUCTION_NONE}, HEED_F32, CASE_NORMAL},
      {12, 10, {.from_probs = true}, HEED_F32, CASE_NORMAL},
      {1, 1, {0}, HEED_I64, CASE_NORMAL},
      {1025, 17, {0}, HEED_U8, CASE_NORMAL},
      {3300, 10, {0}, HEED_U8, CASE_NORMAL},
      {77, 64, {.reduction = HEED_REDUCTION_SUM, .label_smoothing = 0.1}, HEED_I64, CASE_HUGE},
      // A dtype of targets is a program of its own: these wait a level.
      {64, 10, {0}, HEED_I32, CASE_NORMAL},
      {1025, 17, {0}, HEED_I32, CASE_NORMAL},
      {9, 33, {.reduction = HEED_REDUCTION_NONE}, HEED_I32, CASE_NORMAL},
      {77, 64, {.reduction = HEED_REDUCTION_SUM, .label_smoothing = 0.1}, HEED_U8, CASE_HUGE},
  };
  static const size_t core = sizeof shapes / sizeof *shapes - 4;
  static const case_family *const families[] = {&case_cross_entropy, &case_cross_entropy_both};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int both = 0; both < 2; ++both)
      for (int dtype = 0; dtype < 3; ++dtype) {
        heed_case *c = append(t, families[both], floats[dtype], dtype || i >= core ? 1 : 0);
        if (!c) return;
        c->u.loss = shapes[i];
        if (heed_dtype_is_float(shapes[i].target)) c->u.loss.target = floats[dtype];
        NAME(c, "%s_%zu_%lldx%lld%s", families[both]->op, i, (long long)shapes[i].n, (long long)shapes[i].c,
             suffixes[dtype]);
      }
}

static void add_rows(table *t, const case_family *family, const char *what, rows_shape s, int dtype, int form,
                     int level) {
  heed_case *c = append(t, family, floats[dtype], level);
  if (!c) return;
  c->u.rows = s;
  c->form = form;
  NAME(c, "%s_%lldx%lld_%d%s", what, (long long)s.dims[0], (long long)s.dims[1], form, suffixes[dtype]);
}

static void element_cases(table *t) {
  static const int64_t sizes[][2] = {{1, 1}, {3, 5}, {17, 31}, {64, 129}, {1, 4097}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    const rows_shape s = {2, {sizes[i][0], sizes[i][1]}, 0, false, CASE_NORMAL};
    for (int dtype = 0; dtype < 3; ++dtype) {
      const int level = dtype ? 1 : 0;
      add_rows(t, &case_relu, "relu", s, dtype, 0, level);
      add_rows(t, &case_gelu, "gelu_erf", s, dtype, HEED_GELU_ERF, i ? level : 1);
      add_rows(t, &case_gelu, "gelu_tanh", s, dtype, HEED_GELU_TANH, level);
      add_rows(t, &case_add, "add", s, dtype, 0, level);
      add_rows(t, &case_fill_op, "fill", s, dtype, 0, level);
      add_rows(t, &case_argmax, "argmax", s, dtype, 0, level);
      // Each dtype copied to is a program: three of them in --quick.
      for (int to = 0; to < HEED_DTYPE_COUNT; ++to) {
        const bool core = i == 2 && (to == HEED_F32 || to == HEED_F16 || to == HEED_I32);
        add_rows(t, &case_copy, "copy", s, dtype, to, core ? level : 1);
      }
      rows_shape g = s;
      g.rank = 3;
      g.dims[2] = 2 * s.dims[0] + 1;
      add_rows(t, &case_gather, "gather", g, dtype, HEED_U8, i ? level : 1);
      add_rows(t, &case_gather, "gather", g, dtype, floats[dtype], level);
    }
  }
  add_rows(t, &case_gelu, "gelu_erf_huge", (rows_shape){2, {9, 77}, 0, false, CASE_HUGE}, 0, HEED_GELU_ERF, 0);
  add_rows(t, &case_gelu, "gelu_tanh_huge", (rows_shape){2, {9, 77}, 0, false, CASE_HUGE}, 0, HEED_GELU_TANH, 0);
}

static void update_cases(table *t) {
  static const heed_sgd_options options[] = {
      {.lr = 0.1},
      {.lr = 0.01, .momentum = 0.5},
      {.lr = 0.01, .momentum = 0.5, .first = true},
      {.lr = 0.05, .momentum = 0.9, .dampening = 0.3},
      {.lr = 0.05, .momentum = 0.9, .nesterov = true, .weight_decay = 0.001},
  };
  for (size_t i = 0; i < sizeof options / sizeof *options; ++i)
    for (int dtype = 0; dtype < 3; ++dtype) {
      heed_case *c = append(t, &case_sgd, floats[dtype], dtype ? 1 : 0);
      if (!c) return;
      c->u.update = (update_shape){.n = 1001, .sgd = options[i]};
      NAME(c, "sgd_%zu%s", i, suffixes[dtype]);
    }
  heed_case *c = append(t, &case_sqrt_sgd, HEED_F32, 0);
  if (!c) return;
  c->u.update = (update_shape){.n = 37, .sqrt = {.lr = 0.001, .epochs = 3000, .tolerance = 0}};
  NAME(c, "sqrt_sgd_37");
}

heed_status case_table(heed_case **out, size_t *count) {
  table t = {0};
  attention_cases(&t);
  gemm_cases(&t);
  module_cases(&t);
  softmax_cases(&t);
  loss_cases(&t);
  element_cases(&t);
  update_cases(&t);
  *out = t.cases;
  *count = t.count;
  if (!t.failed) return HEED_OK;
  free(t.cases);
  *out = NULL;
  *count = 0;
  return HEED_ERROR_OUT_OF_MEMORY;
}
