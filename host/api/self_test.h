// Whether a device computes right, asked before the first work on it and remembered with the compiled kernels. open.c decides what a
// verdict means.
#ifndef HEED__SELF_TEST_H
#define HEED__SELF_TEST_H

#include "api/drivers.h"

enum heed__self_test_mode {
  HEED__SELF_TEST_OFF,
  HEED__SELF_TEST_REMEMBERED,  // only where the verdict can be kept: else each open would pay for it
  HEED__SELF_TEST_ALWAYS,
};
// given: as heed_open_options.self_test; 0 leaves it to HEED_SELF_TEST. Errors: INVALID_ARGUMENT.
heed_status heed__self_test_mode(int given, enum heed__self_test_mode *mode);

// Fills the device's verdict from the cache: FAILED where a part of the test was failed, OK where some was passed, else UNTESTED.
void heed__self_test_recall(const heed_open_options *options, struct heed__found *found);
// The same; runs the parts that options->uses asks for (HEED_USES_..., 0: all) and that nothing is remembered of. That the device
// computes wrong is a verdict, no error. Errors: OUT_OF_MEMORY.
heed_status heed__self_test(enum heed__self_test_mode mode, const heed_open_options *options,
                            struct heed__found *found);

#endif
