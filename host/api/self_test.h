// Tells whether a device computes correctly. heed asks this before its first work on the device, and keeps the answer with the compiled
// kernels. open.c decides what a verdict means.
#ifndef HEED__SELF_TEST_H
#define HEED__SELF_TEST_H

#include "api/drivers.h"

enum heed__self_test_mode {
  HEED__SELF_TEST_OFF,
  HEED__SELF_TEST_REMEMBERED,  // only if heed can keep the verdict: otherwise each open would test
  HEED__SELF_TEST_ALWAYS,
};
// given: as heed_open_options.self_test; with 0, HEED_SELF_TEST decides. Errors: INVALID_ARGUMENT.
heed_status heed__self_test_mode(int given, enum heed__self_test_mode *mode);

// Fills in the device's verdict from the cache: FAILED if it failed a part of the test, OK if it passed one, else UNTESTED.
void heed__self_test_recall(const heed_open_options *options, struct heed__found *found);
// The same, but first runs the parts that options->uses asks for (HEED_USES_..., 0: all) and that have no kept verdict. A device that
// computes wrong results gets a verdict; this is not an error. Errors: OUT_OF_MEMORY.
heed_status heed__self_test(enum heed__self_test_mode mode, const heed_open_options *options,
                            struct heed__found *found);

#endif
