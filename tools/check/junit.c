#include "check/junit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cli/files.h"

// Returns the number of bytes of the UTF-8 character at `text`; 0 if it is none, or one that XML 1.0 does not allow.
static size_t character(const unsigned char *text) {
  if (text[0] < 0x80) return text[0] >= 0x20 || strchr("\t\n\r", text[0]) ? 1 : 0;
  const size_t size = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
  if (text[0] < 0xc2 || text[0] > 0xf4) return 0;
  for (size_t i = 1; i < size; ++i)
    if ((text[i] & 0xc0) != 0x80) return 0;
  unsigned long code = text[0] & (0x7fu >> size);
  for (size_t i = 1; i < size; ++i) code = code << 6 | (text[i] & 0x3f);
  const unsigned long least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || code == 0xfffe || code == 0xffff)
    return 0;
  return size;
}

void junit_escape(FILE *to, const char *text) {
  for (const unsigned char *at = (const unsigned char *)text; *at;) {
    const size_t size = character(at);
    switch (*at) {
      case '&':
        fputs("&amp;", to);
        break;
      case '<':
        fputs("&lt;", to);
        break;
      case '>':
        fputs("&gt;", to);
        break;
      case '"':
        fputs("&quot;", to);
        break;
      case '\n':  // in an attribute, readers would take it for a blank
        fputs("&#10;", to);
        break;
      default:
        if (size)
          fwrite(at, 1, size, to);
        else
          fputc('?', to);
    }
    at += size ? size : 1;
  }
}

static void attribute(FILE *to, const char *name, const char *value) {
  fprintf(to, " %s=\"", name);
  junit_escape(to, value);
  fputc('"', to);
}

void junit_begin(junit *report) {
  *report = (junit){0};
  report->body = open_memstream(&report->text, &report->length);
}

void junit_add(junit *report, const char *class_name, const char *name, double seconds, const char *message,
               const char *repeat) {
  report->cases += 1;
  report->failures += message != NULL;
  report->seconds += seconds;
  if (!report->body) return;
  fputs("    <testcase", report->body);
  attribute(report->body, "classname", class_name);
  attribute(report->body, "name", name);
  fprintf(report->body, " time=\"%.6f\"", seconds);
  if (!message) {
    fputs("/>\n", report->body);
    return;
  }
  fputs(">\n      <failure", report->body);
  attribute(report->body, "message", message);
  fputs(">", report->body);
  junit_escape(report->body, message);
  fputs("&#10;repeat it with: ", report->body);
  junit_escape(report->body, repeat);
  fputs("</failure>\n    </testcase>\n", report->body);
}

static void print(const junit *report, FILE *to, const char *suite, const char *const *properties) {
  fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite", to);
  attribute(to, "name", suite);
  fprintf(to, " tests=\"%zu\" failures=\"%zu\" errors=\"0\" skipped=\"0\" time=\"%.3f\">\n    <properties>\n",
          report->cases, report->failures, report->seconds);
  for (; properties[0]; properties += 2) {
    fputs("      <property", to);
    attribute(to, "name", properties[0]);
    attribute(to, "value", properties[1]);
    fputs("/>\n", to);
  }
  fputs("    </properties>\n", to);
  fwrite(report->text, 1, report->length, to);
  fputs("  </testsuite>\n</testsuites>\n", to);
}

int junit_write(junit *report, const char *path, const char *suite, const char *const *properties) {
  if (!report->body || fflush(report->body) != 0) return ENOMEM;
  if (!path) {
    print(report, stdout, suite, properties);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : errno ? errno : EIO;
  }
  char *text = NULL;
  size_t length = 0;
  FILE *to = open_memstream(&text, &length);
  if (!to) return ENOMEM;
  print(report, to, suite, properties);
  const bool failed = ferror(to) != 0;
  const int error = fclose(to) != 0 || failed ? ENOMEM : tool_replace_file(path, text, length);
  free(text);
  return error;
}

void junit_free(junit *report) {
  if (report->body) fclose(report->body);
  free(report->text);
  *report = (junit){0};
}
