// Two builds of one version that share a cache: what one has found out about its kernels says nothing about the other's. This program
// stands for both builds, because it brings the table of embedded kernels itself and changes a kernel between two contexts.
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_files.h"
#include "support_values.h"

enum { MOST_FILES = 256, ROOM = 1 << 17 };
#define KERNELS HEED_SOURCE_DIR "/kernels_cl/"

// As in cl/runtime/sources.h, but for const. The linker takes this table in place of the library's.
struct kernel_source {
  char *name, *text;
  size_t length;
};
extern struct kernel_source heed__cl_kernel_sources[MOST_FILES];
struct kernel_source heed__cl_kernel_sources[MOST_FILES];
static int files;

static int add_file(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info;
  (void)place;
  const size_t length = strlen(path);
  if (type != FTW_F || length < 3 || strcmp(path + length - 3, ".cl") != 0) return 0;
  struct kernel_source *source = &heed__cl_kernel_sources[files++];
  source->name = strdup(path + strlen(KERNELS));
  source->text = calloc(ROOM, 1);
  if (files == MOST_FILES || !source->name || !source->text) return -1;
  source->length = support_read_file(path, source->text, ROOM - 1);
  return 0;
}

static int load(void **state) {
  if (nftw(KERNELS, add_file, 8, FTW_PHYS) != 0 || support_make_folder(state) != 0) return -1;
  return support_open_device(state);
}

static int unload(void **state) {
  for (int i = 0; i < files; ++i) {
    free(heed__cl_kernel_sources[i].name);
    free(heed__cl_kernel_sources[i].text);
  }
  return support_close(state) != 0 || support_remove_folder(state) != 0 ? -1 : 0;
}

// Products come out times `factor`, 1 or 2, from the next context on.
static void rebuild(int factor) {
  static const char right[] = "argument_ld, alpha*1,", wrong[] = "argument_ld, alpha*2,",
                    plain[] = "argument_ld, alpha,";
  for (int i = 0; i < files; ++i) {
    struct kernel_source *source = &heed__cl_kernel_sources[i];
    if (strcmp(source->name, "gemm/epilogue.cl") != 0) continue;
    char *at = strstr(source->text, plain);
    if (at) {
      memmove(at + sizeof right - 1, at + sizeof plain - 1, strlen(at + sizeof plain - 1) + 1);
      source->length += sizeof right - sizeof plain;
    } else {
      at = strstr(source->text, "argument_ld, alpha*");
    }
    assert_non_null(at);
    memcpy(at, factor == 1 ? right : wrong, sizeof right - 1);
    return;
  }
  fail_msg("gemm/epilogue.cl is not among the kernels");
}

// [1, 2] [3, 4]ᵀ by heed's own kernels, in a context of its own.
static heed_status eleven(heed_context *device, float *result) {
  char spec[96];
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(device)->id);
  const heed_open_options options = {
      .device = spec, .gemm = "native", .cache_dir = support_path("cache"), .validate = -1};
  heed_context *ctx = NULL;
  ASSERT_OK(heed_open_with(&options, &ctx));
  heed_tensor *a = NULL, *b = NULL, *c = NULL;
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, SHAPE(1, 2), (float[]){1, 2}, &a));
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, SHAPE(1, 2), (float[]){3, 4}, &b));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, SHAPE(1, 1), &c));
  const heed_status status = heed_gemm(false, true, 1, a, b, 0, c);
  if (status == HEED_OK) ASSERT_OK(heed_tensor_download_f32(c, result, 1));
  heed_tensor_destroy(a);
  heed_tensor_destroy(b);
  heed_tensor_destroy(c);
  heed_context_destroy(ctx);
  return status;
}

static void a_verdict_on_products_is_of_the_kernels_it_was_passed_on(void **state) {
  heed_context *device = support_context(state);
  float result = 0;
  rebuild(1);
  ASSERT_OK(eleven(device, &result));
  assert_true(result == 11);
  rebuild(2);
  ASSERT_FAILS(HEED_ERROR_DEVICE, "computes wrong products", eleven(device, &result));
  rebuild(1);
  ASSERT_OK(eleven(device, &result));
  assert_true(result == 11);
}

int main(void) {
  const struct CMUnitTest tests[] = {TEST(a_verdict_on_products_is_of_the_kernels_it_was_passed_on)};
  return cmocka_run_group_tests_name("two builds", tests, load, unload);
}
