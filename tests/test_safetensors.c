// Safetensors files: what is written comes back, and what is malformed is refused by name and reason. Malformed files are built
// byte by byte.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <heed/io.h>

#include "support_files.h"

// Length, header text, `data_bytes` zeros.
static size_t build(char *out, const char *header, size_t header_bytes, size_t data_bytes) {
  for (int i = 0; i < 8; ++i) out[i] = (char)((uint64_t)header_bytes >> (8 * i));
  memcpy(out + 8, header, header_bytes);
  memset(out + 8 + header_bytes, 0, data_bytes);
  return 8 + header_bytes + data_bytes;
}

static void assert_refused_bytes(const void *bytes, size_t count, heed_status status, const char *part) {
  char *path = support_path("bad.safetensors");
  support_write_file(path, bytes, count);
  heed_safetensors *file = (heed_safetensors *)1;
  ASSERT_FAILS(status, part, heed_safetensors_read(path, &file));
  assert_null(file);
  assert_non_null(strstr(heed_last_error(), path));
}

static void assert_refused(const char *header, size_t data_bytes, const char *part) {
  char bytes[4096];
  assert_refused_bytes(bytes, build(bytes, header, strlen(header), data_bytes), HEED_ERROR_FORMAT, part);
}

static heed_safetensors *read_built(const char *header, const void *data, size_t data_bytes) {
  char bytes[4096];
  const size_t count = build(bytes, header, strlen(header), data_bytes);
  if (data_bytes > 0) memcpy(bytes + count - data_bytes, data, data_bytes);
  support_write_file(support_path("good.safetensors"), bytes, count);
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_read(support_path("good.safetensors"), &file));
  return file;
}

static heed_safetensors *small_file(float value) {
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_create(&file));
  const float data[] = {value, value + 1, value + 2};
  const int64_t dims[] = {3};
  ASSERT_OK(heed_safetensors_add(file, "x", HEED_F32, 1, dims, data));
  return file;
}

// ---------------------------------------------------------------- round trips

static void every_dtype_and_rank_comes_back(void **state) {
  (void)state;
  heed_safetensors *file = NULL, *back = NULL;
  ASSERT_OK(heed_safetensors_create(&file));
  const int64_t dims[HEED_MAX_STORED_RANK] = {2, 1, 3, 2, 2, 1, 1, 2};
  uint8_t data[48 * 8];
  for (int dtype = 0; heed_dtype_size((heed_dtype)dtype) > 0; ++dtype) {
    for (int rank = 0; rank <= HEED_MAX_STORED_RANK; ++rank) {
      char name[32];
      snprintf(name, sizeof name, "t.%d.%d", dtype, rank);
      for (size_t i = 0; i < sizeof data; ++i) data[i] = (uint8_t)(dtype == HEED_BOOL ? i % 2 : i * 37 + (size_t)rank);
      ASSERT_OK(heed_safetensors_add(file, name, (heed_dtype)dtype, rank, dims, data));
    }
  }
  ASSERT_OK(heed_safetensors_write(file, support_path("all.safetensors")));
  ASSERT_OK(heed_safetensors_read(support_path("all.safetensors"), &back));
  assert_int_equal(heed_safetensors_count(back), heed_safetensors_count(file));
  for (size_t i = 0; i < heed_safetensors_count(file); ++i) {
    const heed_array *a = heed_safetensors_get(file, i), *b = heed_safetensors_find(back, a->name);
    assert_non_null(b);
    assert_int_equal(b->dtype, a->dtype);
    assert_int_equal(b->rank, a->rank);
    assert_memory_equal(b->dims, a->dims, (size_t)a->rank * sizeof *a->dims);
    assert_int_equal(b->bytes, a->bytes);
    assert_memory_equal(b->data, a->data, a->bytes);
    assert_int_equal((uintptr_t)b->data % 16, 0);
  }
  assert_null(heed_safetensors_get(back, heed_safetensors_count(back)));
  assert_null(heed_safetensors_find(back, "nothing"));
  heed_safetensors_destroy(file);
  heed_safetensors_destroy(back);
}

