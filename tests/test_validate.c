// Validation, and `heed check`: right kernels pass, and a small defect in any kernel file is caught, with operator and index.
#include <heed/tune.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cl/gemm/gemm.h"
#include "cl/runtime/sources.h"
#include "cases/case.h"
#include "support_files.h"
#include "support_listen.h"
#include "support_values.h"
#include "cli/tool.h"

// One word of a kernel file is changed. `op` names the cases that show it, `call` the operator that the message must begin with.
struct defect {
  const char *file, *from, *to, *op, *call;
  heed_attention_path path;  // forced on cases of attention
  enum {
    AS_IT_IS,
    AS_GPU,
    AS_SMALL_GPU,
    AS_GPU_IN_PARTS,
    AS_GPU_IN_FIVE
  } taken_for;  // a kernel that only devices of another class reach
};

static const struct defect defects[] = {
    {"ops/elementwise.cl", "1, min(count - i, share), (WORD)", "1, min(count - i, share), 1 + (WORD)", "fill", "fill",
     0, AS_IT_IS},
    {"ops/broadcast.cl", "alpha * A(i)", "2 * alpha * A(i)", "add", "add", 0, AS_IT_IS},
    {"ops/broadcast.cl", "A(i) * B(i)", "A(i) * -B(i)", "mul", "mul", 0, AS_IT_IS},
    {"ops/reduce.cl", "part += LOADV", "part -= LOADV", "reduce_sum", "reduce_sum", 0, AS_IT_IS},
    {"ops/reduce.cl", "VLOAD(sum + i) + VLOAD(part + i)", "VLOAD(sum + i) - VLOAD(part + i)", "reduce_sum",
     "reduce_sum", 0, AS_IT_IS},
    {"ops/dropout.cl", "word[w] >= threshold", "word[w] < threshold", "dropout", "dropout_", 0, AS_IT_IS},
    {"ops/elementwise.cl", "move_run(x + x_offset + i, 1", "move_run(x + x_offset + (i ^ 1), 1", "copy", "copy", 0,
     AS_IT_IS},
    {"ops/elementwise.cl", "STORE(Y_DTYPE, y, i * y_step, LOAD", "STORE(Y_DTYPE, y, i * y_step, -LOAD", "copy", "copy",
     0, AS_IT_IS},
    {"ops/elementwise.cl", "y, i, count, HEED_JOIN(", "y, i, count, -HEED_JOIN(", "copy", "copy", 0, AS_IT_IS},
    {"ops/elementwise.cl", "move_run(x + x_offset + PLACE(", "move_run(x + x_offset + 0 * PLACE(", "copy", "copy", 0,
     AS_IT_IS},
    {"ops/elementwise.cl", "PLACE(ys), ys4, length, (WORD)", "PLACE(ys), ys4, length, 1 + (WORD)", "fill", "fill", 0,
     AS_IT_IS},
    {"walk.cl", "c3 * (idx)x##3", "0 * (idx)x##3", "copy", "copy", 0, AS_IT_IS},
    {"ops/gather.cl", "scale * number_of(", "number_of(", "gather_rows", "gather_rows", 0, AS_IT_IS},
    {"ops/embedding.cl", "bits = VLOAD(from + i)", "bits = VLOAD(from + (i ^ 1))", "embedding", "embedding_fwd", 0,
     AS_IT_IS},
    {"ops/token_sort.cl", "(idx)(starts[digit] + rank)", "(idx)(starts[digit] + rank ^ 1)", "embedding",
     "embedding_bwd", 0, AS_IT_IS},
    {"ops/embedding_sum.cl", "const int side = begins_here", "const int side = 0", "embedding", "embedding_bwd", 0,
     AS_IT_IS},
    {"ops/argmax.cl", "rank > best_rank ||", "rank < best_rank ||", "argmax", "argmax", 0, AS_IT_IS},
    {"ops/relu.cl", "value < 0 ? (floatv)0 : value", "value < 0 ? 0.01f * value : value", "relu", "relu_fwd", 0,
     AS_IT_IS},
    {"ops/relu.cl", "> 0 ? slope : (floatv)0", "> 0 ? slope : (floatv)0.01f", "relu", "relu_bwd", 0, AS_IT_IS},
    {"gelu.cl", "#define CUBIC 0.044715f", "#define CUBIC 0.0447f", "gelu", "gelu_", 0, AS_IT_IS},
    {"gelu.cl", "INVERSE_SQRT_TWO_PI 0.398", "INVERSE_SQRT_TWO_PI 0.399", "gelu", "gelu_bwd", 0, AS_IT_IS},
    {"exp.cl", "4.999999404e-01f", "5.01e-01f", "softmax", "softmax_fwd", 0, AS_IT_IS},
    {"ops/silu.cl", "PUT(y, i, at * shares_of", "PUT(y, i, 1.001f * at * shares_of", "silu", "silu_", 0, AS_IT_IS},
    {"ops/silu.cl", "(1 + x * s.rest)", "(1 - x * s.rest)", "swiglu", "swiglu_bwd", 0, AS_IT_IS},
    {"ops/rope.cl", "b * cosine + a * sine", "b * cosine - a * sine", "rope", "rope_", 0, AS_IT_IS},
    {"ops/rope.cl", "*b = (floatv)(ODD(low)", "*b = (floatv)(EVEN(low)", "rope", "rope_", 0, AS_IT_IS},
    {"ops/softmax.cl", "GET_KEPT(i) * factor", "GET_KEPT(i) * factor + 1e-4f", "softmax", "softmax_fwd", 0, AS_IT_IS},
    {"ops/softmax.cl", "LOG ? shifted - factor", "LOG ? shifted + factor", "softmax", "softmax_fwd", 0, AS_IT_IS},
    {"ops/softmax.cl", "LOG ? dy - exp_flushed(y) * sum", "LOG ? dy - y * sum", "softmax", "softmax_bwd", 0, AS_IT_IS},
    {"exp.cl", "4.999999404e-01f", "5.01e-01f", "softmax", "softmax_", 0, AS_IT_IS},
    {"ops/cross_entropy.cl", "loss = -row_likelihood", "loss = 1.001f - row_likelihood", "cross_entropy",
     "cross_entropy_fwd", 0, AS_IT_IS},
    {"ops/cross_entropy.cl", "t *= LOADV(F32, p->class_weights", "t += LOADV(F32, p->class_weights", "cross_entropy",
     "cross_entropy_", 0, AS_IT_IS},
    {"ops/cross_entropy.cl", "row % p->step", "0 * (row % p->step)", "cross_entropy", "cross_entropy_", 0, AS_IT_IS},
    {"ops/cross_entropy.cl", "others - of_others", "others + of_others", "cross_entropy_fwd_bwd",
     "cross_entropy_fwd_bwd", 0, AS_IT_IS},
    {"ops/cross_entropy.cl", "label == p->ignored) return IGNORED", "label == p->ignored) return COUNTED",
     "cross_entropy", "cross_entropy_", 0, AS_IT_IS},
    {"ops/cross_entropy.cl", "if (mean) scale /= count[0]", "if (mean) scale /= count[0] + 1", "cross_entropy",
     "cross_entropy_bwd", 0, AS_IT_IS},
    {"ops/cross_entropy.cl", "= 1 / counted", "= 1 / (counted + 1)", "cross_entropy_share", "cross_entropy_share", 0,
     AS_IT_IS},
    {"ops/norm.cl", "value += GET(bias", "value -= GET(bias", "layer_norm", "layer_norm_fwd", 0, AS_IT_IS},
    {"ops/norm.cl", "GET(x, i, 0) + GET(addend", "GET(x, i, 0) - GET(addend", "rms_norm", "add_rms_norm_fwd", 0,
     AS_IT_IS},
    {"ops/norm.cl", "value += GET(residual", "value -= GET(residual", "rms_norm", "rms_norm_bwd", 0, AS_IT_IS},
    {"ops/norm.cl", "d.along_rest -= (", "d.along_rest += (", "rms_norm", "rms_norm_bwd", 0, AS_IT_IS},
    {"ops/norm.cl", "sum += part;", "sum += 1.001f * part;", "layer_norm", "layer_norm_bwd", 0, AS_GPU},
    {"ops/adamw.cl", "s->fresh2 * g", "s->fresh1 * g", "adamw", "adamw", 0, AS_IT_IS},
    {"ops/adamw.cl", "decaying[2 * middle + 1] > i", "decaying[2 * middle + 1] < i", "adamw", "adamw", 0, AS_GPU},
    {"ops/adamw.cl", "decays ? decay : 0", "decay", "adamw", "adamw", 0, AS_IT_IS},
    {"ops/grad_norm.cl", "value *value", "value", "clip_grad_norm", "clip_grad_norm", 0, AS_IT_IS},
    {"ops/grad_norm.cl", "norm + 1e-6f", "norm + 1", "clip_grad_norm", "clip_grad_norm", 0, AS_IT_IS},
    {"ops/grad_norm.cl", "before * growth", "before * backoff", "grad_control", "grad_control", 0, AS_IT_IS},
    {"ops/cross_entropy_narrow.cl", "loss -= select(", "loss += select(", "cross_entropy_fwd_bwd",
     "cross_entropy_fwd_bwd", 0, AS_IT_IS},
    {"ops/sgd.cl", "p - lr * g", "p + lr * g", "sgd", "sgd", 0, AS_IT_IS},
    {"ops/sqrt_sgd.cl", "-target)", "-1.001f * target)", "sqrt_sgd", "sqrt_sgd", 0, AS_IT_IS},
    {"attention/bounds.cl", "end_key(&reach, i)", "end_key(&reach, i + 1)", "attention", "attention_fwd",
     HEED_PATH_STAGED, AS_IT_IS},
    {"attention/pack.cl", "inside ? LOAD(", "inside ? 1.001f * LOAD(", "attention", "attention_fwd", HEED_PATH_STAGED,
     AS_IT_IS},
    {"attention/score.cl", "floatv x = scale * ", "floatv x = 1.001f * scale * ", "attention", "attention_fwd",
     HEED_PATH_STAGED, AS_IT_IS},
    {"attention/mask.cl", "mask[at] ?", "!mask[at] ?", "attention", "attention_fwd", HEED_PATH_STAGED, AS_IT_IS},
    {"attention/mask.cl", "s[start + j] + bias", "s[start + j] - bias", "attention", "attention_fwd", HEED_PATH_STAGED,
     AS_IT_IS},
    {"attention/mask.cl", "+ at] = sum", "+ at] = 0.5f * sum", "attention", "attention_bwd", HEED_PATH_STAGED,
     AS_IT_IS},
    {"attention/softmax.cl", "shift + log(sum)", "shift - log(sum)", "attention", "attention_fwd", HEED_PATH_STAGED,
     AS_IT_IS},
    {"attention/softmax.cl", "- delta)", "+ delta)", "attention", "attention_bwd", HEED_PATH_STAGED, AS_IT_IS},
    {"attention/softmax.cl", "random >= threshold", "random <= threshold", "attention", "attention_fwd",
     HEED_PATH_STAGED, AS_IT_IS},
    {"attention/softmax.cl", "p[row * chunk.pitch + j] : outside", "p[row * chunk.pitch + j] : 0", "attention",
     "attention_fwd", HEED_PATH_STAGED, AS_IT_IS},
    {"attention/output.cl", "sum[r][c] += weight * vector[c]", "sum[r][c] -= weight * vector[c]", "attention",
     "attention_fwd", HEED_PATH_STAGED, AS_IT_IS},
    {"attention/output_bwd.cl", "sum[r][c] += weight * vector[c]", "sum[r][c] -= weight * vector[c]", "attention",
     "attention_bwd", HEED_PATH_STAGED, AS_IT_IS},
    {"ops/linear.cl", "sum += part;", "sum -= part;", "linear", "linear_bwd", 0, AS_IT_IS},
    {"ops/linear.cl", "sum[r][v] += d * part[v]", "sum[r][v] -= d * part[v]", "linear", "linear_bwd", 0, AS_IT_IS},
    {"ops/linear.cl", "sum[o][v] += d * part[v]", "sum[o][v] -= d * part[v]", "linear", "linear_bwd", 0, AS_IT_IS},
    {"ops/linear.cl", "STORE(X_DTYPE, dbias, o, sum)", "STORE(X_DTYPE, dbias, o, -sum)", "linear", "linear_bwd", 0,
     AS_IT_IS},
    {"gemm/panels.cl", "sum[i][0] += a_i", "sum[i][0] -= a_i", "gemm", "gemm", 0, AS_SMALL_GPU},
    {"gemm/tiles.cl", "sum[4 * i + 1][j] += ", "sum[4 * i + 1][j] -= ", "gemm", "gemm", 0, AS_GPU},
    {"gemm/grid.cl", "at->col = (long)(in_band / height) * tile", "at->col = (long)(in_band / height) * tile + 1",
     "gemm", "gemm", 0, AS_GPU},
    {"gemm/parts.cl", "sum += LOADV", "sum -= LOADV", "gemm", "gemm", 0, AS_GPU_IN_PARTS},
    {"gemm/epilogue.cl", "x = gelu_of(x)", "x = gelu_of(1.001f * x)", "linear", "linear_gelu_fwd", 0, AS_IT_IS},
    {"gemm/epilogue.cl", "x *= gelu_slope(", "x *= 1.001f * gelu_slope(", "linear", "gelu_linear_bwd", 0, AS_IT_IS},
    {"gemm/epilogue.cl", "x *= e.alpha;", "x *= 1.001f * e.alpha;", "gemm", "gemm", 0, AS_IT_IS},
    {"gemm/cpu.cl", "sum##i##_##j += r##i", "sum##i##_##j -= r##i", "gemm", "gemm", 0, AS_IT_IS},
    {"gemm/cpu_common.cl", "EXCHANGE_1(6, 7)", "EXCHANGE_1(7, 6)", "gemm", "gemm", 0, AS_IT_IS},
    {"gemm/cpu_pack.cl", "(d + i) = eight_along_x(s", "(d + i) = -eight_along_x(s", "gemm", "gemm", 0, AS_IT_IS},
    {"gemm/cpu_small.cl", "sum[r][j] += a_part", "sum[r][j] -= a_part", "gemm", "gemm", 0, AS_IT_IS},
    {"ops/cross_entropy_narrow.cl", "loss -= select(", "loss += select(", "cross_entropy", "cross_entropy_fwd", 0,
     AS_IT_IS},
    {"attention/fused_cpu_common.cl", "2.402265072e-01f", "2.41e-01f", "attention", "attention_fwd", HEED_PATH_FUSED,
     AS_IT_IS},
    {"attention/fused_cpu_fwd.cl", "*sum += sum_of(total)", "*sum += 1.001f * sum_of(total)", "attention",
     "attention_fwd", HEED_PATH_FUSED, AS_IT_IS},
    {"attention/fused_cpu_decode.cl", "sum += decay.s0 * part_sum", "sum += 1.001f * decay.s0 * part_sum", "attention",
     "attention_fwd", HEED_PATH_FUSED, AS_IT_IS},
    {"attention/fused_cpu_bwd.cl", "weight * (dp - st.s2)", "weight * (dp + st.s2)", "attention", "attention_bwd",
     HEED_PATH_FUSED, AS_IT_IS},
    {"attention/fused_cpu_bwd.cl", "e * gradient;", "1.001f * e * gradient;", "attention", "attention_bwd",
     HEED_PATH_FUSED, AS_IT_IS},
    {"attention/softcap.cl", "(4 * (e)", "(4.004f * (e)", "attention", "attention_bwd", HEED_PATH_STAGED, AS_IT_IS},
    {"attention/softcap.cl", "(4 * (e)", "(4.004f * (e)", "attention", "attention_bwd", HEED_PATH_FUSED, AS_IT_IS},
    {"attention/softcap.cl", "(4 * (e)", "(4.004f * (e)", "attention", "attention_bwd", HEED_PATH_FUSED, AS_GPU},
    {"attention/reach.cl", "call->corner)", "call->corner) + 1", "attention", "attention_fwd", HEED_PATH_STAGED,
     AS_IT_IS},
    {"attention/reach.cl", "call->corner)", "call->corner) + 1", "attention", "attention_fwd", HEED_PATH_FUSED,
     AS_IT_IS},
    {"attention/reach.cl", "call->corner)", "call->corner) + 1", "attention", "attention_fwd", HEED_PATH_FUSED, AS_GPU},
    {"attention/reach.cl", "offset - call->left", "offset - call->left + 1", "attention", "attention_fwd",
     HEED_PATH_FUSED, AS_IT_IS},
    {"attention/fused_gpu_fwd.cl", "weight[n] * row[n][c]", "weight[n ^ 1] * row[n][c]", "attention", "attention_fwd",
     HEED_PATH_FUSED, AS_GPU},
    {"attention/fused_gpu.cl", "fma(shift, LN2,", "fma(shift, 1.0001f * LN2,", "attention", "attention_fwd",
     HEED_PATH_FUSED, AS_GPU},
    {"attention/fused_gpu.cl", "(s - shift) * LOG2E", "(s - shift) * 1.001f * LOG2E", "attention", "attention_fwd",
     HEED_PATH_FUSED, AS_GPU},
    {"attention/fused_gpu_fwd.cl", "row_sum[r] += s[r][j]", "row_sum[r] += 1.001f * s[r][j]", "attention",
     "attention_fwd", HEED_PATH_FUSED, AS_GPU},
    {"attention/fused_gpu.cl", "sum += parts[row * PART_PITCH + x]", "sum += 1.001f * parts[row * PART_PITCH + x]",
     "attention", "attention_fwd", HEED_PATH_FUSED, AS_GPU},
    {"attention/fused_gpu.cl", "s[r][j] += row.y * factor[j].y", "s[r][j] -= row.y * factor[j].y", "attention",
     "attention_fwd", HEED_PATH_FUSED, AS_GPU},
    {"attention/fused_gpu.cl", "s[r][j] += block[r][j]", "s[r][j] += 1.001f * block[r][j]", "attention",
     "attention_fwd", HEED_PATH_FUSED, AS_GPU},
    {"attention/fused_gpu.cl", "EXP2(fma(s, unit, -shift))", "EXP2(fma(s, 1.001f * unit, -shift))", "attention",
     "attention_fwd", HEED_PATH_FUSED, AS_GPU},
    {"attention/fused_gpu_stage.cl", "(key) / 4)", "(key) / 4 % 2)", "attention", "attention_bwd", HEED_PATH_FUSED,
     AS_GPU},
    {"attention/fused_gpu.cl", "fma(-lse, LOG2E_REST", "fma(-lse, LOG2E", "attention", "attention_bwd", HEED_PATH_FUSED,
     AS_GPU},
    {"attention/fused_gpu_bwd.cl", "(d - delta)", "(d + delta)", "attention", "attention_bwd", HEED_PATH_FUSED, AS_GPU},
    {"attention/fused_gpu_parts.cl", "sum += ((__global", "sum -= ((__global", "attention", "attention_bwd",
     HEED_PATH_FUSED, AS_GPU_IN_FIVE},
    {"attention/fused_gpu_parts.cl", "OUT_ITEM_Y + r * OUT_Y", "OUT_ITEM_Y + (r ^ 1) * OUT_Y", "attention",
     "attention_bwd", HEED_PATH_FUSED, AS_GPU_IN_FIVE},
    {"attention/fused_gpu_parts.cl", "end_key(reach, last) + KEYS - 1", "end_key(reach, last)", "attention",
     "attention_bwd", HEED_PATH_FUSED, AS_GPU_IN_FIVE},
};
enum { DEFECTS = sizeof defects / sizeof *defects };

