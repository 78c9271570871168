// Language models on disk: folders as `transformers` writes them, with config.json and model.safetensors, or shards and their index.
#ifndef HEED_LM_H
#define HEED_LM_H

#include <heed/io.h>
#include <heed/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct heed_model_folder heed_model_folder;
// Reads config.json and the headers of the weights. Takes the architectures of heed_architecture; what else a configuration can ask
// for is refused by name and never approximated: another rope_type or activation, biases that the architecture has not, sliding
// layers, scaling by layer, quantization.
// Errors, which name the file and the key: IO; FORMAT (no JSON, a key missing, of the wrong type or out of range, weights that are no
// safetensors); UNSUPPORTED (a model that heed has not); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_model_folder_open(const char *path, heed_model_folder **out);
HEED_API void heed_model_folder_close(heed_model_folder *folder);
// The model's configuration, complete, with dtype F32; dropout is what config.json names for the residual stream. NULL for NULL.
HEED_API const heed_transformer_config *heed_model_folder_config(const heed_model_folder *folder);
// Loads the weights into a transformer of this configuration, from F32, F16, BF16 or F64; GPT-2's are transposed to [out, in], and may be
// named with and without "transformer.". Tensors that hold no weights (*.attn.bias, *.attn.masked_bias, *.rotary_emb.inv_freq,
// lm_head.weight where the head is tied) are skipped.
// Errors: FORMAT, with the names of tensors that are missing, unknown or of another shape; IO; DTYPE; OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_model_folder_load(const heed_model_folder *folder,
                                                            heed_transformer *transformer);
// Tells whether a folder holds a parameter transposed, as GPT-2's holds the matrices of its blocks.
HEED_API bool heed_model_is_transposed(heed_architecture architecture, const char *name);
// Adds a parameter, or its gradient, to a file of safetensors as `name`, in the form that a folder holds it in: F32, transposed where
// `transposed`. Errors: those of heed_safetensors_add().
HEED_API HEED_MUST_CHECK heed_status heed_model_add(heed_safetensors *file, const char *name, bool transposed,
                                                    const heed_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
