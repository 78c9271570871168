// Reads vision transformers from safetensors files.
#include "train/vit_file.h"

#include <inttypes.h>
#include <string.h>

static const char heads_key[] = "heads", encoder[] = "encoder.";

bool vit_file_is_weight(const char *name) {
  static const char *const names[] = {"patch.weight", "patch.bias", "positions", "head.weight", "head.bias"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return true;
  return strncmp(name, encoder, sizeof encoder - 1) == 0;
}

bool vit_file_is_there(const heed_safetensors *file) {
  for (size_t i = 0; i < heed_safetensors_count(file); i++)
    if (vit_file_is_weight(heed_safetensors_get(file, i)->name)) return true;
  return false;
}

// ---------------------------------------------------------------- sizes

// A matrix of the file; in 0: it may have any number of columns, else it must have these.
static int find_matrix(const char *command, const char *path, const heed_safetensors *file, const char *name,
                       int64_t in, const heed_array **out) {
  char text[TOOL_SHAPE_TEXT], wanted[32] = "in";
  const heed_array *array = *out = heed_safetensors_find(file, name);
  if (!array) return tool_fail(command, "%s has no tensor '%s', which a vit needs", path, name);
  if (in != 0) snprintf(wanted, sizeof wanted, "%" PRId64, in);
  if (array->rank != 2 || array->dims[0] < 1 || array->dims[1] < 1 || !heed_dtype_is_float(array->dtype) ||
      (in != 0 && array->dims[1] != in))
    return tool_fail(command, "%s: %s is %s%s; it must be a floating-point [out, %s]", path, name,
                     heed_dtype_string(array->dtype), tool_shape_text(array->rank, array->dims, text), wanted);
  return TOOL_DONE;
}

static int read_heads(const char *command, const char *path, const heed_safetensors *file, int64_t *heads) {
  const char *text = heed_safetensors_metadata(file, heads_key);
  if (text && tool_read_integer(text, heads) && *heads >= 1) return TOOL_DONE;
  return tool_fail(command,
                   "%s: its metadata have no usable '%s', which the tensors of a vit do not tell; save it with "
                   "metadata={\"%s\": \"4\"}, or whatever their number is",
                   path, heads_key, heads_key);
}

static int64_t side_of(int64_t values) {
  int64_t side = 1;
  while (side < INT32_MAX && side * side < values) side++;
  return side;
}

// How many layers there are, each with the two matrices that decide on their sizes.
static int read_layers(const char *command, const char *path, const heed_safetensors *file, heed_vit_config *c) {
  for (c->layers = 0;; c->layers++) {
    char qkv[64], up[64];
    const heed_array *array;
    snprintf(qkv, sizeof qkv, "encoder.layers.%" PRId64 ".self_attn.in_proj_weight", c->layers);
    snprintf(up, sizeof up, "encoder.layers.%" PRId64 ".linear1.weight", c->layers);
    if (c->layers > 0 && !heed_safetensors_find(file, qkv)) return TOOL_DONE;
    TOOL_TRY(find_matrix(command, path, file, qkv, c->width, &array));
    TOOL_TRY(find_matrix(command, path, file, up, c->width, &array));
    if (c->layers == 0) c->ffn = array->dims[0];
  }
}

int vit_file_read(const char *command, const char *path, const heed_safetensors *file, heed_vit_config *config,
                  int64_t *patches) {
  const heed_array *patch, *positions, *head;
  *config = (heed_vit_config){0};
  TOOL_TRY(find_matrix(command, path, file, "patch.weight", 0, &patch));
  config->width = patch->dims[0];
  config->dtype = patch->dtype;
  config->patch = side_of(patch->dims[1]);
  if (config->patch * config->patch != patch->dims[1])
    return tool_fail(command, "%s: patch.weight takes %" PRId64 " values, which is no square patch", path,
                     patch->dims[1]);
  TOOL_TRY(find_matrix(command, path, file, "positions", config->width, &positions));
  TOOL_TRY(find_matrix(command, path, file, "head.weight", config->width, &head));
  *patches = positions->dims[0];
  config->classes = head->dims[0];
  TOOL_TRY(read_layers(command, path, file, config));
  return read_heads(command, path, file, &config->heads);
}

heed_status vit_file_describe(const heed_vit_config *config, heed_safetensors *file) {
  char text[32];
  snprintf(text, sizeof text, "%" PRId64, config->heads);
  return heed_safetensors_set_metadata(file, heads_key, text);
}

// ---------------------------------------------------------------- weights

// No tensor of the file may be one that the model has not, as those beyond a missing layer.
static int check_known(const char *command, const char *path, const heed_safetensors *file, const heed_vit *vit) {
  const heed_parameter *parameters;
  const size_t count = heed_vit_parameters(vit, &parameters);
  for (size_t i = 0; i < heed_safetensors_count(file); i++) {
    const char *name = heed_safetensors_get(file, i)->name;
    bool known = !vit_file_is_weight(name);
    for (size_t p = 0; !known && p < count; p++) known = strcmp(name, parameters[p].name) == 0;
    if (!known)
      return tool_fail(command, "%s has '%s', which a vit with layers %" PRId64 " does not have", path, name,
                       heed_vit_configuration(vit)->layers);
  }
  return TOOL_DONE;
}

static int load_one(const char *command, const char *path, const heed_safetensors *file, heed_context *ctx,
                    const heed_parameter *parameter) {
  const heed_array *array = heed_safetensors_find(file, parameter->name);
  char is[TOOL_SHAPE_TEXT], must[TOOL_SHAPE_TEXT];
  if (!array) return tool_fail(command, "%s has no tensor '%s'", path, parameter->name);
  const int rank = heed_tensor_rank(parameter->value);
  const int64_t *dims = heed_tensor_dims(parameter->value);
  if (array->rank != rank || memcmp(array->dims, dims, (size_t)rank * sizeof *dims) != 0 ||
      !heed_dtype_is_float(array->dtype))
    return tool_fail(command, "%s: %s is %s%s; it must be a floating-point %s", path, parameter->name,
                     heed_dtype_string(array->dtype), tool_shape_text(array->rank, array->dims, is),
                     tool_shape_text(rank, dims, must));
  heed_tensor *tensor = NULL;
  TOOL_HEED(command, heed_array_to_tensor(array, ctx, &tensor));
  const heed_status copied = heed_copy(tensor, parameter->value);
  const int status = copied == HEED_OK ? TOOL_DONE : tool_fail_status(command, copied);
  heed_tensor_destroy(tensor);
  return status;
}

int vit_file_load(const char *command, const char *path, const heed_safetensors *file, heed_context *ctx,
                  const heed_vit *vit) {
  const heed_parameter *parameters;
  const size_t count = heed_vit_parameters(vit, &parameters);
  TOOL_TRY(check_known(command, path, file, vit));
  for (size_t i = 0; i < count; i++) TOOL_TRY(load_one(command, path, file, ctx, &parameters[i]));
  return TOOL_DONE;
}
