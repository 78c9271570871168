// The table of tuned choices in a context: classes of problems, choices as texts, and look-ups.
#include "cl/tuning/tuning.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

// ---------------------------------------------------------------- names

static const struct {
  const char *name;
  const char *sizes[HEED_TUNE_SIZES];
} ops[] = {
#define OP_ENTRY(op, name, a, b, c, d) {name, {a, b, c, d}},
    HEED_TUNE_OP_LIST(OP_ENTRY)
#undef OP_ENTRY
};

static const struct {
  const char *name;
  int64_t least, most;
} tunables[] = {
#define TUNABLE_ENTRY(name, least, most) {#name, least, most},
    HEED__TUNABLES(TUNABLE_ENTRY)
#undef TUNABLE_ENTRY
};

const char *heed__cl_tuning_op_name(heed_tune_op op) { return ops[op].name; }
const char *const *heed__cl_tuning_size_names(heed_tune_op op) { return ops[op].sizes; }

// ---------------------------------------------------------------- classes

struct heed__cl_tuning_entry heed__cl_tuning_class(const struct heed__cl_tuning *tuning,
                                                   const heed_tune_problem *problem) {
  struct heed__cl_tuning_entry entry = {.problem = *problem};
  for (int i = 0; i < HEED_TUNE_SIZES; ++i) {
    const int64_t *edges = tuning->ops[problem->op]->edges[i];
    int at = 0;
    while (at + 1 < HEED__TUNE_EDGES && edges[at + 1] && problem->sizes[i] >= edges[at + 1]) ++at;
    entry.problem.sizes[i] = edges[at];
    entry.most[i] = at + 1 < HEED__TUNE_EDGES && edges[at + 1] ? edges[at + 1] - 1 : INT64_MAX;
  }
  return entry;
}

heed_tune_problem heed__cl_tuning_plain(const struct heed__cl_tuning *tuning, const heed_tune_problem *problem) {
  heed_tune_problem plain = *problem;
  if (tuning->ops[problem->op]->kind == HEED__TUNE_BY_FORM)
    plain.causal = false;
  else
    plain.trans_a = plain.trans_b = false;
  return plain;
}

// Compares plain problems.
static bool same_kind(const heed_tune_problem *a, const heed_tune_problem *b) {
  return a->op == b->op && a->dtype == b->dtype && a->trans_a == b->trans_a && a->trans_b == b->trans_b &&
         a->causal == b->causal;
}

static bool holds(const struct heed__cl_tuning_entry *entry, const heed_tune_problem *problem) {
  if (!same_kind(&entry->problem, problem)) return false;
  for (int i = 0; i < HEED_TUNE_SIZES; ++i)
    if (problem->sizes[i] < entry->problem.sizes[i] || problem->sizes[i] > entry->most[i]) return false;
  return true;
}

static bool same_class(const struct heed__cl_tuning_entry *a, const struct heed__cl_tuning_entry *b) {
  return same_kind(&a->problem, &b->problem) && memcmp(a->problem.sizes, b->problem.sizes, sizeof a->most) == 0 &&
         memcmp(a->most, b->most, sizeof a->most) == 0;
}

static bool is_default(const struct heed__cl_tuning_choice *choice) {
  static const struct heed__cl_tuning_choice none;
  return !choice->variant[0] && memcmp(choice->values, none.values, sizeof none.values) == 0;
}

heed_status heed__cl_tuning_add(struct heed__cl_tuning *tuning, const struct heed__cl_tuning_entry *entry) {
  if (tuning->count == tuning->room) {
    const size_t room = tuning->room * 2 + 16;
    struct heed__cl_tuning_entry *grown = realloc(tuning->entries, room * sizeof *grown);
    HEED__REQUIRE(grown, HEED_ERROR_OUT_OF_MEMORY, "tune: no host memory for a table of %zu choices", room);
    tuning->entries = grown;
    tuning->room = room;
  }
  tuning->entries[tuning->count++] = *entry;
  return HEED_OK;
}