static void arrays_start_at_multiples_of_their_element_size(void **state) {
  (void)state;
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_create(&file));
  const int64_t three[] = {3}, one[] = {1};
  const uint8_t bytes[8] = {1, 0, 1};
  const int64_t wide = 7;
  ASSERT_OK(heed_safetensors_add(file, "bytes", HEED_U8, 1, three, bytes));
  ASSERT_OK(heed_safetensors_add(file, "wide", HEED_I64, 1, one, &wide));
  ASSERT_OK(heed_safetensors_write(file, support_path("aligned.safetensors")));
  heed_safetensors_destroy(file);
  char raw[512];
  const size_t size = support_read_file(support_path("aligned.safetensors"), raw, sizeof raw);
  const size_t header = (uint8_t)raw[0];
  assert_int_equal(size, 8 + header + 8 + 3);
  assert_int_equal((8 + header) % 8, 0);
  assert_int_equal(raw[8], '{');
  assert_memory_equal(raw + 8 + header, &wide, sizeof wide);
  assert_memory_equal(raw + 8 + header + 8, bytes, 3);
}

static void metadata_comes_back(void **state) {
  (void)state;
  heed_safetensors *file = small_file(1), *back = NULL;
  ASSERT_OK(heed_safetensors_set_metadata(file, "op", "old"));
  ASSERT_OK(heed_safetensors_set_metadata(file, "quotes", "\"\\\n\té√"));
  ASSERT_OK(heed_safetensors_set_metadata(file, "op", "mha"));
  ASSERT_OK(heed_safetensors_set_metadata(file, "", ""));
  ASSERT_OK(heed_safetensors_write(file, support_path("meta.safetensors")));
  ASSERT_OK(heed_safetensors_read(support_path("meta.safetensors"), &back));
  assert_int_equal(heed_safetensors_metadata_count(back), 3);
  assert_string_equal(heed_safetensors_metadata(back, "op"), "mha");
  assert_string_equal(heed_safetensors_metadata(back, "quotes"), "\"\\\n\té√");
  assert_string_equal(heed_safetensors_metadata(back, ""), "");
  assert_string_equal(heed_safetensors_metadata_key(back, 0), "op");
  assert_null(heed_safetensors_metadata(back, "none"));
  assert_null(heed_safetensors_metadata_key(back, 3));
  heed_safetensors_destroy(file);
  heed_safetensors_destroy(back);
}

static void an_empty_file_and_empty_tensors_are_legal(void **state) {
  (void)state;
  heed_safetensors *file = NULL, *back = NULL;
  ASSERT_OK(heed_safetensors_create(&file));
  ASSERT_OK(heed_safetensors_write(file, support_path("empty.safetensors")));
  ASSERT_OK(heed_safetensors_read(support_path("empty.safetensors"), &back));
  assert_int_equal(heed_safetensors_count(back), 0);
  heed_safetensors_destroy(back);
  const int64_t dims[] = {2, 0, 3};
  ASSERT_OK(heed_safetensors_add(file, "nothing", HEED_F32, 3, dims, NULL));
  ASSERT_OK(heed_safetensors_add(file, "none", HEED_F32, 3, dims, NULL));
  ASSERT_OK(heed_safetensors_write(file, support_path("empty.safetensors")));
  heed_safetensors_destroy(file);
  ASSERT_OK(heed_safetensors_read(support_path("empty.safetensors"), &back));
  assert_int_equal(heed_safetensors_find(back, "nothing")->bytes, 0);
  assert_non_null(heed_safetensors_find(back, "none")->data);
  heed_safetensors_destroy(back);
  file = read_built("{}   ", NULL, 0);
  assert_int_equal(heed_safetensors_count(file), 0);
  heed_safetensors_destroy(file);
}

