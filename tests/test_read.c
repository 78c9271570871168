// Reads that nobody waits for: they give what a download gives at their place in the queue, however the tensor lies, and whatever
// becomes of the tensor and of the context after they were started.
#include "cl/runtime/runtime.h"
#include "support_values.h"

enum { SIZE = 96 };

static heed_read *start(const heed_tensor *tensor, void *data) {
  heed_read *read = NULL;
  ASSERT_OK(heed_read_start(tensor, data, heed_tensor_bytes(tensor), &read));
  assert_non_null(read);
  return read;
}

// Asks until it is done.
static void poll(heed_read *read) {
  bool done = false;
  while (!done) ASSERT_OK(heed_read_test(read, &done));
}

static void a_read_gives_what_a_download_gives(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_I64, HEED_U8};
  for (int d = 0; d < 4; ++d)
    for (int polled = 0; polled < 2; ++polled) {
      heed_tensor *x = support_new(ctx, dtypes[d], SHAPE(4, 6)), *part = NULL;
      for (int i = 0; i < 2; ++i) {
        ASSERT_OK(heed_tensor_slice(x, 1, 3 * i, 3, &part));
        ASSERT_OK(heed_fill(part, 5 + i));
        heed_tensor_destroy(part);
      }
      const heed_tensor *views[] = {x, support_transposed(x)};
      for (int v = 0; v < 2; ++v) {
        uint8_t read_data[4 * 6 * 8], expected[4 * 6 * 8];
        const size_t bytes = heed_tensor_bytes(views[v]);
        heed_read *read = start(views[v], read_data);
        if (polled)
          poll(read);
        else
          ASSERT_OK(heed_read_wait(read));
        ASSERT_OK(heed_tensor_download(views[v], expected, bytes));
        assert_memory_equal(read_data, expected, bytes);
        ASSERT_OK(heed_read_wait(read));  // again
        bool done = false;
        ASSERT_OK(heed_read_test(read, &done));
        assert_true(done);
        heed_read_destroy(read);
      }
    }
}

// The values are those of the moment, though the tensor goes on.
static void reads_keep_their_place_in_the_queue(void **state) {
  heed_context *ctx = support_context(state);
  enum { READS = 8 };
  heed_tensor *x = support_new(ctx, HEED_F32, SHAPE(SIZE));
  float data[READS][SIZE];
  heed_read *reads[READS];
  ASSERT_OK(heed_fill(x, 0));
  for (int i = 0; i < READS; ++i) {
    reads[i] = start(x, data[i]);
    ASSERT_OK(heed_add(1, x, 1, x, x));
    ASSERT_OK(heed_fill(x, i + 1));
  }
  for (int i = READS - 1; i >= 0; --i) {
    ASSERT_OK(heed_read_wait(reads[i]));
    for (int j = 0; j < SIZE; ++j) ASSERT_CLOSE(data[i][j], i, 0);
    heed_read_destroy(reads[i]);
  }
}

static void a_tensor_may_go_before_its_read(void **state) {
  heed_context *ctx = support_context(state);
  float data[SIZE];
  heed_tensor *x = NULL, *column = NULL;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, (const int64_t[]){SIZE, 2}, &x));
  ASSERT_OK(heed_fill(x, 3));
  ASSERT_OK(heed_tensor_slice(x, 1, 1, 1, &column));
  heed_read *read = start(column, data);
  heed_tensor_destroy(column);
  heed_tensor_destroy(x);
  heed_tensor *other = support_new(ctx, HEED_F32, SHAPE(SIZE, 2));
  ASSERT_OK(heed_fill(other, 4));
  ASSERT_OK(heed_read_wait(read));
  for (int i = 0; i < SIZE; ++i) ASSERT_CLOSE(data[i], 3, 0);
  heed_read_destroy(read);
}

// Destroying a read waits for it; destroying the context leaves its reads whole.
static void destroying_in_flight_is_safe(void **state) {
  heed_context *own = NULL;
  const heed_context *ctx = support_context(state);
  const bool host = heed_context_device(ctx)->type == HEED_DEVICE_HOST;
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = host ? "host" : NULL, .validate = -1}, &own));
  float data[2][SIZE];
  heed_tensor *x = NULL;
  ASSERT_OK(heed_tensor_create(own, HEED_F32, 1, (const int64_t[]){SIZE}, &x));
  ASSERT_OK(heed_fill(x, 7));
  heed_read *first = start(x, data[0]), *second = start(x, data[1]);
  heed_read_destroy(first);
  for (int i = 0; i < SIZE; ++i) ASSERT_CLOSE(data[0][i], 7, 0);
  heed_tensor_destroy(x);
  heed_context_destroy(own);
  ASSERT_OK(heed_read_wait(second));
  for (int i = 0; i < SIZE; ++i) ASSERT_CLOSE(data[1][i], 7, 0);
  heed_read_destroy(second);
}

