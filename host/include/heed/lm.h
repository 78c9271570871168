// Language models: their folders, as `transformers` writes them, with config.json and model.safetensors, or shards and their index; the
// tokens that they are trained on; and the choice of the next token.
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
// safetensors, or not of the configuration's sizes); UNSUPPORTED (a model that heed has not); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_model_folder_open(const char *path, heed_model_folder **out);
// The same from config.json alone, for a model whose weights come from elsewhere: heed_model_folder_load() refuses it.
HEED_API HEED_MUST_CHECK heed_status heed_model_folder_open_config(const char *path, heed_model_folder **out);
HEED_API void heed_model_folder_close(heed_model_folder *folder);
// The model's configuration, complete, with dtype F32; dropout is what config.json names for the residual stream. NULL for NULL.
HEED_API const heed_transformer_config *heed_model_folder_config(const heed_model_folder *folder);
// Loads the weights into a transformer of this configuration, from F32, F16, BF16 or F64; GPT-2's are transposed to [out, in], and may be
// named with and without "transformer.". Tensors that hold no weights (*.attn.bias, *.attn.masked_bias, *.rotary_emb.inv_freq,
// lm_head.weight where the head is tied) are skipped.
// Errors: FORMAT, with the names of tensors that are missing, unknown or of another shape; IO; DTYPE; OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_model_folder_load(const heed_model_folder *folder,
                                                            heed_transformer *transformer);
// The same into the masters of parameters in F16 or BF16, unrounded, of an optimizer that was made with the transformer's parameters alone.
// An optimizer without masters stays as it is.
HEED_API HEED_MUST_CHECK heed_status heed_model_folder_load_masters(const heed_model_folder *folder,
                                                                    const heed_transformer *transformer,
                                                                    const heed_optimizer *optimizer);
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
      *like;  // the folder that the model was loaded from: its config.json is kept, but for the dtype. NULL: a new one
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

// ---------------------------------------------------------------- tokens to train on

// A sequence of token ids, of one file or of several that follow one another, mapped into memory from disk: it may be larger than memory.
// Files are texts, which are tokenized once and then kept in heed's cache, or token files of llm.c: 256 int32 (20240520, 1, count), then
// uint16; or (20240801, 7, count), then uint32. The first four bytes tell which.
typedef struct heed_token_data heed_token_data;

typedef struct heed_token_data_options {
  const heed_tokenizer *tokenizer;  // for texts; NULL: token files alone
  int64_t vocab;      // a token that is not below it is an error at opening, with file, index and value; 0: not checked
  double validation;  // the part at the end that is not for training: ⌈f·n⌉ of n characters, or tokens of token files
  bool
      template_tokens;  // also the tokens that the tokenizer's template puts around a text, which is each part of a file
  void (*progress)(const char *path, double part,
                   void *user);  // while a text is tokenized: 0, ..., 1; NULL: nobody is told
  void *user;
} heed_token_data_options;
// Opens files as one sequence, and its end as another, *validation, if options.validation > 0; otherwise validation may be NULL. options
// NULL: none. Characters are those of UTF-8; a byte that belongs to none counts as one. Each file, and each of the two parts of a text, is
// tokenized apart. Tokens of a text are kept in the folder "tokens" of heed's cache, as token files, by its content and the tokenizer;
// those that were not used for the longest time go when all have more than a quarter of the disk's free space. Without a cache
// (HEED_CACHE=off), or where it has no room, they lie in a file without a name in $TMPDIR. Files must not be written to while they are
// open. Errors, which name the file: INVALID_ARGUMENT (validation is not in [0, 1)); IO; FORMAT (a token file is truncated or of another
// version, a token >= vocab; files of both kinds, or a text without a tokenizer); those of heed_tokenizer_encode(); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_token_data_open(const char *const *paths, size_t count,
                                                          const heed_token_data_options *options,
                                                          heed_token_data **training, heed_token_data **validation);
HEED_API void heed_token_data_close(heed_token_data *data);
HEED_API int64_t heed_token_data_count(const heed_token_data *data);  // tokens
// A checksum of all ids, which does not depend on how files hold them: zlib's crc32 of little-endian I32. Errors: IO.
HEED_API HEED_MUST_CHECK heed_status heed_token_data_checksum(const heed_token_data *data, uint32_t *checksum);
// Copies ids [first, first + count); after the last one follows the first. Errors: INVALID_ARGUMENT (a negative number, no tokens); IO (a
// file became shorter).
HEED_API HEED_MUST_CHECK heed_status heed_token_data_read(const heed_token_data *data, int64_t first, int64_t count,
                                                          int32_t *ids);

// Tells whether a file is one of tokens, and not a text. Errors: IO; FORMAT (a token file that is truncated or of another version).
HEED_API HEED_MUST_CHECK heed_status heed_token_file_is(const char *path, bool *is_tokens);

// Which windows of the sequence a step trains on.
typedef struct heed_batches {
  int64_t batch, length;  // a micro-batch: rows × tokens
  int64_t accumulate;     // micro-batches of a step
  bool sequential;        // row r of micro-batch m of step s begins at token ((s·accumulate + m)·batch + r)·length
  uint64_t seed;  // otherwise it begins anywhere in [0, n − length − 1], uniformly, by (seed, step, m, r) alone
} heed_batches;
// Fills tokens [batch, length] and targets [batch, length], the tokens that follow. Errors: INVALID_ARGUMENT (fewer than length + 1
// tokens; a size below 1; micro is not below accumulate); IO.
HEED_API HEED_MUST_CHECK heed_status heed_batches_read(const heed_batches *batches, const heed_token_data *data,
                                                       int64_t step, int64_t micro, int32_t *tokens, int32_t *targets);

#ifdef __cplusplus
}
#endif
#endif
