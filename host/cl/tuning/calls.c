// Implements heed/tune.h: checks texts of choices against the table of a context. tuning.c has the table, and file.c its file.
#include "cl/tuning/calls.h"

#include <stdlib.h>

#include "cl/tuning/tuning.h"

void heed__cl_tuning_get(heed_context *ctx, const heed_tune_problem *problem, heed_tune_choice *choice) {
  const heed_tune_problem plain = heed__cl_tuning_plain(heed__cl_tuning_of(ctx), problem);
  static const struct heed__cl_tuning_choice own;
  const struct heed__cl_tuning_choice *tuned = heed__cl_tuning_find(ctx, &plain);
  heed__cl_tuning_choice_text(tuned ? tuned : &own, choice->text);
}

heed_status heed__cl_tuning_enter(heed_context *ctx, const heed_tune_problem *problem, const char *choice,
                                  double speedup) {
  struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  const heed_tune_problem plain = heed__cl_tuning_plain(tuning, problem);
  struct heed__cl_tuning_entry entry = heed__cl_tuning_class(tuning, &plain);
  HEED__TRY(heed__cl_tuning_choice_parse(tuning, plain.op, choice, &entry.choice));
  entry.speedup = speedup;
  heed__cl_revise(ctx);
  return heed__cl_tuning_set(tuning, &entry);
}

heed_status heed__cl_tuning_force(heed_context *ctx, heed_tune_op op, const char *choice) {
  struct heed__cl_tuning_forced forced = {.set = choice != NULL};
  struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  if (choice) HEED__TRY(heed__cl_tuning_choice_parse(tuning, op, choice, &forced.choice));
  tuning->forced[op] = forced;
  heed__cl_revise(ctx);
  return HEED_OK;
}

heed_status heed__cl_tuning_neighbours(heed_context *ctx, const heed_tune_problem *problem, const char *choice,
                                       heed_tune_choice *neighbours, size_t room, size_t *count) {
  const struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  const heed_tune_problem plain = heed__cl_tuning_plain(tuning, problem);
  struct heed__cl_tuning_choice from;
  HEED__TRY(heed__cl_tuning_choice_parse(tuning, plain.op, choice, &from));
  struct heed__cl_tuning_choices found = {.list = calloc(room + 1, sizeof *found.list), .room = room};
  HEED__REQUIRE(found.list, HEED_ERROR_OUT_OF_MEMORY, "tune: no host memory for %zu choices", room);
  tuning->ops[plain.op]->neighbours(ctx, &plain, &from, &found);
  for (size_t i = 0; i < found.count; ++i) heed__cl_tuning_choice_text(&found.list[i], neighbours[i].text);
  *count = found.count;
  free(found.list);
  return HEED_OK;
}

const char *heed__cl_tuning_path(const heed_context *ctx) { return heed__cl_tuning_of(ctx)->path; }

heed_status heed__cl_tuning_load(heed_context *ctx, const char *path) { return heed__cl_tuning_read(ctx, path, false); }
