// The classes that `heed tune` goes through, the most important first, because a time budget may end before the list does.
#include <inttypes.h>
#include <stdio.h>

#include "tune/tune.h"

// A training step of a transformer and of a perceptron, and square products of three sizes. NT is a linear layer's forward, NN the
// gradient of its input, TN that of its weight.
const tune_class tune_classes[] = {
    {HEED_TUNE_ATTENTION_FWD, .causal = true, .first = {64, 1024, 1024, 16}, .second = {48, 700, 700, 8}},
    {HEED_TUNE_GEMM, .tb = true, .first = {4096, 512, 512, 1}, .second = {5000, 300, 900, 1}},
    {HEED_TUNE_ATTENTION_BWD, .causal = true, .first = {64, 1024, 1024, 16}, .second = {48, 700, 700, 8}},
    {HEED_TUNE_GEMM, .first = {4096, 512, 512, 1}, .second = {5000, 300, 900, 1}},
    {HEED_TUNE_GEMM, .ta = true, .first = {512, 512, 4096, 1}, .second = {300, 900, 5000, 1}},
    {HEED_TUNE_GEMM, .first = {1536, 1536, 1536, 1}, .second = {1030, 2000, 1100, 1}},
    {HEED_TUNE_GEMM, .tb = true, .first = {64, 512, 784, 1}, .second = {200, 300, 400, 1}},
    {HEED_TUNE_GEMM, .ta = true, .first = {512, 784, 64, 1}, .second = {300, 400, 200, 1}},
    {HEED_TUNE_ATTENTION_FWD, .first = {64, 1024, 1024, 16}, .second = {48, 700, 700, 8}},
    {HEED_TUNE_ATTENTION_BWD, .first = {64, 1024, 1024, 16}, .second = {48, 700, 700, 8}},
    {HEED_TUNE_GEMM, .tb = true, .first = {1536, 1536, 1536, 1}, .second = {1030, 2000, 1100, 1}},
    {HEED_TUNE_GEMM, .ta = true, .first = {1536, 1536, 1536, 1}, .second = {1030, 2000, 1100, 1}},
    {HEED_TUNE_GEMM, .first = {512, 512, 512, 1}, .second = {260, 900, 400, 1}},
    {HEED_TUNE_GEMM, .tb = true, .first = {512, 512, 512, 1}, .second = {260, 900, 400, 1}},
    {HEED_TUNE_GEMM, .ta = true, .first = {512, 512, 512, 1}, .second = {260, 900, 400, 1}},
    {HEED_TUNE_GEMM, .tb = true, .first = {8, 1024, 1024, 1}, .second = {1, 4000, 1030, 1}},
    {HEED_TUNE_GEMM, .first = {256, 256, 64, 32}, .second = {300, 1000, 100, 8}},
    {HEED_TUNE_GEMM, .tb = true, .first = {1024, 10, 512, 1}, .second = {2000, 7, 300, 1}},
    {HEED_TUNE_ATTENTION_FWD, .causal = true, .first = {128, 1024, 1024, 8}, .second = {96, 700, 700, 8}},
    {HEED_TUNE_ATTENTION_BWD, .causal = true, .first = {128, 1024, 1024, 8}, .second = {96, 700, 700, 8}},
};
const size_t tune_class_count = sizeof tune_classes / sizeof *tune_classes;

heed_tune_problem tune_problem(const tune_class *class, const int64_t *sizes) {
  heed_tune_problem problem = {
      .op = class->op, .dtype = HEED_F32, .trans_a = class->ta, .trans_b = class->tb, .causal = class->causal};
  for (int i = 0; i < HEED_TUNE_SIZES; ++i) problem.sizes[i] = sizes[i];
  return problem;
}

heed_case tune_case(const tune_class *class, const int64_t *sizes) {
  heed_case c = {.name = "tune", .dtype = HEED_F32};
  if (class->op == HEED_TUNE_GEMM) {
    c.family = &gemm_family;
    c.u.gemm = (gemm_shape){
        .m = sizes[0], .n = sizes[1], .k = sizes[2], .batch = sizes[3], .ta = class->ta, .tb = class->tb, .alpha = 1};
    return c;
  }
  const int64_t heads = sizes[3] % 8 ? sizes[3] : 8;
  c.family = &attention_family;
  c.phase = class->op == HEED_TUNE_ATTENTION_BWD ? CASE_BACKWARD : CASE_FORWARD;
  c.u.attention = (attention_shape){.b = sizes[3] / heads,
                                    .hq = heads,
                                    .hkv = heads,
                                    .lq = sizes[1],
                                    .lk = sizes[2],
                                    .d = sizes[0],
                                    .dv = sizes[0],
                                    .options = {.causal = class->causal ? HEED_CAUSAL_TOP_LEFT : HEED_CAUSAL_NONE}};
  return c;
}

// Sizes that end in the middle of every tile; the host takes some milliseconds for them. They have no mask, because it would need another
// program, and programs of attention take a CPU's driver seconds to compile.
heed_case tune_small_case(const tune_class *class) {
  heed_case c = tune_case(class, class->first);
  if (class->op == HEED_TUNE_GEMM) {
    c.u.gemm = (gemm_shape){
        .m = 61, .n = 203, .k = 301, .batch = 2, .ta = class->ta, .tb = class->tb, .alpha = 0.5, .beta = 2};
    return c;
  }
  attention_shape *s = &c.u.attention;
  if (c.phase == CASE_BACKWARD) c.phase = CASE_BOTH;
  s->b = 1;
  s->hq = 2;
  s->hkv = 1;
  s->lq = 197;
  s->lk = 331;
  return c;
}

const char *tune_name(const tune_class *class, char *text) {
  const int64_t *s = class->first;
  if (class->op == HEED_TUNE_GEMM)
    snprintf(text, TUNE_NAME, "gemm %" PRId64 "x%" PRId64 "x%" PRId64 " %c%c%s", s[0], s[1], s[2],
             class->ta ? 'T' : 'N', class->tb ? 'T' : 'N', s[3] > 1 ? " batched" : "");
  else
    snprintf(text, TUNE_NAME, "attention %" PRId64 " heads L%" PRId64 " D%" PRId64 "%s%s", s[3], s[1], s[0],
             class->causal ? " causal" : "", class->op == HEED_TUNE_ATTENTION_BWD ? " bwd" : "");
  return text;
}
