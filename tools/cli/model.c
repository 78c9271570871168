// Reads multi-layer perceptrons from safetensors files.
#include "cli/model.h"

#include <inttypes.h>
#include <string.h>

static int check_bias(const char *command, const char *path, const heed_safetensors *file, int layer, int64_t rows) {
  char name[32], text[TOOL_SHAPE_TEXT];
  snprintf(name, sizeof name, "l%d.bias", layer);
  const heed_array *bias = heed_safetensors_find(file, name);
  if (!bias) return tool_fail(command, "%s has no tensor '%s'", path, name);
  if (bias->rank != 1 || bias->dims[0] != rows || !heed_dtype_is_float(bias->dtype))
    return tool_fail(command, "%s: %s is %s%s; beside l%d.weight it must be a floating-point [%" PRId64 "]", path, name,
                     heed_dtype_string(bias->dtype), tool_shape_text(bias->rank, bias->dims, text), layer, rows);
  return TOOL_DONE;
}

int model_read_shape(const char *command, const char *path, const heed_safetensors *file, model_shape *shape) {
  *shape = (model_shape){0};
  for (int layer = 1; layer < MODEL_MAX_SIZES; layer++) {
    char name[32], text[TOOL_SHAPE_TEXT];
    snprintf(name, sizeof name, "l%d.weight", layer);
    const heed_array *weight = heed_safetensors_find(file, name);
    if (!weight) break;
    if (weight->rank != 2 || weight->dims[0] < 1 || weight->dims[1] < 1 || !heed_dtype_is_float(weight->dtype))
      return tool_fail(command, "%s: %s is %s%s; it must be a floating-point [out, in]", path, name,
                       heed_dtype_string(weight->dtype), tool_shape_text(weight->rank, weight->dims, text));
    if (layer == 1) {
      shape->sizes[shape->count++] = weight->dims[1];
      shape->dtype = weight->dtype;
    }
    if (weight->dims[1] != shape->sizes[shape->count - 1])
      return tool_fail(command, "%s: %s takes %" PRId64 " values, but the layer before it gives %" PRId64, path, name,
                       weight->dims[1], shape->sizes[shape->count - 1]);
    TOOL_TRY(check_bias(command, path, file, layer, weight->dims[0]));
    shape->sizes[shape->count++] = weight->dims[0];
  }
  if (shape->count == 0)
    return tool_fail(command, "%s has no tensor 'l1.weight'; a model's layers are l1.weight, l1.bias, l2.weight, ...",
                     path);
  return TOOL_DONE;
}

int model_load(const char *command, const char *path, const heed_safetensors *file, heed_context *ctx,
               const heed_mlp *mlp) {
  const heed_parameter *parameters;
  const size_t count = heed_mlp_parameters(mlp, &parameters);
  for (size_t i = 0; i < count; i++) {
    const heed_array *array = heed_safetensors_find(file, parameters[i].name);
    if (!array) return tool_fail(command, "%s has no tensor '%s'", path, parameters[i].name);
    heed_tensor *tensor = NULL;
    TOOL_HEED(command, heed_array_to_tensor(array, ctx, &tensor));
    const heed_status copied = heed_copy(tensor, parameters[i].value);
    const int status = copied == HEED_OK ? TOOL_DONE : tool_fail_status(command, copied);
    heed_tensor_destroy(tensor);
    TOOL_TRY(status);
  }
  return TOOL_DONE;
}

const char *model_text(const model_shape *shape, char *text) {
  size_t used = 0;
  *text = '\0';
  for (size_t i = 0; i < shape->count && used < TOOL_SHAPE_TEXT; i++)
    used += (size_t)snprintf(text + used, TOOL_SHAPE_TEXT - used, "%s%" PRId64, i ? "-" : "", shape->sizes[i]);
  return text;
}
