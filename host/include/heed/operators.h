// heed's operators except attention: products, elementwise functions, softmax, losses, optimizer steps. heed.h includes this header.
//
// Unless an operator says otherwise: all tensors are on one context and contiguous; the floating-point tensors of a call share one
// dtype (F32, F16 or BF16); outputs are overwritten, and overlap neither inputs, nor each other, nor themselves (as a view of stride 0
// does); a call on no elements does nothing.
// Errors: SHAPE, DTYPE and INVALID_ARGUMENT for the arguments; DEVICE, BUILD and OUT_OF_MEMORY from the device.
#ifndef HEED_OPERATORS_H
#define HEED_OPERATORS_H

#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// y = value everywhere. y: any shape, any dtype, any strides.
HEED_API HEED_MUST_CHECK heed_status heed_fill(heed_tensor *y, double value);

// y = x, converted to y's dtype: a float is cut to an integer, and becomes a BOOL by x != 0. One shape; any strides on both.
HEED_API HEED_MUST_CHECK heed_status heed_copy(const heed_tensor *x, heed_tensor *y);

// y = alpha a + beta b, elementwise. a and b broadcast to y's shape as in NumPy: aligned at the last axis, an axis that is 1 or missing
// repeats. y may be a or b itself where that has y's shape.
HEED_API HEED_MUST_CHECK heed_status heed_add(double alpha, const heed_tensor *a, double beta, const heed_tensor *b,
                                              heed_tensor *y);
// y = a ∘ b, broadcast in the same way. y may be a or b itself where that has y's shape.
HEED_API HEED_MUST_CHECK heed_status heed_mul(const heed_tensor *a, const heed_tensor *b, heed_tensor *y);

// y = Σ x over the axes where y has 1, and over leading axes that y lacks: the gradient of an operand that was broadcast. With accumulate, y
// is added to. The order of the sum follows from the shapes and the kind of device, never from the number of its units.
HEED_API HEED_MUST_CHECK heed_status heed_reduce_sum(const heed_tensor *x, heed_tensor *y, bool accumulate);

// y[r, :] = scale x[index[r], :] + shift, converted to y's dtype; scale 1 and shift 0 copy integers exactly.
// x: [N, ...] any dtype; index: I32 [R]; y: [R, ...] . An index outside [0, N) writes NaN (0 for integers).
HEED_API HEED_MUST_CHECK heed_status heed_gather_rows(const heed_tensor *x, const heed_tensor *index, double scale,
                                                      double shift, heed_tensor *y);

// y[..., :] = weight[tokens[...], :], bit for bit. weight: float [V, C]; tokens: I32, I64 or U8, any shape (at most 2^31 − 1 elements, and as
// many rows of weight); y: [..., C]. A token outside [0, V) writes a row of NaN.
HEED_API HEED_MUST_CHECK heed_status heed_embedding_fwd(const heed_tensor *weight, const heed_tensor *tokens,
                                                        heed_tensor *y);
// dweight[v, :] = Σ dy[...] over the places of token v, in the order of these places within pieces, then of the pieces; the same bits
// each time and on any number of compute units. A token outside [0, V) counts nowhere. The work grows with the tokens; rows that none
// names become 0, or with accumulate stay as they are, untouched (see "Gradients of parameters" in heed.h).
HEED_API HEED_MUST_CHECK heed_status heed_embedding_bwd(const heed_tensor *tokens, const heed_tensor *dy,
                                                        heed_tensor *dweight, bool accumulate);

// y[r] = the smallest c with the largest x[r, c]; a NaN counts as the largest. x: float [N, C], C >= 1; y: I32 [N].
HEED_API HEED_MUST_CHECK heed_status heed_argmax(const heed_tensor *x, heed_tensor *y);

