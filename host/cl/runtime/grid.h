// How operators lay out work over a device: flat launches, and rows that the work-items of a group share.
#ifndef HEED__GRID_H
#define HEED__GRID_H

#include "cl/runtime/runtime.h"

// Launches a kernel whose work-item i < items does item i; work-items past that return at once.
static inline heed_status heed__cl_launch_items(struct heed__cl_kernel *k, int64_t items) {
  const struct heed__cl_traits *traits = &heed__cl_state(k->ctx)->traits;
  const size_t local = traits->max_work_group < 256 ? traits->max_work_group : 256;
  const size_t global = (size_t)heed__round_up(items, (int64_t)local);
  return heed__cl_launch(k, 1, &global, &local);
}

// The same for work-items that each go over many elements. On a CPU, where one thread runs a whole work-group, each work-item gets its own
// group.
static inline heed_status heed__cl_launch_walks(struct heed__cl_kernel *k, int64_t items) {
  const struct heed__cl_traits *traits = &heed__cl_state(k->ctx)->traits;
  const size_t most = traits->cpu_like ? 1 : 64, local = traits->max_work_group < most ? traits->max_work_group : most;
  const size_t global = (size_t)heed__round_up(items, (int64_t)local);
  return heed__cl_launch(k, 1, &global, &local);
}

// Refuses rows for which a row kernel needs more iterations than the device runs.
static inline heed_status heed__cl_check_rows(const heed_context *ctx, int64_t length) {
  HEED__REQUIRE(!heed__cl_state(ctx)->traits.short_loops || length <= 1 << 21, HEED_ERROR_UNSUPPORTED,
                "%s silently ends a kernel's loops after 65535 rounds, and %lld elements in a row, or rows, need more; "
                "choose another device",
                ctx->device.name, (long long)length);
  return HEED_OK;
}

// Chooses VECTOR and GROUP of common.cl's row kernels for rows of `cols` elements.
struct heed__cl_rows {
  int vector, group;
};

static inline struct heed__cl_rows heed__cl_rows_for(const heed_context *ctx, int64_t cols) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  if (traits->cpu_like) return (struct heed__cl_rows){.vector = cols < 4 ? 1 : traits->vector_width, .group = 1};
  int group = cols <= 32 ? 1 : cols <= 512 ? 64 : 256;
  while ((size_t)group > traits->max_work_group) group /= 2;
  return (struct heed__cl_rows){.vector = 1, .group = group};
}

static inline void heed__cl_define_rows(struct heed__cl_kernel *k, struct heed__cl_rows layout) {
  heed__cl_define_int(k, "VECTOR", layout.vector);
  heed__cl_define_int(k, "GROUP", layout.group);
}

// The most work-items among which a CPU's row kernel shares out its rows.
static inline int64_t heed__cl_row_walkers(const heed_context *ctx) {
  return 16 * (int64_t)heed__max(heed__cl_state(ctx)->traits.compute_units, 1);
}

// Launches a row kernel. A group takes row after row, so that any number of work-items covers them all.
static inline heed_status heed__cl_launch_rows(struct heed__cl_kernel *k, struct heed__cl_rows layout, int64_t rows) {
  const struct heed__cl_traits *traits = &heed__cl_state(k->ctx)->traits;
  if (traits->cpu_like) {
    const size_t global = (size_t)heed__min(rows, heed__cl_row_walkers(k->ctx)), local = 1;
    return heed__cl_launch(k, 1, &global, &local);
  }
  const size_t local = layout.group > 1              ? (size_t)layout.group
                       : traits->max_work_group < 64 ? traits->max_work_group
                                                     : 64;
  const int64_t items = heed__min(rows, HEED__CL_FARTHEST_STEP) * layout.group;
  const size_t global = (size_t)heed__round_up(items, (int64_t)local);
  return heed__cl_launch(k, 1, &global, &local);
}

