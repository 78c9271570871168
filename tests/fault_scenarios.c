// The runs of fault_program.c. Everything that can fail returns its status; nothing here allocates memory of its own.
#include "fault_program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <heed/io.h>
#include <heed/lm.h>
#include <heed/opencl.h>
#include <heed/text.h>
#include <heed/tune.h>

#include "cases/case.h"
#include "cl/runtime/runtime.h"

#define TRY_TO(label, status, call)      \
  do {                                   \
    (status) = (call);                   \
    if ((status) != HEED_OK) goto label; \
  } while (0)

heed_status fault_made(struct fault_values *values, heed_status status, const void *out_pointer) {
  const void *out;
  memcpy(&out, out_pointer, sizeof out);
  if (status != HEED_OK && out) values->broken = "a failing call left a pointer that is not NULL";
  if (status == HEED_OK && !out) values->broken = "a call succeeded without a result";
  return status;
}

static float sample(uint64_t seed, uint64_t index) { return (float)(2 * heed_random_uniform(seed, 0, index) - 1); }

static float host_data[1 << 17];

heed_status fault_create(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, uint64_t seed,
                         struct fault_values *values, heed_tensor **out) {
  int64_t count = 1;
  for (int i = 0; i < rank; i++) count *= dims[i];
  heed_status status = fault_made(values, heed_tensor_create(ctx, dtype, rank, dims, out), out);
  if (status != HEED_OK || !heed_dtype_is_float(dtype)) return status;
  for (int64_t i = 0; i < count; i++) host_data[i] = sample(seed, (uint64_t)i);
  return heed_tensor_upload_f32(*out, host_data, count);
}

heed_status fault_keep(struct fault_values *values, const heed_tensor *tensor) {
  const int64_t count = heed_tensor_count(tensor);
  if (values->count + count > FAULT_MAX_VALUES) return HEED_ERROR_OVERFLOW;
  const heed_status status = heed_tensor_download_f32(tensor, values->values + values->count, count);
  if (status == HEED_OK) values->count += count;
  return status;
}

static void destroy_all(heed_tensor **tensors, size_t count) {
  for (size_t i = 0; i < count; i++) heed_tensor_destroy(tensors[i]);
}

// ---------------------------------------------------------------- transfers and views

static heed_status transfers(heed_context *ctx, struct fault_values *values) {
  enum { SMALL, LARGE, HALF, SLICE, TURNED, FLAT, COPY, COUNT };
  heed_tensor *t[COUNT] = {NULL};
  heed_status status;
  TRY_TO(end, status, fault_create(ctx, HEED_F32, 2, DIMS(6, 10), 1, values, &t[SMALL]));
  TRY_TO(end, status, fault_create(ctx, HEED_F32, 1, DIMS(70000), 2, values, &t[LARGE]));  // past what is copied aside
  TRY_TO(end, status, fault_create(ctx, HEED_F16, 2, DIMS(10, 6), 3, values, &t[HALF]));
  TRY_TO(end, status, fault_made(values, heed_tensor_slice(t[SMALL], 1, 2, 6, &t[SLICE]), &t[SLICE]));
  TRY_TO(end, status, fault_made(values, heed_tensor_permute(t[HALF], (const int[]){1, 0}, &t[TURNED]), &t[TURNED]));
  TRY_TO(end, status, fault_made(values, heed_tensor_reshape(t[SMALL], 1, DIMS(60), &t[FLAT]), &t[FLAT]));
  for (int i = 0; i < 36; i++) host_data[i] = sample(4, (uint64_t)i);
  TRY_TO(end, status, heed_tensor_upload_f32(t[SLICE], host_data, 36));  // strided: read, changed, written
  TRY_TO(end, status, fault_made(values, heed_tensor_create(ctx, HEED_F32, 2, DIMS(6, 10), &t[COPY]), &t[COPY]));
  TRY_TO(end, status, heed_copy(t[TURNED], t[COPY]));
  TRY_TO(end, status, heed_add(0.5, t[COPY], 2, t[SMALL], t[COPY]));
  TRY_TO(end, status, heed_fill(t[SLICE], 3));
  TRY_TO(end, status, heed_sync(ctx));
  TRY_TO(end, status, fault_keep(values, t[COPY]));
  TRY_TO(end, status, fault_keep(values, t[FLAT]));
  TRY_TO(end, status, fault_keep(values, t[TURNED]));
  TRY_TO(end, status, heed_tensor_download_f32(t[LARGE], host_data, 70000));
  memcpy(values->values + values->count, host_data, 1000 * sizeof *host_data);
  values->count += 1000;
end:
  destroy_all(t, COUNT);
  return status;
}

