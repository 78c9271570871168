// The models that are trained and evaluated, a multi-layer perceptron or a vision transformer, behind one interface. Only here is asked
// which of them a model is.
#ifndef HEED_CLASSIFIER_H
#define HEED_CLASSIFIER_H

#include <heed/nn.h>

#include "cli/json.h"
#include "cli/model.h"

typedef enum classifier_arch { CLASSIFIER_MLP, CLASSIFIER_VIT } classifier_arch;
extern const char *const classifier_archs[];  // their names, up to NULL

// What a model is before it is made. Sizes that images and labels decide are 0 until they are known.
typedef struct classifier_shape {
  classifier_arch arch;
  model_shape mlp;
  heed_vit_config vit;
  int64_t patches;  // of a vit in a file; 0: any number
} classifier_shape;

heed_dtype classifier_dtype(const classifier_shape *shape);
int64_t *classifier_classes(classifier_shape *shape);
// Settles the inputs by the images' sides; fails where the model that is in `path` takes others.
int classifier_fit(const char *command, const char *path, const char *source, int64_t rows, int64_t cols,
                   classifier_shape *shape);
// Writes "784-512-10", or "vit (layers 4, heads 4, ...)", into text of at least TOOL_SHAPE_TEXT bytes; returns text.
const char *classifier_text(const classifier_shape *shape, char *text);
// Adds the sizes: an mlp's as an array, a vit's by their names.
void classifier_log(const classifier_shape *shape, json_t *object);

// ---------------------------------------------------------------- files

// Reads a file with a model of either kind.
int classifier_open(const char *command, const char *path, heed_safetensors **out);
// Tells whether a tensor of this name is a weight of a model of either kind.
bool classifier_is_weight(const char *name);
// Which kind of model a file has, by its tensors' names, and its sizes. Fails where the metadata name the other kind.
int classifier_read_shape(const char *command, const char *path, const heed_safetensors *file, classifier_shape *shape);
// Adds to a file's metadata what its tensors do not tell.
heed_status classifier_describe(const classifier_shape *shape, heed_safetensors *file);

// ---------------------------------------------------------------- on the device

typedef struct classifier {
  heed_mlp *mlp;  // one of the two
  heed_vit *vit;
  const heed_parameter *parameters;
  size_t count;
} classifier;

int classifier_create(const char *command, heed_context *ctx, const classifier_shape *shape, uint64_t seed,
                      classifier *out);
void classifier_destroy(classifier *model);
// Copies the file's weights into a model of the file's shape, converted to its dtype.
int classifier_load(const char *command, const char *path, const heed_safetensors *file, heed_context *ctx,
                    const classifier *model);
// As heed_vit_fwd() and heed_vit_bwd().
heed_status classifier_fwd(const classifier *model, const heed_tensor *x, bool train, uint64_t seed,
                           heed_tensor *logits);
heed_status classifier_bwd(const classifier *model, const heed_tensor *dlogits, bool accumulate);

#endif
