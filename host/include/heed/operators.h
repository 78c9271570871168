// The operators of heed but attention: products, elementwise functions, softmax, losses, optimizer steps. heed.h includes this header.
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

// y = alpha a + beta b, elementwise. One shape; y may be a or b itself.
HEED_API HEED_MUST_CHECK heed_status heed_add(double alpha, const heed_tensor *a, double beta, const heed_tensor *b,
                                              heed_tensor *y);

// y[r, :] = scale x[index[r], :] + shift, converted to y's dtype; scale 1 and shift 0 copy integers exactly.
// x: [N, ...] any dtype; index: I32 [R]; y: [R, ...] . An index outside [0, N) writes NaN (0 for integers).
HEED_API HEED_MUST_CHECK heed_status heed_gather_rows(const heed_tensor *x, const heed_tensor *index, double scale,
                                                      double shift, heed_tensor *y);

// y[r] = the smallest c with the largest x[r, c]; a NaN counts as the largest. x: float [N, C], C >= 1; y: I32 [N].
HEED_API HEED_MUST_CHECK heed_status heed_argmax(const heed_tensor *x, heed_tensor *y);

// C = alpha op(A) op(B) + beta C, for each matrix of the leading (batch) dimensions.
// a: [..., M, K], or [..., K, M] with trans_a; b: [..., K, N], or [..., N, K] with trans_b; c: [..., M, N]. Rank 2 to 4. The last
// stride is 1; rows may be apart (a leading dimension), and so may matrices. A batch dimension of 1 in a or b is broadcast. With
// beta 0, C is not read.
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

// softmax: y_i = exp(x_i − m) / Σ_j exp(x_j − m), m = max x along `axis` (negative counts from the end).
// log_softmax: y_i = x_i − m − log Σ_j exp(x_j − m). A slice that is −inf throughout gives zeros (softmax) or −inf.
HEED_API HEED_MUST_CHECK heed_status heed_softmax_fwd(const heed_tensor *x, int axis, heed_tensor *y);
HEED_API HEED_MUST_CHECK heed_status heed_log_softmax_fwd(const heed_tensor *x, int axis, heed_tensor *y);
// y is the forward's. softmax: dx = y ∘ (dy − Σ_j y_j dy_j). log_softmax: dx = dy − exp(y) Σ_j dy_j.
HEED_API HEED_MUST_CHECK heed_status heed_softmax_bwd(const heed_tensor *y, const heed_tensor *dy, int axis,
                                                      heed_tensor *dx);
HEED_API HEED_MUST_CHECK heed_status heed_log_softmax_bwd(const heed_tensor *y, const heed_tensor *dy, int axis,
                                                          heed_tensor *dx);

typedef enum heed_reduction { HEED_REDUCTION_MEAN, HEED_REDUCTION_SUM, HEED_REDUCTION_NONE } heed_reduction;

typedef struct heed_cross_entropy_options {
  heed_reduction reduction;
  bool from_probs;  // input holds probabilities and target is a float tensor: loss_n = −Σ_c target_nc log input_nc
  double label_smoothing;  // ε in [0, 1]: target becomes (1 − ε) target + ε/C. Not with from_probs.
  bool has_ignore_index;   // rows of class ignore_index add nothing to the loss, and the mean does not count them
  int64_t ignore_index;
} heed_cross_entropy_options;

// loss_n = −Σ_c t_nc log_softmax(logits_n)_c. t_n is the one-hot of a class index (target: I32, I64 or U8 [N]), or a row of
// probabilities (target: float [N, C]). As in PyTorch's cross_entropy, MEAN divides by the rows that count: by all of them for
// probabilities; it is NaN when none counts. input: [N, C]; loss: F32 [1], or [N] for NONE. An index outside [0, C) that is not
// ignored makes the row's loss and gradient NaN. 0 · log 0 counts as 0. options NULL: mean, class indices.
HEED_API HEED_MUST_CHECK heed_status heed_cross_entropy_fwd(const heed_tensor *input, const heed_tensor *target,
                                                            const heed_cross_entropy_options *options,
                                                            heed_tensor *loss);
// dinput = d loss/d input · dloss. dloss: F32, shape of loss, or NULL for ones.
HEED_API HEED_MUST_CHECK heed_status heed_cross_entropy_bwd(const heed_tensor *input, const heed_tensor *target,
                                                            const heed_cross_entropy_options *options,
                                                            const heed_tensor *dloss, heed_tensor *dinput);
// Both in one call, with the same bits: loss as of heed_cross_entropy_fwd(), dinput as of heed_cross_entropy_bwd() with dloss NULL. For
// class indices, small batches and few classes it takes one launch.
HEED_API HEED_MUST_CHECK heed_status heed_cross_entropy_fwd_bwd(const heed_tensor *input, const heed_tensor *target,
                                                                const heed_cross_entropy_options *options,
                                                                heed_tensor *loss, heed_tensor *dinput);

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
