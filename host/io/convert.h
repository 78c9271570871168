// The dtypes of the safetensors format: their sizes, which of them heed converts, and the conversion.
#ifndef HEED__CONVERT_H
#define HEED__CONVERT_H

#include "base/status.h"

enum heed__kind { HEED__REAL, HEED__INTEGER, HEED__TRUTH, HEED__OPAQUE };

struct heed__stored_dtype {
  const char *name;  // as files have it
  int bits;          // of an element
  enum heed__kind kind;
  heed_dtype natural;  // what heed converts it to unless it is told
  bool own;            // stored as `natural` is, bit for bit
};

// NULL: the format has no such dtype.
const struct heed__stored_dtype *heed__stored_dtype(const char *name);
// Whether some element of `from` may become one of `to`.
bool heed__converts(const struct heed__stored_dtype *from, heed_dtype to);
// Converts `count` elements. Reals are rounded to the nearest, ties to even, and what overflows becomes infinite; an integer must be
// among the values of `to`. Returns how many it has converted: less than count before the first element that does not fit, whose value
// it writes into `value`.
size_t heed__convert(const struct heed__stored_dtype *from, const void *in, size_t count, heed_dtype to, void *out,
                     char value[32]);

#endif
