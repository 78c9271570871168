// The shapes of attention cases: every kind of mask and every option, and sizes at the edges of vectors and tiles.
#include <stdio.h>
#include <string.h>

#include "cases/attention.h"

static void add_attention(case_list *list, const char *what, attention_shape s, int dtype, int level) {
  heed_case *c = case_append(list, &attention_family, case_floats[dtype], level);
  if (!c) return;
  if (s.hkv == 0) s.hkv = s.hq;
  if (s.dv == 0) s.dv = s.d;
  c->u.attention = s;
  CASE_NAME(c, "%s_b%lldh%lldk%lldq%llds%lldd%lldv%lld%s", what, (long long)s.b, (long long)s.hq, (long long)s.hkv,
            (long long)s.lq, (long long)s.lk, (long long)s.d, (long long)s.dv, case_suffixes[dtype]);
}

#define SOFTCAP_DROPOUT .softcap = 5, .dropout = 0.3, .seed = 42
#define CAUSAL .options = {.causal = HEED_CAUSAL_TOP_LEFT}

// AUTO takes the staged path only if no other path can do the call, so cases of attention also ask for it by name: these in every run, the
// others one level later.
static bool is_staged_core(const char *name) {
  static const char *const core[] = {"mask_square", "bias_softcap_dropout", "kv_lengths_causal"};
  for (size_t i = 0; i < sizeof core / sizeof *core; ++i)
    if (strcmp(name, core[i]) == 0) return true;
  return false;
}

// Options with a program of their own, which takes a CPU's compiler seconds. --quick has them together, in bias_softcap_dropout and similar
// cases; alone they come one level later.
static bool is_alone(const attention_shape *s) {
  const bool added = s->mask >= CASE_MASK_FLOAT;
  return (added || s->options.softcap > 0 || s->options.dropout > 0) &&
         !(added && s->options.softcap > 0 && s->options.dropout > 0);
}

static void attention_options(case_list *list, int dtype, int level) {
  // 40 columns end inside a vector of 16, and between the two vectors of 8 that form a tile.
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
    add_attention(list, variants[i].name, s, dtype, own);
    char name[48];
    snprintf(name, sizeof name, "staged_%s", variants[i].name);
    s.options.path = HEED_PATH_STAGED;
    add_attention(list, name, s, dtype, is_staged_core(variants[i].name) ? own : own + 1);
  }
}

// The weights of each step before the softmax.
static void attention_steps(case_list *list, int dtype) {
  static const char *const names[] = {"weights_raw", "weights_softcap", "weights_masked"};
  for (int step = 0; step < 3; ++step) {
    attention_shape s = {.b = 2, .hq = 4, .hkv = 2, .lq = 35, .lk = 67, .d = 40, .weights = true, .kv_lengths = true};
    s.options = (heed_attention_options){
        .causal = HEED_CAUSAL_TOP_LEFT, .softcap = 5, .weights = (heed_attention_weights)(HEED_WEIGHTS_RAW + step)};
    if (step == 2) s.mask = CASE_MASK_NEGINF;
    add_attention(list, names[step], s, dtype, dtype ? 1 : 0);
  }
}

// Scores of a deviation that leaves rows with a few keys of any weight: what gradients are made of cancels there. Lengths of 2 and 3
// would leave so little of a gradient that a bound relative to it says nothing: tests/test_attention_sharp.c has them.
static void sharp_attention(case_list *list, int dtype) {
  static const int64_t lengths[] = {1, 8, 17, 33, 64};
  static const double deviations[] = {1, 3, 10, 30, 100};
  for (size_t l = 0; l < sizeof lengths / sizeof *lengths; ++l)
    for (size_t d = 0; d < sizeof deviations / sizeof *deviations; ++d)
      for (int path = HEED_PATH_STAGED; path <= HEED_PATH_FUSED; ++path) {
        attention_shape s = {.b = 4, .hq = 4, .lq = lengths[l], .lk = lengths[l], .d = 40, .scale = deviations[d]};
        char name[48];
        s.options.path = (heed_attention_path)path;
        snprintf(name, sizeof name, "%ssharp%g", path == HEED_PATH_STAGED ? "staged_" : "", deviations[d]);
        add_attention(list, name, s, dtype, 1);
      }
}

