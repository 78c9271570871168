// Models in forms that heed does not read: what they are, and the command that converts them.
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/status.h"
#include "base/text.h"
#include "lm/folder.h"

enum { GGUF, PICKLE };

static int kind_of(const char *name) {
  const char *end = strrchr(name, '.');
  if (!end) return -1;
  if (strcasecmp(end, ".gguf") == 0) return GGUF;
  // Token files are called .bin, too.
  const bool weights = strcasecmp(end, ".bin") == 0 && strcasestr(name, "model");
  return weights || strcasecmp(end, ".pt") == 0 || strcasecmp(end, ".pth") == 0 ? PICKLE : -1;
}

static heed_status refuse(const char *folder, const char *name, int kind) {
  const struct heed__name shown = heed__printable(name);
  if (kind == GGUF)
    return heed__fail(
        HEED_ERROR_UNSUPPORTED,
        "%s holds %s, which heed does not read; convert it: python3 -c \"from transformers import *; d, f = '%s', "
        "'%s'; [c.from_pretrained(d, gguf_file=f).save_pretrained('model') for c in (AutoModelForCausalLM, "
        "AutoTokenizer)]\"",
        folder, shown.text, folder, shown.text);
  return heed__fail(
      HEED_ERROR_UNSUPPORTED,
      "%s holds %s, which heed does not read; convert it: python3 -c \"from transformers import *; d = '%s'; "
      "[c.from_pretrained(d).save_pretrained('model') for c in (AutoModelForCausalLM, AutoTokenizer)]\"",
      folder, shown.text, folder);
}

heed_status heed__lm_refuse_foreign(const char *path) {
  struct stat info;
  if (stat(path, &info) != 0) return HEED_OK;
  if (!S_ISDIR(info.st_mode)) {
    const char *name = strrchr(path, '/');
    const int kind = kind_of(name ? name + 1 : path);
    if (kind >= 0) return refuse("the folder", name ? name + 1 : path, kind);
    return heed__fail(HEED_ERROR_IO, "%s: a file; name the folder with config.json, the weights and the tokenizer",
                      path);
  }
  DIR *folder = opendir(path);
  heed_status status = HEED_OK;
  for (struct dirent *entry; folder && status == HEED_OK && (entry = readdir(folder)) != NULL;) {
    const int kind = kind_of(entry->d_name);
    if (kind >= 0) status = refuse(path, entry->d_name, kind);
  }
  if (folder) closedir(folder);
  return status;
}
