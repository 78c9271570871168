// heed lm: what its words (train, eval, generate, ...) share: a model from a folder on a device, and how much memory it needs.
#ifndef HEED_LM_TOOL_H
#define HEED_LM_TOOL_H

#include <heed/lm.h>
#include <jansson.h>
#include <stddef.h>

#include "cli/tool.h"

// X(word, what it does)
#define LM_WORDS(X)                                                         \
  X(train, "train a language model on texts, or fine-tune one of a folder") \
  X(eval, "measure a model's loss on a text")                               \
  X(generate, "let a model continue a text")                                \
  X(attention, "show which tokens of a text a model looks at")              \
  X(tokenize, "turn a text into token ids, and back")                       \
  X(info, "tell a model's shapes and the memory that it needs")

// Each reads its own command line; argv[0] is the word.
#define LM_DECLARE(word, what) int lm_##word(int argc, const char **argv);
LM_WORDS(LM_DECLARE)
#undef LM_DECLARE

extern const char *const lm_dtypes[];  // "f32", ... up to NULL, in the order of HEED_F32, HEED_F16, HEED_BF16

// ---------------------------------------------------------------- memory

// Bytes of device memory by what they are for.
enum {
  LM_PARAMETERS,
  LM_GRADIENTS,
  LM_OPTIMIZER,
  LM_ACTIVATIONS,
  LM_CACHE,
  LM_SCRATCH,  // what operators compute with on an OpenCL CPU
  LM_MEMORY_KINDS
};
extern const char *const lm_memory_names[LM_MEMORY_KINDS];
typedef struct lm_memory {
  uint64_t bytes[LM_MEMORY_KINDS];
} lm_memory;
uint64_t lm_memory_total(const lm_memory *memory);
// Writes "3.1 GiB: parameters 0.5 GiB, ..."; returns text.
enum { LM_MEMORY_TEXT = 320 };
const char *lm_memory_text(const lm_memory *memory, char text[LM_MEMORY_TEXT]);
// An object with the bytes by kind.
json_t *lm_memory_json(const lm_memory *memory);
// To train by AdamW on micro-batches of [batch, length] tokens, of which the device sums `own`; and to continue a text up to `length`
// tokens, of which `prompt` come at a time. Errors: those of heed_transformer_reckon().
heed_status lm_memory_to_train(const heed_transformer_config *config, int64_t batch, int64_t length, int64_t own,
                               heed_device_type device, lm_memory *memory);
heed_status lm_memory_to_run(const heed_transformer_config *config, int64_t prompt, int64_t length,
                             heed_device_type device, lm_memory *memory);
// Refuses what the device has no room for, with the figures and `advice`.
int lm_memory_check(const char *command, const heed_context *ctx, const lm_memory *memory, const char *advice);

// ---------------------------------------------------------------- models

typedef struct lm_model {
  const tool_args *args;
  heed_model_folder *folder;
  heed_tokenizer *tokenizer;  // NULL: the folder has none
  heed_context *ctx;
  heed_transformer *transformer;
} lm_model;
int lm_open_device(const tool_args *args, heed_context **out);
// Opens a folder, or its configuration alone, and, where there is one, its tokenizer.
int lm_model_open(const tool_args *args, const char *path, lm_model *model);
int lm_model_open_config(const tool_args *args, const char *path, lm_model *model);
// Opens the device and loads the weights into a transformer of this configuration, which is to run on texts of `prompt` tokens at a time, with
// a cache of keys and values of `length` tokens (0: none), beside `more` bytes that the caller is going to take.
int lm_model_load(lm_model *model, const heed_transformer_config *config, int64_t prompt, int64_t length, uint64_t more,
                  const char *advice);
void lm_model_close(lm_model *model);
// Data are mapped and read more than once, so standard input is copied to a file first: *path becomes its name, if it is "-" and no file
// before was. lm_input_end() removes the file.
typedef struct lm_input {
  char *copy;  // NULL: there is none
} lm_input;
int lm_input_begin(const char *command, const char *option, const char **path, lm_input *input);
void lm_input_end(lm_input *input);
// Opens what --tokenizer names: "bytes"; "chars", the characters of these files, of which `copy` (NULL: none) is that of standard input; or
// a folder.
int lm_open_tokenizer(const char *command, const char *name, const char *const *texts, size_t count, const char *copy,
                      heed_tokenizer **out);
// The most that the tokenizer's ids and the model's vocabulary may differ is that the model knows more of them.
int lm_check_vocabulary(const char *command, const char *name, const heed_tokenizer *tokenizer, int64_t vocab);
// The fraction of multiply-adds' peak is reckoned by: FLOP of a training step on [batch, length] tokens.
double lm_step_flops(const heed_transformer_config *config, int64_t batch, int64_t length);
// How many parameters the model has.
int64_t lm_parameters(const heed_transformer_config *config);
// Adds the architecture, the sizes and the number of parameters.
void lm_json_sizes(json_t *object, const heed_transformer_config *config);

// ---------------------------------------------------------------- tokens as they are shown

// A token for a table or a picture, in UTF-8: blanks and control characters are visible, bytes that are no character are \xe2. A text that
// is too wide ends in "…".
enum { LM_LABEL_WIDTH = 14 };
typedef struct lm_label {
  char text[96];
  int width;  // in columns of a terminal, up to LM_LABEL_WIDTH
} lm_label;
void lm_labels(const heed_tokenizer *tokenizer, const int32_t *ids, size_t count, lm_label *labels);

// ---------------------------------------------------------------- writing

typedef struct lm_writing {
  heed_sample_options sample;
  int64_t tokens;   // at most
  bool ignore_end;  // goes on after an end-of-text id
  bool slide;       // where the context is full, lets the older half go and reads the rest again
} lm_writing;
// Receives one token; *stop ends the text.
typedef int (*lm_token_function)(int32_t id, bool *stop, void *user);
// Continues a text of `count` ids, of which there is at least one.
int lm_write(const lm_model *model, const int32_t *prompt, size_t count, const lm_writing *writing,
             lm_token_function function, void *user);

// Text as it is written: whole characters, up to a text that ends it.
typedef struct lm_stream {
  const heed_tokenizer *tokenizer;
  const char *stop;  // NULL: nothing
  FILE *to;          // NULL: it is only kept
  char *text;
  size_t bytes, room, shown;
  int32_t *ids;
  size_t count, id_room;
} lm_stream;
int lm_stream_token(int32_t id, bool *stop, void *stream);  // an lm_token_function
// Shows what was held back.
void lm_stream_end(lm_stream *stream);
void lm_stream_free(lm_stream *stream);
// Adds the field "text". NULL: null.
void lm_json_text(json_t *object, const lm_stream *stream);

#endif
