// What heed.h promises of NULL: destroying it does nothing, asking about it gives nothing, and a call that fails leaves NULL in `out`,
// whichever argument was wrong.
#include <heed/io.h>
#include <heed/lm.h>
#include <heed/nn.h>
#include <heed/opencl.h>
#include <heed/text.h>
#include <heed/tune.h>

#include "support_values.h"

static void destroying_nothing_does_nothing(void **state) {
  (void)state;
  heed_context_destroy(NULL);
  heed_device_list_destroy(NULL);
  heed_tensor_destroy(NULL);
  heed_read_destroy(NULL);
  heed_host_memory_destroy(NULL);
  heed_mha_destroy(NULL);
  heed_mlp_destroy(NULL);
  heed_transformer_destroy(NULL);
  heed_vit_destroy(NULL);
  heed_kv_cache_destroy(NULL);
  heed_model_folder_close(NULL);
  heed_token_data_close(NULL);
  heed_tokenizer_destroy(NULL);
  heed_optimizer_destroy(NULL);
  heed_grad_tree_destroy(NULL);
  heed_safetensors_destroy(NULL);
  heed_store_destroy(NULL);
  heed_idx_free(NULL);
  heed_mnist_free(NULL);
}

static void there_is_nothing_in_no_tensor(void **state) {
  (void)state;
  assert_null(heed_tensor_context(NULL));
  assert_int_equal(heed_tensor_dtype(NULL), 0);
  assert_int_equal(heed_tensor_rank(NULL), 0);
  assert_int_equal(heed_tensor_dim(NULL, -1), 0);
  assert_null(heed_tensor_dims(NULL));
  assert_null(heed_tensor_strides(NULL));
  assert_int_equal(heed_tensor_count(NULL), 0);
  assert_int_equal(heed_tensor_bytes(NULL), 0);
  assert_int_equal(heed_tensor_offset(NULL), 0);
  assert_false(heed_tensor_is_contiguous(NULL));
  assert_false(heed_tensor_shares_storage(NULL, NULL));
  assert_false(heed_tensor_overlaps(NULL, NULL));
  assert_string_equal(heed_tensor_describe(NULL), "none");
}

static void there_is_nothing_in_no_object(void **state) {
  (void)state;
  assert_int_equal(heed_context_live_tensors(NULL), 0);
  assert_int_equal(heed_context_bytes(NULL), 0);
  assert_int_equal(heed_context_peak_bytes(NULL), 0);
  assert_string_equal(heed_context_cache(NULL), "");
  assert_string_equal(heed_context_notice(NULL), "");
  assert_null(heed_context_device(NULL));
  assert_int_equal(heed_device_list_count(NULL), 0);
  assert_null(heed_device_list_get(NULL, 0));
  assert_int_equal(heed_device_list_platforms(NULL), 0);
  assert_null(heed_device_list_platform(NULL, 0));
  assert_false(heed_difference_within(NULL, 1));
  assert_string_equal(heed_tune_path(NULL), "");
  assert_int_equal(heed_tune_verdicts(NULL), 0);
  const heed_parameter *parameters = (const heed_parameter *)state;
  assert_int_equal(heed_mha_parameters(NULL, &parameters), 0);
  assert_null(parameters);
  parameters = (const heed_parameter *)state;
  assert_int_equal(heed_mlp_parameters(NULL, &parameters), 0);
  assert_int_equal(heed_transformer_parameters(NULL, &parameters), 0);
  assert_null(heed_transformer_configuration(NULL));
  assert_int_equal(heed_vit_parameters(NULL, &parameters), 0);
  assert_null(heed_vit_configuration(NULL));
  assert_int_equal(heed_kv_cache_length(NULL), 0);
  assert_null(heed_model_folder_config(NULL));
  assert_false(heed_model_folder_is_end(NULL, 0));
  assert_int_equal(heed_token_data_count(NULL), 0);
  assert_int_equal(heed_tokenizer_vocab(NULL), 0);
  assert_int_equal(heed_tokenizer_fingerprint(NULL), 0);
  assert_int_equal(heed_tokenizer_unit(NULL), 0);
  assert_null(heed_tokenizer_token(NULL, 0, NULL));
  assert_int_equal(heed_tokenizer_find(NULL, "x"), -1);
  assert_false(heed_model_is_transposed(HEED_ARCHITECTURE_GPT2, NULL));
  assert_string_equal(heed_architecture_string((heed_architecture)99), "");
  assert_null(parameters);
  assert_null(heed_optimizer_state(NULL, "momentum_buffer", 0));
  assert_int_equal(heed_optimizer_steps(NULL), 0);
  assert_null(heed_optimizer_norm(NULL));
  assert_null(heed_optimizer_counts(NULL));
  assert_null(heed_optimizer_loss_scale(NULL));
  assert_true(heed_optimizer_learning_rate(NULL) == 0);
  assert_null(heed_grad_tree_grads(NULL));
  assert_false(heed_grad_tree_accumulates(NULL));
  heed_optimizer_set_steps(NULL, 1);
  assert_int_equal(heed_safetensors_count(NULL), 0);
  assert_null(heed_safetensors_get(NULL, 0));
  assert_null(heed_safetensors_find(NULL, "x"));
  assert_null(heed_safetensors_metadata(NULL, "x"));
  assert_int_equal(heed_safetensors_metadata_count(NULL), 0);
  assert_null(heed_safetensors_metadata_key(NULL, 0));
  assert_false(heed_mnist_is_there(NULL, "train"));
  assert_int_equal(heed_store_count(NULL), 0);
  assert_null(heed_store_get(NULL, 0));
  assert_null(heed_store_find(NULL, "x"));
  assert_null(heed_store_metadata(NULL, "x"));
  assert_int_equal(heed_store_metadata_count(NULL), 0);
  assert_null(heed_store_metadata_key(NULL, 0));
  heed_safetensors *file;
  ASSERT_OK(heed_safetensors_create(&file));
  assert_null(heed_safetensors_find(file, NULL));
  assert_null(heed_safetensors_metadata(file, NULL));
  heed_safetensors_destroy(file);
}

