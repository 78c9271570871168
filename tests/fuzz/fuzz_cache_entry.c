// Entries of the program cache: what is loaded is what the file holds behind its header and its key, and only where the checksum
// is right. The first byte says whether the target puts the right one in, as the fuzzer cannot.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "cl/runtime/runtime.h"
#include "fuzz.h"

enum { HEADER_BYTES = 32, CRC_AT = 28 };  // as program_cache.c has them
static const char key[] = "heed, a key";

// Where the cache keeps the entry of the key: stored once, then looked for.
static const char *entry_path(void) {
  static char path[1024];
  if (path[0]) return path;
  heed__cl_cache_store(fuzz_folder(), key, (const unsigned char *)"binary", 6);
  DIR *stream = opendir(fuzz_folder());
  FUZZ_REQUIRE(stream);
  for (struct dirent *entry; (entry = readdir(stream));)
    if (strstr(entry->d_name, ".clbin")) snprintf(path, sizeof path, "%s/%s", fuzz_folder(), entry->d_name);
  closedir(stream);
  FUZZ_REQUIRE(path[0]);
  return path;
}

static void write_entry(const uint8_t *data, size_t size, bool repair) {
  uint8_t *copy = malloc(size + 1);
  FUZZ_REQUIRE(copy);
  memcpy(copy, data, size);
  if (repair && size >= HEADER_BYTES) {
    memset(copy + CRC_AT, 0, sizeof(uint32_t));
    const uint32_t crc = (uint32_t)crc32_z(0, copy, size);
    memcpy(copy + CRC_AT, &crc, sizeof crc);
  }
  FILE *file = fopen(entry_path(), "wb");
  FUZZ_REQUIRE(file && fwrite(copy, 1, size, file) == size && fclose(file) == 0);
  free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  write_entry(data + 1, size - 1, data[0] & 1);
  unsigned char *binary = NULL;
  size_t bytes = 0;
  const bool loaded = heed__cl_cache_load(fuzz_folder(), key, &binary, &bytes);
  FUZZ_REQUIRE(loaded == (binary != NULL));
  if (loaded) {
    FUZZ_REQUIRE(bytes > 0 && size - 1 == HEADER_BYTES + strlen(key) + bytes);
    FUZZ_REQUIRE(memcmp(data + 1 + HEADER_BYTES, key, strlen(key)) == 0);
    FUZZ_REQUIRE(memcmp(binary, data + size - bytes, bytes) == 0);
  }
  free(binary);
  return 0;
}
