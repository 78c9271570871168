// Trains a small GPT-2 on a text, and lets it write: all that heed needs to be told for that, on one page after another.
//
//   cc -O2 train_gpt.c $(pkg-config --cflags --libs heed) -o train_gpt
//   ./train_gpt FILE [STEPS]          HEED_DEVICE=... names the device; without it heed takes the best one
//
// Read it from top to bottom: the text, a batch of it, the model, the training, the writing. Comments give shapes in these letters:
//   B  rows of a batch      T  tokens of a row      C  width of the model      V  how many token ids there are
//
// A token is a byte here, so V is 256 and no tokenizer is needed. `heed lm train` does the same with tokenizers, checkpoints and
// validation on the way, and saves folders that transformers opens; heed/lm.h and heed/text.h are what it is made of.
#include <heed/heed.h>
#include <heed/nn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { B = 12, T = 64, C = 128, V = 256, LAYERS = 4, HEADS = 4 };  // 0.8 million parameters; a minute on two cores
enum { REPORTS = 20, VALIDATION_BATCHES = 10, WRITTEN = 400, SEED = 1 };

// Every call of heed that can fail returns a status, and heed_last_error() says in a sentence what went wrong. This program then
// ends. A program that goes on would destroy what it has made, in any order: tensors keep their context alive.
#define TRY(call)                                                            \
  do {                                                                       \
    if ((call) != HEED_OK) {                                                 \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, heed_last_error()); \
      exit(EXIT_FAILURE);                                                    \
    }                                                                        \
  } while (0)

static double seconds(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// ---------------------------------------------------------------- the text

// The model learns from the first nine tenths, and is judged by the last one, which it never trains on.
typedef struct text {
  uint8_t *bytes;
  int64_t count, training;  // bytes [0, training) are to learn from
} text;

static text read_text(const char *path) {
  text all = {0};
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END) != 0 || (all.count = ftell(file)) < 0) {
    perror(path);
    exit(EXIT_FAILURE);
  }
  rewind(file);
  all.bytes = malloc((size_t)all.count + 1);
  if (!all.bytes || fread(all.bytes, 1, (size_t)all.count, file) != (size_t)all.count) {
    fprintf(stderr, "%s: cannot be read into memory\n", path);
    exit(EXIT_FAILURE);
  }
  fclose(file);
  all.training = all.count - all.count / 10;
  if (all.count - all.training <= T) {
    fprintf(stderr, "%s: too short; at least %d bytes are needed\n", path, 10 * (T + 1));
    exit(EXIT_FAILURE);
  }
  return all;
}

// ---------------------------------------------------------------- a batch

// Row b of the batch is a window of the text: tokens [B, T], and as targets [B, T] the same window one byte later, for at each
// place the model has to tell the next byte. Windows begin anywhere in bytes [first, first + count), by the batch's number alone:
// heed's random numbers are a function of (seed, stream, index), so that two runs see the same batches on any device.
static void read_batch(const text *all, int64_t first, int64_t count, uint64_t number, heed_tensor *tokens,
                       heed_tensor *targets) {
  uint8_t now[B][T], next[B][T];
  for (int b = 0; b < B; b++) {
    const int64_t start = first + (int64_t)heed_random_below(SEED, number, (uint64_t)b, (uint64_t)(count - T));
    memcpy(now[b], all->bytes + start, T);
    memcpy(next[b], all->bytes + start + 1, T);
  }
  TRY(heed_tensor_upload(tokens, now, sizeof now));
  TRY(heed_tensor_upload(targets, next, sizeof next));
}

// ---------------------------------------------------------------- the model

// With x [B, T, C] and a head of C/HEADS numbers, GPT-2 is
//   x = embedding[tokens] + position                          embedding [V, C], position [T, C]
//   LAYERS times:  x = x + attention(norm(x))                 each place looks at itself and at what came before it
//                  x = x + W₂ gelu(W₁ norm(x))                W₁ [4C, C], W₂ [C, 4C]
//   logits = norm(x) embeddingᵀ                               [B, T, V]: softmax of it is the guess of the next byte
// heed_transformer has these parameters, computes this, and the gradient of the loss with respect to all of them. It is made of
// the operators of heed/operators.h and heed/attention.h, which a program can call one by one just as well.
static heed_transformer *make_model(heed_context *ctx) {
  heed_transformer *model = NULL;
  const heed_transformer_config config = {.architecture = HEED_ARCHITECTURE_GPT2,
                                          .layers = LAYERS,
                                          .heads = HEADS,
                                          .width = C,
                                          .vocab = V,
                                          .context = T};  // zero fields take defaults: float32, no dropout, ...
  TRY(heed_transformer_create(ctx, &config, SEED, &model));
  return model;
}

