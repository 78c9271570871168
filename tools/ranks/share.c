// A rank's share of the micro-batches and of the optimizer's state.
#include "ranks/share.h"

#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------- the range

// The elements of a rank.
static void range_of(const tool_share *share, int rank, int64_t *first, int64_t *end) {
  const int64_t each = share->pieces / tool_ranks_count(share->ranks);
  const int64_t piece = tool_ranks_first_piece(share->ranks, share->pieces, rank);
  *first = heed_grad_piece(share->elements, share->pieces, piece);
  *end = heed_grad_piece(share->elements, share->pieces, piece + each);
}

// What of [first, end) lies in the `count` elements from `at` on, counted from there. Returns how many they are.
static int64_t overlap(int64_t first, int64_t end, int64_t at, int64_t count, int64_t *from) {
  const int64_t low = first > at ? first : at, high = end < at + count ? end : at + count;
  *from = low - at;
  return high > low ? high - low : 0;
}

static int64_t offset_of(const tool_share *share, size_t i) {
  int64_t offset = 0;
  for (size_t p = 0; p < i; p++) offset += heed_tensor_count(share->parameters[p].value);
  return offset;
}

// ---------------------------------------------------------------- making it

static int join_values(tool_share *share) {
  const heed_tensor **parts = calloc(share->count + 1, sizeof *parts);
  if (!parts) return tool_fail(share->command, "out of memory");
  for (size_t i = 0; i < share->count; i++) parts[i] = share->parameters[i].value;
  const heed_status status = heed_tensor_join(parts, share->count, &share->values);
  free(parts);
  return status == HEED_OK ? TOOL_DONE : tool_fail_status(share->command, status);
}

// A part of a matrix stays one of rank 2, by which the optimizer knows what decays.
static int add_view(tool_share *share, size_t i, int64_t at, int64_t count) {
  const heed_parameter *whole = &share->parameters[i];
  heed_parameter *part = &share->views[share->own_count];
  const int64_t dims[] = {1, count}, strides[] = {count, 1};
  const int rank = heed_tensor_rank(whole->value) >= 2 ? 2 : 1, skip = 2 - rank;
  if (share->own_count == 0) share->own_first = i;
  share->own_count++;
  part->name = whole->name;
  TOOL_HEED(share->command, heed_tensor_view(share->values, rank, dims + skip, strides + skip, at, &part->value));
  TOOL_HEED(share->command,
            heed_tensor_view(heed_grad_tree_grads(share->tree), rank, dims + skip, strides + skip, at, &part->grad));
  return TOOL_DONE;
}

static int make_views(tool_share *share) {
  share->views = calloc(share->count + 1, sizeof *share->views);
  if (!share->views) return tool_fail(share->command, "out of memory");
  range_of(share, tool_ranks_own(share->ranks), &share->first, &share->end);
  for (size_t i = 0; i < share->count; i++) {
    const int64_t at = offset_of(share, i);
    int64_t from;
    const int64_t count = overlap(share->first, share->end, at, heed_tensor_count(share->parameters[i].value), &from);
    if (count > 0) TOOL_TRY(add_view(share, i, at + from, count));
  }
  share->own = share->views;
  // Every rank knows whether the last piece of all, the shortest one, has elements.
  if (heed_grad_piece(share->elements, share->pieces, share->pieces - 1) == share->elements)
    return tool_fail(share->command, "the model has too few parameters for %d ranks", tool_ranks_count(share->ranks));
  return TOOL_DONE;
}

static int make_buffers(tool_share *share) {
  const heed_tensor *grads = heed_grad_tree_grads(share->tree);
  heed_context *ctx = heed_tensor_context(grads);
  const int64_t one = 1, half = share->elements - heed_grad_piece(share->elements, share->pieces, share->pieces / 2);
  const int64_t upper = heed_grad_piece(share->elements, share->pieces, share->pieces / 2);
  const int64_t room = half > upper ? half : upper;
  if (share->ranks) {
    const int64_t numbers = share->pieces + share->micro_batches;
    TOOL_HEED(share->command, heed_tensor_create(ctx, HEED_F32, 1, &numbers, &share->numbers));
    TOOL_HEED(share->command, heed_tensor_slice(share->numbers, 0, 0, share->pieces, &share->squares));
    TOOL_HEED(share->command, heed_tensor_create(ctx, HEED_F32, 1, &one, &share->square));
  } else if (share->pieces > 1) {
    TOOL_HEED(share->command, heed_tensor_create(ctx, HEED_F32, 1, &share->pieces, &share->squares));
    TOOL_HEED(share->command, heed_tensor_create(ctx, HEED_F32, 1, &one, &share->square));
  }
  if (share->ranks)
    TOOL_HEED(share->command, heed_tensor_create(ctx, heed_tensor_dtype(grads), 1, &room, &share->room));
  return TOOL_DONE;
}