// C = alpha op(A) op(B) + beta C, for each matrix of the leading (batch) dimensions.
// a: [..., M, K], or [..., K, M] with trans_a; b: [..., K, N], or [..., N, K] with trans_b; c: [..., M, N]. Rank 2 to 4. The last
// stride is 1; rows may be apart (a leading dimension), and so may matrices. A batch dimension of 1 in a or b is broadcast. With
// beta 0, C is not read. heed_open_options.bf16_dots says what a CPU may round in products of BF16.
HEED_API HEED_MUST_CHECK heed_status heed_gemm(bool trans_a, bool trans_b, double alpha, const heed_tensor *a,
                                               const heed_tensor *b, double beta, heed_tensor *c);

// y = x Wᵀ + b. x: [..., I]; weight: [O, I]; bias: [O] or NULL; y: [..., O].
HEED_API HEED_MUST_CHECK heed_status heed_linear_fwd(const heed_tensor *x, const heed_tensor *weight,
                                                     const heed_tensor *bias, heed_tensor *y);
// dx = dy W, dweight = dyᵀ x, dbias = Σ_rows dy. Each of dx, dweight and dbias may be NULL. With accumulate, dweight and dbias are
// added to what the tensors hold (see "Gradients of parameters" above).
HEED_API HEED_MUST_CHECK heed_status heed_linear_bwd(const heed_tensor *x, const heed_tensor *weight,
                                                     const heed_tensor *dy, heed_tensor *dx, heed_tensor *dweight,
                                                     heed_tensor *dbias, bool accumulate);
// linear and relu in one operator: y = max(x Wᵀ + b, 0); NaN stays NaN.
HEED_API HEED_MUST_CHECK heed_status heed_linear_relu_fwd(const heed_tensor *x, const heed_tensor *weight,
                                                          const heed_tensor *bias, heed_tensor *y);
// The backward of relu, then linear: x is the relu's result, and dx is the gradient of the relu's argument, (dy W) ∘ (x > 0).
// dweight and dbias are those of heed_linear_bwd().
HEED_API HEED_MUST_CHECK heed_status heed_relu_linear_bwd(const heed_tensor *x, const heed_tensor *weight,
                                                          const heed_tensor *dy, heed_tensor *dx, heed_tensor *dweight,
                                                          heed_tensor *dbias, bool accumulate);

// linear and gelu (below) in one operator: z = x Wᵀ + b, y = gelu(z). z is kept for the backward, in y's shape, or NULL.
typedef enum heed_gelu_form { HEED_GELU_ERF, HEED_GELU_TANH } heed_gelu_form;
HEED_API HEED_MUST_CHECK heed_status heed_linear_gelu_fwd(const heed_tensor *x, const heed_tensor *weight,
                                                          const heed_tensor *bias, heed_gelu_form form, heed_tensor *z,
                                                          heed_tensor *y);
// The backward of gelu, then linear: y = gelu(z) is the linear's input, and dz = (dy W) ∘ gelu'(z) is the gradient of the gelu's
// argument. dweight and dbias are those of heed_linear_bwd() with x = y.
HEED_API HEED_MUST_CHECK heed_status heed_gelu_linear_bwd(const heed_tensor *z, const heed_tensor *y,
                                                          const heed_tensor *weight, const heed_tensor *dy,
                                                          heed_gelu_form form, heed_tensor *dz, heed_tensor *dweight,
                                                          heed_tensor *dbias, bool accumulate);

// y = max(x, 0); NaN stays NaN. dx = dy where x > 0, else 0. y may be x; dx may be dy.
HEED_API HEED_MUST_CHECK heed_status heed_relu_fwd(const heed_tensor *x, heed_tensor *y);
HEED_API HEED_MUST_CHECK heed_status heed_relu_bwd(const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx);

// ERF: y = x Φ(x) with Φ the normal distribution. TANH: y = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))).
// Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2. y may be x; dx may be dy.
HEED_API HEED_MUST_CHECK heed_status heed_gelu_fwd(const heed_tensor *x, heed_gelu_form form, heed_tensor *y);
HEED_API HEED_MUST_CHECK heed_status heed_gelu_bwd(const heed_tensor *x, const heed_tensor *dy, heed_gelu_form form,
                                                   heed_tensor *dx);

