// Finding, reading and drawing the digits.
#include "train/dataset.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "train/digits.h"

const char *const dataset_words[] = {"synthetic", NULL};

enum { SYNTHETIC_TRAIN = 12000, SYNTHETIC_TEST = 2000, SYNTHETIC_CLASSES = 10 };

// ---------------------------------------------------------------- where the files are

static const char *first_part(bool with_train) { return with_train ? "train" : "t10k"; }

// Returns the user's data folder; free() it. NULL if the environment names none.
static char *default_folder(void) {
  const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
  char *path = NULL;
  int length = -1;
  if (data && *data)
    length = asprintf(&path, "%s/heed/mnist", data);
  else if (home && *home)
    length = asprintf(&path, "%s/.local/share/heed/mnist", home);
  return length < 0 ? NULL : path;
}

// Sets out->source and out->synthetic.
static int choose_source(const tool_args *args, const char *option, bool with_train, dataset *out) {
  const char *command = args->command;
  const char *given = option ? option : getenv("HEED_DATA");
  if (given && *given) {
    out->source = strdup(given);
    out->synthetic = strcmp(given, "synthetic") == 0;
    if (out->source && !out->synthetic && !heed_mnist_is_there(given, first_part(with_train)))
      return tool_fail(command, "%s%s; name the folder of the data set's four files, or 'synthetic'",
                       option ? "--data " : "HEED_DATA=", heed_last_error());
    return out->source ? TOOL_DONE : tool_fail(command, "out of memory");
  }
  out->source = default_folder();
  if (out->source && heed_mnist_is_there(out->source, first_part(with_train))) return TOOL_DONE;
  tool_note(args,
            "no MNIST files in %s: using synthetic digits that the program draws itself (--data DIR or HEED_DATA names "
            "the folder)",
            out->source ? out->source : "$XDG_DATA_HOME/heed/mnist");
  free(out->source);
  out->source = strdup("synthetic");
  out->synthetic = true;
  return out->source ? TOOL_DONE : tool_fail(command, "out of memory");
}

// ---------------------------------------------------------------- reading and drawing

static int draw_part(const char *command, uint64_t seed, int64_t count, heed_mnist *out) {
  *out = (heed_mnist){.count = count, .rows = DIGITS_SIDE, .cols = DIGITS_SIDE};
  out->images = malloc((size_t)count * DIGITS_PIXELS);
  out->labels = malloc((size_t)count);
  if (!out->images || !out->labels) return tool_fail(command, "out of memory");
  digits_draw(seed, count, out->images, out->labels);
  return TOOL_DONE;
}

static int read_part(const char *command, const char *dir, const char *part, int64_t classes, heed_mnist *out) {
  TOOL_HEED(command, heed_mnist_read(dir, part, classes < 256 ? (int)classes : 256, out));
  // The device counts rows in 32 bits.
  if (out->count > INT32_MAX) return tool_fail(command, "%s: %lld images are too many", dir, (long long)out->count);
  return TOOL_DONE;
}

static int load(const char *command, bool with_train, int64_t classes, dataset *out) {
  if (out->synthetic) {
    if (classes < SYNTHETIC_CLASSES)
      return tool_fail(command, "the model has %lld classes, but the synthetic digits have %d", (long long)classes,
                       SYNTHETIC_CLASSES);
    if (with_train) TOOL_TRY(draw_part(command, 1, SYNTHETIC_TRAIN, &out->train));
    return draw_part(command, 2, SYNTHETIC_TEST, &out->test);
  }
  if (with_train) TOOL_TRY(read_part(command, out->source, "train", classes, &out->train));
  TOOL_TRY(read_part(command, out->source, "t10k", classes, &out->test));
  if (with_train && (out->train.rows != out->test.rows || out->train.cols != out->test.cols))
    return tool_fail(command, "%s: training images are %lld x %lld, test images %lld x %lld", out->source,
                     (long long)out->train.rows, (long long)out->train.cols, (long long)out->test.rows,
                     (long long)out->test.cols);
  return TOOL_DONE;
}

int64_t dataset_classes(const dataset *data) {
  const heed_mnist *const parts[] = {&data->train, &data->test};
  uint8_t highest = 0;
  for (size_t part = 0; part < 2; part++)
    for (int64_t i = 0; i < parts[part]->count; i++)
      if (parts[part]->labels[i] > highest) highest = parts[part]->labels[i];
  return data->synthetic ? SYNTHETIC_CLASSES : highest + 1;
}

int dataset_open(const tool_args *args, const char *option, bool with_train, int64_t classes, dataset *out) {
  *out = (dataset){0};
  TOOL_TRY(choose_source(args, option, with_train, out));
  tool_progress_show(args->progress, "%s %s", out->synthetic ? "drawing digits" : "reading", out->source);
  return load(args->command, with_train, classes, out);
}

static void free_part(heed_mnist *part, bool synthetic) {
  if (!synthetic) {
    heed_mnist_free(part);
    return;
  }
  free(part->images);
  free(part->labels);
}

void dataset_close(dataset *data) {
  free_part(&data->train, data->synthetic);
  free_part(&data->test, data->synthetic);
  free(data->source);
  *data = (dataset){0};
}

uint32_t dataset_checksum(const heed_mnist *part) {
  const uLong images = crc32_z(0, part->images, (size_t)(part->count * part->rows * part->cols));
  return (uint32_t)crc32_z(images, part->labels, (size_t)part->count);
}
