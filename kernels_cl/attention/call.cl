// The numbers of one call of attention. Host and kernels read this one text: kernels include it as OpenCL C and take the struct by value,
// host/cl/attention/call.h includes it as C and fills the struct by its members' names. So no number can take another's place.
// Members of 64 bits come first, which leaves no padding; call.h asserts that.
#ifndef HEED_ATTENTION_CALL
#define HEED_ATTENTION_CALL
#ifndef HEED_LONG // call.h names the host's types of these sizes
#define HEED_LONG long
#define HEED_UINT uint
#define HEED_FLOAT float
#endif

// Where a tensor [batch, head, row, column] lies; its columns are neighbours.
struct heed__cl_attention_place {
  HEED_LONG offset, stride0, stride1, stride2;
};

// Row i attends max(0, i + offset - left) <= j < min(end, i + offset + right, i + corner), less what the mask forbids, where `end` is
// the smaller of the batch's length and `columns`. attention/reach.cl turns this into ranges. A limit that a call does not have is
// queries + keys + 1, which says nothing.
struct heed__cl_attention_reach {
  HEED_LONG queries, keys;
  HEED_LONG columns; // keys that the mask has
  HEED_LONG offset, left, right, corner;
  HEED_LONG has_lengths, lengths_offset; // lengths replace `offset` by length - queries
};

// What the caller wants, as bits.
#define WANTS_LSE 1
#define WANTS_DQ 2
#define WANTS_DK 4
#define WANTS_DV 8

struct heed__cl_attention_numbers {
  struct heed__cl_attention_place q, k, v, out, dout, dq, dk, dv, mask;
  HEED_LONG mask_stride3; // where the mask is broadcast its strides are 0
  HEED_LONG lse_offset;
  HEED_LONG wants;
  struct heed__cl_attention_reach reach;
  HEED_LONG heads, kv_heads, group;
  HEED_LONG all_rows;    // batch x heads x queries
  HEED_LONG first;       // GPUs: the first work-group of this launch, among those of the call
  HEED_LONG slot0;       // CPUs: the first pair of batch and key head of this launch; scratch counts from there
  HEED_LONG slots;       // CPUs: how many of them this launch has
  HEED_LONG splits;      // how many parts a sum over keys is made in
  HEED_LONG chunk_keys;  // CPUs, decoding: keys of one part
  HEED_FLOAT scale, softcap, dropout_scale;
  HEED_UINT dropout_threshold, seed_low, seed_high;
};

// The staged path works on query heads [head0, head0 + heads) of all batches x heads, rows [row0, row0 + rows) of each: whole groups with
// all their rows, or some rows of one head. They read key heads [slot0, slot0 + slots) of all batches x key heads.
struct heed__cl_attention_chunk {
  HEED_LONG head0, heads, row0, rows;
  HEED_LONG rows_pad;  // rows of a head in scratch, which are whole tiles
  HEED_LONG slot0, slots;
  HEED_LONG pitch;  // floats from one row of scores to the next
  // Of the call.
  HEED_LONG queries, keys, heads_per_batch, kv_heads, group;
};

// A matrix [depth, columns] of each of some heads, for attention/pack.cl.
struct heed__cl_attention_matrix {
  HEED_LONG offset, stride_batch, stride_head, stride_depth, stride_column;
  HEED_LONG heads_per_batch, head0, heads;
  HEED_LONG depth, depth_pad, columns;
  HEED_LONG width, panels;  // columns of a panel; panels of a head
};
#endif
