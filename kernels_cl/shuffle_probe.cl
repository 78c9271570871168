// Whether work-items lie in the lanes of a subgroup as shuffle.cl's callers count on: 16 neighbours, in their order.
//
// check with: -DSHUFFLE=1
#include "shuffle.cl"
#define PROBE_ITEMS 64

// out[i] = the numbers i ^ 1, i ^ 2, i ^ 4 and i ^ 8 as digits to the base of 64, which a float holds exactly; -1 where subgroups are
// smaller than that. global and local: PROBE_ITEMS
__attribute__((reqd_work_group_size(PROBE_ITEMS, 1, 1))) __kernel void shuffle_probe(__global float *out) {
  __local float scratch[PROBE_ITEMS];
  const int item = get_local_id(0);
  float number = -1;
#if SHUFFLE
  if (SHUFFLE_REACHES(16)) {
    const float own = item;
    number = 0;
    SHUFFLE_UNROLL for (int mask = 1; mask <= 8; mask *= 2) number = number * PROBE_ITEMS + SHUFFLE_XOR(own, mask);
  }
#endif
  out[item] = number;
}