static void f64_is_read_as_the_nearest_f32(void **state) {
  (void)state;
  const double wide[] = {1 + 0x1p-24, 1 + 0x1p-24 + 0x1p-40, -0.0, 1e300, 0x1p-149, NAN};
  heed_safetensors *file =
      read_built("{\"d\":{\"dtype\":\"F64\",\"shape\":[2,3],\"data_offsets\":[0,48]}}", wide, sizeof wide);
  const heed_array *d = heed_safetensors_find(file, "d");
  const float *x = d->data;
  assert_int_equal(d->dtype, HEED_F32);
  assert_int_equal(d->bytes, 24);
  assert_true(x[0] == 1 && x[1] == 1 + 0x1p-23f && x[2] == 0 && signbit(x[2]));
  assert_true(isinf(x[3]) && x[4] == 0x1p-149f && isnan(x[5]));
  heed_safetensors_destroy(file);
}

static void arrays_come_in_the_order_of_their_data(void **state) {
  (void)state;
  const uint8_t data[] = {1, 2, 3};
  heed_safetensors *file = read_built(
      "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]},"
      "\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]},"
      "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
      data, sizeof data);
  assert_string_equal(heed_safetensors_get(file, 0)->name, "a");
  assert_string_equal(heed_safetensors_get(file, 1)->name, "e");
  assert_string_equal(heed_safetensors_get(file, 2)->name, "b");
  assert_int_equal(*(uint8_t *)heed_safetensors_get(file, 2)->data, 3);
  heed_safetensors_destroy(file);
}

static void tensors_go_in_and_out(void **state) {
  (void)state;
  heed_context *ctx = NULL;
  ASSERT_OK(heed_open("host", &ctx));
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_create(&file));
  const int64_t dims[] = {2, 3};
  const float data[] = {0, 1, 2, 3, 4, 5}, turned[] = {0, 3, 1, 4, 2, 5};
  heed_tensor *x = NULL, *xt = NULL, *y = NULL;
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 2, dims, data, &x));
  ASSERT_OK(heed_tensor_permute(x, (const int[]){1, 0}, &xt));
  ASSERT_OK(heed_safetensors_add_tensor(file, "xt", xt));
  const heed_array *array = heed_safetensors_find(file, "xt");
  assert_int_equal(array->dims[0], 3);
  assert_memory_equal(array->data, turned, sizeof turned);
  ASSERT_OK(heed_array_to_tensor(array, ctx, &y));
  float back[6];
  ASSERT_OK(heed_tensor_download(y, back, sizeof back));
  assert_memory_equal(back, turned, sizeof turned);
  heed_tensor_destroy(x);
  heed_tensor_destroy(xt);
  heed_tensor_destroy(y);
  heed_safetensors_destroy(file);
  assert_int_equal(heed_context_live_tensors(ctx), 0);
  heed_context_destroy(ctx);
}

// A name from a file may be of any length: a message has its beginning, in whole letters.
static void a_long_name_is_cut_in_a_message(void **state) {
  (void)state;
  heed_context *ctx = NULL;
  heed_tensor *x = NULL;
  ASSERT_OK(heed_open("host", &ctx));
  char name[300] = "";
  for (int length = 85; length < 95;
       ++length) {  // so that the cut comes before, within and behind a letter of three bytes
    memset(name, 'n', (size_t)length);
    strcpy(name + length, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac and so on");
    ASSERT_FAILS(HEED_ERROR_SHAPE, "...", heed_array_to_tensor(&(heed_array){.name = name, .rank = -1}, ctx, &x));
    const char *cut = strstr(heed_last_error(), "...\"");
    assert_non_null(cut);
    assert_int_equal(strncmp(heed_last_error(), "tensor \"nnnn", 12), 0);
    const unsigned char *last = (const unsigned char *)cut - 1;
    const bool whole = *last == 'n' || memcmp(last - 2, "\xe2\x82\xac", 3) == 0;
    if (!whole) fail_msg("%d letters before: '%s'", length, heed_last_error());
    assert_null(x);
  }
  heed_context_destroy(ctx);
}

static void adding_checks_its_arguments(void **state) {
  (void)state;
  heed_safetensors *file = small_file(0);
  const int64_t dims[9] = {2, 2, 2, 2, 2}, negative[] = {-1};
  const int64_t huge[] = {INT64_C(1) << 40, INT64_C(1) << 40};
  const uint8_t truths[32] = {0, 1, 2, 255};
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "\"x\" is there already",
               heed_safetensors_add(file, "x", HEED_U8, 1, dims, truths));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "not UTF-8", heed_safetensors_add(file, "\xff", HEED_U8, 1, dims, truths));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "__metadata__",
               heed_safetensors_add(file, "__metadata__", HEED_U8, 1, dims, truths));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "rank 9", heed_safetensors_add(file, "y", HEED_U8, 9, dims, truths));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "negative", heed_safetensors_add(file, "y", HEED_U8, 1, negative, truths));
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "64 bits", heed_safetensors_add(file, "y", HEED_U8, 2, huge, truths));
  ASSERT_FAILS(HEED_ERROR_DTYPE, "dtype",
               heed_safetensors_add(file, "y", (heed_dtype)(HEED_BOOL + 1), 1, dims, truths));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "UTF-8", heed_safetensors_set_metadata(file, "k", "\xc3("));
  assert_int_equal(heed_safetensors_count(file), 1);
  ASSERT_OK(heed_safetensors_add(file, "truth", HEED_BOOL, 2, dims, truths));
  const uint8_t normal[] = {0, 1, 1, 1};
  assert_memory_equal(heed_safetensors_find(file, "truth")->data, normal, 4);
  heed_safetensors_destroy(file);
}

