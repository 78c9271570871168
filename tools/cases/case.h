// Cases: one operator on one shape with one set of options. `heed check` runs each case on a device and on the host and compares; `heed
// bench` times cases; tests do either. The case's family makes what the case needs, in the same way for all three. A family is everything
// about an operator's cases, in its own file. Whoever goes over operators goes over the list of families.
#ifndef HEED_CASE_H
#define HEED_CASE_H

#include <heed/heed.h>
#include <heed/nn.h>

#define TRY(call)                                 \
  do {                                            \
    const heed_status try_status = (call);        \
    if (try_status != HEED_OK) return try_status; \
  } while (0)
#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

// ---------------------------------------------------------------- where a case runs

enum { CASE_MAX_TENSORS = 32 };

typedef enum case_fill {
  CASE_NORMAL,    // mean 0, variance 1
  CASE_UNIFORM,   // [0, 1)
  CASE_HUGE,      // ±88: near the ends of exp in F32
  CASE_SAME,      // one value everywhere
  CASE_OUTLIER,   // normal, with one element of 1e4
  CASE_DENORMAL,  // normal, with every fourth element too small for F32's full precision
  CASE_ZERO,
} case_fill;

// The tensors of one case on one context. Outputs lie between guard bands and are poisoned with NaN before each run.
typedef struct case_tensor {
  char name[32];
  heed_tensor *base;  // the tensor with its guards; an input has none, and is its own base
  heed_tensor *tensor;
  bool output;
  double tolerance;
  void *initial;  // initial values of an output that is also read; NULL: poison
} case_tensor;

typedef struct case_env {
  heed_context *ctx;
  const struct heed_case *of;
  uint64_t seed;  // of the inputs; the same on every context
  case_tensor tensors[CASE_MAX_TENSORS];
  int count;
  void *module;  // a family's own object, freed by module_free
  void (*module_free)(void *);
  bool timing;  // heed bench: run only what is timed
} case_env;

heed_status case_input(case_env *env, const char *name, heed_dtype dtype, int rank, const int64_t *dims, case_fill fill,
                       double scale);
heed_status case_input_data(case_env *env, const char *name, heed_dtype dtype, int rank, const int64_t *dims,
                            const void *data);
heed_status case_output(case_env *env, const char *name, heed_dtype dtype, int rank, const int64_t *dims,
                        double tolerance);
// An output that is also read: each run starts from `fill`.
heed_status case_state(case_env *env, const char *name, heed_dtype dtype, int rank, const int64_t *dims, case_fill fill,
                       double scale, double tolerance);
heed_tensor *case_get(const case_env *env, const char *name);  // NULL: not there
// Returns the value of a parameter of the case's module; NULL: there is none of this name.
heed_tensor *case_parameter(const case_env *env, const char *name);
// Returns a number in [0, 1) that depends only on the case and `index`, for choices such as masks.
double case_random(const case_env *env, uint64_t index);
heed_status case_poison(case_env *env);  // before a run
// Makes the case's tensors on ctx, and runs the case once on poisoned outputs. Free the env even after a failure.
heed_status case_start(case_env *env, const struct heed_case *c, heed_context *ctx);
heed_status case_run(case_env *env, const struct heed_case *c);
// Fails with MISMATCH and the tensor's name if a guard band was overwritten.
heed_status case_check_guards(const case_env *env);
void case_free(case_env *env);

// ---------------------------------------------------------------- cases

typedef enum case_phase { CASE_BOTH, CASE_FORWARD, CASE_BACKWARD } case_phase;
typedef enum case_mask {
  CASE_MASK_NONE,
  CASE_MASK_KEYS,    // BOOL [B, 1, 1, Lk]
  CASE_MASK_SQUARE,  // BOOL [Lq, Lk]
  CASE_MASK_FULL,    // BOOL [B, Hq, Lq, Lk]
  CASE_MASK_RANK1,   // BOOL [Lk]
  CASE_MASK_SHORT,   // BOOL [Lq, Lk − 3]
  CASE_MASK_DEAD,    // BOOL [Lq, Lk], some rows with nothing to attend
  CASE_MASK_FLOAT,   // float [Hq, Lq, Lk]
  CASE_MASK_NEGINF,  // float [Lq, Lk] with −inf
  CASE_MASK_LOWEST   // float [Lq, Lk] with −FLT_MAX
} case_mask;

typedef struct attention_shape {
  int64_t b, hq, hkv, lq, lk, d, dv, past;
  heed_attention_options options;
  case_mask mask;
  bool kv_lengths, weights, mask_grad, rows_first;  // rows_first: [B, L, H, D] storage
  bool poison_masked;                               // NaN in keys and values that nothing attends
  case_fill fill;
  double scale;  // of q's values
} attention_shape;

