/* csv: see csv.h. Lines are fed one at a time, so an error's line is known. A line that holds a quote, or lies within
 * quotes, goes through csv_quotes.c, which finds what breaks the rules and where, and then through libcsv; all others
 * are split by csv_rows.c. */
#include "libcommon/format/csv.h"
#include <csv.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/format/csv_quotes.h"
#include "libcommon/format/csv_rows.h"

struct csv {
    struct textlines lines;
    enum csv_quoting quoting;
    struct csv_quotes q;
    struct csv_parser parser;                /* libcsv; between two rows while lines have no quotes */
    struct buf mended;                       /* a line whose lenient reading libcsv does not share */
    uint64_t bare_rows, bare_first, bare_at; /* with bare quotes; the line of the first; csv_quotes.rows at the last */
    bool ended;
    struct csv_rows rows; /* finished: a line holds several if CR ends them */
    size_t next_row;      /* of those the next to give out */
    uint64_t line;        /* where the row in progress began; 0: none is */
    uint64_t first_line;  /* of the finished rows */
    struct str *view;
    size_t view_cap;
};

static int no_space(unsigned char c)
{
    (void)c;
    return 0;
}

struct csv *csv_open(struct input *in, enum encoding enc, char delimiter, enum csv_quoting quoting)
{
    struct csv *c = mem_alloc(1, sizeof *c);
    textlines_init(&c->lines, in, enc);
    c->quoting = quoting;
    c->bare_at = UINT64_MAX;
    csv_init(&c->parser, quoting == CSV_QUOTES_STRICT ? CSV_STRICT | CSV_STRICT_FINI : 0);
    csv_delimiter(c, delimiter);
    csv_set_space_func(&c->parser, no_space); /* blanks belong to the field */
    return c;
}

void csv_delimiter(struct csv *c, char delimiter)
{
    c->q.delimiter = delimiter;
    csv_set_delim(&c->parser, (unsigned char)delimiter);
}

struct textlines *csv_lines(struct csv *c) { return &c->lines; }

uint64_t csv_bare_quotes(const struct csv *c, uint64_t *first_line)
{
    *first_line = c->bare_first;
    return c->bare_rows;
}

void csv_close(struct csv *c)
{
    if (!c) return;
    csv_free(&c->parser);
    textlines_fini(&c->lines);
    csv_rows_fini(&c->rows);
    buf_fini(&c->mended);
    free(c->view);
    free(c);
}

/* ---- a line with quotes ---- */
static int bare_quote(const struct csv *c, struct str s, const char *bad, struct err *e)
{
    const char *name = input_name(c->lines.in);
    unsigned long long line = c->lines.number, open = c->q.open_line;
    size_t col = (size_t)(bad - s.p) + 1;
    if (c->q.state == IN_PLAIN)
        err_set(e, E_CSV_QUOTE, "%s:%llu:%zu: quote inside a field that does not begin with one", name, line, col);
    else
        err_set(e, E_CSV_QUOTE,
                "%s:%llu:%zu: text behind the closing quote of the field that began at line %llu, "
                "column %llu",
                name, line, col, open, (unsigned long long)c->q.open_col);
    if (c->q.state == AFTER_QUOTE && bad - s.p >= 2 && bad[-2] == '\\')
        return err_hint(e, "CSV doubles quotes: backslashes before them become that with: sed 's/\\\\\"/\"\"/g'");
    if (c->q.state == AFTER_QUOTE && open != line)
        return err_hint(e, "if the quote of line %llu is text, lines %llu to %llu are rows of their own: --quote none",
                        open, open, line);
    return err_hint(e, "a quote within a field is written twice, and the field is quoted; --lenient takes bare quotes "
                       "as text, --quote none all quotes");
}

/* Count the row of a bare quote and take it as text. libcsv does so where a field does not begin with a quote (*p moves
 * behind it). Text behind a closing quote it would read as more quoted text, over the ends of fields and rows; so the
 * closing quote is left out (what is before it, from *from on, goes to c->mended), the rest of the field goes inside,
 * and the field is closed at its end, to which *from and *p move. */
static int mend(struct csv *c, const char *bad, const char **from, const char **p, struct str s, struct err *e)
{
    const char *end = s.p + s.n, *field_end;
    if (c->q.state == AFTER_QUOTE && c->q.open_line != c->lines.number) return bare_quote(c, s, bad, e);
    if (c->bare_at != c->q.rows && !c->bare_rows++) c->bare_first = c->lines.number;
    c->bare_at = c->q.rows;
    *p = bad + 1;
    if (c->q.state == IN_PLAIN) return 0;
    field_end = csv_quotes_field_end(&c->q, bad, end);
    buf_add(&c->mended, *from, (size_t)(bad - 1 - *from));
    for (; bad < field_end; bad++) {
        if (*bad == '"') buf_addc(&c->mended, '"');
        buf_addc(&c->mended, *bad);
    }
    buf_addc(&c->mended, '"');
    *from = *p = field_end;
    return 0;
}

