// One step of PyTorch's SGD on the host; heed.h has the formula.
#include <math.h>

#include "cpu/rows.h"

// Reads and writes both param and buffer; without history it does not read buffer.
static void sgd_piece(const heed_sgd_options *o, int64_t count, const double *grad, double *param, double *buffer) {
  // grad, param, buffer: [count]; buffer NULL: no momentum
  for (int64_t i = 0; i < count; ++i) {
    double g = grad[i];
    if (o->weight_decay != 0) g += o->weight_decay * param[i];
    if (buffer) {
      buffer[i] = o->first ? g : o->momentum * buffer[i] + (1 - o->dampening) * g;
      g = o->nesterov ? g + o->momentum * buffer[i] : buffer[i];
    }
    param[i] -= o->lr * g;
  }
}

heed_status heed__cpu_sgd(heed_context *ctx, const struct heed__call *call) {
  // grad, param, buffer: one shape
  (void)ctx;
  const heed_sgd_options *options = call->params;
  const heed_tensor *grad = call->in[HEED__sgd_grad], *param = call->out[HEED__sgd_param];
  const heed_tensor *buffer = call->out[HEED__sgd_momentum_buffer];
  HEED__CPU_PARALLEL_FOR(param->count)
  for (int64_t start = 0; start < param->count; start += HEED__CPU_PIECE) {
    const int64_t count = heed__min(HEED__CPU_PIECE, param->count - start);
    double grad_row[HEED__CPU_PIECE], param_row[HEED__CPU_PIECE], buffer_row[HEED__CPU_PIECE];
    heed__cpu_load_row(grad_row, heed__cpu_data(grad), grad->dtype, start, 1, count);
    heed__cpu_load_row(param_row, heed__cpu_data(param), param->dtype, start, 1, count);
    if (buffer && !options->first)
      heed__cpu_load_row(buffer_row, heed__cpu_data(buffer), buffer->dtype, start, 1, count);
    sgd_piece(options, count, grad_row, param_row, buffer ? buffer_row : NULL);
    heed__cpu_store_row(heed__cpu_data(param), param->dtype, start, 1, count, param_row);
    if (buffer) heed__cpu_store_row(heed__cpu_data(buffer), buffer->dtype, start, 1, count, buffer_row);
  }
  return HEED_OK;
}

// Options are rounded to F32, too. The stored buffer may be what param's step reads, so that its rounding `stored` counts.
static void sgd_piece_terms(const heed_sgd_options *o, double stored, int64_t count, const double *grad, double *param,
                            double *buffer) {
  // grad, param, buffer: [count]; buffer NULL: no momentum. param and buffer become terms.
  const double u = heed__rounding(HEED_F32);
  for (int64_t i = 0; i < count; ++i) {
    const double decay = o->weight_decay != 0 ? fabs(o->weight_decay * param[i]) : 0;
    double size = fabs(grad[i]) + decay, error = decay > 0 ? u * (size + 2 * decay) : 0;
    if (buffer) {
      const double kept = o->first ? 0 : fabs(o->momentum * buffer[i]), part = o->first ? 1 : fabs(1 - o->dampening);
      const double held = kept + part * size;
      buffer[i] = 2 * u * held + part * error;
      error = o->nesterov ? error + o->momentum * (buffer[i] + stored * held) : buffer[i] + stored * held;
      size = o->nesterov ? size + o->momentum * held : held;
    }
    param[i] = u * (fabs(param[i]) + 3 * o->lr * size) + o->lr * error;
  }
}

heed_status heed__cpu_terms_sgd(heed_context *ctx, const struct heed__call *call) {
  // grad: one shape; param, buffer: F32 of it
  (void)ctx;
  const heed_sgd_options *options = call->params;
  const heed_tensor *grad = call->in[HEED__sgd_grad], *param = call->out[HEED__sgd_param];
  const heed_tensor *buffer = call->out[HEED__sgd_momentum_buffer];
  for (int64_t start = 0; start < param->count; start += HEED__CPU_PIECE) {
    const int64_t count = heed__min(HEED__CPU_PIECE, param->count - start);
    double grad_row[HEED__CPU_PIECE], param_row[HEED__CPU_PIECE], buffer_row[HEED__CPU_PIECE];
    heed__cpu_load_row(grad_row, heed__cpu_data(grad), grad->dtype, start, 1, count);
    heed__cpu_load_row(param_row, heed__cpu_data(param), param->dtype, start, 1, count);
    if (buffer) heed__cpu_load_row(buffer_row, heed__cpu_data(buffer), buffer->dtype, start, 1, count);
    sgd_piece_terms(options, heed__rounding(grad->dtype), count, grad_row, param_row, buffer ? buffer_row : NULL);
    heed__cpu_store_row(heed__cpu_data(param), param->dtype, start, 1, count, param_row);
    if (buffer) heed__cpu_store_row(heed__cpu_data(buffer), buffer->dtype, start, 1, count, buffer_row);
  }
  return HEED_OK;
}