typedef struct gemm_shape {
  int64_t batch, m, n, k;
  bool ta, tb;
  double alpha, beta;
} gemm_shape;

typedef struct rows_shape {
  int rank;
  int64_t dims[4];
  int axis;
  bool log;
  case_fill fill;
} rows_shape;

typedef struct norm_shape {
  int64_t rows, cols;
  double eps, mean;  // mean: of x
  case_fill fill;
  bool bias, residual, accumulate;
  bool adds;  // forward: of x + addend, which is a result too
} norm_shape;

typedef struct loss_shape {
  int64_t n, c;
  heed_cross_entropy_options options;
  heed_dtype target;  // I32, I64, U8, or a float dtype for probabilities
  case_fill fill;
  int64_t inner;           // not 0: logits [n, c, inner], or [n, inner, c] with HEED_CLASS_AXIS_LAST
  bool weighted, ignores;  // weights of the classes; some rows of class -100
  bool in_place;           // the gradient takes the place of the logits
} loss_shape;

typedef struct embedding_shape {
  int64_t rows, used, count, width;  // of the table, of them those that tokens name; tokens
  heed_dtype tokens;                 // I32, I64 or U8
  bool skewed;                       // some tokens are far more frequent than others
  bool outside;                      // some tokens are none
  bool accumulate;
  case_fill fill;
} embedding_shape;

typedef struct rope_shape {
  int64_t b, h, l, d;
  double theta;
  int64_t first;    // position of the first row
  bool rows_first;  // [B, L, H, D] storage
  case_fill fill;
} rope_shape;

typedef struct linear_shape {
  int64_t rows, in, out;
  bool bias;
  enum linear_activation {
    LINEAR_PLAIN,
    LINEAR_RELU,
    LINEAR_GELU_ERF,
    LINEAR_GELU_TANH
  } activation;     // of y; of x, too
  bool accumulate;  // gradients of weight and bias are added to what the tensors hold
} linear_shape;

typedef struct mha_shape {
  int64_t b, lq, lk, model, heads, kv_heads;
  heed_attention_options options;
  bool cross;
} mha_shape;

typedef struct transformer_shape {
  heed_transformer_config config;  // without dtype
  int64_t batch, length;
  int64_t past;  // decoding: tokens in the cache
} transformer_shape;

typedef struct mlp_shape {
  int64_t batch;
  int64_t sizes[8];
  int count;
} mlp_shape;

typedef struct vit_shape {
  heed_vit_config config;  // without dtype
  int64_t batch;
} vit_shape;

typedef struct update_shape {
  int64_t n;
  heed_sgd_options sgd;
  heed_sqrt_options sqrt;
} update_shape;

typedef struct adamw_shape {
  int64_t n;
  heed_adamw_options options;
  double factor;             // 0: none is given
  bool ranges, steps, copy;  // given as tensors
  case_fill fill;            // of the gradient
} adamw_shape;

typedef struct clip_shape {
  int64_t n;
  case_fill fill;
  double scale;  // of the gradients; grad_control's: the loss scale, 0: none
  heed_grad_control_options options;
  double squares;   // grad_control's input
  bool has_failed;  // a step before had no finite norm
} clip_shape;

typedef struct heed_case {
  const struct case_family *family;
  char name[96];
  heed_dtype dtype;
  int level;  // 0: also in --quick; 1: by default; 2: in --full only
  case_phase phase;
  int form;  // a family's variant: gelu's form, copy's target dtype
  union {
    attention_shape attention;
    gemm_shape gemm;
    rows_shape rows;
    norm_shape norm;
    loss_shape loss;
    embedding_shape embedding;
    rope_shape rope;
    linear_shape linear;
    mha_shape mha;
    mlp_shape mlp;
    vit_shape vit;
    transformer_shape transformer;
    update_shape update;
    adamw_shape adamw;
    clip_shape clip;
  } u;
} heed_case;

// A growing list of cases.
typedef struct case_list {
  heed_case *cases;
  size_t count, capacity;
  bool failed;  // memory ran out
} case_list;