// ---------------------------------------------------------------- refusals

#define ENTRY(dtype, shape, offsets) "{\"w\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void a_broken_header_is_refused(void **state) {
  (void)state;
  assert_refused_bytes("", 0, HEED_ERROR_FORMAT, "is empty");
  assert_refused_bytes("a text of some length", 21, HEED_ERROR_FORMAT, "a text, not safetensors");
  assert_refused_bytes("\2\0\0\0\0\0\0", 7, HEED_ERROR_FORMAT, "truncated");
  assert_refused_bytes("\3\0\0\0\0\0\0\0{}", 10, HEED_ERROR_FORMAT, "truncated");
  assert_refused_bytes("\0\0\0\0\0\0\0\0", 8, HEED_ERROR_FORMAT, "not a JSON object");
  assert_refused_bytes("\x01\xe1\xf5\x05\0\0\0\0{}", 10, HEED_ERROR_FORMAT, "limit");  // 100000001
  assert_refused_bytes("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, HEED_ERROR_FORMAT, "limit");
  assert_refused_bytes("\0\xe1\xf5\x05\0\0\0\0{}", 10, HEED_ERROR_FORMAT, "truncated");  // 100000000
  assert_refused("[]", 0, "not a JSON object");
  assert_refused(" {}", 0, "not a JSON object");
  assert_refused("hello", 0, "not a JSON object");
  assert_refused("{\"w\":", 0, "not valid JSON");
  assert_refused("{} x", 0, "not valid JSON");
  assert_refused(
      "{\"w\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
      "\"w\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[1,2]}}",
      2, "duplicate");
  assert_refused("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "UTF-8");
  assert_refused("{\"\\u0000\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "not valid JSON");
  assert_refused("{\"__metadata__\":[]}", 0, "__metadata__");
  assert_refused("{\"__metadata__\":{\"k\":1}}", 0, "\"k\" is not a string");
}

static void a_broken_entry_is_refused_by_name(void **state) {
  (void)state;
  assert_refused("{\"w\":1}", 0, "\"w\": its header entry");
  assert_refused("{\"w\":{}}", 0, "\"w\": no \"dtype\"");
  assert_refused(ENTRY("\"I7\"", "[1]", "[0,2]"), 2, "\"w\": dtype I7");
  assert_refused(ENTRY("7", "[1]", "[0,1]"), 1, "\"w\": no \"dtype\"");
  assert_refused("{\"w\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "\"shape\"");
  assert_refused(ENTRY("\"U8\"", "1", "[0,1]"), 1, "\"shape\"");
  assert_refused(ENTRY("\"U8\"", "[1.0]", "[0,1]"), 1, "dimension 0 is not an integer");
  assert_refused(ENTRY("\"U8\"", "[1,-1]", "[0,1]"), 1, "dimension 1 is negative");
  assert_refused(ENTRY("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, "rank 9");
  assert_refused(ENTRY("\"F32\"", "[4611686018427387904]", "[0,0]"), 0, "64 bits");
  assert_refused(ENTRY("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0, "64 bits");
  assert_refused(ENTRY("\"F32\"", "[9223372036854775807]", "[0,0]"), 0, "64 bits");
  assert_refused(ENTRY("\"U8\"", "[9223372036854775807]", "[0,9223372036854775807]"), 0, "\"w\": truncated");
  assert_refused(ENTRY("\"U8\"", "[9223372036854775808]", "[0,1]"), 1, "too big integer");
  assert_refused(ENTRY("\"F32\"", "[3,0]", "[0,4]"), 4, "its shape takes 0");
  assert_refused(ENTRY("\"U8\"", "[99999999999999999999]", "[0,1]"), 1, "not valid JSON");
  assert_refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "data_offsets");
  assert_refused(ENTRY("\"U8\"", "[1]", "[0]"), 1, "data_offsets");
  assert_refused(ENTRY("\"U8\"", "[1]", "[0,1,1]"), 1, "data_offsets");
  assert_refused(ENTRY("\"U8\"", "[1]", "[0,true]"), 1, "data_offsets");
  assert_refused(ENTRY("\"U8\"", "[1]", "[-1,0]"), 1, "not a range");
  assert_refused(ENTRY("\"U8\"", "[1]", "[1,0]"), 1, "not a range");
  assert_refused("{\"w\\n\\u001b[2J\":{}}", 0, "\"w??[2J\"");
}

static void a_broken_layout_is_refused(void **state) {
  (void)state;
  assert_refused(ENTRY("\"F32\"", "[1]", "[0,1]"), 1, "its shape takes 4");
  assert_refused(ENTRY("\"U8\"", "[2]", "[0,2]"), 1, "truncated");
  assert_refused(ENTRY("\"U8\"", "[1099511627776]", "[0,1099511627776]"), 1, "truncated");
  assert_refused(ENTRY("\"U8\"", "[1]", "[1,2]"), 2, "belong to no tensor");
  assert_refused(ENTRY("\"U8\"", "[1]", "[0,1]"), 2, "1 bytes after the last tensor");
  assert_refused("{}", 1, "after the last tensor");
#define TWO(a, b)                                              \
  "{\"v\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" a \
  "},\"w\":{\"dtype\":\"U8\",\"shape\":[2],"                   \
  "\"data_offsets\":" b "}}"
  assert_refused(TWO("[0,2]", "[1,3]"), 3, "overlap");
  assert_refused(TWO("[0,2]", "[0,2]"), 2, "overlap");
  assert_refused(TWO("[0,2]", "[3,5]"), 5, "belong to no tensor");
  assert_refused(TWO("[3,5]", "[0,2]"), 5, "\"v\"");
}

static void a_bool_is_0_or_1(void **state) {
  (void)state;
  char bytes[256];
  const char *header = ENTRY("\"BOOL\"", "[3]", "[0,3]");
  const size_t count = build(bytes, header, strlen(header), 3);
  bytes[count - 1] = 2;
  assert_refused_bytes(bytes, count, HEED_ERROR_FORMAT, "\"w\": element 2 of a BOOL is 2");
}

static void deep_json_is_refused(void **state) {
  (void)state;
  const size_t depth = 200000;
  char *bytes = malloc(depth + 64);
  assert_non_null(bytes);
  char *header = bytes + 8;
  strcpy(header, "{\"w\":");
  memset(header + 5, '[', depth);
  const size_t length = depth + 5;
  for (int i = 0; i < 8; ++i) bytes[i] = (char)((uint64_t)length >> (8 * i));
  assert_refused_bytes(bytes, length + 8, HEED_ERROR_FORMAT, "maximum parsing depth");
  free(bytes);
}

static void what_is_no_file_is_refused(void **state) {
  (void)state;
  heed_safetensors *file = NULL;
  ASSERT_FAILS(HEED_ERROR_IO, "No such file", heed_safetensors_read(support_path("absent"), &file));
  ASSERT_FAILS(HEED_ERROR_IO, "directory", heed_safetensors_read(support_folder(), &file));
  assert_null(file);
}

static size_t sample(char *bytes) {
  const char *header =
      "{\"__metadata__\":{\"a\":\"b\"},\"v\":{\"dtype\":\"F64\",\"shape\":[1,2],\"data_offsets\":[0,16]},"
      "\"w\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[16,18]}}";
  return build(bytes, header, strlen(header), 18);
}

static void every_truncation_is_refused(void **state) {
  (void)state;
  char bytes[512];
  const size_t count = sample(bytes);
  for (size_t length = 0; length < count; ++length) assert_refused_bytes(bytes, length, HEED_ERROR_FORMAT, "truncated");
}

static void no_damaged_byte_does_harm(void **state) {
  (void)state;
  char bytes[512];
  const size_t count = sample(bytes);
  char *path = support_path("damaged.safetensors");
  for (size_t at = 0; at < count; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[at] ^= (char)(1 << bit);
      support_write_file(path, bytes, count);
      heed_safetensors *file = NULL;
      const heed_status status = heed_safetensors_read(path, &file);
      assert_true(status == HEED_OK || status == HEED_ERROR_FORMAT);
      heed_safetensors_destroy(file);
      bytes[at] ^= (char)(1 << bit);
    }
  }
}

static heed_status read_through_pipe(const char *bytes, size_t count, heed_safetensors **file) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], bytes, count), count);
  close(ends[1]);
  char path[32];
  snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
  const heed_status status = heed_safetensors_read(path, file);
  close(ends[0]);
  return status;
}