void attention_cases(case_list *list) {
  attention_options(list, 0, 0);
  attention_options(list, 1, 1);
  attention_options(list, 2, 1);
  // Lengths and widths at the edges of vectors and tiles.
  static const int64_t edges[] = {1,  2,  7,  8,  9,  11, 12, 13,  15,  16,  17,  31,  32,
                                  33, 63, 64, 65, 95, 96, 97, 127, 128, 129, 255, 256, 257};
  const size_t count = sizeof edges / sizeof *edges;
  for (size_t i = 0; i < count; ++i) {
    const int64_t l = edges[i], other = edges[(i * 7 + 3) % count];
    add_attention(list, "length", (attention_shape){.b = 1, .hq = 2, .lq = l, .lk = other, .d = 40}, 0, i % 4 ? 1 : 0);
    add_attention(list, "length_causal", (attention_shape){.b = 1, .hq = 2, .lq = l, .lk = l, .d = 40, CAUSAL}, 0,
                  i % 4 ? 1 : 0);
    add_attention(list, "length_mask",
                  (attention_shape){.b = 1, .hq = 2, .lq = l, .lk = other, .d = 40, .mask = CASE_MASK_SQUARE}, 0,
                  i % 4 || l == 1 ? 1 : 0);
    add_attention(list, "width", (attention_shape){.b = 1, .hq = 2, .lq = 19, .lk = 37, .d = l, .dv = other, CAUSAL}, 0,
                  i % 6 ? 2 : 1);
  }
  for (int dtype = 0; dtype < 3; ++dtype) {
    attention_steps(list, dtype);
    sharp_attention(list, dtype);
    add_attention(list, "wide_value", (attention_shape){.b = 2, .hq = 2, .lq = 35, .lk = 67, .d = 32, .dv = 72}, dtype,
                  1);
    add_attention(list, "decode", (attention_shape){.b = 2, .hq = 8, .hkv = 2, .lq = 1, .lk = 700, .d = 64}, dtype, 1);
    if (dtype) {  // what tensor cores can do, with one row less than a tile, and one more
      add_attention(list, "warps", (attention_shape){.b = 2, .hq = 4, .hkv = 2, .lq = 65, .lk = 129, .d = 64, CAUSAL},
                    dtype, 1);
      add_attention(list, "warps", (attention_shape){.b = 1, .hq = 2, .hkv = 1, .lq = 63, .lk = 65, .d = 128}, dtype,
                    1);
    }
    add_attention(list, "long", (attention_shape){.b = 1, .hq = 2, .lq = 520, .lk = 520, .d = 64, CAUSAL}, dtype, 1);
  }
  add_attention(list, "huge_head", (attention_shape){.b = 1, .hq = 1, .lq = 9, .lk = 21, .d = 512}, 0, 2);
  add_attention(list, "longer", (attention_shape){.b = 1, .hq = 2, .lq = 2048, .lk = 2048, .d = 64, CAUSAL}, 0, 2);
  for (int path = HEED_PATH_STAGED; path <= HEED_PATH_FUSED; ++path) {
    attention_shape s = {.b = 2, .hq = 4, .hkv = 2, .lq = 65, .lk = 127, .d = 40};
    s.options.path = (heed_attention_path)path;
    s.options.causal = HEED_CAUSAL_TOP_LEFT;
    add_attention(list, path == HEED_PATH_STAGED ? "path_staged" : "path_fused", s, 0, 0);
  }
}

void attention_tiny(case_list *list) {
  static const struct {
    const char *name;
    attention_shape s;
  } tiny[] = {
      {"masked",
       {.lq = 5,
        .lk = 7,
        .options = {.path = HEED_PATH_FUSED, .causal = HEED_CAUSAL_TOP_LEFT},
        .mask = CASE_MASK_SQUARE}},
      {"dropped", {.lq = 5, .lk = 7, .options = {.path = HEED_PATH_FUSED, SOFTCAP_DROPOUT}, .kv_lengths = true}},
      {"decode", {.lq = 1, .lk = 40, .options = {.path = HEED_PATH_FUSED}}},
      {"staged",
       {.lq = 5,
        .lk = 7,
        .options = {.path = HEED_PATH_STAGED, .causal = HEED_CAUSAL_BOTTOM_RIGHT, .dropout = 0.25},
        .mask = CASE_MASK_FLOAT,
        .mask_grad = true,
        .weights = true}},
      {"staged_lengths",
       {.lq = 5,
        .lk = 7,
        .options = {.path = HEED_PATH_STAGED, .softcap = 3},
        .mask = CASE_MASK_SQUARE,
        .kv_lengths = true}},
      {"staged_raw",
       {.lq = 5, .lk = 7, .options = {.path = HEED_PATH_STAGED, .weights = HEED_WEIGHTS_RAW}, .weights = true}},
  };
  for (size_t i = 0; i < sizeof tiny / sizeof *tiny; ++i) {
    attention_shape s = tiny[i].s;
    s.b = 1, s.hq = 2, s.hkv = 1, s.d = 4;
    add_attention(list, tiny[i].name, s, 0, 0);
  }
}