// Chooses what walk.cl's elementwise kernels go by. Which work-item has which elements changes no bit.
struct heed__cl_runs {
  int vector;
  int64_t share;  // elements of a work-item: on a CPU a run in memory, on a GPU one
  bool streamed;  // results go past the caches, which do not hold them
};

// bytes: as many as the operator reads and writes; words: what it writes has 32 bits an element.
static inline struct heed__cl_runs heed__cl_runs_for(const heed_context *ctx, int64_t count, uint64_t bytes,
                                                     bool words) {
  enum { LEAST = 1024, MOST = 1 << 16 };
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  if (!traits->cpu_like) return (struct heed__cl_runs){.vector = 1, .share = 1};
  const int64_t even = heed__round_up(heed__ceil_div(count, heed__cl_row_walkers(ctx)), 64);
  return (struct heed__cl_runs){.vector = traits->vector_width,
                                .share = even < LEAST ? LEAST : heed__min(even, MOST),
                                .streamed = words && bytes > traits->cache};
}

static inline void heed__cl_define_runs(struct heed__cl_kernel *k, struct heed__cl_runs runs) {
  heed__cl_define_int(k, "VECTOR", runs.vector);
  if (runs.streamed) heed__cl_define_int(k, "STREAMED", 1);
}

static inline heed_status heed__cl_launch_runs(struct heed__cl_kernel *k, struct heed__cl_runs runs, int64_t count) {
  const int64_t items = heed__ceil_div(count, runs.share);
  return runs.share > 1 ? heed__cl_launch_walks(k, items) : heed__cl_launch_items(k, items);
}

// Launches a kernel whose work-items are vectors of the rows of matrices: (`across`, rows, batches) of them. The kernel returns from
// items past the end. Left to itself a driver must divide the numbers of items, and makes groups of one or three out of primes.
static inline heed_status heed__cl_launch_matrices(struct heed__cl_kernel *k, int64_t across, int64_t rows,
                                                   int64_t batches) {
  const struct heed__cl_traits *traits = &heed__cl_state(k->ctx)->traits;
  const size_t exact[] = {(size_t)across, (size_t)rows, (size_t)batches};
  if (traits->cpu_like) return heed__cl_launch(k, 3, exact, NULL);
  const int64_t most = heed__min((int64_t)traits->max_work_group, 64);
  size_t local[] = {1, 1, 1};
  while ((int64_t)local[0] < across && (int64_t)local[0] * 2 <= most) local[0] *= 2;
  while ((int64_t)(local[0] * local[1]) * 2 <= most && (int64_t)local[1] < rows) local[1] *= 2;
  const size_t global[] = {(size_t)heed__round_up(across, (int64_t)local[0]),
                           (size_t)heed__round_up(rows, (int64_t)local[1]), (size_t)batches};
  return heed__cl_launch(k, 3, global, local);
}

// Tensor cores do so many times as much as the device's rate says.
enum { HEED__CL_TENSOR_RATE = 4 };

// How many work-groups that do `flops` operations each go into one launch, of a kernel that is `rate` times as fast as the device's rate
// says: what takes a quarter of a second on a slow device of this size. Where that is less than four waves of groups it takes up to twice as
// many, so that the cores that end first do not wait for long.
static inline int64_t heed__cl_groups_a_launch(const heed_context *ctx, double flops, double rate) {
  enum { WAVES = 4, GROUPS_A_CORE = 3 };
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const double fitting = traits->launch_flops * rate / (flops > 1 ? flops : 1);
  const double waves = (double)traits->compute_units * WAVES * GROUPS_A_CORE;
  const double most = fitting >= waves ? fitting : 2 * fitting < waves ? 2 * fitting : waves;
  return most < 1 ? 1 : most > INT32_MAX ? INT32_MAX : (int64_t)most;
}

// Launches a kernel as a single work-group that goes over everything.
static inline heed_status heed__cl_launch_group(struct heed__cl_kernel *k, struct heed__cl_rows layout) {
  const size_t size = (size_t)layout.group;
  return heed__cl_launch(k, 1, &size, &size);
}

#endif
