// Recognises files of other formats by their first bytes. It only names them, and says how to convert them; heed reads none of them.
#include "io/foreign.h"

#include <stdbool.h>
#include <string.h>

#include "base/text.h"

#define SAVE_AS_NUMPY                                                                                           \
  "python3 -c 'import numpy; from safetensors.numpy import save_file; save_file(dict(x=numpy.load(\"FILE\")), " \
  "\"x.safetensors\")'"
#define SAVE_AS_ARCHIVE                                                                                       \
  "python3 -c 'import numpy; from safetensors.numpy import save_file; save_file(dict(numpy.load(\"FILE\")), " \
  "\"x.safetensors\")'"
#define SAVE_AS_TORCH                                                                            \
  "python3 -c 'import torch; from safetensors.torch import save_file; d = torch.load(\"FILE\", " \
  "map_location=\"cpu\", weights_only=True); save_file({k: v.contiguous() for k, v in d.items()}, \"x.safetensors\")'"

static const char torch_zip[] = "a PyTorch file, not safetensors; convert it: " SAVE_AS_TORCH;
static const char torch_pickle[] =
    "a Python pickle, as torch.save() made them before PyTorch 1.6, not safetensors; convert it: " SAVE_AS_TORCH;
static const char numpy_file[] = "a NumPy file, not safetensors; convert it: " SAVE_AS_NUMPY;
static const char numpy_archive[] = "a NumPy archive (.npz), not safetensors; convert it: " SAVE_AS_ARCHIVE;
static const char onnx[] =
    "an ONNX model, not safetensors; convert its weights: python3 -c 'import onnx; from onnx import numpy_helper as n; "
    "from "
    "safetensors.numpy import save_file; save_file({t.name: n.to_array(t) for t in "
    "onnx.load(\"FILE\").graph.initializer}, \"x.safetensors\")'";

// Beginnings that identify a format alone.
static const struct {
  const char *start;
  size_t bytes;
  const char *what;
} magics[] = {
#define MAGIC(start, what) \
  { (start), sizeof(start) - 1, (what) }
    MAGIC(
        "GGUF",
        "a GGUF file of llama.cpp, whose weights may be quantised, not safetensors; take the safetensors files of the "
        "model that it was made from, or convert it: python3 -c 'import gguf; from safetensors.numpy import save_file; "
        "save_file({t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(\"FILE\").tensors}, "
        "\"x.safetensors\")'"),
    MAGIC("\x93NUMPY", numpy_file),
    MAGIC(
        "\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes them, not safetensors; read it with h5py and write it with safetensors.numpy's "
        "save_file()"),
    MAGIC("\x1f\x8b", "a gzip file; unpack it with gunzip"),
    MAGIC("\xfd\x37zXZ", "an xz file; unpack it with unxz"),
    MAGIC("\x28\xb5\x2f\xfd", "a Zstandard file; unpack it with unzstd"),
#undef MAGIC
};

static bool contains(const char *text, size_t bytes, const char *piece) {
  return memmem(text, bytes, piece, strlen(piece)) != NULL;
}

// A ZIP archive, by the name of its first entry.
static const char *zip(const char *text, size_t bytes) {
  if (contains(text, bytes, ".npy")) return numpy_archive;
  if (contains(text, bytes, "data.pkl") || contains(text, bytes, ".data/") || contains(text, bytes, "/version"))
    return torch_zip;
  return "a ZIP archive; unpack it with unzip";
}

// An ONNX model is a protocol buffer without a magic number: field 1, the version of its format (up to now 1 to 13), then field 2, 3, 7
// or 8, each with a length.
static bool is_onnx(const unsigned char *start, size_t bytes) {
  return bytes > 3 && start[0] == 0x08 && start[1] >= 1 && start[1] <= 32 &&
         (start[2] == 0x12 || start[2] == 0x1a || start[2] == 0x3a || start[2] == 0x42);
}

// A header's length has bytes that are 0, and no text has.
static bool is_text(const unsigned char *start, size_t bytes) {
  for (size_t i = 0; i < 8 && i < bytes; ++i)
    if ((start[i] < 0x20 && !memchr("\t\r\n", start[i], 3)) || start[i] == 0x7f) return false;
  return bytes >= 8;
}

const char *heed__foreign(const void *start, size_t bytes) {
  const unsigned char *data = start;
  const char *missing = heed__not_downloaded(start, bytes);
  if (missing) return missing;
  for (size_t i = 0; i < sizeof magics / sizeof *magics; ++i)
    if (bytes >= magics[i].bytes && memcmp(data, magics[i].start, magics[i].bytes) == 0) return magics[i].what;
  if (bytes >= 4 && memcmp(data, "PK\3\4", 4) == 0) return zip(start, bytes);
  if (bytes >= 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5) return torch_pickle;
  if (is_onnx(data, bytes)) return onnx;
  if (!is_text(data, bytes)) return NULL;
  return data[0] == '{' ? "JSON, not safetensors; name the file that has the tensors"
                        : "a text, not safetensors; name the file that has the tensors";
}
