// Safetensors read tensor by tensor: every dtype of the format is listed, those that heed converts become what is asked for, shards are
// one store, and what is no safetensors file is called what it is. Right values come from the definitions of the formats.
#include <heed/io.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support_files.h"

static heed_store *open_built(const char *name, const char *header, const void *data, size_t bytes) {
  char *whole = calloc(1, 8 + strlen(header) + bytes);
  const size_t length = strlen(header);
  heed_store *store = NULL;
  for (int i = 0; i < 8; ++i) whole[i] = (char)((uint64_t)length >> (8 * i));
  memcpy(whole + 8, header, length);
  if (bytes > 0) memcpy(whole + 8 + length, data, bytes);
  support_write_file(support_path(name), whole, 8 + length + bytes);
  free(whole);
  ASSERT_OK(heed_store_open(support_path(name), &store));
  return store;
}

// One tensor "w" of `count` elements.
static heed_store *open_one(const char *dtype, int64_t count, const void *data, size_t bytes) {
  char header[256];
  snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[%lld],\"data_offsets\":[0,%zu]}}", dtype,
           (long long)count, bytes);
  return open_built("one.safetensors", header, data, bytes);
}

static void read_as(const heed_store *store, heed_dtype dtype, void *out) {
  const heed_stored *w = heed_store_find(store, "w");
  ASSERT_OK(heed_store_read(store, w, dtype, out, (size_t)w->count * heed_dtype_size(dtype)));
}

static heed_status try_as(const heed_store *store, heed_dtype dtype) {
  uint8_t out[256];
  const heed_stored *w = heed_store_find(store, "w");
  return heed_store_read(store, w, dtype, out, (size_t)w->count * heed_dtype_size(dtype));
}

// ---------------------------------------------------------------- listing

static void every_dtype_of_the_format_is_listed(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int bits;
    bool own, convertible;
    heed_dtype natural;
  } dtypes[] = {
      {"BOOL", 8, true, true, HEED_BOOL},        {"U8", 8, true, true, HEED_U8},
      {"F16", 16, true, true, HEED_F16},         {"BF16", 16, true, true, HEED_BF16},
      {"I32", 32, true, true, HEED_I32},         {"F32", 32, true, true, HEED_F32},
      {"I64", 64, true, true, HEED_I64},         {"F64", 64, true, true, HEED_F32},
      {"I8", 8, false, true, HEED_I32},          {"I16", 16, false, true, HEED_I32},
      {"U16", 16, false, true, HEED_I32},        {"U32", 32, false, true, HEED_I64},
      {"U64", 64, false, true, HEED_I64},        {"F8_E4M3", 8, false, true, HEED_F32},
      {"F8_E5M2", 8, false, true, HEED_F32},     {"F8_E8M0", 8, false, false, HEED_U8},
      {"F8_E4M3FNUZ", 8, false, false, HEED_U8}, {"F8_E5M2FNUZ", 8, false, false, HEED_U8},
      {"F4", 4, false, false, HEED_U8},          {"F6_E2M3", 6, false, false, HEED_U8},
      {"F6_E3M2", 6, false, false, HEED_U8},     {"C64", 64, false, false, HEED_U8},
  };
  const uint8_t zeros[32] = {0};
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; ++i) {
    const size_t bytes = (size_t)dtypes[i].bits * 4 / 8;
    heed_store *store = open_one(dtypes[i].name, 4, zeros, bytes);
    const heed_stored *w = heed_store_get(store, 0);
    assert_string_equal(w->name, "w");
    assert_string_equal(w->dtype, dtypes[i].name);
    assert_true(w->is_own == dtypes[i].own && w->is_convertible == dtypes[i].convertible);
    if (w->is_convertible) assert_int_equal(w->natural, dtypes[i].natural);
    assert_int_equal(w->count, 4);
    assert_int_equal(w->bytes, bytes);
    assert_int_equal(w->rank, 1);
    if (!w->is_convertible) ASSERT_FAILS(HEED_ERROR_DTYPE, dtypes[i].name, try_as(store, HEED_F32));
    heed_store_destroy(store);
    heed_safetensors *file = NULL;  // read whole, what is not heed's own is left out
    ASSERT_OK(heed_safetensors_read(support_path("one.safetensors"), &file));
    assert_int_equal(heed_safetensors_count(file), dtypes[i].own);
    heed_safetensors_destroy(file);
  }
}

