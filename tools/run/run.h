// What the operators of `heed run` share: settings, and tensors from the input file to the output file.
#ifndef HEED_RUN_H
#define HEED_RUN_H

#include <heed/io.h>
#include <stddef.h>

#include "cli/tool.h"

// All options of all operators; each operator's table says which ones it takes.
typedef struct run_settings {
  const char *input, *output;
  bool ignore_unknown;
  int64_t heads, kv_heads;  // 0: not given
  int causal;               // 0 none, 1 top-left, 2 bottom-right
  double scale, softcap, dropout;
  const char *window;
  uint64_t seed;
  int path;
  int weights;  // 0: not asked for; else heed_attention_weights + 1
  bool present;
  const char *plot;  // of attention
  int64_t axis;
  bool log;
  bool from_probs, grad;
  double label_smoothing;
  int64_t ignore_index;
  int reduction, class_axis;
  double lr, momentum, dampening, weight_decay, tolerance;
  double eps, beta1, beta2, max_norm;
  int64_t step;
  bool nesterov;
  int64_t epochs;
  int approximate, style;  // of gelu, of rope
  double theta, p;
  int64_t offset;
  const char *model;
} run_settings;

// A tensor that an operator reads, and how PyTorch or ONNX call the same thing (NULL: no other name). One that has several other names
// has as many rows, one after another.
typedef struct run_name {
  const char *name, *synonym;
} run_name;

// A tensor that an operator does not read, but that people bring, and what to do with it.
typedef struct run_hint {
  const char *name, *what;
} run_hint;

typedef struct run_call {
  const tool_args *args;
  const char *op;
  const run_name *names;  // up to one without a name
  run_settings settings;
  heed_context *ctx;
  heed_store *store;              // the input file
  heed_safetensors *in, *result;  // the tensors that the operator knows; what is to be written
  heed_tensor **owned;            // every tensor of the call, destroyed at its end
  size_t owned_count;
} run_call;

typedef struct run_op {
  const char *name, *summary;
  const char *tensors;                   // what is read and written, for help
  const run_name *names;                 // the same for heed: what is read, up to one without a name
  bool (*more_names)(const char *name);  // NULL, or whether it also reads a tensor of this name
  const run_hint *hints;                 // NULL, or up to one without a name
  const tool_option *options;
  size_t option_count;
  run_settings defaults;
  unsigned uses;  // HEED_USES_...
  int (*function)(run_call *run);
} run_op;

// The operators of `heed run`; its table and its help come from this list. `foo` is run_foo.
// clang-format off
#define RUN_OPS(X) \
  X(attention) X(mha) X(softmax) X(layer_norm) X(rms_norm) X(cross_entropy) X(linear) X(mlp) X(embedding) X(rope) \
  X(gelu) X(relu) X(silu) X(swiglu) X(dropout) X(sgd) X(adamw) X(clip_grad_norm) X(sqrt_sgd) X(lm)
// clang-format on
#define RUN_DECLARE(name) extern const run_op run_##name;
RUN_OPS(RUN_DECLARE)
#undef RUN_DECLARE

#define RUN_TRY(run, call) TOOL_HEED((run)->args->command, call)
#define RUN_OPTIONS(table) .options = (table), .option_count = sizeof(table) / sizeof *(table)

// Opens the input file and reads the tensors that the operator knows. Fails if there is another one that heed could hold, unless
// --ignore-unknown, or one under two names; says which it left out of those that it could not hold.
int run_read(run_call *run, const run_op *op);
// After a failure whose message names a dtype: says which tensors have another one in the file. Returns the status.
int run_say_converted(const run_call *run, const run_op *op, int status);
// What messages call the input file.
const char *run_file(const run_call *run);
// The array of that name, or of its synonym, in the input file; NULL where there is none.
const heed_array *run_find(const run_call *run, const char *name);
// The tensor of that name in the input file, on the device. run_input() fails where it is missing and says what the file
// has; run_optional() gives NULL.
int run_input(run_call *run, const char *name, heed_tensor **out);
int run_optional(run_call *run, const char *name, heed_tensor **out);
bool run_has(const run_call *run, const char *name);
// The same, but fails unless the tensor has the shape and dtype of `like`, which the message calls like_name.
int run_optional_like(run_call *run, const char *name, const char *like_name, const heed_tensor *like,
                      heed_tensor **out);
