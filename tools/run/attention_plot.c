// heed run attention --plot: the weights of the first batch as a heat map, a panel for each head.
#include <stdlib.h>

#include "run/run.h"
#include "draw/heat_map.h"

static void name_head(int64_t panel, char *text, size_t size, const void *user) {
  (void)user;
  snprintf(text, size, "head %lld", (long long)panel);
}

static int draw(const run_call *run, const heed_tensor *weights, const float *values) {
  static const char *const titles[] = {"attention: softmax of the scores", "attention: softmax of the scores",
                                       "attention: scores", "attention: capped scores", "attention: masked scores"};
  const int64_t *dims = heed_tensor_dims(weights);
  const heat_map map = {.values = values,
                        .panels = dims[1],
                        .queries = dims[2],
                        .keys = dims[3],
                        .are_weights = run->settings.weights <= 1,
                        .title = titles[run->settings.weights],
                        .note = "first batch",
                        .unit = "heads",
                        .name = name_head};
  return heat_map_draw(run->args->command, "--plot", run->settings.plot, &map);
}

int run_plot_attention(run_call *run, const heed_tensor *weights) {
  heed_tensor *first = NULL;
  if (heed_tensor_count(weights) == 0)
    return tool_fail(run->args->command, "--plot %s: there are no weights to draw", run->settings.plot);
  RUN_TRY(run, heed_tensor_slice(weights, 0, 0, 1, &first));
  TOOL_TRY(run_own(run, first));
  const int64_t count = heed_tensor_count(first);
  float *values = malloc((size_t)count * sizeof *values);
  if (!values) return tool_fail(run->args->command, "out of memory");
  const heed_status read = heed_tensor_download_f32(first, values, count);
  const int status = read == HEED_OK ? draw(run, weights, values) : tool_fail_status(run->args->command, read);
  free(values);
  return status;
}