static char spec[96];  // the device that the tests run on
static heed_case *cases;
static size_t case_count;

static heed_context *device;
static int open_all(void) {
  void *opened = NULL;
  if (support_open_device(&opened) != 0) return -1;
  device = opened;
  if (device) snprintf(spec, sizeof spec, "id:%s", heed_context_device(device)->id);
  return case_table(&cases, &case_count) == HEED_OK ? 0 : -1;
}

static int lend_device(void **state) {
  *state = device;
  return 0;
}

static int close_all(void) {
  free(cases);
  void *opened = device;
  return support_close(&opened);
}

static heed_context *open_validating(const char *kernel_dir) {
  const heed_open_options options = {.device = spec,
                                     .validate = 1,
                                     .gemm = "native",
                                     .kernel_dir = kernel_dir,
                                     .cache_dir = kernel_dir ? "off" : NULL};
  heed_context *ctx = NULL;
  ASSERT_OK(heed_open_with(&options, &ctx));
  return ctx;
}

// ---------------------------------------------------------------- right kernels

enum { CASES_AN_OP = 5 };

static void right_kernels_pass(void **state) {
  support_context(state);
  heed_context *ctx = open_validating(NULL);
  const char *op = "";
  int taken = 0;
  for (size_t i = 0; i < case_count; ++i) {
    const heed_case *c = &cases[i];
    if (c->level > 0) continue;
    if (strcmp(op, c->family->op) != 0) taken = 0;
    op = c->family->op;
    if (taken++ >= CASES_AN_OP) continue;
    case_result result;
    if (case_compare(c, ctx, support_other(), &result) != HEED_OK || !result.passed)
      fail_msg("%s: %s", c->name, result.message);
  }
  assert_int_equal(heed_context_live_tensors(ctx), 0);
  heed_context_destroy(ctx);
}

