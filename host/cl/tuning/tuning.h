// Tuned choices inside the backend: the table of a context, and the look-up for operators. It knows no operator by name: each tuned
// operator describes itself (its variants, their values, where its classes of sizes begin), and the backend passes all descriptions to it
// when a context is opened.
#ifndef HEED__TUNING_H
#define HEED__TUNING_H

#include <heed/tune.h>

#include "cl/runtime/runtime.h"
#include "cl/rooms.h"

// X(name, least, most): the values that a choice can give its variant. A variant takes those that its description lists, and clamps them to
// what the call and the device allow; these bounds only keep sizes from wrapping. Add a new variant's values here.
#define HEED__TUNABLES(X)  \
  X(vectors, 2, 3)         \
  X(rows, 1, 1 << 20)      \
  X(panels, 1, 1 << 12)    \
  X(depth, 1, 1 << 20)     \
  X(splits, 1, 64)         \
  X(swap, -1, 1)           \
  X(pack_rows, -1, 1)      \
  X(pack_cols, -1, 1)      \
  X(dot, -1, 1)            \
  X(tile_rows, 2, 16)      \
  X(key_block, 8, 1024)    \
  X(query_block, 4, 1024)  \
  X(items, 16, 1024)       \
  X(tile_queries, 4, 1024) \
  X(products, 5, 7)

enum heed__cl_tuning_tunable {
#define HEED__TUNABLE_ENUM(name, least, most) HEED__TUNE_##name,
  HEED__TUNABLES(HEED__TUNABLE_ENUM)
#undef HEED__TUNABLE_ENUM
      HEED__TUNABLE_COUNT
};

struct heed__cl_tuning_choice {
  char variant[32];                     // its key; "": the variant that heed picks
  int64_t values[HEED__TUNABLE_COUNT];  // 0: the variant's own
};

struct heed__cl_tuning_choices {
  struct heed__cl_tuning_choice *list;
  size_t count, room;
};

// A way to compute an operator. Files of choices contain the key, so it never changes; otherwise files would lose their meaning.
struct heed__cl_tuning_variant {
  const char *key;
  unsigned values;  // bits 1 << HEED__TUNE_... of the values that it takes
};

// What makes two problems different kinds, apart from their dtype.
enum heed__cl_tuning_kind { HEED__TUNE_BY_FORM, HEED__TUNE_BY_CAUSAL };

enum { HEED__TUNE_EDGES = 6 };

// A tuned operator.
struct heed__cl_tuning_op {
  enum heed__cl_tuning_kind kind;
  // Where the classes of each size begin; a class ends before the next one. The list ends with 0, or is full.
  int64_t edges[HEED_TUNE_SIZES][HEED__TUNE_EDGES];
  const struct heed__cl_tuning_variant *(*variant)(size_t i);  // NULL past the last
  // Adds the choices that are one step away from `choice`.
  void (*neighbours)(heed_context *ctx, const heed_tune_problem *problem, const struct heed__cl_tuning_choice *choice,
                     struct heed__cl_tuning_choices *out);
};

struct heed__cl_tuning_entry {
  heed_tune_problem problem;  // its sizes are the lower ends of the ranges
  int64_t most[HEED_TUNE_SIZES];
  struct heed__cl_tuning_choice choice;
  double speedup;
  bool wrong;  // it has computed wrong results here: treat it as absent
};

enum {
#define HEED__CL_TUNING_PLACE(op, name, a, b, c, d) HEED__CL_TUNING_OF_##op,
  HEED_TUNE_OP_LIST(HEED__CL_TUNING_PLACE)
#undef HEED__CL_TUNING_PLACE
      HEED__CL_TUNING_OPS
};

struct heed__cl_tuning {
  const struct heed__cl_tuning_op *const *ops;  // by heed_tune_op
  char *path;                                   // NULL: nowhere
  struct heed__cl_tuning_entry *entries;
  size_t count, room;
  unsigned long looked_up;  // for tests
  struct heed__cl_tuning_forced {
    bool set, wrong;
    struct heed__cl_tuning_choice choice;
  } forced[HEED__CL_TUNING_OPS];
};

static inline struct heed__cl_tuning *heed__cl_tuning_of(const heed_context *ctx) {
  return heed__cl_state(ctx)->kept[HEED__CL_ROOM_TUNING];
}

// ---------------------------------------------------------------- for operators

// Returns what the table says about a call; NULL: nothing, the operator chooses by itself.
const struct heed__cl_tuning_choice *heed__cl_tuning_find(const heed_context *ctx, const heed_tune_problem *problem);
// Stops using the choice for such calls in this context, and heed_context_notice() says so. how: "computes wrong", "does not run".
void heed__cl_tuning_distrust(heed_context *ctx, const heed_tune_problem *problem, const char *how);

// Their part of heed_tune_verdicts().
uint64_t heed__cl_tuning_verdicts(const heed_context *ctx);

// Adds a copy of `base` with one value changed, if there is room.
void heed__cl_tuning_choices_add(struct heed__cl_tuning_choices *out, const struct heed__cl_tuning_choice *base,
                                 enum heed__cl_tuning_tunable what, int64_t value);

// ---------------------------------------------------------------- the table

// Returns the problem without the properties that its operator does not have, such as transposed factors.
heed_tune_problem heed__cl_tuning_plain(const struct heed__cl_tuning *tuning, const heed_tune_problem *problem);
const char *heed__cl_tuning_op_name(heed_tune_op op);
const char *const *heed__cl_tuning_size_names(heed_tune_op op);
// Errors: INVALID_ARGUMENT for a variant that the operator does not have, or a value that the variant does not take.
heed_status heed__cl_tuning_choice_parse(const struct heed__cl_tuning *tuning, heed_tune_op op, const char *text,
                                         struct heed__cl_tuning_choice *choice);
void heed__cl_tuning_choice_text(const struct heed__cl_tuning_choice *choice, char text[HEED_TUNE_TEXT]);
// Returns the class of a problem as an entry without a choice.
struct heed__cl_tuning_entry heed__cl_tuning_class(const struct heed__cl_tuning *tuning,
                                                   const heed_tune_problem *problem);
// The first entry that contains a call decides. add: puts the entry behind the others. set: puts it before them and replaces an entry of
// the same class; it adds a default choice only if that is needed.
heed_status heed__cl_tuning_add(struct heed__cl_tuning *tuning, const struct heed__cl_tuning_entry *entry);
heed_status heed__cl_tuning_set(struct heed__cl_tuning *tuning, const struct heed__cl_tuning_entry *entry);
void heed__cl_tuning_close(heed_context *ctx);

// file.c. trusted_only: the file was found and not named by the user, so it must belong to the user.
heed_status heed__cl_tuning_read(heed_context *ctx, const char *path, bool trusted_only);
heed_status heed__cl_tuning_write(heed_context *ctx, const char *path);
heed_status heed__cl_tuning_json(const heed_context *ctx, char **text);
// Called once, when a context is opened. ops: a description for each heed_tune_op. file NULL: <device id>.json in `folder`, which may also
// be NULL. off: only remember the place. A table that cannot be used causes a notice; if the user named it (file), and the program does not
// mend it, an error.
heed_status heed__cl_tuning_open(heed_context *ctx, const struct heed__cl_tuning_op *const *ops, const char *folder,
                                 const char *file, bool off, bool mends);

#endif