// Fail where target names a class, kv_lengths a number of keys, or tokens a row, that there is not; *ignored is a class that may stand
// there.
int run_check_classes(const run_call *run, int64_t classes, const int64_t *ignored);
int run_check_lengths(const run_call *run, int64_t keys);
// The same of tensor `name`, where there are `count` of what `of` says.
int run_check_tokens(const run_call *run, const char *name, int64_t count, const char *of, const int64_t *ignored);
// Makes a new tensor, for a result or as scratch memory.
int run_create(run_call *run, heed_dtype dtype, int rank, const int64_t *dims, heed_tensor **out);
// Makes a new tensor with the shape and dtype of `like`; NULL if like is NULL.
int run_create_like(run_call *run, const heed_tensor *like, heed_tensor **out);
// Makes the run destroy `tensor` at its end; on failure it destroys it at once.
int run_own(run_call *run, heed_tensor *tensor);
// Adds a result to the output, or nothing if it is NULL.
int run_write(run_call *run, const char *name, const heed_tensor *tensor);
// The same as "grad.NAME".
int run_write_grad(run_call *run, const char *name, const heed_tensor *tensor);

// Attention's options, on the command line and for the library.
#define RUN_ATTENTION_OPTIONS                                                                                          \
  {.name = "causal",                                                                                                   \
   .kind = TOOL_CHOICE,                                                                                                \
   .offset = offsetof(run_settings, causal),                                                                           \
   .argument = "WHERE",                                                                                                \
   .choices = run_causal_names,                                                                                        \
   .when_bare = "top-left",                                                                                            \
   .help =                                                                                                             \
       "top-left: query i attends key j if j <= i + offset (see man heed-run); bottom-right: if j <= i + Lk - Lq "     \
       "(default top-left)"},                                                                                          \
      TOOL_OPTION_REAL("scale", run_settings, scale, -TOOL_MAX_REAL, TOOL_MAX_REAL, NULL,                              \
                       "factor on q k^T (default 1/sqrt(D))"),                                                         \
      TOOL_OPTION_REAL("softcap", run_settings, softcap, 0, TOOL_MAX_REAL, "at least 0 (0: none)",                     \
                       "scores become X tanh(score/X) (default none)"),                                                \
      TOOL_OPTION_TEXT("window", run_settings, window, "L:R",                                                          \
                       "attend L keys to the left and R to the right of a query's position; -1: all (default -1:-1)"), \
      TOOL_OPTION_REAL("dropout", run_settings, dropout, 0, 0.99999999999999988898, "from 0 to below 1",               \
                       "probability of dropping a weight (default 0)"),                                                \
      TOOL_OPTION_UNSIGNED("seed", run_settings, seed, "seed of the dropout (default 0)"),                             \
      TOOL_OPTION_CHOICE("path", run_settings, path, run_path_names, "auto|fused|staged",                              \
                         "staged: a kernel for each step; fused: one kernel with O(L) memory (default auto)"),         \
  {                                                                                                                    \
    .name = "weights", .kind = TOOL_CHOICE, .offset = offsetof(run_settings, weights), .argument = "STEP",             \
    .choices = run_weights_names, .when_bare = "softmax",                                                              \
    .help =                                                                                                            \
        "also write the weights after a step: raw (scale q k^T), softcap (of that), masked (the mask added to that, "  \
        "-inf where a key is not attended) or softmax (default softmax)"                                               \
  }
extern const char *const run_causal_names[], *const run_path_names[], *const run_weights_names[];
int run_attention_options(const run_call *run, heed_attention_options *options);
// Makes the gradient tensor for a float mask. NULL: the mask is BOOL, there is none, or the path is fused, which has no such gradient (it
// says so on stderr).
int run_create_mask_grad(run_call *run, const heed_tensor *mask, heed_tensor **out);
// Draws weights [B, H, Lq, Lk] of the kind of settings.weights into settings.plot.
int run_plot_attention(run_call *run, const heed_tensor *weights);

#endif
