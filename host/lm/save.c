// Writes a model folder: the weights in the form of `transformers`, config.json, and the tokenizer beside them.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"
#include "base/status.h"
#include "lm/folder.h"

// ---------------------------------------------------------------- weights

// A weight on its way into a file.
struct values {
  float *data, *turned;
  uint16_t *narrow;
};

static void values_free(struct values *v) {
  free(v->data);
  free(v->turned);
  free(v->narrow);
}

static heed_status values_read(const char *name, bool transposed, heed_dtype dtype, const heed_tensor *tensor,
                               struct values *v) {
  const size_t count = (size_t)heed_tensor_count(tensor);
  v->data = malloc(count * sizeof *v->data + 1);
  v->turned = transposed ? malloc(count * sizeof *v->turned + 1) : NULL;
  v->narrow = dtype != HEED_F32 ? malloc(count * sizeof *v->narrow + 1) : NULL;
  HEED__REQUIRE(v->data && (v->turned || !transposed) && (v->narrow || dtype == HEED_F32), HEED_ERROR_OUT_OF_MEMORY,
                "no memory to add %s", name);
  HEED__TRY(heed_tensor_download_f32(tensor, v->data, (int64_t)count));
  if (transposed) heed__transpose(v->data, heed_tensor_dim(tensor, 0), heed_tensor_dim(tensor, 1), v->turned);
  const float *wide = transposed ? v->turned : v->data;
  for (size_t i = 0; v->narrow && i < count; ++i)
    v->narrow[i] = dtype == HEED_F16 ? heed__f16_from_double((double)wide[i]) : heed__bf16_from_double((double)wide[i]);
  return HEED_OK;
}

static heed_status add_as(heed_safetensors *file, const char *name, bool transposed, heed_dtype dtype,
                          const heed_tensor *tensor) {
  HEED__REQUIRE(!transposed || heed_tensor_rank(tensor) == 2, HEED_ERROR_SHAPE,
                "%s: %s is not a matrix, so it cannot be transposed", name, heed_tensor_describe(tensor));
  const int64_t turned[] = {heed_tensor_dim(tensor, 1), heed_tensor_dim(tensor, 0)};
  struct values v = {0};
  heed_status status = values_read(name, transposed, dtype, tensor, &v);
  const void *data = v.narrow ? (const void *)v.narrow : transposed ? v.turned : v.data;
  if (status == HEED_OK)
    status = heed_safetensors_add(file, name, dtype, heed_tensor_rank(tensor),
                                  transposed ? turned : heed_tensor_dims(tensor), data);
  values_free(&v);
  return status;
}

heed_status heed_model_add(heed_safetensors *file, const char *name, bool transposed, const heed_tensor *tensor) {
  HEED__REQUIRE(file && name && tensor, HEED_ERROR_INVALID_ARGUMENT, "heed_model_add: an argument is NULL");
  return add_as(file, name, transposed, HEED_F32, tensor);
}

static heed_status write_weights(const char *path, const heed_transformer *transformer,
                                 const heed_model_save_options *options) {
  const heed_architecture architecture = heed_transformer_configuration(transformer)->architecture;
  const heed_parameter *parameters = NULL;
  const size_t count = heed_transformer_parameters(transformer, &parameters);
  heed_safetensors *file = NULL;
  HEED__TRY(heed_safetensors_create(&file));
  heed_status status = heed_safetensors_set_metadata(file, "format", "pt");  // transformers refuses a file without
  for (size_t i = 0; i < count && status == HEED_OK; ++i) {
    const char *name = parameters[i].name;
    const heed_tensor *master = options->optimizer ? heed_optimizer_state(options->optimizer, "master", i) : NULL;
    status = add_as(file, name, heed_model_is_transposed(architecture, name), options->dtype,
                    master ? master : parameters[i].value);
  }
  if (status == HEED_OK) status = heed_safetensors_write(file, path);
  heed_safetensors_destroy(file);
  return status;
}

// ---------------------------------------------------------------- the folder

static heed_status make_folder(const char *path) {
  struct stat info;
  if (mkdir(path, 0777) == 0) return HEED_OK;
  const int reason = errno;
  HEED__REQUIRE(reason == EEXIST, HEED_ERROR_IO, "%s: cannot make the folder: %s", path, strerror(reason));
  HEED__REQUIRE(stat(path, &info) == 0 && S_ISDIR(info.st_mode), HEED_ERROR_IO, "%s is there and is no folder", path);
  return HEED_OK;
}

// Shards that an index names would come before the new file.
static heed_status remove_index(const char *path) {
  HEED__REQUIRE(unlink(path) == 0 || errno == ENOENT, HEED_ERROR_IO, "%s: cannot remove it: %s", path, strerror(errno));
  return HEED_OK;
}

struct paths {
  char *config, *weights, *index;
};

static heed_status save_in(const char *path, const heed_transformer *transformer, const heed_model_save_options *o,
                           const struct paths *paths) {
  HEED__TRY(make_folder(path));
  if (o->tokenizer) HEED__TRY(heed_tokenizer_save(o->tokenizer, path));
  const heed_transformer_config *config = heed_transformer_configuration(transformer);
  const int64_t end = o->tokenizer ? heed_tokenizer_find(o->tokenizer, "<|endoftext|>") : -1;
  HEED__TRY(heed__lm_config_write(paths->config, config, o->like ? o->like->json : NULL, end, o->dtype));
  HEED__TRY(write_weights(paths->weights, transformer, o));
  return remove_index(paths->index);
}

heed_status heed_model_folder_save(const char *path, const heed_transformer *transformer,
                                   const heed_model_save_options *options) {
  HEED__REQUIRE(path && transformer, HEED_ERROR_INVALID_ARGUMENT, "heed_model_folder_save: an argument is NULL");
  const heed_model_save_options none = {0}, *o = options ? options : &none;
  HEED__REQUIRE(heed_dtype_is_float(o->dtype), HEED_ERROR_DTYPE, "heed_model_folder_save: %s is no dtype of weights",
                heed_dtype_string(o->dtype));
  struct paths paths = {0};
  if (asprintf(&paths.config, "%s/config.json", path) < 0) paths.config = NULL;
  if (asprintf(&paths.weights, "%s/model.safetensors", path) < 0) paths.weights = NULL;
  if (asprintf(&paths.index, "%s/model.safetensors.index.json", path) < 0) paths.index = NULL;
  const bool complete = paths.config && paths.weights && paths.index;
  const heed_status status = complete ? save_in(path, transformer, o, &paths)
                                      : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to save %s", path);
  free(paths.config);
  free(paths.weights);
  free(paths.index);
  return status;
}
