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
  if (share->pieces > 1) {
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
  heed_tensor_destroy(share->square);
  *share = (tool_share){0};
}

// ---------------------------------------------------------------- a step

static int move_part(const tool_share *share, heed_tensor *tensor, int64_t first, int64_t count, bool up, float *data) {
  heed_tensor *part = NULL;
  TOOL_HEED(share->command, heed_tensor_slice(tensor, 0, first, count, &part));
  const heed_status status =
      up ? heed_tensor_upload_f32(part, data, count) : heed_tensor_download_f32(part, data, count);
  heed_tensor_destroy(part);
  return status == HEED_OK ? TOOL_DONE : tool_fail_status(share->command, status);
}

// Lays what each rank has beside one another: `from` has all[rank] = {squares, losses}.
static int lay_out(const tool_share *share, heed_tensor *losses, const float *from, float *scratch) {
  const int ranks = tool_ranks_count(share->ranks);
  const int64_t pieces = share->pieces / ranks, micro = share->own_micro;
  for (int rank = 0; rank < ranks; rank++) {
    const int64_t first = tool_ranks_first_piece(share->ranks, share->pieces, rank);
    memcpy(scratch + first, from + rank * (pieces + micro), (size_t)pieces * sizeof *scratch);
    memcpy(scratch + share->pieces + rank * micro, from + rank * (pieces + micro) + pieces,
           (size_t)micro * sizeof *scratch);
  }
  TOOL_TRY(move_part(share, share->squares, 0, share->pieces, true, scratch));
  return move_part(share, losses, 0, share->micro_batches, true, scratch + share->pieces);
}

static int exchange(const tool_share *share, heed_tensor *losses, float *own, float *all, float *scratch) {
  const int ranks = tool_ranks_count(share->ranks);
  const int64_t pieces = share->pieces / ranks, micro = share->own_micro;
  const int64_t first = tool_ranks_first_piece(share->ranks, share->pieces, tool_ranks_own(share->ranks));
  TOOL_TRY(move_part(share, share->squares, first, pieces, false, own));
  TOOL_TRY(move_part(share, losses, share->first_micro, micro, false, own + pieces));
  TOOL_TRY(tool_ranks_gather(share->ranks, own, (size_t)(pieces + micro) * sizeof *own, all));
  return lay_out(share, losses, all, scratch);
}

static int exchange_all(const tool_share *share, heed_tensor *losses) {
  const size_t numbers = (size_t)(share->pieces + share->micro_batches);
  float *own = malloc(3 * numbers * sizeof *own);
  if (!own) return tool_fail(share->command, "out of memory");
  const int status = exchange(share, losses, own, own + numbers, own + 2 * numbers);
  free(own);
  return status;
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
  if (share->pieces == 1) return TOOL_DONE;
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