static bool overlap(const struct heed__cl_tuning_entry *a, const struct heed__cl_tuning_entry *b) {
  if (!same_kind(&a->problem, &b->problem)) return false;
  for (int i = 0; i < HEED_TUNE_SIZES; ++i)
    if (a->problem.sizes[i] > b->most[i] || b->problem.sizes[i] > a->most[i]) return false;
  return true;
}

heed_status heed__cl_tuning_set(struct heed__cl_tuning *tuning, const struct heed__cl_tuning_entry *entry) {
  size_t kept = 0;
  for (size_t i = 0; i < tuning->count; ++i)
    if (!same_class(&tuning->entries[i], entry)) tuning->entries[kept++] = tuning->entries[i];
  tuning->count = kept;
  bool needed = !is_default(&entry->choice);  // a default only if another entry would hold the class otherwise
  for (size_t i = 0; i < kept && !needed; ++i) needed = overlap(&tuning->entries[i], entry);
  if (!needed) return HEED_OK;
  HEED__TRY(heed__cl_tuning_add(tuning, entry));
  memmove(tuning->entries + 1, tuning->entries, (tuning->count - 1) * sizeof *tuning->entries);
  tuning->entries[0] = *entry;
  return HEED_OK;
}

void heed__cl_tuning_close(heed_context *ctx) {
  struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  if (!tuning) return;
  free(tuning->path);
  free(tuning->entries);
  free(tuning);
  heed__cl_state(ctx)->kept[HEED__CL_ROOM_TUNING] = NULL;
}

// ---------------------------------------------------------------- looking up

static struct heed__cl_tuning_entry *find(struct heed__cl_tuning *tuning, const heed_tune_problem *problem) {
  for (size_t i = 0; i < tuning->count; ++i)
    if (!tuning->entries[i].wrong && holds(&tuning->entries[i], problem)) return &tuning->entries[i];
  return NULL;
}

const struct heed__cl_tuning_choice *heed__cl_tuning_find(const heed_context *ctx, const heed_tune_problem *problem) {
  struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  if (!tuning) return NULL;
  ++tuning->looked_up;
  const struct heed__cl_tuning_forced *forced = &tuning->forced[problem->op];
  if (forced->set) return forced->wrong || is_default(&forced->choice) ? NULL : &forced->choice;
  const struct heed__cl_tuning_entry *entry = find(tuning, problem);
  return entry && !is_default(&entry->choice) ? &entry->choice : NULL;
}

void heed__cl_tuning_distrust(heed_context *ctx, const heed_tune_problem *problem, const char *how) {
  heed__cl_revise(ctx);
  struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  struct heed__cl_tuning_forced *forced = &tuning->forced[problem->op];
  if (forced->set) {  // a caller that measures asks heed_tune_get()
    forced->wrong = true;
    return;
  }
  struct heed__cl_tuning_entry *entry = find(tuning, problem);
  if (!entry) return;
  entry->wrong = true;
  char text[HEED_TUNE_TEXT];
  heed__cl_tuning_choice_text(&entry->choice, text);
  if (strstr(ctx->notice, "tuned choice")) return;  // keep the first notice of this kind
  heed__notice_add(ctx, "the tuned choice '%s' for %s %s on this device and is not used; run heed tune again", text,
                   ops[problem->op].name, how);
}

uint64_t heed__cl_tuning_verdicts(const heed_context *ctx) {
  const struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  uint64_t sum = 0;
  for (size_t i = 0; tuning && i < tuning->count; ++i)
    if (tuning->entries[i].wrong) sum += heed__hash(HEED__HASH_START, &i, sizeof i);
  return sum;
}

// ---------------------------------------------------------------- choices as texts

static const struct heed__cl_tuning_variant *find_variant(const struct heed__cl_tuning_op *op, const char *key) {
  const struct heed__cl_tuning_variant *variant;
  for (size_t i = 0; (variant = op->variant(i)) != NULL; ++i)
    if (strcmp(variant->key, key) == 0) return variant;
  return NULL;
}

