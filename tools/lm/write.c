// Text that a model writes: one token after another, on a cache of keys and values.
#include <stdlib.h>
#include <string.h>

#include "lm/lm.h"

// ---------------------------------------------------------------- tokens

typedef struct writer {
  const lm_model *model;
  const char *command;
  heed_kv_cache *cache;
  int64_t capacity;
  heed_tensor *logits;  // [1, vocab]
  float *values;
  int32_t *ids;  // the whole text so far
  size_t room;
  int64_t count;
} writer;

static bool grow(void **memory, size_t *room, size_t needed, size_t size) {
  if (needed <= *room) return true;
  const size_t larger = needed * 2 + 64;
  void *grown = realloc(*memory, larger * size);
  if (!grown) return false;
  *memory = grown;
  *room = larger;
  return true;
}

static int create(writer *w, size_t prompt, const lm_writing *writing) {
  const heed_transformer_config *c = heed_transformer_configuration(w->model->transformer);
  const int64_t all = (int64_t)prompt + writing->tokens;
  w->capacity = all < c->context ? all : c->context;
  w->values = malloc((size_t)c->vocab * sizeof *w->values);
  if (!w->values || !grow((void **)&w->ids, &w->room, prompt, sizeof *w->ids))
    return tool_fail(w->command, "out of memory");
  TOOL_HEED(w->command, heed_kv_cache_create(w->model->transformer, 1, w->capacity, &w->cache));
  TOOL_HEED(w->command, heed_tensor_create(w->model->ctx, c->dtype, 2, (const int64_t[]){1, c->vocab}, &w->logits));
  return TOOL_DONE;
}

static void destroy(writer *w) {
  heed_kv_cache_destroy(w->cache);
  heed_tensor_destroy(w->logits);
  free(w->values);
  free(w->ids);
}

// Reads the text's tokens from `first` on, and has the logits of what follows them.
static int read_on(writer *w, int64_t first) {
  const int64_t dims[] = {1, w->count - first};
  const heed_transformer_config *c = heed_transformer_configuration(w->model->transformer);
  heed_tensor *tokens = NULL;
  TOOL_HEED(w->command, heed_tensor_create_from(w->model->ctx, HEED_I32, 2, dims, w->ids + first, &tokens));
  heed_status status = heed_transformer_decode(w->model->transformer, w->cache, tokens, w->logits);
  if (status == HEED_OK) status = heed_tensor_download_f32(w->logits, w->values, c->vocab);
  const int result = status == HEED_OK ? TOOL_DONE : tool_fail_status(w->command, status);
  heed_tensor_destroy(tokens);
  return result;
}

// Makes room in a full cache: what is kept gets new positions, and so it is read again.
static int slide(writer *w) {
  const int64_t kept = w->capacity - w->capacity / 2;
  TOOL_HEED(w->command, heed_kv_cache_truncate(w->cache, 0));
  return read_on(w, w->count - kept);
}

static int next(writer *w, const lm_writing *writing, bool last) {
  int64_t token = 0;
  const heed_transformer_config *c = heed_transformer_configuration(w->model->transformer);
  const heed_status sampled = heed_sample(w->values, c->vocab, &writing->sample, w->count, &token);
  if (sampled == HEED_ERROR_INVALID_ARGUMENT)  // options were checked before
    return tool_fail(w->command, "%s: the model's weights are not finite, or too large for its dtype",
                     heed_last_error());
  if (sampled != HEED_OK) return tool_fail_status(w->command, sampled);
  if (!grow((void **)&w->ids, &w->room, (size_t)w->count + 1, sizeof *w->ids))
    return tool_fail(w->command, "out of memory");
  w->ids[w->count++] = (int32_t)token;
  if (last || (!writing->ignore_end && heed_model_folder_is_end(w->model->folder, token))) return TOOL_DONE;
  return heed_kv_cache_length(w->cache) < w->capacity ? read_on(w, w->count - 1) : slide(w);
}

static int write_all(writer *w, size_t prompt, const lm_writing *writing, lm_token_function function, void *user) {
  w->count = (int64_t)prompt;
  TOOL_TRY(read_on(w, w->count > w->capacity ? w->count - w->capacity : 0));
  bool stop = false;
  for (int64_t i = 0; i < writing->tokens && !stop; i++) {
    TOOL_TRY(next(w, writing, i + 1 == writing->tokens));
    const int32_t token = w->ids[w->count - 1];
    if (!writing->ignore_end && heed_model_folder_is_end(w->model->folder, token)) break;
    TOOL_TRY(function(token, &stop, user));
  }
  return TOOL_DONE;
}

int lm_write(const lm_model *model, const int32_t *prompt, size_t count, const lm_writing *writing,
             lm_token_function function, void *user) {
  writer w = {.model = model, .command = model->args->command};
  int status = create(&w, count, writing);
  if (status == TOOL_DONE) {
    memcpy(w.ids, prompt, count * sizeof *prompt);
    status = write_all(&w, count, writing, function, user);
  }
  destroy(&w);
  return status;
}

// ---------------------------------------------------------------- characters

// How many bytes at the end begin a character of UTF-8 that is not complete.
static size_t incomplete(const char *text, size_t bytes) {
  for (size_t back = 1; back <= 3 && back <= bytes; back++) {
    const unsigned char byte = (unsigned char)text[bytes - back];
    const size_t length = byte >= 0xf0 && byte < 0xf5 ? 4 : byte >= 0xe0 && byte < 0xf0 ? 3 : byte >= 0xc2 ? 2 : 1;
    if (byte >= 0xc0) return byte < 0xf5 && length > back ? back : 0;
    if (byte < 0x80) return 0;
  }
  return 0;
}

// How many bytes at the end may be the beginning of `stop`.
static size_t beginning(const char *text, size_t bytes, const char *stop) {
  for (size_t length = strlen(stop) - 1; length > 0; length--)
    if (length <= bytes && memcmp(text + bytes - length, stop, length) == 0) return length;
  return 0;
}

static void show(lm_stream *s, size_t end) {
  if (s->to && end > s->shown) {
    fwrite(s->text + s->shown, 1, end - s->shown, s->to);
    tool_push();
  }
  if (end > s->shown) s->shown = end;
}

int lm_stream_token(int32_t id, bool *stop, void *stream) {
  lm_stream *s = stream;
  size_t bytes = 0;
  const char *token = s->tokenizer ? heed_tokenizer_token(s->tokenizer, id, &bytes) : NULL;
  if (!token) bytes = 0;
  if (!grow((void **)&s->ids, &s->id_room, s->count + 1, sizeof *s->ids) ||
      !grow((void **)&s->text, &s->room, s->bytes + bytes + 1, 1))
    return tool_fail("heed lm", "out of memory");
  s->ids[s->count++] = id;
  if (bytes > 0) memcpy(s->text + s->bytes, token, bytes);
  s->bytes += bytes;
  const char *found = s->stop && *s->stop ? memmem(s->text, s->bytes, s->stop, strlen(s->stop)) : NULL;
  if (found) {
    s->bytes = (size_t)(found - s->text);
    *stop = true;
  }
  const size_t held = s->stop && *s->stop && !found ? beginning(s->text, s->bytes, s->stop) : 0;
  show(s, s->bytes - held - (found ? 0 : incomplete(s->text, s->bytes - held)));
  return TOOL_DONE;
}

void lm_stream_end(lm_stream *s) { show(s, s->bytes); }

void lm_stream_free(lm_stream *s) {
  free(s->text);
  free(s->ids);
  *s = (lm_stream){0};
}
