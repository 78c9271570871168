// Which device a spec means, over made-up lists of devices.
#include <stdio.h>
#include <stdlib.h>

#include "api/spec.h"
#include "support_values.h"

#define GPU(...) device(HEED_DEVICE_GPU, __VA_ARGS__)
#define CPU(...) device(HEED_DEVICE_CPU, __VA_ARGS__)

enum { MOST = 12 };
struct list {
  heed_device_info infos[MOST];
  const heed_device_info *devices[MOST];
  size_t count;
};

static heed_device_info device(heed_device_type type, int platform, int index, const char *name, uint32_t units,
                               bool unified) {
  heed_device_info d = {.platform_index = platform,
                        .device_index = index,
                        .type = type,
                        .compute_units = units,
                        .unified_memory = unified,
                        .has_compiler = true};
  snprintf(d.name, sizeof d.name, "%s", name);
  snprintf(d.platform, sizeof d.platform, "Platform %c", 'A' + platform);
  snprintf(d.platform_version, sizeof d.platform_version, "OpenCL 1.2 maker%d", platform);
  snprintf(d.id, sizeof d.id, "hash:%02d%02d", platform, index);
  return d;
}

// The given devices, and the host after them.
static struct list *list_of(size_t count, const heed_device_info *infos) {
  struct list *list = support_memory(sizeof *list);
  assert_true(count < MOST);
  if (count) memcpy(list->infos, infos, count * sizeof *infos);
  list->infos[count] = device(HEED_DEVICE_HOST, -1, -1, "The host", 4, true);
  list->count = count + 1;
  for (size_t i = 0; i < list->count; ++i) list->devices[i] = &list->infos[i];
  return list;
}
#define LIST(...) \
  list_of(sizeof((heed_device_info[]){__VA_ARGS__}) / sizeof(heed_device_info), (const heed_device_info[]){__VA_ARGS__})

static char notice[256];

static size_t resolve(const struct list *list, const char *spec) {
  size_t index = 999;
  memset(notice, 'x', sizeof notice);
  ASSERT_OK(heed__spec_resolve(spec, list->devices, list->count, &index, notice, sizeof notice));
  assert_true(index < list->count);
  return index;
}

static heed_status attempt(const struct list *list, const char *spec) {
  size_t index;
  return heed__spec_resolve(spec, list->devices, list->count, &index, notice, sizeof notice);
}

static struct list *usual(void) {
  return LIST(CPU(0, 0, "pthread-Zen", 8, true), GPU(1, 0, "Radeon One", 20, false), GPU(1, 1, "Radeon Two", 40, false),
              GPU(2, 0, "Iris", 96, true), device(HEED_DEVICE_ACCELERATOR, 3, 0, "Mali NPU", 4, true),
              CPU(4, 0, "llvmpipe (LLVM 15)", 64, true));
}

// Each device of the order beats all that follow it, wherever they stand in the list.
static void auto_prefers_in_this_order(void **state) {
  (void)state;
  const heed_device_info order[] = {
      GPU(0, 0, "large card", 60, false), GPU(1, 0, "small card", 20, false),
      GPU(2, 0, "integrated", 500, true), device(HEED_DEVICE_ACCELERATOR, 3, 0, "accelerator", 2, false),
      CPU(4, 0, "cpu", 128, true),        CPU(5, 0, "LLVMpipe", 256, true),
  };
  const size_t count = sizeof order / sizeof *order;
  for (size_t first = 0; first < count; ++first) {
    const size_t rest = count - first;
    heed_device_info forward[MOST], backward[MOST];
    for (size_t i = 0; i < rest; ++i) forward[i] = backward[rest - 1 - i] = order[first + i];
    assert_int_equal(resolve(list_of(rest, forward), "auto"), 0);
    assert_int_equal(resolve(list_of(rest, backward), "auto"), rest - 1);
    assert_string_equal(notice, "");
  }
}

