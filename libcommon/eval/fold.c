/* fold: see fold.h. Not a general Unicode library: only what the references do.
 * Sources: CPython Objects/unicodeobject.c (lower, with the rule of the final sigma: Unicode 15 section 3.13), the
 * evaluation script of SQuAD 1.1/2.0 (Rajpurkar et al. 2016, 2018). */
#include "libcommon/eval/fold.h"
#include <stdbool.h>
#include <string.h>
#include "libcommon/base/utf8.h"
#include "libcommon/token/unicode.h"

/* One code point of s at i into *c; returns its length; a bad byte is U+FFFD of length 1. */
static size_t decode(struct str s, size_t i, uint32_t *c)
{
    int k = utf8_next(s.p + i, s.n - i, c);
    if (k > 0) return (size_t)k;
    *c = 0xFFFD;
    return 1;
}

static void put(struct buf *out, uint32_t c)
{
    char u[4];
    buf_add(out, u, (size_t)unicode_put(c, u));
}

static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t fold_space(struct str s)
{
    uint32_t c;
    if (!s.n) return 0;
    size_t k = decode(s, 0, &c);
    return is_space(c) ? k : 0;
}

struct str fold_strip(struct str s)
{
    for (size_t k; (k = fold_space(s)) > 0; s.p += k, s.n -= k) {
    }
    for (size_t end = s.n; end;) { /* step back over one character: at most 3 continuation bytes */
        size_t at = end - 1;
        while (at && end - at < 4 && ((unsigned char)s.p[at] & 0xC0) == 0x80) at--;
        struct str last = {s.p + at, end - at};
        if (fold_space(last) != last.n) break;
        s.n = end = at;
    }
    return s;
}

/* Is the sigma at byte i (2 bytes long) the last letter of its word? `before`: the nearest character that is not
 * case-ignorable before it is cased. */
static bool is_final(struct str s, size_t i, bool before)
{
    if (!before) return false;
    for (size_t j = i + 2, k; j < s.n; j += k) {
        uint32_t c;
        k = decode(s, j, &c);
        if (!unicode_ignorable(c)) return !unicode_cased(c);
    }
    return true;
}

void fold_lower(struct str s, struct buf *out)
{
    bool before = false;
    uint32_t c;
    out->n = 0;
    for (size_t i = 0, k; i < s.n; i += k) {
        k = decode(s, i, &c);
        if (c == 0x3A3) {
            put(out, is_final(s, i, before) ? 0x3C2 : 0x3C3);
        } else if (c == 0x130) { /* the one character whose lower case is two */
            put(out, 'i');
            put(out, 0x307);
        } else {
            put(out, unicode_lower(c));
        }
        if (!unicode_ignorable(c)) before = unicode_cased(c);
    }
}

/* \w of Python's re for one code point. */
static bool is_word(uint32_t c) { return c == '_' || (unicode_flags(c) & (UC_LETTER | UC_NUMBER)); }

static bool is_article(struct str w)
{
    return (w.n == 1 && *w.p == 'a') || (w.n == 2 && !memcmp(w.p, "an", 2)) || (w.n == 3 && !memcmp(w.p, "the", 3));
}

void fold_squad(struct str s, struct buf *out)
{
    struct buf low = {0};
    size_t n = 0;
    unicode_init();
    fold_lower(s, &low);
    for (size_t i = 0; i < low.n; i++) /* string.punctuation is all of ASCII's */
        if (!strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", low.p[i]) || !low.p[i]) low.p[n++] = low.p[i];
    low.n = n;
    out->n = 0;
    /* A maximal run of word characters that is an article becomes a blank; blanks collapse and are trimmed. */
    struct str t = {low.p, low.n};
    bool gap = false;
    for (size_t i = 0, k; i < t.n; i += k) {
        uint32_t c;
        k = decode(t, i, &c);
        size_t end = i;
        for (size_t j = i, d; j < t.n; j += d, end = j) {
            uint32_t w;
            d = decode(t, j, &w);
            if (!is_word(w)) break;
        }
        if (end > i) k = end - i;
        if (is_space(c) || is_article((struct str){t.p + i, k})) {
            gap = true;
            continue;
        }
        if (gap && out->n) buf_addc(out, ' ');
        gap = false;
        buf_add(out, t.p + i, k);
    }
    buf_fini(&low);
}
