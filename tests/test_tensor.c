// Tensors: shapes, memory, views, transfers, dtypes, and how two are compared. On the host and on the device.
#include <stdio.h>

#include "core/core.h"
#include "support_values.h"

static heed_tensor *counting(heed_context *ctx, int rank, const int64_t *dims) {
  float values[512];
  for (int i = 0; i < 512; ++i) values[i] = (float)i;
  return support_put_f32(ctx, HEED_F32, rank, dims, values);
}

// ---------------------------------------------------------------- creation

static void it_has_the_shape_it_was_given(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *t = support_new(ctx, HEED_F16, SHAPE(2, 3, 1, 5));
  assert_ptr_equal(heed_tensor_context(t), ctx);
  assert_int_equal(heed_tensor_dtype(t), HEED_F16);
  assert_int_equal(heed_tensor_rank(t), 4);
  assert_int_equal(heed_tensor_count(t), 30);
  assert_int_equal(heed_tensor_bytes(t), 60);
  assert_true(heed_tensor_is_contiguous(t));
  assert_int_equal(heed_tensor_dim(t, 1), 3);
  assert_int_equal(heed_tensor_dim(t, -1), 5);
  assert_int_equal(heed_tensor_dim(t, -4), 2);
  const int64_t strides[] = {15, 5, 5, 1};
  assert_memory_equal(heed_tensor_strides(t), strides, sizeof strides);
}

static void rank_0_is_one_element_and_5_the_most(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *t = NULL;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 0, NULL, &t));
  assert_int_equal(heed_tensor_count(support_keep(t)), 1);
  ASSERT_OK(heed_fill(t, 3));
  ASSERT_CLOSE(support_get(t)[0], 3, 0);
  assert_int_equal(heed_tensor_count(support_new(ctx, HEED_U8, SHAPE(1, 2, 1, 2, 3))), 12);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "rank 6", heed_tensor_create(ctx, HEED_F32, SHAPE(1, 1, 1, 1, 1, 1), &t));
  assert_null(t);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "rank -1", heed_tensor_create(ctx, HEED_F32, -1, NULL, &t));
}

static void an_empty_tensor_is_a_tensor(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *t = support_new(ctx, HEED_F32, SHAPE(3, 0, 2));
  assert_int_equal(heed_tensor_count(t), 0);
  assert_int_equal(heed_tensor_bytes(t), 0);
  assert_true(heed_tensor_is_contiguous(t));
  ASSERT_OK(heed_tensor_upload(t, NULL, 0));
  ASSERT_OK(heed_tensor_download(t, NULL, 0));
  ASSERT_OK(heed_tensor_upload_f32(t, NULL, 0));
  ASSERT_OK(heed_fill(t, 1));
  // A dimension of 0 takes no memory, whatever stands beside it.
  assert_int_equal(heed_tensor_count(support_new(ctx, HEED_I64, SHAPE(0, 1000000, 1000000))), 0);
}

static heed_tensor *const mark = (heed_tensor *)(uintptr_t)16;

static void what_cannot_be_made_leaves_null(void **state) {
  heed_context *ctx = support_context(state);
  const size_t before = heed_context_live_tensors(ctx);
  heed_tensor *t = mark;
  ASSERT_FAILS(HEED_ERROR_SHAPE, "[2, -1]", heed_tensor_create(ctx, HEED_F32, SHAPE(2, -1), &t));
  assert_null(t);
  t = mark;
  ASSERT_FAILS(HEED_ERROR_DTYPE, "dtype 99", heed_tensor_create(ctx, (heed_dtype)99, SHAPE(2), &t));
  assert_null(t);
  t = mark;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "context is NULL", heed_tensor_create(NULL, HEED_F32, SHAPE(2), &t));
  assert_null(t);
  t = mark;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "dims is NULL", heed_tensor_create(ctx, HEED_F32, 1, NULL, &t));
  assert_null(t);
  t = mark;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tensor_create_from(ctx, HEED_F32, SHAPE(2), NULL, &t));
  assert_null(t);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "out is NULL", heed_tensor_create(ctx, HEED_F32, SHAPE(2), NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "out is NULL", heed_tensor_create_from(ctx, HEED_F32, SHAPE(2), &t, NULL));
  heed_tensor_destroy(NULL);
  assert_int_equal(heed_context_live_tensors(ctx), before);
}

