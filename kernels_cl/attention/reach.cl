// Which keys a row of attention attends by its position: the only place in the kernels that knows the rule of host/core/operators.h.
// What a mask forbids beyond that is no matter of this file.
#ifndef LENGTH_DTYPE
#define LENGTH_DTYPE I32
#endif
#include "attention/call.cl"

// Row i attends max(0, i + low) <= j < min(end, i + high). Both ends grow with i.
struct reach {
  long low, high;
  int end;
};

// By pointer, like every struct that a function makes: Oclgrind cannot run what clang inlines of a struct returned by value.
void reach_of(const struct heed__cl_attention_reach *call, __global const TYPE(LENGTH_DTYPE) *kv_lengths, long batch,
              struct reach *reach) {
  long length = call->keys, offset = call->offset;
  if (call->has_lengths) {
    length = clamp((long)kv_lengths[call->lengths_offset + batch], 0L, call->keys);
    offset = length - call->queries;
  }
  reach->end = (int)min(length, call->columns);
  reach->low = offset - call->left;
  reach->high = min(offset + call->right, call->corner);
}

// Row i attends [first_key, end_key). Rows i0 to i1 attend keys of [first_key(i0), end_key(i1)) alone, and all of them attend all keys of
// [first_key(i1), end_key(i0)).
int first_key(const struct reach *reach, long i) { return (int)clamp(i + reach->low, 0L, (long)reach->end); }
int end_key(const struct reach *reach, long i) { return (int)clamp(i + reach->high, 0L, (long)reach->end); }

// Rows of [first_row, end_row) alone attend a key of [key0, key1).
long first_row(const struct reach *reach, long key0) { return max(0L, key0 - reach->high + 1); }
long end_row(const struct reach *reach, long key1, long queries) { return min(queries, key1 - reach->low); }

// The same rule for one pair of row and key, in numbers that registers have room for.
struct pairs {
  int queries, end, low, high;
};
void pairs_of(const struct reach *reach, long queries, struct pairs *pairs) {
  pairs->queries = (int)queries;
  pairs->end = reach->end;
  pairs->low = (int)max(reach->low, -(long)INT_MAX);
  pairs->high = (int)min(reach->high, (long)INT_MAX);
}
// A tile is attended throughout where its last row attends its first key and its first row its last key.
bool is_attended(struct pairs pairs, int i, int j) {
  return i < pairs.queries && j < pairs.end && j - i >= pairs.low && j - i < pairs.high;
}
