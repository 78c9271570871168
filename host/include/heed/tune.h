// Tuning: which kernel, with which tile sizes, does a class of calls on a device. heed chooses by itself; a table of choices that were
// measured on the device (`heed tune` makes it) overrides that for the classes it names. A choice changes the time of a call, and
// its result by rounding alone.
//
// A choice is a text, as in the table's file: "default", the name of a variant, or a variant with values:
//   cpu: vectors=2 rows=128
// What a choice does not say stays heed's own. A value of 0 is not said; the switches are 1 for yes and -1 for no.
//
// A context reads its table when it is opened, see heed_open_options.tuning. A table that is damaged, or that was made for another
// device, driver or version of heed, is ignored, and heed_context_notice() says so.
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

// A call, by what choices depend on.
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

// All calls return UNSUPPORTED for a context on the host, and INVALID_ARGUMENT for a choice that is no such text, or that names
// a variant or a value that this heed does not have.

// What this context would do a problem with by its table; "default" where the table says nothing, or where the choice has been
// seen to compute wrong on this device.
HEED_API HEED_MUST_CHECK heed_status heed_tune_get(heed_context *ctx, const heed_tune_problem *problem,
                                                   heed_tune_choice *choice);
// Enters a choice for the class of the problem: sizes of about the same magnitude. "default" removes the entry. `speedup`, over
// heed's own choice, is written down for readers.
HEED_API HEED_MUST_CHECK heed_status heed_tune_set(heed_context *ctx, const heed_tune_problem *problem,
                                                   const char *choice, double speedup);
// Every later call of `op` on ctx uses this choice, "default" included, whatever the table says; NULL: the table again. For measuring.
HEED_API HEED_MUST_CHECK heed_status heed_tune_force(heed_context *ctx, heed_tune_op op, const char *choice);
// Choices that are one step away from `choice`, at most `room` of them: other variants, and other values. Trying them, and then
// those around the best, is a search. Each gives another plan for the problem than `choice` does.
HEED_API HEED_MUST_CHECK heed_status heed_tune_neighbours(heed_context *ctx, const heed_tune_problem *problem,
                                                          const char *choice, heed_tune_choice *neighbours, size_t room,
                                                          size_t *count);

// The file that this context's table is kept in; it need not exist. Empty where there is no home to put it in.
HEED_API const char *heed_tune_path(const heed_context *ctx);
// Replaces the context's table by that of a file. Errors leave the table as it was: IO, FORMAT (the message says what is wrong
// where), UNSUPPORTED for a table of another device, driver or version.
HEED_API HEED_MUST_CHECK heed_status heed_tune_load(heed_context *ctx, const char *path);
// Writes the context's table; NULL: to heed_tune_path(). Folders are made for the user alone, and the file is replaced whole or not
// at all. Errors: IO.
HEED_API HEED_MUST_CHECK heed_status heed_tune_save(heed_context *ctx, const char *path);
// The table as it would be written. free() it.
HEED_API HEED_MUST_CHECK heed_status heed_tune_json(heed_context *ctx, char **text);

#ifdef __cplusplus
}
#endif
#endif
