/* csv_out: a stream as an RFC 4180 table. Metrics and telemetry become wide columns, one per name: since the names are
 * known only at the end, they are kept until then. Other kinds are written as they come; ids and masks are lists with
 * blanks between.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
#include "libcommon/sink/sink.h"
#include "libcommon/stream/jsontext.h"
#include "libcommon/stream/record.h"

struct names {
    char **v;
    size_t n, cap;
};

static size_t name_index(struct names *c, const char *name, bool add)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->v[i], name)) return i;
    if (!add) return SIZE_MAX;
    c->v = mem_grow(c->v, &c->cap, c->n + 1, sizeof *c->v);
    c->v[c->n] = mem_dupz(name);
    return c->n++;
}

static void names_fini(struct names *c)
{
    for (size_t i = 0; i < c->n; i++) free(c->v[i]);
    free(c->v);
}

static void cell(struct buf *b, struct str s)
{
    bool quote = s.n && (s.p[0] == ' ' || s.p[s.n - 1] == ' ');
    for (size_t i = 0; i < s.n && !quote; i++) quote = strchr("\",\r\n", s.p[i]) && s.p[i];
    if (!quote) {
        buf_add(b, s.p, s.n);
        return;
    }
    buf_addc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"') buf_addc(b, '"');
        buf_addc(b, s.p[i]);
    }
    buf_addc(b, '"');
}

static void number(struct buf *b, double x)
{
    char text[40];
    if (isnan(x))
        buf_addz(b, "nan");
    else if (isinf(x))
        buf_addz(b, x < 0 ? "-inf" : "inf");
    else
        num_format(x, text), buf_addz(b, text);
}

#define MEMBER(r, f, type) (*(type const *)field_at(r, f))

/* A field that is no map of scores. */
static void value(struct buf *b, const struct record *r, const struct field *f)
{
    struct buf text = {0};
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
        number(b, MEMBER(r, f, double));
        break;
    case FIELD_NAME:
        if (MEMBER(r, f, char *)) cell(b, STRZ(MEMBER(r, f, char *)));
        break;
    case FIELD_IDS:
    case FIELD_MASK:
        for (uint32_t i = 0; i < field_count(r, f); i++)
            buf_printf(b, i ? " %u" : "%u",
                       f->type == FIELD_IDS ? (unsigned)MEMBER(r, f, uint32_t *)[i]
                                            : (unsigned)MEMBER(r, f, uint8_t *)[i]);
        break;
    case FIELD_TEXT:
    case FIELD_LOSSY:
        cell(b, MEMBER(r, f, struct str));
        break;
    case FIELD_PARTS:
        json_parts(&text, MEMBER(r, f, struct part *), field_count(r, f));
        if (field_count(r, f)) cell(b, (struct str){text.p, text.n});
        buf_fini(&text);
        break;
    case FIELD_SCORES:
        break;
    }
}

struct scores {
    const struct named_value *v;
    uint32_t n;
};

static struct scores scores_of(const struct record *r, const struct field *f)
{
    return (struct scores){MEMBER(r, f, struct named_value *), field_count(r, f)};
}

static void header(struct buf *b, const struct field *f, int n, const struct names *c)
{
    for (int i = 0; i < n; i++)
        if (f[i].type != FIELD_SCORES) buf_printf(b, "%s%s", i ? "," : "", f[i].key);
    for (size_t i = 0; i < c->n; i++) {
        buf_addc(b, ',');
        cell(b, STRZ(c->v[i]));
    }
    buf_addz(b, "\r\n");
}

/* Scores in the order of the columns, each with a comma before it. Returns how many had no column. */
static uint32_t wide(struct buf *b, struct scores s, const struct names *c)
{
    uint32_t found = 0;
    for (size_t i = 0; i < c->n; i++) {
        buf_addc(b, ',');
        for (uint32_t k = 0; k < s.n; k++) {
            if (strcmp(s.v[k].key, c->v[i])) continue;
            number(b, s.v[k].value);
            found++;
        }
    }
    return s.n - found;
}

static void fixed(struct buf *b, const struct record *r, const struct field *f, int n)
{
    for (int i = 0; i < n; i++) {
        if (f[i].type == FIELD_SCORES) continue;
        if (i) buf_addc(b, ',');
        value(b, r, &f[i]);
    }
}

