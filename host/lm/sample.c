// The choice of the next token from its logits.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/status.h"
#include <heed/lm.h>

// Random streams below 2^32 belong to initial values; this one is no multiple of others.
#define SAMPLE_STREAM (UINT64_C(3) << 32)

struct candidate {
  double logit, weight;  // weight: exp of how far it is below the highest, over the temperature
  int64_t id;
};

// Higher logits come first, and of equal ones the lower id.
static bool comes_before(const struct candidate *a, const struct candidate *b) {
  return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

static heed_status check(const float *logits, int64_t vocab, const heed_sample_options *o) {
  HEED__REQUIRE(vocab >= 1, HEED_ERROR_INVALID_ARGUMENT, "sample: vocab is %" PRId64 "; at least 1 token is needed",
                vocab);
  HEED__REQUIRE(o->temperature >= 0 && isfinite(o->temperature), HEED_ERROR_INVALID_ARGUMENT,
                "sample: temperature is %g; a number of at least 0 is needed", o->temperature);
  HEED__REQUIRE(o->top_k >= 0, HEED_ERROR_INVALID_ARGUMENT, "sample: top_k is %" PRId64 "; it must be at least 0",
                o->top_k);
  HEED__REQUIRE(o->top_p >= 0 && o->top_p <= 1, HEED_ERROR_INVALID_ARGUMENT,
                "sample: top_p is %g; it must be from 0 to 1", o->top_p);
  for (int64_t i = 0; i < vocab; ++i)
    HEED__REQUIRE(logits[i] < INFINITY, HEED_ERROR_INVALID_ARGUMENT,
                  "sample: the logit of token %" PRId64 " is %g; it must be neither NaN nor +infinity", i,
                  (double)logits[i]);
  return HEED_OK;
}

static int64_t highest(const float *logits, int64_t vocab) {
  int64_t best = 0;
  for (int64_t i = 1; i < vocab; ++i)
    if (logits[i] > logits[best]) best = i;
  return best;
}

// ---------------------------------------------------------------- the first ones
// A heap with the first candidate on top gives the first few of a large vocabulary without sorting the rest.

static void sink(struct candidate *heap, int64_t count, int64_t i) {
  const struct candidate sinking = heap[i];
  for (int64_t child = 2 * i + 1; child < count; child = 2 * i + 1) {
    if (child + 1 < count && comes_before(&heap[child + 1], &heap[child])) ++child;
    if (!comes_before(&heap[child], &sinking)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = sinking;
}

// Takes the first one off, and leaves it behind the others, so that the heap's end holds them from last to first.
static const struct candidate *take(struct candidate *heap, int64_t *count) {
  const struct candidate first = heap[0];
  heap[0] = heap[--*count];
  heap[*count] = first;
  sink(heap, *count, 0);
  return &heap[*count];
}

// ---------------------------------------------------------------- the draw

// Narrows [first, end) of all candidates to those that the options leave, and sums their weights.
static const struct candidate *keep(struct candidate *all, int64_t vocab, const heed_sample_options *o, int64_t *kept,
                                    double *sum) {
  const bool by_k = o->top_k > 0 && o->top_k<vocab, by_p = o->top_p> 0 && o->top_p < 1;
  int64_t left = vocab;
  *sum = 0;
  *kept = vocab;
  for (int64_t i = (vocab - 1) / 2; (by_k || by_p) && i >= 0; --i) sink(all, vocab, i);
  for (int64_t i = 0; i < vocab && by_k && i < o->top_k; ++i) *sum += take(all, &left)->weight;
  for (int64_t i = 0; i < vocab && !by_k; ++i) *sum += all[i].weight;
  if (by_k) *kept = o->top_k;
  if (!by_p) return all + vocab - *kept;
  const double wanted = o->top_p * *sum;
  const int64_t most = *kept;
  *sum = 0;
  for (*kept = 0; *kept < most && *sum < wanted; ++*kept)
    *sum += by_k ? all[vocab - 1 - *kept].weight : take(all, &left)->weight;
  return all + vocab - *kept;
}

static int64_t draw(const struct candidate *kept, int64_t count, double sum, double uniform) {
  double below = 0;
  for (int64_t i = 0; i < count; ++i) {
    below += kept[i].weight;
    if (uniform * sum < below) return kept[i].id;
  }
  return kept[count - 1].id;  // the sum was rounded
}

heed_status heed_sample(const float *logits, int64_t vocab, const heed_sample_options *options, int64_t position,
                        int64_t *token) {
  HEED__REQUIRE(logits && options && token, HEED_ERROR_INVALID_ARGUMENT, "heed_sample: an argument is NULL");
  HEED__TRY(check(logits, vocab, options));
  const int64_t best = highest(logits, vocab);
  HEED__REQUIRE(logits[best] > -INFINITY, HEED_ERROR_INVALID_ARGUMENT, "sample: all logits are -infinity");
  *token = best;
  if (options->temperature == 0) return HEED_OK;
  struct candidate *all = malloc((size_t)vocab * sizeof *all);
  HEED__REQUIRE(all, HEED_ERROR_OUT_OF_MEMORY, "sample: no memory for %" PRId64 " tokens", vocab);
  const double top = (double)logits[best];
  for (int64_t i = 0; i < vocab; ++i)
    all[i] = (struct candidate){(double)logits[i], exp(((double)logits[i] - top) / options->temperature), i};
  double sum;
  int64_t count;
  const struct candidate *kept = keep(all, vocab, options, &count, &sum);
  *token = draw(kept, count, sum, heed_random_uniform(options->seed, SAMPLE_STREAM, (uint64_t)position));
  free(all);
  return HEED_OK;
}
