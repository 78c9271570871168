// What the parts of the shim share: which call fails, and which objects are held.
#ifndef FAULT_SHIM_INSIDE_H
#define FAULT_SHIM_INSIDE_H

#include <dlfcn.h>

#include "fault_shim.h"

#define EXPORT __attribute__((visibility("default")))
#define REAL(name)                                                          \
  ({                                                                        \
    static __typeof__(&name) real_function;                                 \
    if (!real_function) *(void **)&real_function = dlsym(RTLD_NEXT, #name); \
    real_function;                                                          \
  })

struct error {
  int code;
  const char *name;
};
// The error that this call is to give, or NULL: let it pass.
const struct error *fault_inject(enum fault_kind kind, const char *function, const struct error *errors, int count);
#define INJECT(kind, errors) fault_inject(kind, __func__, errors, (int)(sizeof errors / sizeof *errors))

// Ends the process as a driver's fault would, if `name` is where it is to crash.
void fault_crash(const char *name);

enum object { CONTEXT, QUEUE, BUFFER, PROGRAM, KERNEL, EVENT, DEVICE, OBJECTS };
void fault_hold(enum object object, const void *address);
void fault_let_go(enum object object, const void *address);

#endif