// silu: y = x σ(x), σ(x) = 1/(1 + exp(−x)). dx = dy σ(x) (1 + x (1 − σ(x))). y may be x; dx may be dy.
// Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2; also called swish.
HEED_API HEED_MUST_CHECK heed_status heed_silu_fwd(const heed_tensor *x, heed_tensor *y);
HEED_API HEED_MUST_CHECK heed_status heed_silu_bwd(const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx);

// swiglu: y = silu(gate) ∘ up. Shazeer 2020, arXiv 2002.05202. All of one shape; y may be gate or up.
HEED_API HEED_MUST_CHECK heed_status heed_swiglu_fwd(const heed_tensor *gate, const heed_tensor *up, heed_tensor *y);
// dgate = dy ∘ up ∘ silu'(gate), dup = dy ∘ silu(gate). Each of dgate and dup may be gate, up or dy, but not the other.
HEED_API HEED_MUST_CHECK heed_status heed_swiglu_bwd(const heed_tensor *gate, const heed_tensor *up,
                                                     const heed_tensor *dy, heed_tensor *dgate, heed_tensor *dup);

// Dropout: y = x/(1 − p) where element e = offset + i is kept, else 0. It is kept iff word ⌊e/16⌋ mod 4 of heed_philox() with `seed` and
// the counter {c, c / 2^32, 0, 2^32 − 1}, c = 16 ⌊e/64⌋ + e mod 16, is at least p · 2^32: the same on every device. `offset` tells apart the
// calls of one seed. x, y: one shape; y may be x. 0 <= p < 1; offset + elements <= 2^64.
typedef struct heed_dropout_options {
  double p;
  uint64_t seed, offset;
} heed_dropout_options;
HEED_API HEED_MUST_CHECK heed_status heed_dropout_fwd(const heed_tensor *x, const heed_dropout_options *options,
                                                      heed_tensor *y);
// dx = dy/(1 − p) where the forward with these options kept x, else 0. dx may be dy.
HEED_API HEED_MUST_CHECK heed_status heed_dropout_bwd(const heed_tensor *dy, const heed_dropout_options *options,
                                                      heed_tensor *dx);

// Rotary positions. Su et al. 2021, arXiv 2104.09864, section 3.2.2: at position p pair i of D/2 turns by p θ^(−2i/D):
//   y_a = x_a cos − x_b sin,  y_b = x_b cos + x_a sin
// HALF: the pair is (i, i + D/2), as in transformers; INTERLEAVED: (2i, 2i + 1), as in the paper.
typedef enum heed_rope_style { HEED_ROPE_HALF, HEED_ROPE_INTERLEAVED } heed_rope_style;
// Fills the table for positions first to first + L − 1: row p has the D/2 cosines, then the D/2 sines. It computes in F64 on the host, so
// that angles at far positions are right, and uploads the table: make it once and keep it. table: F32 [L, D], D even; theta > 0;
// first >= 0, first + L <= 2^53. Errors: also INVALID_ARGUMENT for these.
HEED_API HEED_MUST_CHECK heed_status heed_rope_table(double theta, int64_t first, heed_tensor *table);
// y = x, turned. x, y: [B, H, L, D]; strides: the last is 1, the others are free, so that heed_tensor_permute() reads [B, L, H, D] where it
// lies. table: of heed_rope_table(), F32 [L, D]. y may be x.
HEED_API HEED_MUST_CHECK heed_status heed_rope_fwd(const heed_tensor *x, const heed_tensor *table,
                                                   heed_rope_style style, heed_tensor *y);
// dx = dy, turned back. Shapes and strides as of heed_rope_fwd(); dx may be dy.
HEED_API HEED_MUST_CHECK heed_status heed_rope_bwd(const heed_tensor *dy, const heed_tensor *table,
                                                   heed_rope_style style, heed_tensor *dx);

