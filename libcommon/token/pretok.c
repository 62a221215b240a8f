/* pretok: the scanners. Each returns the first match of its pattern at the start of the text; the patterns match at
 * every place, so that consecutive matches cover the text and a piece needs no look-behind.
 *
 * \s+(?!\S) takes a run of white space but for its last character when something follows; that character then joins the
 * next match (" ?\p{L}+") or stands alone (\s+). */
#include "libcommon/token/pretok.h"

#include <stdbool.h>
#include <string.h>

#include "libcommon/token/unicode.h"

#define LNS (UC_LETTER | UC_NUMBER | UC_SPACE)

/* End of the run of characters for which (flags & mask) != 0 equals want. */
static const uint8_t *run(const uint8_t *p, const uint8_t *end, unsigned mask, bool want)
{
    while (p < end) {
        uint32_t cp;
        unsigned len = unicode_next(p, &cp);
        if (((unicode_flags(cp) & mask) != 0) != want) break;
        p += len;
    }
    return p;
}

static unsigned flags_at(const uint8_t *p)
{
    uint32_t cp;
    unicode_next(p, &cp);
    return unicode_flags(cp);
}

/* 's 't 'm 'd 're 've 'll at p; 0: none. U+017F folds to s. */
static size_t contraction(const uint8_t *p, size_t n, bool fold)
{
    if (n < 2 || *p != '\'') return 0;
    uint8_t a = p[1], b = n > 2 ? p[2] : 0;
    if (fold) {
        if (a == 0xc5 && b == 0xbf) return 3;
        if (a < 0x80) a |= 0x20;
        if (b < 0x80) b |= 0x20;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return 0;
}

/* \s+(?!\S)|\s+ */
static size_t spaces(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *e = run(p, end, UC_SPACE, true);
    if (e == end) return (size_t)(e - p);
    const uint8_t *last = e - 1;
    while ((*last & 0xc0) == 0x80) last--;
    return (size_t)((last > p ? last : e) - p);
}

static size_t gpt2(const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n, *q = p;
    size_t c = contraction(p, n, false);
    if (c) return c;
    if (*p == ' ' && n > 1) q++;
    unsigned f = flags_at(q);
    if (f & UC_LETTER) return (size_t)(run(q, end, UC_LETTER, true) - p);
    if (f & UC_NUMBER) return (size_t)(run(q, end, UC_NUMBER, true) - p);
    if (!(f & UC_SPACE)) return (size_t)(run(q, end, LNS, false) - p);
    return spaces(p, end);
}

static size_t number_run(const uint8_t *p, const uint8_t *end, int max)
{
    const uint8_t *q = p;
    while (q < end && max-- > 0 && (flags_at(q) & UC_NUMBER)) q += unicode_len(*q);
    return (size_t)(q - p);
}

static size_t cl100k(const uint8_t *p, size_t n, int digits)
{
    const uint8_t *end = p + n, *q = p;
    size_t c = contraction(p, n, true);
    if (c) return c;
    unsigned f = flags_at(p);
    if (f & UC_LETTER) return (size_t)(run(p, end, UC_LETTER, true) - p);
    if (f & UC_NUMBER) return number_run(p, end, digits);
    bool newline = *p == '\r' || *p == '\n';
    q = p + unicode_len(*p);
    if (!newline && q < end && (flags_at(q) & UC_LETTER)) return (size_t)(run(q, end, UC_LETTER, true) - p);
    q = *p == ' ' && n > 1 ? p + 1 : p;
    if (!(flags_at(q) & LNS)) {
        q = run(q, end, LNS, false);
        while (q < end && (*q == '\r' || *q == '\n')) q++;
        return (size_t)(q - p);
    }
    /* \s*[\r\n]+ : up to the last line break of the run */
    const uint8_t *last = NULL;
    for (q = p; q < end && (flags_at(q) & UC_SPACE); q += unicode_len(*q))
        if (*q == '\r' || *q == '\n') last = q + 1;
    return last ? (size_t)(last - p) : spaces(p, end);
}

static bool is_punct(const uint8_t *p) { return (flags_at(p) & UC_PUNCT) || (*p && strchr("$+<=>^~|", *p)); }

static bool is_mark(const uint8_t *p, const uint8_t *end)
{
    return end - p >= 3 && p[0] == 0xe2 && p[1] == 0x96 && p[2] == 0x81;
}

static const uint8_t *to_mark(const uint8_t *p, const uint8_t *end)
{
    while (p < end && !is_mark(p, end)) {
        const uint8_t *q = memchr(p + 1, 0xe2, (size_t)(end - p - 1));
        p = q ? q : end;
    }
    return p;
}

static bool digit3(const uint8_t *p, const uint8_t *end)
{
    return end - p >= 3 && p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9' && p[2] >= '0' && p[2] <= '9';
}

size_t pretok_next(enum pretok_rule rule, const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n, *q = p;
    bool number;
    switch (rule) {
    case PRETOK_GPT2:
        return gpt2(p, n);
    case PRETOK_LLAMA3:
        return cl100k(p, n, 3);
    case PRETOK_QWEN2:
        return cl100k(p, n, 1);
    case PRETOK_DIGITS:
    case PRETOK_DIGIT_RUNS:
    case PRETOK_DIGITS3:
        number = (flags_at(p) & UC_NUMBER) != 0;
        if (!number || rule == PRETOK_DIGIT_RUNS) return (size_t)(run(p, end, UC_NUMBER, number) - p);
        return number_run(p, end, rule == PRETOK_DIGITS ? 1 : 3);
    case PRETOK_ASCII3:
        if (digit3(p, end)) return 3;
        while (q < end && !digit3(q, end)) q++;
        return (size_t)(q - p);
    case PRETOK_PUNCT: {
        bool first = is_punct(p);
        while (q < end && is_punct(q) == first) q += unicode_len(*q);
        return (size_t)(q - p);
    }
    case PRETOK_SPACE_AFTER:
        q = memchr(p, ' ', n);
        return q ? (size_t)(q - p) + 1 : n;
    case PRETOK_META:
        return (size_t)(to_mark(is_mark(p, end) ? p + 3 : p, end) - p);
    case PRETOK_META_WORDS:
        while (is_mark(q, end)) q += 3;
        return (size_t)(to_mark(q, end) - p);
    case PRETOK_RULES:
        break;
    }
    return n;
}

/* The spellings found in published tokenizer.json files. */
static const struct {
    enum pretok_rule rule;
    const char *regex;
} known[] = {
    {PRETOK_GPT2, "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {PRETOK_GPT2, "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {PRETOK_LLAMA3, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {PRETOK_LLAMA3, "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
                    "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
                    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
    {PRETOK_QWEN2, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                   "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                   "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {PRETOK_DIGITS, "\\p{N}"},
    {PRETOK_DIGIT_RUNS, "\\p{N}+"},
    {PRETOK_DIGITS3, "\\p{N}{1,3}"},
};

int pretok_of_regex(const char *regex, size_t n)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].regex) == n && !memcmp(known[i].regex, regex, n)) return (int)known[i].rule;
    return -1;
}

static const struct {
    const char *pre;
    int nfc, llama3;
    struct pretok rules;
} gguf_pre[] = {
    {"gpt-2", 0, 0, {1, {PRETOK_GPT2}}},
    {"gpt2", 0, 0, {1, {PRETOK_GPT2}}},
    {"phi-2", 0, 0, {1, {PRETOK_GPT2}}},
    {"jais", 0, 0, {1, {PRETOK_GPT2}}},
    {"roberta-bpe", 0, 0, {1, {PRETOK_GPT2}}},
    {"mpt", 1, 0, {1, {PRETOK_GPT2}}},
    {"olmo", 1, 0, {1, {PRETOK_GPT2}}},
    {"smollm", 0, 0, {2, {PRETOK_DIGITS, PRETOK_GPT2}}},
    {"starcoder", 0, 0, {2, {PRETOK_DIGITS, PRETOK_GPT2}}},
    {"refact", 0, 0, {2, {PRETOK_DIGITS, PRETOK_GPT2}}},
    {"command-r", 1, 0, {2, {PRETOK_DIGITS, PRETOK_GPT2}}},
    {"codeshell", 0, 0, {2, {PRETOK_DIGITS, PRETOK_GPT2}}},
    {"exaone", 1, 0, {2, {PRETOK_DIGITS, PRETOK_GPT2}}},
    {"llama-bpe", 0, 1, {1, {PRETOK_LLAMA3}}},
    {"llama3", 0, 1, {1, {PRETOK_LLAMA3}}},
    {"llama-v3", 0, 1, {1, {PRETOK_LLAMA3}}},
    {"dbrx", 0, 0, {1, {PRETOK_LLAMA3}}},
    {"smaug-bpe", 0, 0, {1, {PRETOK_LLAMA3}}},
    {"qwen2", 1, 0, {1, {PRETOK_QWEN2}}},
    {"deepseek-r1-qwen", 1, 0, {1, {PRETOK_QWEN2}}},
    {"stablelm2", 0, 0, {1, {PRETOK_QWEN2}}},
    {"default", 0, 0, {4, {PRETOK_PUNCT, PRETOK_GPT2, PRETOK_DIGIT_RUNS, PRETOK_ASCII3}}},
};

const char *pretok_gguf_name(const struct pretok *p, int nfc, int llama3)
{
    for (size_t i = 0; i < sizeof gguf_pre / sizeof *gguf_pre; i++) {
        const struct pretok *r = &gguf_pre[i].rules;
        if (r->n == p->n && !memcmp(r->rule, p->rule, (size_t)r->n * sizeof *r->rule) && gguf_pre[i].nfc == nfc &&
            gguf_pre[i].llama3 == llama3)
            return gguf_pre[i].pre;
    }
    return NULL;
}

int pretok_of_gguf(const char *pre, size_t n, struct pretok *out, int *nfc, int *llama3)
{
    for (size_t i = 0; i < sizeof gguf_pre / sizeof *gguf_pre; i++) {
        if (strlen(gguf_pre[i].pre) != n || memcmp(gguf_pre[i].pre, pre, n) != 0) continue;
        *out = gguf_pre[i].rules;
        *nfc = gguf_pre[i].nfc;
        *llama3 = gguf_pre[i].llama3;
        return 0;
    }
    return -1;
}