static void a_store_lists_and_finds(void **state) {
  (void)state;
  const uint8_t data[] = {1, 2, 3};
  heed_store *store = open_built("list.safetensors",
                                 "{\"__metadata__\":{\"format\":\"pt\"},"
                                 "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]},"
                                 "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
                                 data, sizeof data);
  assert_int_equal(heed_store_count(store), 2);
  assert_string_equal(heed_store_get(store, 0)->name, "a");
  assert_ptr_equal(heed_store_find(store, "b"), heed_store_get(store, 1));
  assert_null(heed_store_find(store, "c"));
  assert_null(heed_store_get(store, 2));
  assert_string_equal(heed_store_metadata(store, "format"), "pt");
  assert_int_equal(heed_store_metadata_count(store), 1);
  assert_string_equal(heed_store_metadata_key(store, 0), "format");
  assert_string_equal(heed_store_get(store, 0)->path, support_path("list.safetensors"));
  uint8_t b = 0;
  ASSERT_OK(heed_store_read(store, heed_store_find(store, "b"), HEED_U8, &b, 1));
  assert_int_equal(b, 3);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "takes 1 bytes", heed_store_read(store, heed_store_find(store, "b"), HEED_U8, &b, 2));
  // What shrinks after it was opened is an error, not a crash.
  assert_int_equal(truncate(support_path("list.safetensors"), 20), 0);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "shorter", heed_store_read(store, heed_store_find(store, "b"), HEED_U8, &b, 1));
  heed_store_destroy(store);
}

// ---------------------------------------------------------------- conversion

static void f64_is_rounded_once(void **state) {
  (void)state;
  const double wide[] = {1 + 0x1p-24, 1 + 3 * 0x1p-24, 1e300, -1e300, 0x1p-150, -0.0, 1 + 0x1p-11 + 0x1p-40, NAN};
  heed_store *store = open_one("F64", 8, wide, sizeof wide);
  float x[8];
  uint16_t half[8], brain[8];
  read_as(store, HEED_F32, x);
  assert_true(x[0] == 1 && x[1] == 1 + 0x1p-22f && x[2] == INFINITY && x[3] == -INFINITY && x[4] == 0);
  assert_true(x[5] == 0 && signbit(x[5]) && isnan(x[7]));
  read_as(store, HEED_F16, half);
  assert_int_equal(half[6], 0x3c01);  // rounded to F32 first, it would be a tie and become 0x3c00
  assert_int_equal(half[2], 0x7c00);
  read_as(store, HEED_BF16, brain);
  assert_int_equal(brain[0], 0x3f80);
  ASSERT_FAILS(HEED_ERROR_DTYPE, "F64, which heed does not convert to I32", try_as(store, HEED_I32));
  heed_store_destroy(store);
}

// All 256 values by the definition: (-1)^s 2^(e - bias) (1 + m / 2^bits), or with e = 0, 2^(1 - bias) m / 2^bits.
static void f8_has_the_values_of_its_definition(void **state) {
  (void)state;
  uint8_t all[256];
  float x[256];
  for (int i = 0; i < 256; ++i) all[i] = (uint8_t)i;
  for (int e5m2 = 0; e5m2 < 2; ++e5m2) {
    const int bits = e5m2 ? 2 : 3, bias = e5m2 ? 15 : 7, top = e5m2 ? 31 : 15;
    heed_store *store = open_one(e5m2 ? "F8_E5M2" : "F8_E4M3", 256, all, sizeof all);
    read_as(store, HEED_F32, x);
    for (int i = 0; i < 256; ++i) {
      const int e = i >> bits & top, m = i & ((1 << bits) - 1);
      const double fraction = (double)m / (1 << bits), sign = i & 128 ? -1 : 1;
      double right = sign * (e > 0 ? ldexp(1 + fraction, e - bias) : ldexp(fraction, 1 - bias));
      if (e == top && e5m2) right = m > 0 ? NAN : sign * INFINITY;
      if (e == top && !e5m2 && m == 7) right = NAN;
      if (isnan(right) ? !isnan(x[i]) : !((double)x[i] == right)) fail_msg("%02x is %g, not %g", i, x[i], right);
    }
    heed_store_destroy(store);
  }
}

