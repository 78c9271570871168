// Texts from files and callers, made fit for a message. Knows nothing else of heed.
#ifndef HEED__TEXT_H
#define HEED__TEXT_H

// A name, shortened, and without control characters, because a terminal would obey those.
struct heed__name {
  char text[96];
};
struct heed__name heed__printable(const char *name);

#endif
