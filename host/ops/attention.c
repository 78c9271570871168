// attention: checks shapes and options, resolves defaults, broadcasts the mask by strides, and puts past keys before the new ones. struct
// heed__attention_params describes what the backends get.
#include <math.h>
#include <string.h>

#include "ops/check.h"

// The sizes that the inputs agree on. lk counts past keys too.
struct sizes {
  int64_t b, hq, hkv, lq, lk, past, d, dv;
};

// Keys or values with their past: the concatenation if there is a past (owned), else the caller's tensor.
struct joined {
  const heed_tensor *tensor;
  heed_tensor *owned;
};

static heed_status check_rank4(const char *op, const char *name, const heed_tensor *t) {
  if (!t) return HEED_OK;
  HEED__REQUIRE(t->rank == 4, HEED_ERROR_SHAPE, "%s: %s %s is not of rank 4 [batch, heads, length, width]", op, name,
                heed__tensor_text(t));
  HEED__REQUIRE(t->dims[3] <= 1 || t->strides[3] == 1, HEED_ERROR_SHAPE,
                "%s: the last axis of %s %s must have stride 1", op, name, heed__tensor_text(t));
  return HEED_OK;
}

static heed_status check_dims(const char *op, const char *name, const heed_tensor *t, int64_t d0, int64_t d1,
                              int64_t d2, int64_t d3) {
  if (!t) return HEED_OK;
  HEED__TRY(check_rank4(op, name, t));
  const int64_t want[4] = {d0, d1, d2, d3};
  HEED__REQUIRE(memcmp(t->dims, want, sizeof want) == 0, HEED_ERROR_SHAPE,
                "%s: %s is %s; with these inputs it must be %s", op, name, heed__tensor_text(t),
                heed__dims_text(4, want));
  return HEED_OK;
}

static heed_status find_sizes(const char *op, const heed_attention_inputs *in, struct sizes *s) {
  HEED__TRY(check_rank4(op, "q", in->q));
  HEED__TRY(check_rank4(op, "k", in->k));
  HEED__TRY(check_rank4(op, "v", in->v));
  HEED__REQUIRE(!in->past_k == !in->past_v, HEED_ERROR_INVALID_ARGUMENT, "%s: past_k and past_v go together", op);
  HEED__REQUIRE(!in->past_k || !in->kv_lengths, HEED_ERROR_INVALID_ARGUMENT,
                "%s: past_k and kv_lengths both say where the queries stand; give one", op);
  HEED__TRY(check_rank4(op, "past_k", in->past_k));
  *s = (struct sizes){.b = in->q->dims[0],
                      .hq = in->q->dims[1],
                      .hkv = in->k->dims[1],
                      .lq = in->q->dims[2],
                      .past = in->past_k ? in->past_k->dims[2] : 0,
                      .d = in->q->dims[3],
                      .dv = in->v->dims[3]};
  HEED__REQUIRE(heed__sum(s->past, in->k->dims[2], &s->lk), HEED_ERROR_OVERFLOW, "%s: the keys do not fit 64 bits", op);
  HEED__REQUIRE(s->d >= 1 && s->dv >= 1, HEED_ERROR_SHAPE, "%s: q %s and v %s need a width of 1 or more", op,
                heed__tensor_text(in->q), heed__tensor_text(in->v));
  HEED__REQUIRE(s->hkv >= 1 && s->hq % s->hkv == 0, HEED_ERROR_SHAPE,
                "%s: the %lld heads of k %s do not divide the %lld heads of q %s; heads come before the length", op,
                (long long)s->hkv, heed__tensor_text(in->k), (long long)s->hq, heed__tensor_text(in->q));
  HEED__TRY(check_dims(op, "k", in->k, s->b, s->hkv, in->k->dims[2], s->d));
  HEED__TRY(check_dims(op, "v", in->v, s->b, s->hkv, in->k->dims[2], s->dv));
  HEED__TRY(check_dims(op, "past_k", in->past_k, s->b, s->hkv, s->past, s->d));
  HEED__TRY(check_dims(op, "past_v", in->past_v, s->b, s->hkv, s->past, s->dv));
  // The random numbers of dropout and the kernels count queries and keys in 32 bits.
  HEED__REQUIRE(s->lq <= INT32_MAX && s->lk <= INT32_MAX, HEED_ERROR_OVERFLOW,
                "%s: %lld queries on %lld keys; 2^31 - 1 is the most", op, (long long)s->lq, (long long)s->lk);
  return HEED_OK;
}