int tool_share_open(const char *command, tool_ranks *ranks, const heed_parameter *parameters, size_t count,
                    int64_t micro_batches, tool_share *share) {
  const int64_t own = micro_batches / tool_ranks_count(ranks);
  *share = (tool_share){.command = command,
                        .ranks = ranks,
                        .parameters = parameters,
                        .count = count,
                        .micro_batches = micro_batches,
                        .first_micro = own * tool_ranks_own(ranks),
                        .own_micro = own,
                        .pieces = heed_grad_pieces(micro_batches),
                        .own = parameters,
                        .own_count = count};
  TOOL_HEED(command, heed_grad_tree_create(parameters, count, micro_batches, own, &share->tree));
  share->elements = share->end = heed_tensor_count(heed_grad_tree_grads(share->tree));
  TOOL_TRY(make_buffers(share));
  if (!ranks) return TOOL_DONE;
  share->own_count = 0;
  TOOL_TRY(join_values(share));
  TOOL_TRY(make_views(share));
  return tool_ranks_can_sum_early(ranks, heed_grad_tree_grads(share->tree), &share->early);
}

void tool_share_close(tool_share *share) {
  for (size_t i = 0; share->views && i < share->own_count; i++) {
    heed_tensor_destroy(share->views[i].value);
    heed_tensor_destroy(share->views[i].grad);
  }
  free(share->views);
  heed_grad_tree_destroy(share->tree);
  heed_tensor_destroy(share->values);
  heed_tensor_destroy(share->room);
  heed_tensor_destroy(share->squares);
  heed_tensor_destroy(share->numbers);
  heed_tensor_destroy(share->square);
  *share = (tool_share){0};
}

// ---------------------------------------------------------------- a step

// What a rank tells the others in each step, beside its verdicts: the squares of its pieces, the losses of its micro-batches.
static size_t message_bytes(const tool_share *share) {
  const int64_t numbers = (share->pieces + share->micro_batches) / tool_ranks_count(share->ranks);
  return sizeof(uint64_t) + (size_t)numbers * sizeof(float);
}

// Copies between a rank's message and its places among all numbers.
static void copy_part(const tool_share *share, int rank, bool in, char *message, float *numbers) {
  const int ranks = tool_ranks_count(share->ranks);
  const int64_t places[] = {tool_ranks_first_piece(share->ranks, share->pieces, rank),
                            share->pieces + rank * share->own_micro};
  const int64_t counts[] = {share->pieces / ranks, share->own_micro};
  char *at = message + sizeof(uint64_t);
  for (int i = 0; i < 2; i++) {
    const size_t bytes = (size_t)counts[i] * sizeof *numbers;
    memcpy(in ? (void *)(numbers + places[i]) : at, in ? at : (void *)(numbers + places[i]), bytes);
    at += bytes;
  }
}

static int exchange(const tool_share *share, float *numbers, char *own, char *all) {
  const heed_context *ctx = heed_tensor_context(share->numbers);
  const int ranks = tool_ranks_count(share->ranks);
  const size_t bytes = message_bytes(share);
  const uint64_t verdicts = tool_ranks_verdicts(share->ranks, ctx);
  memcpy(own, &verdicts, sizeof verdicts);
  copy_part(share, tool_ranks_own(share->ranks), false, own, numbers);
  TOOL_TRY(tool_ranks_gather(share->ranks, own, bytes, all));
  uint64_t *list = (uint64_t *)(void *)own;  // it has been sent, and has room for one of each rank
  for (int rank = 0; rank < ranks; rank++) {
    memcpy(&list[rank], all + (size_t)rank * bytes, sizeof *list);
    copy_part(share, rank, true, all + (size_t)rank * bytes, numbers);
  }
  return tool_ranks_agree(share->ranks, ctx, list);
}

// All squares and losses on every rank, through one copy from the device and one to it.
static int exchange_all(const tool_share *share, heed_tensor *losses) {
  const int64_t count = heed_tensor_count(share->numbers);
  const size_t ranks = (size_t)tool_ranks_count(share->ranks), bytes = message_bytes(share);
  heed_tensor *part = NULL;
  TOOL_HEED(share->command, heed_tensor_slice(share->numbers, 0, share->pieces, share->micro_batches, &part));
  heed_status copied = heed_copy(losses, part);
  float *numbers = malloc((size_t)count * sizeof *numbers);
  char *own = malloc(bytes + ranks * sizeof(uint64_t)), *all = malloc(ranks * bytes);
  int status = numbers && own && all ? TOOL_DONE : tool_fail(share->command, "out of memory");
  if (status == TOOL_DONE && copied == HEED_OK) copied = heed_tensor_download_f32(share->numbers, numbers, count);
  if (status == TOOL_DONE && copied == HEED_OK) status = exchange(share, numbers, own, all);
  if (status == TOOL_DONE && copied == HEED_OK) copied = heed_tensor_upload_f32(share->numbers, numbers, count);
  if (status == TOOL_DONE && copied == HEED_OK) copied = heed_copy(part, losses);
  heed_tensor_destroy(part);
  free(numbers);
  free(own);
  free(all);
  return status == TOOL_DONE && copied != HEED_OK ? tool_fail_status(share->command, copied) : status;
}

