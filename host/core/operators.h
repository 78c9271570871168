// The operators. One row of the list says everything that the library knows of an operator and what one call of it carries. The rows
// generate the enum, both backend tables (if a backend lacks an operator, the library does not link), the names of the slots and the table
// of facts. host/ops has already validated the arguments here.
#ifndef HEED__OPERATORS_H
#define HEED__OPERATORS_H

#include <heed/heed.h>
#include <stddef.h>

// X(name, TOLERANCE, IN(slots), OUT(slots), further facts)
//   TOLERANCE      how far a device may be off: EXACT, FORWARD or GRADIENT (see heed_tolerance)
//   IN, OUT        the tensors in the order of their slots; slot x of foo_fwd is HEED__foo_fwd_x
//   PARAMS(type)   what call.params points to; without it, params is NULL
//   OPTIONAL(...)  slots that may be NULL
//   AS_FORWARD(...)  outputs of a GRADIENT row that are judged as FORWARD
//   IN_PLACE(y, x) output y may be the very tensor in slot x; further pairs follow in the same list
//   SUM_OF_PRODUCTS  every element is one: validation finds the size of its terms by the operator applied to absolute values
//   FACTORS(type, ...)  the numbers of PARAMS that multiply these products
//   OWN_TERMS      for foo, the host's heed__cpu_terms_foo tells the size of the terms (see heed__backend)
// The comment says what a backend must accept; tensors are contiguous unless it mentions strides.
// clang-format off
#define HEED__OPERATORS(X) \
  /* y: any strides, any dtype */ \
  X(fill, EXACT, IN(), OUT(y), PARAMS(struct heed__fill_params)) \
  /* x, y: one shape, any strides, any dtypes */ \
  X(copy, EXACT, IN(x), OUT(y)) \
  /* a, b, y: one shape, y contiguous; a and b have stride 0 where they broadcast */ \
  X(add, FORWARD, IN(a, b), OUT(y), PARAMS(struct heed__add_params), SUM_OF_PRODUCTS, \
    FACTORS(struct heed__add_params, alpha, beta), IN_PLACE(y, a, y, b)) \
  X(mul, FORWARD, IN(a, b), OUT(y), IN_PLACE(y, a, y, b)) \
  /* x, y: one rank; y has 1 where x is summed, and is read with accumulate */ \
  X(reduce_sum, FORWARD, IN(x), OUT(y), PARAMS(struct heed__reduce_params), SUM_OF_PRODUCTS) \
  /* x: [N, width]; index: I32 [rows]; y: [rows, width] */ \
  X(gather_rows, FORWARD, IN(x, index), OUT(y), PARAMS(struct heed__gather_params), OWN_TERMS) \
  /* weight: [V, C]; tokens: I32, I64 or U8 [N]; y: [N, C]; neither V nor N exceeds 2^31 − 1 */ \
  X(embedding_fwd, EXACT, IN(weight, tokens), OUT(y)) \
  /* tokens: [N]; dy: [N, C]; dweight: [V, C], which is read with accumulate */ \
  X(embedding_bwd, GRADIENT, IN(tokens, dy), OUT(dweight), PARAMS(struct heed__embedding_params), SUM_OF_PRODUCTS) \
  /* x: [N, C]; y: I32 [N] */ \
  X(argmax, EXACT, IN(x), OUT(y)) \
  /* a, b, c: [B0, B1, rows, columns], last stride 1, the others any; 0 in a and b where they broadcast */ \
  X(gemm, FORWARD, IN(a, b), OUT(c), PARAMS(struct heed__gemm_params), SUM_OF_PRODUCTS, \
    FACTORS(struct heed__gemm_params, alpha, beta)) \
  /* x: [N, I]; weight: [O, I]; bias: [O]; y, z: [N, O]. bwd: z, as x, for gelu alone */ \
  X(linear_fwd, FORWARD, IN(x, weight, bias), OUT(y, z), PARAMS(struct heed__linear_params), OPTIONAL(bias, z), \
    SUM_OF_PRODUCTS) \
  X(linear_bwd, GRADIENT, IN(x, weight, dy, z), OUT(dx, dweight, dbias), PARAMS(struct heed__linear_params), \
    OPTIONAL(z, dx, dweight, dbias), SUM_OF_PRODUCTS) \
  /* all of one shape */ \
  X(relu_fwd, FORWARD, IN(x), OUT(y), SUM_OF_PRODUCTS, IN_PLACE(y, x)) \
  X(relu_bwd, FORWARD, IN(x, dy), OUT(dx), SUM_OF_PRODUCTS, IN_PLACE(dx, dy)) \
  X(gelu_fwd, FORWARD, IN(x), OUT(y), PARAMS(struct heed__gelu_params), OWN_TERMS, IN_PLACE(y, x)) \
  X(gelu_bwd, GRADIENT, IN(x, dy), OUT(dx), PARAMS(struct heed__gelu_params), OWN_TERMS, IN_PLACE(dx, dy)) \
  X(silu_fwd, FORWARD, IN(x), OUT(y), IN_PLACE(y, x)) \
  X(silu_bwd, GRADIENT, IN(x, dy), OUT(dx), IN_PLACE(dx, dy)) \
  X(swiglu_fwd, FORWARD, IN(gate, up), OUT(y), IN_PLACE(y, gate, y, up)) \
  X(swiglu_bwd, GRADIENT, IN(gate, up, dy), OUT(dgate, dup), IN_PLACE(dgate, dy, dup, up)) \
  X(dropout_fwd, FORWARD, IN(x), OUT(y), PARAMS(struct heed__dropout_params), IN_PLACE(y, x)) \
  X(dropout_bwd, FORWARD, IN(dy), OUT(dx), PARAMS(struct heed__dropout_params), IN_PLACE(dx, dy)) \
  /* x, dy, y, dx: [B, H, L, D], last stride 1, the others any; table: F32 [L, D] */ \
  X(rope_fwd, FORWARD, IN(x, table), OUT(y), PARAMS(struct heed__rope_params), IN_PLACE(y, x)) \
  X(rope_bwd, GRADIENT, IN(dy, table), OUT(dx), PARAMS(struct heed__rope_params), IN_PLACE(dx, dy)) \
  /* all [outer, axis, inner] */ \
  X(softmax_fwd, FORWARD, IN(x), OUT(y), PARAMS(struct heed__softmax_params), OWN_TERMS) \
  X(softmax_bwd, GRADIENT, IN(y, dy), OUT(dx), PARAMS(struct heed__softmax_params), OWN_TERMS) \
  /* x, addend, sum, dx, y, dy, residual: [rows, C]; weight, bias, dweight, dbias: [C]. With addend and sum, which come together, the norm \
     is that of sum = x + addend, rounded to the dtype. The rms_norms have the slots of the layer_norms but the last */ \
  X(layer_norm_fwd, FORWARD, IN(x, addend, weight, bias), OUT(y, sum), PARAMS(struct heed__norm_params), \
    OPTIONAL(addend, bias, sum), IN_PLACE(y, x, sum, x, sum, addend)) \
  X(layer_norm_bwd, GRADIENT, IN(x, weight, dy, residual), OUT(dx, dweight, dbias), PARAMS(struct heed__norm_params), \
    OPTIONAL(residual, dx, dweight, dbias), IN_PLACE(dx, x, dx, dy, dx, residual)) \
  X(rms_norm_fwd, FORWARD, IN(x, addend, weight), OUT(y, sum), PARAMS(struct heed__norm_params), \
    OPTIONAL(addend, sum), IN_PLACE(y, x, sum, x, sum, addend)) \
  X(rms_norm_bwd, GRADIENT, IN(x, weight, dy, residual), OUT(dx, dweight), PARAMS(struct heed__norm_params), \
    OPTIONAL(residual, dx, dweight), IN_PLACE(dx, x, dx, dy, dx, residual)) \
  /* input, dinput: [rows, classes, inner] by the parameters; target: [rows, inner], or the same; weight: F32 [classes]; \
     loss, dloss: F32 [1] or [rows, inner] */ \
  X(cross_entropy_fwd, FORWARD, IN(input, target, weight), OUT(loss), PARAMS(struct heed__cross_entropy_params), \
    OPTIONAL(weight), OWN_TERMS) \
  X(cross_entropy_bwd, GRADIENT, IN(input, target, weight, dloss), OUT(dinput), \
    PARAMS(struct heed__cross_entropy_params), OPTIONAL(weight, dloss), OWN_TERMS) \
  X(cross_entropy_fwd_bwd, GRADIENT, IN(input, target, weight, dloss), OUT(loss, dinput), \
    PARAMS(struct heed__cross_entropy_params), OPTIONAL(weight, dloss), AS_FORWARD(loss), OWN_TERMS, \
    IN_PLACE(dinput, input)) \
  /* target: indices of any shape; weight: F32 [classes]; share: F32 [1]. The parameters are those of the mean, of all rows */ \
  X(cross_entropy_share, FORWARD, IN(target, weight), OUT(share), PARAMS(struct heed__cross_entropy_params), \
    OPTIONAL(weight)) \
  /* all of one shape; param and momentum_buffer are read and written */ \
  X(sgd, FORWARD, IN(grad), OUT(param, momentum_buffer), PARAMS(heed_sgd_options), OPTIONAL(momentum_buffer), \
    OWN_TERMS) \
  /* grad, param, exp_avg, exp_avg_sq, copy: one shape; decaying: I64 [ranges, 2]; factor: F32 [1]; steps: I32 [1]; all outputs but copy are \
     read and written. What is F32: param, exp_avg, exp_avg_sq */ \
  X(adamw, FORWARD, IN(grad, decaying, factor, steps), OUT(param, exp_avg, exp_avg_sq, copy), \
    PARAMS(heed_adamw_options), OPTIONAL(decaying, factor, steps, copy)) \
  /* x: any shape; sum: F32 [1], read too where the parameters say so */ \
  X(sum_squares, FORWARD, IN(x), OUT(sum), PARAMS(struct heed__sum_squares_params)) \
  /* norm: F32 [1]; x: any shape, read and written */ \
  X(clip_by_norm, FORWARD, IN(norm), OUT(x), PARAMS(struct heed__clip_params)) \
  /* squares, norm, factor, scale: F32 [1]; counts: I32 [4]; counts and scale are read and written */ \
  X(grad_control, FORWARD, IN(squares), OUT(norm, factor, counts, scale), PARAMS(heed_grad_control_options), \
    OPTIONAL(scale)) \
  /* all F32 of one shape */ \
  X(sqrt_sgd, FORWARD, IN(a, x0), OUT(x), PARAMS(heed_sqrt_options), OWN_TERMS) \
  /* see heed__attention_params */ \
  X(attention_fwd, FORWARD, IN(q, k, v, mask, kv_lengths), OUT(out, lse, weights), \
    PARAMS(struct heed__attention_params), OPTIONAL(mask, kv_lengths, lse, weights), OWN_TERMS) \
  X(attention_bwd, GRADIENT, IN(q, k, v, mask, kv_lengths, out, lse, dout), OUT(dq, dk, dv, dmask), \
    PARAMS(struct heed__attention_params), OPTIONAL(mask, kv_lengths, dq, dk, dv, dmask), OWN_TERMS)

