// Accuracy and loss of a model on a test set, batch by batch, with one wait at the end.
#include "train/evaluate.h"

#include <stdlib.h>

enum { BATCH = 1000 };

static int create_tensors(heed_context *ctx, heed_dtype dtype, int64_t classes, evaluator *e) {
  const int64_t count = e->part->count, pixels = e->images.pixels;
  const char *command = e->command;
  TOOL_HEED(command, heed_tensor_create(ctx, dtype, 2, (const int64_t[]){e->batch, pixels}, &e->x));
  TOOL_HEED(command, heed_tensor_create(ctx, dtype, 2, (const int64_t[]){e->batch, classes}, &e->logits));
  TOOL_HEED(command, heed_tensor_create(ctx, HEED_I32, 1, &count, &e->predictions));
  TOOL_HEED(command, heed_tensor_create(ctx, HEED_F32, 1, &e->batches, &e->losses));
  return TOOL_DONE;
}

int evaluator_create(const char *command, heed_context *ctx, const heed_mnist *part, heed_dtype dtype, int64_t classes,
                     evaluator *out) {
  const int64_t batch = part->count < BATCH ? part->count : BATCH;
  *out = (evaluator){.command = command, .part = part, .batch = batch, .batches = (part->count + batch - 1) / batch};
  out->predicted = malloc((size_t)part->count * sizeof *out->predicted);
  out->sums = malloc((size_t)out->batches * sizeof *out->sums);
  out->order = malloc((size_t)part->count * sizeof *out->order);
  if (!out->predicted || !out->sums || !out->order) return tool_fail(command, "out of memory");
  for (int64_t i = 0; i < part->count; i++) out->order[i] = (int32_t)i;
  TOOL_TRY(feed_create(command, ctx, part, batch, &out->images));
  TOOL_TRY(create_tensors(ctx, dtype, classes, out));
  return feed_start(&out->images, out->order);
}

int evaluator_keep_logits(evaluator *e) {
  heed_tensor *all = NULL;
  const int64_t dims[] = {e->part->count, heed_tensor_dim(e->logits, 1)};
  TOOL_HEED(e->command,
            heed_tensor_create(heed_tensor_context(e->logits), heed_tensor_dtype(e->logits), 2, dims, &all));
  heed_tensor_destroy(e->logits);
  e->logits = all;
  e->keeps_logits = true;
  return TOOL_DONE;
}

// The views of one batch; the evaluator owns the tensors that they view.
typedef struct views {
  heed_tensor *x, *target, *logits, *predictions, *loss;
} views;

static int run_batch(evaluator *e, const classifier *model, int64_t number, views *v) {
  const int64_t start = number * e->batch;
  const int64_t rows = e->part->count - start < e->batch ? e->part->count - start : e->batch;
  const heed_cross_entropy_options sum = {.reduction = HEED_REDUCTION_SUM};
  TOOL_HEED(e->command, heed_tensor_slice(e->x, 0, 0, rows, &v->x));
  TOOL_HEED(e->command, heed_tensor_slice(e->logits, 0, e->keeps_logits ? start : 0, rows, &v->logits));
  TOOL_HEED(e->command, heed_tensor_slice(e->predictions, 0, start, rows, &v->predictions));
  TOOL_HEED(e->command, heed_tensor_slice(e->losses, 0, number, 1, &v->loss));
  TOOL_TRY(feed_batch(&e->images, start, rows, v->x, &v->target));
  TOOL_HEED(e->command, classifier_fwd(model, v->x, false, 0, v->logits));
  TOOL_HEED(e->command, heed_cross_entropy_fwd(v->logits, v->target, &sum, v->loss));
  TOOL_HEED(e->command, heed_argmax(v->logits, v->predictions));
  return TOOL_DONE;
}

int evaluator_run(evaluator *e, const classifier *model, evaluation *result) {
  for (int64_t number = 0; number < e->batches; number++) {
    views v = {0};
    const int status = run_batch(e, model, number, &v);
    heed_tensor *const all[] = {v.x, v.target, v.logits, v.predictions, v.loss};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) heed_tensor_destroy(all[i]);
    TOOL_TRY(status);
  }
  const int64_t count = e->part->count;
  TOOL_HEED(e->command, heed_tensor_download(e->predictions, e->predicted, (size_t)count * sizeof *e->predicted));
  TOOL_HEED(e->command, heed_tensor_download_f32(e->losses, e->sums, e->batches));
  int64_t right = 0;
  double loss = 0;
  for (int64_t i = 0; i < count; i++) right += e->predicted[i] == e->part->labels[i];
  for (int64_t i = 0; i < e->batches; i++) loss += (double)e->sums[i];
  *result = (evaluation){.accuracy = (double)right / (double)count, .loss = loss / (double)count};
  return TOOL_DONE;
}

void evaluator_destroy(evaluator *e) {
  heed_tensor *const all[] = {e->x, e->logits, e->predictions, e->losses};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) heed_tensor_destroy(all[i]);
  feed_destroy(&e->images);
  free(e->order);
  free(e->predicted);
  free(e->sums);
  *e = (evaluator){0};
}