// softmax: y_i = exp(x_i − m) / Σ_j exp(x_j − m), m = max x along `axis` (negative counts from the end).
// log_softmax: y_i = x_i − m − log Σ_j exp(x_j − m). A slice that is −inf throughout gives zeros (softmax) or −inf.
HEED_API HEED_MUST_CHECK heed_status heed_softmax_fwd(const heed_tensor *x, int axis, heed_tensor *y);
HEED_API HEED_MUST_CHECK heed_status heed_log_softmax_fwd(const heed_tensor *x, int axis, heed_tensor *y);
// y is the forward's. softmax: dx = y ∘ (dy − Σ_j y_j dy_j). log_softmax: dx = dy − exp(y) Σ_j dy_j.
HEED_API HEED_MUST_CHECK heed_status heed_softmax_bwd(const heed_tensor *y, const heed_tensor *dy, int axis,
                                                      heed_tensor *dx);
HEED_API HEED_MUST_CHECK heed_status heed_log_softmax_bwd(const heed_tensor *y, const heed_tensor *dy, int axis,
                                                          heed_tensor *dx);

// LayerNorm: y = (x − μ)/√(σ² + eps) ∘ weight + bias, with μ the mean of x over the last axis and σ² the mean of (x − μ)². Ba, Kiros and
// Hinton 2016, arXiv 1607.06450. x, y: [..., C]; weight, bias: [C], bias NULL: none. eps finite and at least 0. y may be x. Exact also
// where μ is far larger than σ; a row of equal elements gives bias.
HEED_API HEED_MUST_CHECK heed_status heed_layer_norm_fwd(const heed_tensor *x, const heed_tensor *weight,
                                                         const heed_tensor *bias, double eps, heed_tensor *y);
// sum = a + b, rounded to the dtype, and y = LayerNorm of sum, in one pass over memory: a residual connection and the norm that follows it. The
// bits are those of heed_add(1, a, 1, b, sum) and heed_layer_norm_fwd(sum, ...). a, b, sum, y: one shape; sum may be a or b. The gradient of a
// and of b alike is heed_layer_norm_bwd()'s dx of sum, with residual the gradient that reaches sum past the norm.
HEED_API HEED_MUST_CHECK heed_status heed_add_layer_norm_fwd(const heed_tensor *a, const heed_tensor *b,
                                                             const heed_tensor *weight, const heed_tensor *bias,
                                                             double eps, heed_tensor *sum, heed_tensor *y);
// With h = (x − μ)/√(σ² + eps) and g = dy ∘ weight: dx = (g − mean(g) − h mean(g ∘ h))/√(σ² + eps) + residual, dweight = Σ_rows dy ∘ h,
// dbias = Σ_rows dy. residual: shape of x, the gradient that reaches x past the norm, or NULL for none. Each of dx, dweight and dbias may
// be NULL; dx may be x, dy or residual. Statistics are computed anew from x. With accumulate, dweight and dbias are added to what the
// tensors hold.
HEED_API HEED_MUST_CHECK heed_status heed_layer_norm_bwd(const heed_tensor *x, const heed_tensor *weight,
                                                         const heed_tensor *dy, const heed_tensor *residual, double eps,
                                                         heed_tensor *dx, heed_tensor *dweight, heed_tensor *dbias,
                                                         bool accumulate);
// RMSNorm: y = x/√(mean(x²) + eps) ∘ weight over the last axis. Zhang and Sennrich 2019, arXiv 1910.07467. Else as LayerNorm.
HEED_API HEED_MUST_CHECK heed_status heed_rms_norm_fwd(const heed_tensor *x, const heed_tensor *weight, double eps,
                                                       heed_tensor *y);
// sum = a + b and y = RMSNorm of sum, as heed_add_layer_norm_fwd() has it of LayerNorm.
HEED_API HEED_MUST_CHECK heed_status heed_add_rms_norm_fwd(const heed_tensor *a, const heed_tensor *b,
                                                           const heed_tensor *weight, double eps, heed_tensor *sum,
                                                           heed_tensor *y);
