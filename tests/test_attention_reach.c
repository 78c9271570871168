// Which keys a query may attend by its position, at every edge of the rule: kinds of causal, windows, lengths, offsets, and queries and keys
// where tiles end. The rule of the kernels is compared with that of operators.h for each pair, and every way to do attention with the host.
#include <stdio.h>

#include "cl/attention/call.h"
#include "cl/attention/attention.h"
#include "support_attention.h"
#include "support_files.h"

static const int64_t windows[] = {-1, 0, 1, 3};
enum { CAUSALS = 3, WINDOWS = sizeof windows / sizeof *windows, KINDS = CAUSALS * WINDOWS * WINDOWS };

// The kinds of causal and windows in turn.
static void set_kind(int kind, heed_causal *causal, int64_t *left, int64_t *right) {
  *causal = (heed_causal)(kind % CAUSALS);
  *left = windows[kind / CAUSALS % WINDOWS];
  *right = windows[kind / CAUSALS / WINDOWS];
}

// ---------------------------------------------------------------- the rule

// For each row, its range; whether each pair of it and a key is attended; and the rows that a tile of two keys wants.
static const char probe[] =
    "#include \"attention/reach.cl\"\n"
    "__kernel void reach_probe(const struct heed__cl_attention_reach call, __global const int *kv_lengths,\n"
    "                          __global int *ranges, __global int *pairs_of_row, __global int *rows_of_tile) {\n"
    "  struct reach reach;\n"
    "  struct pairs pairs;\n"
    "  const int i = get_global_id(0), keys = call.keys;\n"
    "  reach_of(&call, kv_lengths, 1, &reach);\n"
    "  pairs_of(&reach, call.queries, &pairs);\n"
    "  if (i < call.queries) {\n"
    "    ranges[2 * i] = first_key(&reach, i);\n"
    "    ranges[2 * i + 1] = end_key(&reach, i);\n"
    "    for (int j = 0; j < keys; ++j) pairs_of_row[i * keys + j] = is_attended(pairs, i, j);\n"
    "  }\n"
    "  if (i < keys) {\n"
    "    rows_of_tile[2 * i] = first_row(&reach, i);\n"
    "    rows_of_tile[2 * i + 1] = end_row(&reach, i + 2, call.queries);\n"
    "  }\n"
    "}\n"
    "__kernel void numbers_probe(const struct heed__cl_attention_numbers call, __global long *found) {\n"
    "  found[0] = sizeof call;\n"
    "  found[1] = call.q.offset;\n"
    "  found[2] = call.mask_stride3;\n"
    "  found[3] = call.reach.corner;\n"
    "  found[4] = call.chunk_keys;\n"
    "  found[5] = (long)call.scale;\n"
    "  found[6] = call.seed_high;\n"
    "}\n";

// Keys lo <= j <= hi of row i, as operators.h has it.
static bool should_attend(const struct heed__cl_attention *a, const int32_t *length, int64_t i, int64_t j) {
  const struct heed__attention_params *p = a->params;
  const int64_t keys = length ? heed__max(heed__min(*length, a->keys), 0) : a->keys;
  const int64_t offset = length ? keys - a->queries : p->offset;
  int64_t hi = keys - 1, lo = 0;
  if (p->causal == HEED_CAUSAL_TOP_LEFT) hi = heed__min(hi, i + offset);
  if (p->causal == HEED_CAUSAL_BOTTOM_RIGHT) hi = heed__min(hi, i + a->keys - a->queries);
  if (p->window_right >= 0) hi = heed__min(hi, i + offset + p->window_right);
  if (p->window_left >= 0) lo = heed__max(lo, i + offset - p->window_left);
  return lo <= j && j <= hi;
}

enum { MOST = 16 };
struct found {
  int ranges[2 * MOST], pairs[MOST * MOST], rows[2 * MOST];
};