static void sizes_that_pass_63_bits_overflow(void **state) {
  heed_context *ctx = support_context(state);
  const int64_t big = INT64_C(1) << 32;
  heed_tensor *t = mark;
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "[4294967296, 4294967296]", heed_tensor_create(ctx, HEED_U8, SHAPE(big, big), &t));
  assert_null(t);
  // The count fits, the bytes do not.
  t = mark;
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "I64[2305843009213693952]",
               heed_tensor_create(ctx, HEED_I64, SHAPE(INT64_C(1) << 61), &t));
  assert_null(t);
  t = mark;
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "[0, ", heed_tensor_create(ctx, HEED_U8, SHAPE(0, big, big), &t));
  assert_null(t);
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "elements", heed_tensor_create(ctx, HEED_U8, SHAPE(INT64_MAX, 2), &t));
}

static void a_tensor_larger_than_the_memory_is_refused_with_the_figures(void **state) {
  heed_context *ctx = support_context(state);
  const heed_device_info *device = heed_context_device(ctx);
  const uint64_t bytes = device->memory * 2;
  const size_t before = heed_context_live_tensors(ctx);
  char needed[32];
  heed_tensor *t = mark;
  ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, heed__bytes_text(bytes, needed),
               heed_tensor_create(ctx, HEED_U8, SHAPE((int64_t)bytes), &t));
  assert_null(t);
  char memory[32], largest[32];
  heed__bytes_text(device->memory, memory);
  heed__bytes_text(device->max_allocation, largest);
  const bool addressed = bytes < SIZE_MAX;  // on 32 bits that is less than the memory may be
  assert_true(strstr(heed_last_error(), memory) || strstr(heed_last_error(), largest) ||
              (!addressed && strstr(heed_last_error(), "address")));
  assert_non_null(strstr(heed_last_error(), "tensor U8["));
  ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "tensor F32[", heed_tensor_create(ctx, HEED_F32, SHAPE(INT64_C(1) << 60), &t));
  assert_int_equal(heed_context_live_tensors(ctx), before);
  support_new(ctx, HEED_F32, SHAPE(3));  // the context works on
}

// ---------------------------------------------------------------- life

static void a_context_counts_bytes_and_the_most_there_were(void **state) {
  heed_context *ctx = support_context(state);
  const uint64_t before = heed_context_bytes(ctx), size = 4 << 20;
  heed_tensor *a = NULL, *b = NULL, *view = NULL;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, SHAPE(1 << 20), &a));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, SHAPE(1 << 20), &b));
  ASSERT_OK(heed_tensor_slice(a, 0, 1, 2, &view));
  assert_int_equal(heed_context_bytes(ctx), before + 2 * size);
  const uint64_t peak = heed_context_peak_bytes(ctx);
  assert_true(peak >= before + 2 * size);
  heed_tensor_destroy(a);  // its view keeps it
  assert_int_equal(heed_context_bytes(ctx), before + 2 * size);
  heed_tensor_destroy(view);
  heed_tensor_destroy(b);
  assert_int_equal(heed_context_bytes(ctx), before);
  assert_int_equal(heed_context_peak_bytes(ctx), peak);
}

static void a_context_counts_tensors_and_views(void **state) {
  heed_context *ctx = support_context(state);
  const size_t before = heed_context_live_tensors(ctx);
  heed_tensor *t = NULL, *view = NULL;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, SHAPE(4), &t));
  ASSERT_OK(heed_tensor_slice(t, 0, 1, 2, &view));
  assert_int_equal(heed_context_live_tensors(ctx), before + 2);
  heed_tensor_destroy(t);
  assert_int_equal(heed_context_live_tensors(ctx), before + 1);
  heed_tensor_destroy(view);
  assert_int_equal(heed_context_live_tensors(ctx), before);
}

static void a_view_keeps_its_storage_alive(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *t = NULL, *view = NULL;
  const float values[] = {1, 2, 3, 4};
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, SHAPE(4), values, &t));
  ASSERT_OK(heed_tensor_slice(t, 0, 2, 2, &view));
  heed_tensor_destroy(t);
  support_keep(view);
  support_new(ctx, HEED_F32, SHAPE(4));
  ASSERT_CLOSE(support_get(view)[0], 3, 0);
  ASSERT_CLOSE(support_get(view)[1], 4, 0);
}

