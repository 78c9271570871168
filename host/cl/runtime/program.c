// Programs of a context: it builds each (file, options) once from source, or loads it from the disk cache, and every launch finds it by
// hash. program_cache.c knows the entries on disk, and sources.c the source text.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "cl/runtime/device_key.h"
#include "cl/runtime/runtime.h"
#include "cl/runtime/sources.h"

struct program {
  uint64_t hash;
  char *file, *options;
  cl_program program;  // NULL: the build failed, and `failure` says why
  char *failure;
  char *key;                 // of a program that must still be stored; else NULL
  bool from_disk, replaces;  // replaces: the cache's entry for it is useless
  struct heed__cl_built **built;
  size_t built_count;
};

struct source {
  char *file, *text;
  size_t length;
  uint64_t hash;
};

// Open addressing; room is a power of two, and at most half of it is in use.
struct heed__cl_programs {
  struct program **slots;
  size_t room, count;
  struct source *sources;
  size_t source_count, unstored, compiled;
};

// Hashes keys in memory, eight bytes per step, because options have some hundred characters and every launch pays for this.
static uint64_t hash_bytes(uint64_t hash, const char *text, size_t length) {
  for (; length >= 8; text += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, text, sizeof word);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  uint64_t last = length;
  for (size_t i = 0; i < length; ++i) last = last << 8 | (unsigned char)text[i];
  hash = (hash ^ last) * 0xD6E8FEB86659FD93u;
  return hash ^ hash >> 32;
}

static heed_status no_memory(const char *file) {
  return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "kernel file %s: no host memory for its program", file);
}

// ---------------------------------------------------------------- sources

static heed_status find_source(heed_context *ctx, const char *file, const struct source **out) {
  struct heed__cl *cl = heed__cl_state(ctx);
  struct heed__cl_programs *programs = cl->programs;
  for (size_t i = 0; i < programs->source_count; ++i) {
    *out = &programs->sources[i];
    if (strcmp((*out)->file, file) == 0) return HEED_OK;
  }
  struct source source = {0};
  HEED__TRY(heed__cl_source_join(cl->kernel_dir, file, &source.text, &source.length));
  source.file = strdup(file);
  source.hash = heed__hash(HEED__HASH_START, source.text, source.length);
  struct source *grown = source.file ? realloc(programs->sources, (programs->source_count + 1) * sizeof *grown) : NULL;
  if (!grown) {
    free(source.file);
    free(source.text);
    return no_memory(file);
  }
  programs->sources = grown;
  programs->sources[programs->source_count] = source;
  *out = &programs->sources[programs->source_count++];
  return HEED_OK;
}

// ---------------------------------------------------------------- building

// Returns ten lines from the first error on, because a log may begin with pages of warnings.
static void head_of_log(char *log) {
  char *error = strstr(log, "error");
  char *start = log;
  if (error)
    for (char *c = log; c < error; ++c)
      if (*c == '\n') start = c + 1;
  char *end = start;
  for (int line = 0; line < 10 && *end; ++line) {
    end += strcspn(end, "\n");
    if (*end) ++end;
  }
  size_t length = (size_t)(end - start);
  while (length > 0 && strchr(" \r\n\t", start[length - 1])) --length;
  if (length > 2000) length = 2000;
  memmove(log, start, length);
  log[length] = 0;
}

static heed_status build_failure(heed_context *ctx, const struct program *program, cl_program built, cl_int error) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (error == CL_OUT_OF_HOST_MEMORY) return heed__cl_fail(ctx, error, "building a kernel");
  size_t length = 0;
  char *log = NULL;
  if (clGetProgramBuildInfo(built, cl->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &length) == CL_SUCCESS && length > 0)
    log = calloc(length + 1, 1);
  if (log && clGetProgramBuildInfo(built, cl->device, CL_PROGRAM_BUILD_LOG, length, log, NULL) == CL_SUCCESS)
    head_of_log(log);
  const char *said = log && *log ? log : "(the driver wrote no build log)";
  // The first line says why, for whoever shows only that line.
  const heed_status status =
      heed__fail(HEED_ERROR_BUILD, "kernel file %s does not build on %s (%s, driver %s): %s (%d): %.*s; options %s\n%s",
                 program->file, ctx->device.name, ctx->device.platform, ctx->device.driver, heed__cl_error_name(error),
                 (int)error, (int)heed__min((int64_t)strcspn(said, "\n"), 160), said, program->options, said);
  free(log);
  return status;
}

