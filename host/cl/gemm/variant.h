// What products are inside: the problem with its epilogue, the plan that says how to compute it, the variants that plan and run, and the
// parts, each with the name of its file.
#ifndef HEED__CL_GEMM_VARIANT_H
#define HEED__CL_GEMM_VARIANT_H

#include "cl/tuning/tuning.h"

// ---------------------------------------------------------------- the problem

// What happens to x = alpha op(a) op(b) + beta c + bias before it is stored. MASK and GELU_SLOPE are backwards: MASK keeps x where the
// activation's argument is over 0 and writes 0 elsewhere (of relu, whose argument may also be its result), GELU_SLOPE multiplies x by the
// derivative of gelu at its argument.
enum heed__cl_gemm_activation {
  HEED__GEMM_LINEAR,
  HEED__GEMM_RELU,
  HEED__GEMM_GELU,
  HEED__GEMM_MASK,
  HEED__GEMM_GELU_SLOPE,
};

struct heed__cl_gemm_epilogue {
  const heed_tensor *bias;  // [N], on each row; NULL: none
  enum heed__cl_gemm_activation activation;
  heed_gelu_form gelu;  // for GELU and GELU_SLOPE
  const heed_tensor
      *argument;  // of the activation: MASK and GELU_SLOPE read it; GELU writes x to it unless it is NULL. Rank 4 and
                  // dtype as c; last stride 1, the others any
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

// Tells whether all batches of a matrix lie back to back from the start of its buffer.
static inline bool heed__cl_gemm_is_packed(const heed_tensor *t) {
  const int64_t size = t->dims[2] * t->dims[3];
  return t->offset == 0 && t->strides[2] == t->dims[3] && (t->dims[1] == 1 || t->strides[1] == size) &&
         (t->dims[0] == 1 || t->strides[0] == size * t->dims[1]);
}

// ---------------------------------------------------------------- the plan

// cpu_plan.c. T = R V is C or Cᵀ. R is what the rows of a tile read, V what its columns read: A and B, or swapped.
struct heed__cl_gemm_cpu_plan {
  bool pairs;  // multiplies pairs of BF16 numbers, and a step is two of k; R and V are packed, or R's rows hold pairs
  bool dot;    // dot products, for a small A Bᵀ; of what follows only tile_rows, panel and rows count then
  bool swap;   // T is Cᵀ, not C
  bool pack_r, pack_v;    // copy R, or V, into panels first
  bool through_parts;     // gemm_reduce adds up F32 parts: for splits, or for blocks of k with a 16-bit C
  int64_t steps;          // of k
  int64_t tile_rows;      // rows of a register tile
  int64_t tile_vectors;   // its columns, in vectors
  int64_t panel;          // its columns
  int64_t rows, panels;   // what a work-item computes of T
  int64_t depth;          // steps of k at a time
  int64_t splits, share;  // parts of k, and steps of k in one
};

// gpu.c.
struct heed__cl_gemm_gpu_plan {
  const struct heed__cl_gemm_kind *kind;  // kernel and tile
  int64_t splits, share;                  // parts of k, and steps of k in one
  bool slices;  // several launches add slices of k to C, because its parts do not fit in memory
};

struct heed__cl_gemm_plan {
  const struct heed__cl_gemm_variant *variant;
  union {
    struct heed__cl_gemm_cpu_plan cpu;
    struct heed__cl_gemm_gpu_plan gpu;
  } of;
};

// A small problem that goes through the same kernels as a plan's problem does.
struct heed__cl_gemm_specimen {
  uint32_t class;  // the same for all plans of a variant that it represents; below 1 << 16
  int64_t m, n, k, batches;
  struct heed__cl_tuning_choice choice;  // forces the specimen to be computed that way
  bool any_form;                         // the kernels do not distinguish transposed factors from others
  bool aligned;                          // every row begins at a multiple of 8 elements
  bool packed;                           // no gaps between rows, nor between batches
};

enum heed__cl_gemm_provider { HEED__GEMM_AUTO, HEED__GEMM_NATIVE, HEED__GEMM_CLBLAST };
// When BF16 products take the processor's instruction for pairs: where it is faster or a choice asks for it; always; never.
enum heed__cl_gemm_bf16_dots { HEED__GEMM_DOTS_AUTO, HEED__GEMM_DOTS_ON, HEED__GEMM_DOTS_OFF };

// A way to compute products.
struct heed__cl_gemm_variant {
  struct heed__cl_tuning_variant tuning;  // its key, and the values that a choice may give it
  enum heed__cl_gemm_provider provider;   // NATIVE or CLBLAST
  bool on_tensor_cores, on_bf16_dots;     // by instructions that not every device has, without which others do its work
  // Fills in the variant's part of *plan; returns false if it cannot do the problem. It reads sizes, strides and dtypes but no memory,
  // because a problem that is only planned has none. choice: values of a tuned or forced choice; 0 is the variant's own.
  bool (*plan)(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
               const struct heed__cl_tuning_choice *choice, struct heed__cl_gemm_plan *plan);
  // Adapts the plan to what the driver reports about the built kernel. NULL: nothing to do.
  // Errors: UNSUPPORTED if no plan of the variant fits; those of a build.
  heed_status (*prepare)(heed_context *ctx, const struct heed__cl_gemm_problem *p, struct heed__cl_gemm_plan *plan);
  // *done: the number of batches that were queued completely, even if it fails.
  heed_status (*run)(heed_context *ctx, const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan,
                     int64_t *done);
  void (*specimen)(const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan,
                   struct heed__cl_gemm_specimen *specimen);
  // Adds choices one step away from `choice`, which is of this variant. NULL: it has no values.
  void (*neighbours)(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                     const struct heed__cl_tuning_choice *choice, struct heed__cl_tuning_choices *out);
};

// Without CLBlast, no_clblast.c has heed__cl_gemm_clblast, which plans nothing and has no `run`.
extern const struct heed__cl_gemm_variant heed__cl_gemm_cpu_bf16, heed__cl_gemm_cpu, heed__cl_gemm_panels,
    heed__cl_gemm_tensor, heed__cl_gemm_clblast, heed__cl_gemm_gpu, heed__cl_gemm_panels_small;
static inline bool heed__cl_gemm_is_special(const struct heed__cl_gemm_variant *variant) {
  return variant->on_tensor_cores || variant->on_bf16_dots;
}

// plan.c. The i-th variant, from fast to general; NULL past the last one. The last one supports every problem.
const struct heed__cl_gemm_variant *heed__cl_gemm_variant_at(size_t i);
// The i-th variant that a context tries for a problem: as above, but a provider that the caller asked for comes first, and on GPUs heed's
// kernels before CLBlast's. NULL past the last.
const struct heed__cl_gemm_variant *heed__cl_gemm_preferred(const heed_context *ctx, size_t i);
// Tells whether a context uses a variant at all: `provider` allows it, and it has not failed there.
bool heed__cl_gemm_allows(const heed_context *ctx, const struct heed__cl_gemm_variant *variant);
// Makes the plan for a problem: with the variant and the values of `forced`; with the first variant that supports it if `forced` names none
// or is NULL. Returns false if the forced variant does not support it. It tries no kernel: gemm.c finds out whether a plan computes right.
bool heed__cl_gemm_plan(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                        const struct heed__cl_tuning_choice *forced, struct heed__cl_gemm_plan *plan);

// What products keep in a context.
struct heed__cl_gemm_state {
  enum heed__cl_gemm_provider provider;     // as the context was opened with
  bool probe_off;                           // use products without trying them first
  struct heed__cl_gemm_verdicts *verdicts;  // probe.c
  struct heed__cl_gemm_plans *plans;        // plans.c
  enum heed__cl_gemm_bf16_dots bf16_dots;   // as the context was opened with
  bool bf16_dots_failed;                    // heed does not use them any more
  bool clblast_used;                        // CLBlast keeps something of the context, which must be cleared
  bool clblast_failed;                      // heed chose CLBlast by itself and it failed: heed does not use it any more
  unsigned long looked_up;                  // look-ups in the table of plans, for tests
  unsigned long planned;                    // problems that were not in it, for tests
};
static inline struct heed__cl_gemm_state *heed__cl_gemm_state(const heed_context *ctx) {
  return heed__cl_state(ctx)->kept[HEED__CL_ROOM_GEMM];
}

// ---------------------------------------------------------------- parts, each in the file it names

// epilogue.c. The epilogue's kernel arguments and options, which are the same in all of heed's product kernels.
void heed__cl_gemm_epilogue_define(struct heed__cl_kernel *k, const struct heed__cl_gemm_problem *p);
void heed__cl_gemm_epilogue_args(struct heed__cl_kernel *k, const struct heed__cl_gemm_problem *p);
static inline bool heed__cl_gemm_has_gelu(const struct heed__cl_gemm_problem *p) {
  return p->epilogue.activation == HEED__GEMM_GELU || p->epilogue.activation == HEED__GEMM_GELU_SLOPE;
}
// Passes where a kernel that may cut k into parts stores its sums: into c, with the epilogue; or, with `parts`, into an F32 buffer [B0 B1,
// splits, m, n], without it.
void heed__cl_gemm_result(struct heed__cl_kernel *k, const struct heed__cl_gemm_problem *p, cl_mem parts,
                          int64_t splits);
// Runs only the epilogue, for products that were stored without it.
heed_status heed__cl_gemm_epilogue_run(heed_context *ctx, const struct heed__cl_gemm_problem *p);

// cpu_plan.c
// pairs: with the processor's instruction for pairs of BF16 numbers, or not at all.
bool heed__cl_gemm_cpu_make_plan(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                 const struct heed__cl_tuning_choice *choice, bool pairs,
                                 struct heed__cl_gemm_cpu_plan *plan);
void heed__cl_gemm_cpu_specimen(const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan,
                                struct heed__cl_gemm_specimen *specimen);
void heed__cl_gemm_cpu_neighbours(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                  const struct heed__cl_tuning_choice *choice, struct heed__cl_tuning_choices *out);
void heed__cl_gemm_cpu_bf16_neighbours(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                       const struct heed__cl_tuning_choice *choice,
                                       struct heed__cl_tuning_choices *out);
enum { HEED__GEMM_DOT_EDGE = 4 };  // rows and columns of a tile of dot products
// Computes the number of floats, or pairs, in one packed matrix; returns false if it does not fit 64 bits.
bool heed__cl_gemm_cpu_packed(int64_t extent, int64_t width, int64_t steps, int64_t *floats);

// clblast.c. Called when a context ends, after its queue has: releases what CLBlast keeps of it in the process.
void heed__cl_gemm_clblast_close(heed_context *ctx);

// tuned.c. Returns what the table of tuned choices says about p; NULL: nothing.
heed_tune_problem heed__cl_gemm_tune_problem(const struct heed__cl_gemm_problem *p);
const struct heed__cl_tuning_choice *heed__cl_gemm_tuned(const heed_context *ctx,
                                                         const struct heed__cl_gemm_problem *p);

// probe.c. Tells whether a plan's kernels compute like the host on this device: at the first such plan it computes the specimen both ways,
// and keeps the answer with the compiled programs. Errors: those of the calls; it keeps none of them as an answer.
heed_status heed__cl_gemm_probe(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                const struct heed__cl_gemm_plan *plan, bool *right);
void heed__cl_gemm_verdicts_free(heed_context *ctx);
uint64_t heed__cl_gemm_verdicts(const heed_context *ctx);  // its part of heed_tune_verdicts()

// plans.c. The plans of problems that a context has met; NULL: it has not met this one since the last heed__cl_revise().
const struct heed__cl_gemm_plan *heed__cl_gemm_plans_find(const heed_context *ctx,
                                                          const struct heed__cl_gemm_problem *p);
// Errors: OUT_OF_MEMORY.
heed_status heed__cl_gemm_plans_add(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                    const struct heed__cl_gemm_plan *plan);
void heed__cl_gemm_plans_free(heed_context *ctx);

#endif