static struct found ask(heed_context *ctx, const struct heed__cl_attention *a) {
  const struct heed__cl_attention_reach reach = heed__cl_attention_reach(a);
  struct found found;
  struct heed__cl_kernel k;
  cl_mem ranges, pairs, rows;
  const size_t items = MOST;
  ASSERT_OK(heed__cl_scratch_take(ctx, sizeof found.ranges, &ranges));
  ASSERT_OK(heed__cl_scratch_take(ctx, sizeof found.pairs, &pairs));
  ASSERT_OK(heed__cl_scratch_take(ctx, sizeof found.rows, &rows));
  heed__cl_begin(&k, ctx, "probe.cl", "reach_probe");
  heed__cl_struct(&k, &reach, sizeof reach, HEED__REACH_LONGS);
  heed__cl_memory(&k, a->kv_lengths);
  heed__cl_buffer(&k, ranges);
  heed__cl_buffer(&k, pairs);
  heed__cl_buffer(&k, rows);
  ASSERT_OK(heed__cl_launch(&k, 1, &items, NULL));
  ASSERT_OK(heed__cl_download(ctx, ranges, 0, found.ranges, sizeof found.ranges));
  ASSERT_OK(heed__cl_download(ctx, pairs, 0, found.pairs, sizeof found.pairs));
  ASSERT_OK(heed__cl_download(ctx, rows, 0, found.rows, sizeof found.rows));
  heed__cl_scratch_give(ctx, ranges);
  heed__cl_scratch_give(ctx, pairs);
  heed__cl_scratch_give(ctx, rows);
  return found;
}

static void check_rule(heed_context *ctx, const struct heed__cl_attention *a, const int32_t *length) {
  const struct found found = ask(ctx, a);
  const struct heed__attention_params *p = a->params;
  for (int64_t i = 0; i < a->queries; ++i)
    for (int64_t j = 0; j < a->keys; ++j) {
      const bool expected = should_attend(a, length, i, j);
      const bool in_range = found.ranges[2 * i] <= j && j < found.ranges[2 * i + 1];
      const bool in_pairs = found.pairs[i * a->keys + j] != 0;
      // Key j is in the tiles that begin at j and at j - 1.
      const bool in_rows = found.rows[2 * j] <= i && i < found.rows[2 * j + 1];
      const bool in_rows_before = j == 0 || (found.rows[2 * j - 2] <= i && i < found.rows[2 * j - 1]);
      if (in_range != expected || in_pairs != expected || (expected && !(in_rows && in_rows_before)))
        fail_msg(
            "row %lld, key %lld of %lld x %lld, causal %d, window %lld:%lld, offset %lld, length %d: should be %d; "
            "range %d, pair %d, rows of a tile %d and %d",
            (long long)i, (long long)j, (long long)a->queries, (long long)a->keys, (int)p->causal,
            (long long)p->window_left, (long long)p->window_right, (long long)p->offset, length ? *length : -1,
            expected, in_range, in_pairs, in_rows, in_rows_before);
    }
}

static heed_context *open_with_probe(void **state) {
  char spec[96];
  heed_context *ctx = NULL;
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  support_write_file(support_path("probe.cl"), probe, sizeof probe - 1);
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = spec, .kernel_dir = support_folder(), .validate = -1}, &ctx));
  return ctx;
}

