// Finds MNIST's files, and those of sets in its format. Names differ in '-' and '.' (train-images.idx3-ubyte), in .gz, and in a set's name before
// them (emnist-letters-train-images-idx3-ubyte); folders differ as torchvision and archives make them (MNIST/raw, gzip).
#include "io/mnist_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"

enum { MOST_SETS = 16, NAME = 256, PATH = 4096 };

static const char *const folders[] = {"raw",        "MNIST/raw", "FashionMNIST/raw", "EMNIST/raw", "KMNIST/raw",
                                      "QMNIST/raw", "gzip"};
enum { FOLDERS = sizeof folders / sizeof *folders };

// A set is what comes before "-train-images…" in one folder.
struct set {
  char folder[PATH], prefix[NAME];
};

struct search {
  const char *dir;                // as the caller names it
  const char *part, *other_part;  // "t10k" is "test" in EMNIST; NULL: no other name
  const char *wanted;             // the only prefix that counts; NULL: any
  struct set sets[MOST_SETS];
  size_t count;
};

static bool is_mark(char c) { return c == '-' || c == '.'; }

// Cuts `end` off the name; false if it does not end so. '-' in `end` stands for '.', too.
static bool cut(char *name, const char *end) {
  const size_t length = strlen(name), more = strlen(end);
  if (length < more) return false;
  char *rest = name + length - more;
  for (size_t i = 0; i < more; ++i)
    if (rest[i] != end[i] && !(is_mark(rest[i]) && end[i] == '-')) return false;
  *rest = '\0';
  return true;
}

// Whether the file's name is that of the part's images or labels (`end` is "-images-idx3-ubyte" or the same for labels); what comes before goes
// into prefix.
static bool parse(const struct search *s, const char *file, const char *end, char prefix[NAME]) {
  if (strlen(file) >= NAME) return false;
  snprintf(prefix, NAME, "%s", file);
  (void)cut(prefix, ".gz");
  if (!cut(prefix, end)) return false;
  const char *const parts[] = {s->part, s->other_part};
  for (int i = 0; i < 2 && parts[i]; ++i) {
    char whole[NAME];
    if (strcmp(prefix, parts[i]) == 0) return *prefix = '\0', true;
    snprintf(whole, sizeof whole, "-%s", parts[i]);
    if (cut(prefix, whole)) return true;
  }
  return false;
}

static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

// The file `name` of a folder, or that in a folder of its own name, as some archives have it; false if there is neither, or no room.
static bool file_path(const char *folder, const char *name, char path[PATH]) {
  const int length = snprintf(path, PATH, "%s/%s", folder, name);
  if (length < 0 || length >= PATH) return false;
  if (!is_folder(path)) return true;
  const int more = snprintf(path + length, PATH - (size_t)length, "/%s", name);
  struct stat info;
  return length + more < PATH && stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

// Adds the sets of one folder; a folder that is not there has none.
static void look(struct search *s, const char *folder) {
  DIR *stream = opendir(folder);
  for (struct dirent *entry; stream && (entry = readdir(stream));) {
    char prefix[NAME], path[PATH];
    if (!parse(s, entry->d_name, "-images-idx3-ubyte", prefix)) continue;
    if (s->wanted && strcmp(prefix, s->wanted) != 0) continue;
    if (!file_path(folder, entry->d_name, path)) continue;
    bool known = false;
    for (size_t i = 0; i < s->count; ++i)
      known = known || (strcmp(s->sets[i].prefix, prefix) == 0 && strcmp(s->sets[i].folder, folder) == 0);
    if (known || s->count == MOST_SETS) continue;
    snprintf(s->sets[s->count].folder, PATH, "%s", folder);
    snprintf(s->sets[s->count++].prefix, NAME, "%s", prefix);
  }
  if (stream) closedir(stream);
}

// The folder itself first, then all the others, so that a set below does not compete with one that is right there.
static void look_everywhere(struct search *s, const char *dir) {
  look(s, dir);
  const bool here = s->count > 0;
  for (size_t i = 0; i < FOLDERS && !here; ++i) {
    char path[PATH];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, folders[i]) < sizeof path) look(s, path);
  }
}

// Appends ", word"; false if it does not fit.
static bool add_word(char *text, size_t size, const char *word) {
  const size_t used = strlen(text);
  const struct heed__name shown = heed__printable(word);
  if (used + strlen(shown.text) + 8 > size) return false;
  snprintf(text + used, size - used, "%s%s", used ? ", " : "", shown.text);
  return true;
}

