// The OpenCL backend: its table, and the opening and closing of what its rooms keep in a context. The function of a table entry is in the
// file named after it.
#include "cl/runtime/sources.h"
#include "cl/backend.h"

#include "base/hash.h"
#include "cl/operators.h"

const struct heed__cl_tuning_op *const heed__cl_tuned_operators[] = {
    [HEED_TUNE_GEMM] = &heed__cl_gemm_tuning,
    [HEED_TUNE_ATTENTION_FWD] = &heed__cl_attention_tuning,
    [HEED_TUNE_ATTENTION_BWD] = &heed__cl_attention_tuning,
};

static void destroy(heed_context *ctx) {
  clFinish(heed__cl_state(ctx)->queue);  // nobody is left to report an error to
  heed__cl_gemm_close(ctx);
  heed__cl_tuning_close(ctx);
  heed__cl_close(ctx);
}

const struct heed__backend heed__cl_backend = {
    .name = "opencl",
    .destroy = destroy,
    .buffer_create = heed__cl_buffer_create,
    .buffer_destroy = heed__cl_buffer_destroy,
    .upload = heed__cl_upload,
    .download = heed__cl_download,
    .read_start = heed__cl_read_start,
    .read_end = heed__cl_read_end,
    .host_memory_create = heed__cl_host_memory_create,
    .host_memory_destroy = heed__cl_host_memory_destroy,
    .sync = heed__cl_sync,
    .profile = heed__cl_profile,
    .measure_peak = heed__cl_measure_peak,
    .ops =
        {
#define OP_ENTRY(name, ...) [HEED__OP_##name] = heed__cl_##name,
            HEED__OPERATORS(OP_ENTRY)
#undef OP_ENTRY
        },
};

heed_status heed__cl_backend_open(heed_context *ctx, cl_device_id device,
                                  const struct heed__cl_backend_config *config) {
  HEED__TRY(heed__cl_open(ctx, device, &config->runtime, &heed__cl_backend));
  return heed__cl_gemm_open(ctx, &config->gemm);
}

heed_status heed__cl_backend_open_with(heed_context *ctx, cl_context context, cl_device_id device,
                                       cl_command_queue queue, const struct heed__cl_backend_config *config) {
  HEED__TRY(heed__cl_open_with(ctx, context, device, queue, &config->runtime, &heed__cl_backend));
  return heed__cl_gemm_open(ctx, &config->gemm);
}

heed_status heed__cl_backend_tune(heed_context *ctx, const char *folder, const char *file, bool off, bool mends) {
  return heed__cl_tuning_open(ctx, heed__cl_tuned_operators, folder, file, off, mends);
}

uint64_t heed__cl_backend_verdicts(const heed_context *ctx) {
  const uint64_t tensor_cores = heed__cl_state(ctx)->tensor_cores_off ? heed__hash(HEED__HASH_START, "tensor", 6) : 0;
  return tensor_cores + heed__cl_gemm_verdicts(ctx) + heed__cl_tuning_verdicts(ctx);
}

heed_status heed__cl_backend_check_cache(const char *dir) { return heed__cl_cache_check(dir); }
heed_status heed__cl_backend_check_kernels(const char *dir) { return heed__cl_source_check(dir); }
