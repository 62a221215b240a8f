/* table: see table.h. Header rules of CSV: names are taken as they are, an empty or doubled one is an error; every row
 * has as many fields as the header. */
#include "libcommon/format/table.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "libcommon/base/msg.h"
#include "libcommon/format/csv.h"
#include "libcommon/format/jsonl.h"
#include "libcommon/stream/jsontext.h"

enum { NEAREST_OF = 1000 }; /* columns that are looked through for one that may have been meant */

struct table {
    struct table_opts o;
    struct input *in;
    struct csv *csv;
    struct jsonl *jsonl;
    struct stream_reader *stream; /* its records become lines for jsonl */
    struct buf line;
    struct buf names; /* text of the header */
    struct str *name; /* [n] */
    int n;
    bool first_is_data; /* the first row is data, already read */
    struct csv_row first;
};

static bool ends(const char *s, size_t n, const char *with)
{
    size_t k = strlen(with);
    return n >= k && !strncasecmp(s + n - k, with, k);
}

static enum table_format by_name(const char *path)
{
    size_t n = path ? strlen(path) : 0;
    if (n && ends(path, n, ".gz"))
        n -= 3;
    else if (n && ends(path, n, ".zst"))
        n -= 4;
    if (!n) return TABLE_AUTO;
    if (ends(path, n, ".csv")) return TABLE_CSV;
    if (ends(path, n, ".tsv") || ends(path, n, ".tab")) return TABLE_TSV;
    if (ends(path, n, ".jsonl") || ends(path, n, ".ndjson") || ends(path, n, ".json")) return TABLE_JSONL;
    return TABLE_AUTO;
}

static enum table_format by_content(struct str s)
{
    size_t i = 0;
    while (i < s.n && strchr(" \t\r\n", s.p[i])) i++;
    if (i < s.n && s.p[i] == '{') return TABLE_JSONL;
    size_t line = 0;
    while (line < s.n && s.p[line] != '\n') line++;
    if (line && memchr(s.p, '\t', line) && !memchr(s.p, ',', line)) return TABLE_TSV;
    return TABLE_CSV;
}

static int header_take(struct table *r, const struct str *f, int n, uint64_t line, struct err *e)
{
    r->n = n;
    r->name = mem_alloc((size_t)n, sizeof *r->name);
    for (int i = 0; i < n; i++) buf_add(&r->names, f[i].p, f[i].n);
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        r->name[i] = (struct str){r->names.p ? r->names.p + at : "", f[i].n};
        at += f[i].n;
    }
    long twice = str_doubled(r->name, (size_t)n);
    if (twice < 0) return 0;
    return err_set(e, E_CSV_HEADER, "%s:%llu: two columns named %s", input_name(r->in), (unsigned long long)line,
                   err_quote(f[twice].p, f[twice].n));
}

/* With --columns the first row is a header if it has all of these names, else data. */
static int header_named(struct table *r, const struct csv_row *row, struct err *e)
{
    const struct strlist *c = r->o.columns;
    struct str *names = mem_alloc((size_t)c->n, sizeof *names);
    struct row as_header = {.n = row->n, .name = row->field};
    bool all = true;
    for (int i = 0; i < c->n; i++) {
        names[i] = STRZ(c->v[i]);
        all = all && row_find(&as_header, names[i]) >= 0;
    }
    int rc = 0;
    if (all)
        rc = header_take(r, row->field, row->n, row->line, e);
    else if (row->n != c->n)
        rc = err_set(e, E_CSV_HEADER,
                     "%s:%llu: --columns names %d columns, the file has %d, and no header with these names",
                     input_name(r->in), (unsigned long long)row->line, c->n, row->n);
    else
        rc = header_take(r, names, c->n, row->line, e);
    r->first_is_data = !all;
    r->first = *row;
    free(names);
    return rc;
}

static int header_read(struct table *r, struct err *e)
{
    struct csv_row row;
    int rc = csv_next(r->csv, &row, e);
    if (rc < 0) return rc;
    if (rc == 0) return err_set(e, E_CSV_HEADER, "%s: empty, expected a header row", input_name(r->in));
    if (r->o.columns && r->o.columns->n) return header_named(r, &row, e);
    return header_take(r, row.field, row.n, row.line, e);
}

static struct table *open_stream(struct table *r, struct err *e)
{
    if (r->o.format != TABLE_AUTO) {
        err_set(e, E_JSON, "%s: is a peft stream already, expected CSV, TSV or JSON lines", input_name(r->in));
        err_hint(e, "without --format its rows are read");
    } else {
        r->stream = input_stream(r->in, STREAM_EXAMPLES, e);
        r->jsonl = jsonl_open(NULL, ENC_UTF8);
    }
    if (r->stream) return r;
    table_close(r);
    return NULL;
}

static int next_record(struct table *r, struct jsonl_row *row, struct err *e)
{
    struct record rec;
    int rc = stream_next(r->stream, &rec, e);
    if (rc <= 0) return rc;
    r->line.n = 0;
    json_record(&r->line, &rec);
    rc = jsonl_parse(r->jsonl, (struct str){r->line.p, r->line.n}, input_name(r->in), rec.example.row, row, e);
    return rc < 0 ? rc : 1;
}