void tool_share_begin(tool_share *share) {
  share->trace = (tool_trace){.began = tool_seconds(), .bytes = tool_ranks_bytes(share->ranks)};
}

bool tool_share_is_last(const tool_share *share, int64_t micro) {
  return share->early && micro == share->first_micro + share->own_micro - 1;
}

int tool_share_start_sum(tool_share *share) {
  return tool_ranks_sum_begin(share->ranks, heed_grad_tree_grads(share->tree), share->pieces, &share->sum);
}

heed_status tool_share_final(size_t first, size_t count, void *user) {
  tool_share *share = user;
  const int64_t at = offset_of(share, first), elements = offset_of(share, first + count) - at;
  const heed_status status = heed_grad_tree_add_part(share->tree, at, elements);
  if (status == HEED_OK)
    (void)tool_ranks_sum_add(share->ranks, share->sum, at, elements);  // it ends the run if it fails
  return status;
}

// The sum over all ranks, in this rank's elements.
static int meet(tool_share *share) {
  tool_trace *trace = &share->trace;
  if (share->sum) {
    const int status = tool_ranks_sum_end(share->ranks, share->sum, &trace->sum, &trace->exposed);
    share->sum = NULL;
    trace->computed = tool_seconds() - trace->exposed;
    return status;
  }
  if (share->ranks) TOOL_HEED(share->command, heed_sync(heed_tensor_context(share->values)));
  trace->computed = tool_seconds();
  TOOL_TRY(tool_ranks_reduce(share->ranks, heed_grad_tree_grads(share->tree), share->pieces, share->room));
  trace->sum = trace->exposed = tool_seconds() - trace->computed;
  return TOOL_DONE;
}

int tool_share_sum(tool_share *share, heed_tensor *losses) {
  if (share->pieces == 1 || (share->no_norm && !share->ranks)) return TOOL_DONE;
  const int64_t each = share->pieces / tool_ranks_count(share->ranks);
  const int64_t first = tool_ranks_first_piece(share->ranks, share->pieces, tool_ranks_own(share->ranks));
  TOOL_TRY(meet(share));
  TOOL_HEED(share->command, heed_grad_tree_squares(share->tree, first, each, share->squares));
  if (share->ranks) TOOL_TRY(exchange_all(share, losses));
  TOOL_HEED(share->command, heed_reduce_sum(share->squares, share->square, false));
  return TOOL_DONE;
}

int tool_share_spread(tool_share *share) {
  if (!share->ranks) return TOOL_DONE;
  tool_trace *trace = &share->trace;
  const double began = tool_seconds();
  TOOL_TRY(tool_ranks_spread(share->ranks, share->values, share->pieces));
  trace->spread = tool_seconds() - began;
  trace->bytes = tool_ranks_bytes(share->ranks) - trace->bytes;
  return TOOL_DONE;
}

// ---------------------------------------------------------------- what the optimizer remembers

bool tool_share_has(const tool_share *share, const heed_optimizer *optimizer, const char *part) {
  return share->own_count > 0 && heed_optimizer_state(optimizer, part, 0);
}

// Where a rank's elements of parameter i are in it.
static int64_t part_of(const tool_share *share, int rank, size_t i, int64_t *from) {
  int64_t first, end;
  range_of(share, rank, &first, &end);
  return overlap(first, end, offset_of(share, i), heed_tensor_count(share->parameters[i].value), from);
}

static int download(const tool_share *share, const heed_optimizer *optimizer, const char *part, size_t i, float *data) {
  int64_t from;
  const int64_t count = part_of(share, tool_ranks_own(share->ranks), i, &from);
  if (count == 0) return TOOL_DONE;
  TOOL_HEED(share->command,
            heed_tensor_download_f32(heed_optimizer_state(optimizer, part, i - share->own_first), data + from, count));
  return TOOL_DONE;
}

int tool_share_gather(const tool_share *share, const heed_optimizer *optimizer, const char *part, size_t i,
                      float *data) {
  TOOL_TRY(tool_ranks_vote(share->ranks, download(share, optimizer, part, i, data)));
  const int own = tool_ranks_own(share->ranks);
  for (int rank = 1; rank < tool_ranks_count(share->ranks); rank++) {
    int64_t from;
    const int64_t count = part_of(share, rank, i, &from);
    if (count > 0 && (own == 0 || own == rank))
      TOOL_TRY(tool_ranks_bring(share->ranks, rank, data + from, (size_t)count * sizeof *data));
  }
  return TOOL_DONE;
}

int tool_share_set(const tool_share *share, const heed_optimizer *optimizer, const char *part, size_t i,
                   const float *data) {
  int64_t from;
  const int64_t count = part_of(share, tool_ranks_own(share->ranks), i, &from);
  if (count == 0) return TOOL_DONE;
  TOOL_HEED(share->command,
            heed_tensor_upload_f32(heed_optimizer_state(optimizer, part, i - share->own_first), data + from, count));
  return TOOL_DONE;
}
