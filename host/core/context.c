// Creates and destroys contexts, keeps their first error, and passes calls to their backend. host/api opens devices.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

heed_status heed__context_create(heed_context **out) {
  *out = calloc(1, sizeof **out);
  HEED__REQUIRE(*out, HEED_ERROR_OUT_OF_MEMORY, "open: no host memory for a context");
  return HEED_OK;
}

static void context_free(heed_context *ctx) {
  if (ctx->device_backend) ctx->device_backend->destroy(ctx);
  heed_context_destroy(ctx->shadow);
  free(ctx);
}

static void free_if_unused(heed_context *ctx) {
  if (ctx->closed && ctx->live_tensors == 0 && ctx->live_transfers == 0) context_free(ctx);
}

void heed_context_destroy(heed_context *ctx) {
  if (!ctx) return;
  ctx->closed = true;
  free_if_unused(ctx);
}

void heed__context_tensor_gone(heed_context *ctx) {
  ctx->live_tensors -= 1;
  free_if_unused(ctx);
}

void heed__context_transfer_gone(heed_context *ctx) {
  ctx->live_transfers -= 1;
  free_if_unused(ctx);
}

size_t heed_context_live_tensors(const heed_context *ctx) { return ctx ? ctx->live_tensors : 0; }

void heed__context_took(heed_context *ctx, uint64_t bytes) {
  ctx->allocated += bytes;
  if (ctx->allocated > ctx->peak_allocated) ctx->peak_allocated = ctx->allocated;
}

void heed__context_gave(heed_context *ctx, uint64_t bytes) {
  ctx->allocated -= bytes < ctx->allocated ? bytes : ctx->allocated;
}

uint64_t heed_context_bytes(const heed_context *ctx) { return ctx ? ctx->allocated : 0; }
uint64_t heed_context_peak_bytes(const heed_context *ctx) { return ctx ? ctx->peak_allocated : 0; }

void heed__notice_add(heed_context *ctx, const char *format, ...) {
  const size_t length = strlen(ctx->notice), room = sizeof ctx->notice - length;
  const int between = snprintf(ctx->notice + length, room, "%s", length ? "; " : "");
  if ((size_t)between >= room) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(ctx->notice + length + between, room - (size_t)between, format, arguments);
  va_end(arguments);
}

void heed__context_tell(const heed_context *ctx, heed_activity activity, const char *name, size_t done, size_t total) {
  const heed_progress progress = {.activity = activity, .name = name, .done = done, .total = total};
  if (ctx->progress) ctx->progress(&progress, ctx->progress_user);
}

const char *heed_context_notice(const heed_context *ctx) { return ctx ? ctx->notice : ""; }
const heed_device_info *heed_context_device(const heed_context *ctx) { return ctx ? &ctx->device : NULL; }

void heed__context_defer(heed_context *ctx, heed_status status) {
  if (status == HEED_OK || ctx->pending != HEED_OK) return;
  ctx->pending = status;
  snprintf(ctx->pending_message, sizeof ctx->pending_message, "%s", heed_last_error());
}

heed_status heed__context_pending(const heed_context *ctx) {
  return ctx->pending == HEED_OK ? HEED_OK : heed__fail(ctx->pending, "%s", ctx->pending_message);
}

heed_status heed_sync(heed_context *ctx) {
  HEED__REQUIRE(ctx, HEED_ERROR_INVALID_ARGUMENT, "sync: the context is NULL");
  heed__context_defer(ctx, ctx->backend->sync(ctx));
  const heed_status status = heed__context_pending(ctx);
  ctx->pending = HEED_OK;
  return status;
}

heed_status heed__dispatch(heed_context *ctx, const struct heed__call *call) {
  heed_status status = ctx->backend->ops[call->op](ctx, call);
  return status == HEED_OK ? HEED_OK
                           : heed__fail_prefix(status, "%s", call->name ? call->name : heed__op_name(call->op));
}

heed_status heed_profile_records(heed_context *ctx, const heed_profile_record **records, size_t *count) {
  HEED__REQUIRE(ctx && records && count, HEED_ERROR_INVALID_ARGUMENT, "profile_records: an argument is NULL");
  *records = NULL;
  *count = 0;
  return ctx->backend->profile(ctx, records, count);
}

heed_status heed_measure_peak(heed_context *ctx, size_t bytes, double *fma_gflops, double *copy_gbytes) {
  HEED__REQUIRE(ctx && fma_gflops && copy_gbytes && bytes > 0, HEED_ERROR_INVALID_ARGUMENT,
                "measure_peak: an argument is NULL or 0");
  return ctx->backend->measure_peak(ctx, bytes, fma_gflops, copy_gbytes);
}
