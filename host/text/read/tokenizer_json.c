// tokenizer.json, from the top: what is asked for that heed has not got is refused by name.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "text/read/model.h"
#include "text/read/stages.h"

// ---------------------------------------------------------------- normalizers and decoders

static heed_status read_normalizer(const struct heed__object *part, void *user) {
  heed_tokenizer *t = user;
  const char *type = NULL;
  HEED__TRY(heed__part_type(part, &type));
  if (strcmp(type, "Sequence") == 0) return heed__each_part(part, "normalizers", read_normalizer, user);
  if (strcmp(type, "NFC") != 0)
    return heed__fail(HEED_ERROR_UNSUPPORTED, "%s: \"normalizer\" is a %s; heed has NFC", part->path,
                      heed__printable(type).text);
  t->nfc = true;
  return HEED_OK;
}

struct decoder {
  bool bytes, fuse;
};

static heed_status read_decoder(const struct heed__object *part, void *user) {
  struct decoder *decoder = user;
  const char *type = NULL;
  HEED__TRY(heed__part_type(part, &type));
  if (strcmp(type, "Sequence") == 0) return heed__each_part(part, "decoders", read_decoder, user);
  if (strcmp(type, "ByteLevel") == 0)
    decoder->bytes = true;
  else if (strcmp(type, "Fuse") == 0)
    decoder->fuse = true;
  else
    return heed__fail(HEED_ERROR_UNSUPPORTED, "%s: \"decoder\" is a %s; heed has ByteLevel", part->path,
                      heed__printable(type).text);
  return HEED_OK;
}

// Tokens of bytes are decoded as such in any case; characters must be joined with nothing between them.
static heed_status check_decoder(const char *path, const json_t *json, const heed_tokenizer *t) {
  struct decoder decoder = {0};
  const struct heed__object part = {path, "decoder", json, NULL};
  if (json) HEED__TRY(read_decoder(&part, &decoder));
  if (t->model == HEED__MODEL_CHARS && (decoder.bytes || !decoder.fuse))
    return heed__has_not(path, "the model is a WordLevel, and \"decoder\" is not Fuse");
  if (t->model == HEED__MODEL_BPE && json && !decoder.bytes)
    return heed__has_not(path, "the model is BPE, and \"decoder\" has no ByteLevel");
  return HEED_OK;
}

// ---------------------------------------------------------------- the file

static heed_status read_parts(const struct heed__object *file, heed_tokenizer *t, struct heed__names *spelled) {
  static const char *const known[] = {"version",       "truncation",     "padding", "added_tokens", "normalizer",
                                      "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
  HEED__TRY(heed__only_keys(file, known));
  for (int i = 1; i < 3; ++i)
    if (heed__key(file, known[i])) return heed__has_not(file->path, "\"%s\" is not null", known[i]);
  const struct heed__object model = {file->path, "model", heed__key(file, "model"), file->zero};
  const struct heed__object normalizer = {file->path, "normalizer", heed__key(file, "normalizer"), NULL};
  HEED__TRY(heed__read_model(&model, t, spelled));
  if (normalizer.json) HEED__TRY(read_normalizer(&normalizer, t));
  HEED__TRY(heed__read_pre_tokenizer(file->path, heed__key(file, "pre_tokenizer"), t));
  HEED__TRY(check_decoder(file->path, heed__key(file, "decoder"), t));
  HEED__TRY(heed__read_added(file->path, heed__key(file, "added_tokens"), spelled, t));
  return heed__read_post_processor(file->path, heed__key(file, "post_processor"), t);
}

heed_status heed__read_tokenizer_json(const char *path, const char *text, size_t bytes, heed_tokenizer *tokenizer) {
  json_t *json;
  struct heed__names spelled = {0};
  char *zero = NULL;
  HEED__TRY(heed__json_parse(path, text, bytes, &json, &zero));
  const struct heed__object file = {path, "tokenizer", json, zero};
  heed_status status =
      json_is_object(json) ? HEED_OK : heed__fail(HEED_ERROR_FORMAT, "%s: it is not a JSON object", path);
  if (status == HEED_OK) status = read_parts(&file, tokenizer, &spelled);
  heed__names_free(&spelled);
  free(zero);
  json_decref(json);
  return status;
}
