// The folder that a run of heed lm train writes to: that nobody else writes there, that it has room, and that no remains lie in it.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lm/train.h"

const char lm_train_state_name[] = "heed_state.safetensors";

char *lm_train_path_in(const char *folder, const char *name) {
  char *path = NULL;
  return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

// ---------------------------------------------------------------- what is there

static bool holds(const char *folder, const char *name) {
  char *path = lm_train_path_in(folder, name);
  const bool found = path && access(path, F_OK) == 0;
  free(path);
  return found;
}

// Of a run that has not written its first state: what it leaves behind when it is killed is worth nothing.
static const char unfinished_name[] = ".heed-unfinished";

bool lm_train_is_unfinished(const char *folder) {
  return holds(folder, unfinished_name) && !holds(folder, lm_train_state_name);
}

int lm_train_mark_unfinished(const trainer *t) {
  char *path = lm_train_path_in(t->s.save, unfinished_name);
  const int file = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
  const int reason = path ? errno : ENOMEM;
  free(path);
  if (file < 0) return tool_fail(t->command, "--save %s: cannot write there: %s", t->s.save, strerror(reason));
  close(file);
  return TOOL_DONE;
}

void lm_train_unmark(const trainer *t) {
  char *path = lm_train_path_in(t->s.save, unfinished_name);
  if (path) unlink(path);
  free(path);
}

// What a run would replace.
static int check_unused(const trainer *t) {
  static const char *const names[] = {"config.json", "model.safetensors", "model.safetensors.index.json",
                                      "tokenizer.json", "vocab.json"};
  const char *folder = t->s.save, *found = NULL;
  if (t->s.resume || t->s.force || lm_train_is_unfinished(folder)) return TOOL_DONE;
  if (holds(folder, lm_train_state_name))
    return tool_fail(t->command,
                     "--save %s: there is a model already; --resume %s goes on with it, --force replaces it", folder,
                     folder);
  for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++)
    if (holds(folder, names[i])) found = names[i];
  if (!found) return TOOL_DONE;
  return tool_fail(t->command, "--save %s: there is a %s already; name another folder, or replace it with --force",
                   folder, found);
}

// ---------------------------------------------------------------- remains

// What a file is called until it is whole: ".heed-", eight digits, ".tmp".
static bool is_temporary(const char *name) {
  enum { FIRST = 6, DIGITS = 8 };
  return strncmp(name, ".heed-", FIRST) == 0 && strspn(name + FIRST, "0123456789abcdef") == DIGITS &&
         strcmp(name + FIRST + DIGITS, ".tmp") == 0;
}

// A run that was killed leaves what it was writing. Nobody else writes here: we hold the lock.
static void remove_temporaries(const char *folder) {
  DIR *entries = opendir(folder);
  if (!entries) return;
  for (const struct dirent *entry; (entry = readdir(entries));) {
    char *path = is_temporary(entry->d_name) ? lm_train_path_in(folder, entry->d_name) : NULL;
    if (path) unlink(path);
    free(path);
  }
  closedir(entries);
}

static void remove_remains(const trainer *t) {
  char *best = lm_train_path_in(t->s.save, "best");
  if (holds(t->s.save, lm_train_state_name)) lm_train_unmark(t);
  remove_temporaries(t->s.save);
  if (best) remove_temporaries(best);
  free(best);
}

// ---------------------------------------------------------------- coming and going

// One run at a time writes to a folder. The lock goes with the process, however that ends.
static int lock_folder(trainer *t) {
  t->lock = open(t->s.save, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (t->lock < 0) return tool_fail(t->command, "--save %s: cannot open the folder: %s", t->s.save, strerror(errno));
  if (access(t->s.save, W_OK) != 0)
    return tool_fail(t->command, "--save %s: cannot write there: %s", t->s.save, strerror(errno));
  if (flock(t->lock, LOCK_EX | LOCK_NB) == 0)
    remove_remains(t);
  else if (errno == EWOULDBLOCK)
    return tool_fail(t->command, "--save %s: another run is writing there", t->s.save);
  return TOOL_DONE;  // some file systems have no locks
}

int lm_train_enter_folder(trainer *t) {
  const char *folder = t->s.save;
  struct stat info;
  if (!folder) return TOOL_DONE;
  t->made_folder = !t->s.resume && mkdir(folder, 0777) == 0;
  if (!t->made_folder) {
    if (!t->s.resume && errno != EEXIST)
      return tool_fail(t->command, "--save %s: cannot make the folder: %s", folder, strerror(errno));
    if (stat(folder, &info) != 0) return tool_fail(t->command, "%s: %s", folder, strerror(errno));
    if (!S_ISDIR(info.st_mode)) return tool_fail(t->command, "%s is there and is no folder", folder);
  }
  TOOL_TRY(lock_folder(t));
  return check_unused(t);
}

void lm_train_leave_folder(trainer *t) {
  if (t->made_folder) rmdir(t->s.save);  // only if it is empty
  if (t->lock >= 0) close(t->lock);
  t->lock = -1;
}

// Old files stay until the new ones are complete.
int lm_train_check_room(const trainer *t) {
  struct statvfs disk;
  if (!t->s.save || statvfs(t->s.save, &disk) != 0) return TOOL_DONE;
  const uint64_t count = (uint64_t)lm_parameters(&t->config);
  const uint64_t model = count * heed_dtype_size((heed_dtype)t->s.save_dtype);
  const uint64_t needed = 12 * count + model * (t->s.keep_best ? 2 : 1),
                 there = (uint64_t)disk.f_bavail * disk.f_frsize;
  char needs[32], has[32];
  if (needed <= there) return TOOL_DONE;
  return tool_fail(t->command, "--save %s: a checkpoint needs %s, and the disk has %s left", t->s.save,
                   tool_bytes_text(needed, needs), tool_bytes_text(there, has));
}