static void a_tensor_may_outlive_its_context(void **state) {
  heed_context *ctx = NULL;
  char spec[96];
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  const bool host = heed_context_device(*state)->type == HEED_DEVICE_HOST;
  ASSERT_OK(heed_open(host ? "host" : spec, &ctx));
  heed_tensor *t = NULL, *view = NULL;
  float value = 0;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, SHAPE(2, 2), &t));
  ASSERT_OK(heed_tensor_slice(t, 0, 1, 1, &view));
  heed_context_destroy(ctx);
  ASSERT_OK(heed_fill(t, 5));
  heed_tensor_destroy(t);
  heed_tensor *element = NULL;
  ASSERT_OK(heed_tensor_slice(view, 1, 0, 1, &element));
  heed_tensor_destroy(view);
  ASSERT_OK(heed_tensor_download(element, &value, sizeof value));
  ASSERT_CLOSE(value, 5, 0);
  heed_tensor_destroy(element);
}

// ---------------------------------------------------------------- views

static void permute_swaps_axes(void **state) {
  const heed_tensor *t = counting(support_context(state), SHAPE(2, 3, 4));
  heed_tensor *view = NULL;
  ASSERT_OK(heed_tensor_permute(t, (const int[]){2, 0, 1}, &view));
  support_keep(view);
  assert_false(heed_tensor_is_contiguous(view));
  const int64_t dims[] = {4, 2, 3};
  assert_memory_equal(heed_tensor_dims(view), dims, sizeof dims);
  const float *values = support_get(view);
  for (int a = 0; a < 4; ++a)
    for (int b = 0; b < 2; ++b)
      for (int c = 0; c < 3; ++c) ASSERT_CLOSE(values[(a * 2 + b) * 3 + c], b * 12 + c * 4 + a, 0);
  heed_tensor *bad = mark;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "permute", heed_tensor_permute(t, (const int[]){0, 0, 1}, &bad));
  assert_null(bad);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "permute", heed_tensor_permute(t, (const int[]){0, 1, 3}, &bad));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "permute", heed_tensor_permute(t, (const int[]){0, 1, -1}, &bad));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tensor_permute(t, NULL, &bad));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tensor_permute(NULL, (const int[]){0}, &bad));
}

static void slice_takes_a_part_of_an_axis(void **state) {
  const heed_tensor *t = counting(support_context(state), SHAPE(3, 5));
  heed_tensor *view = NULL;
  ASSERT_OK(heed_tensor_slice(t, -1, 1, 3, &view));
  const float *values = support_get(support_keep(view));
  for (int i = 0; i < 9; ++i) ASSERT_CLOSE(values[i], i / 3 * 5 + i % 3 + 1, 0);
  ASSERT_OK(heed_tensor_slice(t, 0, 3, 0, &view));
  assert_int_equal(heed_tensor_count(support_keep(view)), 0);
  heed_tensor *bad = mark;
  ASSERT_FAILS(HEED_ERROR_SHAPE, "F32[3, 5]", heed_tensor_slice(t, 1, 3, 3, &bad));
  assert_null(bad);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "slice", heed_tensor_slice(t, 0, -1, 1, &bad));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "slice", heed_tensor_slice(t, 0, 0, -1, &bad));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "slice", heed_tensor_slice(t, 0, INT64_MAX, INT64_MAX, &bad));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "no axis 2", heed_tensor_slice(t, 2, 0, 1, &bad));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "no axis -3", heed_tensor_slice(t, -3, 0, 1, &bad));
}

static void reshape_keeps_elements_in_order(void **state) {
  const heed_tensor *t = counting(support_context(state), SHAPE(4, 6));
  heed_tensor *view = NULL, *part = NULL, *bad = mark;
  ASSERT_OK(heed_tensor_reshape(t, SHAPE(2, 3, 4), &view));
  const float *values = support_get(support_keep(view));
  for (int i = 0; i < 24; ++i) ASSERT_CLOSE(values[i], i, 0);
  ASSERT_OK(heed_tensor_slice(t, 0, 1, 2, &part));
  ASSERT_OK(heed_tensor_reshape(support_keep(part), SHAPE(12), &view));
  ASSERT_CLOSE(support_get(support_keep(view))[0], 6, 0);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "F32[4, 6] cannot become [5, 5]", heed_tensor_reshape(t, SHAPE(5, 5), &bad));
  assert_null(bad);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "not contiguous", heed_tensor_reshape(support_transposed(t), SHAPE(24), &bad));
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "reshape", heed_tensor_reshape(t, SHAPE(INT64_MAX, 2), &bad));
}

