// Calls of attention drawn at random, for tests that run them on a device taken for a GPU and compare with the host.
#ifndef SUPPORT_DRAWS_H
#define SUPPORT_DRAWS_H

#include "support_devices.h"

enum mask_kind { MASK_NONE, MASK_BOOL, MASK_FLOAT };
// What keys and values hold where they are not attended.
enum hostile { NOWHERE, PAST_THE_LENGTHS, UNDER_THE_MASK };

struct draw {
  uint64_t seed;
  int64_t batch, kv_heads, group, queries, keys, dim, value_dim;
  heed_dtype dtype;
  enum mask_kind mask;
  int64_t mask_dims[4];
  bool decode;  // few queries
  bool lengths, wide_lengths, lengths_first;
  enum hostile hostile;
  float size;  // of q and k
  // What the device is taken for.
  size_t work_group;
  uint64_t local_memory;
  uint32_t compute_units;
  bool shuffle, few_registers;
  uint64_t max_allocation, memory_left;  // 0: its own
  bool in_five;                          // the backward, in five products of a tile
  heed_attention_options options;
};

enum { Q, K, V, MASK, LENGTHS, OUT, LSE, DOUT, DQ, DK, DV, TENSORS };
struct side {
  heed_context *ctx;
  heed_tensor *t[TENSORS], *storage[TENSORS];
};

// `family`: what kernels are built for follows from it.
struct draw draw_one(uint64_t seed, uint64_t family);
// Of that many rows and keys, with what cuts tiles short. bounds: 0 nothing, 1 and 2 causal, 3 a window.
struct draw draw_at_edges(uint64_t seed, int64_t queries, int64_t keys, int bounds);
void draw_side_create(const struct draw *d, heed_context *ctx, struct side *s);
void draw_side_destroy(struct side *s);
// Forward and backward, with the device taken for a GPU of the draw's kind.
heed_status draw_step_as_gpu(const struct draw *d, const struct side *s);
// Prints the draw if not.
bool draw_agrees_with_host(const struct draw *d, heed_context *device_ctx, heed_context *host_ctx);

#endif