static void half_floats_become_f32_exactly(void **state) {
  (void)state;
  const uint16_t half[] = {0x3c00, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfc00, 0x7e00, 0x8000};
  const float right[] = {1, 0x1p-24f, -1023 * 0x1p-24f, 0x1p-14f, 65504, -INFINITY};
  float x[8];
  heed_store *store = open_one("F16", 8, half, sizeof half);
  read_as(store, HEED_F32, x);
  assert_memory_equal(x, right, sizeof right);
  assert_true(isnan(x[6]) && x[7] == 0 && signbit(x[7]));
  heed_store_destroy(store);
  const uint16_t brain[] = {0x3f80, 0xbf80, 0x0001};
  store = open_one("BF16", 3, brain, sizeof brain);
  read_as(store, HEED_F32, x);
  assert_true(x[0] == 1 && x[1] == -1 && x[2] == 0x1p-133f);
  heed_store_destroy(store);
}

static void integers_become_what_has_their_value(void **state) {
  (void)state;
  int64_t x[4];
  int32_t y[4];
  float z[4];
  uint8_t u[4];
  const int8_t i8[] = {-128, 127, 0, 1};
  heed_store *store = open_one("I8", 4, i8, sizeof i8);
  read_as(store, HEED_I32, y);
  assert_true(y[0] == -128 && y[1] == 127 && y[3] == 1);
  read_as(store, HEED_F32, z);
  assert_true(z[0] == -128 && z[1] == 127);
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "\"w\": element 0 is -128, which U8 cannot hold", try_as(store, HEED_U8));
  heed_store_destroy(store);
  const uint16_t u16[] = {65535, 256, 255, 0};
  store = open_one("U16", 4, u16, sizeof u16);
  read_as(store, HEED_I64, x);
  assert_true(x[0] == 65535 && x[1] == 256);
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "element 0 is 65535, which BF16", try_as(store, HEED_BF16));
  heed_store_destroy(store);
  const uint64_t u64[] = {INT64_MAX, 0, 3, (uint64_t)INT64_MAX + 1};
  store = open_one("U64", 3, u64, 24);
  read_as(store, HEED_I64, x);
  assert_true(x[0] == INT64_MAX && x[2] == 3);
  heed_store_destroy(store);
  store = open_one("U64", 4, u64, sizeof u64);
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "element 3 is 9223372036854775808, which I64", try_as(store, HEED_I64));
  heed_store_destroy(store);
  const int64_t i64[] = {INT32_MIN, INT32_MAX, -1, 255};
  store = open_one("I64", 4, i64, sizeof i64);
  read_as(store, HEED_I32, y);
  assert_true(y[0] == INT32_MIN && y[1] == INT32_MAX && y[2] == -1);
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "element 0 is -2147483648, which F32", try_as(store, HEED_F32));
  heed_store_destroy(store);
  const uint8_t truth[] = {1, 0, 2};
  store = open_one("BOOL", 2, truth, 2);
  read_as(store, HEED_U8, u);
  assert_true(u[0] == 1 && u[1] == 0);
  heed_store_destroy(store);
  store = open_one("BOOL", 3, truth, 3);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "element 2 of a BOOL is 2", try_as(store, HEED_BOOL));
  heed_store_destroy(store);
}

// Longer than the piece that is converted at a time.
static void long_tensors_are_converted_piece_by_piece(void **state) {
  (void)state;
  enum { COUNT = 300001 };
  int16_t *in = malloc(COUNT * sizeof *in);
  int32_t *out = malloc(COUNT * sizeof *out);
  for (int i = 0; i < COUNT; ++i) in[i] = (int16_t)(i * 7919);
  heed_store *store = open_one("I16", COUNT, in, COUNT * sizeof *in);
  read_as(store, HEED_I32, out);
  for (int i = 0; i < COUNT; ++i)
    if (out[i] != in[i]) fail_msg("element %d is %d, not %d", i, out[i], in[i]);
  heed_store_destroy(store);
  for (int i = 0; i < COUNT; ++i) in[i] = i == COUNT - 1 ? -1 : 1;
  store = open_one("I16", COUNT, in, COUNT * sizeof *in);
  const heed_stored *w = heed_store_find(store, "w");
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "element 300000 is -1", heed_store_read(store, w, HEED_U8, out, COUNT));
  heed_store_destroy(store);
  free(in);
  free(out);
}

