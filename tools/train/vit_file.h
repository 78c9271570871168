// Vision transformers in safetensors files, under the names of heed_vit's parameters: patch.weight [width, patch²], positions
// [patches, width], encoder.layers.0.self_attn.in_proj_weight, ..., head.weight [classes, width].
#ifndef HEED_VIT_FILE_H
#define HEED_VIT_FILE_H

#include <heed/io.h>
#include <heed/nn.h>

#include "cli/tool.h"

// Tells whether a tensor of this name can be a weight of a vit; whether a file has one.
bool vit_file_is_weight(const char *name);
bool vit_file_is_there(const heed_safetensors *file);
// Sizes and dtype of the vit in the file, except the images' sides; *patches: how many an image has. Fails where tensors do not fit together.
int vit_file_read(const char *command, const char *path, const heed_safetensors *file, heed_vit_config *config,
                  int64_t *patches);
// Adds to the metadata what the tensors do not tell: heads.
heed_status vit_file_describe(const heed_vit_config *config, heed_safetensors *file);
// Copies the file's weights into a vit of that shape, converted to its dtype.
int vit_file_load(const char *command, const char *path, const heed_safetensors *file, heed_context *ctx,
                  const heed_vit *vit);

#endif
