/* jsontext: see jsontext.h. */
#include "libcommon/stream/jsontext.h"
#include <math.h>
#include <string.h>
#include "libcommon/base/num.h"
#include "libcommon/base/utf8.h"
#include "libcommon/stream/record.h"

/* The code point at s[i] if it is a control character, else 0; *len its bytes. */
static uint32_t control(struct str s, size_t i, size_t *len)
{
    unsigned char c = (unsigned char)s.p[i];
    uint32_t cp = c;
    *len = 1;
    if (c == 0) return 0x110000; /* NUL: told apart from "none" */
    if (c == 0xc2 || c == 0xe2) *len = (size_t)utf8_next(s.p + i, s.n - i, &cp);
    return (c < 0x80 || *len > 1) && utf8_is_control(cp) ? cp : 0;
}

void json_text(struct buf *b, struct str s)
{
    size_t from = 0, len;
    buf_addc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        uint32_t cp = control(s, i, &len);
        if (!cp && c != '"' && c != '\\') continue;
        buf_add(b, s.p + from, i - from);
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_add(b, "\\n", 2);
        else if (c == '\t')
            buf_add(b, "\\t", 2);
        else
            buf_printf(b, "\\u%04x", (unsigned)(cp & 0xffff));
        if (cp) i += len - 1;
        from = i + 1;
    }
    buf_add(b, s.p + from, s.n - from);
    buf_addc(b, '"');
}

void plain_text(struct buf *b, struct str s)
{
    size_t len;
    for (size_t i = 0; i < s.n; i++) {
        uint32_t cp = control(s, i, &len);
        if (!cp)
            buf_addc(b, s.p[i]);
        else if (cp == '\n')
            buf_add(b, "\\n", 2);
        else if (cp == '\t')
            buf_add(b, "\\t", 2);
        else
            buf_printf(b, cp > 0xff && cp < 0x10000 ? "\\u%04x" : "\\x%02x", (unsigned)(cp & 0xffff));
        if (cp) i += len - 1;
    }
}

void json_number(struct buf *b, double x)
{
    char text[40];
    if (isnan(x)) {
        buf_addz(b, "\"NaN\"");
    } else if (isinf(x)) {
        buf_addz(b, x < 0 ? "\"-Infinity\"" : "\"Infinity\"");
    } else {
        num_format(x, text);
        buf_addz(b, text);
    }
}

void json_parts(struct buf *b, const struct part *p, uint32_t n)
{
    buf_addc(b, '[');
    for (uint32_t i = 0; i < n; i++) {
        buf_addz(b, i ? ",{\"text\":" : "{\"text\":");
        json_text(b, p[i].text);
        buf_addz(b, p[i].train ? ",\"train\":true}" : ",\"train\":false}");
    }
    buf_addc(b, ']');
}

#define MEMBER(r, f, type) (*(type const *)field_at(r, f))

static void value(struct buf *b, const struct record *r, const struct field *f)
{
    const struct named_value *m;
    const char *name;
    switch (f->type) {
    case FIELD_U64:
        buf_printf(b, "%llu", (unsigned long long)MEMBER(r, f, uint64_t));
        break;
    case FIELD_U32:
        buf_printf(b, "%u", (unsigned)MEMBER(r, f, uint32_t));
        break;
    case FIELD_I64:
        buf_printf(b, "%lld", (long long)MEMBER(r, f, int64_t));
        break;
    case FIELD_F64:
        json_number(b, MEMBER(r, f, double));
        break;
    case FIELD_TEXT:
    case FIELD_LOSSY:
        json_text(b, MEMBER(r, f, struct str));
        break;
    case FIELD_NAME:
        name = MEMBER(r, f, char *);
        json_text(b, STRZ(name));
        break;
    case FIELD_IDS:
    case FIELD_MASK:
        buf_addc(b, '[');
        for (uint32_t i = 0; i < field_count(r, f); i++)
            buf_printf(b, i ? ",%u" : "%u",
                       f->type == FIELD_IDS ? (unsigned)MEMBER(r, f, uint32_t *)[i]
                                            : (unsigned)MEMBER(r, f, uint8_t *)[i]);
        buf_addc(b, ']');
        break;
    case FIELD_SCORES:
        m = MEMBER(r, f, struct named_value *);
        buf_addc(b, '{');
        for (uint32_t i = 0; i < field_count(r, f); i++) {
            if (i) buf_addc(b, ',');
            json_text(b, STRZ(m[i].key));
            buf_addc(b, ':');
            json_number(b, m[i].value);
        }
        buf_addc(b, '}');
        break;
    case FIELD_PARTS:
        json_parts(b, MEMBER(r, f, struct part *), field_count(r, f));
    }
}

void json_record(struct buf *b, const struct record *r)
{
    int n;
    const struct field *f = record_fields(r->kind, &n);
    char before = '{';
    for (int i = 0; i < n; i++) {
        if (field_absent(r, &f[i])) continue;
        buf_addc(b, before);
        before = ',';
        buf_printf(b, "\"%s\":", f[i].key);
        value(b, r, &f[i]);
    }
    buf_addc(b, '}');
}
