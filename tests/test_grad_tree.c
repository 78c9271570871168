// The order in which gradients of micro-batches are summed follows from their number alone, however many processes share them; so does the
// order in which their squares are.
#include <math.h>
#include <string.h>

#include <heed/nn.h>

#include "support_devices.h"

enum { SIZE = 1000, MOST = 24 };

struct sum {
  heed_parameter parameter;
  heed_grad_tree *tree;
};

static void open_sum(heed_context *ctx, heed_dtype dtype, int64_t micro_batches, int64_t own, struct sum *sum) {
  const int64_t dims[] = {SIZE};
  *sum = (struct sum){.parameter = {.name = "w"}};
  ASSERT_OK(heed_tensor_create(ctx, dtype, 1, dims, &sum->parameter.value));
  ASSERT_OK(heed_tensor_create(ctx, dtype, 1, dims, &sum->parameter.grad));
  ASSERT_OK(heed_grad_tree_create(&sum->parameter, 1, micro_batches, own, &sum->tree));
}

static void close_sum(struct sum *sum) {
  heed_grad_tree_destroy(sum->tree);
  heed_tensor_destroy(sum->parameter.value);
  heed_tensor_destroy(sum->parameter.grad);
}

// Sizes that differ by powers of ten, so that another order of the sum has other bits.
static void gradient_of(int64_t micro, float *values) {
  static const float sizes[] = {1, 1000, 0.01f, 30};
  support_fill(values, SIZE, (uint64_t)(100 + micro));
  for (int i = 0; i < SIZE; ++i) values[i] *= sizes[(micro + i) % 4];
}

// What a backward does: it overwrites or adds.
static void backward(heed_context *ctx, const struct sum *sum, int64_t micro) {
  float values[SIZE];
  const int64_t dims[] = {SIZE};
  heed_tensor *fresh = NULL;
  gradient_of(micro, values);
  if (!heed_grad_tree_accumulates(sum->tree)) {
    ASSERT_OK(heed_tensor_upload_f32(sum->parameter.grad, values, SIZE));
    return;
  }
  ASSERT_OK(heed_tensor_create(ctx, heed_tensor_dtype(sum->parameter.grad), 1, dims, &fresh));
  ASSERT_OK(heed_tensor_upload_f32(fresh, values, SIZE));
  ASSERT_OK(heed_add(1, sum->parameter.grad, 1, fresh, sum->parameter.grad));
  heed_tensor_destroy(fresh);
}

static void sum_share(heed_context *ctx, struct sum *sum, int64_t first, int64_t own, float *total) {
  for (int64_t micro = first; micro < first + own; ++micro) {
    backward(ctx, sum, micro);
    ASSERT_OK(heed_grad_tree_add(sum->tree));
  }
  ASSERT_OK(heed_tensor_download_f32(heed_grad_tree_grads(sum->tree), total, SIZE));
}

// The definition: a run in order, or the sum of two halves.
static void reference(int64_t first, int64_t count, float *total) {
  float right[SIZE];
  if (count % 2 != 0) {
    gradient_of(first, total);
    for (int64_t micro = first + 1; micro < first + count; ++micro) {
      gradient_of(micro, right);
      for (int i = 0; i < SIZE; ++i) total[i] += right[i];
    }
    return;
  }
  reference(first, count / 2, total);
  reference(first + count / 2, count / 2, right);
  for (int i = 0; i < SIZE; ++i) total[i] += right[i];
}

static void assert_same(const float *actual, const float *expected) {
  assert_memory_equal(actual, expected, SIZE * sizeof *actual);
}

static void sums_are_those_of_the_tree(void **state) {
  heed_context *ctx = support_context(state);
  for (int64_t micro_batches = 1; micro_batches <= MOST; ++micro_batches) {
    struct sum sum;
    float expected[SIZE], actual[SIZE];
    open_sum(ctx, HEED_F32, micro_batches, micro_batches, &sum);
    reference(0, micro_batches, expected);
    for (int step = 0; step < 2; ++step) {
      sum_share(ctx, &sum, 0, micro_batches, actual);
      assert_same(actual, expected);
    }
    close_sum(&sum);
  }
}