static void validation_changes_no_bit(void **state) {
  heed_context *plain = support_context(state), *ctx = open_validating(NULL);
  const heed_tensor *x = support_random(plain, HEED_F32, SHAPE(9, 33), 1),
                    *y = support_random(ctx, HEED_F32, SHAPE(9, 33), 1);
  heed_tensor *a = support_like(x), *b = support_like(y);
  ASSERT_OK(heed_softmax_fwd(x, 1, a));
  ASSERT_OK(heed_softmax_fwd(y, 1, b));
  ASSERT_SAME_BITS(b, a);
  heed_context_destroy(ctx);  // its tensors go at the end of the test
}

// 8 bits a number: what is right in F32 differs here by up to 2^-8.
static void bf16_passes_with_its_rounding(void **state) {
  support_context(state);
  heed_context *ctx = open_validating(NULL);
  const heed_tensor *x = support_random(ctx, HEED_BF16, SHAPE(9, 33), 1),
                    *y = support_random(ctx, HEED_BF16, SHAPE(9, 33), 2);
  ASSERT_OK(heed_add(1.0 / 3, x, 0.7, y, support_like(x)));
  heed_context_destroy(ctx);
}

static void measurements_are_the_devices(void **state) {
  support_context(state);
  heed_context *ctx = NULL;
  const heed_profile_record *records = NULL;
  size_t count = 0;
  double gflops = 0, gbytes = 0;
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = spec, .validate = 1, .profile = 1}, &ctx));
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(9, 33), 1);
  ASSERT_OK(heed_relu_fwd(x, support_like(x)));
  ASSERT_OK(heed_profile_records(ctx, &records, &count));
  assert_int_equal(count, 1);
  assert_string_equal(records[0].kernel, "relu");
  ASSERT_OK(heed_measure_peak(ctx, 1 << 16, &gflops, &gbytes));
  assert_true(gflops > 0 && gbytes > 0);
  heed_context_destroy(ctx);
}

