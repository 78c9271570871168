// embedding on OpenCL: rows of a table by token; and the table's gradient, which sorts the tokens and sums the rows of each in levels, as
// ops/embedding_sum.cl explains.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

enum { PIECE = 64, TILE = 1024 };  // entries summed one after the other; columns that a CPU's core sums at a time

// ---------------------------------------------------------------- forward

static void define_words(struct heed__cl_kernel *k, heed_dtype dtype) {
  heed__cl_define(k, "WORD", heed_dtype_size(dtype) == 2 ? "ushort" : "uint");
  heed__cl_define(k, "NAN_BITS", dtype == HEED_F16 ? "0x7e00" : dtype == HEED_BF16 ? "0x7fc0" : "0x7fc00000");
}

// Whether to write rows past the caches: where they are whole vectors, too many to be read again from there.
static bool streams(const heed_context *ctx, const heed_tensor *y, int vector) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  return traits->cpu_like && y->dtype == HEED_F32 && vector > 1 && y->dims[1] % vector == 0 &&
         y->offset % vector == 0 && 2 * (uint64_t)heed_tensor_bytes(y) > traits->cache;
}

heed_status heed__cl_embedding_fwd(heed_context *ctx, const struct heed__call *call) {
  // weight: [V, C]; tokens: [N]; y: [N, C]
  const heed_tensor *weight = call->in[HEED__embedding_fwd_weight], *tokens = call->in[HEED__embedding_fwd_tokens];
  const heed_tensor *y = call->out[HEED__embedding_fwd_y];
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const int64_t count = y->dims[0], width = y->dims[1];
  // On a CPU each work-item takes neighbouring rows; on a GPU neighbouring work-items share a row.
  const int64_t lanes = traits->cpu_like ? 1 : heed__min(width, 64);
  const int64_t share = traits->cpu_like ? heed__ceil_div(count, 16 * heed__max(traits->compute_units, 1)) : 1;
  const int vector = heed__cl_rows_for(ctx, width).vector;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/embedding.cl", "embedding");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_int(&k, "STREAMED", streams(ctx, y, vector));
  heed__cl_define_dtype(&k, "T_DTYPE", tokens->dtype);
  define_words(&k, y->dtype);
  heed__cl_tensor(&k, weight);
  heed__cl_tensor(&k, tokens);
  heed__cl_tensor(&k, y);
  heed__cl_long(&k, weight->dims[0]);
  heed__cl_long(&k, count);
  heed__cl_long(&k, width);
  heed__cl_long(&k, share);
  heed__cl_long(&k, lanes);
  const int64_t items = heed__ceil_div(count, share) * lanes;
  return traits->cpu_like ? heed__cl_launch_walks(&k, items) : heed__cl_launch_items(&k, items);
}

// ---------------------------------------------------------------- gradient

struct gradient {
  const heed_tensor *tokens, *dy, *dweight;
  bool accumulate;
  int64_t count, rows, width;
  int items, bits;         // of a block in sorting, of a digit
  int64_t blocks, chunk;   // blocks in sorting, entries of a work-item
  int64_t level_entries;   // of all levels but the first
  cl_mem entries, counts;  // entries: twice the first level's, then the other levels'
  cl_mem parts;            // a row of F32 for each entry of the other levels
};

static int64_t next_level(int64_t count) { return count <= PIECE ? 0 : 2 * heed__ceil_div(count, PIECE); }

