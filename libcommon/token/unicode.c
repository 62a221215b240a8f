/* unicode: code point classes and NFC on top of utf8proc.
 * The classes are packed into a two-stage table of bytes at first use, since a property look-up of utf8proc per
 * character would dominate pre-tokenization. NFC works cluster by cluster (a starter and the marks behind it); the
 * marks are put into canonical order by a stable sort of our own, because utf8proc's is quadratic and a text may
 * consist of marks only. */
#include "libcommon/token/unicode.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

uint8_t unicode_stage1[0x1100];
uint8_t (*unicode_stage2)[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct range {
    uint32_t lo, hi;
};

/* Hugging Face's regular expressions go by Unicode 16, utf8proc of Debian 12 by Unicode 15: what came between. */
static const struct range new_letters[] = {
    {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},   {0x105c0, 0x105f3}, {0x10d4a, 0x10d65},
    {0x10d6f, 0x10d85}, {0x10ec2, 0x10ec4}, {0x11380, 0x11389}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e},
    {0x11390, 0x113b5}, {0x113b7, 0x113b7}, {0x113d1, 0x113d1}, {0x113d3, 0x113d3}, {0x11bc0, 0x11be0},
    {0x13460, 0x143fa}, {0x16100, 0x1611d}, {0x16d40, 0x16d6c}, {0x18cff, 0x18cff}, {0x1e5d0, 0x1e5ed},
    {0x1e5f0, 0x1e5f0}, {0x2ebf0, 0x2ee5d},
};
static const struct range new_numbers[] = {
    {0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9}, {0x16130, 0x16139},
    {0x16d70, 0x16d79}, {0x1ccf0, 0x1ccf9}, {0x1e5f1, 0x1e5fa},
};

/* Its NFC goes by Unicode 9, for which these (combining, decomposable or composing) were not assigned: they stand for
 * themselves, and marks are not moved past them. Models were trained on text normalised so. */
static const struct range not_in_nfc[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0xa82c, 0xa82c},   {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50},
    {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0},
    {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45},
    {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136},
    {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
};

static bool in_ranges(uint32_t c, const struct range *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].lo && c <= r[i].hi) return true;
    return false;
}
#define IN(c, table) in_ranges(c, table, sizeof(table) / sizeof *(table))

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Other_Alphabetic that is no mark: letters in circles and squares. */
static bool is_enclosed_letter(uint32_t c)
{
    return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
           (c >= 0x1f170 && c <= 0x1f189);
}

static bool is_hangul_part(uint32_t c) /* Hangul vowels and finals: starters that compose with the syllable before */
{
    return (c >= 0x1160 && c <= 0x11ff) || (c >= 0xd7b0 && c <= 0xd7ff);
}

static uint8_t flags_of(uint32_t c)
{
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
    unsigned f = 0;
    switch (p->category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        f = UC_LETTER | UC_WORD;
        break;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
        f = UC_NUMBER | UC_WORD;
        break;
    case UTF8PROC_CATEGORY_NO:
        f = UC_NUMBER;
        break;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        f = UC_JOINS | UC_WORD;
        break;
    case UTF8PROC_CATEGORY_PC:
        f = UC_PUNCT | UC_WORD;
        break;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        f = UC_PUNCT;
        break;
    default:
        if (IN(c, new_letters)) f = UC_LETTER | UC_WORD;
        if (IN(c, new_numbers)) f = UC_NUMBER | UC_WORD;
        break;
    }
    if (IN(c, not_in_nfc)) return (uint8_t)((f & ~(unsigned)UC_JOINS) | UC_PLAIN | UC_ALONE);
    if (is_hangul_part(c)) f |= UC_JOINS;
    if (is_space(c)) f |= UC_SPACE;
    if (is_enclosed_letter(c) || c == 0x200c || c == 0x200d) f |= UC_WORD;
    if (!(f & UC_JOINS) && p->combining_class == 0) {
        /* A syllable block decomposes and composes to itself; anything else with a decomposition is asked. */
        if (p->decomp_seqindex == UINT16_MAX || (c >= 0xac00 && c <= 0xd7a3)) {
            f |= UC_PLAIN;
        } else {
            utf8proc_int32_t b[32];
            int bound = 0;
            utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, b, 32,
                                                         UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &bound);
            if (n > 0 && n <= 32) n = utf8proc_normalize_utf32(b, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
            if (n == 1 && b[0] == (utf8proc_int32_t)c) f |= UC_PLAIN;
        }
    }
    return (uint8_t)f;
}

