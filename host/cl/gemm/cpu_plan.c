// Plans a product on CPUs: which operand gives the rows of a tile and which its columns, what to pack, how to cut the product into
// work-items. cpu.c launches what this file plans.
#include "cl/gemm/variant.h"

// An operand as the kernels see it: `extent` rows of R or columns of V.
struct operand {
  int64_t extent;
  bool along_k;  // its elements along k are neighbours
};

// What a choice asks for; 0 means heed's own value. Switches are 1 for yes and -1 for no, if the problem allows it.
static int64_t asked(const struct heed__cl_tuning_choice *choice, enum heed__cl_tuning_tunable what) {
  return choice->values[what];
}

static bool decide(int64_t wanted, bool own) { return wanted ? wanted > 0 : own; }

// Neither operand of A Bᵀ has neighbours along the rows of C, so one must be packed. For a small product this costs more than dot products.
static bool wants_dot(const struct heed__cl_gemm_problem *p, int64_t wanted, int64_t vector) {
  if (p->trans_a || !p->trans_b) return false;
  const bool small = heed__min(p->m, p->n) < 16 || p->m * p->n <= (1 << 18) / heed__max(p->k, 1);
  return decide(wanted, small && p->k >= vector);
}

// V must have neighbours along T's columns, or be packed. So compute C or its transpose: whichever packs nothing, else the one that packs
// the smaller operand, if that is small enough to pay for transposing C.
static bool wants_swap(const struct heed__cl_gemm_problem *p, int64_t wanted, int64_t vector) {
  bool swap = false;
  if (!p->trans_a && p->trans_b)
    swap = p->m <= p->n / 2;
  else if (p->trans_a && p->trans_b)
    swap = true;
  else if (p->trans_a)
    swap = p->n < vector && p->m >= vector;
  return decide(wanted, swap);
}

// The register tile: rows × vectors sums, with room for a row of V and a scalar of R; CPUs with the widest vectors have 32 registers. A
// last panel of one vector is slow for its size, so panels of two vectors are better if they leave no odd one.
static void plan_tile(struct heed__cl_gemm_cpu_plan *plan, int64_t wanted, int64_t columns, int64_t vector) {
  const int64_t all = heed__ceil_div(columns, vector);
  static const double rest[] = {0, 5.5, 8.3};  // cycles of a step, which takes 12 for three vectors
  const double threes = (double)(all / 3) * 12 + rest[all % 3], twos = (double)(all / 2) * 8.3 + rest[all % 2];
  plan->tile_rows = vector == 16 ? 8 : 4;
  plan->tile_vectors = wanted ? wanted : twos < threes ? 2 : 3;
  plan->panel = plan->tile_vectors * vector;
}

// Tells whether a matrix along k is pairs of k from the start of each row.
static bool holds_pairs(const struct heed__cl_gemm_problem *p, const heed_tensor *t) {
  return ((p->k | t->offset | t->strides[0] | t->strides[1] | t->strides[2]) & 1) == 0;
}

// Pack V if it must be packed, or if enough rows of T pass over it to pay for that. Pack R if its rows are a page apart at each step of k;
// rows along k are fast to read as they are. 16-bit operands become floats on the way, or pairs, which rows along k hold already.
static void plan_packing(struct heed__cl_gemm_cpu_plan *plan, const struct heed__cl_gemm_problem *p,
                         const struct heed__cl_tuning_choice *choice, const struct operand *r, const struct operand *v,
                         int64_t vector) {
  const bool convert = p->c->dtype != HEED_F32;
  const bool as_stored = plan->pairs ? r->along_k && holds_pairs(p, plan->swap ? p->b : p->a) : !convert;
  const bool fits_v = v->extent >= plan->panel || v->extent % vector == 0;
  plan->pack_v =
      decide(asked(choice, HEED__TUNE_pack_cols), r->extent >= 192 && p->k >= 128) || v->along_k || convert || !fits_v;
  plan->pack_r = decide(asked(choice, HEED__TUNE_pack_rows), !r->along_k && v->extent >= 192 && p->k >= 128) ||
                 !as_stored || r->extent < plan->tile_rows;
}

