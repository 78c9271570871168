// Tuning: which kernel, with which tile sizes, computes a class of calls on a device. heed chooses by itself. A table of choices overrides
// it for the classes that the table names; `heed tune` measures on the device and makes one. A choice changes the time of a call; its
// result changes only by rounding.
//
// A choice is a text, the same as in the table's file: "default", the name of a variant, or a variant with values:
//   cpu: vectors=2 rows=128
// heed decides what a choice leaves out, and a value of 0 counts as left out. Switches are 1 for yes and -1 for no.
//
// A context reads its table when it is opened, see heed_open_options.tuning. If the table in the usual place is damaged, or was made for
// another device, driver or version of heed, the context ignores it and heed_context_notice() says so. If the caller or HEED_TUNE named such
// a table, opening fails.
#ifndef HEED_TUNE_H
#define HEED_TUNE_H

#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// X(enumerator, name in the file, what the four sizes of a problem are)
#define HEED_TUNE_OP_LIST(X)                                           \
  X(GEMM, "gemm", "m", "n", "k", "batch")                              \
  X(ATTENTION_FWD, "attention_fwd", "dim", "queries", "keys", "heads") \
  X(ATTENTION_BWD, "attention_bwd", "dim", "queries", "keys", "heads")

typedef enum heed_tune_op {
#define HEED_TUNE_OP_ENUM(op, name, a, b, c, d) HEED_TUNE_##op,
  HEED_TUNE_OP_LIST(HEED_TUNE_OP_ENUM)
#undef HEED_TUNE_OP_ENUM
} heed_tune_op;

enum { HEED_TUNE_SIZES = 4, HEED_TUNE_TEXT = 192 };

// A call, described by what choices depend on.
typedef struct heed_tune_problem {
  heed_tune_op op;
  heed_dtype dtype;
  bool trans_a, trans_b;           // gemm
  bool causal;                     // attention: any kind of it
  int64_t sizes[HEED_TUNE_SIZES];  // gemm: m, n, k, and matrices. attention: the larger of D and Dv, Lq, Lk, and B · Hq
} heed_tune_problem;

typedef struct heed_tune_choice {
  char text[HEED_TUNE_TEXT];
} heed_tune_choice;

// All calls return UNSUPPORTED for a context on the host, and INVALID_ARGUMENT for a text that is no choice or that names a variant or
// a value that this version of heed does not have.

// Tells which choice the context takes for a problem by its table: "default" if the table has none, or if heed has seen the choice
// compute wrong on this device.
HEED_API HEED_MUST_CHECK heed_status heed_tune_get(heed_context *ctx, const heed_tune_problem *problem,
                                                   heed_tune_choice *choice);
// Enters a choice for the class of the problem: all problems with sizes of about the same magnitude. "default" removes the entry. The
// table's file shows `speedup`, over heed's own choice, to its readers.
HEED_API HEED_MUST_CHECK heed_status heed_tune_set(heed_context *ctx, const heed_tune_problem *problem,
                                                   const char *choice, double speedup);
// Makes every later call of `op` on ctx use this choice, "default" too, whatever the table says; NULL: use the table again. For
// measuring.
HEED_API HEED_MUST_CHECK heed_status heed_tune_force(heed_context *ctx, heed_tune_op op, const char *choice);
// Writes at most `room` choices that are one step away from `choice`: other variants, and other values. Each gives the problem another
// plan than `choice` does. A search tries them, then those around the best of them, and so on.
HEED_API HEED_MUST_CHECK heed_status heed_tune_neighbours(heed_context *ctx, const heed_tune_problem *problem,
                                                          const char *choice, heed_tune_choice *neighbours, size_t room,
                                                          size_t *count);

// The file in which this context's table is kept. It need not exist. Empty if there is no home folder for it.
HEED_API const char *heed_tune_path(const heed_context *ctx);
// Replaces the context's table by that of a file. Errors, which leave the table as it was: IO; FORMAT, with what is wrong and where;
// UNSUPPORTED for a table of another device, driver or version.
HEED_API HEED_MUST_CHECK heed_status heed_tune_load(heed_context *ctx, const char *path);
// Writes the context's table to path; NULL: to heed_tune_path(). It makes missing folders, for the user only. It replaces the file
// whole or not at all. Errors: IO.
HEED_API HEED_MUST_CHECK heed_status heed_tune_save(heed_context *ctx, const char *path);
// Gives the text that heed_tune_save() would write. free() it.
HEED_API HEED_MUST_CHECK heed_status heed_tune_json(heed_context *ctx, char **text);

// A number for what decides about kernels beside the table: the provider of products that the context was opened with, whether it tries
// products first, and all that it has found to compute wrong or to fail since. Contexts on devices of one kind, with the same table and the
// same number, give the same bits. 0 for a context that was opened without a choice and has found nothing, and for the host.
HEED_API uint64_t heed_tune_verdicts(const heed_context *ctx);

#ifdef __cplusplus
}
#endif
#endif
