// Normal form C of Unicode. Knows nothing of tokenizers.
#ifndef HEED__TEXT_NFC_H
#define HEED__TEXT_NFC_H

#include "text/parts/buffer.h"

// Appends the text in normal form C to `out`, unless it is in this form already: then *same is set, and `out` as it was. The text is
// UTF-8. Returns false if memory has run out.
bool heed__nfc(const char *text, size_t bytes, struct heed__buffer *out, bool *same);

#endif