static struct gradient gradient_of(const heed_context *ctx, const struct heed__call *call) {
  // tokens: [N]; dy: [N, C]; dweight: [V, C]
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const struct heed__embedding_params *params = call->params;
  struct gradient g = {.tokens = call->in[HEED__embedding_bwd_tokens],
                       .dy = call->in[HEED__embedding_bwd_dy],
                       .dweight = call->out[HEED__embedding_bwd_dweight],
                       .accumulate = params->accumulate};
  g.count = g.tokens->dims[0];
  g.rows = g.dweight->dims[0];
  g.width = g.dweight->dims[1];
  // A core sorts so many tokens faster than it is told to share them.
  g.items = traits->cpu_like ? 1 : (int)heed__min((int64_t)traits->max_work_group, 64);
  g.bits = traits->cpu_like ? 8 : 4;
  g.blocks = traits->cpu_like ? (g.count <= 8192 ? 1 : heed__min(heed__ceil_div(g.count, 4096), 64))
                              : heed__min(heed__ceil_div(g.count, 4 * (int64_t)g.items), 1024);
  g.chunk = heed__ceil_div(g.count, g.blocks * g.items);
  for (int64_t count = next_level(g.count); count > 0; count = next_level(count)) g.level_entries += count;
  return g;
}

// One of the three kernels of a pass over digit number `pass`.
static void begin_pass(struct heed__cl_kernel *k, heed_context *ctx, const struct gradient *g, const char *kernel,
                       int pass) {
  heed__cl_begin(k, ctx, "ops/token_sort.cl", kernel);
  heed__cl_define_int(k, "ITEMS", g->items);
  heed__cl_define_int(k, "BITS", g->bits);
  if (pass > 0) return;
  heed__cl_define_int(k, "FIRST", 1);
  heed__cl_define_dtype(k, "T_DTYPE", g->tokens->dtype);
}

// What a pass reads: the tokens, or what the pass before wrote.
static void pass_entries(struct heed__cl_kernel *k, const struct gradient *g, int pass) {
  if (pass == 0) {
    heed__cl_tensor(k, g->tokens);
    return;
  }
  heed__cl_buffer(k, g->entries);
  heed__cl_long(k, (pass - 1) % 2 * g->count);
}

static void pass_buffer(struct heed__cl_kernel *k, cl_mem buffer, int64_t offset) {
  heed__cl_buffer(k, buffer);
  heed__cl_long(k, offset);
}

static void pass_sizes(struct heed__cl_kernel *k, const struct gradient *g, int pass) {
  heed__cl_long(k, g->count);
  heed__cl_long(k, g->chunk);
  heed__cl_long(k, g->rows);
  heed__cl_uint(k, (uint32_t)(pass * g->bits));
}

static heed_status launch_blocks(struct heed__cl_kernel *k, const struct gradient *g, int64_t blocks) {
  const size_t local = (size_t)g->items, global = (size_t)blocks * local;
  return heed__cl_launch(k, 1, &global, &local);
}

static heed_status sort_pass(heed_context *ctx, const struct gradient *g, int pass) {
  struct heed__cl_kernel k;
  if (g->blocks > 1) {
    begin_pass(&k, ctx, g, "sort_count", pass);
    pass_entries(&k, g, pass);
    pass_buffer(&k, g->counts, 0);
    pass_sizes(&k, g, pass);
    HEED__TRY(launch_blocks(&k, g, g->blocks));
    begin_pass(&k, ctx, g, "sort_scan", pass);
    pass_buffer(&k, g->counts, 0);
    heed__cl_long(&k, g->blocks << g->bits);
    HEED__TRY(launch_blocks(&k, g, 1));
  }
  begin_pass(&k, ctx, g, "sort_scatter", pass);
  pass_entries(&k, g, pass);
  pass_buffer(&k, g->entries, pass % 2 * g->count);
  pass_buffer(&k, g->counts, 0);
  pass_sizes(&k, g, pass);
  return launch_blocks(&k, g, g->blocks);
}

// Sorts by all digits that a token can have, the number of rows among them; *at is where the sorted entries begin.
static heed_status sort_tokens(heed_context *ctx, const struct gradient *g, int64_t *at) {
  int pass = 0;
  do {
    HEED__TRY(sort_pass(ctx, g, pass));
    *at = pass % 2 * g->count;
    ++pass;
  } while (pass * g->bits < 32 && g->rows >> (pass * g->bits));
  return HEED_OK;
}

