// What fault_shim.c offers to the program that runs under it: one chosen call fails, and what is left over is counted.
#ifndef FAULT_SHIM_H
#define FAULT_SHIM_H

#include <stdbool.h>
#include <stddef.h>

enum fault_kind { FAULT_NONE, FAULT_CL, FAULT_MEMORY, FAULT_FILE };

struct fault_report {
  long calls;         // calls that could have failed
  char function[40];  // the first that did; empty: none
  char error[48];     // with this: "CL_OUT_OF_RESOURCES", "ENOSPC"
  int errors;         // how many different errors that function has
  int objects;        // OpenCL objects that are still held, or were released more often than held
  int blocks;         // blocks of host memory that are still held
  char leaks[256];    // both as text; empty: none
};

struct fault_shim {
  // From here on the at-th call of this kind (1: the next) fails with the function's error number `error`; `onward`: and
  // every call after it. at 0: none fails. What is held at this moment is forgotten.
  void (*arm)(enum fault_kind kind, long at, int error, bool onward);
  // Calls in a pause neither fail nor count.
  void (*pause)(bool on);
  // Held now.
  int (*buffers)(void), (*programs)(void);
  void (*disarm)(struct fault_report *report);
};
// Found with dlsym(RTLD_DEFAULT, "fault_shim").
// Without such a program the environment arms it: FAULT_KIND=cl|memory|file, FAULT_AT, FAULT_ERROR, FAULT_ONWARD=1; the report goes to the
// file FAULT_REPORT at the end of the process. FAULT_CRASH: the name of an OpenCL function or of a kernel; calling, or launching it is a
// segmentation fault.

#endif
