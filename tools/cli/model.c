// Reads multi-layer perceptrons from safetensors files.
#include "cli/model.h"
#include "cli/files.h"

#include <inttypes.h>
#include <string.h>

// A name of one of the two kinds, "l2.bias" or nn.Sequential's "2.bias", which counts the relus between, too.
typedef struct layer_name {
  bool sequential;
  int64_t number;  // as it is in the name
} layer_name;

static bool read_name(const char *name, layer_name *out) {
  char digits[20];
  out->sequential = *name != 'l';
  if (!out->sequential) name++;
  const size_t length = strspn(name, "0123456789");
  if (length == 0 || length > 18 || (*name == '0' && length > 1)) return false;
  if (strcmp(name + length, ".weight") != 0 && strcmp(name + length, ".bias") != 0) return false;
  snprintf(digits, sizeof digits, "%.*s", (int)length, name);
  return tool_read_integer(digits, &out->number);
}

bool model_is_layer(const char *name) {
  layer_name parts;
  return read_name(name, &parts);
}

enum { NAME_TEXT = 32 };

static const char *name_of(bool sequential, int layer, const char *part, char text[NAME_TEXT]) {
  snprintf(text, NAME_TEXT, sequential ? "%d.%s" : "l%d.%s", sequential ? 2 * (layer - 1) : layer, part);
  return text;
}

// Which kind of names the file has; fails where it has both.
static int find_kind(const char *command, const char *path, const heed_safetensors *file, bool *sequential) {
  const char *first[2] = {NULL, NULL};
  for (size_t i = 0; i < heed_safetensors_count(file); i++) {
    const char *name = heed_safetensors_get(file, i)->name;
    layer_name parts;
    if (read_name(name, &parts)) first[parts.sequential] = name;
  }
  *sequential = first[1] != NULL;
  if (first[0] && first[1])
    return tool_fail(command, "%s has both '%s' and '%s'; it must call all layers l1, l2, ..., or all 0, 2, ...", path,
                     first[0], first[1]);
  return TOOL_DONE;
}

// Every layer's tensor in the file must be one of the layers that were found: none may be beyond a gap.
static int check_gaps(const char *command, const char *path, const heed_safetensors *file, bool sequential,
                      int layers) {
  char missing[NAME_TEXT];
  for (size_t i = 0; i < heed_safetensors_count(file); i++) {
    const char *name = heed_safetensors_get(file, i)->name;
    layer_name parts;
    if (!read_name(name, &parts)) continue;
    const int64_t number = parts.number;
    if (sequential ? number % 2 != 0 : number == 0)
      return tool_fail(command, "%s: '%s' is not a layer's; the layers are %s", path, name,
                       sequential ? "0, 2, 4, ..., each with a relu behind it except the last" : "l1, l2, l3, ...");
    if ((sequential ? number / 2 + 1 : number) <= layers) continue;
    if (layers + 1 == MODEL_MAX_SIZES)
      return tool_fail(command, "%s has '%s', but a model has at most %d layers", path, name, MODEL_MAX_SIZES - 1);
    return tool_fail(command, "%s has '%s' but no '%s'; no layer may be missing", path, name,
                     name_of(sequential, layers + 1, "weight", missing));
  }
  return TOOL_DONE;
}

static int check_bias(const char *command, const char *path, const heed_safetensors *file, const char *name,
                      const char *weight, int64_t rows) {
  char text[TOOL_SHAPE_TEXT];
  const heed_array *bias = heed_safetensors_find(file, name);
  if (!bias) return tool_fail(command, "%s has no tensor '%s'", path, name);
  if (bias->rank != 1 || bias->dims[0] != rows || !heed_dtype_is_float(bias->dtype))
    return tool_fail(command, "%s: %s is %s%s; beside %s it must be a floating-point [%" PRId64 "]", path, name,
                     heed_dtype_string(bias->dtype), tool_shape_text(bias->rank, bias->dims, text), weight, rows);
  return TOOL_DONE;
}

