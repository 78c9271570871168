// Sorts (token, place) stably by token, digit by digit of a radix. It counts integers, so its result does not depend on how work is
// shared out. Entries are token << 32 | place; ITEMS work-items share a block of entries, `chunk` neighbours each.
//
// check with: -DT_DTYPE=I64 -DITEMS=64 -DBITS=4 -DFIRST=1
#ifndef T_DTYPE
#define T_DTYPE I32
#endif
typedef TYPE(T_DTYPE) token;
#ifndef ITEMS
#define ITEMS 1
#endif
#ifndef BITS // of a digit
#define BITS 8
#endif
#ifndef FIRST // the first pass reads the tokens
#define FIRST 0
#endif
#define RADIX (1 << BITS)
#define ITEMS_GROUP __attribute__((reqd_work_group_size(ITEMS, 1, 1)))

// A token outside the table sorts behind it.
ulong entry_of(const __global token *tokens, idx n, long rows) {
  const long row = tokens[n];
  return ((ulong)row < (ulong)rows ? (ulong)row : (ulong)rows) << 32 | (ulong)n;
}
#if FIRST
#define ENTRIES const __global token *in, long in_offset
#define ENTRY(n) entry_of(in + in_offset, n, rows)
#else
#define ENTRIES const __global ulong *in, long in_offset
#define ENTRY(n) in[in_offset + (n)]
#endif
#define DIGIT(entry) ((uint)((entry) >> (32 + shift)) & (RADIX - 1))

// counters[digit · ITEMS + item] = the item's entries with this digit.
void count_digits(ENTRIES, idx first, idx end, long rows, uint shift, __local uint *counters) {
  const int item = get_local_id(0);
  for (int digit = 0; digit < RADIX; ++digit) counters[digit * ITEMS + item] = 0;
  for (idx n = first; n < end; ++n) counters[DIGIT(ENTRY(n)) * ITEMS + item] += 1;
}

// Replaces each counter by the sum of those before it: item by item a run of RADIX neighbours, then the runs.
void scan_counters(__local uint *counters, __local uint *totals) {
  const int item = get_local_id(0);
  uint total = 0;
  for (int i = 0; i < RADIX; ++i) total += counters[item * RADIX + i];
  totals[item] = total;
  barrier(CLK_LOCAL_MEM_FENCE);
  uint before = 0;
  for (int i = 0; i < item; ++i) before += totals[i];
  for (int i = 0; i < RADIX; ++i) {
    const uint own = counters[item * RADIX + i];
    counters[item * RADIX + i] = before;
    before += own;
  }
}

#define FIRST_OF_ITEM ((idx)get_global_id(0) * (idx)chunk)
#define END_OF(first) min((idx)count, (first) + (idx)chunk)

// counts[digit · blocks + block] = the block's entries with this digit.
ITEMS_GROUP __kernel void sort_count(ENTRIES, __global uint *counts, long counts_offset, long count, long chunk,
                                    long rows, uint shift) {
  __local uint counters[RADIX * ITEMS];
  const idx first = FIRST_OF_ITEM, blocks = get_num_groups(0), block = get_group_id(0);
  count_digits(in, in_offset, first, END_OF(first), rows, shift, counters);
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int digit = get_local_id(0); digit < RADIX; digit += ITEMS) {
    uint total = 0;
    for (int i = 0; i < ITEMS; ++i) total += counters[digit * ITEMS + i];
    counts[counts_offset + digit * blocks + block] = total;
  }
}

// Each count becomes the sum of those before it. One work-group.
ITEMS_GROUP __kernel void sort_scan(__global uint *counts, long counts_offset, long length) {
  __local uint totals[ITEMS];
  const int item = get_local_id(0);
  const idx run = ((idx)length + ITEMS - 1) / ITEMS, first = min((idx)length, item * run),
            end = min((idx)length, first + run);
  counts += counts_offset;
  uint total = 0;
  for (idx i = first; i < end; ++i) total += counts[i];
  totals[item] = total;
  barrier(CLK_LOCAL_MEM_FENCE);
  uint before = 0;
  for (int i = 0; i < item; ++i) before += totals[i];
  for (idx i = first; i < end; ++i) {
    const uint own = counts[i];
    counts[i] = before;
    before += own;
  }
}

// Puts each entry where its digit's entries go: behind those of smaller digits, of earlier blocks, of earlier items. With one
// block its own counters say all, and counts is not read.
ITEMS_GROUP __kernel void sort_scatter(ENTRIES, __global ulong *out, long out_offset, const __global uint *counts,
                                      long counts_offset, long count, long chunk, long rows, uint shift) {
  __local uint counters[RADIX * ITEMS], totals[ITEMS], starts[RADIX];
  const int item = get_local_id(0);
  const idx first = FIRST_OF_ITEM, end = END_OF(first), blocks = get_num_groups(0), block = get_group_id(0);
  count_digits(in, in_offset, first, end, rows, shift, counters);
  barrier(CLK_LOCAL_MEM_FENCE);
  scan_counters(counters, totals);
  barrier(CLK_LOCAL_MEM_FENCE);
  // starts[digit] + counter is the place in `out`, modulo 2^32.
  for (int digit = item; digit < RADIX; digit += ITEMS)
    starts[digit] = blocks == 1 ? 0 : counts[counts_offset + digit * blocks + block] - counters[digit * ITEMS];
  barrier(CLK_LOCAL_MEM_FENCE);
  for (idx n = first; n < end; ++n) {
    const ulong entry = ENTRY(n);
    const uint digit = DIGIT(entry), rank = counters[digit * ITEMS + item]++;
    out[out_offset + (idx)(starts[digit] + rank)] = entry;
  }
}