static int64_t items_of(const struct heed__cl_gemm_cpu_plan *plan, const struct operand *r, const struct operand *v,
                        int64_t batches) {
  return heed__ceil_div(v->extent, plan->panel * plan->panels) * heed__ceil_div(r->extent, plan->rows) * batches;
}

// A work-item has `panels` panels by `rows` rows and takes `depth` steps of k at a time, so that its rows of R, or else all of V, stay in
// the second-level cache. It gets fewer of them while cores have nothing to do and each work-item has enough; this moves tiles between
// work-items, and changes no sum.
static void plan_items(struct heed__cl_gemm_cpu_plan *plan, const struct heed__cl_gemm_problem *p,
                       const struct heed__cl_tuning_choice *choice, const struct operand *r, const struct operand *v,
                       int64_t cores) {
  const int64_t step = plan->tile_rows * (plan->swap ? 2 : 1), blocks = heed__max(1, (plan->steps + 512) / 1024);
  const int64_t rows = asked(choice, HEED__TUNE_rows), panels = asked(choice, HEED__TUNE_panels);
  const int64_t depth = asked(choice, HEED__TUNE_depth);
  plan->depth = depth ? depth : heed__max(1, heed__ceil_div(plan->steps, blocks));
  const bool small = v->extent <= (1 << 18) / plan->depth;
  plan->panels = panels ? panels : small ? 1 : 4;
  plan->rows = heed__round_up(rows ? rows : heed__min(small ? 64 : 256, r->extent), step);
  while (!panels && plan->panels > 1 && items_of(plan, r, v, p->batches) < 8 * cores) plan->panels /= 2;
  while (!rows && plan->rows > step && items_of(plan, r, v, p->batches) < 8 * cores &&
         plan->rows * plan->panel * plan->steps > 1 << 15)
    plan->rows = heed__round_up(plan->rows / 2, step);
}

// If C has too few tiles to keep a CPU busy and k is long, cut k into parts. The problem decides how many, not this device's cores, so that
// a device, a part of it and a larger one sum in the same order. Count rows as if each work-item had one tile.
static void plan_splits(struct heed__cl_gemm_cpu_plan *plan, const struct heed__cl_gemm_problem *p, int64_t wanted,
                        const struct operand *r, const struct operand *v) {
  enum { ITEMS_WANTED = 16, SHARE_LEAST = 256, DEPTH_LEAST = 1024 };
  const int64_t step = plan->tile_rows * (plan->swap ? 2 : 1);
  const int64_t items = heed__ceil_div(v->extent, plan->panel) * heed__ceil_div(r->extent, step) * p->batches;
  int64_t splits = 1;
  if (items < ITEMS_WANTED && plan->steps >= DEPTH_LEAST)
    splits = heed__max(1, heed__min(heed__ceil_div(ITEMS_WANTED, items), plan->steps / SHARE_LEAST));
  if (wanted) splits = heed__max(1, heed__min(wanted, plan->steps));
  plan->share = heed__max(1, heed__ceil_div(plan->steps, splits));
  plan->splits = heed__max(1, heed__ceil_div(plan->steps, plan->share));
  if (plan->depth >= plan->share) plan->depth = plan->share;
  plan->through_parts = plan->splits > 1 || (plan->depth < plan->share && p->c->dtype != HEED_F32);
}

bool heed__cl_gemm_cpu_packed(int64_t extent, int64_t width, int64_t steps, int64_t *floats) {
  return heed__mul(heed__round_up(extent, width), steps, floats);
}

static bool packed_fits(const struct heed__cl_gemm_cpu_plan *plan, const heed_tensor *t, int64_t extent, int64_t width,
                        uint64_t most_bytes) {
  int64_t floats;
  const int64_t batches = (t->strides[0] == 0 ? 1 : t->dims[0]) * (t->strides[1] == 0 ? 1 : t->dims[1]);
  return heed__cl_gemm_cpu_packed(extent, width, plan->steps, &floats) && heed__mul(floats, batches, &floats) &&
         (uint64_t)floats <= most_bytes / sizeof(float);
}