// The key contains the program's own source instead of all kernels, so that a change in one file keeps the programs of other files.
static char *make_key(const heed_context *ctx, const struct program *program, const struct source *source) {
  char *model = heed__cl_device_model(&ctx->device), *key = NULL;
  if (!model) return NULL;
  const int length = asprintf(&key, "%sfile %s\noptions %s\nsource %016llx %zu\n", model, program->file,
                              program->options, (unsigned long long)source->hash, source->length);
  free(model);
  return length < 0 ? NULL : key;
}

// Returns NULL if the driver does not accept the binary.
static cl_program from_binary(const struct heed__cl *cl, const char *options, const unsigned char *binary,
                              size_t size) {
  cl_int error = CL_SUCCESS, accepted = CL_SUCCESS;
  cl_program loaded = clCreateProgramWithBinary(cl->context, 1, &cl->device, &size, &binary, &accepted, &error);
  if (error == CL_SUCCESS) error = accepted;
  if (error == CL_SUCCESS) error = clBuildProgram(loaded, 1, &cl->device, options, NULL, NULL);
  if (error == CL_SUCCESS) return loaded;
  if (loaded) clReleaseProgram(loaded);
  return NULL;
}

// Returns NULL if the cache has no entry, or one that the driver does not accept; that entry must then be replaced.
static cl_program load(const heed_context *ctx, struct program *program, const char *key) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  unsigned char *binary = NULL;
  size_t size = 0;
  if (!heed__cl_cache_load(cl->cache_dir, key, &binary, &size)) return NULL;
  cl_program loaded = from_binary(cl, program->options, binary, size);
  program->replaces = !loaded;
  free(binary);
  return loaded;
}

// A caller's context may have several devices. A program then has a binary for each device, and ours is at *index.
static bool binary_index(const struct heed__cl *cl, cl_program program, cl_uint *index, cl_uint *count) {
  if (clGetProgramInfo(program, CL_PROGRAM_NUM_DEVICES, sizeof *count, count, NULL) != CL_SUCCESS || *count == 0)
    return false;
  cl_device_id *devices = calloc(*count, sizeof *devices);
  bool found = false;
  if (devices && clGetProgramInfo(program, CL_PROGRAM_DEVICES, *count * sizeof *devices, devices, NULL) == CL_SUCCESS)
    for (*index = 0; *index < *count && !found; ++*index) found = devices[*index] == cl->device;
  free(devices);
  if (found) --*index;
  return found;
}

// Returns NULL if the driver gives none.
static unsigned char *binary_of(const struct heed__cl *cl, cl_program program, size_t *size) {
  cl_uint index = 0, count = 0;
  if (!binary_index(cl, program, &index, &count)) return NULL;
  unsigned char *binary = NULL;
  size_t *sizes = calloc(count, sizeof *sizes);
  unsigned char **binaries = calloc(count, sizeof *binaries);
  if (sizes && binaries &&
      clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, count * sizeof *sizes, sizes, NULL) == CL_SUCCESS &&
      sizes[index] > 0) {
    *size = sizes[index];
    binary = binaries[index] = malloc(sizes[index]);
    if (binary &&
        clGetProgramInfo(program, CL_PROGRAM_BINARIES, count * sizeof *binaries, binaries, NULL) != CL_SUCCESS) {
      free(binary);
      binary = NULL;
    }
  }
  free(binaries);
  free(sizes);
  return binary;
}

// If another process has stored it already, skip asking the driver.
static void store(const struct heed__cl *cl, const struct program *program) {
  size_t size = 0;
  unsigned char *binary = NULL;
  if (program->replaces || !heed__cl_cache_load(cl->cache_dir, program->key, &binary, &size)) {
    binary = binary_of(cl, program->program, &size);
    if (binary) heed__cl_cache_store(cl->cache_dir, program->key, binary, size);
  }
  free(binary);
}