static void a_pipe_is_read_and_checked_alike(void **state) {
  (void)state;
  char bytes[512];
  const size_t count = sample(bytes);
  heed_safetensors *file = NULL;
  ASSERT_OK(read_through_pipe(bytes, count, &file));
  assert_int_equal(heed_safetensors_count(file), 2);
  heed_safetensors_destroy(file);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "truncated", read_through_pipe(bytes, count - 1, &file));
  bytes[count] = 0;
  ASSERT_FAILS(HEED_ERROR_FORMAT, "after the last tensor", read_through_pipe(bytes, count + 1, &file));
  const char *header = ENTRY("\"U8\"", "[4611686018427387904]", "[0,4611686018427387904]");
  const size_t claims = build(bytes, header, strlen(header), 5);
  if (sizeof(size_t) > 4)
    ASSERT_FAILS(HEED_ERROR_FORMAT, "truncated", read_through_pipe(bytes, claims, &file));
  else  // more than 32 bits address
    ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "too large", read_through_pipe(bytes, claims, &file));
  assert_null(file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_dtype_and_rank_comes_back),
      cmocka_unit_test(arrays_start_at_multiples_of_their_element_size),
      cmocka_unit_test(metadata_comes_back),
      cmocka_unit_test(an_empty_file_and_empty_tensors_are_legal),
      cmocka_unit_test(f64_is_read_as_the_nearest_f32),
      cmocka_unit_test(arrays_come_in_the_order_of_their_data),
      cmocka_unit_test(tensors_go_in_and_out),
      cmocka_unit_test(a_long_name_is_cut_in_a_message),
      cmocka_unit_test(adding_checks_its_arguments),
      cmocka_unit_test(a_broken_header_is_refused),
      cmocka_unit_test(a_broken_entry_is_refused_by_name),
      cmocka_unit_test(a_broken_layout_is_refused),
      cmocka_unit_test(a_bool_is_0_or_1),
      cmocka_unit_test(deep_json_is_refused),
      cmocka_unit_test(what_is_no_file_is_refused),
      cmocka_unit_test(every_truncation_is_refused),
      cmocka_unit_test(no_damaged_byte_does_harm),
      cmocka_unit_test(a_pipe_is_read_and_checked_alike),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