// Returns false if a size exceeds what one buffer can hold.
static bool fits(const struct heed__cl_gemm_cpu_plan *plan, const struct heed__cl_gemm_problem *p,
                 const struct operand *r, const struct operand *v, uint64_t most_bytes) {
  const heed_tensor *rows = plan->swap ? p->b : p->a, *columns = plan->swap ? p->a : p->b;
  int64_t floats;
  if (plan->pack_r && !packed_fits(plan, rows, r->extent, plan->tile_rows, most_bytes)) return false;
  if (plan->pack_v && !packed_fits(plan, columns, v->extent, plan->panel, most_bytes)) return false;
  return !plan->through_parts ||
         (heed__mul(p->m * p->n, p->batches, &floats) && heed__mul(floats, plan->splits, &floats) &&
          (uint64_t)floats <= most_bytes / sizeof(float));
}

// A single row needs no tile of rows. Where A has no more rows than a tile, each row of B is read once, and a work-item takes as many as a
// vector of C has columns, if that leaves enough work-items.
static void plan_dot(struct heed__cl_gemm_cpu_plan *plan, const struct heed__cl_gemm_problem *p, int64_t rows,
                     int64_t vector, int64_t cores) {
  const int64_t columns = heed__ceil_div(p->n, HEED__GEMM_DOT_EDGE) * p->batches;
  plan->tile_rows = p->m == 1 ? 1 : HEED__GEMM_DOT_EDGE;
  const bool once = p->m <= HEED__GEMM_DOT_EDGE && heed__ceil_div(p->n, vector) * p->batches >= 8 * cores;
  plan->panel = once ? vector : HEED__GEMM_DOT_EDGE;
  plan->rows = heed__round_up(rows ? rows : p->m, HEED__GEMM_DOT_EDGE);
  while (!rows && plan->rows > HEED__GEMM_DOT_EDGE && columns * heed__ceil_div(p->m, plan->rows) < 8 * cores)
    plan->rows = heed__round_up(plan->rows / 2, HEED__GEMM_DOT_EDGE);
}

// Tells whether a product goes by the instruction for pairs: it must be faster, unless a choice names the variant or the caller wants it.
static bool wants_pairs(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                        const struct heed__cl_tuning_choice *choice) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  if (p->c->dtype != HEED_BF16 || traits->bf16_dots == HEED__BF16_NONE) return false;
  if (traits->bf16_dots != HEED__BF16_EMULATED && traits->vector_width != 16) return false;
  return traits->bf16_dots == HEED__BF16_FAST || choice->variant[0] ||
         heed__cl_gemm_state(ctx)->bf16_dots == HEED__GEMM_DOTS_ON;
}

bool heed__cl_gemm_cpu_make_plan(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                 const struct heed__cl_tuning_choice *choice, bool pairs,
                                 struct heed__cl_gemm_cpu_plan *plan) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const int64_t vector = traits->vector_width, most = 1 << 30, cores = traits->compute_units;
  if (!traits->cpu_like || p->m > most || p->n > most || p->k > most || p->batches > most) return false;
  if (pairs && !wants_pairs(ctx, p, choice)) return false;
  *plan = (struct heed__cl_gemm_cpu_plan){.pairs = pairs, .steps = pairs ? heed__ceil_div(p->k, 2) : p->k};
  plan->dot = wants_dot(p, asked(choice, HEED__TUNE_dot), vector);
  if (pairs && plan->dot) return false;
  if (plan->dot) {
    plan_dot(plan, p, asked(choice, HEED__TUNE_rows), vector, cores);
    return true;
  }
  plan->swap = wants_swap(p, asked(choice, HEED__TUNE_swap), vector);
  const struct operand a = {p->m, !p->trans_a}, b = {p->n, p->trans_b};
  const struct operand *r = plan->swap ? &b : &a, *v = plan->swap ? &a : &b;
  plan_tile(plan, asked(choice, HEED__TUNE_vectors), v->extent, vector);
  plan_packing(plan, p, choice, r, v, vector);
  plan_items(plan, p, choice, r, v, cores);
  plan_splits(plan, p, asked(choice, HEED__TUNE_splits), r, v);
  return fits(plan, p, r, v, traits->max_allocation);
}

// ---------------------------------------------------------------- plans like it

