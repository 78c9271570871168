// Compiles patterns with PCRE2, by its just-in-time compiler where there is one, and looks for matches with a limit on the steps.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/parts/pattern.h"

#include <pcre2.h>
#include <string.h>

#include "base/text.h"

// Steps of one search, and kilobytes that it may keep: patterns of tokenizers need a few for each character of a word.
enum { MOST_STEPS = 20000000, MOST_KILOBYTES = 256 << 10 };

static heed_status compile(const char *text, size_t bytes, uint32_t options, struct heed__pattern *out) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_compile_context *context = pcre2_compile_context_create(NULL);
  HEED__REQUIRE(context, HEED_ERROR_OUT_OF_MEMORY, "no memory for a regular expression");
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, bytes, PCRE2_UTF | options, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (!code) {
    const bool memory = error == PCRE2_ERROR_HEAP_FAILED;
    char reason[160] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
    HEED__REQUIRE(!memory, HEED_ERROR_OUT_OF_MEMORY, "no memory for a regular expression");
    return heed__fail(HEED_ERROR_UNSUPPORTED, "PCRE2 does not take the regular expression \"%s\": %s",
                      heed__printable(out->source.data).text, reason);
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without it matches are the same, and slower
  out->code = code;
  return HEED_OK;
}

heed_status heed__pattern_compile(const char *source, bool literal, struct heed__pattern *out) {
  *out = (struct heed__pattern){0};
  struct heed__buffer translated = {0};
  heed_status status = HEED_OK;
  if (!heed__buffer_add(&out->source, source, strlen(source) + 1))
    status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for a regular expression");
  if (status == HEED_OK && !literal) status = heed__pattern_translate(source, &translated);
  if (status == HEED_OK && translated.failed)
    status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for a regular expression");
  if (status == HEED_OK)
    status = literal ? compile(source, strlen(source), PCRE2_LITERAL, out)
                     : compile(translated.data ? translated.data : "", translated.size, PCRE2_UCP, out);
  heed__buffer_free(&translated);
  if (status != HEED_OK) heed__pattern_free(out);
  return status;
}

void heed__pattern_free(struct heed__pattern *pattern) {
  pcre2_code_free(pattern->code);
  heed__buffer_free(&pattern->source);
  *pattern = (struct heed__pattern){0};
}

// ---------------------------------------------------------------- matches

heed_status heed__matcher_start(struct heed__matcher *matcher, const struct heed__pattern *pattern) {
  *matcher = (struct heed__matcher){.pattern = pattern};
  pcre2_match_context *context = pcre2_match_context_create(NULL);
  matcher->context = context;
  matcher->data = pcre2_match_data_create(1, NULL);
  HEED__REQUIRE(context && matcher->data, HEED_ERROR_OUT_OF_MEMORY, "no memory to search for a regular expression");
  pcre2_set_match_limit(context, MOST_STEPS);
  pcre2_set_heap_limit(context, MOST_KILOBYTES);
  return HEED_OK;
}

void heed__matcher_free(struct heed__matcher *matcher) {
  pcre2_match_data_free(matcher->data);
  pcre2_match_context_free(matcher->context);
  *matcher = (struct heed__matcher){0};
}

static int search(struct heed__matcher *matcher, const char *text, size_t bytes) {
  const pcre2_code *code = matcher->pattern->code;
  const int result =
      pcre2_match(code, (PCRE2_SPTR)text, bytes, matcher->from, PCRE2_NO_UTF_CHECK, matcher->data, matcher->context);
  if (result != PCRE2_ERROR_JIT_STACKLIMIT) return result;
  // The interpreter keeps what it goes back to on the heap.
  return pcre2_match(code, (PCRE2_SPTR)text, bytes, matcher->from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, matcher->data,
                     matcher->context);
}

static heed_status failed(const struct heed__matcher *matcher, int error) {
  const char *source = matcher->pattern->source.data;
  if (error == PCRE2_ERROR_NOMEMORY)
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to search for the regular expression \"%s\"",
                      heed__printable(source).text);
  if (error == PCRE2_ERROR_MATCHLIMIT || error == PCRE2_ERROR_DEPTHLIMIT || error == PCRE2_ERROR_HEAPLIMIT)
    return heed__fail(HEED_ERROR_FORMAT,
                      "the regular expression \"%s\" of the tokenizer takes over %d steps or %d MiB for one piece of "
                      "this text",
                      heed__printable(source).text, MOST_STEPS, MOST_KILOBYTES >> 10);
  char reason[160] = "";
  pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
  return heed__fail(HEED_ERROR_FORMAT, "the regular expression \"%s\": %s", heed__printable(source).text, reason);
}

static size_t next_character(const char *text, size_t bytes, size_t at) {
  do ++at;
  while (at < bytes && ((unsigned char)text[at] & 0xC0) == 0x80);
  return at;
}

heed_status heed__matcher_next(struct heed__matcher *matcher, const char *text, size_t bytes, bool *found,
                               size_t *start, size_t *end) {
  *found = false;
  while (matcher->from <= bytes) {
    const int result = search(matcher, text, bytes);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) return failed(matcher, result);
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(matcher->data);
    *start = range[0];
    *end = range[1] < range[0] ? range[0] : range[1];
    if (*start == *end && matcher->any && matcher->last == *end) {
      matcher->from = next_character(text, bytes, matcher->from);
      continue;
    }
    matcher->from = matcher->last = *end;
    matcher->any = *found = true;
    return HEED_OK;
  }
  matcher->from = bytes + 1;
  return HEED_OK;
}
