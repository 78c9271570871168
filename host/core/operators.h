// The list of operators, and what one call of each carries. The list generates the backend table, so an operator that
// a backend lacks is a link error. Arguments here are already validated by host/ops.
#ifndef HEED__OPERATORS_H
#define HEED__OPERATORS_H

#include <heed/heed.h>

// clang-format off
#define HEED__OPERATORS(X) \
  X(fill) X(copy) X(add) X(gather_rows) X(argmax) \
  X(gemm) X(linear_fwd) X(linear_bwd) \
  X(relu_fwd) X(relu_bwd) X(gelu_fwd) X(gelu_bwd) \
  X(softmax_fwd) X(softmax_bwd) \
  X(cross_entropy_fwd) X(cross_entropy_bwd) X(cross_entropy_fwd_bwd) \
  X(sgd) X(sqrt_sgd) \
  X(attention_fwd) X(attention_bwd)
// clang-format on

enum heed__op {
#define HEED__OP_ENUM(name) HEED__OP_##name,
  HEED__OPERATORS(HEED__OP_ENUM)
#undef HEED__OP_ENUM
      HEED__OP_COUNT
};
const char *heed__op_name(enum heed__op op);

#define HEED__MAX_IN 8
#define HEED__MAX_OUT 4

// One call: tensors in the slots below (NULL: left out), and the operator's parameters.
struct heed__call {
  enum heed__op op;
  const heed_tensor *in[HEED__MAX_IN];
  heed_tensor *out[HEED__MAX_OUT];
  const void *params;
};

// Slots. "any strides" and "row strides" say what a backend must cope with; all else is contiguous.
//   fill               out 0 y (any strides)                                  params heed__fill_params
//   copy               in 0 x, out 0 y (both any strides, any dtypes)         no params
//   add                in 0 a, 1 b, out 0 y (may be a or b)                   params heed__add_params
//   gather_rows        in 0 x [N, W], 1 index I32 [R]; out 0 y [R, W]         params heed__gather_params
//   argmax             in 0 x [N, C]; out 0 y I32 [N]
//   gemm               in 0 a, 1 b, out 0 c: rank 4 [B0, B1, rows, cols], last stride 1, row and batch strides any
//                      (0 in a and b where broadcast)                         params heed__gemm_params
//   linear_fwd         in 0 x [N, I], 1 weight [O, I], 2 bias [O]?; out 0 y [N, O]  params heed__linear_params
//   linear_bwd         in 0 x, 1 weight, 2 dy [N, O]; out 0 dx?, 1 dweight?, 2 dbias?  params heed__linear_params
//   relu_fwd gelu_fwd  in 0 x, out 0 y (may be x)                             gelu: params heed__gelu_params
//   relu_bwd gelu_bwd  in 0 x, 1 dy, out 0 dx (may be dy)                     gelu: params heed__gelu_params
//   softmax_fwd        in 0 x [outer, axis, inner], out 0 y                   params heed__softmax_params
//   softmax_bwd        in 0 y, 1 dy, out 0 dx, all [outer, axis, inner]       params heed__softmax_params
//   cross_entropy_fwd  in 0 input [N, C], 1 target; out 0 loss [1] or [N]     params heed_cross_entropy_options
//   cross_entropy_bwd  in 0 input, 1 target, 2 dloss?; out 0 dinput           params heed_cross_entropy_options
//   cross_entropy_fwd_bwd  in 0 input [N, C], 1 target; out 0 loss [1] or [N], 1 dinput  params heed_cross_entropy_options
//   sgd                in 0 grad; out 0 param, 1 momentum_buffer? (both read and written)  params heed_sgd_options
//   sqrt_sgd           in 0 a, 1 x0; out 0 x                                  params heed_sqrt_options
//   attention_fwd      in Q K V MASK? KV_LENGTHS?; out OUT LSE? WEIGHTS?      params heed__attention_params
//   attention_bwd      in Q K V MASK? KV_LENGTHS? O LSE_IN DOUT; out DQ? DK? DV? DMASK?  params heed__attention_params
enum {
  HEED__ATT_Q,
  HEED__ATT_K,
  HEED__ATT_V,
  HEED__ATT_MASK,
  HEED__ATT_KV_LENGTHS,
  HEED__ATT_O,
  HEED__ATT_LSE_IN,
  HEED__ATT_DOUT
};
enum { HEED__ATT_OUT, HEED__ATT_LSE, HEED__ATT_WEIGHTS };
enum { HEED__ATT_DQ, HEED__ATT_DK, HEED__ATT_DV, HEED__ATT_DMASK };

struct heed__fill_params {
  double value;
};
struct heed__add_params {
  double alpha, beta;
};
struct heed__gather_params {
  double scale, shift;
};
struct heed__gemm_params {
  bool trans_a, trans_b;
  double alpha, beta;
};
struct heed__linear_params {
  bool relu;  // fwd: y = max(x Wᵀ + b, 0). bwd: x is a relu's result, dx = (dy W) ∘ (x > 0)
};
struct heed__gelu_params {
  heed_gelu_form form;
};
struct heed__softmax_params {
  bool log;
};

// q [B,Hq,Lq,D], k [B,Hkv,Lk,D] (past already put before it), v [B,Hkv,Lk,Dv], out and dout [B,Hq,Lq,Dv], dq dk dv: last stride 1,
// the others any. lse F32 [B,Hq,Lq] and weights [B,Hq,Lq,Lk]: contiguous. mask: a view [B,Hq,Lq,cols] with stride 0 where it
// broadcasts; keys from cols on are not allowed. dmask: contiguous rank 4, size 1 where the mask broadcasts (a last
// dimension of `cols` otherwise). kv_lengths: I32 or I64 [B], to be clamped to [0, Lk].
//
// The keys row i of batch b attends are lo <= j <= hi, less what the mask forbids:
//   len = kv_lengths ? clamp(kv_lengths[b], 0, Lk) : Lk;  offset = kv_lengths ? len − Lq : params.offset
//   hi = min(len − 1, causal top-left: i + offset, causal bottom-right: i + Lk − Lq, window_right >= 0: i + offset + window_right)
//   lo = max(0, window_left >= 0: i + offset − window_left)
// A weight that is 0 in F32 contributes nothing anywhere, whatever stands in v or k there (NaN included).
struct heed__attention_params {
  heed_causal causal;
  double scale;                       // resolved
  double softcap;                     // 0: none
  int64_t window_left, window_right;  // −1: unbounded
  int64_t offset;                     // past length
  bool has_dropout;
  uint32_t dropout_threshold;  // see base/random.h
  double dropout_scale;        // 1/(1 − p)
  uint64_t seed;
  heed_attention_path path;
};

#endif
