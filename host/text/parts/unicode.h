// UTF-8, the classes of characters that tokenizers ask for, and NFC. Knows nothing of tokenizers.
#ifndef HEED__TEXT_UNICODE_H
#define HEED__TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Reads a character; returns its length in bytes, 0 where there is none: at the end, and at a byte that no UTF-8 begins with.
size_t heed__utf8_read(const char *text, size_t bytes, int32_t *character);
// Writes 1 to 4 bytes; returns how many.
size_t heed__utf8_write(int32_t character, char text[4]);
// How many bytes at the beginning are whole characters of UTF-8.
size_t heed__utf8_valid(const char *text, size_t bytes);

bool heed__is_space(int32_t character);   // Unicode's White_Space
bool heed__is_number(int32_t character);  // of a category N
bool heed__is_word(
    int32_t character);  // UTS 18's word character: alphabetic, marks, decimal digits, connectors, joiners

#endif