// Asked for once and then waited for; a view with gaps is gathered at the end.
static heed_status reads(heed_context *ctx, struct fault_values *values) {
  heed_tensor *t[2] = {NULL};
  heed_read *read[2] = {NULL};
  float *const data = values->values + values->count;
  heed_status status;
  TRY_TO(end, status, fault_create(ctx, HEED_F32, 2, DIMS(6, 10), 1, values, &t[0]));
  TRY_TO(end, status, fault_made(values, heed_tensor_slice(t[0], 1, 2, 6, &t[1]), &t[1]));
  TRY_TO(end, status, heed_fill(t[1], 3));
  for (int i = 0; i < 2; i++)
    TRY_TO(end, status,
           fault_made(values, heed_read_start(t[i], data + 60 * i, heed_tensor_bytes(t[i]), &read[i]), &read[i]));
  bool done;
  TRY_TO(end, status, heed_read_test(read[0], &done));
  for (int i = 0; i < 2; i++) TRY_TO(end, status, heed_read_wait(read[i]));
  TRY_TO(end, status, heed_sync(ctx));
  values->count += 60 + 36;
end:
  for (int i = 0; i < 2; i++) heed_read_destroy(read[i]);
  destroy_all(t, 2);
  return status;
}

// Into page-locked memory, by a queue of its own, as on a GPU, while the first queue goes on.
static heed_status reads_beside(heed_context *ctx, struct fault_values *values) {
  if (heed_context_device(ctx)->type != HEED_DEVICE_HOST) heed__cl_state(ctx)->traits.copies_beside = true;
  heed_host_memory *memory = NULL;
  heed_tensor *t[2] = {NULL};
  heed_read *read[2] = {NULL};
  heed_status status;
  TRY_TO(end, status, fault_create(ctx, HEED_F32, 2, DIMS(6, 10), 1, values, &t[0]));
  TRY_TO(end, status, fault_create(ctx, HEED_F32, 2, DIMS(6, 10), 2, values, &t[1]));
  const size_t bytes = heed_tensor_bytes(t[0]);
  TRY_TO(end, status, fault_made(values, heed_host_memory_create(ctx, 2 * bytes, &memory), &memory));
  char *const data = heed_host_memory_data(memory);
  for (int i = 0; i < 2; i++) {
    heed_read **const to = &read[i];
    TRY_TO(end, status, fault_made(values, heed_read_start_beside(t[i], data + (size_t)i * bytes, bytes, to), to));
  }
  for (int i = 0; i < 2; i++) TRY_TO(end, status, heed_read_wait(read[i]));
  TRY_TO(end, status, heed_sync(ctx));
  memcpy(values->values + values->count, data, 2 * bytes);
  values->count += 2 * 60;
end:
  for (int i = 0; i < 2; i++) heed_read_destroy(read[i]);
  heed_host_memory_destroy(memory);
  destroy_all(t, 2);
  return status;
}

// More small uploads than are in flight at once.
static heed_status many_uploads(heed_context *ctx, struct fault_values *values) {
  heed_tensor *t = NULL;
  heed_status status;
  TRY_TO(end, status, fault_create(ctx, HEED_F32, 1, DIMS(16), 1, values, &t));
  for (int i = 0; i < 70; i++) {
    host_data[0] = (float)i;
    TRY_TO(end, status, heed_tensor_upload_f32(t, host_data, 16));
  }
  TRY_TO(end, status, fault_keep(values, t));
end:
  heed_tensor_destroy(t);
  return status;
}

// ---------------------------------------------------------------- attention

enum { Q, K, V, MASK, OUT, LSE, WEIGHTS, DOUT, DQ, DK, DV, DMASK, ATTENTION_TENSORS };

