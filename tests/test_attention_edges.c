// Attention where tiles end: one row, key and column less and more than every tile size holds, under masks of every rank, agrees with
// the host. The kernels for CPUs and the staged ones; with HEED_TEST_LONG=1 more widths, and the kernels for GPUs on whatever device
// there is (a width is a program to compile, which takes a CPU's compiler long).
#include <stdio.h>
#include <stdlib.h>

#include "cl/attention/fused_cpu.h"
#include "cl/attention/staged.h"
#include "support_attention.h"

enum { MOST_SIZES = 64 };
struct sizes {
  int64_t values[MOST_SIZES];
  size_t count;
};

static bool is_long(void) {
  const char *text = getenv("HEED_TEST_LONG");
  return text && strcmp(text, "1") == 0;
}

// tile − 1, tile, tile + 1.
static void add_edges(struct sizes *s, int64_t tile) {
  for (int64_t size = tile - 1; size <= tile + 1; ++size) {
    bool known = size < 1;
    for (size_t i = 0; i < s->count; ++i) known |= s->values[i] == size;
    if (!known && s->count < MOST_SIZES) s->values[s->count++] = size;
  }
}

static bool is_attended(int64_t b, int64_t h, int64_t i, int64_t j) {
  return (7 * b + 3 * h + 5 * i + 11 * j + i * j) % 5 != 0;
}

// A mask of this rank, of whole axes; 0 for none.
static heed_tensor *mask_of(const struct attention *a, int rank) {
  if (rank == 0) return NULL;
  const int64_t *q = heed_tensor_dims(a->in.q);
  const int64_t full[4] = {q[0], q[1], q[2], heed_tensor_dim(a->in.k, 2)};
  return attention_mask(heed_tensor_context(a->in.q), rank, full + 4 - rank, is_attended);
}

static struct attention make(heed_context *ctx, int64_t queries, int64_t keys, int64_t dim, int rank, bool causal,
                             heed_attention_path path) {
  struct attention a = attention_make(ctx, 1, 2, 1, queries, keys, dim);
  a.options = (heed_attention_options){.path = path, .causal = causal ? HEED_CAUSAL_BOTTOM_RIGHT : HEED_CAUSAL_NONE};
  a.in.mask = mask_of(&a, rank);
  return a;
}

static void compare(heed_context *device, int64_t queries, int64_t keys, int64_t dim, int rank,
                    heed_attention_path path) {
  // Every third call is causal as well, which cuts tiles on the diagonal.
  const bool causal = (queries + keys + rank) % 3 == 0;
  const struct attention expected = make(support_other(), queries, keys, dim, rank, causal, HEED_PATH_AUTO);
  const struct attention actual = make(device, queries, keys, dim, rank, causal, path);
  attention_run(&expected);
  attention_run(&actual);
  char place[96];
  snprintf(place, sizeof place, "Lq %lld Lk %lld D %lld mask rank %d%s", (long long)queries, (long long)keys,
           (long long)dim, rank, causal ? " causal" : "");
  attention_assert_agree(&actual, &expected, 2e-5, place, __LINE__);
  support_release(NULL);
}

// Queries and keys in all pairs; ranks in turn, and all of them where both end on an edge of the same kind.
static void compare_all(heed_context *device, const struct sizes *queries, const struct sizes *keys, int64_t dim,
                        heed_attention_path path) {
  for (size_t i = 0; i < queries->count; ++i)
    for (size_t j = 0; j < keys->count; ++j)
      for (int rank = 0; rank <= 4; ++rank)
        if (i == j || (i + j) % 5 == (size_t)rank)
          compare(device, queries->values[i], keys->values[j], dim, rank, path);
}

static void widths_of(struct sizes *widths, int64_t vector) {
  if (is_long()) add_edges(widths, 2 * vector);
  if (is_long()) add_edges(widths, vector);
  if (widths->count == 0) widths->values[widths->count++] = vector + 1;
}

static void tiles_for_cpus(void **state) {
  heed_context *device = support_context(state);
  if (!heed__cl_state(device)->traits.cpu_like) skip();
  struct sizes queries = {.count = 0}, keys = {.count = 0}, widths = {.count = 0};
  for (int backward = 0; backward < 2; ++backward) {
    const struct heed__attention_params params = {.scale = 1};
    const struct heed__cl_attention a = {.params = &params,
                                         .batch = 1,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .group = 2,
                                         .queries = 100,
                                         .keys = 100,
                                         .dim = 9,
                                         .value_dim = 9,
                                         .backward = backward};
    struct heed__cl_attention_fused_cpu plan;
    heed__cl_attention_fused_cpu_plan(device, &a, NULL, &plan);
    add_edges(&queries, plan.tile_rows);
    add_edges(&queries, plan.query_block);
    add_edges(&keys, 2 * plan.vector);
    add_edges(&keys, plan.key_block);
    if (!backward) widths_of(&widths, plan.vector);
  }
  for (size_t i = 0; i < widths.count; ++i) compare_all(device, &queries, &keys, widths.values[i], HEED_PATH_FUSED);
}

