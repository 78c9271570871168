// Regular expressions as tokenizer.json has them, in the syntax of Oniguruma (Ruby's), searched for by PCRE2.
#ifndef HEED__TEXT_PATTERN_H
#define HEED__TEXT_PATTERN_H

#include "base/status.h"
#include "text/parts/buffer.h"

struct heed__pattern {
  void *code;                  // PCRE2's
  struct heed__buffer source;  // as it was written
};
// Compiles a regular expression, or a text that stands for itself. Refuses what Oniguruma and PCRE2 understand differently. Errors:
// FORMAT; UNSUPPORTED; OUT_OF_MEMORY; the message does not name the file.
heed_status heed__pattern_compile(const char *source, bool literal, struct heed__pattern *out);
void heed__pattern_free(struct heed__pattern *pattern);

// Appends the expression in PCRE2's syntax. Errors: UNSUPPORTED, which names what PCRE2 understands differently; memory shows in `out`.
heed_status heed__pattern_translate(const char *source, struct heed__buffer *out);

// The matches of a pattern in texts, which a thread of its own may look for. All zero is one that is not started.
struct heed__matcher {
  const struct heed__pattern *pattern;
  void *data, *context;  // PCRE2's
  size_t from, last;     // where to search; where the last match ended
  bool any;              // there is a last match
};
heed_status heed__matcher_start(struct heed__matcher *matcher, const struct heed__pattern *pattern);
void heed__matcher_free(struct heed__matcher *matcher);
// Begins at the front of a text.
static inline void heed__matcher_rewind(struct heed__matcher *matcher, size_t from) {
  matcher->from = from;
  matcher->any = false;
}
// Finds the next match in UTF-8, of which none is empty at the end of the one before; *found tells whether there is one.
// Errors: FORMAT, where it takes too many steps; OUT_OF_MEMORY.
heed_status heed__matcher_next(struct heed__matcher *matcher, const char *text, size_t bytes, bool *found,
                               size_t *start, size_t *end);

#endif