static heed_status attention_on(heed_context *ctx, const heed_attention_options *options, bool staged,
                                struct fault_values *values, heed_tensor **t) {
  const int64_t q[] = {2, 4, 9, 8}, k[] = {2, 2, 11, 8}, lse[] = {2, 4, 9}, weights[] = {2, 4, 9, 11};
  TRY(fault_create(ctx, HEED_F32, 4, q, 1, values, &t[Q]));
  TRY(fault_create(ctx, HEED_F32, 4, k, 2, values, &t[K]));
  TRY(fault_create(ctx, HEED_F32, 4, k, 3, values, &t[V]));
  TRY(fault_create(ctx, HEED_F32, 4, q, 4, values, &t[DOUT]));
  TRY(fault_create(ctx, HEED_F32, 4, q, 0, values, &t[OUT]));
  TRY(fault_create(ctx, HEED_F32, 3, lse, 0, values, &t[LSE]));
  TRY(fault_create(ctx, HEED_F32, 4, q, 0, values, &t[DQ]));
  TRY(fault_create(ctx, HEED_F32, 4, k, 0, values, &t[DK]));
  TRY(fault_create(ctx, HEED_F32, 4, k, 0, values, &t[DV]));
  if (staged) {
    TRY(fault_create(ctx, HEED_F32, 2, weights + 2, 5, values, &t[MASK]));
    TRY(fault_create(ctx, HEED_F32, 2, weights + 2, 0, values, &t[DMASK]));
    TRY(fault_create(ctx, HEED_F32, 4, weights, 0, values, &t[WEIGHTS]));
  }
  const heed_attention_inputs inputs = {.q = t[Q], .k = t[K], .v = t[V], .mask = t[MASK]};
  const heed_attention_grads grads = {.dq = t[DQ], .dk = t[DK], .dv = t[DV], .dmask = t[DMASK]};
  TRY(heed_attention_fwd(&inputs, options, t[OUT], t[LSE], t[WEIGHTS]));
  TRY(heed_attention_bwd(&inputs, options, t[OUT], t[LSE], t[DOUT], &grads));
  for (int i = OUT; i < ATTENTION_TENSORS; i++)
    if (t[i] && i != DOUT) TRY(fault_keep(values, t[i]));
  return HEED_OK;
}

static heed_status attention(heed_context *ctx, const heed_attention_options *options, bool staged,
                             struct fault_values *values) {
  heed_tensor *t[ATTENTION_TENSORS] = {NULL};
  const heed_status status = attention_on(ctx, options, staged, values, t);
  destroy_all(t, ATTENTION_TENSORS);
  return status;
}

static heed_status attention_staged(heed_context *ctx, struct fault_values *values) {
  return attention(ctx, &(heed_attention_options){.path = HEED_PATH_STAGED, .dropout = 0.25, .seed = 7}, true, values);
}

static heed_status attention_auto(heed_context *ctx, struct fault_values *values) {
  return attention(ctx, &(heed_attention_options){.causal = HEED_CAUSAL_BOTTOM_RIGHT}, false, values);
}

static heed_status attention_profiled(heed_context *ctx, struct fault_values *values) {
  TRY(attention_auto(ctx, values));
  const heed_profile_record *records;
  size_t count;
  TRY(heed_profile_records(ctx, &records, &count));
  for (size_t i = 0; i < count; i++)
    if (!records[i].kernel || records[i].end_ns < records[i].start_ns)
      values->broken = "a profile record is no interval";
  return HEED_OK;
}

// ---------------------------------------------------------------- one small operator, for what happens around it

static heed_status one_operator(heed_context *ctx, struct fault_values *values) {
  heed_tensor *t[2] = {NULL};
  heed_status status;
  TRY_TO(end, status, fault_create(ctx, HEED_F32, 2, DIMS(5, 7), 1, values, &t[0]));
  TRY_TO(end, status, fault_create(ctx, HEED_F32, 2, DIMS(5, 7), 0, values, &t[1]));
  TRY_TO(end, status, heed_relu_fwd(t[0], t[1]));
  TRY_TO(end, status, fault_keep(values, t[1]));
end:
  destroy_all(t, 2);
  return status;
}

static heed_status gemm(heed_context *ctx, struct fault_values *values) {
  heed_tensor *t[3] = {NULL};
  heed_status status;
  for (int i = 0; i < 3; i++)
    TRY_TO(end, status, fault_create(ctx, HEED_F32, 2, DIMS(24, 24), (uint64_t)i, values, &t[i]));
  TRY_TO(end, status, heed_gemm(false, true, 1, t[0], t[1], 0, t[2]));
  TRY_TO(end, status, fault_keep(values, t[2]));
end:
  destroy_all(t, 3);
  return status;
}

