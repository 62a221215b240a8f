/* utf8: is this text, and which code point comes next? Nothing about properties or normal forms (token/ has those). */
#ifndef PEFT_BASE_UTF8_H
#define PEFT_BASE_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length 1..4 of the well-formed sequence at s (Unicode table 3-7: no surrogates, no overlong forms), its code point in
 * *cp; 0 if n is 0 or the bytes are malformed or cut. */
int utf8_next(const char *s, size_t n, uint32_t *cp);
/* Does a terminal act on it rather than show it? C0, DEL, C1, and the marks that turn the direction of text. */
bool utf8_is_control(uint32_t cp);
/* Offset of the first malformed byte, n if there is none. */
size_t utf8_valid(const char *s, size_t n);
#endif