// HEED__EACH(M, a, x, y, ...) is M(a, x) M(a, y) ..., for none to eight of them.
#define HEED__EACH(M, a, ...) HEED__JOIN(HEED__EACH_, HEED__COUNT(__VA_ARGS__))(M, a, __VA_ARGS__)
#define HEED__JOIN(a, b) HEED__JOIN_EXPANDED(a, b)
#define HEED__JOIN_EXPANDED(a, b) a##b
#define HEED__COUNT(...) HEED__NINTH_AFTER(0, ##__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define HEED__NINTH_AFTER(zero, a, b, c, d, e, f, g, h, count, ...) count
#define HEED__EACH_0(M, a, ...)
#define HEED__EACH_1(M, a, x) M(a, x)
#define HEED__EACH_2(M, a, x, ...) M(a, x) HEED__EACH_1(M, a, __VA_ARGS__)
#define HEED__EACH_3(M, a, x, ...) M(a, x) HEED__EACH_2(M, a, __VA_ARGS__)
#define HEED__EACH_4(M, a, x, ...) M(a, x) HEED__EACH_3(M, a, __VA_ARGS__)
#define HEED__EACH_5(M, a, x, ...) M(a, x) HEED__EACH_4(M, a, __VA_ARGS__)
#define HEED__EACH_6(M, a, x, ...) M(a, x) HEED__EACH_5(M, a, __VA_ARGS__)
#define HEED__EACH_7(M, a, x, ...) M(a, x) HEED__EACH_6(M, a, __VA_ARGS__)
#define HEED__EACH_8(M, a, x, ...) M(a, x) HEED__EACH_7(M, a, __VA_ARGS__)
// HEED__NAMES_ pasted before IN(x, y) or OUT(x, y) leaves x, y.
#define HEED__NAMES_IN(...) __VA_ARGS__
#define HEED__NAMES_OUT(...) __VA_ARGS__
// HEED__IF_OWN_TERMS(op, the row's facts) is HEED__OWN_TERMS(op) if OWN_TERMS is among them, otherwise nothing. Whoever uses it defines
// HEED__OWN_TERMS. A new kind of fact needs a line here.
#define HEED__IF_OWN_TERMS(op, ...) HEED__EACH(HEED__IF_FACT, op, __VA_ARGS__)
#define HEED__IF_FACT(op, fact) HEED__FACT_##fact(op)
#define HEED__FACT_OWN_TERMS(op) HEED__OWN_TERMS(op)
#define HEED__FACT_SUM_OF_PRODUCTS(op)
#define HEED__FACT_PARAMS(type) HEED__NO_FACT
#define HEED__FACT_OPTIONAL(...) HEED__NO_FACT
#define HEED__FACT_AS_FORWARD(...) HEED__NO_FACT
#define HEED__FACT_IN_PLACE(...) HEED__NO_FACT
#define HEED__FACT_FACTORS(...) HEED__NO_FACT
#define HEED__NO_FACT(op)
// clang-format on

