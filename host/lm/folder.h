// What a model folder is inside.
#ifndef HEED__LM_FOLDER_H
#define HEED__LM_FOLDER_H

#include "lm/config.h"

struct heed_model_folder {
  char *path;
  heed_transformer_config config;
  json_t *json;  // config.json as it was read
  heed_store *weights;
};

// Fails if what is at `path` is a model in a form that heed does not read (GGUF, PyTorch's pickled files), with the command that converts
// it. Errors: UNSUPPORTED.
heed_status heed__lm_refuse_foreign(const char *path);

extern const char heed__lm_gpt2_prefix[];  // "transformer.", which GPT-2's first files have not
// The weights' tensor of this name; GPT-2's with or without "transformer.". NULL: there is none.
const heed_stored *heed__lm_find(const heed_model_folder *folder, const char *name);
// Fails if the tensor has other dims, of which there are one or two. Errors: FORMAT.
heed_status heed__lm_check_dims(const heed_stored *stored, int rank, const int64_t *dims);
// Fails if the weights are not of the sizes that the configuration tells, as far as the memory for a model depends on them: whoever makes
// the model then needs no more than the files are worth. Errors: FORMAT, with the name of a tensor.
heed_status heed__lm_check_sizes(const heed_model_folder *folder);

// to[c, r] = from[r, c]
void heed__transpose(const float *from, int64_t rows, int64_t columns, float *to);

#endif