// Register tiles are 4 to 12 rows high, panels 2 vectors wide, and both products are summed in blocks of 16.
static void staged_tiles(void **state) {
  heed_context *device = support_context(state);
  struct sizes queries = {.count = 0}, keys = {.count = 0}, widths = {.count = 0};
  static const int64_t edges[] = {4, 6, 8, 12, 16, 32};
  for (size_t i = 0; i < sizeof edges / sizeof *edges; ++i) {
    if (edges[i] % 8 != 0) add_edges(&queries, edges[i]);
    if (edges[i] % 8 == 0) add_edges(&keys, edges[i]);
    add_edges(&widths, edges[i] == 16 || edges[i] == 32 ? edges[i] : 8);
  }
  // Here a width is no program of its own.
  for (size_t i = 0; i < widths.count; ++i) {
    if (!is_long() && i % 4 != 0) continue;
    compare_all(device, &queries, &keys, widths.values[i], HEED_PATH_STAGED);
  }
}

// 0: not even one tile of rows fits.
static int64_t chunk_rows(const struct attention *t, bool backward) {
  const struct heed__attention_params params = {.scale = 1};
  const int64_t *q = heed_tensor_dims(t->in.q);
  struct heed__cl_attention a = {.params = &params,
                                 .backward = backward,
                                 .q = t->in.q,
                                 .batch = q[0],
                                 .heads = q[1],
                                 .kv_heads = heed_tensor_dim(t->in.k, 1),
                                 .group = q[1] / heed_tensor_dim(t->in.k, 1),
                                 .queries = q[2],
                                 .keys = heed_tensor_dim(t->in.k, 2),
                                 .dim = q[3],
                                 .value_dim = q[3]};
  if (backward) a.dq = a.dk = a.dv = t->out;
  struct heed__cl_attention_staged plan;
  heed__cl_attention_staged_plan(heed_tensor_context(t->in.q), &a, &plan);
  return plan.needed <= plan.available ? plan.chunk_rows : 0;
}

// Little more than one tile takes.
static void limit_memory(const struct attention *t, bool backward) {
  struct heed__cl_traits *traits = &heed__cl_state(heed_tensor_context(t->in.q))->traits;
  for (traits->max_allocation = 16384; chunk_rows(t, backward) == 0;) traits->max_allocation += 8192;
  assert_in_range(chunk_rows(t, backward), 1, heed_tensor_dim(t->in.q, 2) - 1);
}

// Where the scores of one head fit in no buffer, some of its rows are worked on at a time, and gradients of keys add up over them.
static void staged_chunks_of_rows(void **state) {
  heed_context *device = support_context(state);
  struct heed__cl_traits *traits = &heed__cl_state(device)->traits;
  const uint64_t whole = traits->max_allocation;
  struct attention all = make(device, 100, 130, 17, 4, true, HEED_PATH_STAGED);
  all.options.dropout = 0.25;
  struct attention cut = attention_again(&all);
  assert_int_equal(chunk_rows(&all, true), 100);
  attention_run(&all);
  limit_memory(&cut, false);
  attention_forward(&cut);
  limit_memory(&cut, true);
  ASSERT_OK(heed_attention_bwd(&cut.in, &cut.options, cut.out, cut.lse, cut.dout, &cut.grads));
  traits->max_allocation = whole;
  ASSERT_ATTENTION_AGREES(&cut, &all, 2e-5);
}

// Work-groups take 64 queries and 64 keys where local memory allows, and 32 or 16 where not.
static void tiles_for_gpus(void **state) {
  heed_context *device = support_context(state);
  if (!is_long()) skip();  // test_attention_gpu has the edges of one width
  struct heed__cl_traits *traits = &heed__cl_state(device)->traits;
  const struct heed__cl_traits real = *traits;
  static const uint64_t local_memories[] = {49152, 16384};
  static const int64_t tiles[] = {16, 32, 64}, dims[] = {31, 32, 33};
  struct sizes sizes = {.count = 0};
  for (size_t i = 0; i < sizeof tiles / sizeof *tiles; ++i) add_edges(&sizes, tiles[i]);
  for (size_t m = 0; m < sizeof local_memories / sizeof *local_memories; ++m)
    for (size_t i = 0; i < sizeof dims / sizeof *dims; ++i) {
      traits->cpu_like = false;
      traits->vector_width = 1;
      traits->local_memory = heed__min(real.local_memory, local_memories[m]);
      compare_all(device, &sizes, &sizes, dims[i], HEED_PATH_FUSED);
      *traits = real;
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {TEST(tiles_for_cpus), TEST(staged_tiles), TEST(staged_chunks_of_rows),
                                     TEST(tiles_for_gpus)};
  return cmocka_run_group_tests_name("attention at the edges of tiles", tests, support_open_device, support_close);
}