static void on_field(void *p, size_t n, void *arg)
{
    struct csv *c = arg;
    csv_rows_field(&c->rows, p, n);
}

static void on_row(int terminator, void *arg)
{
    struct csv *c = arg;
    (void)terminator;
    csv_rows_row(&c->rows);
}

static int failed(struct csv *c, struct err *e)
{
    int why = csv_error(&c->parser);
    return err_set(e, why == CSV_EPARSE ? E_CSV_QUOTE : E_NOMEM, "%s:%llu: %s", input_name(c->lines.in),
                   (unsigned long long)c->lines.number, csv_strerror(why));
}

static int quoted_line(struct csv *c, struct str s, struct err *e)
{
    const char *p = s.p, *from = s.p, *end = s.p + s.n, *bad;
    c->mended.n = 0;
    while ((bad = csv_quotes_scan(&c->q, p, end, s.p, c->lines.number))) {
        if (c->quoting == CSV_QUOTES_STRICT) return bare_quote(c, s, bad, e);
        if (mend(c, bad, &from, &p, s, e)) return -e->id;
    }
    if (from > s.p) {
        buf_add(&c->mended, from, (size_t)(end - from));
        s = (struct str){c->mended.p, c->mended.n};
    }
    return csv_parse(&c->parser, s.p, s.n, on_field, on_row, c) == s.n ? 0 : failed(c, e);
}

/* ---- rows ---- */
static int too_large(const struct csv *c, struct err *e)
{
    err_set(e, E_CSV_SIZE, "%s:%llu: field above %d MiB", input_name(c->lines.in), (unsigned long long)c->line,
            LINE_MAX_BYTES >> 20);
    if (c->q.state != IN_QUOTED) return -e->id;
    return err_hint(e, "a quote opens at line %llu, column %llu: is its end missing?",
                    (unsigned long long)c->q.open_line, (unsigned long long)c->q.open_col);
}

/* The end of the input. 1: it ended a row, 0: none was open. */
static int end(struct csv *c, struct err *e)
{
    if (c->q.state == IN_QUOTED) {
        err_set(e, E_CSV_QUOTE, "%s:%llu:%llu: unterminated quote (the record began on line %llu)",
                input_name(c->lines.in), (unsigned long long)c->q.open_line, (unsigned long long)c->q.open_col,
                (unsigned long long)c->line);
        return err_hint(e, "a quote within a field is written twice; --quote none takes quotes as text");
    }
    c->ended = true;
    if (csv_fini(&c->parser, on_field, on_row, c)) return failed(c, e);
    c->first_line = c->line;
    return c->rows.n_row > 0;
}

/* Feed a line, or the end of the input. 1: go on, 0: ended. */
static int feed(struct csv *c, struct err *e)
{
    struct str s;
    int rc = textlines_next(&c->lines, &s, e);
    if (rc < 0) return rc;
    if (rc == 0) return end(c, e);
    if (!c->line) c->line = c->lines.number;
    bool quoted = c->quoting != CSV_QUOTES_NONE && (c->q.state == IN_QUOTED || memchr(s.p, '"', s.n));
    if (quoted && quoted_line(c, s, e)) return -e->id;
    if (!quoted) csv_rows_line(&c->rows, s, c->q.delimiter);
    if (c->parser.entry_pos > LINE_MAX_BYTES || c->rows.text.n > (size_t)LINE_MAX_BYTES * 4) return too_large(c, e);
    c->first_line = c->line;
    if (c->q.state != IN_QUOTED && s.p[s.n - 1] == '\n') c->line = 0;
    return 1;
}

int csv_next(struct csv *c, struct csv_row *row, struct err *e)
{
    struct csv_rows *r = &c->rows;
    while (c->next_row == r->n_row) {
        csv_rows_forget(r);
        c->next_row = 0;
        int rc = c->ended ? 0 : feed(c, e);
        if (rc <= 0) return rc;
    }
    size_t first = c->next_row ? r->row_end[c->next_row - 1] : 0, n = r->row_end[c->next_row++] - first;
    c->view = mem_grow(c->view, &c->view_cap, n + 1, sizeof *c->view);
    size_t from = first ? r->end[first - 1] : 0;
    for (size_t i = 0; i < n; i++) {
        size_t to = r->end[first + i];
        c->view[i] = (struct str){r->text.p ? r->text.p + from : "", to - from};
        if (c->view[i].n > LINE_MAX_BYTES) return too_large(c, e);
        from = to;
    }
    *row = (struct csv_row){c->first_line, (int)n, c->view};
    return 1;
}