// One that failed its self-test is found by name, where opening it tells why, but "auto" goes on to the next.
static void auto_passes_over_what_failed_its_self_test(void **state) {
  (void)state;
  struct list *list = LIST(GPU(0, 0, "broken", 60, false), CPU(1, 0, "cpu", 4, true));
  list->infos[0].self_test = HEED_SELF_TEST_FAILED;
  assert_int_equal(resolve(list, "auto"), 1);
  assert_int_equal(resolve(list, "broken"), 0);
  list->infos[1].self_test = HEED_SELF_TEST_FAILED;
  assert_int_equal(resolve(list, "auto"), 2);
}

static void of_equals_auto_takes_the_first(void **state) {
  (void)state;
  assert_int_equal(resolve(LIST(GPU(0, 0, "twin", 8, false), GPU(0, 1, "twin", 8, false)), "auto"), 0);
}

static void a_gpu_rasteriser_of_software_comes_last(void **state) {
  (void)state;
  assert_int_equal(resolve(LIST(GPU(0, 0, "llvmpipe", 64, false), CPU(1, 0, "cpu", 1, true)), "auto"), 1);
  assert_int_equal(resolve(LIST(GPU(0, 0, "softpipe", 64, false)), "auto"), 0);
}

static void a_device_without_a_compiler_is_not_picked(void **state) {
  (void)state;
  struct list *list = LIST(GPU(0, 0, "mute", 64, false));
  list->infos[0].has_compiler = false;
  assert_int_equal(resolve(list, "auto"), 1);
  assert_true(notice[0] != 0);
}

static void without_devices_auto_is_the_host_and_says_so(void **state) {
  (void)state;
  const struct list *list = list_of(0, NULL);
  assert_int_equal(resolve(list, "auto"), 0);
  assert_non_null(strstr(notice, "running on the host"));
  assert_non_null(strstr(notice, "heed devices"));
  assert_int_equal(resolve(list, ""), 0);
  assert_non_null(strstr(notice, "host"));
}

static void asking_for_the_host_needs_no_notice(void **state) {
  (void)state;
  const struct list *list = usual();
  assert_int_equal(resolve(list, "host"), list->count - 1);
  assert_string_equal(notice, "");
  assert_int_equal(resolve(list, "HOST"), list->count - 1);
  assert_int_equal(resolve(list_of(0, NULL), "host"), 0);
  assert_string_equal(notice, "");
}

static void keywords_have_no_case(void **state) {
  (void)state;
  const struct list *list = usual();
  assert_int_equal(resolve(list, "AUTO"), 2);
  assert_int_equal(resolve(list, "Auto"), 2);
  assert_int_equal(resolve(list, ""), 2);
}

static void gpu_and_cpu_name_a_type(void **state) {
  (void)state;
  const struct list *list = LIST(CPU(0, 0, "gpu-like name", 8, true), GPU(1, 0, "cpu-like name", 20, false));
  assert_int_equal(resolve(list, "cpu"), 0);
  assert_int_equal(resolve(list, "GPU"), 1);
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "fits none", attempt(LIST(CPU(0, 0, "one", 8, true)), "gpu"));
}

static void several_of_a_type_are_listed(void **state) {
  (void)state;
  const struct list *list = usual();
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "several", attempt(list, "gpu"));
  const char *message = heed_last_error();
  assert_non_null(strstr(message, "1:0  Radeon One"));
  assert_non_null(strstr(message, "1:1  Radeon Two"));
  assert_non_null(strstr(message, "2:0  Iris"));
  assert_null(strstr(message, "pthread"));
  assert_null(strstr(message, "The host"));
}

