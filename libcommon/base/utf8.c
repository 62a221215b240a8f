/* utf8: a decoder that accepts exactly the well-formed sequences of the Unicode standard, table 3-7. */
#include "libcommon/base/utf8.h"

#include <string.h>

int utf8_next(const char *s, size_t n, uint32_t *cp)
{
    const unsigned char *p = (const unsigned char *)s;
    if (n == 0) return 0;
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    int len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < (size_t)len) return 0;
    uint32_t c = p[0] & (0xffu >> (len + 1));
    for (int i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (len == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) return 0;
    if (len == 4 && (c < 0x10000 || c > 0x10ffff)) return 0;
    *cp = c;
    return len;
}

/* Where the run of ASCII at s + i ends: most text is nothing else, so 32 bytes are looked at together. */
static size_t ascii_run(const char *s, size_t i, size_t n)
{
    const uint64_t high = 0x8080808080808080u;
    for (uint64_t w[4]; n - i >= sizeof w; i += sizeof w) {
        memcpy(w, s + i, sizeof w);
        if ((w[0] | w[1] | w[2] | w[3]) & high) break;
    }
    while (i < n && (unsigned char)s[i] < 0x80) i++;
    return i;
}

size_t utf8_valid(const char *s, size_t n)
{
    uint32_t cp;
    for (size_t i = 0;;) {
        i = ascii_run(s, i, n);
        if (i == n) return n;
        do { /* other scripts come in runs too */
            int len = utf8_next(s + i, n - i, &cp);
            if (!len) return i;
            i += (size_t)len;
        } while (i < n && (unsigned char)s[i] >= 0x80);
    }
}

bool utf8_is_control(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}