static void a_view_may_have_any_strides_within_its_base(void **state) {
  const heed_tensor *t = counting(support_context(state), SHAPE(20));
  heed_tensor *view = NULL;
  ASSERT_OK(heed_tensor_view(t, SHAPE(3, 2), (const int64_t[]){6, 3}, 4, &view));
  const float *values = support_get(support_keep(view));
  for (int i = 0; i < 6; ++i) ASSERT_CLOSE(values[i], 4 + i / 2 * 6 + i % 2 * 3, 0);
  ASSERT_OK(heed_tensor_view(t, SHAPE(4, 3), (const int64_t[]){0, 1}, 17, &view));
  values = support_get(support_keep(view));
  for (int i = 0; i < 12; ++i) ASSERT_CLOSE(values[i], 17 + i % 3, 0);
}

static void a_view_cannot_leave_its_base(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *t = counting(ctx, SHAPE(20));
  heed_tensor *bad = mark, *part = NULL;
  ASSERT_FAILS(HEED_ERROR_SHAPE, "F32[20]", heed_tensor_view(t, SHAPE(21), (const int64_t[]){1}, 0, &bad));
  assert_null(bad);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "leaves", heed_tensor_view(t, SHAPE(3), (const int64_t[]){10}, 0, &bad));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "leaves", heed_tensor_view(t, SHAPE(1), (const int64_t[]){1}, 20, &bad));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "negative", heed_tensor_view(t, SHAPE(2), (const int64_t[]){-1}, 5, &bad));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "negative", heed_tensor_view(t, SHAPE(2), (const int64_t[]){1}, -1, &bad));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "leaves", heed_tensor_view(t, SHAPE(3), (const int64_t[]){INT64_MAX}, 0, &bad));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "leaves", heed_tensor_view(t, SHAPE(1), (const int64_t[]){1}, INT64_MAX, &bad));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tensor_view(t, SHAPE(3), NULL, 0, &bad));
  // A part is a base of its own, not a door to the rest of the buffer.
  ASSERT_OK(heed_tensor_slice(t, 0, 5, 10, &part));
  support_keep(part);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "F32[10]", heed_tensor_view(part, SHAPE(11), (const int64_t[]){1}, 0, &bad));
  ASSERT_OK(heed_tensor_view(part, SHAPE(2), (const int64_t[]){9}, 0, &part));
  ASSERT_CLOSE(support_get(support_keep(part))[1], 14, 0);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "leaves",
               heed_tensor_view(support_new(ctx, HEED_U8, SHAPE(0)), SHAPE(1), (const int64_t[]){1}, 0, &bad));
}

// ---------------------------------------------------------------- transfers

static void transfers_through_a_view_touch_only_its_elements(void **state) {
  heed_tensor *t = counting(support_context(state), SHAPE(4, 5));
  heed_tensor *view = NULL;
  ASSERT_OK(heed_tensor_view(t, SHAPE(2, 2), (const int64_t[]){2, 10}, 1, &view));
  const float values[] = {-1, -2, -3, -4};
  ASSERT_OK(heed_tensor_upload(support_keep(view), values, sizeof values));
  assert_memory_equal(support_get(view), values, sizeof values);
  const float *all = support_get(t);
  for (int i = 0; i < 20; ++i) ASSERT_CLOSE(all[i], i == 1 ? -1 : i == 11 ? -2 : i == 3 ? -3 : i == 13 ? -4 : i, 0);
}

static void transfers_are_of_the_whole_tensor(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *t = counting(ctx, SHAPE(4)), *integers = support_new(ctx, HEED_I32, SHAPE(4));
  float values[5] = {0};
  ASSERT_FAILS(HEED_ERROR_SHAPE, "12 bytes given, F32[4] has 16", heed_tensor_upload(t, values, 12));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "download: 20 bytes", heed_tensor_download(t, values, 20));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "5 elements", heed_tensor_upload_f32(t, values, 5));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "3 elements", heed_tensor_download_f32(t, values, 3));
  ASSERT_FAILS(HEED_ERROR_DTYPE, "I32[4]", heed_tensor_download_f32(integers, values, 4));
  ASSERT_FAILS(HEED_ERROR_DTYPE, "I32[4]", heed_tensor_upload_f32(integers, values, 4));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tensor_upload(t, NULL, 16));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tensor_download(t, NULL, 16));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tensor_download(NULL, values, 16));
}

