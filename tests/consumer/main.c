#include <heed/heed.h>
#include <stdio.h>

int main(void) {
  float x[4][2] = {{1, 0}, {0, 1}, {1, 1}, {2, -1}};  // four positions, two wide
  heed_context *ctx = NULL;
  heed_tensor *q = NULL, *out = NULL;
  const bool failed = heed_open(NULL, &ctx) ||  // NULL: $HEED_DEVICE, else the best device there is
                      heed_tensor_create_from(ctx, HEED_F32, 4, (int64_t[]){1, 1, 4, 2}, x, &q) ||
                      heed_tensor_create(ctx, HEED_F32, 4, heed_tensor_dims(q), &out) ||
                      heed_attention_fwd(&(heed_attention_inputs){.q = q, .k = q, .v = q},
                                         &(heed_attention_options){.causal = HEED_CAUSAL_TOP_LEFT}, out, NULL, NULL) ||
                      heed_tensor_download(out, x, sizeof x);
  if (failed) fprintf(stderr, "%s\n", heed_last_error());
  for (int i = 0; i < 4 && !failed; i++) printf("%7.4f %7.4f\n", x[i][0], x[i][1]);
  heed_tensor_destroy(out);
  heed_tensor_destroy(q);
  heed_context_destroy(ctx);
  return failed;
}
