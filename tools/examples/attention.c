// Causal self-attention over four positions: the program of README.md, line by line.
//
//   cc attention.c $(pkg-config --cflags --libs heed) -o attention && ./attention
//
//   out = softmax(q kᵀ / √D) v, where position i attends positions 0 to i
//
// Tensors of attention are [batch, heads, length, head width], here [1, 1, 4, 2]. One tensor is query, key and value at once.
#include <heed/heed.h>
#include <stdio.h>

int main(void) {
  float x[4][2] = {{1, 0}, {0, 1}, {1, 1}, {2, -1}};
  heed_context *ctx = NULL;
  heed_tensor *q = NULL, *out = NULL;

  // A context is a device, a queue and what is made on it. NULL: $HEED_DEVICE names the device, else the best one is taken. A call
  // that fails returns something other than HEED_OK, which is 0, so || ends the chain at the first failure.
  const bool failed =
      heed_open(NULL, &ctx) ||
      // Uploads x. The shape is a list of as many numbers as the rank says.
      heed_tensor_create_from(ctx, HEED_F32, 4, (int64_t[]){1, 1, 4, 2}, x, &q) ||
      heed_tensor_create(ctx, HEED_F32, 4, heed_tensor_dims(q), &out) ||
      // Structs name what is optional: masks, lengths, a past; a zero field is its default. The last two arguments
      // are results that this program does not want: the rows' log-sums, which a backward needs, and the weights.
      heed_attention_fwd(&(heed_attention_inputs){.q = q, .k = q, .v = q},
                         &(heed_attention_options){.causal = HEED_CAUSAL_TOP_LEFT}, out, NULL, NULL) ||
      // Operators only queue their work. The download waits for it.
      heed_tensor_download(out, x, sizeof x);
  if (failed) fprintf(stderr, "%s\n", heed_last_error());
  // The first position can attend itself alone, so its row stays (1, 0).
  for (int i = 0; i < 4 && !failed; i++) printf("%7.4f %7.4f\n", x[i][0], x[i][1]);

  heed_tensor_destroy(out);  // destroying NULL does nothing, so this is right after a failure, too
  heed_tensor_destroy(q);
  heed_context_destroy(ctx);
  return failed;
}
