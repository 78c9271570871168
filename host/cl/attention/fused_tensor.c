// The fused path of attention on tensor cores, for heads that are 64 or 128 wide, of 16-bit tensors and, where rounding them to TF32
// is allowed, of F32 ones: launches the kernels of kernels_cl/attention/fused_tensor*.cl. What they find that they cannot do, they
// leave to the general kernels for GPUs, and so does a driver that does not take their inline PTX.
#include "cl/attention/call.h"
#include "cl/attention/fused_gpu.h"
#include "cl/runtime/grid.h"

// What the kernels name ITEMS and OWN_ROWS (and QUERIES of the forward).
enum { ITEMS = 128, OWN_ROWS = 64 };
// Fewer query rows than this leave most of a tile empty, and the general kernels share out the keys among work-groups.
enum { QUERIES_MIN = 32 };
// Of local memory, for the scratch of emulated warps.
enum { EMULATION_BYTES = ITEMS * 24 };

enum kind { FORWARD, QUERIES_BWD, KEYS_BWD };  // those of the backward as KERNEL in its file

struct fused {
  heed_context *ctx;
  const struct heed__cl_attention *a;
  const struct heed__cl_attention_fused_gpu *general;  // the plan of the general kernels
  cl_mem flags;                                        // see FLAG_REDO in attention/fused_tensor.cl
  cl_mem stats;                                        // backward: four floats a row
};

// ---------------------------------------------------------------- kernels

static void begin(struct heed__cl_kernel *k, const struct fused *f, const char *kernel, bool keys_bwd) {
  const struct heed__cl_attention *a = f->a;
  heed__cl_begin(k, f->ctx, a->backward ? "attention/fused_tensor_bwd.cl" : "attention/fused_tensor_fwd.cl", kernel);
  heed__cl_attention_fused_gpu_define(k, a);
  heed__cl_define_int(k, "WARP_EMULATED", heed__cl_state(f->ctx)->traits.emulate_warps);
  heed__cl_define_int(k, "DIM", a->dim);
  if (!a->backward) {
    heed__cl_define_int(k, "KEYS", a->q->dtype == HEED_F32 ? 32 : 64);
    return;
  }
  heed__cl_define_int(k, "KERNEL", keys_bwd ? KEYS_BWD : QUERIES_BWD);
  heed__cl_define_int(k, "TILE", a->dim > 64 ? 16 : 32);  // what registers hold of scores beside the sums
}

static heed_status launch(struct heed__cl_kernel *k, struct heed__cl_attention_numbers *numbers, int64_t work_groups,
                          double flops) {
  const int64_t most = heed__cl_groups_a_launch(k->ctx, flops, HEED__CL_TENSOR_RATE);
  const size_t local = ITEMS;
  for (int64_t first = 0; first < work_groups; first += most) {
    numbers->first = first;
    const size_t global = (size_t)heed__min(most, work_groups - first) * local;
    HEED__TRY(heed__cl_launch(k, 1, &global, &local));
  }
  return HEED_OK;
}

// q, dq: [B, Hq, Lq, D]; k, v, dk, dv: [B, Hkv, Lk, D]; out, dout: [B, Hq, Lq, D]; lse: [B, Hq, Lq]; stats: [B, Hq, Lq, 4]; flags: [2]
static heed_status run_kind(const struct fused *f, enum kind kind) {
  static const char *const kernels[] = {"attention_tensor_forward", "attention_tensor_queries_bwd",
                                        "attention_tensor_keys_bwd"};
  const struct heed__cl_attention *a = f->a;
  struct heed__cl_attention_numbers numbers = heed__cl_attention_numbers(a);
  struct heed__cl_kernel k;
  begin(&k, f, kernels[kind], kind == KEYS_BWD);
  heed__cl_attention_pass_call(&k, a, &numbers);
  heed__cl_memory(&k, a->q);
  heed__cl_memory(&k, a->k);
  heed__cl_memory(&k, a->v);
  heed__cl_memory(&k, a->backward ? a->dout : a->out);
  if (kind == FORWARD) heed__cl_memory(&k, a->lse);
  if (kind != FORWARD) heed__cl_buffer(&k, f->stats);
  heed__cl_buffer(&k, f->flags);
  if (kind == QUERIES_BWD) {
    heed__cl_memory(&k, a->out);
    heed__cl_memory(&k, a->lse);
    heed__cl_memory(&k, a->dq);
  }
  if (kind == KEYS_BWD) {
    heed__cl_memory(&k, a->dk);
    heed__cl_memory(&k, a->dv);
  }
  const int64_t rows = kind == KEYS_BWD ? a->keys : a->queries;
  const int64_t others = kind == KEYS_BWD ? a->group * a->queries : a->keys;
  const int64_t slots = a->batch * (kind == KEYS_BWD ? a->kv_heads : a->heads);
  const int products = kind == FORWARD ? 2 : 4;
  return launch(&k, &numbers, slots * heed__ceil_div(rows, OWN_ROWS),
                2.0 * products * OWN_ROWS * (double)others * (double)a->dim);
}

// ---------------------------------------------------------------- a call

