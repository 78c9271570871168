// What cases of modules share: the module's parameters, and outputs of the case that hold their gradients.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases/case.h"

// Copies a module's gradients into outputs of the case, so that guards, poison and comparison cover them.
heed_status case_copy_grads(case_env *env, const heed_parameter *parameters, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    char name[32];
    snprintf(name, sizeof name, "grad.%s", parameters[i].name);
    heed_tensor *out = case_get(env, name);
    if (out) TRY(heed_copy(parameters[i].grad, out));
  }
  return HEED_OK;
}

heed_status case_add_grads(case_env *env, const heed_case *c, const heed_parameter *parameters, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    char name[32];
    snprintf(name, sizeof name, "grad.%s", parameters[i].name);
    TRY(case_output(env, name, c->dtype, heed_tensor_rank(parameters[i].grad), heed_tensor_dims(parameters[i].grad),
                    heed_tolerance(c->dtype, true)));
  }
  return HEED_OK;
}

heed_status case_join_grads(case_env *env, const heed_case *c, const heed_parameter *parameters, size_t count,
                            heed_tensor **joined) {
  const heed_tensor **parts = malloc((count + 1) * sizeof *parts);
  if (!parts) return HEED_ERROR_OUT_OF_MEMORY;
  for (size_t i = 0; i < count; ++i) parts[i] = parameters[i].grad;
  const heed_status status = heed_tensor_join(parts, count, joined);
  free(parts);
  TRY(status);
  return case_output(env, "gradients", c->dtype, 1, DIMS(heed_tensor_count(*joined)), heed_tolerance(c->dtype, true));
}

heed_tensor *case_parameter(const case_env *env, const char *name) {
  if (!env->of->family->parameters) return NULL;
  const heed_parameter *parameters;
  const size_t count = env->of->family->parameters(env, &parameters);
  for (size_t i = 0; i < count; ++i)
    if (strcmp(parameters[i].name, name) == 0) return parameters[i].value;
  return NULL;
}
