// What the operating system tells of memory, read from a folder with files as the kernel has them.
#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "support_files.h"

#define MIB ((uint64_t)1 << 20)

// Writes a file below the folder, which stands for /, and makes the folders above it.
static void put(const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s%s", support_folder(), name);
  for (char *slash = strchr(path + strlen(support_folder()) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    (void)mkdir(path, 0700);
    *slash = '/';
  }
  support_write_file(path, text, strlen(text));
}

static void put_machine(void) {
  support_empty_folder();
  put("/proc/meminfo",
      "MemTotal:        8388608 kB\nMemFree:          102400 kB\nMemAvailable:    4194304 kB\nSwapTotal: 0 "
      "kB\nSwapFree: 0 kB\n");
}

static void assert_memory(uint64_t total, uint64_t available) {
  const struct heed__memory memory = heed__memory_read(support_folder());
  assert_int_equal(memory.total, total);
  assert_int_equal(memory.available, available);
}

static void memory_that_caches_hold_is_available(void **state) {
  (void)state;
  put_machine();
  assert_memory(8192 * MIB, 4096 * MIB);
}

static void swap_counts(void **state) {
  (void)state;
  put_machine();
  put("/proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 1048576 kB\nSwapTotal: 4194304 kB\nSwapFree: 2097152 kB\n");
  assert_memory(8192 * MIB, 3072 * MIB);
}

static void a_group_of_version_2_is_a_limit(void **state) {
  (void)state;
  put_machine();
  put("/proc/self/cgroup", "0::/user/job\n");
  put("/sys/fs/cgroup/user/job/memory.max", "max\n");
  assert_memory(8192 * MIB, 4096 * MIB);
  put("/sys/fs/cgroup/user/memory.max", "2147483648\n");  // of a group above
  put("/sys/fs/cgroup/user/memory.current", "1610612736\n");
  assert_memory(2048 * MIB, 512 * MIB);
  put("/sys/fs/cgroup/user/memory.stat", "anon 1\ninactive_file 268435456\n");  // caches give way
  assert_memory(2048 * MIB, 768 * MIB);
  put("/sys/fs/cgroup/user/job/memory.max", "1073741824\n");
  put("/sys/fs/cgroup/user/job/memory.current", "1073741825\n");  // over it
  assert_memory(1024 * MIB, 0);
}

static void a_container_sees_its_own_group_as_the_root(void **state) {
  (void)state;
  put_machine();
  put("/proc/self/cgroup", "0::/\n");
  put("/sys/fs/cgroup/memory.max", "1073741824\n");
  put("/sys/fs/cgroup/memory.current", "536870912\n");
  assert_memory(1024 * MIB, 512 * MIB);
  put("/proc/self/cgroup", "0::/../outside/of/the/container\n");
  assert_memory(1024 * MIB, 512 * MIB);
}

static void a_group_of_version_1_is_a_limit(void **state) {
  (void)state;
  put_machine();
  put("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/job\n0::/\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "5626863616\n");
  assert_memory(8192 * MIB, 4096 * MIB);
  put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "3221225472\n");
  put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "2147483648\n");
  put("/sys/fs/cgroup/memory/job/memory.stat", "inactive_file 7\ntotal_inactive_file 536870912\n");
  assert_memory(3072 * MIB, 1536 * MIB);
}

static void without_files_the_system_is_asked(void **state) {
  (void)state;
  support_empty_folder();
  const struct heed__memory memory = heed__memory_read(support_folder());
  assert_true(memory.total > MIB && memory.available == memory.total);
  const struct heed__memory real = heed__memory_read("");
  assert_true(real.total > MIB && real.available > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_that_caches_hold_is_available),
      cmocka_unit_test(swap_counts),
      cmocka_unit_test(a_group_of_version_2_is_a_limit),
      cmocka_unit_test(a_container_sees_its_own_group_as_the_root),
      cmocka_unit_test(a_group_of_version_1_is_a_limit),
      cmocka_unit_test(without_files_the_system_is_asked),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