static void the_environment_asks_for_it_and_the_caller_decides(void **state) {
  support_context(state);
  heed_context *asked = NULL, *refused = NULL;
  setenv("HEED_VALIDATE", "1", 1);
  const heed_status first = heed_open(spec, &asked);
  const heed_status second = heed_open_with(&(heed_open_options){.device = spec, .validate = -1}, &refused);
  unsetenv("HEED_VALIDATE");
  assert_true(first == HEED_OK && second == HEED_OK);
  assert_non_null(asked->shadow);
  assert_null(refused->shadow);
  heed_context_destroy(asked);
  heed_context_destroy(refused);
}

// Mistakes of the caller are told as such, and what is queued after them works.
static void refusals_stay_refusals(void **state) {
  support_context(state);
  heed_context *ctx = open_validating(NULL);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(4), 1);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "softmax_fwd", "no axis 3", heed_softmax_fwd(x, 3, support_like(x)));
  ASSERT_OK(heed_softmax_fwd(x, 0, support_like(x)));
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- defects

static void write_defect(const struct defect *d) {
  enum { ROOM = 1 << 18 };
  char path[512], *text = support_memory(ROOM), *changed = support_memory(2 * ROOM);
  snprintf(path, sizeof path, "%s/kernels_cl/%s", HEED_SOURCE_DIR, d->file);
  const size_t length = support_read_file(path, text, ROOM - 1);
  size_t used = 0, replaced = 0;
  for (const char *at = text; at < text + length;) {
    const char *hit = strstr(at, d->from);
    const char *end = hit ? hit : text + length;
    memcpy(changed + used, at, (size_t)(end - at));
    used += (size_t)(end - at);
    at = end;
    if (!hit) break;
    memcpy(changed + used, d->to, strlen(d->to));
    used += strlen(d->to);
    at += strlen(d->from);
    ++replaced;
  }
  if (replaced == 0) fail_msg("%s has no \"%s\" any more: this defect needs another place", d->file, d->from);
  support_write_file(support_path(d->file), changed, used);
}