static heed_status check_window(const char *op, const char *name, int64_t value) {
  HEED__REQUIRE(value >= -1 && value <= INT32_MAX, HEED_ERROR_INVALID_ARGUMENT,
                "%s: window %s %lld is neither -1 (unbounded) nor in 0..2^31-1", op, name, (long long)value);
  return HEED_OK;
}

static heed_status resolve(const char *op, const heed_attention_options *o, const struct sizes *s,
                           struct heed__attention_params *p) {
  const double scale = o->has_scale ? o->scale : 1 / sqrt((double)s->d);
  HEED__REQUIRE(isfinite(scale), HEED_ERROR_INVALID_ARGUMENT, "%s: scale %g is not finite", op, scale);
  HEED__REQUIRE(isfinite(o->softcap) && o->softcap >= 0, HEED_ERROR_INVALID_ARGUMENT,
                "%s: softcap %g must be finite and >= 0 (0: none)", op, o->softcap);
  HEED__REQUIRE(o->dropout >= 0 && o->dropout < 1, HEED_ERROR_INVALID_ARGUMENT, "%s: dropout %g is not in [0, 1)", op,
                o->dropout);
  HEED__REQUIRE((unsigned)o->causal <= HEED_CAUSAL_BOTTOM_RIGHT, HEED_ERROR_INVALID_ARGUMENT,
                "%s: causal %d is unknown", op, (int)o->causal);
  HEED__REQUIRE((unsigned)o->path <= HEED_PATH_FUSED, HEED_ERROR_INVALID_ARGUMENT, "%s: path %d is unknown", op,
                (int)o->path);
  HEED__REQUIRE((unsigned)o->weights <= HEED_WEIGHTS_MASKED, HEED_ERROR_INVALID_ARGUMENT, "%s: weights %d is unknown",
                op, (int)o->weights);
  const int64_t left = o->has_window ? o->window_left : -1, right = o->has_window ? o->window_right : -1;
  HEED__TRY(check_window(op, "left", left));
  HEED__TRY(check_window(op, "right", right));
  *p = (struct heed__attention_params){
      .causal = o->causal,
      .scale = scale,
      .softcap = o->softcap,
      .window_left = left,
      .window_right = right,
      .offset = s->past,
      .has_dropout = o->dropout > 0,
      .dropout_threshold = (uint32_t)fmin(o->dropout * 0x1p32, 0x1p32 - 1),
      .dropout_scale = 1 / (1 - o->dropout),
      .seed = o->seed,
      .path = o->path,
      .weights = o->weights,
  };
  return HEED_OK;
}

