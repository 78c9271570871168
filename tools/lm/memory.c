// The memory that a model needs, before any is allocated.
#include <string.h>

#include "lm/lm.h"

uint64_t lm_memory_total(const lm_memory *m) {
  return m->parameters + m->gradients + m->optimizer + m->activations + m->cache;
}

heed_status lm_memory_to_train(const heed_transformer_config *config, int64_t batch, int64_t length,
                               lm_memory *memory) {
  heed_transformer_memory reckoned;
  *memory = (lm_memory){0};
  const heed_status status = heed_transformer_reckon(config, batch, length, 0, &reckoned);
  if (status != HEED_OK) return status;
  const uint64_t count = reckoned.gradients / heed_dtype_size(config->dtype);
  const uint64_t each = config->dtype == HEED_F32 ? 8 : 12;  // two moments in F32, and a master of 16 bits
  *memory = (lm_memory){.parameters = reckoned.parameters,
                        .gradients = reckoned.gradients,
                        .optimizer = each * count,
                        .activations = reckoned.activations};
  return HEED_OK;
}

heed_status lm_memory_to_run(const heed_transformer_config *config, int64_t prompt, int64_t length, lm_memory *memory) {
  heed_transformer_config runs = *config;
  heed_transformer_memory reckoned;
  runs.frozen = true;
  *memory = (lm_memory){0};
  const heed_status status = heed_transformer_reckon(&runs, 0, prompt, length, &reckoned);
  if (status != HEED_OK) return status;
  *memory =
      (lm_memory){.parameters = reckoned.parameters, .activations = reckoned.activations, .cache = reckoned.cache};
  return HEED_OK;
}

int lm_memory_check(const char *command, const heed_context *ctx, const lm_memory *m, const char *advice) {
  const uint64_t total = lm_memory_total(m), there = heed_context_device(ctx)->memory;
  if (total <= there) return TOOL_DONE;
  const struct {
    const char *name;
    uint64_t bytes;
  } kinds[] = {{"parameters", m->parameters},
               {"gradients", m->gradients},
               {"optimizer", m->optimizer},
               {"activations", m->activations},
               {"cache", m->cache}};
  char parts[256] = "", needed[32], has[32], bytes[32];
  size_t used = 0;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].bytes > 0)
      used += (size_t)snprintf(parts + used, sizeof parts - used, "%s%s %s", used ? ", " : "", kinds[i].name,
                               tool_bytes_text(kinds[i].bytes, bytes));
  return tool_fail(command, "this needs %s: %s; %s has %s: %s", tool_bytes_text(total, needed), parts,
                   heed_context_device(ctx)->name, tool_bytes_text(there, has), advice);
}