static int visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static heed_status nothing(const struct search *s, const char *dir) {
  char there[200] = "", below[200] = "";
  struct dirent **entries = NULL;
  const int count = scandir(dir, &entries, visible, alphasort);
  HEED__REQUIRE(count >= 0, HEED_ERROR_IO, "%s: cannot open: %s", dir, strerror(errno));
  bool room = true;
  for (int i = 0; i < count; ++i) {
    room = room && add_word(there, sizeof there, entries[i]->d_name);
    free(entries[i]);
  }
  free(entries);
  for (size_t i = 0; i < FOLDERS; ++i) (void)add_word(below, sizeof below, folders[i]);
  HEED__REQUIRE(!s->wanted, HEED_ERROR_IO,
                "%s: there is no such folder, and no %s-%s-images-idx3-ubyte beside that name; there %s %s%s", s->dir,
                s->wanted, s->part, count == 1 ? "is" : "are", count > 0 ? there : "no files", room ? "" : ", ...");
  return heed__fail(
      HEED_ERROR_IO,
      "%s: no %s-images-idx3-ubyte there or in %s, nor with '.' for '-', with .gz, or behind the name of a "
      "set ('emnist-letters-'); there %s %s%s",
      s->dir, s->part, below, count == 1 ? "is" : "are", count > 0 ? there : "no files", room ? "" : ", ...");
}

static heed_status several(const struct search *s) {
  char list[1024] = "";
  for (size_t i = 0; i < s->count; ++i) {
    char path[PATH + NAME];
    const struct set *set = &s->sets[i];
    snprintf(path, sizeof path, "%s%s%s", set->folder, *set->prefix ? "/" : "", set->prefix);
    const char *name = strlen(path) > 90 ? path + strlen(path) - 90 : path;
    if (!add_word(list, sizeof list, name)) break;
  }
  return heed__fail(HEED_ERROR_IO, "%s: there are several sets; name one of %s", s->dir, list);
}

// The file of a set, without .gz; the spelling with '-' before others, so that the choice does not depend on the order in the folder.
static heed_status choose(const struct search *s, const struct set *set, const char *end, char **out) {
  char best[NAME] = "", best_path[PATH];
  DIR *stream = opendir(set->folder);
  for (struct dirent *entry; stream && (entry = readdir(stream));) {
    char prefix[NAME];
    if (!parse(s, entry->d_name, end, prefix) || strcmp(prefix, set->prefix) != 0) continue;
    snprintf(prefix, sizeof prefix, "%s", entry->d_name);
    (void)cut(prefix, ".gz");
    char path[PATH];
    if (!file_path(set->folder, entry->d_name, path) || (*best && strcmp(prefix, best) >= 0)) continue;
    (void)cut(path, ".gz");
    snprintf(best, NAME, "%s", prefix);
    snprintf(best_path, PATH, "%s", path);
  }
  if (stream) closedir(stream);
  HEED__REQUIRE(*best, HEED_ERROR_IO, "%s: has %s%s%s-images-idx3-ubyte, but no %s beside it", set->folder, set->prefix,
                *set->prefix ? "-" : "", s->part, end + 1);
  *out = strdup(best_path);
  HEED__REQUIRE(*out, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for a name", set->folder);
  return HEED_OK;
}

static heed_status find(struct search *s, const char *dir, char **images, char **labels) {
  look_everywhere(s, dir);
  if (s->count == 0) return nothing(s, dir);
  if (s->count > 1) return several(s);
  HEED__TRY(choose(s, &s->sets[0], "-images-idx3-ubyte", images));
  return choose(s, &s->sets[0], "-labels-idx1-ubyte", labels);
}

heed_status heed__mnist_find(const char *dir, const char *part, char **images, char **labels) {
  *images = *labels = NULL;
  char folder[PATH], *slash;
  struct search *s = calloc(1, sizeof *s);
  HEED__REQUIRE(s, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory to look for files", dir);
  s->dir = dir;
  s->part = part;
  if (strcmp(part, "t10k") == 0) s->other_part = "test";
  snprintf(folder, sizeof folder, "%s", dir);
  for (slash = folder + strlen(folder); slash > folder + 1 && slash[-1] == '/';) *--slash = '\0';
  struct stat info;
  if (stat(folder, &info) == 0 && !S_ISDIR(info.st_mode)) {
    free(s);
    return heed__fail(HEED_ERROR_IO, "%s: a file, not a folder", dir);
  }
  if (!is_folder(folder)) {  // FOLDER/SET
    slash = strrchr(folder, '/');
    s->wanted = slash ? slash + 1 : folder;
    if (slash) *slash = '\0';
  }
  const char *where = !s->wanted ? folder : s->wanted == folder ? "." : *folder ? folder : "/";
  heed_status status = s->wanted && !is_folder(where) ? heed__fail(HEED_ERROR_IO, "%s: there is no such folder", dir)
                                                      : find(s, where, images, labels);
  free(s);
  if (status == HEED_OK) return HEED_OK;
  free(*images);
  free(*labels);
  *images = *labels = NULL;
  return status;
}
