// heed run mha: the module; it takes the widths from the weights.
#include <heed/nn.h>
#include <string.h>

#include "run/run.h"

typedef struct mha {
  heed_mha *module;
  heed_tensor *query, *key, *value, *mask, *kv_lengths, *out, *weights;
  heed_attention_options options;
} mha;

// Reads [out, in] from a projection's weight in the file.
static int read_projection(run_call *run, const char *name, int64_t dims[2], heed_dtype *dtype) {
  heed_tensor *weight = NULL;
  TOOL_TRY(run_input(run, name, &weight));
  if (heed_tensor_rank(weight) != 2 || !heed_dtype_is_float(heed_tensor_dtype(weight)))
    return tool_fail(run->args->command, "mha: %s is %s; it must be a floating-point [out, in]", name,
                     heed_tensor_describe(weight));
  memcpy(dims, heed_tensor_dims(weight), 2 * sizeof *dims);
  *dtype = heed_tensor_dtype(weight);
  return TOOL_DONE;
}

static int divide(const run_call *run, const char *name, int64_t rows, int64_t heads, int64_t *width) {
  if (rows == 0 || rows % heads != 0)
    return tool_fail(run->args->command, "mha: the rows of %s, %lld, are not a multiple of its %lld heads", name,
                     (long long)rows, (long long)heads);
  *width = rows / heads;
  return TOOL_DONE;
}

static int derive_config(run_call *run, heed_mha_config *config) {
  const run_settings *settings = &run->settings;
  if (settings->heads == 0) return tool_usage(run->args->command, "mha: give the number of --heads");
  const int64_t kv_heads = settings->kv_heads ? settings->kv_heads : settings->heads;
  int64_t q[2], k[2], v[2], o[2], key_width = 0;
  TOOL_TRY(read_projection(run, "q_proj.weight", q, &config->dtype));
  TOOL_TRY(read_projection(run, "k_proj.weight", k, &config->dtype));
  TOOL_TRY(read_projection(run, "v_proj.weight", v, &config->dtype));
  TOOL_TRY(read_projection(run, "o_proj.weight", o, &config->dtype));
  TOOL_TRY(divide(run, "q_proj.weight", q[0], settings->heads, &config->head_dim));
  TOOL_TRY(divide(run, "k_proj.weight", k[0], kv_heads, &key_width));
  TOOL_TRY(divide(run, "v_proj.weight", v[0], kv_heads, &config->value_head_dim));
  if (key_width != config->head_dim)
    return tool_fail(
        run->args->command,
        "mha: q_proj.weight makes heads of width %lld, but k_proj.weight of %lld; check --heads and --kv-heads",
        (long long)config->head_dim, (long long)key_width);
  if (o[1] != settings->heads * config->value_head_dim)
    return tool_fail(run->args->command,
                     "mha: o_proj.weight has %lld columns, which do not fit %lld heads of width %lld", (long long)o[1],
                     (long long)settings->heads, (long long)config->value_head_dim);
  config->embed_dim = q[1];
  config->key_dim = k[1];
  config->value_dim = v[1];
  config->out_dim = o[0];
  config->heads = settings->heads;
  config->kv_heads = kv_heads;
  config->no_bias_q = !run_has(run, "q_proj.bias");
  config->no_bias_k = !run_has(run, "k_proj.bias");
  config->no_bias_v = !run_has(run, "v_proj.bias");
  config->no_bias_o = !run_has(run, "o_proj.bias");
  return TOOL_DONE;
}

// The rows of a tensor of nn.MultiheadAttention that has those of the three projections below each other, under heed's names.
static int split_projections(run_call *run, const char *joined, const char *part) {
  const heed_array *array = heed_safetensors_find(run->in, joined);
  if (!array) return TOOL_DONE;
  const int rank = array->rank;
  char text[TOOL_SHAPE_TEXT];
  if (rank < 1 || array->dims[0] % 3 != 0)
    return tool_fail(run->args->command, "mha: %s is %s%s; its rows must be those of q, k and v, each a third", joined,
                     heed_dtype_string(array->dtype), tool_shape_text(rank, array->dims, text));
  int64_t dims[HEED_MAX_RANK];
  memcpy(dims, array->dims, (size_t)rank * sizeof *dims);
  dims[0] /= 3;
  const heed_dtype dtype = array->dtype;
  const char *data = array->data;
  const size_t bytes = array->bytes / 3;
  for (size_t i = 0; i < 3; i++) {
    char name[32];
    snprintf(name, sizeof name, "%c_proj.%s", "qkv"[i], part);
    if (run_has(run, name))
      return tool_fail(run->args->command, "mha: %s has both '%s' and '%s', which mean the same; leave out one of them",
                       run_file(run), joined, name);
    RUN_TRY(run, heed_safetensors_add(run->in, name, dtype, rank, dims, data + i * bytes));
  }
  return TOOL_DONE;
}