// ---------------------------------------------------------------- files

// Past the 16 letters for which jansson has room from the start. With the quotes it is not twice as many: there jansson itself does
// not survive that memory is missing.
static const char long_name[] = "a count of several things";

static heed_status write_file(const heed_tensor *tensor, struct fault_values *values) {
  heed_safetensors *file = NULL;
  heed_status status;
  TRY_TO(end, status, fault_made(values, heed_safetensors_create(&file), &file));
  TRY_TO(end, status, heed_safetensors_add_tensor(file, "x", tensor));
  TRY_TO(end, status, heed_safetensors_add(file, long_name, HEED_I64, 1, DIMS(2), (const int64_t[]){40, 2}));
  TRY_TO(end, status, heed_safetensors_set_metadata(file, "made by", "a test"));
  TRY_TO(end, status, heed_safetensors_set_metadata(file, "made by", "this test"));
  TRY_TO(end, status, heed_safetensors_write(file, "out.safetensors"));
end:
  heed_safetensors_destroy(file);
  return status;
}

static heed_status files(heed_context *ctx, struct fault_values *values) {
  heed_tensor *t[2] = {NULL};
  heed_safetensors *file = NULL;
  heed_status status;
  TRY_TO(end, status, fault_create(ctx, HEED_F32, 2, DIMS(30, 40), 1, values, &t[0]));
  TRY_TO(end, status, write_file(t[0], values));
  TRY_TO(end, status, fault_made(values, heed_safetensors_read("out.safetensors", &file), &file));
  const heed_array *array = heed_safetensors_find(file, "x");
  if (!array || !heed_safetensors_find(file, long_name)) {
    values->broken = "a file that was written has not what was put into it";
    goto end;
  }
  TRY_TO(end, status, fault_made(values, heed_array_to_tensor(array, ctx, &t[1]), &t[1]));
  TRY_TO(end, status, fault_keep(values, t[1]));
end:
  heed_safetensors_destroy(file);
  destroy_all(t, 2);
  return status;
}

// Texts, divided, and windows of them.
static heed_status tokens_on(heed_tokenizer **tokenizer, heed_token_data **data, struct fault_values *values) {
  static const char *const paths[] = {"a.txt", "b.txt"};
  const heed_batches batches = {.batch = 2, .length = 50, .accumulate = 1};
  heed_token_data_options options = {.validation = 0.25};
  int32_t tokens[100], targets[100];
  TRY(fault_made(values, heed_tokenizer_create_bytes(tokenizer), tokenizer));
  options.tokenizer = *tokenizer;
  const heed_status status = heed_token_data_open(paths, 2, &options, &data[0], &data[1]);
  TRY(fault_made(values, status, &data[0]));
  TRY(fault_made(values, HEED_OK, &data[1]));
  TRY(heed_batches_read(&batches, data[0], 3, 0, tokens, targets));
  for (int i = 0; i < 100; i++) values->values[values->count++] = (float)(tokens[i] + targets[i]);
  uint32_t checksum;
  TRY(heed_token_data_checksum(data[1], &checksum));
  values->values[values->count++] = (float)(checksum >> 8);
  return HEED_OK;
}

// Their tokens are made and kept at first, and then found.
static heed_status tokens(heed_context *ctx, struct fault_values *values) {
  (void)ctx;
  heed_status status = HEED_OK;
  const char *cache = getenv("HEED_CACHE");
  setenv("HEED_CACHE", "cold/heed", 1);
  for (int i = 0; i < 2 && status == HEED_OK; i++) {
    heed_tokenizer *tokenizer = NULL;
    heed_token_data *data[2] = {NULL};
    status = tokens_on(&tokenizer, data, values);
    heed_token_data_close(data[0]);
    heed_token_data_close(data[1]);
    heed_tokenizer_destroy(tokenizer);
  }
  setenv("HEED_CACHE", cache ? cache : "off", 1);
  return status;
}