// Reads one "name=value" up to `end`.
static heed_status parse_value(const struct heed__cl_tuning_variant *variant, const char *whole, const char *text,
                               const char *end, struct heed__cl_tuning_choice *choice) {
  const char *equals = memchr(text, '=', (size_t)(end - text));
  const size_t length = (size_t)((equals ? equals : end) - text);
  size_t at = 0;
  while (at < HEED__TUNABLE_COUNT &&
         (strlen(tunables[at].name) != length || strncmp(tunables[at].name, text, length) != 0))
    ++at;
  HEED__REQUIRE(equals && at < HEED__TUNABLE_COUNT, HEED_ERROR_INVALID_ARGUMENT,
                "tune: '%.*s' in the choice '%s' is no value", (int)(end - text), text, whole);
  HEED__REQUIRE(variant->values >> at & 1, HEED_ERROR_INVALID_ARGUMENT,
                "tune: '%.*s' in the choice '%s' is no value of the variant '%s'", (int)(end - text), text, whole,
                variant->key);
  char *rest;
  const long long value = strtoll(equals + 1, &rest, 10);
  HEED__REQUIRE(
      rest == end && equals + 1 < end && value != 0 && value >= tunables[at].least && value <= tunables[at].most,
      HEED_ERROR_INVALID_ARGUMENT,
      "tune: '%.*s' in the choice '%s' must be a whole number in %" PRId64 "..%" PRId64 " and not 0", (int)(end - text),
      text, whole, tunables[at].least, tunables[at].most);
  choice->values[at] = value;
  return HEED_OK;
}

heed_status heed__cl_tuning_choice_parse(const struct heed__cl_tuning *tuning, heed_tune_op op, const char *text,
                                         struct heed__cl_tuning_choice *choice) {
  *choice = (struct heed__cl_tuning_choice){0};
  HEED__REQUIRE(strlen(text) < HEED_TUNE_TEXT, HEED_ERROR_INVALID_ARGUMENT, "tune: a choice of %zu letters is too long",
                strlen(text));
  for (const char *c = text; *c; ++c)
    HEED__REQUIRE((unsigned char)*c >= ' ' && *c != 0x7f, HEED_ERROR_INVALID_ARGUMENT,
                  "tune: letter %d of a choice is a control character", (int)(c - text) + 1);
  if (strcmp(text, "default") == 0) return HEED_OK;
  const size_t length = strcspn(text, ":");
  snprintf(choice->variant, sizeof choice->variant, "%.*s", (int)length, text);
  const struct heed__cl_tuning_variant *variant =
      length < sizeof choice->variant ? find_variant(tuning->ops[op], choice->variant) : NULL;
  HEED__REQUIRE(variant, HEED_ERROR_INVALID_ARGUMENT, "tune: '%.*s' in the choice '%s' is no variant of %s",
                (int)length, text, text, ops[op].name);
  if (!text[length]) return HEED_OK;
  for (const char *at = text + length + 1; *at;) {
    at += strspn(at, " ");
    const char *end = at + strcspn(at, " ");
    if (end > at) HEED__TRY(parse_value(variant, text, at, end, choice));
    at = end;
  }
  return HEED_OK;
}

void heed__cl_tuning_choice_text(const struct heed__cl_tuning_choice *choice, char text[HEED_TUNE_TEXT]) {
  size_t used = (size_t)snprintf(text, HEED_TUNE_TEXT, "%s", is_default(choice) ? "default" : choice->variant);
  const char *between = ": ";
  for (int i = 0; i < HEED__TUNABLE_COUNT && used < HEED_TUNE_TEXT; ++i) {
    if (!choice->values[i]) continue;
    used += (size_t)snprintf(text + used, HEED_TUNE_TEXT - used, "%s%s=%" PRId64, between, tunables[i].name,
                             choice->values[i]);
    between = " ";
  }
}

void heed__cl_tuning_choices_add(struct heed__cl_tuning_choices *out, const struct heed__cl_tuning_choice *base,
                                 enum heed__cl_tuning_tunable what, int64_t value) {
  if (out->count == out->room || value < tunables[what].least || value > tunables[what].most) return;
  out->list[out->count] = *base;
  out->list[out->count++].values[what] = value;
}
