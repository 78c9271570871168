// Sums of gradients over micro-batches, in an order that their number alone defines; and the pieces by which the norm of a sum is taken.
// heed_add() does the sums.
#include <inttypes.h>
#include <stdlib.h>

#include "base/status.h"
#include "nn/module.h"

enum { LEVELS = 62 };

struct heed_grad_tree {
  heed_tensor *grads;         // [N], the gradients of all parameters
  heed_tensor *sums[LEVELS];  // of 2^level leaves on the left; as many as there are levels below the root
  int64_t run, leaves, done;  // micro-batches of a leaf; leaves here; micro-batches that are summed
  int64_t pieces;
  int64_t added;  // elements, of the last micro-batch, by parts
};

int64_t heed_grad_pieces(int64_t micro_batches) { return micro_batches > 0 ? micro_batches & -micro_batches : 1; }

// Pieces begin at multiples of 16 elements, so that vectors do not straddle them.
int64_t heed_grad_piece(int64_t count, int64_t pieces, int64_t piece) {
  enum { ALIGNED = 16 };
  const int64_t each = (count / pieces + (count % pieces != 0) + ALIGNED - 1) / ALIGNED * ALIGNED;
  return each > 0 && piece <= count / each ? piece * each : count;
}

static heed_status check_shares(int64_t micro_batches, int64_t own) {
  const int64_t pieces = heed_grad_pieces(micro_batches);
  HEED__REQUIRE(micro_batches > 0 && own > 0 && own <= micro_batches && micro_batches % own == 0,
                HEED_ERROR_INVALID_ARGUMENT, "grad_tree: %" PRId64 " of %" PRId64 " micro-batches are no equal share",
                own, micro_batches);
  const int64_t shares = micro_batches / own;
  HEED__REQUIRE((shares & (shares - 1)) == 0 && shares <= pieces, HEED_ERROR_INVALID_ARGUMENT,
                "grad_tree: %" PRId64 " micro-batches have no %" PRId64 " shares that are whole branches of their tree",
                micro_batches, shares);
  return HEED_OK;
}

static heed_status fill_tree(heed_grad_tree *tree, const heed_parameter *parameters, size_t count) {
  const heed_tensor **parts = calloc(count + 1, sizeof *parts);
  HEED__REQUIRE(parts, HEED_ERROR_OUT_OF_MEMORY, "grad_tree: no memory for %zu parameters", count);
  for (size_t i = 0; i < count; ++i) parts[i] = parameters[i].grad;
  const heed_status status = heed_tensor_join(parts, count, &tree->grads);
  free(parts);
  if (status != HEED_OK) return heed__fail_prefix(status, "grad_tree");
  const int64_t elements = heed_tensor_count(tree->grads);
  for (int level = 0; (int64_t)1 << level < tree->leaves; ++level)
    HEED__TRY(heed_tensor_create(heed_tensor_context(tree->grads), heed_tensor_dtype(tree->grads), 1, &elements,
                                 &tree->sums[level]));
  return HEED_OK;
}

heed_status heed_grad_tree_create(const heed_parameter *parameters, size_t count, int64_t micro_batches, int64_t own,
                                  heed_grad_tree **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_grad_tree_create: out is NULL");
  *out = NULL;
  HEED__REQUIRE(parameters && count > 0, HEED_ERROR_INVALID_ARGUMENT,
                "heed_grad_tree_create: parameters is NULL, or empty");
  HEED__TRY(check_shares(micro_batches, own));
  heed_grad_tree *tree = calloc(1, sizeof *tree);
  HEED__REQUIRE(tree, HEED_ERROR_OUT_OF_MEMORY, "grad_tree: no memory");
  tree->pieces = heed_grad_pieces(micro_batches);
  tree->run = micro_batches / tree->pieces;
  tree->leaves = own / tree->run;
  const heed_status status = fill_tree(tree, parameters, count);
  if (status != HEED_OK) {
    heed_grad_tree_destroy(tree);
    return status;
  }
  *out = tree;
  return HEED_OK;
}

void heed_grad_tree_destroy(heed_grad_tree *tree) {
  if (!tree) return;
  heed_tensor_destroy(tree->grads);
  for (int level = 0; level < LEVELS; ++level) heed_tensor_destroy(tree->sums[level]);
  free(tree);
}

