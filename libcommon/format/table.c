/* table: see table.h. Header rules of CSV: names are taken as they are; empty or doubled ones are an error where one is
 * asked for, as spreadsheets save empty columns too; every row has as many fields as the header. */
#include "libcommon/format/table.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "libcommon/base/msg.h"
#include "libcommon/format/forms.h"
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

static void header_take(struct table *r, const struct str *f, int n)
{
    r->n = n;
    r->name = mem_alloc((size_t)n, sizeof *r->name);
    for (int i = 0; i < n; i++) buf_add(&r->names, f[i].p, f[i].n);
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        r->name[i] = (struct str){r->names.p ? r->names.p + at : "", f[i].n};
        at += f[i].n;
    }
}

/* Rows become JSON objects, whose keys differ. */
static int header_unique(const struct table *r, struct err *e)
{
    struct str *named = mem_alloc((size_t)r->n + 1,
                                  sizeof *named); /* those without a name are left out of the object */
    size_t n = 0;
    for (int i = 0; i < r->n; i++)
        if (r->name[i].n) named[n++] = r->name[i];
    const long twice = str_doubled(named, n);
    if (twice >= 0)
        err_set(e, E_CSV_HEADER, "%s:1: two columns named %s, expected different ones for --filter", input_name(r->in),
                err_quote(named[twice].p, named[twice].n));
    free(named);
    return -e->id;
}

static bool is_called(struct str a, struct str b, bool exactly)
{
    return a.n == b.n && !(exactly ? memcmp(a.p, b.p, a.n) : strncasecmp(a.p, b.p, a.n));
}

static int two_columns(const struct row *row, int i, int j, struct err *e)
{
    struct str a = row->name[i], b = row->name[j];
    err_set(e, E_CSV_HEADER, "%s:%llu: two columns named %s", row->file, (unsigned long long)row->line,
            err_quote(a.p, a.n));
    if (!is_called(a, b, true)) return err_hint(e, "the other is %s; name one as it is spelled", err_quote(b.p, b.n));
    return err_hint(e, "rename one of them; columns that no option names may be doubled");
}

/* Index of the column called so, exactly or else without regard to ASCII case; -1: none, or two (E_CSV_HEADER). */
static int find(const struct row *row, struct str name, struct err *e)
{
    for (int exactly = 1; exactly >= 0; exactly--) {
        int found = -1;
        for (int i = 0; i < row->n; i++) {
            if (!is_called(row->name[i], name, exactly)) continue;
            if (found >= 0) {
                two_columns(row, found, i, e);
                return -1;
            }
            found = i;
        }
        if (found >= 0) return found;
    }
    return -1;
}

/* With --columns the first row is a header if it has all of these names, else data. */
static int header_named(struct table *r, const struct csv_row *row, struct err *e)
{
    const struct strlist *c = r->o.columns;
    struct str *names = mem_alloc((size_t)c->n, sizeof *names);
    struct row as_header = {.file = input_name(r->in), .line = row->line, .n = row->n, .name = row->field};
    bool all = true;
    for (int i = 0; i < c->n; i++) {
        names[i] = STRZ(c->v[i]);
        all = find(&as_header, names[i], e) >= 0 && all;
    }
    if (all)
        header_take(r, row->field, row->n);
    else if (row->n == c->n)
        header_take(r, names, c->n);
    else
        err_set(e, E_CSV_HEADER, "%s:%llu: --columns names %d columns, the file has %d, and no header with these names",
                input_name(r->in), (unsigned long long)row->line, c->n, row->n);
    r->first_is_data = !all;
    r->first = *row;
    free(names);
    return -e->id;
}

static int header_read(struct table *r, struct err *e)
{
    struct csv_row row;
    int rc = csv_next(r->csv, &row, e);
    if (rc < 0) return rc;
    if (rc == 0) return err_set(e, E_CSV_HEADER, "%s: empty, expected a header row", input_name(r->in));
    if (r->o.columns && r->o.columns->n) return header_named(r, &row, e);
    header_take(r, row.field, row.n);
    return 0;
}

/* Excel's first line "sep=;" names the delimiter; --delimiter goes before it. */
static int take_separator(struct table *r, struct str first, struct err *e)
{
    const char *lf = memchr(first.p, '\n', first.n);
    size_t n = lf ? (size_t)(lf - first.p) : first.n;
    if (n && first.p[n - 1] == '\r') n--;
    if (n != 5 || strncasecmp(first.p, "sep=", 4)) return 0;
    if (!r->o.delimiter) r->o.delimiter = first.p[4];
    int rc = textlines_next(csv_lines(r->csv), &first, e);
    return rc < 0 ? rc : 0;
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
    r->csv = csv_open(r->in, o->enc, ',', o->quoting);
    struct str first;
    if (textlines_peek(csv_lines(r->csv), &first, e)) goto failed;
    if (f == TABLE_AUTO) f = by_content(first);
    if (f == TABLE_JSONL) {
        r->jsonl = jsonl_open(r->in, o->enc);
        struct textlines *from = csv_lines(r->csv), *to = jsonl_lines(r->jsonl); /* what was looked at stays read */
        *to = *from;
        textlines_init(from, r->in, o->enc);
        csv_close(r->csv);
        r->csv = NULL;
        return r;
    }
    if (take_separator(r, first, e)) goto failed;
    csv_delimiter(r->csv, r->o.delimiter ? r->o.delimiter : f == TABLE_TSV ? '\t' : ',');
    if (header_read(r, e) == 0 && (!o->unique || header_unique(r, e) == 0)) return r;
failed:
    table_close(r);
    return NULL;
}

