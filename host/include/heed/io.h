// Files that heed reads and writes: safetensors (https://github.com/huggingface/safetensors, as of version 0.8), whole, in shards, or
// tensor by tensor; and the IDX files of MNIST, plain or gzip'd.
#ifndef HEED_IO_H
#define HEED_IO_H

#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------- safetensors, in host memory

typedef struct heed_safetensors heed_safetensors;

// The highest rank in a file. A tensor has at most HEED_MAX_RANK: heed_array_to_tensor() refuses an array of more.
#define HEED_MAX_STORED_RANK 8

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
// Reads every tensor in F64 or one of heed's dtypes, and skips those in other dtypes of the format (heed_store reads them). path: as of
// heed_store_open(). Errors, which name the file and the tensor: those of heed_store_open(); FORMAT when a BOOL is neither 0 nor 1.
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_read(const char *path, heed_safetensors **out);
// The same from an open file descriptor, such as a pipe, which it reads to the end and leaves open. name is for messages.
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_read_fd(int fd, const char *name, heed_safetensors **out);
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
// Writes to an open file descriptor, such as a pipe, and leaves it open. name is for messages. Errors: IO; then a part may be written.
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_write_fd(const heed_safetensors *file, int fd, const char *name);
// Makes a tensor on ctx with the array's dtype, shape and data.
HEED_API HEED_MUST_CHECK heed_status heed_array_to_tensor(const heed_array *array, heed_context *ctx,
                                                          heed_tensor **out);

// ---------------------------------------------------------------- safetensors, tensor by tensor

// An open file of safetensors, or several that an index makes one. Opening reads the headers only; a tensor is read when it is asked for.
// Several threads may read from one store.
typedef struct heed_store heed_store;

// One tensor of a store, which owns everything here.
typedef struct heed_stored {
  const char *name;
  const char *dtype;  // as in the file: "F8_E4M3"
  bool is_own;        // its dtype is one of heed's, or F64
  bool
      is_convertible;  // heed_store_read() can read it; false for F4, F6_E2M3, F6_E3M2, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, C64
  heed_dtype
      natural;  // what it is read as unless the caller wants something else: its own dtype; F32 for F64, F8_E4M3 and F8_E5M2;
                // I32 for I8, I16 and U16; I64 for U32 and U64
  int rank;  // up to HEED_MAX_STORED_RANK
  const int64_t *dims;
  int64_t count;     // elements
  int64_t bytes;     // in the file
  const char *path;  // of the file with its data
} heed_stored;

// path names a safetensors file; an index (model.safetensors.index.json) beside its shards; or a folder with model.safetensors.index.json
// or model.safetensors. A pipe's data are held in memory.
// Errors, which name file and tensor: IO (a file cannot be opened or read); FORMAT (it is truncated; its header is over 100 MB or no JSON;
// a dtype is none of the format's, a rank is over HEED_MAX_STORED_RANK, a name appears twice; offsets overlap, leave the file, leave
// holes or disagree with a shape; the index names a file outside of its folder, or a tensor that the shard does not have; the file is
// something else, and the message says what); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_store_open(const char *path, heed_store **out);
// The same of an open descriptor, from where it stands, which is read to its end as a pipe is; it stays the caller's. name is for messages.
HEED_API HEED_MUST_CHECK heed_status heed_store_open_fd(int fd, const char *name, heed_store **out);
HEED_API void heed_store_destroy(heed_store *store);
HEED_API size_t heed_store_count(const heed_store *store);
// In the order of the data, shard by shard; NULL past the last.
HEED_API const heed_stored *heed_store_get(const heed_store *store, size_t index);
HEED_API const heed_stored *heed_store_find(const heed_store *store, const char *name);  // NULL: not there
// Of the first shard, as of heed_safetensors_metadata().
HEED_API const char *heed_store_metadata(const heed_store *store, const char *key);
HEED_API size_t heed_store_metadata_count(const heed_store *store);
HEED_API const char *heed_store_metadata_key(const heed_store *store, size_t index);
// Reads a tensor into `data`, densely packed: count elements of `dtype`, `bytes` in all. Any float becomes any float, rounded to nearest
// even; what overflows becomes infinite. An integer or BOOL becomes any dtype that has its value (floats: up to 2^24, F16 2^11, BF16 2^8).
// Errors: DTYPE (a float as an integer; a dtype that heed does not convert); OVERFLOW (an integer that the dtype does not have: the
// message has index and value); FORMAT (a BOOL is neither 0 nor 1); SHAPE (bytes is wrong); IO; OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_store_read(const heed_store *store, const heed_stored *stored,
                                                     heed_dtype dtype, void *data, size_t bytes);
// The same into a new tensor on ctx. Errors: also SHAPE (a rank over HEED_MAX_RANK), and those of heed_tensor_create().
HEED_API HEED_MUST_CHECK heed_status heed_store_load(const heed_store *store, const heed_stored *stored,
                                                     heed_dtype dtype, heed_context *ctx, heed_tensor **out);
// The same into `file`, under its name, as stored->natural. Errors: also INVALID_ARGUMENT (the name already exists).
HEED_API HEED_MUST_CHECK heed_status heed_safetensors_add_stored(heed_safetensors *file, const heed_store *store,
                                                                 const heed_stored *stored);

// ---------------------------------------------------------------- IDX

// An IDX file of unsigned bytes (type 0x08): the header's dimensions and the bytes as they are.
typedef struct heed_idx {
  int rank;
  int64_t *dims;  // `rank` of them
  uint8_t *data;
  size_t bytes;
} heed_idx;
// Reads path, or path + ".gz" if there is no path. The content tells whether a file is gzip'd, not its name. On failure *out is empty.
// Errors: IO; FORMAT (wrong magic, type or size, or a truncated gzip); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_idx_read(const char *path, heed_idx *out);
HEED_API void heed_idx_free(heed_idx *idx);

// Images and labels of one part of MNIST. images: [count, rows·cols] U8; labels: [count] U8.
typedef struct heed_mnist {
  int64_t count, rows, cols;
  uint8_t *images, *labels;
} heed_mnist;
// Reads {part}-images-idx3-ubyte and {part}-labels-idx1-ubyte; part is "train" or "t10k". Also found: '.' for '-', .gz, "test" for "t10k",
// and the name of a set in front (emnist-letters-train-images-idx3-ubyte). dir is their folder; one above it, as torchvision and archives
// make them (MNIST/raw, FashionMNIST/raw, EMNIST/raw, KMNIST/raw, QMNIST/raw, raw, gzip); or FOLDER/SET, where a folder has several sets.
// Labels and images are as in the files: EMNIST's letters have labels 1 to 26, and its images lie on their side. On failure *out is empty.
// Errors: as of heed_idx_read(); IO when the files are not there, with what is, or when there are several sets; FORMAT when the counts
// disagree or a label is >= classes.
HEED_API HEED_MUST_CHECK heed_status heed_mnist_read(const char *dir, const char *part, int classes, heed_mnist *out);
// Whether heed_mnist_read() would find files.
HEED_API bool heed_mnist_is_there(const char *dir, const char *part);
HEED_API void heed_mnist_free(heed_mnist *mnist);

#ifdef __cplusplus
}
#endif
#endif
