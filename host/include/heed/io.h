// Files that heed reads and writes: safetensors (https://github.com/huggingface/safetensors, format 0.4) and the IDX
// files of MNIST, plain or gzip'd.
#ifndef HEED_IO_H
#define HEED_IO_H

#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------- safetensors, in host memory

typedef struct heed_safetensors heed_safetensors;

// One named array of a file. name, dims and data belong to the file object. data is densely packed, row-major and aligned to 16
// bytes; a caller may change it in place. A pointer to the struct is valid until something is added to the file object.
typedef struct heed_array {
  const char *name;
  heed_dtype dtype;  // F64 in a file is read as F32
  int rank;
  const int64_t *dims;  // `rank` of them; never NULL
  void *data;
  size_t bytes;
} heed_array;

// Makes an empty object, to add to and to write.
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_create(heed_safetensors **out);
// Reads a whole file. Errors, which name the file and the tensor: IO (the file cannot be opened or read); FORMAT (it is truncated; its
// header is over 100 MB or no JSON; a dtype is unknown, a rank is over HEED_MAX_RANK, a name appears twice; offsets overlap,
// leave the file, leave holes or disagree with a shape); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_read(const char *path, heed_safetensors **out);
HEED_API void heed_safetensors_destroy(heed_safetensors *file);
HEED_API size_t heed_safetensors_count(const heed_safetensors *file);
// In the order of the file's data; NULL past the last.
HEED_API const heed_array *heed_safetensors_get(const heed_safetensors *file, size_t index);
HEED_API const heed_array *heed_safetensors_find(const heed_safetensors *file, const char *name);  // NULL: not there
HEED_API const char *heed_safetensors_metadata(const heed_safetensors *file, const char *key);     // NULL: not there
HEED_API size_t heed_safetensors_metadata_count(const heed_safetensors *file);
HEED_API const char *heed_safetensors_metadata_key(const heed_safetensors *file, size_t index);
// Adds a copy of `data`, or of a tensor, which it downloads. In a BOOL, bytes that are not 0 become 1.
// Errors: INVALID_ARGUMENT for a name that already exists, is not UTF-8 or is "__metadata__"; SHAPE, DTYPE, OVERFLOW.
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_add(heed_safetensors *file, const char *name, heed_dtype dtype,
                                                          int rank, const int64_t *dims, const void *data);
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_add_tensor(heed_safetensors *file, const char *name,
                                                                 const heed_tensor *tensor);
// Sets one entry of the metadata, or replaces it. key and value are UTF-8.
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_set_metadata(heed_safetensors *file, const char *key,
                                                                   const char *value);
// Writes to a temporary file in the same folder, syncs it, and renames it, so that path always holds the old file or the new one,
// whole. A replaced file keeps its permissions, a symbolic link stays one, and a device or a pipe is written in place.
// Arrays with wide elements come first in the file, so that each is aligned; otherwise they keep the order in which they were added.
// Errors: IO, with the path and the reason. The old file then stays, and the temporary one is removed.
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_write(const heed_safetensors *file, const char *path);
// Makes a tensor on ctx with the array's dtype, shape and data.
HEED_API HEED_MUST_CHECK heed_status heed_array_to_tensor(const heed_array *array, heed_context *ctx,
                                                          heed_tensor **out);

// ---------------------------------------------------------------- IDX

// An IDX file of unsigned bytes (type 0x08): the header's dimensions and the bytes as they are.
typedef struct heed_idx {
  int rank;
  int64_t *dims;  // `rank` of them
  uint8_t *data;
  size_t bytes;
} heed_idx;
// Reads path, or path + ".gz" if there is no path. The content tells whether a file is gzip'd, not its name. On failure *out is empty.
// Errors: IO; FORMAT (wrong magic, type or size, or a torn gzip); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_idx_read(const char *path, heed_idx *out);
HEED_API void heed_idx_free(heed_idx *idx);

// Images and labels of one part of MNIST. images: [count, rows·cols] U8; labels: [count] U8.
typedef struct heed_mnist {
  int64_t count, rows, cols;
  uint8_t *images, *labels;
} heed_mnist;
// Reads {part}-images-idx3-ubyte and {part}-labels-idx1-ubyte in dir; part is "train" or "t10k". On failure *out is empty.
// Errors: as of heed_idx_read(); FORMAT when the counts disagree or a label is >= classes.
HEED_API HEED_MUST_CHECK heed_status heed_mnist_read(const char *dir, const char *part, int classes, heed_mnist *out);
HEED_API void heed_mnist_free(heed_mnist *mnist);

#ifdef __cplusplus
}
#endif
#endif