// Makes the mask [B, Hq, Lq, cols], with stride 0 where it broadcasts. cols < Lk: no row attends the keys from cols on.
static heed_status broadcast_mask(const char *op, const heed_tensor *mask, const struct sizes *s,
                                  struct heed_tensor *view) {
  HEED__REQUIRE(mask->dtype == HEED_BOOL || heed_dtype_is_float(mask->dtype), HEED_ERROR_DTYPE,
                "%s: mask is %s; BOOL or floating point is needed", op, heed__tensor_text(mask));
  HEED__REQUIRE(mask->rank >= 1 && mask->rank <= 4, HEED_ERROR_SHAPE, "%s: mask %s is not of rank 1 to 4", op,
                heed__tensor_text(mask));
  const int64_t full[4] = {s->b, s->hq, s->lq, s->lk};
  int64_t dims[4], strides[4];
  for (int axis = 0; axis < 4; ++axis) {
    const int from = axis - (4 - mask->rank);
    const int64_t size = from >= 0 ? mask->dims[from] : 1;
    const bool shorter = axis == 3 && size < full[3] && size != 1;
    HEED__REQUIRE(
        size == full[axis] || size == 1 || shorter, HEED_ERROR_SHAPE,
        "%s: mask %s does not broadcast to [batch, heads, queries, keys] %s; axes count from the right, so one "
        "of each batch's keys is %s",
        op, heed__tensor_text(mask), heed__dims_text(4, full),
        heed__dims_text(4, (const int64_t[]){s->b, 1, 1, s->lk}));
    dims[axis] = shorter ? size : full[axis];
    strides[axis] = size == 1 || from < 0 ? 0 : mask->strides[from];
  }
  heed__view_init(view, mask, 4, dims, strides, mask->offset);
  return HEED_OK;
}

static heed_status check_kv_lengths(const char *op, const heed_tensor *lengths, int64_t batch) {
  if (!lengths) return HEED_OK;
  HEED__REQUIRE(lengths->dtype == HEED_I32 || lengths->dtype == HEED_I64, HEED_ERROR_DTYPE,
                "%s: kv_lengths is %s; I32 or I64 is needed", op, heed__tensor_text(lengths));
  HEED__REQUIRE(lengths->rank == 1 && lengths->dims[0] == batch, HEED_ERROR_SHAPE,
                "%s: kv_lengths is %s; it must be [%lld]", op, heed__tensor_text(lengths), (long long)batch);
  return HEED_OK;
}

static heed_status create_named(const char *op, heed_context *ctx, heed_dtype dtype, const int64_t dims[4],
                                heed_tensor **out) {
  const heed_status status = heed_tensor_create(ctx, dtype, 4, dims, out);
  return status == HEED_OK ? HEED_OK : heed__fail_prefix(status, "%s", op);
}

// Joins past and new along the keys, in a new tensor.
static heed_status join(const char *op, const heed_tensor *past, const heed_tensor *new, struct joined *out) {
  *out = (struct joined){.tensor = new};
  if (!past) return HEED_OK;
  const int64_t dims[4] = {new->dims[0], new->dims[1], past->dims[2] + new->dims[2], new->dims[3]};
  HEED__TRY(create_named(op, new->ctx, new->dtype, dims, &out->owned));
  out->tensor = out->owned;
  struct heed_tensor part;
  heed__view_init(&part, out->owned, 4, past->dims, out->owned->strides, 0);
  if (past->count) HEED__TRY(heed_copy(past, &part));
  heed__view_init(&part, out->owned, 4, new->dims, out->owned->strides, past->dims[2] * new->dims[3]);
  return new->count ? heed_copy(new, &part) : HEED_OK;
}

// What forward and backward share, ready for a call.
struct prepared {
  struct sizes sizes;
  struct heed__attention_params params;
  struct heed_tensor mask_view;
  const heed_tensor *mask;
  struct joined k, v;
};

static heed_status prepare(const char *op, const heed_attention_inputs *in, const heed_attention_options *options,
                           struct prepared *p) {
  const heed_attention_options defaults = {0};
  HEED__TRY(find_sizes(op, in, &p->sizes));
  HEED__TRY(resolve(op, options ? options : &defaults, &p->sizes, &p->params));
  if (in->mask) {
    HEED__TRY(broadcast_mask(op, in->mask, &p->sizes, &p->mask_view));
    p->mask = &p->mask_view;
  }
  return check_kv_lengths(op, in->kv_lengths, p->sizes.b);
}

