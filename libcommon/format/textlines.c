/* textlines: see textlines.h. */
#include "libcommon/format/textlines.h"
#include <string.h>
#include "libcommon/base/utf8.h"

enum { CHUNK = 65536 };

void textlines_init(struct textlines *l, struct input *in, enum encoding enc)
{
    *l = (struct textlines){.in = in, .enc = enc};
}

void textlines_fini(struct textlines *l)
{
    buf_fini(&l->raw);
    buf_fini(&l->text);
}

/* More bytes behind raw; what was given out is dropped first. */
static int more(struct textlines *l, struct err *e)
{
    if (l->pos) {
        memmove(l->raw.p, l->raw.p + l->pos, l->raw.n - l->pos);
        l->raw.n -= l->pos;
        l->pos = 0;
    }
    l->raw.p = mem_grow(l->raw.p, &l->raw.cap, l->raw.n + CHUNK, 1);
    ssize_t n = input_read(l->in, l->raw.p + l->raw.n, CHUNK, e);
    if (n < 0) return (int)n;
    bool first = l->number == 0 && l->raw.n == 0;
    l->raw.n += (size_t)n;
    l->eof = n == 0;
    if (!first) return 0;
    while (l->raw.n < 3 && !l->eof) {
        n = input_read(l->in, l->raw.p + l->raw.n, CHUNK - l->raw.n, e);
        if (n < 0) return (int)n;
        l->raw.n += (size_t)n;
        l->eof = n == 0;
    }
    if (l->raw.n >= 3 && !memcmp(l->raw.p, "\xef\xbb\xbf", 3)) l->pos = 3;
    if (l->raw.n >= 2 && (!memcmp(l->raw.p, "\xff\xfe", 2) || !memcmp(l->raw.p, "\xfe\xff", 2)) &&
        l->enc != ENC_LATIN1 && l->enc != ENC_CP1252) {
        err_set(e, E_ENCODING, "%s:1:1: UTF-16 text, expected UTF-8", input_name(l->in));
        return err_hint(e, "convert it: iconv -f UTF-16 -t UTF-8");
    }
    return 0;
}

static int bad_byte(const struct textlines *l, struct str s, size_t at, const char *what, struct err *e)
{
    err_set(e, E_ENCODING, "%s:%llu:%zu: %s 0x%02x", input_name(l->in), (unsigned long long)l->number, at + 1, what,
            (unsigned char)s.p[at]);
    return -e->id;
}

/* What a byte of Windows-1252 from 0x80 on stands for; 0: nothing. */
static unsigned cp1252(unsigned char c)
{
    static const uint16_t from_80[32] = {0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                         0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017d, 0,
                                         0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                         0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};
    return c < 0xa0 ? from_80[c - 0x80] : c;
}

static void add_utf8(struct buf *b, unsigned c)
{
    if (c >= 0x800) buf_addc(b, (char)(0xe0 | c >> 12));
    buf_addc(b, (char)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3f) : 0xc0 | c >> 6));
    buf_addc(b, (char)(0x80 | (c & 0x3f)));
}

/* The line's single bytes as UTF-8. Where the first is that stands for nothing, or s.n. */
static size_t from_bytes(struct textlines *l, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x80) {
            buf_addc(&l->text, (char)c);
            continue;
        }
        unsigned code = l->enc == ENC_CP1252 ? cp1252(c) : c;
        if (!code) return i;
        l->controls += code < 0xa0;
        add_utf8(&l->text, code);
    }
    return s.n;
}

static void replace(struct textlines *l, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t k = utf8_valid(s.p + i, s.n - i);
        buf_add(&l->text, s.p + i, k);
        i += k;
        if (i < s.n) {
            buf_add(&l->text, "\xef\xbf\xbd", 3);
            l->replaced++;
            i++;
        }
    }
}

static int not_utf8(const struct textlines *l, struct str s, size_t at, struct err *e)
{
    bad_byte(l, s, at, "invalid UTF-8, byte", e);
    while (at < s.n && ((unsigned char)s.p[at] & 0xe0) != 0x80) at++;
    return err_hint(e, at < s.n ? "--encoding cp1252 reads Windows-1252 (Western Excel), --encoding replace puts U+FFFD"
                                : "--encoding latin1 reads ISO 8859-1, --encoding replace puts U+FFFD");
}

static int nul_byte(const struct textlines *l, struct str s, size_t at, struct err *e)
{
    bad_byte(l, s, at, "NUL byte", e);
    bool wide = l->number == 1 && at < 2 && s.n > at + 2 && !s.p[at + 2];
    if (!wide) return -e->id;
    return err_hint(e, "is it UTF-16 without a byte order mark? convert it: iconv -f UTF-16%s -t UTF-8",
                    at ? "LE" : "BE");
}

/* Check the line, and put its UTF-8 into *s. */
static int decode(struct textlines *l, struct str *s, struct err *e)
{
    const char *nul = memchr(s->p, 0, s->n);
    if (nul) return nul_byte(l, *s, (size_t)(nul - s->p), e);
    size_t ok = utf8_valid(s->p, s->n);
    l->text.n = 0;
    switch (l->enc) {
    case ENC_UTF8:
        return ok == s->n ? 0 : not_utf8(l, *s, ok, e);
    case ENC_REPLACE:
        if (ok == s->n) return 0;
        replace(l, *s);
        break;
    case ENC_LATIN1:
    case ENC_CP1252:
        ok = from_bytes(l, *s);
        if (ok < s->n) return bad_byte(l, *s, ok, "no character of Windows-1252, byte", e);
        break;
    }
    *s = (struct str){l->text.p, l->text.n};
    return 0;
}

int textlines_next(struct textlines *l, struct str *line, struct err *e)
{
    size_t seen = 0;
    for (;;) {
        size_t have = l->raw.n - l->pos;
        const char *start = l->raw.p ? l->raw.p + l->pos : "";
        const char *lf = memchr(start + seen, '\n', have - seen);
        if (!lf && have > LINE_MAX_BYTES)
            return err_set(e, E_CSV_SIZE, "%s:%llu: line above %d MiB", input_name(l->in),
                           (unsigned long long)l->number + 1, LINE_MAX_BYTES >> 20);
        if (!lf && !l->eof) {
            seen = have;
            int rc = more(l, e);
            if (rc < 0) return rc;
            if (l->number == 0) seen = 0; /* a byte order mark may have gone */
            continue;
        }
        if (!have) return 0;
        *line = (struct str){start, lf ? (size_t)(lf - start) + 1 : have};
        l->pos += line->n;
        l->number++;
        int rc = decode(l, line, e);
        return rc < 0 ? rc : 1;
    }
}

int textlines_peek(struct textlines *l, struct str *first, struct err *e)
{
    while (l->raw.n - l->pos < 4096 && !l->eof && !(l->raw.n && memchr(l->raw.p + l->pos, '\n', l->raw.n - l->pos))) {
        int rc = more(l, e);
        if (rc < 0) return rc;
    }
    *first = (struct str){l->raw.p + l->pos, l->raw.n - l->pos};
    return 0;
}
