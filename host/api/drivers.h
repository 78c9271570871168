// The backends as host/api knows them: one row for each, in drivers.c. A new backend is a folder and a row; nothing else in api names one.
#ifndef HEED__DRIVERS_H
#define HEED__DRIVERS_H

#include <heed/tune.h>

#include "core/core.h"

// A device that a driver has found.
struct heed__found {
  const struct heed__driver *driver;
  heed_device_info info;
  void *handle;  // the driver's handle of the device
  void *kept;    // what its self-test keeps while the list lives; NULL: nothing
};

struct heed__findings {  // both freed with free()
  struct heed__found *found;
  size_t count;
  heed_platform_info *platforms;
  size_t platform_count;
};

// Verdicts on devices that may compute wrong results.
struct heed__driver_verdicts {
  // Makes the key of a device with the kernels that `options` ask for (free() it), and writes the folder that keeps verdicts. NULL: heed
  // keeps none.
  char *(*key)(const heed_open_options *options, const heed_device_info *device, char *folder, size_t size);
  bool (*load)(const char *folder, const char *key, unsigned char **entry, size_t *size);  // free() it
  void (*store)(const char *folder, const char *key, const unsigned char *entry, size_t size);
  const char *(*folder)(const heed_context *ctx);         // where a context keeps what it compiles; NULL: nowhere
  bool (*build_may_work_later)(const heed_context *ctx);  // tells it of the last build that failed
  // Holds what is slow to make and would end with the last context of a process; NULL: nothing.
  void *(*keep)(heed_context *ctx);
  void (*let_go)(void *kept);
};

// heed/tune.h on a context of this driver, with arguments that have been checked.
struct heed__driver_tuning {
  heed_status (*open)(heed_context *ctx, const char *folder, const char *file, bool off, bool mends);
  void (*get)(heed_context *ctx, const heed_tune_problem *problem, heed_tune_choice *choice);
  heed_status (*set)(heed_context *ctx, const heed_tune_problem *problem, const char *choice, double speedup);
  heed_status (*force)(heed_context *ctx, heed_tune_op op, const char *choice);
  heed_status (*neighbours)(heed_context *ctx, const heed_tune_problem *problem, const char *choice,
                            heed_tune_choice *neighbours, size_t room, size_t *count);
  const char *(*path)(const heed_context *ctx);  // NULL: nowhere
  heed_status (*load)(heed_context *ctx, const char *path);
  heed_status (*save)(heed_context *ctx, const char *path);
  heed_status (*json)(const heed_context *ctx, char **text);
  uint64_t (*verdicts)(const heed_context *ctx);
};

struct heed__driver {
  const char *name;
  const struct heed__backend *backend;                     // of its contexts
  heed_status (*check)(const heed_open_options *options);  // before heed looks for devices; NULL: nothing to check
  heed_status (*discover)(struct heed__findings *out);
  heed_status (*open)(heed_context *ctx, void *handle, const heed_open_options *options);
  const struct heed__driver_verdicts *verdicts;  // NULL: its devices need no self-test
  const struct heed__driver_tuning *tuning;      // NULL: nothing to tune
  const struct heed__driver_handles *handles;    // opencl.h; NULL: it has no OpenCL handles
};

extern const struct heed__driver heed__drivers[];  // in the order of their devices; ends with a NULL name
const struct heed__driver *heed__driver_of(const heed_context *ctx);
const struct heed__driver *heed__driver_with_handles(void);
// The host. A spec names it without a search for devices, and its results are the reference for others.
heed_status heed__driver_open_reference(heed_context *ctx, const heed_open_options *options);
bool heed__driver_is_reference(const heed_context *ctx);
// Opens a context on the host. Errors: OUT_OF_MEMORY.
heed_status heed__driver_create_reference(heed_context **out);

#endif