static void the_last_micro_batch_may_come_in_parts(void **state) {
  heed_context *ctx = support_context(state);
  struct sum sum;
  float expected[SIZE], actual[SIZE];
  open_sum(ctx, HEED_F32, 8, 8, &sum);
  reference(0, 8, expected);
  for (int step = 0; step < 2; ++step) {
    ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "of the last of 8", heed_grad_tree_add_part(sum.tree, 0, SIZE));
    sum_share(ctx, &sum, 0, 7, actual);
    backward(ctx, &sum, 7);
    for (int64_t first = SIZE; first > 0; first -= SIZE / 4)
      ASSERT_OK(heed_grad_tree_add_part(sum.tree, first - SIZE / 4, SIZE / 4));
    ASSERT_OK(heed_tensor_download_f32(heed_grad_tree_grads(sum.tree), actual, SIZE));
    assert_same(actual, expected);
  }
  close_sum(&sum);
}

static void shares_meet_to_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  for (int64_t micro_batches = 2; micro_batches <= MOST; micro_batches += 2)
    for (int64_t shares = 2; shares <= heed_grad_pieces(micro_batches); shares *= 2) {
      const int64_t own = micro_batches / shares;
      float parts[MOST][SIZE], expected[SIZE];
      reference(0, micro_batches, expected);
      for (int64_t share = 0; share < shares; ++share) {
        struct sum sum;
        open_sum(ctx, HEED_F32, micro_batches, own, &sum);
        sum_share(ctx, &sum, share * own, own, parts[share]);
        close_sum(&sum);
      }
      for (int64_t apart = 1; apart < shares; apart *= 2)
        for (int64_t share = 0; share < shares; share += 2 * apart)
          for (int i = 0; i < SIZE; ++i) parts[share][i] += parts[share + apart][i];
      assert_same(parts[0], expected);
    }
}

static void another_order_has_other_bits(void **state) {
  (void)state;
  float tree[SIZE], line[SIZE], next[SIZE];
  reference(0, 8, tree);
  gradient_of(0, line);
  for (int64_t micro = 1; micro < 8; ++micro) {
    gradient_of(micro, next);
    for (int i = 0; i < SIZE; ++i) line[i] += next[i];
  }
  assert_true(memcmp(tree, line, sizeof tree) != 0);
}

static void only_whole_branches_are_shares(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t refused[][2] = {{8, 3}, {8, 0}, {8, 16}, {12, 4}, {12, 1}, {6, 2}, {6, 1}, {0, 1}, {-8, 8}};
  const int64_t dims[] = {SIZE};
  heed_parameter parameter = {.name = "w"};
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, dims, &parameter.grad));
  for (size_t i = 0; i < sizeof refused / sizeof *refused; ++i) {
    heed_grad_tree *tree = NULL;
    ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "share",
                 heed_grad_tree_create(&parameter, 1, refused[i][0], refused[i][1], &tree));
    assert_null(tree);
  }
  heed_tensor_destroy(parameter.grad);
}

static void pieces_cover_everything_once(void **state) {
  (void)state;
  static const int64_t counts[] = {0, 1, 15, 16, 17, 1000, 65537, 124439808};
  assert_int_equal(heed_grad_pieces(1), 1);
  assert_int_equal(heed_grad_pieces(12), 4);
  assert_int_equal(heed_grad_pieces(8), 8);
  for (size_t c = 0; c < sizeof counts / sizeof *counts; ++c)
    for (int64_t pieces = 1; pieces <= 1024; pieces *= 2) {
      assert_int_equal(heed_grad_piece(counts[c], pieces, 0), 0);
      assert_int_equal(heed_grad_piece(counts[c], pieces, pieces), counts[c]);
      for (int64_t piece = 0; piece < pieces; ++piece)
        assert_true(heed_grad_piece(counts[c], pieces, piece) <= heed_grad_piece(counts[c], pieces, piece + 1));
    }
}