#define LEAVES_NULL(type, ...)                                        \
  do {                                                                \
    type *out = (type *)(void *)state;                                \
    ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", (__VA_ARGS__)); \
    assert_null(out);                                                 \
  } while (0)

static void a_call_without_its_first_argument_leaves_null(void **state) {
  const int64_t dims[] = {1};
  LEAVES_NULL(heed_tensor, heed_tensor_create(NULL, HEED_F32, 1, dims, &out));
  LEAVES_NULL(heed_tensor, heed_tensor_create_from(NULL, HEED_F32, 1, dims, dims, &out));
  LEAVES_NULL(heed_tensor, heed_tensor_view(NULL, 1, dims, dims, 0, &out));
  LEAVES_NULL(heed_tensor, heed_tensor_reshape(NULL, 1, dims, &out));
  LEAVES_NULL(heed_tensor, heed_tensor_permute(NULL, (const int[]){0}, &out));
  LEAVES_NULL(heed_tensor, heed_tensor_slice(NULL, 0, 0, 1, &out));
  LEAVES_NULL(heed_read, heed_read_start(NULL, NULL, 0, &out));
  LEAVES_NULL(heed_read, heed_read_start_beside(NULL, NULL, 0, &out));
  LEAVES_NULL(heed_host_memory, heed_host_memory_create(NULL, 1, &out));
  LEAVES_NULL(heed_tensor, heed_array_to_tensor(NULL, NULL, &out));
  LEAVES_NULL(heed_tensor, heed_opencl_tensor(NULL, NULL, HEED_F32, 1, dims, &out));
  LEAVES_NULL(heed_context, heed_open_opencl(NULL, NULL, NULL, NULL, &out));
  LEAVES_NULL(heed_mha, heed_mha_create(NULL, NULL, 0, &out));
  LEAVES_NULL(heed_mlp, heed_mlp_create(NULL, NULL, 0, &out));
  LEAVES_NULL(heed_transformer, heed_transformer_create(NULL, NULL, 0, &out));
  LEAVES_NULL(heed_vit, heed_vit_create(NULL, NULL, 0, &out));
  LEAVES_NULL(heed_kv_cache, heed_kv_cache_create(NULL, 1, 1, &out));
  LEAVES_NULL(heed_model_folder, heed_model_folder_open(NULL, &out));
  LEAVES_NULL(heed_model_folder, heed_model_folder_open_config(NULL, &out));
  heed_token_data *validation = (heed_token_data *)(void *)state;
  LEAVES_NULL(heed_token_data, heed_token_data_open(NULL, 1, NULL, &out, &validation));
  assert_null(validation);
  LEAVES_NULL(heed_token_data, heed_token_data_open((const char *[]){NULL}, 1, NULL, &out, NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_token_data_open(NULL, 1, NULL, NULL, NULL));
  uint32_t checksum;
  int32_t id;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_token_data_checksum(NULL, &checksum));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_token_data_read(NULL, 0, 1, &id));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_batches_read(NULL, NULL, 0, 0, &id, &id));
  LEAVES_NULL(heed_tokenizer, heed_tokenizer_open(NULL, &out));
  LEAVES_NULL(heed_tokenizer, heed_tokenizer_create_chars(NULL, 1, &out));
  size_t count;
  LEAVES_NULL(int32_t, heed_tokenizer_encode_all(NULL, "x", 1, NULL, &out, &count));
  LEAVES_NULL(char, heed_tokenizer_decode(NULL, NULL, 0, &out, &count));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tokenizer_create_bytes(NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tokenizer_save(NULL, "x"));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_tokenizer_encode(NULL, "x", 1, NULL, NULL, NULL));
  LEAVES_NULL(heed_optimizer, heed_optimizer_create(NULL, 1, NULL, &out));
  LEAVES_NULL(heed_grad_tree, heed_grad_tree_create(NULL, 1, 1, 1, &out));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_grad_tree_add(NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_grad_tree_add_part(NULL, 0, 1));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_grad_tree_squares(NULL, 0, 1, NULL));
  LEAVES_NULL(heed_safetensors, heed_safetensors_read(NULL, &out));
  LEAVES_NULL(heed_store, heed_store_open(NULL, &out));
  LEAVES_NULL(heed_tensor, heed_store_load(NULL, NULL, HEED_F32, NULL, &out));
  LEAVES_NULL(heed_safetensors, heed_safetensors_read_fd(0, NULL, &out));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_safetensors_write_fd(NULL, 1, "x"));
  heed_idx idx = {.rank = 3, .data = (uint8_t *)state};
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_idx_read(NULL, &idx));
  assert_null(idx.data);
  heed_mnist mnist = {.images = (uint8_t *)state};
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_mnist_read(NULL, "train", 10, &mnist));
  assert_null(mnist.images);
}

