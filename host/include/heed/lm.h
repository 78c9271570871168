// Language models on disk: folders as `transformers` writes them, with config.json and model.safetensors, or shards and their index.
#ifndef HEED_LM_H
#define HEED_LM_H

#include <heed/io.h>
#include <heed/nn.h>
#include <heed/text.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct heed_model_folder heed_model_folder;
// Reads config.json and the headers of the weights. Takes the architectures of heed_architecture; what else a configuration can ask
// for is refused by name and never approximated: another rope_type or activation, biases that the architecture has not, sliding
// layers, scaling by layer, quantization. A model in GGUF or in a file of torch.save() is refused with the command that converts it.
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
// Tells whether an id ends a text (eos_token_id).
HEED_API bool heed_model_folder_is_end(const heed_model_folder *folder, int64_t id);
// Tells whether a folder holds a parameter transposed, as GPT-2's holds the matrices of its blocks.
HEED_API bool heed_model_is_transposed(heed_architecture architecture, const char *name);
// Adds a parameter, or its gradient, to a file of safetensors as `name`, in the form that a folder holds it in: F32, transposed where
// `transposed`. Errors: those of heed_safetensors_add().
HEED_API HEED_MUST_CHECK heed_status heed_model_add(heed_safetensors *file, const char *name, bool transposed,
                                                    const heed_tensor *tensor);

typedef struct heed_model_save_options {
  heed_dtype dtype;  // of the weights in the file
  const heed_optimizer
      *optimizer;  // of a model in F16 or BF16: its masters are saved, and not the values. It must have been made
                   // with the transformer's parameters alone. NULL: the values
  const heed_model_folder
      *like;  // the folder that the model was loaded from: all of its config.json is kept. NULL: a new one
  const heed_tokenizer *tokenizer;  // is saved, too; NULL: none
} heed_model_save_options;
// Writes config.json, model.safetensors and the tokenizer's files, which AutoModelForCausalLM and AutoTokenizer of `transformers` open.
// Makes the folder if it is not there, and replaces each file whole; other files stay, but for the index of shards. options NULL: zeros.
// Errors, which name the file: IO, OUT_OF_MEMORY, DTYPE; those of downloads.
HEED_API HEED_MUST_CHECK heed_status heed_model_folder_save(const char *path, const heed_transformer *transformer,
                                                            const heed_model_save_options *options);

// ---------------------------------------------------------------- the next token

// Zero-initialise it.
typedef struct heed_sample_options {
  double temperature;  // 0: the token of the highest logit
  int64_t top_k;       // only the k highest logits; 0: all
  double top_p;        // then only the fewest most likely tokens whose probabilities sum to p at least; 0: all
  uint64_t seed;
} heed_sample_options;
// Chooses a token by logits [vocab], with probabilities softmax(logits/temperature). Of equal logits the lower id comes first. The choice
// depends on logits, options and position alone (heed_random_uniform(seed, position)): where two devices round logits differently, it can
// differ if two logits are equal but for that rounding, or a probability's border lies within that rounding of the random number.
// Computed in F64. Errors: INVALID_ARGUMENT (vocab < 1, an option out of its range, a logit that is NaN or +infinity, with its id;
// logits that are all −infinity); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_sample(const float *logits, int64_t vocab, const heed_sample_options *options,
                                                 int64_t position, int64_t *token);

#ifdef __cplusplus
}
#endif
#endif