// The cases that may come across the defect: nothing but the staged path returns weights and the gradient of a mask. Cross-entropy's weights
// and axes are of level 1.
static bool is_candidate(const struct defect *d, const heed_case *c) {
  if (strcmp(c->family->op, d->op) != 0 || c->level > (strcmp(d->op, "cross_entropy") == 0)) return false;
  if (strcmp(d->op, "attention") != 0) return true;
  const attention_shape *s = &c->u.attention;
  const bool staged = s->weights || s->mask_grad || s->options.path == HEED_PATH_STAGED;
  return d->path == HEED_PATH_FUSED ? !staged : d->path == HEED_PATH_STAGED ? staged : true;
}

// Whether the case, run on its own or with the defect's path, is stopped by validation.
static bool is_stopped(const struct defect *d, heed_case c, bool forced, heed_context *ctx, char message[512]) {
  if (forced && d->path != HEED_PATH_AUTO) c.u.attention.options.path = d->path;
  case_result result;
  const heed_status status = case_compare(&c, ctx, support_other(), &result);
  snprintf(message, 512, "%s", result.message);
  return status == HEED_ERROR_MISMATCH && strstr(message, d->call);
}

static int silent_check(const char *name) {
  // In this process: it has used OpenCL, and cannot fork any more.
  return COMMAND(cmd_check, "check", "--serial", "--device", spec, "--case", name);
}

