/* unicode: what tokenizers ask about code points: general categories, white space, NFC. The one file that uses
 * utf8proc. Not a normaliser for anything but NFC, no grapheme clusters; of case only what lower case needs. Invariant:
 * every function takes valid UTF-8 (utf8_valid of base/ checks it). */
#ifndef PEFT_TOKEN_UNICODE_H
#define PEFT_TOKEN_UNICODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libcommon/base/mem.h"

enum {
    UC_LETTER = 1,  /* \p{L} */
    UC_NUMBER = 2,  /* \p{N} */
    UC_SPACE = 4,   /* White_Space, the \s of Oniguruma and of Rust's regex */
    UC_PUNCT = 8,   /* \p{P} */
    UC_JOINS = 16,  /* may be moved or composed with what stands before it in NFC: marks, Hangul vowels and finals */
    UC_WORD = 32,   /* Rust's \w */
    UC_PLAIN = 64,  /* equal to its own NFC and never joined to what stands before it */
    UC_ALONE = 128, /* and nothing behind it is joined to it */
};

/* Two-stage table, built once; unicode_init before the first use of unicode_flags. */
extern uint8_t unicode_stage1[0x1100];
extern uint8_t (*unicode_stage2)[256];
void unicode_init(void);

static inline unsigned unicode_flags(uint32_t cp) { return unicode_stage2[unicode_stage1[cp >> 8]][cp & 255]; }

/* Decode one code point of valid UTF-8; returns its length. */
static inline unsigned unicode_next(const uint8_t *p, uint32_t *cp)
{
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    if (p[0] < 0xe0) {
        *cp = (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
        return 2;
    }
    if (p[0] < 0xf0) {
        *cp = (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
        return 3;
    }
    *cp = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 | (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
    return 4;
}
static inline unsigned unicode_len(uint8_t lead) { return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4; }
int unicode_put(uint32_t cp, char out[4]); /* UTF-8 of cp; its length */

uint32_t unicode_lower(uint32_t cp); /* simple mapping: one code point to one */
bool unicode_cased(uint32_t cp);     /* categories Lu, Ll, Lt */
bool unicode_ignorable(
    uint32_t cp); /* case-ignorable (Unicode section 3.13): marks, format characters, modifiers, ' : . within words */

/* Is s its own NFC? May answer false for a string that is. */
bool unicode_nfc_plain(const char *s, size_t n);
/* Append the NFC of s to *out; with map also, for every byte appended, base + the offset in s where its cluster begins.
 */
void unicode_nfc(const char *s, size_t n, struct buf *out, struct u32vec *map, const uint32_t *base);
#endif
