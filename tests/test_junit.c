// The report that `heed check --junit` writes.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check/junit.h"
#include "support_files.h"
#include "support_values.h"

static void a_report_escapes_what_xml_does_not_take(void **state) {
  (void)state;
  char text[256] = "";
  FILE *to = fmemopen(text, sizeof text, "w");
  assert_non_null(to);
  junit_escape(to, "a<b> & \"c\"\n\x01 \xc3\xa9 \xff \xed\xa0\x80.");
  fclose(to);
  assert_string_equal(text, "a&lt;b&gt; &amp; &quot;c&quot;&#10;? \xc3\xa9 ? ???.");
}

static void a_report_is_written_whole_or_not_at_all(void **state) {
  (void)state;
  char folder[] = "/tmp/heed-test-XXXXXX", path[64], text[2048] = "";
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/report.xml", folder);
  junit report;
  junit_begin(&report);
  junit_add(&report, "gemm", "one", 0.5, NULL, "");
  junit_add(&report, "softmax", "two", 0.25, "1 < 2", "heed check --case two");
  assert_int_equal(junit_write(&report, path, "heed check", (const char *const[]){"device", "D & E", NULL}), 0);
  support_read_file(path, text, sizeof text - 1);
  static const char *const parts[] = {"tests=\"2\" failures=\"1\"",
                                      "value=\"D &amp; E\"",
                                      "<testcase classname=\"gemm\" name=\"one\" time=\"0.500000\"/>",
                                      "1 &lt; 2",
                                      "heed check --case two</failure>",
                                      "</testsuites>"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i)
    if (!strstr(text, parts[i])) fail_msg("no '%s' in:\n%s", parts[i], text);
  unlink(path);
  assert_int_equal(rmdir(folder), 0);  // nothing temporary is left
  assert_int_not_equal(junit_write(&report, path, "heed check", (const char *const[]){NULL}), 0);
  junit_free(&report);
}

// At a device's place, as /dev/stdout, rename() would leave a file, for everybody who uses the machine.
static void what_is_no_regular_file_stays_and_is_written_to(void **state) {
  (void)state;
  char text[2048] = "";
  struct stat info;
  junit report;
  junit_begin(&report);
  junit_add(&report, "gemm", "one", 0.5, NULL, "");
  assert_int_equal(mkfifo(support_path("pipe"), 0600), 0);
  const int pipe = open(support_path("pipe"), O_RDWR | O_NONBLOCK);
  assert_true(pipe >= 0);
  assert_int_equal(junit_write(&report, support_path("pipe"), "heed check", (const char *const[]){NULL}), 0);
  assert_true(lstat(support_path("pipe"), &info) == 0 && S_ISFIFO(info.st_mode));
  assert_true(read(pipe, text, sizeof text - 1) > 0);
  assert_non_null(strstr(text, "</testsuites>"));
  close(pipe);
  support_write_file(support_path("file"), "old", 3);
  assert_int_equal(chmod(support_path("file"), 0640), 0);
  assert_int_equal(symlink("file", support_path("link")), 0);
  for (int i = 0; i < 2; ++i) {
    const char *path = support_path(i ? "file" : "link");
    assert_int_equal(junit_write(&report, path, "heed check", (const char *const[]){NULL}), 0);
    assert_true(lstat(support_path("link"), &info) == 0 && S_ISLNK(info.st_mode));
    assert_true(stat(support_path("file"), &info) == 0 && (info.st_mode & 0777) == 0640);
    memset(text, 0, sizeof text);
    support_read_file(support_path("file"), text, sizeof text - 1);
    assert_non_null(strstr(text, "</testsuites>"));
  }
  assert_int_equal(support_files_in_folder(), 3);
  junit_free(&report);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_report_escapes_what_xml_does_not_take),
      TEST(a_report_is_written_whole_or_not_at_all),
      TEST(what_is_no_regular_file_stays_and_is_written_to),
  };
  return cmocka_run_group_tests_name("reports", tests, support_make_folder, support_remove_folder);
}