static void a_pair_of_numbers_is_platform_and_device(void **state) {
  (void)state;
  const struct list *list = usual();
  assert_int_equal(resolve(list, "0:0"), 0);
  assert_int_equal(resolve(list, "1:1"), 2);
  assert_int_equal(resolve(list, "3:0"), 4);
  assert_int_equal(resolve(list, "01:01"), 2);
  static const char *const none[] = {"1:2", "9:0", "1:", ":1", "1:1:1", "1 :1", "-1:-1", "1:1x", "99999:0"};
  for (size_t i = 0; i < sizeof none / sizeof *none; ++i)
    ASSERT_FAILS(HEED_ERROR_NO_DEVICE, none[i], attempt(list, none[i]));
}

// Of the OpenCL devices, in the list's order; the host has no number.
static void a_number_alone_counts_the_devices(void **state) {
  (void)state;
  struct list *list = usual();
  for (size_t i = 0; i + 1 < list->count; ++i) {
    char spec[16];
    snprintf(spec, sizeof spec, "%zu", i);
    assert_int_equal(resolve(list, spec), i);
  }
  assert_int_equal(resolve(list, "003"), 3);
  // No part of a version, or of a name: "15" is in that of llvmpipe.
  strcpy(list->infos[0].platform_version, "OpenCL 12 maker");
  static const char *const none[] = {"6", "12", "15", "18446744073709551616", "99999999999999999999999"};
  for (size_t i = 0; i < sizeof none / sizeof *none; ++i)
    ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "fits none", attempt(list, none[i]));
  assert_non_null(strstr(heed_last_error(), "\n  2  1:1  Radeon Two"));
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "fits none", attempt(list_of(0, NULL), "0"));
}

static void an_id_is_matched_whole(void **state) {
  (void)state;
  struct list *list = usual();
  strcpy(list->infos[3].id, "pci:0000:0A:00.0");
  assert_int_equal(resolve(list, "id:hash:0101"), 2);
  assert_int_equal(resolve(list, "ID:HASH:0101"), 2);
  assert_int_equal(resolve(list, "id:pci:0000:0a:00.0"), 3);
  assert_int_equal(resolve(list, "hash:0101"), 2);  // as heed_device_info has it
  assert_int_equal(resolve(list, "pci:0000:0a:00.0"), 3);
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "fits none", attempt(list, "id:hash:01"));
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "fits none", attempt(list, "id:"));
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "fits none", attempt(list, "hash:01"));
}

static void a_piece_of_a_name_is_enough_in_any_case(void **state) {
  (void)state;
  const struct list *list = usual();
  assert_int_equal(resolve(list, "iris"), 3);
  assert_int_equal(resolve(list, "RADEON TWO"), 2);
  assert_int_equal(resolve(list, "zen"), 0);
  assert_int_equal(resolve(list, "platform d"), 4);
  assert_int_equal(resolve(list, "llvmpipe"), 5);
}

static void an_ambiguous_name_lists_what_it_fits(void **state) {
  (void)state;
  const struct list *list = usual();
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "device 'radeon' fits several", attempt(list, "radeon"));
  const char *message = heed_last_error();
  assert_non_null(strstr(message, "Radeon One (Platform B)  id:hash:0100"));
  assert_non_null(strstr(message, "Radeon Two (Platform B)  id:hash:0101"));
  assert_null(strstr(message, "Iris"));
}

static void an_unknown_name_lists_every_device(void **state) {
  (void)state;
  const struct list *list = usual();
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "device 'voodoo' fits none", attempt(list, "voodoo"));
  for (size_t i = 0; i < list->count; ++i) assert_non_null(strstr(heed_last_error(), list->infos[i].name));
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "The host", attempt(list_of(0, NULL), "voodoo"));
}

static void a_platforms_version_is_looked_at_when_no_name_fits(void **state) {
  (void)state;
  struct list *list = usual();
  strcpy(list->infos[0].platform, "Portable Computing Language");
  strcpy(list->infos[0].platform_version, "OpenCL 3.0 PoCL 3.1+debian");
  assert_int_equal(resolve(list, "pocl"), 0);
  assert_int_equal(resolve(list, "Portable"), 0);
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "fits none", attempt(list, "3.1"));
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "fits none", attempt(list, "3.0 PoCL"));
  // A name wins over a version.
  strcpy(list->infos[3].name, "Iris for pocl");
  assert_int_equal(resolve(list, "pocl"), 3);
}

