// BLAKE2b with 32 bytes has the values that Python's hashlib.blake2b(data, digest_size=32) computes, however the data arrive.
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "support_devices.h"

static void assert_digest(const void *data, size_t bytes, size_t piece, const char *expected) {
  struct heed__digest digest;
  uint8_t out[HEED__DIGEST_BYTES];
  char text[2 * HEED__DIGEST_BYTES + 1];
  heed__digest_start(&digest);
  for (size_t at = 0; at < bytes; at += piece)
    heed__digest_add(&digest, (const char *)data + at, piece < bytes - at ? piece : bytes - at);
  heed__digest_end(&digest, out);
  for (size_t i = 0; i < sizeof out; ++i) snprintf(text + 2 * i, 3, "%02x", out[i]);
  assert_string_equal(text, expected);
}

static void values_are_those_of_the_standard(void **state) {
  (void)state;
  assert_digest("", 0, 1, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
  assert_digest("abc", 3, 3, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}

// Pieces that end before, at and after the end of a block.
static void pieces_do_not_change_it(void **state) {
  (void)state;
  uint8_t data[1000];
  for (size_t i = 0; i < sizeof data; ++i) data[i] = (uint8_t)(i % 251);
  static const size_t pieces[] = {1, 7, 127, 128, 129, 256, 257, 1000};
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; ++i)
    assert_digest(data, sizeof data, pieces[i], "b372d0608f720c8c3dd41e9c8eecb10143b41abe520b616607e754bf79c08331");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_are_those_of_the_standard),
      cmocka_unit_test(pieces_do_not_change_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
