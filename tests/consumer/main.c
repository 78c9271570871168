#include <heed/heed.h>
#include <stdio.h>

int main(void) {
  float rows[8] = {1, 0, 0, 1, 1, 1, 2, -1};  // four positions, two wide; each attends itself and those before it
  const int64_t dims[4] = {1, 1, 4, 2};       // batch, heads, length, width
  heed_context *ctx = NULL;
  heed_tensor *x = NULL, *out = NULL;
  heed_status status = heed_open(NULL, &ctx);  // NULL: $HEED_DEVICE, else the best device there is
  if (!status) status = heed_tensor_create_from(ctx, HEED_F32, 4, dims, rows, &x);
  if (!status) status = heed_tensor_create(ctx, HEED_F32, 4, dims, &out);
  const heed_attention_inputs self = {.q = x, .k = x, .v = x};
  const heed_attention_options causal = {.causal = HEED_CAUSAL_TOP_LEFT};
  if (!status) status = heed_attention_fwd(&self, &causal, out, NULL, NULL);
  if (!status) status = heed_tensor_download(out, rows, sizeof rows);
  if (status) fprintf(stderr, "%s\n", heed_last_error());
  for (int i = 0; i < 8 && !status; i += 2) printf("%.4f %.4f\n", rows[i], rows[i + 1]);
  heed_tensor_destroy(out);
  heed_tensor_destroy(x);
  heed_context_destroy(ctx);
  return status != HEED_OK;
}
