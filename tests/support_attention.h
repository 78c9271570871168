// One attention problem with its tensors, for tests that run it in several ways. Tensors belong to the running test.
#ifndef SUPPORT_ATTENTION_H
#define SUPPORT_ATTENTION_H

#include "support_values.h"

struct attention {
  heed_attention_inputs in;
  heed_attention_options options;
  heed_tensor *out, *lse, *weights;  // weights: NULL unless the test puts it there
  const heed_tensor *dout;
  heed_attention_grads grads;
};

// Random F32 q, k, v and dout, and memory for results and gradients. Value width is dim.
struct attention attention_make(heed_context *ctx, int64_t batch, int64_t heads, int64_t kv_heads, int64_t queries,
                                int64_t keys, int64_t dim);
// The same inputs with memory of its own for results, so that two can be compared.
struct attention attention_again(const struct attention *a);
void attention_add_weights(struct attention *a);
void attention_forward(const struct attention *a);
void attention_run(const struct attention *a);  // forward and backward
// out, lse and every gradient that both have.
#define ASSERT_ATTENTION_AGREES(a, b, tolerance) attention_assert_agree((a), (b), (tolerance), __FILE__, __LINE__)
void attention_assert_agree(const struct attention *a, const struct attention *b, double tolerance, const char *file,
                            int line);
#define ASSERT_ATTENTION_SAME_BITS(a, b) attention_assert_same_bits((a), (b), __FILE__, __LINE__)
void attention_assert_same_bits(const struct attention *a, const struct attention *b, const char *file, int line);

// A mask of BOOL, true where allowed() says so; every index is given, whatever the rank.
typedef bool (*attention_rule)(int64_t b, int64_t h, int64_t i, int64_t j);
heed_tensor *attention_mask(heed_context *ctx, int rank, const int64_t *dims, attention_rule allowed);
// The same as a float mask: 0 where allowed, else −inf.
heed_tensor *attention_float_mask(heed_context *ctx, int rank, const int64_t *dims, attention_rule allowed);

// The paths that a test without weights takes in turn.
extern const heed_attention_path attention_paths[2];

#endif