static void squares_of_pieces_do_not_depend_on_who_asks(void **state) {
  heed_context *ctx = support_context(state);
  enum { PIECES = 8 };
  const int64_t dims[] = {PIECES};
  struct sum sum;
  float all[PIECES], apart[PIECES], values[SIZE];
  heed_tensor *squares = NULL;
  open_sum(ctx, HEED_F32, PIECES, PIECES, &sum);
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, dims, &squares));
  sum_share(ctx, &sum, 0, PIECES, values);
  ASSERT_OK(heed_grad_tree_squares(sum.tree, 0, PIECES, squares));
  ASSERT_OK(heed_tensor_download_f32(squares, all, PIECES));
  for (int64_t piece = PIECES - 1; piece >= 0; --piece) ASSERT_OK(heed_grad_tree_squares(sum.tree, piece, 1, squares));
  ASSERT_OK(heed_tensor_download_f32(squares, apart, PIECES));
  assert_memory_equal(all, apart, sizeof all);
  for (int64_t piece = 0; piece < PIECES; ++piece) {
    double expected = 0;
    for (int64_t i = heed_grad_piece(SIZE, PIECES, piece); i < heed_grad_piece(SIZE, PIECES, piece + 1); ++i)
      expected += (double)values[i] * (double)values[i];
    // Some hundred terms of one sign in F32.
    if (!(fabs((double)all[piece] - expected) <= 1e-5 * expected)) fail_msg("piece %d", (int)piece);
  }
  heed_tensor_destroy(squares);
  close_sum(&sum);
}

// A step of either kind judges by the norm of 20 that it is given, not by that of its own gradient.
static void clips_by_a_given_norm(heed_context *ctx, heed_optimizer_config config, bool is_sgd) {
  const int64_t one = 1, dims[] = {SIZE};
  const float given = 400;
  heed_tensor *squares = NULL;
  heed_parameter parameter = {.name = "w"};
  heed_optimizer *optimizer = NULL;
  float norm = 0, values[SIZE], stepped[SIZE];
  gradient_of(0, values);
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, &one, &given, &squares));
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, dims, values, &parameter.value));
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, dims, values, &parameter.grad));
  config.max_norm = 1;
  config.squares = squares;
  ASSERT_OK(heed_optimizer_create(&parameter, 1, &config, &optimizer));
  ASSERT_OK(heed_optimizer_step(optimizer));
  ASSERT_OK(heed_tensor_download_f32(heed_optimizer_norm(optimizer), &norm, 1));
  assert_true(norm == 20);
  ASSERT_OK(heed_tensor_download_f32(parameter.value, stepped, SIZE));
  // AdamW's first step is as long whatever the factor, SGD's is not.
  for (int i = 0; i < SIZE && is_sgd; ++i)
    if (!(fabsf(stepped[i] - (values[i] - 0.1F * values[i] / 20)) <= 1e-6F * fabsf(values[i]))) fail_msg("value %d", i);
  heed_optimizer_destroy(optimizer);
  heed_tensor_destroy(squares);
  heed_tensor_destroy(parameter.value);
  heed_tensor_destroy(parameter.grad);
}

static void a_norm_that_is_given_clips(void **state) {
  heed_context *ctx = support_context(state);
  clips_by_a_given_norm(ctx, (heed_optimizer_config){.kind = HEED_OPTIMIZER_ADAMW, .adamw = {.lr = 0.1}}, false);
  clips_by_a_given_norm(ctx, (heed_optimizer_config){.sgd = {.lr = 0.1}}, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sums_are_those_of_the_tree),
      cmocka_unit_test(the_last_micro_batch_may_come_in_parts),
      cmocka_unit_test(shares_meet_to_the_same_bits),
      cmocka_unit_test(another_order_has_other_bits),
      cmocka_unit_test(only_whole_branches_are_shares),
      cmocka_unit_test(pieces_cover_everything_once),
      cmocka_unit_test(squares_of_pieces_do_not_depend_on_who_asks),
      cmocka_unit_test(a_norm_that_is_given_clips),
  };
  const int on_host = cmocka_run_group_tests_name("host", tests, support_open_host, support_close);
  return on_host + cmocka_run_group_tests_name("device", tests, support_open_device, support_close);
}
