// What each way to do attention decides about a call before it runs: its tiles, and how it splits sums. A call is planned once, and the
// plan is handed to run(). A plan holds no buffers.
#ifndef HEED__CL_ATTENTION_PLAN_H
#define HEED__CL_ATTENTION_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Of the fused path on CPUs, see fused_cpu_plan.c.
struct heed__cl_attention_fused_cpu {
  int vector, tile_rows;       // of a register tile; it has 2 · vector columns
  int key_block, query_block;  // multiples of a tile's columns (backward: and rows), and of its rows
  bool decode;                 // forward by attention/fused_cpu_decode.cl
  int row_tile, rows;          // decode: rows that share a load; all rows of a key head, rounded up to it
  int64_t chunk_keys;          // decode: keys of one split, a multiple of 64
  int64_t splits;              // work-items that share the keys of one head (backward, decode)
  int64_t slots;               // pairs of batch and key head that one launch takes; all, unless memory is short
};

// Of the fused path on GPUs, see fused_gpu_plan.c. How a row of an output lies over the items, and how many rows of its factor are staged
// at a time.
struct heed__cl_attention_width {
  int width, columns, rows;  // columns: of an item
};
struct heed__cl_attention_gpu_tile {
  int items, queries, keys, depth, out_x, stage;
  int weight_rows;  // backward: rows of weights that are in local memory at a time
  int weight_keys;  // forward: their keys
  bool resident;    // forward: the queries stay in local memory
  struct heed__cl_attention_width qk, v;
};
enum heed__cl_attention_gpu_kernel {  // those of the backward as KERNEL in their file
  HEED__GPU_FORWARD,
  HEED__GPU_ROWS,
  HEED__GPU_KEYS_BWD,
  HEED__GPU_QUERIES_BWD,
  HEED__GPU_SUM,  // of parts of dq; it has the tile of HEED__GPU_KEYS_BWD
  HEED__GPU_KERNELS,
  HEED__GPU_CAREFUL = HEED__GPU_KERNELS  // the forward as CAREFUL of its file has it, by the forward's tile
};
struct heed__cl_attention_fused_gpu {
  bool packed;        // forward: a tile takes the rows of all heads of a group
  int64_t splits;     // forward: parts of the keys, each the work of a work-group
  int64_t tile_rows;  // the most query rows that a tile takes
  bool in_five;       // backward: dq in parts by dk's and dv's kernel, five products of a tile instead of seven
  struct heed__cl_attention_gpu_tile tiles[HEED__GPU_KERNELS];  // of the kernels that the call needs
};
// The rounds of a backward in five products, see fused_gpu_parts.c and kernels_cl/attention/fused_gpu_parts.cl.
struct heed__cl_attention_gpu_rounds {
  int64_t slots,
      tiles;  // pairs of batch and key head, and tiles of keys, of which the scratch holds the parts at a time
  int64_t all_slots, all_tiles;
  int64_t floats;  // of a part: a tile of keys, and all rows of the query heads of a slot
  int part_rows;   // rows of a part that an item makes at a time
};

// Of the staged path, see staged_plan.c. The tile of a work-item is rows x (vectors of `vector` floats).
struct heed__cl_attention_tile {
  int vector, rows, vectors;
};
struct heed__cl_attention_staged {
  struct heed__cl_attention_tile tile, tile_bwd;  // of attention_score and _output; of attention_output_bwd
  int panel;                                      // columns of a panel
  int lanes;                                      // work-items a row of scores
  int64_t depth, value_depth;                     // dim and value_dim, rounded up to whole blocks
  int64_t pitch;                                  // floats from one row of scores to the next
  int64_t chunk_heads, chunk_rows;                // whole groups with all their rows, or some rows of one head
  double needed, available;                       // bytes of the smallest chunk, and what a call may take
};

union heed__cl_attention_plan {
  struct heed__cl_attention_fused_cpu fused_cpu;
  struct heed__cl_attention_fused_gpu fused_gpu;  // and tensor cores: of the kernels that do what they leave
  struct heed__cl_attention_staged staged;
};

#endif