// Tells whether a build would end the same way again. A build that failed for lack of memory or of the device may work later.
static bool is_verdict(cl_int error) {
  return error == CL_BUILD_PROGRAM_FAILURE || error == CL_INVALID_BUILD_OPTIONS || error == CL_COMPILER_NOT_AVAILABLE;
}

static heed_status build_source(heed_context *ctx, struct program *program, const struct source *source) {
  struct heed__cl *cl = heed__cl_state(ctx);
  cl_int error = CL_SUCCESS;
  const char *text = source->text;
  cl_program built = clCreateProgramWithSource(cl->context, 1, &text, &source->length, &error);
  if (error != CL_SUCCESS) return heed__cl_fail(ctx, error, "making a program from source");
  heed__context_tell(ctx, HEED_ACTIVITY_COMPILE, program->file, cl->programs->compiled++, 0);
  error = clBuildProgram(built, 1, &cl->device, program->options, NULL, NULL);
  if (error == CL_SUCCESS) {
    program->program = built;
    return HEED_OK;
  }
  const heed_status status = build_failure(ctx, program, built, error);
  clReleaseProgram(built);
  // An operator asks for its program at every call, even if it does not build; give the same answer each time.
  cl->build_may_work_later = !is_verdict(error);
  if (is_verdict(error)) program->failure = strdup(heed_last_error());
  return status;
}

static heed_status build(heed_context *ctx, struct program *program, bool may_load) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const struct source *source = NULL;
  HEED__TRY(find_source(ctx, program->file, &source));
  char *key = cl->cache_dir ? make_key(ctx, program, source) : NULL;
  program->replaces = !may_load;
  if (key && may_load) program->program = load(ctx, program, key);
  program->from_disk = program->program != NULL;
  heed_status status = HEED_OK;
  if (!program->program) {
    status = build_source(ctx, program, source);
    if (status == HEED_OK && key && cl->stores_programs) {
      program->key = key;
      key = NULL;
      ++cl->programs->unstored;
    }
  }
  free(key);
  return status;
}

// Asking for a binary takes time, so heed does it when the caller waits anyway: in heed_sync(). If the driver must compile every kernel of
// a program again for a binary (PoCL), heed does it at the end of the context.
void heed__cl_programs_store(heed_context *ctx) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  struct heed__cl_programs *programs = cl->programs;
  if (!programs || programs->unstored == 0) return;
  for (size_t i = 0; i < programs->room; ++i) {
    struct program *program = programs->slots[i];
    if (!program || !program->key) continue;
    store(cl, program);
    free(program->key);
    program->key = NULL;
  }
  programs->unstored = 0;
}

// ---------------------------------------------------------------- finding

static void program_free(struct program *program) {
  for (size_t i = 0; i < program->built_count; ++i) {
    clReleaseKernel(program->built[i]->kernel);
    free((char *)program->built[i]->name);
    free(program->built[i]);
  }
  if (program->program) clReleaseProgram(program->program);
  free(program->built);
  free(program->failure);
  free(program->key);
  free(program->file);
  free(program->options);
  free(program);
}

static struct program **slot_of(struct program **slots, size_t room, uint64_t hash, const char *file,
                                const char *options) {
  size_t at = (size_t)hash & (room - 1);
  for (; slots[at]; at = (at + 1) & (room - 1)) {
    const struct program *program = slots[at];
    if (program->hash == hash && strcmp(program->options, options) == 0 && strcmp(program->file, file) == 0) break;
  }
  return &slots[at];
}

static heed_status grow(struct heed__cl_programs *programs, const char *file) {
  if (programs->count * 2 < programs->room) return HEED_OK;
  const size_t room = programs->room ? programs->room * 2 : 16;
  struct program **slots = calloc(room, sizeof(struct program *));
  if (!slots) return no_memory(file);
  for (size_t i = 0; i < programs->room; ++i) {
    struct program *program = programs->slots[i];
    if (program) *slot_of(slots, room, program->hash, program->file, program->options) = program;
  }
  free(programs->slots);
  programs->slots = slots;
  programs->room = room;
  return HEED_OK;
}