// The texts, of a hundred characters of two bytes, and of another hundred.
static bool write_texts(void) {
  FILE *files[] = {fopen("a.txt", "w"), fopen("b.txt", "w")};
  bool written = true;
  for (int i = 0; i < 2; i++) {
    for (int j = 0; j < 100 && files[i]; j++) fprintf(files[i], "%c%c", 0xc2 + i, 0x80 + j % 64);
    written = files[i] && fclose(files[i]) == 0 && written;
  }
  return written;
}

// A table that opening the context has read.
static heed_status tune(heed_context *ctx, struct fault_values *values) {
  const heed_tune_problem problem = {.op = HEED_TUNE_GEMM, .dtype = HEED_F32, .sizes = {100, 200, 300, 1}};
  heed_tune_choice list[8];
  size_t count = 0;
  char *text = NULL;
  TRY(heed_tune_set(ctx, &problem, "cpu: vectors=2", 1.5));
  TRY(heed_tune_neighbours(ctx, &problem, "cpu: vectors=2", list, 8, &count));
  TRY(heed_tune_save(ctx, NULL));
  TRY(heed_tune_load(ctx, heed_tune_path(ctx)));
  TRY(fault_made(values, heed_tune_json(ctx, &text), &text));
  if (!strstr(text, "cpu: vectors=2")) values->broken = "a table has not what was put into it";
  free(text);
  return HEED_OK;
}

// ---------------------------------------------------------------- tokenizers

// No text in it is of a length that jansson does not survive without memory.
static const char tokenizer_text[] =
    "{\"added_tokens\": [{\"id\": 7, \"content\": \"<s>\", \"rstrip\": true}], \"normalizer\": {\"type\": \"NFC\"}, "
    "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
    "\" ?\\\\p{L}+|\\\\s\"}, \"behavior\": \"Isolated\"}, {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
    "\"use_regex\": true}]}, \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"\\u0120\": "
    "3, \"\\u00c3\": 4, \"\\u00a9\": 5, \"\\u00c3\\u00a9\": 6}, \"merges\": [\"a b\", [\"\\u00c3\", \"\\u00a9\"]]}}";

static bool write_tokenizer(void) {
  FILE *file = mkdir("tokenizer", 0700) == 0 || errno == EEXIST ? fopen("tokenizer/tokenizer.json", "w") : NULL;
  const bool written = file && fputs(tokenizer_text, file) >= 0;
  return file && fclose(file) == 0 && written;
}

static heed_status tokenize_with(heed_tokenizer *tokenizer, struct fault_values *values) {
  static const char text[] = "ab <s> ba\xC3\xA9 ba";
  int32_t *ids = NULL;
  char *back = NULL;
  size_t count = 0, bytes = 0;
  heed_status status;
  TRY_TO(end, status,
         fault_made(values, heed_tokenizer_encode_all(tokenizer, text, sizeof text - 1, NULL, &ids, &count), &ids));
  for (size_t i = 0; i < count; i++) values->values[values->count++] = (float)ids[i];
  TRY_TO(end, status, fault_made(values, heed_tokenizer_decode(tokenizer, ids, count, &back, &bytes), &back));
  TRY_TO(end, status, heed_tokenizer_save(tokenizer, "tokenizer/saved"));
end:
  free(ids);
  free(back);
  return status;
}

static heed_status tokenizers(heed_context *ctx, struct fault_values *values) {
  (void)ctx;
  heed_tokenizer *opened = NULL, *saved = NULL, *chars = NULL;
  heed_status status;
  TRY_TO(end, status, fault_made(values, heed_tokenizer_open("tokenizer", &opened), &opened));
  TRY_TO(end, status, tokenize_with(opened, values));
  TRY_TO(end, status, fault_made(values, heed_tokenizer_open("tokenizer/saved", &saved), &saved));
  if (heed_tokenizer_fingerprint(saved) != heed_tokenizer_fingerprint(opened))
    values->broken = "a tokenizer was saved otherwise";
  const char *const paths[] = {"tokenizer/tokenizer.json"};
  TRY_TO(end, status, fault_made(values, heed_tokenizer_create_chars(paths, 1, &chars), &chars));
  values->values[values->count++] = (float)heed_tokenizer_vocab(chars);
end:
  heed_tokenizer_destroy(opened);
  heed_tokenizer_destroy(saved);
  heed_tokenizer_destroy(chars);
  return status;
}

