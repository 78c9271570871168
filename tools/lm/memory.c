// The memory that a model needs, before any is allocated.

#include "lm/lm.h"

const char *const lm_memory_names[LM_MEMORY_KINDS] = {"parameters",  "gradients", "optimizer",
                                                      "activations", "cache",     "scratch"};

uint64_t lm_memory_total(const lm_memory *memory) {
  uint64_t total = 0;
  for (int kind = 0; kind < LM_MEMORY_KINDS; kind++) total += memory->bytes[kind];
  return total;
}

static heed_status reckon(const heed_transformer_config *config, int64_t batch, int64_t length, int64_t cache,
                          heed_device_type device, lm_memory *memory) {
  heed_transformer_memory reckoned;
  *memory = (lm_memory){0};
  const heed_status status = heed_transformer_reckon(config, batch, length, cache, &reckoned);
  if (status != HEED_OK) return status;
  *memory = (lm_memory){{[LM_PARAMETERS] = reckoned.parameters,
                         [LM_GRADIENTS] = reckoned.gradients,
                         [LM_ACTIVATIONS] = reckoned.activations,
                         [LM_CACHE] = reckoned.cache,
                         [LM_SCRATCH] = device == HEED_DEVICE_CPU ? reckoned.scratch : 0}};
  return HEED_OK;
}

heed_status lm_memory_to_train(const heed_transformer_config *config, int64_t batch, int64_t length, int64_t own,
                               heed_device_type device, lm_memory *memory) {
  const heed_status status = reckon(config, batch, length, 0, device, memory);
  const uint64_t count = memory->bytes[LM_GRADIENTS] / heed_dtype_size(config->dtype);
  const uint64_t each = config->dtype == HEED_F32 ? 8 : 12;  // two moments in F32, and a master of 16 bits
  memory->bytes[LM_OPTIMIZER] = each * count;
  // The gradients, and what waits at each level of the tree that sums micro-batches.
  uint64_t sums = 1;
  for (int64_t leaves = heed_grad_pieces(own); leaves > 1; leaves /= 2) sums++;
  memory->bytes[LM_GRADIENTS] *= sums;
  return status;
}

heed_status lm_memory_to_run(const heed_transformer_config *config, int64_t prompt, int64_t length,
                             heed_device_type device, lm_memory *memory) {
  heed_transformer_config runs = *config;
  runs.frozen = true;
  return reckon(&runs, 0, prompt, length, device, memory);
}

static void parts_text(const lm_memory *memory, char *text, size_t size) {
  size_t used = 0;
  for (int kind = 0; kind < LM_MEMORY_KINDS && used < size; kind++) {
    char bytes[32];
    if (memory->bytes[kind] > 0)
      used += (size_t)snprintf(text + used, size - used, "%s%s %s", used ? ", " : "", lm_memory_names[kind],
                               tool_bytes_text(memory->bytes[kind], bytes));
  }
}

const char *lm_memory_text(const lm_memory *memory, char text[LM_MEMORY_TEXT]) {
  char parts[LM_MEMORY_TEXT - 40] = "", total[32];
  parts_text(memory, parts, sizeof parts);
  snprintf(text, LM_MEMORY_TEXT, "%s: %s", tool_bytes_text(lm_memory_total(memory), total), parts);
  return text;
}

int lm_memory_check(const char *command, const heed_context *ctx, const lm_memory *memory, const char *advice) {
  const heed_device_info *device = heed_context_device(ctx);
  char needed[LM_MEMORY_TEXT], has[32];
  if (lm_memory_total(memory) <= device->memory) return TOOL_DONE;
  return tool_fail(command, "this needs %s; %s has %s: %s", lm_memory_text(memory, needed), device->name,
                   tool_bytes_text(device->memory, has), advice);
}
