// From Oniguruma's syntax of regular expressions, which tokenizer.json has, to PCRE2's. What both take for the same passes; classes of
// characters are spelled out; anything else is refused, so that no pattern cuts a text elsewhere than it should.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "text/parts/pattern.h"

enum { MOST_GROUPS = 64 };

struct translation {
  const char *source, *at;
  struct heed__buffer *out;
  bool caseless[MOST_GROUPS];  // of the open groups
  int groups;
  bool in_class;
};

static heed_status refuse(const struct translation *t, const char *what) {
  return heed__fail(HEED_ERROR_UNSUPPORTED,
                    "the regular expression \"%s\" has %s at offset %zu, which heed does not take",
                    heed__printable(t->source).text, what, (size_t)(t->at - t->source));
}

static void put(struct translation *t, const char *text) { heed__buffer_text(t->out, text); }

// Oniguruma's \s is Unicode's White_Space, \w is alphabetic, marks, decimal digits and connectors, \d is decimal digits. Where \w is not in a
// class, it goes by a table of Latin-1 for what that has: the superscripts and fractions there are words, too.
static heed_status class_escape(struct translation *t, char letter) {
  static const char word[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
  if (letter == 's') put(t, "\\p{White_Space}");
  if (letter == 'S') put(t, "\\P{White_Space}");
  if (letter == 'd') put(t, "\\p{Nd}");
  if (letter == 'D') put(t, "\\P{Nd}");
  if (letter == 'W' && t->in_class) return refuse(t, "\\W in a class");
  if (letter == 'w' || letter == 'W') {
    put(t, t->in_class ? "" : letter == 'w' ? "[" : "[^");
    put(t, word);
    put(t, t->in_class ? "" : "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]");
  }
  t->at += 2;
  return HEED_OK;
}

static bool is_category(const char *name, size_t length) {
  static const char all[] =
      " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Cn Co Cs ";
  char word[8];
  if (length > 2) return false;
  snprintf(word, sizeof word, " %.*s ", (int)length, name);
  return strstr(all, word) != NULL;
}

// \p{L}: a category, or a script, by which PCRE2 would also mean characters that several scripts share.
static heed_status property(struct translation *t) {
  const char *name = t->at + 3;
  bool negated = t->at[1] == 'P';
  if (t->at[2] != '{') return refuse(t, "a property without braces");
  if (*name == '^') {
    negated = !negated;
    ++name;
  }
  const char *end = strchr(name, '}');
  const size_t length = end ? (size_t)(end - name) : 0;
  if (length == 0 || length > 40 || strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") < length)
    return refuse(t, "a property that it does not know");
  const bool category = is_category(name, length);
  if (!category && length < 3) return refuse(t, "a property that it does not know");
  if (t->caseless[t->groups] && category && length == 2 && name[0] == 'L' && strchr("ult", name[1]))
    return refuse(t, "letters of one case where case is ignored");
  heed__buffer_print(t->out, "\\%c{%s%.*s}", negated ? 'P' : 'p', category ? "" : "sc:", (int)length, name);
  t->at = end + 1;
  return HEED_OK;
}

// Where case is ignored, Oniguruma takes ß for ss, ﬁ for fi, and so on, in both directions; PCRE2 takes no character for two. Of those that are
// for two or three, all are beyond ASCII, as is one of the two in all but these.
static heed_status check_caseless(const struct translation *t, const char *at, bool is_ascii) {
  static const char *const pairs[] = {"ss", "ff", "fi", "fl", "st"};
  if (!t->caseless[t->groups]) return HEED_OK;
  if (!is_ascii) return refuse(t, "a character beyond ASCII where case is ignored");
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs && !t->in_class; ++i)
    if (strncasecmp(at, pairs[i], 2) == 0)
      return refuse(t, "letters that one character stands for where case is ignored");
  return HEED_OK;
}

// \x{E9}, \x41, é.
static heed_status number(struct translation *t) {
  static const char digits[] = "0123456789abcdefABCDEF";
  const bool braces = t->at[1] == 'x' && t->at[2] == '{';
  const char *first = t->at + (braces ? 3 : 2);
  const size_t length = strspn(first, digits), wanted = t->at[1] == 'u' ? 4 : 2;
  if (braces ? length == 0 || length > 6 || first[length] != '}' : length < wanted)
    return refuse(t, "a character's number that is none");
  const size_t used = braces ? length : wanted;
  if (t->at[1] == 'x' && !braces && strchr("01234567", *first) == NULL) return refuse(t, "a byte that is no character");
  HEED__TRY(check_caseless(t, first, false));
  heed__buffer_print(t->out, "\\x{%.*s}", (int)used, first);
  t->at = first + used + (braces ? 1 : 0);
  return HEED_OK;
}

static heed_status escape(struct translation *t) {
  const char letter = t->at[1];
  if (letter == '\0') return refuse(t, "a \\ without a character");
  if (strchr("sSdDwW", letter)) return class_escape(t, letter);
  if (letter == 'p' || letter == 'P') return property(t);
  if (letter == 'x' || letter == 'u') return number(t);
  const char *control = strchr("rntfae", letter);
  const bool is_letter =
      (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9');
  const bool anchor = !t->in_class && (letter == 'A' || letter == 'z');
  if (letter == 'v') {
    put(t, "\\x{0b}");  // for PCRE2 it would be any vertical space
  } else if (control || anchor || (!is_letter && (unsigned char)letter < 0x80)) {
    heed__buffer_add(t->out, t->at, 2);
  } else {
    char what[16];
    snprintf(what, sizeof what, "\\%c", (unsigned char)letter < 0x80 ? letter : '?');
    return refuse(t, what);
  }
  t->at += 2;
  return HEED_OK;
}

static heed_status plain(struct translation *t) {
  HEED__TRY(check_caseless(t, t->at, (unsigned char)*t->at < 0x80));
  heed__buffer_add(t->out, t->at++, 1);
  return HEED_OK;
}

static heed_status character_class(struct translation *t) {
  t->in_class = true;
  put(t, *t->at++ == '[' && *t->at == '^' ? "[^" : "[");
  if (*t->at == '^') ++t->at;
  if (*t->at == ']') return refuse(t, "an empty class");
  while (*t->at != ']') {
    if (*t->at == '\0') return refuse(t, "a class without an end");
    if (*t->at == '[') return refuse(t, "a class in a class");
    if (t->at[0] == '&' && t->at[1] == '&') return refuse(t, "an intersection of classes");
    if (*t->at == '\\')
      HEED__TRY(escape(t));
    else
      HEED__TRY(plain(t));
  }
  put(t, "]");
  ++t->at;
  t->in_class = false;
  return HEED_OK;
}

static heed_status open_group(struct translation *t) {
  static const struct {
    const char *text, *becomes;
    bool caseless;
  } kinds[] = {{"(?:", "(?:", false},   {"(?=", "(?=", false},   {"(?!", "(?!", false},
               {"(?<=", "(?<=", false}, {"(?<!", "(?<!", false}, {"(?>", "(?>", false},
               {"(?i:", "(?i:", true},  {"(?m:", "(?s:", false}, {"(?-i:", "(?-i:", false}};
  if (t->groups + 1 >= MOST_GROUPS) return refuse(t, "too many groups in each other");
  const bool outer = t->caseless[t->groups];
  if (t->at[1] != '?' && t->at[1] != '*') {
    put(t, "(?:");  // what it captures is not asked for
    ++t->at;
    t->caseless[++t->groups] = outer;
    return HEED_OK;
  }
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
    const size_t length = strlen(kinds[i].text);
    if (strncmp(t->at, kinds[i].text, length) != 0) continue;
    put(t, kinds[i].becomes);
    t->at += length;
    t->caseless[++t->groups] = kinds[i].caseless || (outer && strcmp(kinds[i].text, "(?-i:") != 0);
    return HEED_OK;
  }
  return refuse(t, "a group of a kind");
}

// {2}, {2,}, {2,3}; a + after it would mean one thing to Oniguruma and another to PCRE2, and a ? after {2}.
static heed_status repetition(struct translation *t) {
  static const char digits[] = "0123456789";
  const char *end = t->at + 1;
  const size_t least = strspn(end, digits);
  end += least;
  const bool comma = *end == ',';
  if (comma) end += 1 + strspn(end + 1, digits);
  if (least == 0 || least > 5 || *end != '}') return refuse(t, "a { that repeats nothing");
  if (end[1] == '+' || (end[1] == '?' && !comma)) return refuse(t, "a repetition of a repetition");
  heed__buffer_add(t->out, t->at, (size_t)(end + 1 - t->at));
  t->at = end + 1;
  return HEED_OK;
}

static heed_status close_group(struct translation *t) {
  if (t->groups == 0) return refuse(t, "a ) without its (");
  --t->groups;
  put(t, ")");
  ++t->at;
  return HEED_OK;
}

heed_status heed__pattern_translate(const char *source, struct heed__buffer *out) {
  struct translation t = {.source = source, .at = source, .out = out};
  while (*t.at) {
    if (*t.at == '\\') {
      HEED__TRY(escape(&t));
    } else if (*t.at == '[') {
      HEED__TRY(character_class(&t));
    } else if (*t.at == '(') {
      HEED__TRY(open_group(&t));
    } else if (*t.at == ')') {
      HEED__TRY(close_group(&t));
    } else if (*t.at == '{') {
      HEED__TRY(repetition(&t));
    } else if (*t.at == '^' || *t.at == '$') {
      return refuse(&t, "an anchor");
    } else {
      HEED__TRY(plain(&t));
    }
  }
  return t.groups == 0 ? HEED_OK : refuse(&t, "a ( without its )");
}