// The parameters have the names that transformers gives them, and a gradient beside each value.
static void describe(const heed_transformer *model) {
  const heed_parameter *parameters = NULL;
  const size_t count = heed_transformer_parameters(model, &parameters);
  int64_t numbers = 0;
  for (size_t i = 0; i < count; i++) numbers += heed_tensor_count(parameters[i].value);
  printf("%zu parameters of %lld numbers, from %s %s\n", count, (long long)numbers, parameters[0].name,
         heed_tensor_describe(parameters[0].value));
}

// AdamW, as GPT-2 was trained: matrices decay, biases and norms do not, and the gradients are clipped to a norm of 1.
static heed_optimizer *make_optimizer(const heed_transformer *model) {
  heed_optimizer *optimizer = NULL;
  const heed_parameter *parameters = NULL;
  const size_t count = heed_transformer_parameters(model, &parameters);
  const heed_optimizer_config config = {
      .kind = HEED_OPTIMIZER_ADAMW,
      .adamw = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1},
      .decay_matrices = true,
      .max_norm = 1};
  TRY(heed_optimizer_create(parameters, count, &config, &optimizer));
  return optimizer;
}

// ---------------------------------------------------------------- training

// What a training step works on.
typedef struct batch {
  heed_tensor *tokens, *targets;  // U8 [B, T]; I32 and I64 do as well, for larger vocabularies
  heed_tensor *loss;              // F32 [1]: the mean of −log(probability of the right next byte)
} batch;

static batch make_batch(heed_context *ctx) {
  batch made = {0};
  TRY(heed_tensor_create(ctx, HEED_U8, 2, (int64_t[]){B, T}, &made.tokens));
  TRY(heed_tensor_create(ctx, HEED_U8, 2, (int64_t[]){B, T}, &made.targets));
  TRY(heed_tensor_create(ctx, HEED_F32, 1, (int64_t[]){1}, &made.loss));
  return made;
}

static float read_loss(const batch *use) {
  float loss = 0;
  TRY(heed_tensor_download(use->loss, &loss, sizeof loss));  // waits until the device has got there
  return loss;
}

// The loss on the part of the text that the model does not train on.
static double validate(heed_transformer *model, const text *all, const batch *use) {
  double sum = 0;
  for (uint64_t i = 0; i < VALIDATION_BATCHES; i++) {
    read_batch(all, all->training, all->count - all->training, i, use->tokens, use->targets);
    TRY(heed_transformer_evaluate(model, use->tokens, use->targets, use->loss));
    sum += (double)read_loss(use);
  }
  return sum / VALIDATION_BATCHES;
}

// Nothing in a step waits: calls are queued, and return. Only a report reads the loss, and waits for it.
static void train(heed_transformer *model, const text *all, const batch *use, int64_t steps) {
  heed_optimizer *optimizer = make_optimizer(model);
  const heed_schedule schedule = {.kind = HEED_SCHEDULE_COSINE,  // the rate rises for a tenth of the steps, then falls
                                  .lr = 1e-3,
                                  .min_lr = 1e-4,
                                  .warmup = steps / 10,
                                  .decay_steps = steps};
  const int64_t between = steps < REPORTS ? 1 : steps / REPORTS;
  const double began = seconds();
  for (int64_t step = 0; step < steps; step++) {
    read_batch(all, 0, all->training, (uint64_t)step, use->tokens, use->targets);
    TRY(heed_transformer_loss(model, use->tokens, use->targets, NULL, NULL, use->loss));  // and all gradients
    TRY(heed_optimizer_set_learning_rate(optimizer, heed_schedule_rate(&schedule, step)));
    TRY(heed_optimizer_step(optimizer));
    if (step % between != 0 && step != steps - 1) continue;
    const double loss = (double)read_loss(use);
    printf("step %5lld/%lld   loss %.4f   %.0f tokens/s\n", (long long)(step + 1), (long long)steps, loss,
           (double)((step + 1) * B * T) / (seconds() - began));
    fflush(stdout);
  }
  heed_optimizer_destroy(optimizer);
}