// Without keys no row attends anything.
static heed_status nothing_to_attend(heed_tensor *out, heed_tensor *lse) {
  HEED__TRY(heed_fill(out, 0));
  return lse ? heed_fill(lse, -(double)INFINITY) : HEED_OK;
}

heed_status heed_attention_fwd(const heed_attention_inputs *in, const heed_attention_options *options, heed_tensor *out,
                               heed_tensor *lse, heed_tensor *weights) {
  static const char op[] = "attention_fwd";
  HEED__REQUIRE(in, HEED_ERROR_INVALID_ARGUMENT, "%s: inputs is NULL", op);
  heed_context *ctx;
  const unsigned input = HEED__FLOAT | HEED__STRIDED, optional = HEED__OPTIONAL;
  HEED__CHECK_ARGS(op, &ctx, {"q", in->q, input}, {"k", in->k, input}, {"v", in->v, input},
                   {"past_k", in->past_k, input | optional}, {"past_v", in->past_v, input | optional},
                   {"mask", in->mask, HEED__STRIDED | optional}, {"kv_lengths", in->kv_lengths, optional},
                   {"out", out, input | HEED__OUT}, {"lse", lse, HEED__IS_F32 | optional | HEED__OUT},
                   {"weights", weights, HEED__FLOAT | optional | HEED__OUT});
  struct prepared p = {0};
  HEED__TRY(prepare(op, in, options, &p));
  const struct sizes *s = &p.sizes;
  HEED__TRY(check_dims(op, "out", out, s->b, s->hq, s->lq, s->dv));
  HEED__TRY(check_dims(op, "weights", weights, s->b, s->hq, s->lq, s->lk));
  HEED__REQUIRE(!lse || (lse->rank == 3 && lse->dims[0] == s->b && lse->dims[1] == s->hq && lse->dims[2] == s->lq),
                HEED_ERROR_SHAPE, "%s: lse is %s; with these inputs it must be %s", op, heed__tensor_text(lse),
                heed__dims_text(3, (const int64_t[]){s->b, s->hq, s->lq}));
  HEED__REQUIRE(!weights || p.params.path != HEED_PATH_FUSED, HEED_ERROR_UNSUPPORTED,
                "%s: the fused path never forms the weights; take staged or auto", op);
  if (out->count == 0) return HEED_OK;
  if (s->lk == 0) return nothing_to_attend(out, lse);
  heed_status status = join(op, in->past_k, in->k, &p.k);
  if (status == HEED_OK) status = join(op, in->past_v, in->v, &p.v);
  if (status == HEED_OK)
    status = heed__dispatch(ctx, &(struct heed__call){
                                     .op = HEED__OP_attention_fwd,
                                     .in = {[HEED__attention_fwd_q] = in->q,
                                            [HEED__attention_fwd_k] = p.k.tensor,
                                            [HEED__attention_fwd_v] = p.v.tensor,
                                            [HEED__attention_fwd_mask] = p.mask,
                                            [HEED__attention_fwd_kv_lengths] = in->kv_lengths},
                                     .out = {[HEED__attention_fwd_out] = out,
                                             [HEED__attention_fwd_lse] = lse,
                                             [HEED__attention_fwd_weights] = weights},
                                     .params = &p.params,
                                 });
  heed_tensor_destroy(p.k.owned);
  heed_tensor_destroy(p.v.owned);
  return status;
}

// Without a query or without a key every gradient is 0.
static heed_status nothing_to_differentiate(const heed_attention_grads *g) {
  heed_tensor *const all[] = {g->dq, g->dk, g->dv, g->dpast_k, g->dpast_v, g->dmask};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
    if (all[i]) HEED__TRY(heed_fill(all[i], 0));
  return HEED_OK;
}