static void a_piece_of_the_hosts_name_does_not_mean_the_host(void **state) {
  (void)state;
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "fits none", attempt(usual(), "the hos"));
}

static void a_long_list_is_cut_and_stays_a_message(void **state) {
  (void)state;
  struct list *list = usual();
  for (size_t i = 0; i + 1 < list->count; ++i) memset(list->infos[i].name, 'n', sizeof list->infos[i].name - 1);
  char spec[3000];
  memset(spec, 'n', sizeof spec);
  spec[sizeof spec - 1] = 0;
  assert_int_equal(attempt(list, spec), HEED_ERROR_NO_DEVICE);
  spec[5] = 0;
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "several", attempt(list, spec));
}

static void the_environment_names_a_device_where_the_caller_does_not(void **state) {
  (void)state;
  const char *given = getenv("HEED_DEVICE");
  char *saved = given ? strdup(given) : NULL;
  heed_context *ctx = NULL;
  setenv("HEED_DEVICE", "host", 1);
  ASSERT_OK(heed_open(NULL, &ctx));
  assert_int_equal(heed_context_device(ctx)->type, HEED_DEVICE_HOST);
  assert_string_equal(heed_context_notice(ctx), "");
  heed_context_destroy(ctx);
  setenv("HEED_DEVICE", "no such device", 1);
  ASSERT_OK(heed_open("host", &ctx));
  heed_context_destroy(ctx);
  ctx = (heed_context *)(void *)&saved;
  if (!getenv("HEED_TEST_HOST_ONLY")) {
    ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "no such device", heed_open(NULL, &ctx));
    assert_null(ctx);
  }
  if (saved)
    setenv("HEED_DEVICE", saved, 1);
  else
    unsetenv("HEED_DEVICE");
  free(saved);
}

static void choices_that_are_none_are_refused(void **state) {
  (void)state;
  heed_context *ctx = NULL;
  setenv("HEED_VALIDATE", "maybe", 1);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "HEED_VALIDATE is 'maybe'", heed_open("host", &ctx));
  unsetenv("HEED_VALIDATE");
  assert_null(ctx);
  if (getenv("HEED_TEST_HOST_ONLY")) return;
  const heed_open_options gemm = {.device = "0:0", .gemm = "cublas"};
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "'cublas'", heed_open_with(&gemm, &ctx));
  assert_null(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(auto_prefers_in_this_order),
      TEST(auto_passes_over_what_failed_its_self_test),
      TEST(of_equals_auto_takes_the_first),
      TEST(a_gpu_rasteriser_of_software_comes_last),
      TEST(a_device_without_a_compiler_is_not_picked),
      TEST(without_devices_auto_is_the_host_and_says_so),
      TEST(asking_for_the_host_needs_no_notice),
      TEST(keywords_have_no_case),
      TEST(gpu_and_cpu_name_a_type),
      TEST(several_of_a_type_are_listed),
      TEST(a_pair_of_numbers_is_platform_and_device),
      TEST(a_number_alone_counts_the_devices),
      TEST(an_id_is_matched_whole),
      TEST(a_piece_of_a_name_is_enough_in_any_case),
      TEST(an_ambiguous_name_lists_what_it_fits),
      TEST(an_unknown_name_lists_every_device),
      TEST(a_platforms_version_is_looked_at_when_no_name_fits),
      TEST(a_piece_of_the_hosts_name_does_not_mean_the_host),
      TEST(a_long_list_is_cut_and_stays_a_message),
      TEST(the_environment_names_a_device_where_the_caller_does_not),
      TEST(choices_that_are_none_are_refused),
  };
  return cmocka_run_group_tests_name("device specs", tests, NULL, NULL);
}