// flags: [2]
static heed_status clear_flags(const struct fused *f) {
  struct heed__cl_kernel k;
  begin(&k, f, "attention_tensor_begin", false);
  heed__cl_buffer(&k, f->flags);
  const size_t one = 1;
  return heed__cl_launch(&k, 1, &one, &one);
}

// The general kernels follow, and leave at once where the flag is not up. Under emulation the host looks first: CPUs take seconds
// to build kernels that are hardly ever needed.
static heed_status redo(const struct fused *f) {
  cl_int flag = 1;
  if (heed__cl_state(f->ctx)->traits.emulate_warps)
    HEED__TRY(heed__cl_download(f->ctx, f->flags, 0, &flag, sizeof flag));
  return flag ? heed__cl_attention_fused_gpu_run(f->ctx, f->a, f->general, f->flags) : HEED_OK;
}

static heed_status run_kernels(heed_context *ctx, const struct heed__cl_attention *a,
                               const struct heed__cl_attention_fused_gpu *general) {
  struct fused f = {.ctx = ctx, .a = a, .general = general};
  heed_status status;
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, 2 * sizeof(cl_int), &f.flags));
  HEED__TRY_TO(done, status, clear_flags(&f));
  if (a->backward) {
    const size_t rows = (size_t)(a->batch * a->heads * a->queries);
    HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, rows * 4 * sizeof(float), &f.stats));
    HEED__TRY_TO(done, status, run_kind(&f, QUERIES_BWD));
    if (a->dk || a->dv) HEED__TRY_TO(done, status, run_kind(&f, KEYS_BWD));
  } else {
    HEED__TRY_TO(done, status, run_kind(&f, FORWARD));
  }
  HEED__TRY_TO(done, status, redo(&f));
done:
  heed__cl_scratch_give(ctx, f.stats);
  heed__cl_scratch_give(ctx, f.flags);
  return status;
}

static heed_status run(heed_context *ctx, const struct heed__cl_attention *a,
                       const union heed__cl_attention_plan *chosen) {
  const heed_status status = run_kernels(ctx, a, &chosen->fused_gpu);
  if (status != HEED_ERROR_BUILD) return status;
  // Want of memory is no verdict on the driver.
  if (!heed__cl_state(ctx)->build_may_work_later) {
    heed__cl_state(ctx)->tensor_cores_off = true;
    heed__cl_revise(ctx);
  }
  return heed__cl_attention_fused_gpu_run(ctx, a, &chosen->fused_gpu, NULL);
}

// ---------------------------------------------------------------- the variant

// Rows begin at multiples of 16 bytes.
static bool is_aligned(const heed_tensor *t) {
  if (!t) return true;
  const int64_t chunk = 16 / (int64_t)heed_dtype_size(t->dtype);
  return t->offset % chunk == 0 && t->strides[0] % chunk == 0 && t->strides[1] % chunk == 0 &&
         t->strides[2] % chunk == 0;
}

// Factors of 16 bits as they are; F32 ones where the context may round them.
static bool is_dtype_supported(const struct heed__cl_attention *a) {
  const heed_dtype dtype = a->q->dtype;
  return dtype == HEED_F16 || dtype == HEED_BF16 || (dtype == HEED_F32 && heed__cl_state(a->q->ctx)->tf32);
}

// The tiles of the largest kernel. Forward: keys and values. Backward: dq's tiles with heads of 64 (k and v twice, and dO), any with
// heads of 128.
static uint64_t local_bytes(const struct heed__cl_attention *a) {
  if (a->q->dtype == HEED_F32) return a->backward ? 49152 : (uint64_t)a->dim * 256;
  return a->dim > 64 ? 32768 : 24576;
}

static bool supports(const heed_context *ctx, const struct heed__cl_attention *a) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  if (!traits->tensor_cores || heed__cl_state(ctx)->tensor_cores_off || traits->cpu_like) return false;
  const uint64_t local = local_bytes(a) + (traits->emulate_warps ? EMULATION_BYTES : 0);
  if (traits->max_work_group < ITEMS || traits->local_memory < local) return false;
  if (!is_dtype_supported(a)) return false;
  if ((a->dim != 64 && a->dim != 128) || a->value_dim != a->dim || a->queries < QUERIES_MIN) return false;
  // The largest product is sought before the scale is applied.
  const float scale = (float)a->params->scale;
  if (!(scale >= 1e-30f && scale <= 1e30f)) return false;
  const heed_tensor *const rows[] = {a->q, a->k, a->v, a->out, a->dout, a->dq, a->dk, a->dv};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i)
    if (!is_aligned(rows[i])) return false;
  return true;
}

// The plan is that of the general kernels. Those for tensor cores have one tile.
static bool plan(const heed_context *ctx, const struct heed__cl_attention *a,
                 const struct heed__cl_tuning_choice *choice, union heed__cl_attention_plan *out) {
  (void)choice;
  return supports(ctx, a) && heed__cl_attention_fused_gpu_plan(ctx, a, NULL, &out->fused_gpu);
}

const struct heed__cl_attention_variant heed__cl_attention_fused_tensor = {
    .name = "fused on tensor cores", .tuning = {"fused-tensor", 0}, .path = HEED_PATH_FUSED, .plan = plan, .run = run};
