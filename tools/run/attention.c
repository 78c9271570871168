// heed run attention, and the options that mha shares with it.
#include <stdlib.h>
#include <string.h>

#include "run/run.h"

// In the order of heed_causal, heed_attention_path and, after "none", heed_attention_weights.
const char *const run_causal_names[] = {"none", "top-left", "bottom-right", NULL};
const char *const run_path_names[] = {"auto", "staged", "fused", NULL};
const char *const run_weights_names[] = {"none", "softmax", "raw", "softcap", "masked", NULL};

static bool read_window(const char *text, int64_t *left, int64_t *right) {
  char part[24];
  const char *colon = strchr(text, ':');
  if (!colon || (size_t)(colon - text) >= sizeof part) return false;
  snprintf(part, sizeof part, "%.*s", (int)(colon - text), text);
  return tool_read_integer(part, left) && tool_read_integer(colon + 1, right) && *left >= -1 && *right >= -1;
}

int run_attention_options(const run_call *run, heed_attention_options *options) {
  const run_settings *settings = &run->settings;
  *options =
      (heed_attention_options){.causal = (heed_causal)settings->causal,
                               .has_scale = tool_given(run->args, "scale"),
                               .scale = settings->scale,
                               .softcap = settings->softcap,
                               .dropout = settings->dropout,
                               .seed = settings->seed,
                               .path = (heed_attention_path)settings->path,
                               .weights = (heed_attention_weights)(settings->weights ? settings->weights - 1 : 0),
                               .has_window = settings->window != NULL};
  if (settings->window && !read_window(settings->window, &options->window_left, &options->window_right))
    return tool_usage(run->args->command,
                      "--window %s: must be L:R, two whole numbers of at least 0, or -1 for no bound",
                      settings->window);
  return TOOL_DONE;
}

int run_create_mask_grad(run_call *run, const heed_tensor *mask, heed_tensor **out) {
  *out = NULL;
  if (!mask || !heed_dtype_is_float(heed_tensor_dtype(mask))) return TOOL_DONE;
  if (run->settings.path == HEED_PATH_FUSED) {
    tool_note(run->args, "%s: grad.mask is left out: the fused path does not compute it (--path staged does)", run->op);
    return TOOL_DONE;
  }
  return run_create_like(run, mask, out);
}

// A tensor as it is in the file, and the same storage as [batch, heads, length, width].
typedef struct headed {
  heed_tensor *stored, *view;
} headed;

// Makes a view of rank 3 [B, L, H*D] as [B, H, L, D] by strides; rank 4 has this form already.
static int see_heads(run_call *run, const char *name, int64_t heads, headed *tensor) {
  tensor->view = tensor->stored;
  if (!tensor->stored || heed_tensor_rank(tensor->stored) == 4) return TOOL_DONE;
  const int64_t *dims = heed_tensor_dims(tensor->stored);
  if (dims[2] % heads != 0)
    return tool_fail(run->args->command, "attention: the last axis of %s, %lld, is not a multiple of its %lld heads",
                     name, (long long)dims[2], (long long)heads);
  heed_tensor *split = NULL;
  RUN_TRY(run,
          heed_tensor_reshape(tensor->stored, 4, (const int64_t[]){dims[0], dims[1], heads, dims[2] / heads}, &split));
  TOOL_TRY(run_own(run, split));
  RUN_TRY(run, heed_tensor_permute(split, (const int[]){0, 2, 1, 3}, &tensor->view));
  return run_own(run, tensor->view);
}

typedef struct attention {
  int rank;  // of q, k and v; the past may be of the other, as in ONNX
  headed q, k, v, past_k, past_v, out;
  heed_tensor *mask, *kv_lengths, *lse, *weights;
  heed_attention_options options;
} attention;

static int view_headed(run_call *run, const char *name, int64_t heads, headed *tensor) {
  const int rank = heed_tensor_rank(tensor->stored);
  if (rank != 3 && rank != 4)
    return tool_fail(run->args->command,
                     "attention: %s is %s; it must be of rank 4 [B, H, L, D], or 3 [B, L, H*D] with --heads", name,
                     heed_tensor_describe(tensor->stored));
  if (rank == 3 && heads == 0)
    return tool_usage(run->args->command, "attention: %s is %s, of rank 3: give --heads", name,
                      heed_tensor_describe(tensor->stored));
  if (rank == 4 && heads && heed_tensor_dim(tensor->stored, 1) != heads)
    return tool_fail(run->args->command,
                     "attention: %s is %s, which does not have %lld heads; check --heads and --kv-heads", name,
                     heed_tensor_describe(tensor->stored), (long long)heads);
  return see_heads(run, name, heads, tensor);
}

// q, k or v; the first of them decides the rank of all.
static int read_new(run_call *run, attention *a, const char *name, int64_t heads, headed *tensor) {
  TOOL_TRY(run_input(run, name, &tensor->stored));
  const int rank = heed_tensor_rank(tensor->stored);
  if (a->rank != 0 && rank != a->rank)
    return tool_fail(run->args->command, "attention: %s is %s, but q is of rank %d; q, k and v must be of one rank",
                     name, heed_tensor_describe(tensor->stored), a->rank);
  a->rank = rank;
  return view_headed(run, name, heads, tensor);
}