static int check_with_defect(const char *name) {
  setenv("HEED_KERNELS", support_folder(), 1);
  setenv("HEED_CACHE", "off", 1);
  setenv("HEED_GEMM", "native", 1);
  const int status = silent_check(name);
  unsetenv("HEED_KERNELS");
  unsetenv("HEED_CACHE");
  unsetenv("HEED_GEMM");
  return status;
}

static void a_defect_is_caught(void **state) {
  const struct defect *d = *state;
  if (!spec[0]) skip();
  write_defect(d);
  heed_context *ctx = open_validating(support_folder());
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  if (d->taken_for != AS_IT_IS) traits->cpu_like = false;
  if (d->taken_for == AS_SMALL_GPU) traits->max_work_group = 1;
  if (d->taken_for == AS_GPU_IN_PARTS) ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_GEMM, "gpu: splits=2"));
  if (d->taken_for == AS_GPU_IN_FIVE) ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_ATTENTION_BWD, "fused-gpu: products=5"));
  char message[512], unforced[512];
  const heed_case *stopped = NULL, *shown = NULL;
  for (size_t i = 0; i < case_count && !(stopped && (shown || d->taken_for != AS_IT_IS)); ++i) {
    const heed_case *c = &cases[i];
    if (!is_candidate(d, c)) continue;
    if (!stopped && is_stopped(d, *c, true, ctx, message)) stopped = c;
    if (stopped && !shown && is_stopped(d, *c, false, ctx, unforced)) shown = c;
  }
  assert_int_equal(heed_context_live_tensors(ctx), 0);
  heed_context_destroy(ctx);
  if (!stopped) fail_msg("no case of %s was stopped by \"%s\"", d->op, d->to);
  if (!strstr(message, "index [")) fail_msg("no index in \"%s\"", message);
  if (d->taken_for != AS_IT_IS) return;
  if (!shown) fail_msg("heed check never comes across \"%s\"", d->to);
  assert_int_equal(check_with_defect(shown->name), TOOL_FAILED);
  assert_int_equal(silent_check(shown->name), TOOL_DONE);
}