static void build(void)
{
    int n = 0;
    unicode_stage2 = mem_alloc(256, 256);
    for (uint32_t hi = 0; hi < 0x1100; hi++) {
        uint8_t page[256];
        if (hi >= 0x400 && hi < 0xe00) { /* planes 4 to 13 hold nothing: like the page before */
            unicode_stage1[hi] = unicode_stage1[0x3ff];
            continue;
        }
        for (uint32_t lo = 0; lo < 256; lo++) page[lo] = flags_of(hi << 8 | lo);
        int k = n;
        while (k > 0 && memcmp(unicode_stage2[k - 1], page, 256) != 0) k--;
        if (k > 0) {
            unicode_stage1[hi] = (uint8_t)(k - 1);
        } else {
            if (n == 256) abort(); /* Unicode 15 has about 150 different pages */
            memcpy(unicode_stage2[n], page, 256);
            unicode_stage1[hi] = (uint8_t)n++;
        }
    }
}

void unicode_init(void) { pthread_once(&once, build); }

int unicode_put(uint32_t cp, char out[4])
{
    return (int)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)out);
}

bool unicode_nfc_plain(const char *s, size_t n)
{
    const uint8_t *p = (const uint8_t *)s, *end = p + n;
    while (p < end) {
        if (*p <
            0xcc) { /* up to U+02FF: NFC, whatever stands around it, unless a mark follows, which is then met itself */
            p += *p < 0x80 ? 1 : 2;
            continue;
        }
        uint32_t cp;
        p += unicode_next(p, &cp);
        if (!(unicode_flags(cp) & UC_PLAIN)) return false;
    }
    return true;
}

struct mark {
    int32_t cp;
    uint32_t order; /* combining class in the high 8 bits, place below: makes qsort stable */
};

static int mark_cmp(const void *a, const void *b)
{
    uint32_t x = ((const struct mark *)a)->order, y = ((const struct mark *)b)->order;
    return x < y ? -1 : x > y;
}

/* Canonical order: marks between two starters by combining class, equal ones as they stand. */
static void sort_marks(int32_t *cp, size_t n)
{
    struct mark *m = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < n;) {
        size_t j = i;
        bool sorted = true;
        utf8proc_propval_t last = 0;
        while (j < n) {
            utf8proc_propval_t c = utf8proc_get_property(cp[j])->combining_class;
            if (c == 0) break;
            if (c < last) sorted = false;
            last = c;
            j++;
        }
        if (!sorted) {
            m = mem_grow(m, &cap, j - i, sizeof *m);
            for (size_t k = i; k < j; k++) {
                uint32_t c = (uint32_t)utf8proc_get_property(cp[k])->combining_class;
                m[k - i] = (struct mark){cp[k], c << 24 | (uint32_t)(k - i)};
            }
            qsort(m, j - i, sizeof *m, mark_cmp);
            for (size_t k = i; k < j; k++) cp[k] = m[k - i].cp;
        }
        i = j == i ? i + 1 : j;
    }
    free(m);
}

void unicode_nfc(const char *s, size_t n, struct buf *out, struct u32vec *map, const uint32_t *base)
{
    const uint8_t *p = (const uint8_t *)s;
    int32_t *cps = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < n;) {
        /* Cluster: one code point, and what can join it. */
        uint32_t cp;
        unsigned first = unicode_next(p + i, &cp);
        unsigned flags = unicode_flags(cp);
        size_t j = i + first;
        while (j < n && !(flags & UC_ALONE)) {
            uint32_t next;
            unsigned len = unicode_next(p + j, &next);
            if (!(unicode_flags(next) & UC_JOINS)) break;
            j += len;
        }
        size_t from = out->n;
        if ((flags & UC_PLAIN) && j == i + first) {
            buf_add(out, s + i, first);
        } else {
            size_t k = 0;
            for (size_t q = i; q < j;) {
                int bound = 0;
                q += unicode_next(p + q, &cp);
                cps = mem_grow(cps, &cap, k + 32, sizeof *cps);
                utf8proc_ssize_t got = utf8proc_decompose_char((utf8proc_int32_t)cp, cps + k, 32,
                                                               UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &bound);
                if (got > 0 && got <= 32) k += (size_t)got;
            }
            sort_marks(cps, k);
            utf8proc_ssize_t m = utf8proc_normalize_utf32(cps, (utf8proc_ssize_t)k, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
            for (utf8proc_ssize_t q = 0; q < m; q++) {
                char u[4];
                buf_add(out, u, (size_t)unicode_put((uint32_t)cps[q], u));
            }
        }
        if (map)
            for (size_t k = from; k < out->n; k++) u32vec_add(map, base ? base[i] : (uint32_t)i);
        i = j;
    }
    free(cps);
}

uint32_t unicode_lower(uint32_t cp) { return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp); }

bool unicode_cased(uint32_t cp)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

bool unicode_ignorable(uint32_t cp)
{
    static const uint32_t within[] = {0x27,   0x2E,   0x3A,   0xB7,   0x387,  0x55F,  0x5F4,  0x2018, 0x2019,
                                      0x2024, 0x2027, 0xFE13, 0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
    for (size_t i = 0; i < sizeof within / sizeof *within; i++)
        if (cp == within[i]) return true;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return false;
    }
}