static int read_past(run_call *run, const char *name, int64_t heads, headed *tensor) {
  TOOL_TRY(run_optional(run, name, &tensor->stored));
  return tensor->stored ? view_headed(run, name, heads, tensor) : TOOL_DONE;
}

static int read_inputs(run_call *run, attention *a) {
  const int64_t heads = run->settings.heads;
  int64_t kv_heads = run->settings.kv_heads;
  TOOL_TRY(run_attention_options(run, &a->options));
  TOOL_TRY(read_new(run, a, "q", heads, &a->q));
  if (kv_heads == 0 && a->rank == 3) kv_heads = heads;
  TOOL_TRY(read_new(run, a, "k", kv_heads, &a->k));
  TOOL_TRY(read_new(run, a, "v", kv_heads, &a->v));
  if (kv_heads == 0) kv_heads = heed_tensor_dim(a->k.view, 1);
  TOOL_TRY(read_past(run, "past_k", kv_heads, &a->past_k));
  TOOL_TRY(read_past(run, "past_v", kv_heads, &a->past_v));
  TOOL_TRY(run_optional(run, "mask", &a->mask));
  TOOL_TRY(run_check_lengths(run, heed_tensor_dim(a->k.view, 2)));
  return run_optional(run, "kv_lengths", &a->kv_lengths);
}

static int create_outputs(run_call *run, attention *a) {
  const int64_t *q = heed_tensor_dims(a->q.view);
  const int64_t width = heed_tensor_dim(a->v.view, 3);
  const int64_t keys = heed_tensor_dim(a->k.view, 2) + (a->past_k.view ? heed_tensor_dim(a->past_k.view, 2) : 0);
  const heed_dtype dtype = heed_tensor_dtype(a->q.stored);
  const int64_t rank4[] = {q[0], q[1], q[2], width}, rank3[] = {q[0], q[2], q[1] * width};
  TOOL_TRY(run_create(run, dtype, a->rank, a->rank == 4 ? rank4 : rank3, &a->out.stored));
  TOOL_TRY(see_heads(run, "out", q[1], &a->out));
  TOOL_TRY(run_create(run, HEED_F32, 3, q, &a->lse));
  if (run->settings.weights || run->settings.plot)
    TOOL_TRY(run_create(run, dtype, 4, (const int64_t[]){q[0], q[1], q[2], keys}, &a->weights));
  return TOOL_DONE;
}

static int create_grad(run_call *run, const headed *input, headed *grad) {
  if (!input->stored) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, input->stored, &grad->stored));
  return see_heads(run, "gradient", heed_tensor_dim(input->view, 1), grad);
}

static int backward(run_call *run, const attention *a, const heed_attention_inputs *inputs, headed *dout) {
  headed dq = {0}, dk = {0}, dv = {0}, dpast_k = {0}, dpast_v = {0};
  heed_tensor *dmask = NULL;
  TOOL_TRY(see_heads(run, "grad.out", heed_tensor_dim(a->q.view, 1), dout));
  TOOL_TRY(create_grad(run, &a->q, &dq));
  TOOL_TRY(create_grad(run, &a->k, &dk));
  TOOL_TRY(create_grad(run, &a->v, &dv));
  TOOL_TRY(create_grad(run, &a->past_k, &dpast_k));
  TOOL_TRY(create_grad(run, &a->past_v, &dpast_v));
  TOOL_TRY(run_create_mask_grad(run, a->mask, &dmask));
  const heed_attention_grads grads = {dq.view, dk.view, dv.view, dpast_k.view, dpast_v.view, dmask};
  RUN_TRY(run, heed_attention_bwd(inputs, &a->options, a->out.view, a->lse, dout->view, &grads));
  TOOL_TRY(run_write(run, "grad.q", dq.stored));
  TOOL_TRY(run_write(run, "grad.k", dk.stored));
  TOOL_TRY(run_write(run, "grad.v", dv.stored));
  TOOL_TRY(run_write(run, "grad.past_k", dpast_k.stored));
  TOOL_TRY(run_write(run, "grad.past_v", dpast_v.stored));
  return run_write(run, "grad.mask", dmask);
}

// The keys or values that the next call has for its past: [B, Hkv, Lp + Lk, D or Dv].
static int write_present(run_call *run, const char *name, const headed *past, const headed *new) {
  const heed_tensor *const parts[] = {past->view, new->view};
  const int64_t *dims = heed_tensor_dims(new->view);
  const int64_t past_length = past->view ? heed_tensor_dim(past->view, 2) : 0;
  heed_tensor *present = NULL;
  TOOL_TRY(run_create(run, heed_tensor_dtype(new->view), 4,
                      (const int64_t[]){dims[0], dims[1], past_length + dims[2], dims[3]}, &present));
  int64_t start = 0;
  for (int i = 0; i < 2; i++) {
    if (!parts[i]) continue;
    heed_tensor *part = NULL;
    const int64_t length = heed_tensor_dim(parts[i], 2);
    RUN_TRY(run, heed_tensor_slice(present, 2, start, length, &part));
    TOOL_TRY(run_own(run, part));
    RUN_TRY(run, heed_copy(parts[i], part));
    start += length;
  }
  return run_write(run, name, present);
}