// As on a GPU, by a queue of its own, into page-locked memory, and as elsewhere. On the way that a sum over ranks takes: each part is read
// as soon as it is final, while the work on the next ones is queued.
static void reads_beside_give_what_was_queued_before_them(void **state) {
  heed_context *ctx = support_context(state);
  enum { PARTS = 6, LONG = 40000 };
  const bool host = heed_context_device(ctx)->type == HEED_DEVICE_HOST;
  heed_tensor *parts[PARTS], *one = support_new(ctx, HEED_F32, SHAPE(LONG));
  for (int i = 0; i < PARTS; ++i) parts[i] = support_new(ctx, HEED_F32, SHAPE(LONG));
  ASSERT_OK(heed_fill(one, 1));
  for (int beside = 0; beside < (host ? 1 : 2); ++beside) {
    if (!host) heed__cl_state(ctx)->traits.copies_beside = beside;
    heed_host_memory *memory = NULL;
    ASSERT_OK(heed_host_memory_create(ctx, PARTS * LONG * sizeof(float), &memory));
    float *data = heed_host_memory_data(memory);
    heed_read *reads[PARTS];
    for (int i = 0; i < PARTS; ++i) {
      ASSERT_OK(heed_fill(parts[i], i));
      for (int j = 0; j < 20; ++j) ASSERT_OK(heed_add(1, parts[i], 1, one, parts[i]));
      ASSERT_OK(heed_read_start_beside(parts[i], data + i * LONG, LONG * sizeof(float), &reads[i]));
    }
    for (int i = 0; i < PARTS; ++i) {
      ASSERT_OK(heed_read_wait(reads[i]));
      for (int j = 0; j < LONG; ++j) ASSERT_CLOSE(data[i * LONG + j], i + 20, 0);
      heed_read_destroy(reads[i]);
    }
    heed_host_memory_destroy(memory);
  }
}

// The last read of a context that is closed ends before its memory goes, and data come back from that memory as from any other.
static void host_memory_outlives_its_context(void **state) {
  heed_context *own = NULL;
  const heed_context *ctx = support_context(state);
  const bool host = heed_context_device(ctx)->type == HEED_DEVICE_HOST;
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = host ? "host" : NULL}, &own));
  if (!host) heed__cl_state(own)->traits.copies_beside = true;
  heed_host_memory *memory = NULL;
  ASSERT_OK(heed_host_memory_create(own, SIZE * sizeof(float), &memory));
  float *data = heed_host_memory_data(memory);
  for (int i = 0; i < SIZE; ++i) data[i] = (float)i;
  heed_tensor *x = NULL;
  ASSERT_OK(heed_tensor_create_from(own, HEED_F32, 1, (const int64_t[]){SIZE}, data, &x));
  ASSERT_OK(heed_add(2, x, 0, x, x));
  heed_read *read = NULL;
  ASSERT_OK(heed_read_start_beside(x, data, SIZE * sizeof(float), &read));
  heed_context_destroy(own);
  ASSERT_OK(heed_read_wait(read));
  heed_read_destroy(read);
  heed_tensor_destroy(x);
  for (int i = 0; i < SIZE; ++i) ASSERT_CLOSE(data[i], 2 * i, 0);
  heed_host_memory_destroy(memory);
}

static void an_empty_tensor_is_read_at_once(void **state) {
  heed_context *ctx = support_context(state);
  bool done = false;
  heed_read *read = start(support_new(ctx, HEED_F32, SHAPE(3, 0)), NULL);
  ASSERT_OK(heed_read_test(read, &done));
  assert_true(done);
  heed_read_destroy(read);
}

static void a_validating_context_reads_too(void **state) {
  const heed_context *ctx = support_context(state);
  if (heed_context_device(ctx)->type == HEED_DEVICE_HOST) skip();
  heed_context *own = NULL;
  ASSERT_OK(heed_open_with(&(heed_open_options){.validate = 1}, &own));
  heed_tensor *x = NULL;
  float data[SIZE];
  ASSERT_OK(heed_tensor_create(own, HEED_F32, 1, (const int64_t[]){SIZE}, &x));
  ASSERT_OK(heed_fill(x, 2));
  heed_read *read = start(x, data);
  poll(read);
  ASSERT_CLOSE(data[SIZE - 1], 2, 0);
  heed_read_destroy(read);
  heed_tensor_destroy(x);
  heed_context_destroy(own);
}

// What the queue has met before is told by the read, each time, and by the sync after it.
static void errors_of_queued_work_surface(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(SIZE), 1);
  float data[SIZE];
  heed__context_defer(ctx, heed__fail(HEED_ERROR_DEVICE, "a kernel fell over"));
  heed_read *read = start(x, data);
  ASSERT_FAILS(HEED_ERROR_DEVICE, "a kernel fell over", heed_read_wait(read));
  bool done = false;
  ASSERT_FAILS(HEED_ERROR_DEVICE, "a kernel fell over", heed_read_test(read, &done));
  assert_true(done);
  ASSERT_FAILS(HEED_ERROR_DEVICE, "a kernel fell over", heed_sync(ctx));
  ASSERT_OK(heed_sync(ctx));
  ASSERT_FAILS(HEED_ERROR_DEVICE, "a kernel fell over", heed_read_wait(read));
  heed_read_destroy(read);
}

static void misuse_is_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(SIZE), 1);
  float data[SIZE];
  heed_read *read = (heed_read *)(void *)state;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "read: an argument is NULL", heed_read_start(NULL, data, 0, &read));
  assert_null(read);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_read_start(x, NULL, sizeof data, &read));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "380 bytes given, F32[96] has 384", heed_read_start(x, data, 380, &read));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "out is NULL", heed_read_start(x, data, sizeof data, NULL));
  bool done;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_read_test(NULL, &done));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_read_wait(NULL));
  heed_read_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_read_gives_what_a_download_gives),
      TEST(reads_keep_their_place_in_the_queue),
      TEST(a_tensor_may_go_before_its_read),
      TEST(destroying_in_flight_is_safe),
      TEST(an_empty_tensor_is_read_at_once),
      TEST(a_validating_context_reads_too),
      TEST(reads_beside_give_what_was_queued_before_them),
      TEST(host_memory_outlives_its_context),
      TEST(errors_of_queued_work_surface),
      TEST(misuse_is_refused),
  };
  return RUN_ON_BOTH("reads", tests);
}
