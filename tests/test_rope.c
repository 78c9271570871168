// Rotary positions: tables at far positions, both pairings, rotations that keep lengths and angles, views, in place, refusals.
#include "support_values.h"

static heed_tensor *table_of(heed_context *ctx, int64_t rows, int64_t width, double theta, int64_t first) {
  heed_tensor *table = support_new(ctx, HEED_F32, SHAPE(rows, width));
  ASSERT_OK(heed_rope_table(theta, first, table));
  return table;
}

// Positions where F32 has no digits left for the angle's fraction of a turn.
static void tables_are_right_far_away(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t firsts[] = {0, 1000, 100000, INT64_C(3000000000)};
  for (int f = 0; f < 4; ++f) {
    const float *table = support_get(table_of(ctx, 3, 10, 500000, firsts[f]));
    for (int row = 0; row < 3; ++row)
      for (int i = 0; i < 5; ++i) {
        const double angle = (double)(firsts[f] + row) * pow(500000, -2.0 * i / 10);
        ASSERT_CLOSE(table[row * 10 + i], cos(angle), 0x1p-24);
        ASSERT_CLOSE(table[row * 10 + 5 + i], sin(angle), 0x1p-24);
      }
  }
}

static void pairs_turn(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t widths[] = {2, 4, 6, 16, 18, 30, 64, 66};
  for (int w = 0; w < 8; ++w)
    for (heed_rope_style style = HEED_ROPE_HALF; style <= HEED_ROPE_INTERLEAVED; ++style) {
      const int64_t width = widths[w], half = width / 2;
      const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 3, 5, width), 1),
                        *table = table_of(ctx, 5, width, 1e4, 7);
      heed_tensor *y = support_like(x), *back = support_like(x);
      ASSERT_OK(heed_rope_fwd(x, table, style, y));
      ASSERT_OK(heed_rope_bwd(y, table, style, back));
      ASSERT_AGREE(back, x, 4 * 0x1p-24);  // turned there and back
      const float *in = support_get(x), *out = support_get(y);
      for (int64_t row = 0; row < 2 * 3 * 5; ++row)
        for (int64_t i = 0; i < half; ++i) {
          const int64_t a = row * width + (style == HEED_ROPE_HALF ? i : 2 * i);
          const int64_t b = style == HEED_ROPE_HALF ? a + half : a + 1;
          const double angle = (double)(7 + row % 5) * pow(1e4, -2.0 * (double)i / (double)width);
          const double size = hypot((double)in[a], (double)in[b]);
          ASSERT_CLOSE(out[a], (double)in[a] * cos(angle) - (double)in[b] * sin(angle), 4 * 0x1p-24 * size);
          ASSERT_CLOSE(out[b], (double)in[b] * cos(angle) + (double)in[a] * sin(angle), 4 * 0x1p-24 * size);
        }
    }
}

// Rows first in memory, as a linear layer writes them, give the bits of heads first.
static void views_are_read_where_they_lie(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *table = table_of(ctx, 5, 18, 1e4, 0),
                    *stored = support_random(ctx, HEED_BF16, SHAPE(2, 5, 3, 18), 1);
  heed_tensor *view = NULL, *x = support_new(ctx, HEED_BF16, SHAPE(2, 3, 5, 18)), *y = support_like(x);
  ASSERT_OK(heed_tensor_permute(stored, (const int[]){0, 2, 1, 3}, &view));
  support_keep(view);
  ASSERT_OK(heed_copy(view, x));
  for (heed_rope_style style = HEED_ROPE_HALF; style <= HEED_ROPE_INTERLEAVED; ++style) {
    heed_tensor *from_view = support_like(x);
    ASSERT_OK(heed_rope_fwd(x, table, style, y));
    ASSERT_OK(heed_rope_fwd(view, table, style, from_view));
    ASSERT_SAME_BITS(from_view, y);
    heed_tensor *over = support_like(x);
    ASSERT_OK(heed_copy(x, over));
    ASSERT_OK(heed_rope_fwd(over, table, style, over));
    ASSERT_SAME_BITS(over, y);
  }
  ASSERT_OK(heed_rope_fwd(view, table, HEED_ROPE_HALF, view));
  ASSERT_OK(heed_rope_fwd(x, table, HEED_ROPE_HALF, y));
  heed_tensor *copied = support_like(x);
  ASSERT_OK(heed_copy(view, copied));
  ASSERT_SAME_BITS(copied, y);
}

static void they_refuse(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(1, 2, 3, 4), 1), *y = support_like(x),
              *table = table_of(ctx, 3, 4, 1e4, 0), *odd = support_new(ctx, HEED_F32, SHAPE(3, 5));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "rope_table", "table is NULL", heed_rope_table(1e4, 0, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "rope_table", "theta 0", heed_rope_table(0, 0, table));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "rope_table", "theta nan", heed_rope_table(NAN, 0, table));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "rope_table", "positions from -1", heed_rope_table(1e4, -1, table));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "rope_table", "positions from", heed_rope_table(1e4, INT64_MAX, table));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "rope_table", "with D even", heed_rope_table(1e4, 0, odd));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "rope_table", "F32 is needed",
                 heed_rope_table(1e4, 0, support_new(ctx, HEED_F16, SHAPE(3, 4))));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "rope_fwd", "x is NULL", heed_rope_fwd(NULL, table, HEED_ROPE_HALF, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "rope_bwd", "table is NULL", heed_rope_bwd(x, NULL, HEED_ROPE_HALF, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "rope_fwd", "style 2", heed_rope_fwd(x, table, (heed_rope_style)2, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "rope_fwd", "is not [L, D] of x",
                 heed_rope_fwd(x, table_of(ctx, 4, 4, 1e4, 0), HEED_ROPE_HALF, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "rope_bwd", "dy F32[3, 4] is not [B, H, L, D]",
                 heed_rope_bwd(table, table, HEED_ROPE_HALF, y));
  ASSERT_REFUSED(
      HEED_ERROR_SHAPE, "rope_fwd", "must have stride 1",
      heed_rope_fwd(support_transposed(support_new(ctx, HEED_F32, SHAPE(4, 3, 2, 1))), table, HEED_ROPE_HALF, y));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(tables_are_right_far_away),
      TEST(pairs_turn),
      TEST(views_are_read_where_they_lie),
      TEST(they_refuse),
  };
  return RUN_ON_BOTH("rotary positions", tests);
}