// ---------------------------------------------------------------- dtypes

static void every_16_bit_float_survives_f32(void **state) {
  heed_context *ctx = support_context(state);
  static uint16_t bits[65536], back[65536];
  for (int i = 0; i < 65536; ++i) bits[i] = (uint16_t)i;
  const heed_dtype dtypes[] = {HEED_F16, HEED_BF16};
  for (int d = 0; d < 2; ++d) {
    heed_tensor *t = support_put(ctx, dtypes[d], SHAPE(65536), bits);
    float *values = support_get(t);
    ASSERT_OK(heed_tensor_upload_f32(t, values, 65536));
    ASSERT_OK(heed_tensor_download(t, back, sizeof back));
    for (int i = 0; i < 65536; ++i)
      if (isnan(values[i]) ? !isnan(heed__load(back, dtypes[d], i)) : back[i] != bits[i])
        fail_msg("%s %04x comes back as %04x", heed_dtype_string(dtypes[d]), i, back[i]);
  }
}

static void narrowing_rounds_to_nearest_even(void **state) {
  heed_context *ctx = support_context(state);
  const float x[] = {1 + 0x1p-11f, 1 + 3 * 0x1p-11f, 1 + 0x1.01p-11f, 65519,       65520,
                     -65520,       0x1p-25f,         0x1.01p-25f,     3 * 0x1p-25f};
  const float half[] = {1, 1 + 0x1p-9f, 1 + 0x1p-10f, 65504, INFINITY, -INFINITY, 0, 0x1p-24f, 0x1p-23f};
  const float *y = support_get(support_put_f32(ctx, HEED_F16, SHAPE(9), x));
  for (int i = 0; i < 9; ++i) ASSERT_CLOSE(y[i], half[i], 0);
  const float wide[] = {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, 1 + 0x1.01p-8f, 0x1.fep127f, 0x1.ffp127f, NAN};
  const float brain[] = {1, 1 + 0x1p-6f, 1 + 0x1p-7f, 0x1.fep127f, INFINITY};
  y = support_get(support_put_f32(ctx, HEED_BF16, SHAPE(6), wide));
  for (int i = 0; i < 5; ++i) ASSERT_CLOSE(y[i], brain[i], 0);
  assert_true(isnan(y[5]));
}

// A double between two steps of F32 must not be rounded twice.
static void a_double_is_rounded_once(void **state) {
  (void)state;
  assert_int_equal(heed__f16_from_double(1 + 0x1p-11 + 0x1p-40), 0x3c01);
  assert_int_equal(heed__bf16_from_double(1 + 0x1p-8 + 0x1p-40), 0x3f81);
  assert_int_equal(heed__bf16_from_double(-(1 + 0x1p-8 + 0x1p-40)), 0xbf81);
  assert_int_equal(heed__bf16_from_double(1 + 0x1p-8), 0x3f80);
  assert_int_equal(heed__bf16_from_double(0x1.ffp127 - 0x1p80), 0x7f7f);
  assert_int_equal(heed__bf16_from_double(1e300), 0x7f80);
  assert_int_equal(heed__bf16_from_double(0x1p-200), 0);
  assert_int_equal(heed__bf16_from_double(-0.0), 0x8000);
}

static void dtypes_have_sizes_and_names(void **state) {
  (void)state;
  assert_int_equal(heed_dtype_size(HEED_BF16), 2);
  assert_string_equal(heed_dtype_string(HEED_BOOL), "BOOL");
  assert_true(heed_dtype_is_float(HEED_F16) && !heed_dtype_is_float(HEED_U8));
  assert_int_equal(heed_dtype_size((heed_dtype)(HEED_BOOL + 1)), 0);
  assert_string_equal(heed_dtype_string((heed_dtype)-1), "unknown dtype");
  assert_false(heed_dtype_is_float((heed_dtype)77));
}

