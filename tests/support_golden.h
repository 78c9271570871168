// Golden cases: safetensors files with inputs, expected.NAME for each output, and the operator and options in their metadata. Here is
// what their tests share: finding the files, comparing what `heed run` wrote, and the worst error of each operator.
#ifndef SUPPORT_GOLDEN_H
#define SUPPORT_GOLDEN_H

#include <heed/io.h>
#include <stdbool.h>
#include <stddef.h>

enum { GOLDEN_MOST_CASES = 256, GOLDEN_MOST_WORDS = 32 };

typedef struct golden_cases {
  char *paths[GOLDEN_MOST_CASES];
  size_t count;
} golden_cases;
// Adds the folder's files by name; returns whether it has any.
bool golden_find(golden_cases *cases, const char *folder);
void golden_free(golden_cases *cases);

// ‖array‖ over its finite values.
double golden_norm(const heed_array *array);

// What ‖x − r‖ of a result or of a gradient is divided by.
typedef double (*golden_scale)(const heed_safetensors *file, const heed_array *expected, bool gradient);

// Compares each expected.NAME of the file with NAME of the result, except `without` (NULL: no exception). Returns how many differ, and 1
// where nothing was compared.
size_t golden_compare(const char *name, const char *op, const char *without, golden_scale scale,
                      const heed_safetensors *file, const heed_safetensors *result);
// The worst error of each operator since golden_forget().
void golden_forget(void);
void golden_report(void);

// Skips the test where heed would open the host.
void golden_need_device(void);

#endif