static int read_layer(const char *command, const char *path, const heed_safetensors *file, const heed_array *weight,
                      const char *bias, model_shape *shape) {
  char text[TOOL_SHAPE_TEXT];
  const char *name = weight->name;
  if (weight->rank != 2 || weight->dims[0] < 1 || weight->dims[1] < 1 || !heed_dtype_is_float(weight->dtype))
    return tool_fail(command, "%s: %s is %s%s; it must be a floating-point [out, in]", path, name,
                     heed_dtype_string(weight->dtype), tool_shape_text(weight->rank, weight->dims, text));
  if (shape->count == 0) {
    shape->sizes[shape->count++] = weight->dims[1];
    shape->dtype = weight->dtype;
  }
  if (weight->dims[1] != shape->sizes[shape->count - 1])
    return tool_fail(command, "%s: %s takes %" PRId64 " values, but the layer before it gives %" PRId64, path, name,
                     weight->dims[1], shape->sizes[shape->count - 1]);
  TOOL_TRY(check_bias(command, path, file, bias, name, weight->dims[0]));
  shape->sizes[shape->count++] = weight->dims[0];
  return TOOL_DONE;
}

static int check_floats(const char *command, const char *path, const heed_stored *tensor) {
  char text[TOOL_SHAPE_TEXT];
  if (heed_dtype_is_float(tensor->natural) || !tensor->is_convertible) return TOOL_DONE;
  return tool_fail(command, "%s: %s is %s%s; weights must be floating-point", path, tensor->name, tensor->dtype,
                   tool_shape_text(tensor->rank, tensor->dims, text));
}

static heed_status copy_metadata(const heed_store *store, heed_safetensors *out) {
  heed_status status = HEED_OK;
  for (size_t i = 0; status == HEED_OK && i < heed_store_metadata_count(store); i++) {
    const char *key = heed_store_metadata_key(store, i);
    status = heed_safetensors_set_metadata(out, key, heed_store_metadata(store, key));
  }
  return status;
}

static int copy_model(const char *command, const char *path, const heed_store *store,
                      bool (*is_weight)(const char *name), heed_safetensors *out) {
  TOOL_HEED(command, copy_metadata(store, out));
  for (size_t i = 0; i < heed_store_count(store); i++) {
    const heed_stored *tensor = heed_store_get(store, i);
    if (is_weight(tensor->name))
      TOOL_TRY(check_floats(command, path, tensor));
    else if (!tensor->is_own)
      continue;
    TOOL_HEED(command, heed_safetensors_add_stored(out, store, tensor));
  }
  return TOOL_DONE;
}

int model_open(const char *command, const char *path, bool (*is_weight)(const char *name), heed_safetensors **out) {
  heed_store *store = NULL;
  TOOL_TRY(tool_open_store(command, path, &store));
  const heed_status created = heed_safetensors_create(out);
  const int status = created == HEED_OK ? copy_model(command, tool_input_name(path), store, is_weight, *out)
                                        : tool_fail_status(command, created);
  heed_store_destroy(store);
  if (status == TOOL_DONE) return TOOL_DONE;
  heed_safetensors_destroy(*out);
  *out = NULL;
  return status;
}

int model_read_shape(const char *command, const char *path, const heed_safetensors *file, model_shape *shape) {
  *shape = (model_shape){0};
  bool sequential;
  int layers = 0;
  TOOL_TRY(find_kind(command, path, file, &sequential));
  for (int layer = 1; layer < MODEL_MAX_SIZES; layer++) {
    char weight[NAME_TEXT], bias[NAME_TEXT];
    const heed_array *array = heed_safetensors_find(file, name_of(sequential, layer, "weight", weight));
    if (!array) break;
    TOOL_TRY(read_layer(command, path, file, array, name_of(sequential, layer, "bias", bias), shape));
    layers = layer;
  }
  TOOL_TRY(check_gaps(command, path, file, sequential, layers));
  if (layers == 0)
    return tool_fail(command, "%s has no tensor 'l1.weight'; a model's layers are l1.weight, l1.bias, l2.weight, ...",
                     path);
  return TOOL_DONE;
}

int model_load(const char *command, const char *path, const heed_safetensors *file, heed_context *ctx,
               const heed_mlp *mlp) {
  const heed_parameter *parameters;
  const size_t count = heed_mlp_parameters(mlp, &parameters);
  bool sequential;
  TOOL_TRY(find_kind(command, path, file, &sequential));
  for (size_t i = 0; i < count; i++) {
    const char *own = parameters[i].name;
    layer_name parts = {0};
    char name[NAME_TEXT];
    (void)read_name(own, &parts);
    name_of(sequential, (int)parts.number, strchr(own, '.') + 1, name);
    const heed_array *array = heed_safetensors_find(file, name);
    if (!array) return tool_fail(command, "%s has no tensor '%s'", path, name);
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