// The gradient of keys or values with a past: one tensor for the backend, which is then split into the caller's two.
static heed_status split_begin(const char *op, const struct joined *joined, const heed_tensor *past, heed_tensor *dpast,
                               heed_tensor *dnew, struct joined *out) {
  *out = (struct joined){.tensor = dnew};
  if (!past || (!dpast && !dnew)) return HEED_OK;
  HEED__TRY(create_named(op, past->ctx, past->dtype, joined->tensor->dims, &out->owned));
  out->tensor = out->owned;
  return HEED_OK;
}

static heed_status split_end(const struct joined *whole, const heed_tensor *past, heed_tensor *dpast,
                             heed_tensor *dnew) {
  if (!whole->owned) return HEED_OK;
  struct heed_tensor part;
  if (dpast) {
    heed__view_init(&part, whole->owned, 4, dpast->dims, whole->owned->strides, 0);
    HEED__TRY(heed_copy(&part, dpast));
  }
  if (!dnew) return HEED_OK;
  heed__view_init(&part, whole->owned, 4, dnew->dims, whole->owned->strides, past->dims[2] * past->dims[3]);
  return heed_copy(&part, dnew);
}

static heed_status check_grads(const char *op, const heed_attention_inputs *in, const heed_attention_grads *g) {
  struct {
    const char *name;
    const heed_tensor *grad, *of;
  } pairs[] = {{"dq", g->dq, in->q},
               {"dk", g->dk, in->k},
               {"dv", g->dv, in->v},
               {"dpast_k", g->dpast_k, in->past_k},
               {"dpast_v", g->dpast_v, in->past_v},
               {"dmask", g->dmask, in->mask}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; ++i) {
    if (!pairs[i].grad) continue;
    HEED__REQUIRE(pairs[i].of, HEED_ERROR_INVALID_ARGUMENT, "%s: %s is asked for, but that input is not given", op,
                  pairs[i].name);
    HEED__REQUIRE(heed__same_shape(pairs[i].grad, pairs[i].of), HEED_ERROR_SHAPE,
                  "%s: %s is %s; it must have the shape %s", op, pairs[i].name, heed__tensor_text(pairs[i].grad),
                  heed__tensor_text(pairs[i].of));
    if (i < 5) HEED__TRY(check_rank4(op, pairs[i].name, pairs[i].grad));
  }
  HEED__REQUIRE(!g->dmask || (heed_dtype_is_float(in->mask->dtype) && g->dmask->dtype == in->mask->dtype),
                HEED_ERROR_DTYPE, "%s: dmask is %s; only a floating-point mask has a gradient, of its own dtype", op,
                heed__tensor_text(g->dmask));
  return HEED_OK;
}

// The forward's results, and the gradients that the caller wants.
static heed_status check_results(const char *op, const heed_attention_inputs *in, const struct prepared *p,
                                 const heed_tensor *out, const heed_tensor *lse, const heed_tensor *dout,
                                 const heed_attention_grads *grads) {
  const struct sizes *s = &p->sizes;
  HEED__TRY(check_dims(op, "out", out, s->b, s->hq, s->lq, s->dv));
  HEED__TRY(check_dims(op, "dout", dout, s->b, s->hq, s->lq, s->dv));
  HEED__REQUIRE(lse->rank == 3 && lse->dims[0] == s->b && lse->dims[1] == s->hq && lse->dims[2] == s->lq,
                HEED_ERROR_SHAPE, "%s: lse is %s; with these inputs it must be %s", op, heed__tensor_text(lse),
                heed__dims_text(3, (const int64_t[]){s->b, s->hq, s->lq}));
  HEED__TRY(check_grads(op, in, grads));
  HEED__REQUIRE(!grads->dmask || p->params.path != HEED_PATH_FUSED, HEED_ERROR_UNSUPPORTED,
                "%s: the fused path has no gradient of the mask; take staged or auto", op);
  return HEED_OK;
}