static void kernels_know_the_rule(void **state) {
  heed_context *ctx = open_with_probe(state);
  static const int64_t sizes[] = {1, 3, 4, 5, 9}, offsets[] = {0, 1, 5};
  static const int32_t lengths[] = {0, 1, 3, 4, 20};
  heed_tensor *kv_lengths[5];
  for (int n = 0; n < 5; ++n)
    ASSERT_OK(heed_tensor_create_from(ctx, HEED_I32, 1, (int64_t[]){2}, (int32_t[]){7, lengths[n]}, &kv_lengths[n]));
  for (int kind = 0; kind < KINDS; ++kind)
    for (int size = 0; size < 25; ++size)
      for (int n = 0; n < 8; ++n) {
        const int64_t queries = sizes[size % 5], keys = sizes[size / 5];
        struct heed__attention_params params = {.offset = n < 3 ? heed__min(offsets[n], keys) : 0};
        set_kind(kind, &params.causal, &params.window_left, &params.window_right);
        const struct heed__cl_attention a = {
            .params = &params, .kv_lengths = n < 3 ? NULL : kv_lengths[n - 3], .queries = queries, .keys = keys};
        check_rule(ctx, &a, n < 3 ? NULL : &lengths[n - 3]);
      }
  for (int n = 0; n < 5; ++n) heed_tensor_destroy(kv_lengths[n]);
  heed_context_destroy(ctx);
}