typedef struct case_family {
  const char *op;                                           // the name in `heed check --op`
  heed_status (*setup)(case_env *env, const heed_case *c);  // makes inputs and outputs
  heed_status (*run)(case_env *env, const heed_case *c);    // queues the operator's calls
  double (*flops)(const heed_case *c);  // of one run, without what the mask excludes; NULL: memory work
  double (*bytes)(const heed_case *c);  // the fewest bytes to read and write; NULL: not counted
  double (*operations)(
      const heed_case *c);         // of one run, where flops is NULL: for heed bench's plot; NULL: not counted
  void (*cases)(case_list *list);  // adds its cases
  // Adds cases that are small enough for interpreters and for a thousand runs, and that still reach each of the family's kernels. Their
  // level is 0.
  void (*tiny)(case_list *list);
  bool has_providers;  // matrix products that CLBlast can do: `heed check --full` runs its cases with CLBlast too
  // For a module: makes its parameters on env's context.
  size_t (*parameters)(const case_env *env, const heed_parameter **parameters);
  // For the comparison of gradients with finite differences (gradient.c). The output whose derivative is taken; NULL: "y".
  const char *result;
  bool (*has_gradient)(const heed_case *c);  // tells whether differences can check the case; NULL: none of them
  bool has_kink;                             // the derivative jumps at 0, so arguments stay away from 0
  heed_status (*settle)(const case_env *env, const heed_case *c);  // prepares the module for small steps; may be NULL
} case_family;

// The families. `foo` is foo_family, in the file of this folder with the same name as the one in host/ops; modules have their own.
// clang-format off
#define CASE_FAMILIES(X) \
  X(attention) \
  X(gemm) X(linear) X(mha) X(mlp) X(vit) X(transformer) X(decode) \
  X(softmax) X(cross_entropy) X(cross_entropy_fwd_bwd) X(cross_entropy_share) \
  X(layer_norm) X(rms_norm) \
  X(relu) X(gelu) X(silu) X(swiglu) X(dropout) X(rope) \
  X(add) X(mul) X(reduce_sum) X(copy) X(fill) X(gather_rows) X(argmax) X(embedding) \
  X(sgd) X(adamw) X(clip_grad_norm) X(grad_control) X(sqrt_sgd)
// clang-format on
#define CASE_DECLARE(name) extern const case_family name##_family;
CASE_FAMILIES(CASE_DECLARE)
#undef CASE_DECLARE
extern const case_family *const case_families[];  // ends with NULL

// Makes the list of all cases, or of the tiny cases of all families. free() *out. Errors: OUT_OF_MEMORY.
heed_status case_table(heed_case **out, size_t *count);
heed_status case_tiny_table(heed_case **out, size_t *count);

// ---------------------------------------------------------------- for families

// Adds a zeroed case to fill in; returns NULL once memory has run out, which the list reports at its end.
heed_case *case_append(case_list *list, const case_family *family, heed_dtype dtype, int level);
#define CASE_NAME(c, ...) snprintf((c)->name, sizeof(c)->name, __VA_ARGS__)

enum { CASE_FLOATS = 3, CASE_SIZES = 5 };
extern const heed_dtype case_floats[CASE_FLOATS];     // F32, F16, BF16
extern const char *const case_suffixes[CASE_FLOATS];  // what they add to a name
extern const int64_t case_sizes[CASE_SIZES][2];       // rows and columns for operators over elements

// Adds cases of rows. dtype: an index into case_floats.
void case_add_rows(case_list *list, const case_family *family, const char *what, rows_shape s, int dtype, int form,
                   int level);
// Adds case_sizes in each dtype; and one small size in F32 and BF16, for a family's `tiny`.
void case_add_elements(case_list *list, const case_family *family);
void case_add_tiny_elements(case_list *list, const case_family *family, int form);

// For has_gradient: every case; or rows without planted values, for which differences are too coarse.
bool case_any(const heed_case *c);
bool case_has_plain_rows(const heed_case *c);
enum { CASE_MOST_PROBED = 20000 };  // elements

// Copies a module's gradients into outputs of the case, so that guards, poison and comparison cover them.
heed_status case_add_grads(case_env *env, const heed_case *c, const heed_parameter *parameters, size_t count);
heed_status case_copy_grads(case_env *env, const heed_parameter *parameters, size_t count);
// For modules of many parameters: sees all gradients as one tensor, *joined, and adds one output "gradients" of its size, to copy it to.
// Gradients lie together, unless the device has no buffer that large.
heed_status case_join_grads(case_env *env, const heed_case *c, const heed_parameter *parameters, size_t count,
                            heed_tensor **joined);

// Counts the pairs (i, j) that an attention's masks by position leave (bench counts these).
double case_attended_pairs(const attention_shape *s);

// Runs the case on both contexts and compares every output. *worst is the largest relative error.
typedef struct case_result {
  bool passed;
  double relative;  // worst output's ‖x − r‖/‖r‖
  char output[32];  // its name
  double tolerance;
  char message[512];  // why it failed; empty when it passed
  bool has_nan;       // some result contains NaN (on both sides, or the case failed)
} case_result;
heed_status case_compare(const heed_case *c, heed_context *device, heed_context *host, case_result *result);
// gradient.c. Compares the host's gradients of a case with finite differences of its forward.
bool case_has_gradient(const heed_case *c);
heed_status case_compare_gradient(const heed_case *c, heed_context *host, case_result *result);

#endif
