// IDX files, gzip'd. A checksum stands in the way of a mutated file, so the first byte says: 0, the rest is the file; else the rest is
// packed here, and the file is torn, damaged, or followed by something at a place that the first bytes choose.
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "fuzz_idx.h"

enum { AS_IT_IS, WHOLE, TORN, DAMAGED, FOLLOWED, WAYS };

// A gzip file of the data, to be freed.
static uint8_t *pack(const uint8_t *data, size_t size, size_t *packed) {
  z_stream stream = {0};
  FUZZ_REQUIRE(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  const size_t room = deflateBound(&stream, size) + 64;
  uint8_t *out = malloc(room);
  FUZZ_REQUIRE(out);
  stream.next_in = (Bytef *)(uintptr_t)data;
  stream.avail_in = (unsigned)size;
  stream.next_out = out;
  stream.avail_out = (unsigned)room;
  FUZZ_REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  *packed = stream.total_out;
  deflateEnd(&stream);
  return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 3) return 0;
  const int way = data[0] % WAYS;
  const size_t place = data[1] | (size_t)data[2] << 8;
  data += 3;
  size -= 3;
  if (way == AS_IT_IS) {
    fuzz_read_idx(fuzz_file(data, size));
    return 0;
  }
  size_t packed = 0;
  uint8_t *file = pack(data, size, &packed);
  if (way == TORN) packed = place % packed;
  if (way == DAMAGED) file[place % packed] ^= (uint8_t)(1u << (place >> 8) % 8);
  if (way == FOLLOWED) memcpy(file + packed, "followed by this", 16), packed += 1 + place % 16;
  fuzz_read_idx(fuzz_file(file, packed));
  free(file);
  return 0;
}