// ---------------------------------------------------------------- what is not covered

static bool has_defect(const char *file) {
  for (int i = 0; i < DEFECTS; ++i)
    if (strcmp(defects[i].file, file) == 0) return true;
  return false;
}

// Files that need none, and why.
static const char *const exempt[][2] = {
    {"common.cl", "stands before every other file, and shows in their results"},
    {"ops/gelu.cl", "applies gelu.cl, whose defects it shows"},
    {"attention/call.cl", "names numbers, for the host too: no text in it computes"},
    {"attention/options.cl", "names arguments and options"},
    {"attention/fused_tensor.cl", "is for tensor cores: test_attention_tensor compares it, emulated, with the host"},
    {"attention/fused_tensor_bwd.cl", "as above"},
    {"attention/fused_tensor_fwd.cl", "as above"},
    {"gemm/warp.cl", "is for tensor cores: test_gemm_random compares it, emulated, with the host"},
    {"warp.cl", "is what the files for tensor cores share"},
    {"shuffle.cl", "is tried before it is used: test_attention_gpu compares its emulation with the host"},
    {"shuffle_probe.cl", "is that trial"},
    {"exp2_probe.cl", "is a trial, too: test_trials has defects for it"},
    {"peak.cl", "is a measurement, and has no result to compare"},
};

