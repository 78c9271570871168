// What the parts of the GEMM operator share: the problem with its epilogue, and the providers.
#ifndef HEED__GEMM_H
#define HEED__GEMM_H

#include "cl/runtime/runtime.h"
#include "cl/tuning/tuning.h"

enum heed__cl_gemm_provider { HEED__GEMM_AUTO, HEED__GEMM_NATIVE, HEED__GEMM_CLBLAST };

// How cpu.c lays out a product; 0 everywhere is its own choice. The switches: 1 yes, -1 no, where the problem allows it.
// gpu.c takes its tile from `rows`, and the splits.
struct heed__cl_gemm_layout {
  int64_t vectors, rows, panels, depth, splits;  // vectors: of a panel, 2 or 3
  int swap, pack_rows, pack_cols, dot;
};

// What the products keep in a context.
struct heed__cl_gemm_state {
  enum heed__cl_gemm_provider provider;  // as the context was opened with
  const char *variant;  // native.c: to take where it supports the problem; NULL: the tuned or first one
  struct heed__cl_gemm_layout layout;
  struct heed__cl_gemm_verdicts *verdicts;  // probe.c
  bool clblast_used, clblast_failed;        // there is something to clear; AUTO has given it up
};
static inline struct heed__cl_gemm_state *heed__cl_gemm_state(const heed_context *ctx) {
  return heed__cl_state(ctx)->kept[HEED__CL_ROOM_GEMM];
}
// Once a context. Errors: OUT_OF_MEMORY. close: after the queue has finished; drops what products keep of the context.
heed_status heed__cl_gemm_open(heed_context *ctx, enum heed__cl_gemm_provider provider);
void heed__cl_gemm_close(heed_context *ctx);

// What happens to alpha op(a) op(b) + beta c + bias before it is stored. MASK keeps it where mask > 0 and puts 0 elsewhere: the
// backward of relu, whose mask may be its argument or its result.
enum heed__cl_gemm_activation {
  HEED__GEMM_LINEAR,
  HEED__GEMM_RELU,
  HEED__GEMM_GELU,
  HEED__GEMM_MASK,
};

struct heed__cl_gemm_epilogue {
  const heed_tensor *bias;  // [N], on each row; NULL: none
  enum heed__cl_gemm_activation activation;
  heed_gelu_form gelu;      // of GELU
  const heed_tensor *mask;  // of MASK: rank 4 as c, of c's dtype, any strides but the last
};

// c = activation(alpha op(a) op(b) + beta c + bias). Tensors of rank 4 as in operators.h.
struct heed__cl_gemm_problem {
  bool trans_a, trans_b;
  double alpha, beta;
  const heed_tensor *a, *b;
  heed_tensor *c;
  struct heed__cl_gemm_epilogue epilogue;
  int64_t m, n, k, batches;  // batches: B0 · B1 of c
};

// The product of operators.h's gemm through the chosen provider, with an epilogue; NULL: none.
heed_status heed__cl_gemm_with(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                               const heed_tensor *b, const struct heed__cl_gemm_epilogue *epilogue, heed_tensor *c);

// epilogue.c. The epilogue's kernel arguments and options, alike in all of heed's GEMM kernels.
void heed__cl_gemm_epilogue_define(struct heed__cl_kernel *k, const struct heed__cl_gemm_problem *p);
void heed__cl_gemm_epilogue_args(struct heed__cl_kernel *k, const struct heed__cl_gemm_problem *p);
// Where a kernel that may cut k into parts puts its sums: into c with the epilogue; or, with `parts`, into a buffer
// [B0 B1, splits, m, n] of F32, without it.
void heed__cl_gemm_result(struct heed__cl_kernel *k, const struct heed__cl_gemm_problem *p, cl_mem parts,
                          int64_t splits);

// The epilogue alone, for products that were stored without it.
heed_status heed__cl_gemm_epilogue_run(heed_context *ctx, const struct heed__cl_gemm_problem *p);

// tuned.c: what the table of tuned choices says of p; NULL: nothing.
const struct heed__cl_tuning_choice *heed__cl_gemm_tuned(const heed_context *ctx,
                                                         const struct heed__cl_gemm_problem *p);
heed_tune_problem heed__cl_gemm_tune_problem(const struct heed__cl_gemm_problem *p);

// native.c: the i-th variant in choices; NULL past the last.
const struct heed__cl_tuning_variant *heed__cl_gemm_variant(size_t i);
// heed's own kernels. Never refuses.
heed_status heed__cl_gemm_native(heed_context *ctx, const struct heed__cl_gemm_problem *p);
// The variant that does p there, and its place in the list.
const char *heed__cl_gemm_native_variant(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                         uint32_t *place);

// cpu.c: the packed and blocked product on CPUs.
bool heed__cl_gemm_cpu_supports(const heed_context *ctx, const struct heed__cl_gemm_problem *p);
// A small number for the kernels that a supported problem goes through, and the layout that sends a small problem through the same.
uint32_t heed__cl_gemm_cpu_class(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                 struct heed__cl_gemm_layout *same);
heed_status heed__cl_gemm_cpu_run(heed_context *ctx, const struct heed__cl_gemm_problem *p);
// Layouts one step away from that of `choice`.
void heed__cl_gemm_cpu_neighbours(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                  const struct heed__cl_tuning_choice *choice, struct heed__cl_tuning_choices *out);

// gpu.c: the tiled product on devices with work-groups and local memory. `class` as above; *aligned says whether the vectors
// that it reads are, which a small problem of the class must share.
bool heed__cl_gemm_gpu_supports(const heed_context *ctx, const struct heed__cl_gemm_problem *p);
uint32_t heed__cl_gemm_gpu_class(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                 struct heed__cl_gemm_layout *same, bool *aligned);
// Whether a supported problem goes through tensor cores.
bool heed__cl_gemm_gpu_uses_warps(const heed_context *ctx, const struct heed__cl_gemm_problem *p);
heed_status heed__cl_gemm_gpu_run(heed_context *ctx, const struct heed__cl_gemm_problem *p);

// clblast.c. `supports` says whether CLBlast can be trusted with the problem. `run` leaves the epilogue to do and sets *done to
// the batches that it queued, which are all unless it fails.
bool heed__cl_gemm_clblast_supports(const heed_context *ctx, const struct heed__cl_gemm_problem *p);
heed_status heed__cl_gemm_clblast_run(heed_context *ctx, const struct heed__cl_gemm_problem *p, int64_t *done);
// For a context that ends, after its queue has: drops what CLBlast keeps of it in the process.
void heed__cl_gemm_clblast_close(heed_context *ctx);

// probe.c. Whether `provider` computes like the host on this device, for products of p's class: small ones are computed both
// ways at the first such call, and the answer is remembered with the compiled programs.
heed_status heed__cl_gemm_probe(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                enum heed__cl_gemm_provider provider, bool *right);
void heed__cl_gemm_verdicts_free(heed_context *ctx);

#endif