heed_status heed_attention_bwd(const heed_attention_inputs *in, const heed_attention_options *options,
                               const heed_tensor *out, const heed_tensor *lse, const heed_tensor *dout,
                               const heed_attention_grads *grads) {
  static const char op[] = "attention_bwd";
  HEED__REQUIRE(in && grads, HEED_ERROR_INVALID_ARGUMENT, "%s: an argument is NULL", op);
  heed_context *ctx;
  const unsigned input = HEED__FLOAT | HEED__STRIDED, optional = HEED__OPTIONAL, grad = input | optional | HEED__OUT;
  HEED__CHECK_ARGS(op, &ctx, {"q", in->q, input}, {"k", in->k, input}, {"v", in->v, input},
                   {"past_k", in->past_k, input | optional}, {"past_v", in->past_v, input | optional},
                   {"mask", in->mask, HEED__STRIDED | optional}, {"kv_lengths", in->kv_lengths, optional},
                   {"out", out, input}, {"lse", lse, HEED__IS_F32}, {"dout", dout, input}, {"dq", grads->dq, grad},
                   {"dk", grads->dk, grad}, {"dv", grads->dv, grad}, {"dpast_k", grads->dpast_k, grad},
                   {"dpast_v", grads->dpast_v, grad}, {"dmask", grads->dmask, optional | HEED__OUT});
  struct prepared p = {0};
  HEED__TRY(prepare(op, in, options, &p));
  const struct sizes *s = &p.sizes;
  HEED__TRY(check_results(op, in, &p, out, lse, dout, grads));
  if (out->count == 0 || s->lk == 0) return nothing_to_differentiate(grads);
  struct heed_tensor dmask4;
  if (grads->dmask) {
    int64_t dims[4] = {1, 1, 1, 1};
    memcpy(dims + 4 - in->mask->rank, in->mask->dims, (size_t)in->mask->rank * sizeof *dims);
    heed__reshape_init(&dmask4, grads->dmask, 4, dims);
  }
  struct joined dk = {0}, dv = {0};
  heed_status status;
  HEED__TRY_TO(done, status, join(op, in->past_k, in->k, &p.k));
  HEED__TRY_TO(done, status, join(op, in->past_v, in->v, &p.v));
  HEED__TRY_TO(done, status, split_begin(op, &p.k, in->past_k, grads->dpast_k, grads->dk, &dk));
  HEED__TRY_TO(done, status, split_begin(op, &p.v, in->past_v, grads->dpast_v, grads->dv, &dv));
  HEED__TRY_TO(done, status,
               heed__dispatch(ctx, &(struct heed__call){
                                       .op = HEED__OP_attention_bwd,
                                       .in = {[HEED__attention_bwd_q] = in->q,
                                              [HEED__attention_bwd_k] = p.k.tensor,
                                              [HEED__attention_bwd_v] = p.v.tensor,
                                              [HEED__attention_bwd_mask] = p.mask,
                                              [HEED__attention_bwd_kv_lengths] = in->kv_lengths,
                                              [HEED__attention_bwd_out] = out,
                                              [HEED__attention_bwd_lse] = lse,
                                              [HEED__attention_bwd_dout] = dout},
                                       .out = {[HEED__attention_bwd_dq] = grads->dq,
                                               [HEED__attention_bwd_dk] = (heed_tensor *)dk.tensor,
                                               [HEED__attention_bwd_dv] = (heed_tensor *)dv.tensor,
                                               [HEED__attention_bwd_dmask] = grads->dmask ? &dmask4 : NULL},
                                       .params = &p.params,
                                   }));
  HEED__TRY_TO(done, status, split_end(&dk, in->past_k, grads->dpast_k, grads->dk));
  HEED__TRY_TO(done, status, split_end(&dv, in->past_v, grads->dpast_v, grads->dv));
done:
  heed_tensor_destroy(p.k.owned);
  heed_tensor_destroy(p.v.owned);
  heed_tensor_destroy(dk.owned);
  heed_tensor_destroy(dv.owned);
  return status;
}
