// The program of README.md in C++, which has no compound literals.
#include <heed/heed.h>

#include <cstdio>

int main() {
  float x[4][2] = {{1, 0}, {0, 1}, {1, 1}, {2, -1}};
  const int64_t dims[4] = {1, 1, 4, 2};
  heed_context *ctx = nullptr;
  heed_tensor *q = nullptr, *out = nullptr;
  bool failed = heed_open(nullptr, &ctx) || heed_tensor_create_from(ctx, HEED_F32, 4, dims, x, &q) ||
                heed_tensor_create(ctx, HEED_F32, 4, dims, &out);
  heed_attention_inputs inputs = heed_attention_inputs();
  heed_attention_options options = heed_attention_options();
  inputs.q = inputs.k = inputs.v = q;
  options.causal = HEED_CAUSAL_TOP_LEFT;
  failed = failed || heed_attention_fwd(&inputs, &options, out, nullptr, nullptr) ||
           heed_tensor_download(out, x, sizeof x);
  if (failed) std::fprintf(stderr, "%s\n", heed_last_error());
  for (int i = 0; i < 4 && !failed; i++) std::printf("%7.4f %7.4f\n", x[i][0], x[i][1]);
  heed_tensor_destroy(out);
  heed_tensor_destroy(q);
  heed_context_destroy(ctx);
  return failed;
}
