// Multi-layer perceptrons in safetensors files, under the names of a PyTorch state dict: l1.weight [out, in], l1.bias, l2.weight, ...,
// or 0.weight, 0.bias, 2.weight, ... as nn.Sequential(Linear, ReLU, Linear, ...) calls the same.
#ifndef HEED_MODEL_H
#define HEED_MODEL_H

#include <heed/io.h>
#include <heed/nn.h>

#include "cli/tool.h"

enum { MODEL_MAX_SIZES = 65 };  // the most layers, plus one

typedef struct model_shape {
  int64_t sizes[MODEL_MAX_SIZES];
  size_t count;  // of sizes: layers + 1
  heed_dtype dtype;
} model_shape;

// Whether a tensor of this name belongs to a layer, of either kind of names.
bool model_is_layer(const char *name);
// Reads a file's tensors that heed can hold, and its weights, as their names tell, whatever their dtype.
int model_open(const char *command, const char *path, bool (*is_weight)(const char *name), heed_safetensors **out);
// Widths and dtype of the layers in the file; fails where one is missing or they do not fit together. path is for messages.
int model_read_shape(const char *command, const char *path, const heed_safetensors *file, model_shape *shape);
// Copies the file's weights into a model of that shape, converted to its dtype.
int model_load(const char *command, const char *path, const heed_safetensors *file, heed_context *ctx,
               const heed_mlp *mlp);
// Writes "784-512-10" into text of at least TOOL_SHAPE_TEXT bytes; returns text.
const char *model_text(const model_shape *shape, char *text);

#endif