// Entries and parts of one level lie at `at`, those of the next at next_entries and next_parts.
struct level {
  int number;
  int64_t count, at, parts, next_entries, next_parts;
};

static heed_status sum_level(heed_context *ctx, const struct gradient *g, const struct level *level) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const int vector = heed__cl_rows_for(ctx, g->width).vector;
  const int64_t tile = traits->cpu_like ? heed__min(TILE, heed__round_up(g->width, vector)) : 1;
  const int64_t tiles = heed__ceil_div(g->width, tile);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/embedding_sum.cl", "sum_blocks");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_int(&k, "TILE", traits->cpu_like ? TILE : 1);
  heed__cl_define_int(&k, "PIECE", PIECE);
  heed__cl_define_int(&k, "LEVEL", level->number > 0);
  heed__cl_define_dtype(&k, "X_DTYPE", g->dweight->dtype);
  pass_buffer(&k, g->entries, level->at);
  if (level->number == 0)
    heed__cl_tensor(&k, g->dy);
  else
    pass_buffer(&k, g->parts, level->parts);
  heed__cl_tensor(&k, g->dweight);
  pass_buffer(&k, g->entries, level->next_entries);
  pass_buffer(&k, g->parts, level->next_parts);
  heed__cl_long(&k, level->count);
  heed__cl_long(&k, g->rows);
  heed__cl_long(&k, g->width);
  heed__cl_long(&k, tiles);
  heed__cl_uint(&k, g->accumulate);
  const int64_t items = heed__ceil_div(level->count, PIECE) * tiles;
  return traits->cpu_like ? heed__cl_launch_walks(&k, items) : heed__cl_launch_items(&k, items);
}

static heed_status sum_levels(heed_context *ctx, const struct gradient *g, int64_t at) {
  struct level level = {.count = g->count, .at = at, .next_entries = 2 * g->count};
  for (;;) {
    HEED__TRY(sum_level(ctx, g, &level));
    const int64_t next = next_level(level.count);
    if (next == 0) return HEED_OK;
    level = (struct level){.number = level.number + 1,
                           .count = next,
                           .at = level.next_entries,
                           .parts = level.next_parts,
                           .next_entries = level.next_entries + next,
                           .next_parts = level.next_parts + next * g->width};
  }
}

static heed_status take(heed_context *ctx, struct gradient *g) {
  const size_t entry = sizeof(uint64_t), number = sizeof(float);
  HEED__TRY(heed__cl_scratch_take(ctx, (uint64_t)(2 * g->count + g->level_entries) * entry, &g->entries));
  HEED__TRY(heed__cl_scratch_take(ctx, (uint64_t)(g->blocks << g->bits) * sizeof(uint32_t), &g->counts));
  return heed__cl_scratch_take(ctx, (uint64_t)(heed__max(g->level_entries, 1) * g->width) * number, &g->parts);
}

heed_status heed__cl_embedding_bwd(heed_context *ctx, const struct heed__call *call) {
  // tokens: [N]; dy: [N, C]; dweight: [V, C]
  struct gradient g = gradient_of(ctx, call);
  int64_t sorted = 0;
  HEED__TRY(heed__cl_check_rows(ctx, g.count));
  if (!g.accumulate) {
    const struct heed__fill_params zero = {0};
    const struct heed__call fill = {
        .op = HEED__OP_fill, .out = {[HEED__fill_y] = call->out[HEED__embedding_bwd_dweight]}, .params = &zero};
    HEED__TRY(heed__cl_fill(ctx, &fill));
  }
  heed_status status;
  HEED__TRY_TO(done, status, take(ctx, &g));
  HEED__TRY_TO(done, status, sort_tokens(ctx, &g, &sorted));
  status = sum_levels(ctx, &g, sorted);
done:
  heed__cl_scratch_give(ctx, g.entries);
  heed__cl_scratch_give(ctx, g.counts);
  heed__cl_scratch_give(ctx, g.parts);
  return status;
}