// ---------------------------------------------------------------- devices, and cases of the table

static void keep_text(struct fault_values *values, const char *text) {
  for (; *text && values->count < FAULT_MAX_VALUES; text++) values->values[values->count++] = (float)*text;
}

// Every text that a user would see; a platform that shows no device must say why.
heed_status fault_work_list(struct fault_values *values) {
  heed_device_list *list = NULL;
  TRY(fault_made(values, heed_device_list_create(&list), &list));
  for (size_t i = 0; i < heed_device_list_count(list); i++) keep_text(values, heed_device_list_get(list, i)->name);
  for (size_t i = 0; i < heed_device_list_platforms(list); i++) {
    const heed_platform_info *platform = heed_device_list_platform(list, i);
    if (platform->devices == 0 && !platform->reason[0])
      values->broken = "a platform shows no device and does not say why";
  }
  heed_device_list_destroy(list);
  return HEED_OK;
}

static heed_case *cases;
static size_t case_count;
static heed_context *host;
static cl_context own_context;
static cl_device_id own_device;
static cl_command_queue own_queue;

bool fault_prepare(void) {
  heed_context *ctx = NULL;
  if (!write_texts() || !write_tokenizer()) return false;
  if (case_tiny_table(&cases, &case_count) != HEED_OK || heed_open("host", &host) != HEED_OK) return false;
  if (heed_open(NULL, &ctx) != HEED_OK || heed_opencl_handles(ctx, NULL, &own_device, NULL) != HEED_OK) return false;
  if (heed_tune_save(ctx, "tune.json") != HEED_OK) return false;
  heed_context_destroy(ctx);
  cl_int error = CL_SUCCESS;
  own_context = clCreateContext(NULL, 1, &own_device, NULL, NULL, &error);
  if (error == CL_SUCCESS) own_queue = clCreateCommandQueue(own_context, own_device, 0, &error);
  return error == CL_SUCCESS;
}

heed_status fault_open(const struct fault_scenario *scenario, heed_context **out) {
  if (!scenario->own_objects) return heed_open_with(&scenario->options, out);
  return heed_open_opencl(own_context, own_device, own_queue, &scenario->options, out);
}

heed_status fault_work_case(heed_context *ctx, const char *op, struct fault_values *values) {
  const heed_case *c = cases;
  while (c < cases + case_count && strcmp(c->family->op, op) != 0) c++;
  if (c == cases + case_count) values->broken = "this family has no tiny case";
  if (values->broken) return HEED_OK;
  case_result result;
  TRY(case_compare(c, ctx, host, &result));
  if (!result.passed) values->broken = "a result differs from the host's and no call failed";
  return HEED_OK;
}

#define CASE(op) {.name = "check " #op, .case_op = #op},
const struct fault_scenario fault_scenarios[] = {
    {.name = "devices"},
    {.name = "open", .work = one_operator},
    {.name = "own objects", .work = one_operator, .own_objects = true},
    {.name = "build", .work = one_operator, .options = {.cache_dir = "off"}},
    {.name = "cache", .work = one_operator, .options = {.cache_dir = "cold/heed"}, .cold_cache = true},
    {.name = "transfers", .work = transfers},
    {.name = "uploads", .work = many_uploads},
    {.name = "reads", .work = reads},
    {.name = "attention staged", .work = attention_staged},
    {.name = "attention auto", .work = attention_auto},
    {.name = "profile", .work = attention_profiled, .options = {.profile = 1}},
    {.name = "validate", .work = one_operator, .options = {.validate = 1}},
    {.name = "train", .work = fault_work_train},
    {.name = "gpt2", .work = fault_work_gpt2},
    {.name = "llama f16", .work = fault_work_llama, .dtype = HEED_F16},
    {.name = "gemm clblast", .work = gemm, .options = {.gemm = "clblast"}},
    {.name = "files", .work = files, .writes_file = true},
    {.name = "tokens", .work = tokens, .own_objects = true, .cold_cache = true},
    {.name = "tokenizers", .work = tokenizers, .cold_cache = true},
    {.name = "tune", .work = tune, .options = {.tuning = "tune.json"}, .own_objects = true},
    {.name = "reads beside", .work = reads_beside},
    CASE_FAMILIES(CASE){0},
};