// PyTorch's scaled_dot_product_attention and ONNX mean by true what heed means; nn.MultiheadAttention means the opposite. Its masks of
// rank 3 are [batch * heads, Lq, Lk], which for one batch is heed's [heads, Lq, Lk].
static int check_mask(const run_call *run) {
  const heed_array *mask = heed_safetensors_find(run->in, "attn_mask"), *query = run_find(run, "query");
  if (!mask) return TOOL_DONE;
  if (mask->dtype == HEED_BOOL)
    return tool_fail(
        run->args->command,
        "mha: attn_mask is BOOL, and nn.MultiheadAttention means by true that a query must not attend a key; "
        "negate it and call it mask, in which true means attend");
  const int64_t heads = run->settings.heads;
  char text[TOOL_SHAPE_TEXT];
  if (mask->rank != 3 || !query || query->rank != 3 || query->dims[0] < 2 || heads == 0 || mask->dims[0] % heads != 0 ||
      mask->dims[0] / heads != query->dims[0])
    return TOOL_DONE;
  return tool_fail(run->args->command,
                   "mha: attn_mask is %s%s, [batch * heads, Lq, Lk]; reshape it to "
                   "[batch, heads, Lq, Lk]",
                   heed_dtype_string(mask->dtype), tool_shape_text(3, mask->dims, text));
}

static int load_parameters(run_call *run, const heed_mha *module) {
  const heed_parameter *parameters;
  const size_t count = heed_mha_parameters(module, &parameters);
  for (size_t i = 0; i < count; i++) {
    heed_tensor *from = NULL;
    TOOL_TRY(run_optional_like(run, parameters[i].name, "the shape that fits the other projections",
                               parameters[i].value, &from));
    RUN_TRY(run, heed_copy(from, parameters[i].value));
  }
  return TOOL_DONE;
}

static int read_sequences(run_call *run, const heed_mha_config *config, mha *m) {
  TOOL_TRY(run_input(run, "query", &m->query));
  TOOL_TRY(run_optional(run, "key", &m->key));
  TOOL_TRY(run_optional(run, "value", &m->value));
  TOOL_TRY(run_optional(run, "mask", &m->mask));
  TOOL_TRY(run_optional(run, "kv_lengths", &m->kv_lengths));
  if (m->value && !m->key) return tool_fail(run->args->command, "mha: %s has a value but no key", run_file(run));
  const struct {
    const char *name;
    const heed_tensor *tensor;
    int64_t width;
  } sequences[] = {{"query", m->query, config->embed_dim},
                   {"key", m->key ? m->key : m->query, config->key_dim},
                   {"value",
                    m->value ? m->value
                    : m->key ? m->key
                             : m->query,
                    config->value_dim}};
  for (int i = 0; i < 3; i++)
    if (heed_tensor_rank(sequences[i].tensor) != 3 || heed_tensor_dim(sequences[i].tensor, 2) != sequences[i].width)
      return tool_fail(run->args->command, "mha: %s is %s; with these weights it must be [batch, length, %lld]",
                       sequences[i].name, heed_tensor_describe(sequences[i].tensor), (long long)sequences[i].width);
  return TOOL_DONE;
}

static int backward(run_call *run, mha *m, const heed_tensor *dout) {
  heed_tensor *dquery, *dkey, *dvalue, *dmask;
  TOOL_TRY(run_create_like(run, m->query, &dquery));
  TOOL_TRY(run_create_like(run, m->key, &dkey));
  TOOL_TRY(run_create_like(run, m->value, &dvalue));
  TOOL_TRY(run_create_mask_grad(run, m->mask, &dmask));
  RUN_TRY(run, heed_mha_bwd(m->module, dout, dquery, dkey, dvalue, dmask, false));
  TOOL_TRY(run_write(run, "grad.query", dquery));
  TOOL_TRY(run_write(run, "grad.key", dkey));
  TOOL_TRY(run_write(run, "grad.value", dvalue));
  TOOL_TRY(run_write(run, "grad.mask", dmask));
  const heed_parameter *parameters;
  const size_t count = heed_mha_parameters(m->module, &parameters);
  for (size_t i = 0; i < count; i++) TOOL_TRY(run_write_grad(run, parameters[i].name, parameters[i].grad));
  return TOOL_DONE;
}