static bool is_exempt(const char *file) {
  for (size_t i = 0; i < sizeof exempt / sizeof *exempt; ++i)
    if (strcmp(exempt[i][0], file) == 0) return true;
  return false;
}

// A kernel file without a defect above would be one that nobody knows to be checked.
static void every_kernel_file_has_a_defect(void **state) {
  (void)state;
  int missing = 0;
  for (const struct heed__cl_kernel_source *source = heed__cl_kernel_sources; source->name; ++source) {
    if (has_defect(source->name) != is_exempt(source->name)) continue;
    print_error(
        "%s %s\n", source->name,
        is_exempt(source->name) ? "has a defect in this test and is exempt from one" : "has no defect in this test");
    ++missing;
  }
  assert_int_equal(missing, 0);
}

static int end_defect(void **state) {
  support_empty_folder();
  return support_release(state);
}

// Usage: test_validate [KERNEL-FILE]: with a file, only its defects; it must have one.
int main(int argc, char **argv) {
  static const char root[] = "kernels_cl/";
  const char *file = argc > 1 ? argv[1] : NULL, *below = file ? strstr(file, root) : NULL;
  if (below) file = below + strlen(root);
  const struct CMUnitTest complete[] = {TEST(every_kernel_file_has_a_defect)};
  const struct CMUnitTest good[] = {
      TEST(right_kernels_pass),
      TEST(validation_changes_no_bit),
      TEST(bf16_passes_with_its_rounding),
      TEST(measurements_are_the_devices),
      TEST(the_environment_asks_for_it_and_the_caller_decides),
      TEST(refusals_stay_refusals),
  };
  static char names[DEFECTS][128];
  struct CMUnitTest bad[DEFECTS];
  size_t bad_count = 0;
  for (int i = 0; i < DEFECTS; ++i) {
    if (file && strcmp(defects[i].file, file) != 0) continue;
    snprintf(names[i], sizeof names[i], "%s with \"%s\"", defects[i].file, defects[i].to);
    bad[bad_count++] = (struct CMUnitTest){.name = names[i],
                                           .test_func = a_defect_is_caught,
                                           .teardown_func = end_defect,
                                           .initial_state = (void *)(uintptr_t)&defects[i]};
  }
  if (bad_count == 0) {
    fprintf(stderr, "test_validate: there is no defect for %s, so nothing is tested\n", file);
    return 1;
  }
  // The probe of products would refuse a defective kernel before a validated call could come across it.
  if (setenv("HEED_GEMM_PROBE", "off", 1) != 0) return 1;
  if (open_all() != 0 || support_make_folder(NULL) != 0) return 1;
  int failed = cmocka_run_group_tests_name("kernel files", complete, lend_device, NULL);
  if (!file) failed += cmocka_run_group_tests_name("validation of right kernels", good, lend_device, NULL);
  failed += _cmocka_run_group_tests("validation of defects", bad, bad_count, NULL, NULL);
  return failed + (support_remove_folder(NULL) != 0) + (close_all() != 0);
}