// With h = x/√(mean(x²) + eps) and g = dy ∘ weight: dx = (g − h mean(g ∘ h))/√(mean(x²) + eps) + residual, dweight = Σ_rows dy ∘ h.
HEED_API HEED_MUST_CHECK heed_status heed_rms_norm_bwd(const heed_tensor *x, const heed_tensor *weight,
                                                       const heed_tensor *dy, const heed_tensor *residual, double eps,
                                                       heed_tensor *dx, heed_tensor *dweight, bool accumulate);

typedef enum heed_reduction { HEED_REDUCTION_MEAN, HEED_REDUCTION_SUM, HEED_REDUCTION_NONE } heed_reduction;

// Which axis of the input has the classes. AUTO: the one that the target's shape leaves.
typedef enum heed_class_axis { HEED_CLASS_AXIS_AUTO, HEED_CLASS_AXIS_LAST, HEED_CLASS_AXIS_1 } heed_class_axis;
#define HEED_IGNORE_INDEX (-100)       // the class index that PyTorch ignores, and heed too
#define HEED_IGNORE_NOTHING INT64_MIN  // as ignore_index: no class index is ignored

typedef struct heed_cross_entropy_options {
  heed_reduction reduction;
  bool from_probs;  // input holds probabilities and target is a float tensor: loss_n = −Σ_c w_c target_nc log input_nc
  double label_smoothing;  // ε in [0, 1]: target becomes (1 − ε) target + ε/C. Not with from_probs.
  bool has_ignore_index;   // ignore_index takes the place of HEED_IGNORE_INDEX. Only with class indices.
  int64_t ignore_index;
  const heed_tensor *weight;   // w, the weights of the classes: F32 [C]; NULL: all 1
  heed_class_axis class_axis;  // needed where the shapes of input and target leave two choices
} heed_cross_entropy_options;

// loss_n = −Σ_c w_c t_nc log_softmax(logits_n)_c. t_n is the one-hot of a class index y_n (target: I32, I64 or U8), or a row of
// probabilities (target: float, the input's shape). The rows n are all places of input but the axis of classes:
//   input [N, C], target [N]; input [..., C], target [...]; input [N, C, ...], target [N, ...] as in PyTorch.
// If a target of indices fits both of the last two, as [2, 5] does input [2, 5, 5], or if target holds probabilities and input has more
// than two axes, class_axis must say which is meant.
// The loss is F32: [1], or one for each row with NONE, in the shape of a target of indices. As in PyTorch's cross_entropy, MEAN divides
// Σ_n loss_n by Σ_n w_{y_n} over the rows that count, and for probabilities by the number of rows, whatever the weights; it is NaN when
// nothing counts. A row whose index is ignored adds nothing to either sum, and its gradient is 0. Another index outside [0, C) makes
// the row's loss and gradient NaN (MEAN counts it, with weights as 0). 0 · log 0 counts as 0. options NULL: mean, class indices.
// Errors: SHAPE for shapes that do not fit; INVALID_ARGUMENT for options that make no sense, or where class_axis is needed.
HEED_API HEED_MUST_CHECK heed_status heed_cross_entropy_fwd(const heed_tensor *input, const heed_tensor *target,
                                                            const heed_cross_entropy_options *options,
                                                            heed_tensor *loss);
// dinput = d loss/d input · dloss. dloss: F32, shape of loss, or NULL for ones.
HEED_API HEED_MUST_CHECK heed_status heed_cross_entropy_bwd(const heed_tensor *input, const heed_tensor *target,
                                                            const heed_cross_entropy_options *options,
                                                            const heed_tensor *dloss, heed_tensor *dinput);