static void a_tensor_is_loaded_onto_a_device(void **state) {
  (void)state;
  heed_context *ctx = NULL;
  heed_tensor *x = (heed_tensor *)state;
  ASSERT_OK(heed_open("host", &ctx));
  const uint8_t data[] = {0x38, 0xb8};
  heed_store *store = open_one("F8_E4M3", 2, data, sizeof data);
  ASSERT_OK(heed_store_load(store, heed_store_find(store, "w"), HEED_F32, ctx, &x));
  float back[2];
  ASSERT_OK(heed_tensor_download_f32(x, back, 2));
  assert_true(back[0] == 1 && back[1] == -1);
  heed_tensor_destroy(x);
  heed_store_destroy(store);
  store = open_built("rank6.safetensors", "{\"w\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,2],\"data_offsets\":[0,2]}}",
                     data, 2);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "rank 6", heed_store_load(store, heed_store_find(store, "w"), HEED_U8, ctx, &x));
  assert_null(x);
  heed_store_destroy(store);
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- shards

static void write_shard(const char *name, const char *tensor, float value) {
  heed_safetensors *file = NULL;
  const int64_t dims[] = {1};
  ASSERT_OK(heed_safetensors_create(&file));
  ASSERT_OK(heed_safetensors_add(file, tensor, HEED_F32, 1, dims, &value));
  ASSERT_OK(heed_safetensors_add(file, "both", HEED_F32, 1, dims, &value));
  ASSERT_OK(heed_safetensors_set_metadata(file, "shard", name));
  ASSERT_OK(heed_safetensors_write(file, support_path(name)));
  heed_safetensors_destroy(file);
}

static const char *write_index(const char *map) {
  char text[1024];
  const int length = snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":8},\"weight_map\":%s}", map);
  char *path = support_path("model.safetensors.index.json");
  support_write_file(path, text, (size_t)length);
  return path;
}

static void shards_are_one_store(void **state) {
  (void)state;
  write_shard("model-1.safetensors", "a", 1);
  write_shard("model-2.safetensors", "b", 2);
  const char *index =
      write_index("{\"b\":\"model-2.safetensors\",\"a\":\"model-1.safetensors\",\"both\":\"model-2.safetensors\"}");
  for (int folder = 0; folder < 2; ++folder) {
    heed_store *store = NULL;
    ASSERT_OK(heed_store_open(folder ? support_folder() : index, &store));
    assert_int_equal(heed_store_count(store), 3);
    float value = 0;
    ASSERT_OK(heed_store_read(store, heed_store_find(store, "a"), HEED_F32, &value, 4));
    assert_true(value == 1);
    ASSERT_OK(heed_store_read(store, heed_store_find(store, "both"), HEED_F32, &value, 4));
    assert_true(value == 2);  // from the shard that the index names, though both have it
    assert_string_equal(heed_store_find(store, "b")->path, support_path("model-2.safetensors"));
    assert_string_equal(heed_store_metadata(store, "shard"), "model-2.safetensors");
    heed_store_destroy(store);
  }
  heed_safetensors *whole = NULL;
  ASSERT_OK(heed_safetensors_read(index, &whole));
  assert_int_equal(heed_safetensors_count(whole), 3);
  heed_safetensors_destroy(whole);
}

