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

// to[c, r] = from[r, c]
void heed__transpose(const float *from, int64_t rows, int64_t columns, float *to);

#endif
