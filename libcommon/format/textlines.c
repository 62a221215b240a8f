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
        l->enc != ENC_LATIN1) {
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

static void latin1(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x80) buf_addc(b, (char)(0xc0 | c >> 6));
        buf_addc(b, c >= 0x80 ? (char)(0x80 | (c & 0x3f)) : (char)c);
    }
}

/* Check the line, and put its UTF-8 into *s. */
static int decode(struct textlines *l, struct str *s, struct err *e)
{
    const char *nul = memchr(s->p, 0, s->n);
    if (nul) return bad_byte(l, *s, (size_t)(nul - s->p), "NUL byte", e);
    size_t ok = utf8_valid(s->p, s->n);
    if (ok == s->n && l->enc != ENC_LATIN1) return 0;
    if (l->enc == ENC_UTF8) {
        bad_byte(l, *s, ok, "invalid UTF-8, byte", e);
        return err_hint(e, "--encoding latin1 reads ISO 8859-1, --encoding replace puts U+FFFD");
    }
    l->text.n = 0;
    if (l->enc == ENC_LATIN1) {
        latin1(&l->text, *s);
    } else {
        for (size_t i = 0; i < s->n;) {
            size_t k = utf8_valid(s->p + i, s->n - i);
            buf_add(&l->text, s->p + i, k);
            i += k;
            if (i < s->n) {
                buf_add(&l->text, "\xef\xbf\xbd", 3);
                l->replaced++;
                i++;
            }
        }
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