void heed__cl_gemm_cpu_specimen(const struct heed__cl_gemm_problem *p, const struct heed__cl_gemm_plan *plan,
                                struct heed__cl_gemm_specimen *specimen) {
  const struct heed__cl_gemm_cpu_plan *cpu = &plan->of.cpu;
  int64_t *values = specimen->choice.values;
  values[HEED__TUNE_dot] = cpu->dot ? 1 : -1;
  if (cpu->dot) {
    if (cpu->tile_rows == 1) specimen->m = 1;
    specimen->class = cpu->tile_rows == 1 ? 5 : 1;
    return;
  }
  values[HEED__TUNE_vectors] = cpu->tile_vectors;
  values[HEED__TUNE_swap] = cpu->swap ? 1 : -1;
  values[HEED__TUNE_pack_rows] = cpu->pack_r ? 1 : -1;
  values[HEED__TUNE_pack_cols] = cpu->pack_v ? 1 : -1;
  values[HEED__TUNE_splits] = cpu->through_parts ? 2 : 1;
  values[HEED__TUNE_depth] = p->c->dtype == HEED_F32 ? 40 : 0;
  specimen->class = 2 | (uint32_t)cpu->swap << 2 | (uint32_t)cpu->pack_r << 3 | (uint32_t)cpu->pack_v << 4 |
                    (uint32_t)cpu->through_parts << 5 | (uint32_t)(cpu->tile_vectors == 2) << 6;
  specimen->aligned = cpu->pairs && !cpu->pack_r;
}

static bool is_same(const struct heed__cl_gemm_cpu_plan *a, const struct heed__cl_gemm_cpu_plan *b) {
  return a->dot == b->dot && a->swap == b->swap && a->tile_vectors == b->tile_vectors && a->pack_r == b->pack_r &&
         a->pack_v == b->pack_v && a->rows == b->rows && a->panels == b->panels && a->depth == b->depth &&
         a->splits == b->splits && a->share == b->share;
}

// Adds choices with twice and half of the plan's values, and with each of its switches turned.
static void neighbours(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                       const struct heed__cl_tuning_choice *choice, bool pairs, struct heed__cl_tuning_choices *out) {
  struct heed__cl_gemm_cpu_plan here, there;
  if (!heed__cl_gemm_cpu_make_plan(ctx, p, choice, pairs, &here)) return;
  const struct heed__cl_gemm_cpu_plan *plan = &here;
  const struct {
    enum heed__cl_tuning_tunable what;
    int64_t value;
  } steps[] = {
      {HEED__TUNE_dot, plan->dot ? -1 : 1},
      {HEED__TUNE_vectors, 5 - plan->tile_vectors},
      {HEED__TUNE_swap, plan->swap ? -1 : 1},
      {HEED__TUNE_pack_rows, plan->pack_r ? -1 : 1},
      {HEED__TUNE_pack_cols, plan->pack_v ? -1 : 1},
      {HEED__TUNE_rows, plan->rows * 2},
      {HEED__TUNE_rows, plan->rows / 2},
      {HEED__TUNE_panels, plan->panels * 2},
      {HEED__TUNE_panels, plan->panels / 2},
      {HEED__TUNE_depth, plan->depth * 2},
      {HEED__TUNE_depth, plan->depth / 2},
      {HEED__TUNE_splits, plan->splits * 2},
      {HEED__TUNE_splits, plan->splits / 2},
  };
  for (size_t i = 0; i < sizeof steps / sizeof *steps; ++i) {
    const size_t before = out->count;
    heed__cl_tuning_choices_add(out, choice, steps[i].what, steps[i].value);
    if (out->count == before) continue;
    if (!heed__cl_gemm_cpu_make_plan(ctx, p, &out->list[before], pairs, &there) || is_same(plan, &there))
      out->count = before;
  }
}

void heed__cl_gemm_cpu_neighbours(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                  const struct heed__cl_tuning_choice *choice, struct heed__cl_tuning_choices *out) {
  neighbours(ctx, p, choice, false, out);
}

void heed__cl_gemm_cpu_bf16_neighbours(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                       const struct heed__cl_tuning_choice *choice,
                                       struct heed__cl_tuning_choices *out) {
  neighbours(ctx, p, choice, true, out);
}