static int call(run_call *run) {
  attention a = {0};
  TOOL_TRY(read_inputs(run, &a));
  TOOL_TRY(create_outputs(run, &a));
  headed dout = {0};
  TOOL_TRY(run_optional_like(run, "grad.out", "out", a.out.stored, &dout.stored));
  const heed_attention_inputs inputs = {.q = a.q.view,
                                        .k = a.k.view,
                                        .v = a.v.view,
                                        .mask = a.mask,
                                        .kv_lengths = a.kv_lengths,
                                        .past_k = a.past_k.view,
                                        .past_v = a.past_v.view};
  RUN_TRY(run, heed_attention_fwd(&inputs, &a.options, a.out.view, a.lse, a.weights));
  TOOL_TRY(run_write(run, "out", a.out.stored));
  TOOL_TRY(run_write(run, "lse", a.lse));
  if (run->settings.weights) TOOL_TRY(run_write(run, "weights", a.weights));
  if (run->settings.plot) TOOL_TRY(run_plot_attention(run, a.weights));
  if (run->settings.present) {
    TOOL_TRY(write_present(run, "present_k", &a.past_k, &a.k));
    TOOL_TRY(write_present(run, "present_v", &a.past_v, &a.v));
  }
  return dout.stored ? backward(run, &a, &inputs, &dout) : TOOL_DONE;
}

static const tool_option options[] = {
    TOOL_OPTION_INTEGER("heads", run_settings, heads, 1, TOOL_MAX_COUNT, "at least 1",
                        "query heads; needed if q has rank 3"),
    TOOL_OPTION_INTEGER("kv-heads", run_settings, kv_heads, 1, TOOL_MAX_COUNT, "at least 1",
                        "key and value heads; must divide --heads (default: --heads)"),
    RUN_ATTENTION_OPTIONS,
    TOOL_OPTION_FLAG("present", run_settings, present,
                     "also write present_k and present_v: past and new keys and values"),
    {.name = "plot",
     .kind = TOOL_TEXT,
     .offset = offsetof(run_settings, plot),
     .argument = "FILE",
     .unrecorded = true,
     .help =
         "draw the weights of the first batch; FILE ends in .svg or .png, or is svg:- or png:- for standard output"},
};

static const run_name attention_names[] = {{"q", "Q"},
                                           {"q", "query"},
                                           {"k", "K"},
                                           {"k", "key"},
                                           {"v", "V"},
                                           {"v", "value"},
                                           {"mask", "attn_mask"},
                                           {"kv_lengths", "nonpad_kv_seqlen"},
                                           {"past_k", "past_key"},
                                           {"past_v", "past_value"},
                                           {"grad.out", NULL},
                                           {0}};

static const run_hint attention_hints[] = {
    {"attention_mask", "as mask it is BOOL [B, 1, 1, Lk], true for the keys to attend"},
    {"key_padding_mask", "negate it, make it [B, 1, 1, Lk] and call it mask, in which true means attend"},
    {"seqlens_k", "add 1 and call it kv_lengths, which counts the keys"},
    {"present_key", "it is a result; the keys of calls before are past_k, and --present writes present_k"},
    {"present_value", "it is a result; the values of calls before are past_v, and --present writes present_v"},
    {"scale", "give the number with --scale"},
    {0}};

const run_op run_attention = {
    .name = "attention",
    .summary = "softmax(softcap(scale q k^T) + mask) v, for each head",
    .tensors =
        "In:  q [B,Hq,Lq,D]  k [B,Hkv,Lk,D]\n"
        "     v [B,Hkv,Lk,Dv], or each of rank 3 [B,L,H*D] with --heads\n"
        "     mask (BOOL: true means attend; float: added to the scores; broadcast to\n"
        "     [B,Hq,Lq,Lk])  kv_lengths [B]\n"
        "     past_k [B,Hkv,Lp,D] past_v [B,Hkv,Lp,Dv] (put before k and v; then Lk\n"
        "     counts both)  grad.out (asks for the gradients)\n"
        "Out: out (rank of q)  lse [B,Hq,Lq]  weights [B,Hq,Lq,Lk]\n"
        "     present_k [B,Hkv,Lk,D]  present_v [B,Hkv,Lk,Dv]\n"
        "     grad.NAME for q, k, v, past_k, past_v and a float mask, of its shape",
    .names = attention_names,
    .hints = attention_hints,
    RUN_OPTIONS(options),
    .uses = HEED_USES_ATTENTION,
    .function = call,
};
