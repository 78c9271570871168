// heed train in the test's own process, in a folder that goes at the end, and what it leaves there.
#ifndef SUPPORT_TRAIN_H
#define SUPPORT_TRAIN_H

#include <heed/io.h>
#include <jansson.h>

#include "cli/tool.h"
#include "support_files.h"
#include "support_listen.h"

// cmd_train on synthetic digits, 120 steps an epoch, as support_command() calls it; what it says goes on to stderr.
int support_train(const char *const *words);
#define TRAIN(...) support_train((const char *const[]){__VA_ARGS__, NULL})
// For facts about files, which are the same on every device.
#define TRAIN_ON_HOST(...) TRAIN("--device", "host", __VA_ARGS__)

heed_safetensors *support_read_tensors(const char *path);
// Both files have the same tensors, bit for bit.
void support_assert_same_tensors(const char *path_a, const char *path_b);
// All lines of a log, as a JSON array.
json_t *support_read_log(const char *path);

int support_enter_folder(void **state);
int support_leave_folder(void **state);

#endif
