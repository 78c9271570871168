// Fuzz targets: one fuzz_*.c for each kind of input that heed takes from others. Built with libFuzzer (HEED_FUZZ=ON) they look for
// inputs of their own; linked with replay.c they go once through the files in corpus/. What they share is in fuzz.c.
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A finding, like a crash: prints the condition and aborts.
#define FUZZ_REQUIRE(condition) ((condition) ? (void)0 : fuzz_fail(#condition, __FILE__, __LINE__))
_Noreturn void fuzz_fail(const char *condition, const char *file, int line);

// A file with these bytes, in memory, under a name that lasts; the next call replaces it.
const char *fuzz_file(const uint8_t *data, size_t size);
// The thread's last error is one line, and names the path.
void fuzz_require_message(const char *path);
// An empty folder that goes with the process.
const char *fuzz_folder(void);

#endif