static int forward_backward(run_call *run, const heed_mha_config *config, mha *m) {
  TOOL_TRY(load_parameters(run, m->module));
  TOOL_TRY(read_sequences(run, config, m));
  const int64_t *query = heed_tensor_dims(m->query);
  const int64_t keys = heed_tensor_dim(m->key ? m->key : m->query, 1);
  TOOL_TRY(run_check_lengths(run, keys));
  TOOL_TRY(run_create(run, config->dtype, 3, (const int64_t[]){query[0], query[1], config->out_dim}, &m->out));
  if (run->settings.weights)
    TOOL_TRY(
        run_create(run, config->dtype, 4, (const int64_t[]){query[0], config->heads, query[1], keys}, &m->weights));
  heed_tensor *dout = NULL;
  TOOL_TRY(run_optional_like(run, "grad.out", "out", m->out, &dout));
  const heed_mha_inputs inputs = {m->query, m->key, m->value, m->mask, m->kv_lengths};
  RUN_TRY(run, heed_mha_fwd(m->module, &inputs, &m->options, dout != NULL, m->out, m->weights));
  TOOL_TRY(run_write(run, "out", m->out));
  TOOL_TRY(run_write(run, "weights", m->weights));
  return dout ? backward(run, m, dout) : TOOL_DONE;
}

static int call(run_call *run) {
  mha m = {0};
  heed_mha_config config = {0};
  TOOL_TRY(run_attention_options(run, &m.options));
  TOOL_TRY(check_mask(run));
  TOOL_TRY(split_projections(run, "in_proj_weight", "weight"));
  TOOL_TRY(split_projections(run, "in_proj_bias", "bias"));
  TOOL_TRY(derive_config(run, &config));
  RUN_TRY(run, heed_mha_create(run->ctx, &config, 0, &m.module));
  const int status = forward_backward(run, &config, &m);
  heed_mha_destroy(m.module);
  return status;
}

static const tool_option options[] = {
    TOOL_OPTION_INTEGER("heads", run_settings, heads, 1, TOOL_MAX_COUNT, "at least 1", "query heads; required"),
    TOOL_OPTION_INTEGER("kv-heads", run_settings, kv_heads, 1, TOOL_MAX_COUNT, "at least 1",
                        "key and value heads; must divide --heads (default: --heads)"),
    RUN_ATTENTION_OPTIONS,
};

static const run_name mha_names[] = {{"query", NULL},
                                     {"key", NULL},
                                     {"value", NULL},
                                     {"mask", "attn_mask"},
                                     {"kv_lengths", NULL},
                                     {"q_proj.weight", "q_proj_weight"},
                                     {"k_proj.weight", "k_proj_weight"},
                                     {"v_proj.weight", "v_proj_weight"},
                                     {"o_proj.weight", "out_proj.weight"},
                                     {"q_proj.bias", NULL},
                                     {"k_proj.bias", NULL},
                                     {"v_proj.bias", NULL},
                                     {"o_proj.bias", "out_proj.bias"},
                                     {"in_proj_weight", NULL},
                                     {"in_proj_bias", NULL},
                                     {"grad.out", NULL},
                                     {0}};

static const run_hint mha_hints[] = {
    {"attention_mask", "as mask it is BOOL [B, 1, 1, Lk], true for the keys to attend"},
    {"key_padding_mask", "negate it, make it [B, 1, 1, Lk] and call it mask, in which true means attend"},
    {"bias_k", "heed adds no key to the keys (add_bias_kv)"},
    {"bias_v", "heed adds no value to the values (add_bias_kv)"},
    {0}};

const run_op run_mha = {
    .name = "mha",
    .summary = "multi-head attention, with projections of q, k, v and out",
    .tensors =
        "In:  query [B,Lq,E]  key [B,Lk,Ek] (default query)\n"
        "     value [B,Lk,Ev] (default key)  mask  kv_lengths [B]\n"
        "     {q,k,v,o}_proj.weight [out,in]\n"
        "     {q,k,v,o}_proj.bias [out] (each may be left out)\n"
        "     in_proj_weight in_proj_bias (those of q, k and v, one below the other)\n"
        "     grad.out (asks for the gradients)\n"
        "Out: out [B,Lq,out of o_proj]  weights [B,heads,Lq,Lk]\n"
        "     grad.NAME for every input that is floating-point",
    .names = mha_names,
    .hints = mha_hints,
    RUN_OPTIONS(options),
    .uses = HEED_USES_PRODUCTS | HEED_USES_ATTENTION,
    .function = call,
};
