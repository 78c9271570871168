// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
#include <math.h>

#include "base/random.h"
#include "base/size.h"

void heed_philox(uint64_t seed, const uint32_t counter[4], uint32_t random[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  random[0] = c0;
  random[1] = c1;
  random[2] = c2;
  random[3] = c3;
}

static void draw(uint64_t seed, uint64_t stream, uint64_t index, uint32_t random[4]) {
  const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
  heed_philox(seed, counter, random);
}

double heed_random_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t random[4];
  draw(seed, stream, index, random);
  return random[0] * 0x1p-32;
}

double heed_random_normal(uint64_t seed, uint64_t stream, uint64_t index) {
  // Box and Muller 1958. Adding a half keeps the logarithm's argument above 0.
  uint32_t random[4];
  draw(seed, stream, index, random);
  const double pi = 3.14159265358979323846;
  return sqrt(-2 * log((random[0] + 0.5) * 0x1p-32)) * cos(2 * pi * (random[1] * 0x1p-32));
}

uint64_t heed_random_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n) {
  // The high half of 64 random bits times n: biased by at most n / 2^64.
  uint32_t random[4];
  draw(seed, stream, index, random);
  const uint64_t bits = (uint64_t)random[0] << 32 | random[1];
  return heed__mul_high(bits, n);
}