/* One column whose name holds what is a delimiter elsewhere: that of the file was not found. */
static const char *delimiter_hint(const struct str *name, int n)
{
    if (n != 1) return NULL;
    if (memchr(name->p, ';', name->n)) return "the header holds semicolons: --delimiter ';'";
    if (memchr(name->p, '\t', name->n)) return "the header holds tabs: --format tsv";
    return memchr(name->p, '|', name->n) ? "the header holds bars: --delimiter '|'" : NULL;
}

static int ragged(const struct table *r, const struct csv_row *row, struct err *e)
{
    err_set(e, E_CSV_RAGGED, "%s:%llu: row of %d fields, the header has %d", input_name(r->in),
            (unsigned long long)row->line, row->n, r->n);
    const char *other = delimiter_hint(r->name, r->n);
    if (other) return err_hint(e, "%s", other);
    if (row->n > r->n)
        return err_hint(e, "a field that holds the delimiter must be quoted; --delimiter sets another one");
    return err_hint(e, "empty fields at the end of a row need their delimiters too");
}

static bool is_blank(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != ' ' && s.p[i] != '\t') return false;
    return true;
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
    int rc = r->first_is_data ? 1 : csv_next(r->csv, &c, e);
    r->first_is_data = false;
    while (rc == 1 && c.n == 1 && r->n > 1 && is_blank(c.field[0])) rc = csv_next(r->csv, &c, e);
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
    const struct textlines *lines = r->csv ? csv_lines(r->csv) : r->jsonl ? jsonl_lines(r->jsonl) : NULL;
    uint64_t replaced = lines ? lines->replaced : 0, controls = lines ? lines->controls : 0;
    if (n)
        msg_warn("%s: bare quotes taken as text in %llu rows, the first on line %llu", input_name(r->in),
                 (unsigned long long)n, (unsigned long long)line);
    if (replaced)
        msg_warn("%s: %llu invalid bytes replaced by U+FFFD", input_name(r->in), (unsigned long long)replaced);
    if (controls)
        msg_warn("%s: %llu control characters U+0080 to U+009F, which texts do not hold: is it Windows-1252? "
                 "--encoding cp1252",
                 input_name(r->in), (unsigned long long)controls);
    csv_close(r->csv);
    jsonl_close(r->jsonl);
    if (r->stream) stream_close(r->stream);
    input_close(r->in);
    buf_fini(&r->line);
    buf_fini(&r->names);
    free(r->name);
    free(r);
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
    for (int i = 0; i < row->n && near; i++)
        if (str_is(row->name[i], near) && !row->value[i].p) near = NULL; /* a list, say */
    err_set(e, E_CSV_HEADER, "%s:%llu: no column %s; there are: %s", row->file, (unsigned long long)row->line,
            err_quotez(want), buf_str(&list));
    const char *other = delimiter_hint(row->name, row->n);
    if (!other) other = form_hint(row);
    if (near)
        err_hint(e, "did you mean {%s}?", near);
    else if (other)
        err_hint(e, "%s", other);
    else if (row->type)
        err_hint(e, "name the columns in --prompt and --target: {column}; {%s?} may be absent", want);
    else
        err_hint(e, "name the columns in --prompt and --target: {column}; if the first row is none of names: "
                    "--columns question,answer");
    for (int i = 0; i < row->n; i++) free(z[i]);
    free(z);
    free(want);
    buf_fini(&list);
    return -e->id;
}

static int no_text(const struct row *row, int i, struct err *e)
{
    struct str name = row->name[i];
    const char *type = row->type[i], *form = form_hint(row);
    err_set(e, E_JSON, "%s:%llu: %s is %s %s, expected text", row->file, (unsigned long long)row->line,
            err_quote(name.p, name.n), strchr("aeio", *type) ? "an" : "a", type);
    if (!strcmp(type, "null")) return err_hint(e, "{%.*s?} in the template is empty there", (int)name.n, name.p);
    if (form) return err_hint(e, "%s", form);
    if (!strcmp(type, "list"))
        return err_hint(e, "take its first element: --filter \"jq -c '.%.*s |= .[0]'\"", (int)name.n, name.p);
    return err_hint(e, "take a field of it: --filter \"jq -c '.%.*s |= .FIELD'\"", (int)name.n, name.p);
}

int row_text(const struct row *row, struct str name, struct str *value, struct err *e)
{
    int i = find(row, name, e);
    if (i < 0) return e->id ? -e->id : no_column(row, name, e);
    *value = row->value[i];
    return value->p ? 0 : no_text(row, i, e);
}

int row_optional(const struct row *row, struct str name, struct str *value, struct err *e)
{
    int i = find(row, name, e);
    if (e->id) return -e->id;
    *value = i < 0 ? (struct str){"", 0} : row->value[i];
    if (value->p) return i >= 0;
    if (strcmp(row->type[i], "null")) return no_text(row, i, e);
    *value = (struct str){"", 0};
    return 1;
}

void row_json(const struct row *row, struct buf *b)
{
    if (row->source.n) {
        buf_add(b, row->source.p, row->source.n);
        return;
    }
    char before = '{';
    for (int i = 0; i < row->n; i++) {
        if (!row->name[i].n) continue;
        buf_addc(b, before);
        json_text(b, row->name[i]);
        buf_addc(b, ':');
        json_text(b, row->value[i]);
        before = ',';
    }
    if (before == '{') buf_addc(b, '{');
    buf_addc(b, '}');
}