static void a_broken_index_is_refused_by_name(void **state) {
  (void)state;
  static const struct {
    const char *map, *part;
    heed_status status;
  } cases[] = {
      {"{\"a\":\"..\\\\model-1.safetensors\"}", "\"a\": its file \"..\\model-1.safetensors\" is not in the folder",
       HEED_ERROR_FORMAT},
      {"{\"a\":\"../model-1.safetensors\"}", "\"a\": its file \"../model-1.safetensors\" is not in the folder",
       HEED_ERROR_FORMAT},
      {"{\"a\":\"/model-1.safetensors\"}", "is not in the folder", HEED_ERROR_FORMAT},
      {"{\"a\":\"x/../../model-1.safetensors\"}", "is not in the folder", HEED_ERROR_FORMAT},
      {"{\"a\":\"\"}", "is not in the folder", HEED_ERROR_FORMAT},
      {"{\"a\":\"absent.safetensors\"}", "absent.safetensors: cannot open", HEED_ERROR_IO},
      {"{\"a\":\"model-1.safetensors\",\"c\":\"model-1.safetensors\"}", "\"c\": it should be in", HEED_ERROR_FORMAT},
      {"{\"a\":7}", "\"a\": its file is not a text", HEED_ERROR_FORMAT},
      {"{}", "names no tensor", HEED_ERROR_FORMAT},
      {"[]", "weight_map", HEED_ERROR_FORMAT},
  };
  write_shard("model-1.safetensors", "a", 1);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    heed_store *store = (heed_store *)(void *)state;
    const char *index = write_index(cases[i].map);
    ASSERT_FAILS(cases[i].status, cases[i].part, heed_store_open(index, &store));
    assert_non_null(strstr(heed_last_error(), index));
    assert_null(store);
  }
}

static void a_folder_without_a_model_is_refused(void **state) {
  (void)state;
  heed_store *store = NULL;
  support_empty_folder();
  ASSERT_FAILS(HEED_ERROR_IO, "directory without model.safetensors.index.json",
               heed_store_open(support_folder(), &store));
  write_shard("model.safetensors", "a", 1);
  ASSERT_OK(heed_store_open(support_folder(), &store));
  assert_int_equal(heed_store_count(store), 2);
  heed_store_destroy(store);
}

// ---------------------------------------------------------------- other files

static void other_files_are_called_what_they_are(void **state) {
  (void)state;
#define FILE_OF(start, part) \
  { start, sizeof start - 1, part }
  static const struct {
    const char *start;
    size_t bytes;
    const char *part;
  } files[] = {
      FILE_OF("<!DOCTYPE html>\n<html>", "a web page"),
      FILE_OF("\n  <HTML lang=en>", "a web page"),
      FILE_OF("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
      FILE_OF("PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0model/data.pkl", "torch.load"),
      FILE_OF("PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0x.npy", "numpy.load"),
      FILE_OF("\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\2M", "torch.load"),
      FILE_OF("GGUF\3\0\0\0\0\0\0\0\0\0\0\0", "a GGUF file"),
      FILE_OF("\x93NUMPY\1\0v\0{'descr': '<f4'", "numpy.load"),
      FILE_OF("\x89HDF\r\n\x1a\n\0\0\0", "an HDF5 file"),
      FILE_OF("\x08\x07\x12\x07pytorch\x1a\x05"
              "2.1.0:",
              "an ONNX model"),
      FILE_OF("\x1f\x8b\x08\0\0\0\0\0\0\3abc", "gunzip"),
      FILE_OF("{\"a\": 1}", "no index of shards"),
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; ++i) {
    heed_store *store = NULL;
    char *path = support_path("other");
    support_write_file(path, files[i].start, files[i].bytes);
    ASSERT_FAILS(HEED_ERROR_FORMAT, files[i].part, heed_store_open(path, &store));
    assert_non_null(strstr(heed_last_error(), path));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_dtype_of_the_format_is_listed),
      cmocka_unit_test(a_store_lists_and_finds),
      cmocka_unit_test(f64_is_rounded_once),
      cmocka_unit_test(f8_has_the_values_of_its_definition),
      cmocka_unit_test(half_floats_become_f32_exactly),
      cmocka_unit_test(integers_become_what_has_their_value),
      cmocka_unit_test(long_tensors_are_converted_piece_by_piece),
      cmocka_unit_test(a_tensor_is_loaded_onto_a_device),
      cmocka_unit_test(shards_are_one_store),
      cmocka_unit_test(a_broken_index_is_refused_by_name),
      cmocka_unit_test(a_folder_without_a_model_is_refused),
      cmocka_unit_test(other_files_are_called_what_they_are),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
