// Chooses between the two kinds of models.
#include "train/classifier.h"

#include <inttypes.h>
#include <string.h>

#include "train/vit_file.h"

static const char arch_key[] = "arch";

const char *const classifier_archs[] = {"mlp", "vit", NULL};

heed_dtype classifier_dtype(const classifier_shape *shape) {
  return shape->arch == CLASSIFIER_VIT ? shape->vit.dtype : shape->mlp.dtype;
}

int64_t *classifier_classes(classifier_shape *shape) {
  return shape->arch == CLASSIFIER_VIT ? &shape->vit.classes : &shape->mlp.sizes[shape->mlp.count - 1];
}

const char *classifier_text(const classifier_shape *shape, char *text) {
  const heed_vit_config *c = &shape->vit;
  if (shape->arch == CLASSIFIER_MLP) return model_text(&shape->mlp, text);
  snprintf(text, TOOL_SHAPE_TEXT,
           "vit (layers %" PRId64 ", heads %" PRId64 ", width %" PRId64 ", patch %" PRId64 ", classes %" PRId64 ")",
           c->layers, c->heads, c->width, c->patch, c->classes);
  return text;
}

void classifier_log(const classifier_shape *shape, json_t *object) {
  const heed_vit_config *c = &shape->vit;
  if (shape->arch == CLASSIFIER_MLP) {
    json_t *sizes = json_array();
    for (size_t i = 0; i < shape->mlp.count; i++) tool_json_append(sizes, json_integer(shape->mlp.sizes[i]));
    tool_json_add(object, "sizes", sizes);
    return;
  }
  const struct {
    const char *name;
    int64_t value;
  } sizes[] = {{"layers", c->layers}, {"heads", c->heads}, {"width", c->width}, {"patch", c->patch}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    tool_json_add(object, sizes[i].name, json_integer(sizes[i].value));
}

static int fit_patches(const char *command, int64_t rows, int64_t cols, heed_vit_config *vit) {
  if (rows % vit->patch != 0 || cols % vit->patch != 0)
    return tool_fail(command,
                     "images of %" PRId64 " x %" PRId64 " cannot be cut into patches of %" PRId64 " x %" PRId64
                     "; the side of a patch must divide theirs",
                     rows, cols, vit->patch, vit->patch);
  vit->rows = rows;
  vit->cols = cols;
  return TOOL_DONE;
}

int classifier_fit(const char *command, const char *path, const char *source, int64_t rows, int64_t cols,
                   classifier_shape *shape) {
  const bool vit = shape->arch == CLASSIFIER_VIT;
  const int64_t pixels = rows * cols;
  const int64_t takes = vit ? shape->patches * shape->vit.patch * shape->vit.patch : shape->mlp.sizes[0];
  if (takes != 0 && takes != pixels)
    return tool_fail(command, "%s takes %" PRId64 " values, but the images of %s have %" PRId64 " pixels", path, takes,
                     source, pixels);
  if (vit) return fit_patches(command, rows, cols, &shape->vit);
  shape->mlp.sizes[0] = pixels;
  return TOOL_DONE;
}

// ---------------------------------------------------------------- files

bool classifier_is_weight(const char *name) { return model_is_layer(name) || vit_file_is_weight(name); }

int classifier_open(const char *command, const char *path, heed_safetensors **out) {
  return model_open(command, path, classifier_is_weight, out);
}

// A file with layers of an mlp may have other tensors, too, whatever their names.
static classifier_arch arch_of(const heed_safetensors *file) {
  for (size_t i = 0; i < heed_safetensors_count(file); i++)
    if (model_is_layer(heed_safetensors_get(file, i)->name)) return CLASSIFIER_MLP;
  return vit_file_is_there(file) ? CLASSIFIER_VIT : CLASSIFIER_MLP;
}

int classifier_read_shape(const char *command, const char *path, const heed_safetensors *file,
                          classifier_shape *shape) {
  *shape = (classifier_shape){.arch = arch_of(file)};
  const char *own = classifier_archs[shape->arch], *said = heed_safetensors_metadata(file, arch_key);
  if (said && strcmp(said, own) != 0)
    return tool_fail(command, "%s: its metadata say that it is of --arch %s, but its tensors are those of %s", path,
                     said, own);
  if (shape->arch == CLASSIFIER_MLP) return model_read_shape(command, path, file, &shape->mlp);
  return vit_file_read(command, path, file, &shape->vit, &shape->patches);
}

// Writes the widths between input and classes: "512" or "512,256".
static void hidden_text(const model_shape *shape, char text[1024]) {
  size_t used = 0;
  *text = '\0';
  for (size_t i = 1; i + 1 < shape->count && used < 1024; i++)
    used += (size_t)snprintf(text + used, 1024 - used, "%s%" PRId64, i > 1 ? "," : "", shape->sizes[i]);
}

heed_status classifier_describe(const classifier_shape *shape, heed_safetensors *file) {
  const heed_status status = heed_safetensors_set_metadata(file, arch_key, classifier_archs[shape->arch]);
  char hidden[1024];
  if (status != HEED_OK) return status;
  if (shape->arch == CLASSIFIER_VIT) return vit_file_describe(&shape->vit, file);
  hidden_text(&shape->mlp, hidden);
  return heed_safetensors_set_metadata(file, "hidden", hidden);
}

// ---------------------------------------------------------------- on the device

int classifier_create(const char *command, heed_context *ctx, const classifier_shape *shape, uint64_t seed,
                      classifier *out) {
  *out = (classifier){0};
  if (shape->arch == CLASSIFIER_VIT) {
    TOOL_HEED(command, heed_vit_create(ctx, &shape->vit, seed, &out->vit));
    out->count = heed_vit_parameters(out->vit, &out->parameters);
  } else {
    const model_shape *mlp = &shape->mlp;
    const heed_mlp_config config = {.sizes = mlp->sizes, .count = mlp->count, .dtype = mlp->dtype};
    TOOL_HEED(command, heed_mlp_create(ctx, &config, seed, &out->mlp));
    out->count = heed_mlp_parameters(out->mlp, &out->parameters);
  }
  return TOOL_DONE;
}

void classifier_destroy(classifier *model) {
  heed_mlp_destroy(model->mlp);
  heed_vit_destroy(model->vit);
  *model = (classifier){0};
}

int classifier_load(const char *command, const char *path, const heed_safetensors *file, heed_context *ctx,
                    const classifier *model) {
  return model->vit ? vit_file_load(command, path, file, ctx, model->vit)
                    : model_load(command, path, file, ctx, model->mlp);
}

heed_status classifier_fwd(const classifier *model, const heed_tensor *x, bool train, uint64_t seed,
                           heed_tensor *logits) {
  return model->vit ? heed_vit_fwd(model->vit, x, train, seed, logits) : heed_mlp_fwd(model->mlp, x, train, logits);
}

heed_status classifier_bwd(const classifier *model, const heed_tensor *dlogits, bool accumulate) {
  return model->vit ? heed_vit_bwd(model->vit, dlogits, accumulate)
                    : heed_mlp_bwd(model->mlp, dlogits, NULL, accumulate);
}