// Both in one call, with the same bits: loss as of heed_cross_entropy_fwd(), dinput as of heed_cross_entropy_bwd(). dinput may be input
// itself, so that logits and their gradient take the memory of one. Each row is read from memory once where a core's cache holds it.
// Rows of input may come in several calls: with NONE, and in dloss what each row's gradient is to be multiplied by (1/N for the mean
// over N rows), calls on parts of the rows give the same bits as one call on all of them. Where rows are ignored or weighted,
// heed_cross_entropy_share() gives the factor.
HEED_API HEED_MUST_CHECK heed_status heed_cross_entropy_fwd_bwd(const heed_tensor *input, const heed_tensor *target,
                                                                const heed_cross_entropy_options *options,
                                                                const heed_tensor *dloss, heed_tensor *loss,
                                                                heed_tensor *dinput);
// share = 1 / Σ_n w_{y_n} over the rows that count: the factor by which MEAN multiplies the sum of losses, before any of them is known. For
// callers that go over rows in parts: with SUM, and share as dloss, the calls on the parts give the gradient of the mean over all rows, and
// share times the sum of their losses is its value. target: class indices of all rows, I32, I64 or U8, any shape; share: F32 [1], infinite
// when nothing counts. Of options it takes weight and the ignored index. The order of the sum follows from the number of rows and the kind
// of device. Errors: DTYPE for a target of probabilities.
HEED_API HEED_MUST_CHECK heed_status heed_cross_entropy_share(const heed_tensor *target,
                                                              const heed_cross_entropy_options *options,
                                                              heed_tensor *share);

// PyTorch's SGD (torch.optim.SGD): g ← grad + weight_decay · param; with momentum: buf ← momentum · buf + (1 − dampening) g
// (buf ← g on the first step, when `first`), g ← g + momentum · buf if nesterov, else buf; param ← param − lr · g.
typedef struct heed_sgd_options {
  double lr, momentum, dampening, weight_decay;
  bool nesterov;  // needs momentum > 0 and dampening 0
  bool first;     // momentum_buffer holds nothing yet
} heed_sgd_options;
// Updates param and momentum_buffer in place. Both have grad's shape; momentum_buffer is NULL exactly when momentum is 0.
// Errors: INVALID_ARGUMENT for an option that is negative or not finite, or for nesterov without what it needs.
HEED_API HEED_MUST_CHECK heed_status heed_sgd(const heed_sgd_options *options, const heed_tensor *grad,
                                              heed_tensor *param, heed_tensor *momentum_buffer);

// Checks only the options, for a caller that keeps them for later. Errors: as of heed_sgd().
HEED_API HEED_MUST_CHECK heed_status heed_sgd_check(const heed_sgd_options *options);

// AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101), as torch.optim.AdamW: with g = factor · grad and t the number of the step,
//   exp_avg ← beta1 · exp_avg + (1 − beta1) g;  exp_avg_sq ← beta2 · exp_avg_sq + (1 − beta2) g²
//   param ← param − lr · weight_decay · param − lr · (exp_avg / (1 − beta1ᵗ)) / (√(exp_avg_sq / (1 − beta2ᵗ)) + eps)
typedef struct heed_adamw_options {
  double lr, beta1, beta2, eps, weight_decay;  // betas in [0, 1), the others at least 0
  int64_t step;                                // t, from 1; not read where inputs.steps is given
} heed_adamw_options;

// What a step reads. Only grad must be given.
typedef struct heed_adamw_inputs {
  const heed_tensor *grad;      // F32, F16 or BF16, shape of param
  const heed_tensor *decaying;  // I64 [S, 2], ascending: elements [first, end) of param that decay; NULL: all do
  const heed_tensor
      *factor;               // F32 [1]; NULL: 1. With a factor that is not finite the call leaves everything as it was.
  const heed_tensor *steps;  // I32 [1]: t; NULL: options.step
} heed_adamw_inputs;

// Updates param, exp_avg and exp_avg_sq in place: F32, one shape. copy: F16 or BF16 of that shape, which becomes the new param rounded,
// for training in 16 bits with F32 masters; or NULL. One launch over all elements; factor and steps are read on the device, so that nobody
// waits for them (heed_grad_control() writes both).
// Errors: INVALID_ARGUMENT for an option outside its range.
HEED_API HEED_MUST_CHECK heed_status heed_adamw(const heed_adamw_options *options, const heed_adamw_inputs *inputs,
                                                heed_tensor *param, heed_tensor *exp_avg, heed_tensor *exp_avg_sq,
                                                heed_tensor *copy);