// ---------------------------------------------------------------- writing

// Draws a byte with the probabilities softmax(logits / temperature): a low temperature prefers what is likely. logits, guess: [1, V].
// Softmax runs on the device; the draw is one walk over 256 numbers.
static uint8_t draw(heed_tensor *logits, heed_tensor *guess, double temperature, int64_t place) {
  float probabilities[V];
  TRY(heed_add(1 / temperature, logits, 0, logits, logits));
  TRY(heed_softmax_fwd(logits, -1, guess));
  TRY(heed_tensor_download(guess, probabilities, sizeof probabilities));
  double left = heed_random_uniform(SEED, 0, (uint64_t)place);
  for (int id = 0; id < V; id++)
    if ((left -= (double)probabilities[id]) < 0) return (uint8_t)id;
  return ' ';  // the probabilities sum to 1 but for rounding
}

// Appends tokens [1, count] to what the cache holds, and gives the logits of the byte that follows. The cache keeps the keys and
// values of all places so far, so that one more byte costs one place, and not the whole text again.
static void decode(heed_transformer *model, heed_kv_cache *cache, const uint8_t *bytes, int64_t count,
                   heed_tensor *logits) {
  heed_tensor *tokens = NULL;
  TRY(heed_tensor_create_from(heed_tensor_context(logits), HEED_U8, 2, (int64_t[]){1, count}, bytes, &tokens));
  TRY(heed_transformer_decode(model, cache, tokens, logits));
  heed_tensor_destroy(tokens);  // the queued work keeps what it needs
}

// GPT-2 knows T places. When they are full, the second half of the text moves to the front, and writing goes on behind it.
static void generate(heed_transformer *model, heed_context *ctx, const char *prompt, double temperature) {
  uint8_t written[T + WRITTEN];
  int64_t count = (int64_t)strlen(prompt), fed = 0;
  const int64_t end = count + WRITTEN;
  heed_kv_cache *cache = NULL;
  heed_tensor *logits = NULL, *guess = NULL;
  TRY(heed_kv_cache_create(model, 1, T, &cache));
  TRY(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){1, V}, &logits));
  TRY(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){1, V}, &guess));
  memcpy(written, prompt, (size_t)count);
  printf("%s", prompt);
  while (count < end) {
    if (heed_kv_cache_length(cache) + count - fed > T) {
      TRY(heed_kv_cache_truncate(cache, 0));
      fed = count - T / 2;
    }
    decode(model, cache, written + fed, count - fed, logits);
    fed = count;
    written[count] = draw(logits, guess, temperature, count);
    putchar(written[count++]);
  }
  putchar('\n');
  heed_tensor_destroy(guess);
  heed_tensor_destroy(logits);
  heed_kv_cache_destroy(cache);
}

// ---------------------------------------------------------------- all of it

int main(int argc, char **argv) {
  char *rest = NULL;
  const long steps = argc == 3 ? strtol(argv[2], &rest, 10) : 1000;
  if (argc < 2 || argc > 3 || (rest && *rest) || steps < 1) {
    fprintf(stderr, "usage: %s FILE [STEPS]\n", argv[0]);
    return 2;
  }
  text all = read_text(argv[1]);
  heed_context *ctx = NULL;
  TRY(heed_open(NULL, &ctx));
  printf("%s: %lld bytes, on %s\n", argv[1], (long long)all.count, heed_context_device(ctx)->name);

  heed_transformer *model = make_model(ctx);
  describe(model);
  batch use = make_batch(ctx);
  printf("validation loss %.4f: whoever guesses among %d bytes has ln %d = 5.5452\n", validate(model, &all, &use), V,
         V);
  train(model, &all, &use, steps);
  printf("validation loss %.4f\n\n", validate(model, &all, &use));
  generate(model, ctx, "The ", 0.8);

  heed_tensor_destroy(use.tokens);
  heed_tensor_destroy(use.targets);
  heed_tensor_destroy(use.loss);
  heed_transformer_destroy(model);
  heed_context_destroy(ctx);
  free(all.bytes);
  return 0;
}