/* A terminal is shown no control character that a text may hold, but for those of the table itself. */
static int write_table(const struct sink_job *j, const struct buf *b, struct err *e)
{
    struct buf safe = {0};
    if (!j->terminal) return out_write(j->out, b->p, b->n, e);
    for (size_t i = 0, n; i < b->n; i += n + 1) {
        for (n = 0; i + n < b->n && !memchr("\r\n\t", b->p[i + n], 3);) n++;
        plain_text(&safe, (struct str){b->p + i, n});
        if (i + n < b->n) buf_addc(&safe, b->p[i + n]);
    }
    int rc = out_write(j->out, safe.p, safe.n, e);
    buf_fini(&safe);
    return rc;
}

static int run_records(const struct sink_job *j, const struct field *f, int n, struct err *e)
{
    struct record r;
    struct buf b = {0};
    struct names c = {0};
    uint64_t lost = 0, rows = 0;
    int rc, w = 0;
    while ((rc = stream_next(j->in, &r, e)) == 1 && w == 0) {
        struct scores s = f[n - 1].type == FIELD_SCORES ? scores_of(&r, &f[n - 1]) : (struct scores){NULL, 0};
        b.n = 0;
        for (uint32_t k = 0; rows == 0 && k < s.n; k++) name_index(&c, s.v[k].key, true);
        if (rows++ == 0) header(&b, f, n, &c);
        fixed(&b, &r, f, n);
        lost += wide(&b, s, &c);
        buf_addz(&b, "\r\n");
        w = write_table(j, &b, e);
    }
    if (rc == 0 && rows == 0) {
        header(&b, f, n, &c);
        w = write_table(j, &b, e);
    }
    if (lost)
        msg_warn("%s: %llu scores that the first record does not have are left out", j->name, (unsigned long long)lost);
    names_fini(&c);
    buf_fini(&b);
    return rc < 0 ? rc : w;
}

/* A metric record kept for later: its fixed columns as text, and its values by column. */
struct kept {
    char *fixed;
    struct {
        size_t col;
        double x;
    } * v;
    uint32_t n;
};

static int run_log(const struct sink_job *j, const struct field *f, int n, struct err *e)
{
    struct record r;
    struct buf b = {0};
    struct names c = {0};
    struct kept *k = NULL;
    size_t rows = 0, cap = 0;
    int rc;
    while ((rc = stream_next(j->in, &r, e)) == 1) {
        struct scores s = scores_of(&r, &f[n - 1]);
        k = mem_grow(k, &cap, rows + 1, sizeof *k);
        b.n = 0;
        fixed(&b, &r, f, n);
        k[rows] = (struct kept){mem_dup(b.p, b.n), mem_alloc(s.n, sizeof *k->v), s.n};
        for (uint32_t i = 0; i < s.n; i++) {
            k[rows].v[i].col = name_index(&c, s.v[i].key, true);
            k[rows].v[i].x = s.v[i].value;
        }
        rows++;
    }
    b.n = 0;
    header(&b, f, n, &c);
    for (size_t i = 0; i < rows; i++) {
        buf_addz(&b, k[i].fixed);
        for (size_t col = 0; col < c.n; col++) {
            buf_addc(&b, ',');
            for (uint32_t m = 0; m < k[i].n; m++)
                if (k[i].v[m].col == col) number(&b, k[i].v[m].x);
        }
        buf_addz(&b, "\r\n");
        free(k[i].fixed);
        free(k[i].v);
    }
    int w = write_table(j, &b, e);
    free(k);
    names_fini(&c);
    buf_fini(&b);
    return rc < 0 ? rc : w;
}

static int run(const struct sink_job *j, struct err *e)
{
    int n, k = 0;
    const struct stream_info *info = stream_info_of(j->in);
    const struct field *f = record_fields(info->kind, &n);
    struct field *listed = mem_alloc((size_t)n, sizeof *listed); /* a column for each field that the header lists */
    for (int i = 0; i < n; i++)
        if (field_listed(&f[i], info)) listed[k++] = f[i];
    int rc = stream_is_log(info->kind) ? run_log(j, listed, k, e) : run_records(j, listed, k, e);
    free(listed);
    return rc;
}

const struct sink sink_csv = {.name = "csv", .run = run};