static heed_status find_program(heed_context *ctx, const char *file, const char *options, struct program **out) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (!cl->programs) cl->programs = calloc(1, sizeof *cl->programs);
  if (!cl->programs) return no_memory(file);
  HEED__TRY(grow(cl->programs, file));
  const uint64_t hash = hash_bytes(hash_bytes(0, file, strlen(file)), options, strlen(options));
  struct program **slot = slot_of(cl->programs->slots, cl->programs->room, hash, file, options);
  *out = *slot;
  if (*slot) return HEED_OK;
  struct program *program = calloc(1, sizeof *program);
  if (!program) return no_memory(file);
  program->hash = hash;
  program->file = strdup(file);
  program->options = strdup(options);
  heed_status status = program->file && program->options ? build(ctx, program, true) : no_memory(file);
  if (status != HEED_OK && !program->failure) {
    program_free(program);
    return status;
  }
  *slot = *out = program;
  ++cl->programs->count;
  return HEED_OK;
}

static heed_status create_kernel(heed_context *ctx, struct program *program, const char *name, cl_kernel *kernel) {
  cl_int error = CL_SUCCESS;
  *kernel = clCreateKernel(program->program, name, &error);
  if (error != CL_SUCCESS && program->from_disk && program->built_count == 0) {
    // The driver accepted the binary but cannot use it.
    clReleaseProgram(program->program);
    program->program = NULL;
    HEED__TRY(build(ctx, program, false));
    *kernel = clCreateKernel(program->program, name, &error);
  }
  if (error == CL_INVALID_KERNEL_NAME)
    return heed__fail(HEED_ERROR_BUILD, "kernel file %s has no kernel %s (CL_INVALID_KERNEL_NAME)", program->file,
                      name);
  if (error == CL_SUCCESS) return HEED_OK;
  char what[256];
  snprintf(what, sizeof what, "making kernel %s of %s", name, program->file);
  return heed__cl_fail(ctx, error, what);
}

static heed_status make_built(heed_context *ctx, struct program *program, const char *name,
                              struct heed__cl_built **out) {
  struct heed__cl *cl = heed__cl_state(ctx);
  struct heed__cl_built **grown = realloc(program->built, (program->built_count + 1) * sizeof *grown);
  if (!grown) return no_memory(program->file);
  program->built = grown;
  cl_kernel kernel = NULL;
  HEED__TRY(create_kernel(ctx, program, name, &kernel));
  struct heed__cl_built *built = calloc(1, sizeof *built);
  char *copy = strdup(name);
  if (!built || !copy) {
    clReleaseKernel(kernel);
    free(built);
    free(copy);
    return no_memory(program->file);
  }
  built->name = copy;
  built->kernel = kernel;
  if (clGetKernelWorkGroupInfo(kernel, cl->device, CL_KERNEL_WORK_GROUP_SIZE, sizeof built->work_group_limit,
                               &built->work_group_limit, NULL) != CL_SUCCESS ||
      built->work_group_limit == 0)
    built->work_group_limit = 1;
  program->built[program->built_count++] = built;
  *out = built;
  return HEED_OK;
}

heed_status heed__cl_built_find(heed_context *ctx, const char *file, const char *kernel, const char *options,
                                struct heed__cl_built **out) {
  struct program *program = NULL;
  *out = NULL;
  HEED__TRY(find_program(ctx, file, options, &program));
  if (program->failure) return heed__fail(HEED_ERROR_BUILD, "%s", program->failure);
  // A binary was useless, and building again failed for a passing reason, such as lack of memory.
  if (!program->program) HEED__TRY(build(ctx, program, false));
  for (size_t i = 0; i < program->built_count; ++i) {
    if (strcmp(program->built[i]->name, kernel) != 0) continue;
    *out = program->built[i];
    return HEED_OK;
  }
  return make_built(ctx, program, kernel, out);
}

void heed__cl_programs_destroy(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  struct heed__cl_programs *programs = cl->programs;
  if (!programs) return;
  heed__cl_programs_store(ctx);
  for (size_t i = 0; i < programs->room; ++i)
    if (programs->slots[i]) program_free(programs->slots[i]);
  for (size_t i = 0; i < programs->source_count; ++i) {
    free(programs->sources[i].file);
    free(programs->sources[i].text);
  }
  free(programs->slots);
  free(programs->sources);
  free(programs);
  cl->programs = NULL;
}