enum heed__op {
#define HEED__OP_ENUM(name, ...) HEED__OP_##name,
  HEED__OPERATORS(HEED__OP_ENUM)
#undef HEED__OP_ENUM
      HEED__OP_COUNT
};

// HEED__gelu_bwd_x, HEED__gelu_bwd_dy and so on are indices into heed__call.in, or into heed__call.out. HEED__gelu_bwd_INS is their number.
#define HEED__SLOT(op, slot) HEED__##op##_##slot,
#define HEED__SLOTS(op, tolerance, in, out, ...)                          \
  enum { HEED__EACH(HEED__SLOT, op, HEED__NAMES_##in) HEED__##op##_INS }; \
  enum { HEED__EACH(HEED__SLOT, op, HEED__NAMES_##out) HEED__##op##_OUTS };
HEED__OPERATORS(HEED__SLOTS)
#undef HEED__SLOTS
#undef HEED__SLOT

#define HEED__MAX_IN 8
#define HEED__MAX_OUT 4
#define HEED__MAX_PARAMS 256  // bytes

// One call: tensors in the operator's slots (NULL: left out), and its parameters.
struct heed__call {
  enum heed__op op;
  const char *name;  // the public function's name for messages, if several share an operator; NULL: the operator's
  const heed_tensor *in[HEED__MAX_IN];
  heed_tensor *out[HEED__MAX_OUT];
  const void *params;
};

enum heed__tolerance_class { HEED__EXACT, HEED__FORWARD, HEED__GRADIENT };

// An operator's row as data. Lists of names end with NULL.
struct heed__operator {
  const char *name;
  enum heed__tolerance_class tolerance;
  const char *in[HEED__MAX_IN + 1], *out[HEED__MAX_OUT + 1];
  const char *optional[HEED__MAX_IN + HEED__MAX_OUT + 1];
  const char *as_forward[HEED__MAX_OUT + 1];
  const char *in_place[2 * 3 + 1];  // pairs: the output, then the input
  size_t params_bytes;
  bool is_sum_of_products, has_own_terms;
  size_t factors[4];  // offsets in the parameters of the doubles that multiply the products
  int factor_count;
};
extern const struct heed__operator heed__operators[HEED__OP_COUNT];
const char *heed__op_name(enum heed__op op);
// Returns heed_tolerance() for the class of an output; 0 if the operator must be exact.
double heed__op_tolerance(enum heed__op op, int slot, heed_dtype dtype);
// The largest relative error of one rounding to a float dtype.
double heed__rounding(heed_dtype dtype);

// The slots that both directions of attention have in common, for code that serves both.
enum {
  HEED__ATT_Q = HEED__attention_bwd_q,
  HEED__ATT_K = HEED__attention_bwd_k,
  HEED__ATT_V = HEED__attention_bwd_v,
  HEED__ATT_MASK = HEED__attention_bwd_mask,
  HEED__ATT_KV_LENGTHS = HEED__attention_bwd_kv_lengths,
};

struct heed__fill_params {
  double value;
};
struct heed__add_params {
  double alpha, beta;
};
struct heed__reduce_params {
  bool accumulate;
};
struct heed__dropout_params {
  uint64_t seed, offset;
  uint32_t threshold;  // see base/random.h
  double scale;        // 1/(1 − p)
};
struct heed__gather_params {
  double scale, shift;
};
struct heed__embedding_params {
  bool accumulate;
};
struct heed__gemm_params {
  bool trans_a, trans_b;
  double alpha, beta;
};
enum heed__linear_activation { HEED__LINEAR_PLAIN, HEED__LINEAR_RELU, HEED__LINEAR_GELU };
struct heed__linear_params {
  // fwd: y = activation(x Wᵀ + b), and z, if it is there, is the argument. bwd: x is the activation's result; relu: dx = (dy W) ∘ (x > 0);
  // gelu: z is its argument, dx = (dy W) ∘ gelu'(z)
  enum heed__linear_activation activation;
  heed_gelu_form form;
  bool accumulate;  // bwd: adds to what dweight and dbias hold; dx is overwritten in any case
};
struct heed__gelu_params {
  heed_gelu_form form;
};
struct heed__rope_params {
  heed_rope_style style;
};
struct heed__softmax_params {
  bool log;
};
struct heed__cross_entropy_params {
  int64_t rows, classes, inner;
  heed_reduction reduction;
  bool from_probs;
  double label_smoothing;
  bool ignores;  // rows of class ignore_index do not count
  int64_t ignore_index;
};
struct heed__norm_params {
  double eps;
  bool accumulate;  // bwd: adds to what dweight and dbias hold; dx is overwritten in any case
};
struct heed__sum_squares_params {
  bool accumulate;  // adds to what sum holds
  bool root;        // sum becomes the square root of all
};
struct heed__clip_params {
  double max_norm;
};

// q [B,Hq,Lq,D], k [B,Hkv,Lk,D] (past keys are already joined to it), v [B,Hkv,Lk,Dv], out and dout [B,Hq,Lq,Dv], dq dk dv: last stride 1,
// the others any. lse F32 [B,Hq,Lq] and weights [B,Hq,Lq,Lk]: contiguous. mask: a view [B,Hq,Lq,cols] with stride 0 if it broadcasts; no
// row attends keys from cols on. dmask: contiguous, rank 4, size 1 if the mask broadcasts (otherwise the last dimension is `cols`).
// kv_lengths: I32 or I64 [B], which a backend clamps to [0, Lk].
//
// Row i of batch b attends the keys lo <= j <= hi, except those that the mask forbids:
//   len = kv_lengths ? clamp(kv_lengths[b], 0, Lk) : Lk;  offset = kv_lengths ? len − Lq : params.offset
//   hi = min(len − 1, causal top-left: i + offset, causal bottom-right: i + Lk − Lq, window_right >= 0: i + offset + window_right)
//   lo = max(0, window_left >= 0: i + offset − window_left)
// A weight that is 0 in F32 contributes nothing to any result, whatever v or k hold there (even NaN).
struct heed__attention_params {
  heed_causal causal;
  double scale;                       // with the default filled in
  double softcap;                     // 0: none
  int64_t window_left, window_right;  // −1: unbounded
  int64_t offset;                     // past length
  bool has_dropout;
  uint32_t dropout_threshold;  // see base/random.h
  double dropout_scale;        // 1/(1 − p)
  uint64_t seed;
  heed_attention_path path;
  heed_attention_weights weights;
};

#endif