struct table *table_open(const char *path, const struct table_opts *o, struct err *e)
{
    struct table *r = mem_alloc(1, sizeof *r);
    enum table_format f = o->format ? o->format : by_name(path);
    r->o = *o;
    r->in = input_open(path, e);
    if (!r->in) {
        free(r);
        return NULL;
    }
    if (input_is_stream(r->in)) return open_stream(r, e);
    r->csv = csv_open(r->in, o->enc, o->delimiter ? o->delimiter : ',', o->lenient);
    if (f == TABLE_AUTO) {
        struct str first;
        if (textlines_peek(csv_lines(r->csv), &first, e)) goto failed;
        f = by_content(first);
    }
    if (f == TABLE_JSONL) {
        r->jsonl = jsonl_open(r->in, o->enc);
        struct textlines *from = csv_lines(r->csv), *to = jsonl_lines(r->jsonl); /* what was looked at stays read */
        *to = *from;
        textlines_init(from, r->in, o->enc);
        csv_close(r->csv);
        r->csv = NULL;
        return r;
    }
    if (f == TABLE_TSV && !o->delimiter) csv_delimiter(r->csv, '\t');
    if (header_read(r, e) == 0) return r;
failed:
    table_close(r);
    return NULL;
}

static int ragged(const struct table *r, const struct csv_row *row, struct err *e)
{
    err_set(e, E_CSV_RAGGED, "%s:%llu: row of %d fields, the header has %d", input_name(r->in),
            (unsigned long long)row->line, row->n, r->n);
    if (row->n > r->n)
        return err_hint(e, "a field that holds the delimiter must be quoted; --delimiter sets another one");
    return err_hint(e, "empty fields at the end of a row need their delimiters too");
}

int table_next(struct table *r, struct row *row, struct err *e)
{
    if (r->jsonl) {
        struct jsonl_row j;
        int rc = r->stream ? next_record(r, &j, e) : jsonl_next(r->jsonl, &j, e);
        if (rc == 1) *row = (struct row){input_name(r->in), j.line, j.n, j.key, j.value, j.type, j.source, j.object};
        return rc;
    }
    struct csv_row c = r->first;
    int rc = 1;
    if (r->first_is_data)
        r->first_is_data = false;
    else
        rc = csv_next(r->csv, &c, e);
    if (rc <= 0) return rc;
    if (c.n != r->n) return ragged(r, &c, e);
    *row = (struct row){input_name(r->in), c.line, c.n, r->name, c.field, NULL, {0}, NULL};
    return 1;
}

const struct stream_reader *table_stream(const struct table *r) { return r->stream; }

bool table_digest(const struct table *r, unsigned char sha256[32]) { return input_digest(r->in, sha256); }

void table_close(struct table *r)
{
    uint64_t line = 0, n = r->csv ? csv_bare_quotes(r->csv, &line) : 0;
    uint64_t replaced = r->csv                   ? csv_lines(r->csv)->replaced
                        : r->jsonl && !r->stream ? jsonl_lines(r->jsonl)->replaced
                                                 : 0;
    if (n && r->o.lenient)
        msg_warn("%s: bare quotes taken as text in %llu rows, the first on line %llu", input_name(r->in),
                 (unsigned long long)n, (unsigned long long)line);
    if (replaced)
        msg_warn("%s: %llu invalid bytes replaced by U+FFFD", input_name(r->in), (unsigned long long)replaced);
    csv_close(r->csv);
    jsonl_close(r->jsonl);
    if (r->stream) stream_close(r->stream);
    input_close(r->in);
    buf_fini(&r->line);
    buf_fini(&r->names);
    free(r->name);
    free(r);
}

int row_find(const struct row *row, struct str name)
{
    for (int i = 0; i < row->n; i++)
        if (row->name[i].n == name.n && !memcmp(row->name[i].p, name.p, name.n)) return i;
    for (int i = 0; i < row->n; i++)
        if (row->name[i].n == name.n && !strncasecmp(row->name[i].p, name.p, name.n)) return i;
    return -1;
}

static int no_column(const struct row *row, struct str name, struct err *e)
{
    struct buf list = {0};
    char **z = mem_alloc((size_t)row->n + 1, sizeof *z);
    char *want = mem_dup(name.p, name.n);
    for (int i = 0; i < row->n; i++) {
        z[i] = mem_dup(row->name[i].p, row->name[i].n);
        if (list.n < 300)
            buf_printf(&list, "%s%s", i ? ", " : "", err_quote(row->name[i].p, row->name[i].n));
        else if (i + 1 == row->n)
            buf_printf(&list, ", ... (%d in all)", row->n);
    }
    const char *near = err_nearest(want, (const char *const *)z, row->n < NEAREST_OF ? row->n : NEAREST_OF);
    err_set(e, E_CSV_HEADER, "%s:%llu: no column %s; there are: %s", row->file, (unsigned long long)row->line,
            err_quotez(want), buf_str(&list));
    if (near)
        err_hint(e, "did you mean {%s}?", near);
    else
        err_hint(e, "name the columns in --prompt and --target: {column}");
    for (int i = 0; i < row->n; i++) free(z[i]);
    free(z);
    free(want);
    buf_fini(&list);
    return -e->id;
}

int row_text(const struct row *row, struct str name, struct str *value, struct err *e)
{
    int i = row_find(row, name);
    if (i < 0) return no_column(row, name, e);
    *value = row->value[i];
    if (value->p) return 0;
    err_set(e, E_JSON, "%s:%llu: %s is a %s, expected text", row->file, (unsigned long long)row->line,
            err_quote(name.p, name.n), row->type[i]);
    if (!strcmp(row->type[i], "list"))
        return err_hint(e, "take its first element: --filter \"jq -c '.%.*s |= .[0]'\"", (int)name.n, name.p);
    return err_hint(e, "--filter runs each row through a program that can turn it into text");
}

void row_json(const struct row *row, struct buf *b)
{
    if (row->source.n) {
        buf_add(b, row->source.p, row->source.n);
        return;
    }
    buf_addc(b, '{');
    for (int i = 0; i < row->n; i++) {
        if (i) buf_addc(b, ',');
        json_text(b, row->name[i]);
        buf_addc(b, ':');
        json_text(b, row->value[i]);
    }
    buf_addc(b, '}');
}