// Checks only the options but step. Errors: as of heed_adamw().
HEED_API HEED_MUST_CHECK heed_status heed_adamw_check(const heed_adamw_options *options);

// sum = Σ x² over all elements of all tensors. sum: F32 [1]. Each tensor may have its own shape and floating-point dtype; those that follow
// one another in the list and in memory are summed as one. The order of the sum depends on their sizes alone. count 0: sum = 0.
HEED_API HEED_MUST_CHECK heed_status heed_sum_squares(const heed_tensor *const *tensors, size_t count,
                                                      heed_tensor *sum);
// norm = √(Σ g²) over all elements of all gradients, which are then multiplied in place by min(1, max_norm / (norm + 1e-6)), as by
// torch.nn.utils.clip_grad_norm_(). norm: F32 [1]. Nothing is read back. A norm that is not finite makes all gradients NaN or 0.
// Errors: INVALID_ARGUMENT for max_norm that is negative or not finite, or a gradient that is in the list twice.
HEED_API HEED_MUST_CHECK heed_status heed_clip_grad_norm(heed_tensor *const *grads, size_t count, double max_norm,
                                                         heed_tensor *norm);

// What heed_grad_control() decides by. A zero field takes its default.
typedef struct heed_grad_control_options {
  double max_norm;          // default: no clipping
  double growth, backoff;   // of the loss scale; default 2 and 0.5
  int64_t growth_interval;  // steps in a row with a finite norm after which the scale grows; default 2000
} heed_grad_control_options;

// What heed_grad_control() keeps on the device. counts begins as zeros; scale with a first loss scale, such as 65536.
typedef struct heed_grad_control_state {
  heed_tensor *norm;    // F32 [1]: the norm of the gradients, without the loss scale
  heed_tensor *factor;  // F32 [1]: what to multiply the gradients with; NaN where the norm is not finite
  heed_tensor *
      counts;  // I32 [4]: steps applied; steps tried; the first tried step whose norm was not finite, from 1 (0: none);
               // finite steps in a row since the scale last changed
  heed_tensor *scale;  // F32 [1]: what the next loss is multiplied with; NULL: 1, always
} heed_grad_control_state;

// One step's control, all on the device. From squares (F32 [1]), the sum of squares of the gradients of scale · loss:
//   norm = √squares / scale;  factor = min(1, max_norm / (norm + 1e-6)) / scale, or NaN if norm is not finite
// A finite norm counts as a step applied, and multiplies the scale by `growth` after each growth_interval of them in a row. A norm that is
// not finite multiplies it by `backoff`. Hand factor and the first element of counts to heed_adamw(): a step that is not finite then changes
// nothing. Errors: INVALID_ARGUMENT for options that are negative or not finite, growth below 1 or backoff above 1.
HEED_API HEED_MUST_CHECK heed_status heed_grad_control(const heed_grad_control_options *options,
                                                       const heed_tensor *squares,
                                                       const heed_grad_control_state *state);
// Checks only the options. Errors: as of heed_grad_control().
HEED_API HEED_MUST_CHECK heed_status heed_grad_control_check(const heed_grad_control_options *options);

// Square roots by gradient descent, each element by itself: x ← x − lr · 4x(x² − a) minimises f(x) = (x² − a)² from x0 on.
// An element stops after `epochs` steps, or after the first step that began with f(x) <= tolerance. a, x0, x: F32 [N].
typedef struct heed_sqrt_options {
  double lr;
  int64_t epochs;
  double tolerance;
} heed_sqrt_options;
HEED_API HEED_MUST_CHECK heed_status heed_sqrt_sgd(const heed_sqrt_options *options, const heed_tensor *a,
                                                   const heed_tensor *x0, heed_tensor *x);

#ifdef __cplusplus
}
#endif
#endif
