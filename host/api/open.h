// What every way to open a context ends with.
#ifndef HEED__OPEN_H
#define HEED__OPEN_H

#include "core/core.h"

// Reads the tuned choices of an opened context and attaches validation. If that or the open before, which brought `status`, failed, it
// destroys ctx. Errors: status; those of heed_open_with().
heed_status heed__open_finish(heed_status status, const heed_open_options *options, heed_context *ctx,
                              heed_context **out);

#endif