// The numbers are part of what is promised: names are added at the end of a list only.
static void enumerators_keep_their_values(void **state) {
  (void)state;
  assert_int_equal(HEED_OK, 0);
  assert_int_equal(HEED_ERROR_OUT_OF_MEMORY, 5);
  assert_int_equal(HEED_ERROR_MISMATCH, 12);
  assert_int_equal(HEED_ERROR_RANK, 13);
  assert_int_equal(HEED_F32, 0);
  assert_int_equal(HEED_BOOL, 6);
  assert_int_equal(HEED_DEVICE_ACCELERATOR, 3);
  assert_int_equal(HEED_ACTIVITY_COMPILE, 1);
  assert_int_equal(HEED_TUNE_ATTENTION_BWD, 2);
  assert_int_equal(HEED_WEIGHTS_SOFTMAX, 0);
  assert_int_equal(HEED_WEIGHTS_MASKED, 3);
}

static void a_tensor_is_described_by_dtype_and_shape(void **state) {
  heed_context *ctx = support_context(state);
  assert_string_equal(heed_tensor_describe(support_new(ctx, HEED_BF16, SHAPE(2, 3))), "BF16[2, 3]");
  assert_string_equal(heed_tensor_describe(support_new(ctx, HEED_I64, 0, NULL)), "I64[]");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(destroying_nothing_does_nothing),
      cmocka_unit_test(there_is_nothing_in_no_tensor),
      cmocka_unit_test(there_is_nothing_in_no_object),
      cmocka_unit_test(a_call_without_its_first_argument_leaves_null),
      cmocka_unit_test(enumerators_keep_their_values),
      TEST(a_tensor_is_described_by_dtype_and_shape),
  };
  return cmocka_run_group_tests_name("NULL", tests, support_open_host, support_close);
}