static void kernels_see_numbers_where_the_host_puts_them(void **state) {
  heed_context *ctx = open_with_probe(state);
  const struct heed__cl_attention_numbers numbers = {
      .q.offset = (cl_long)1 << 40, .mask_stride3 = 2, .reach.corner = 3, .chunk_keys = 4, .scale = 5, .seed_high = 6};
  const cl_long expected[] = {sizeof numbers, (cl_long)1 << 40, 2, 3, 4, 5, 6};
  cl_long found[7];
  struct heed__cl_kernel k;
  cl_mem memory;
  const size_t one = 1;
  ASSERT_OK(heed__cl_scratch_take(ctx, sizeof found, &memory));
  heed__cl_begin(&k, ctx, "probe.cl", "numbers_probe");
  heed__cl_struct(&k, &numbers, sizeof numbers, HEED__CALL_LONGS);
  heed__cl_buffer(&k, memory);
  assert_true(k.wide);  // an offset beyond 2^31 asks for wide indices
  ASSERT_OK(heed__cl_launch(&k, 1, &one, NULL));
  ASSERT_OK(heed__cl_download(ctx, memory, 0, found, sizeof found));
  heed__cl_scratch_give(ctx, memory);
  for (int i = 0; i < 7; ++i) assert_int_equal(found[i], expected[i]);
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- every way to do attention

enum limit { NONE, PAST, LENGTHS, LIMITS };

struct call {
  int64_t queries, keys, dim;
  int kind;
  enum limit limit;
  bool forward_only;
  heed_attention_path path;
};

static struct attention make(heed_context *ctx, const struct call *c) {
  struct attention a = attention_make(ctx, 2, 2, 1, c->queries, c->keys, c->dim);
  a.options = (heed_attention_options){.path = c->path, .has_window = true};
  set_kind(c->kind, &a.options.causal, &a.options.window_left, &a.options.window_right);
  if (c->limit == PAST) {
    a.in.past_k = support_random(ctx, HEED_F32, SHAPE(2, 1, 3, c->dim), 5);
    a.in.past_v = support_random(ctx, HEED_F32, SHAPE(2, 1, 3, c->dim), 6);
  }
  const int32_t lengths[] = {(int32_t)c->keys - 1, c->kind % 2 ? 1 : 0};
  if (c->limit == LENGTHS) a.in.kv_lengths = support_put(ctx, HEED_I32, SHAPE(2), lengths);
  return attention_again(&a);
}

static void compare(heed_context *device, const struct call *c, double tolerance) {
  const struct attention expected = make(support_other(), c), actual = make(device, c);
  char place[128];
  snprintf(place, sizeof place, "Lq %lld Lk %lld causal %d window %lld:%lld limit %d", (long long)c->queries,
           (long long)c->keys, (int)actual.options.causal, (long long)actual.options.window_left,
           (long long)actual.options.window_right, (int)c->limit);
  if (c->forward_only) {
    attention_forward(&expected);
    attention_forward(&actual);
    ASSERT_AGREE(actual.out, expected.out, tolerance);
    ASSERT_AGREE(actual.lse, expected.lse, tolerance);
  } else {
    attention_run(&expected);
    attention_run(&actual);
    attention_assert_agree(&actual, &expected, tolerance, place, __LINE__);
  }
  support_release(NULL);
}

// All kinds and limits, and lengths in turn so that each kind meets each pair of lengths once in a while.
static void walk(heed_context *device, const int64_t *lengths, int count, struct call c, double tolerance) {
  int turn = 0;
  for (c.kind = 0; c.kind < KINDS; ++c.kind)
    for (c.limit = NONE; c.limit < LIMITS; ++c.limit)
      for (int q = 0; q < count; ++q)
        for (int k = 0; k < count; ++k, ++turn) {
          c.queries = lengths[q];
          c.keys = lengths[k];
          if (q == k || turn % 5 == 0) compare(device, &c, tolerance);
        }
}

static void kernels_for_cpus_keep_to_it(void **state) {
  heed_context *device = support_context(state);
  if (!heed__cl_state(device)->traits.cpu_like) skip();
  const int vector = heed__cl_state(device)->traits.vector_width;
  const int rows = vector == 16 ? 12 : vector == 8 ? 6 : 8;
  const int64_t lengths[] = {1, rows - 1, rows + 1, 2 * vector - 1, 2 * vector, 2 * vector + 1, 97};
  walk(device, lengths, 7, (struct call){.dim = 9, .path = HEED_PATH_FUSED}, 2e-5);
}

static void decoding_keeps_to_it(void **state) {
  heed_context *device = support_context(state);
  const int64_t lengths[] = {1, 3, 4};
  walk(device, lengths, 3, (struct call){.dim = 9, .forward_only = true}, 2e-5);
  // Where the keys of one split end.
  struct call c = {.queries = 2, .dim = 9, .forward_only = true};
  for (c.kind = 0; c.kind < KINDS; ++c.kind)
    for (c.keys = 255; c.keys <= 258; ++c.keys) compare(device, &c, 2e-5);
}

static void staged_kernels_keep_to_it(void **state) {
  const int64_t lengths[] = {1, 4, 7, 12, 13, 33};
  walk(support_context(state), lengths, 6, (struct call){.dim = 9, .path = HEED_PATH_STAGED}, 2e-5);
}

// The device taken for a GPU, with tensor cores or not; F32 factors are rounded to TF32 there.
static void walk_as_gpu(heed_context *device, bool tensor_cores, int64_t dim, double tolerance) {
  struct heed__cl *cl = heed__cl_state(device);
  const struct heed__cl_traits real = cl->traits;
  const bool tf32 = cl->tf32;
  const int64_t lengths[] = {63, 64, 65};
  cl->traits.cpu_like = false;
  cl->traits.vector_width = 1;
  cl->traits.tensor_cores = cl->traits.emulate_warps = cl->tf32 = tensor_cores;
  walk(device, lengths, tensor_cores ? 2 : 3, (struct call){.dim = dim, .path = HEED_PATH_FUSED}, tolerance);
  cl->traits = real;
  cl->tf32 = tf32;
}

static void kernels_for_gpus_keep_to_it(void **state) { walk_as_gpu(support_context(state), false, 16, 2e-5); }
static void tensor_cores_keep_to_it(void **state) { walk_as_gpu(support_context(state), true, 64, 0x1p-10); }

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(kernels_know_the_rule),       TEST(kernels_see_numbers_where_the_host_puts_them),
      TEST(kernels_for_cpus_keep_to_it), TEST(decoding_keeps_to_it),
      TEST(staged_kernels_keep_to_it),   TEST(kernels_for_gpus_keep_to_it),
      TEST(tensor_cores_keep_to_it),
  };
  if (support_make_folder(NULL) != 0) return 1;
  const int failed =
      cmocka_run_group_tests_name("which keys attention reaches", tests, support_open_device, support_close);
  return failed + (support_remove_folder(NULL) != 0);
}