// ---------------------------------------------------------------- comparing

static heed_difference compare(heed_context *ctx, int count, const float *a, const float *e) {
  heed_difference d;
  const int64_t dims[] = {count};
  ASSERT_OK(heed_tensor_compare(support_put(ctx, HEED_F32, 1, dims, a), support_put(ctx, HEED_F32, 1, dims, e), &d));
  return d;
}

static void a_difference_is_measured_by_norms(void **state) {
  heed_context *ctx = support_context(state);
  heed_difference d = compare(ctx, 3, (float[]){3, 4, 1}, (float[]){3, 4, 0});
  ASSERT_CLOSE(d.relative, 0.2, 1e-15);
  ASSERT_CLOSE(d.max_abs, 1, 0);
  assert_int_equal(d.index, 2);
  assert_true(heed_difference_within(&d, 0.21) && !heed_difference_within(&d, 0.19));
  d = compare(ctx, 2, (float[]){3, 4}, (float[]){0, 0});
  ASSERT_CLOSE(d.relative, 5, 1e-15);
  d = compare(ctx, 2, (float[]){3, 4}, (float[]){3, 4});
  assert_int_equal(d.index, -1);
  assert_true(heed_difference_within(&d, 0));
}

static void nothing_excuses_a_nan(void **state) {
  heed_context *ctx = support_context(state);
  heed_difference d = compare(ctx, 3, (float[]){1, 2, NAN}, (float[]){5, 2, 3});
  assert_true(d.non_finite_mismatch && d.has_nan && !heed_difference_within(&d, INFINITY));
  assert_int_equal(d.index, 2);
  d = compare(ctx, 3, (float[]){1, 2, 3}, (float[]){1, NAN, 3});
  assert_true(d.non_finite_mismatch && d.index == 1);
  d = compare(ctx, 2, (float[]){1, INFINITY}, (float[]){1, -INFINITY});
  assert_false(heed_difference_within(&d, 1e9));
  d = compare(ctx, 2, (float[]){NAN, INFINITY}, (float[]){NAN, INFINITY});
  assert_true(heed_difference_within(&d, 0) && d.has_nan);
  d.relative = NAN;
  assert_false(heed_difference_within(&d, 1));
}

static void shapes_that_differ_are_not_compared(void **state) {
  heed_context *ctx = support_context(state);
  heed_difference d;
  ASSERT_FAILS(HEED_ERROR_SHAPE, "F32[2, 3] against F32[6]",
               heed_tensor_compare(counting(ctx, SHAPE(2, 3)), counting(ctx, SHAPE(6)), &d));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tensor_compare(NULL, counting(ctx, SHAPE(6)), &d));
  ASSERT_OK(heed_tensor_compare(support_new(ctx, HEED_F32, SHAPE(0, 3)), support_new(ctx, HEED_F16, SHAPE(0, 3)), &d));
  assert_true(heed_difference_within(&d, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(it_has_the_shape_it_was_given),
      TEST(rank_0_is_one_element_and_5_the_most),
      TEST(an_empty_tensor_is_a_tensor),
      TEST(what_cannot_be_made_leaves_null),
      TEST(sizes_that_pass_63_bits_overflow),
      TEST(a_tensor_larger_than_the_memory_is_refused_with_the_figures),
      TEST(a_context_counts_tensors_and_views),
      TEST(a_context_counts_bytes_and_the_most_there_were),
      TEST(a_view_keeps_its_storage_alive),
      TEST(a_tensor_may_outlive_its_context),
      TEST(permute_swaps_axes),
      TEST(slice_takes_a_part_of_an_axis),
      TEST(reshape_keeps_elements_in_order),
      TEST(a_view_may_have_any_strides_within_its_base),
      TEST(a_view_cannot_leave_its_base),
      TEST(transfers_through_a_view_touch_only_its_elements),
      TEST(transfers_are_of_the_whole_tensor),
      TEST(every_16_bit_float_survives_f32),
      TEST(narrowing_rounds_to_nearest_even),
      TEST(a_double_is_rounded_once),
      TEST(dtypes_have_sizes_and_names),
      TEST(a_difference_is_measured_by_norms),
      TEST(nothing_excuses_a_nan),
      TEST(shapes_that_differ_are_not_compared),
  };
  return RUN_ON_BOTH("tensors", tests);
}