bool heed_grad_tree_accumulates(const heed_grad_tree *tree) { return tree && tree->done % tree->run != 0; }
heed_tensor *heed_grad_tree_grads(const heed_grad_tree *tree) { return tree ? tree->grads : NULL; }

// As a binary counter carries: a leaf joins the sums on its left that have as many leaves as what it has become, and waits beside the rest.
heed_status heed_grad_tree_add(heed_grad_tree *tree) {
  HEED__REQUIRE(tree, HEED_ERROR_INVALID_ARGUMENT, "heed_grad_tree_add: the tree is NULL");
  const int64_t done = tree->done + 1, leaf = done / tree->run - 1;
  int level = 0;
  if (done % tree->run == 0) {
    for (; leaf >> level & 1; ++level) HEED__TRY(heed_add(1, tree->sums[level], 1, tree->grads, tree->grads));
    if (leaf + 1 < tree->leaves) HEED__TRY(heed_copy(tree->grads, tree->sums[level]));
  }
  tree->done = done < tree->leaves * tree->run ? done : 0;
  return HEED_OK;
}

static heed_status add_waiting(const heed_grad_tree *tree, int level, int64_t first, int64_t count) {
  heed_tensor *left = NULL, *right = NULL;
  heed_status status = heed_tensor_slice(tree->sums[level], 0, first, count, &left);
  if (status == HEED_OK) status = heed_tensor_slice(tree->grads, 0, first, count, &right);
  if (status == HEED_OK) status = heed_add(1, left, 1, right, right);
  heed_tensor_destroy(left);
  heed_tensor_destroy(right);
  return status;
}

heed_status heed_grad_tree_add_part(heed_grad_tree *tree, int64_t first, int64_t count) {
  HEED__REQUIRE(tree, HEED_ERROR_INVALID_ARGUMENT, "heed_grad_tree_add_part: the tree is NULL");
  HEED__REQUIRE(tree->done + 1 == tree->leaves * tree->run, HEED_ERROR_INVALID_ARGUMENT,
                "grad_tree: parts are of the last of %" PRId64 " micro-batches, and %" PRId64 " came before",
                tree->leaves * tree->run, tree->done);
  for (int level = 0; (int64_t)1 << level < tree->leaves; ++level) HEED__TRY(add_waiting(tree, level, first, count));
  tree->added += count;
  if (tree->added < heed_tensor_count(tree->grads)) return HEED_OK;
  tree->added = tree->done = 0;
  return HEED_OK;
}

static heed_status piece_squares(const heed_grad_tree *tree, int64_t piece, heed_tensor *squares) {
  const int64_t elements = heed_tensor_count(tree->grads);
  const int64_t first = heed_grad_piece(elements, tree->pieces, piece);
  const int64_t end = heed_grad_piece(elements, tree->pieces, piece + 1);
  heed_tensor *part = NULL, *sum = NULL;
  heed_status status = heed_tensor_slice(squares, 0, piece, 1, &sum);
  if (status == HEED_OK) status = heed_tensor_slice(tree->grads, 0, first, end - first, &part);
  if (status == HEED_OK) status = heed_sum_squares((const heed_tensor *[]){part}, 1, sum);
  heed_tensor_destroy(part);
  heed_tensor_destroy(sum);
  return status;
}

heed_status heed_grad_tree_squares(const heed_grad_tree *tree, int64_t first, int64_t count, heed_tensor *squares) {
  HEED__REQUIRE(tree && squares, HEED_ERROR_INVALID_ARGUMENT, "heed_grad_tree_squares: an argument is NULL");
  HEED__REQUIRE(heed__has_shape(squares, 1, &tree->pieces) && heed_tensor_dtype(squares) == HEED_F32, HEED_ERROR_SHAPE,
                "grad_tree: squares is %s; F32[%" PRId64 "] is needed", heed_tensor_describe(squares), tree->pieces);
  HEED__REQUIRE(first >= 0 && count >= 0 && first <= tree->pieces && count <= tree->pieces - first,
                HEED_ERROR_INVALID_ARGUMENT, "grad_tree: %" PRId64 " pieces from %" PRId64 " on, of %" PRId64, count,
                first, tree->pieces);
  for (int64_t i = first; i < first + count; ++i) HEED__TRY(piece_squares(tree, i, squares));
  return HEED_OK;
}
