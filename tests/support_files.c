#include "support_files.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

const char *support_folder(void) { return folder; }

char *support_path(const char *name) {
  static char ring[4][384];
  static unsigned next;
  char *path = ring[next++ % 4];
  snprintf(path, sizeof ring[0], "%s/%s", folder, name);
  return path;
}

static size_t counted;

static int visit(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)path;
  (void)info;
  (void)place;
  counted += type != FTW_D && type != FTW_DP;
  return 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info;
  (void)type;
  return place->level > 0 ? remove(path) : 0;
}

size_t support_files_in_folder(void) {
  counted = 0;
  assert_int_equal(nftw(folder, visit, 8, FTW_PHYS), 0);
  return counted;
}

void support_empty_folder(void) { assert_int_equal(nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0); }

int support_make_folder(void **state) {
  (void)state;
  strcpy(folder, "/tmp/heed-test-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

int support_remove_folder(void **state) {
  (void)state;
  support_empty_folder();
  return rmdir(folder);
}

void support_write_file(const char *path, const void *bytes, size_t count) {
  char parent[384];
  const int length = (int)(strrchr(path, '/') ? strrchr(path, '/') - path : 0);
  snprintf(parent, sizeof parent, "%.*s", length, path);
  if (length > 0 && mkdir(parent, 0700) != 0) assert_int_equal(errno, EEXIST);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, count, file), count);
  assert_int_equal(fclose(file), 0);
}

size_t support_read_file(const char *path, void *bytes, size_t room) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  const size_t count = fread(bytes, 1, room, file);
  fclose(file);
  return count;
}

void support_assert_texts_inside(const char *svg) {
  static const char place[] = "translate(", size[] = "font-size=\"", box[] = "viewBox=\"0 0 ";
  const char *at = strstr(svg, box);
  assert_non_null(at);
  char *end = NULL;
  const double width = strtod(at + strlen(box), &end), height = strtod(end, &end);
  size_t texts = 0;
  for (at = svg; (at = strstr(at, place)); at++, texts++) {
    const double x = strtod(at + strlen(place), &end), y = strtod(end + 1, NULL);
    const char *font = strstr(at, size);
    if (!font) break;
    const double foot = 0.2 * strtod(font + strlen(size), NULL);
    if (!(x >= 0 && x <= width && y >= 0 && y + foot <= height))
      fail_msg("a text is at (%g, %g) of a picture of %g x %g: %.300s", x, y, width, height, at);
  }
  assert_true(texts > 0);
}
