/* csv: see csv.h. Strict text is split by csv_split.c; lenient text by libcsv, whose reading of bare quotes is the one
 * that others know. libcsv tells neither where a quote opened nor that it met a bare one, so a scanner goes over the
 * quotes first. Lines are fed one at a time, so an error's line is known. */
#include "libcommon/format/csv.h"
#include <csv.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/format/csv_split.h"

struct csv {
    struct textlines lines;
    struct csv_split q;
    struct csv_parser parser; /* lenient only */
    bool lenient, ended;
    bool bare; /* the current row has a bare quote */
    uint64_t bare_rows, bare_first;
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

struct csv *csv_open(struct input *in, enum encoding enc, char delimiter, bool lenient)
{
    struct csv *c = mem_alloc(1, sizeof *c);
    textlines_init(&c->lines, in, enc);
    c->lenient = lenient;
    csv_init(&c->parser, 0);
    csv_delimiter(c, delimiter);
    csv_set_space_func(&c->parser, no_space); /* blanks belong to the field */
    return c;
}

void csv_delimiter(struct csv *c, char delimiter)
{
    csv_split_delimiter(&c->q, delimiter);
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
    free(c->view);
    free(c);
}

/* ---- strict ---- */
static int bare_quote(const struct csv *c, size_t col, struct err *e)
{
    const char *name = input_name(c->lines.in);
    unsigned long long line = c->lines.number;
    if (c->q.state == IN_PLAIN)
        err_set(e, E_CSV_QUOTE, "%s:%llu:%zu: quote inside a field that does not begin with one", name, line, col);
    else
        err_set(e, E_CSV_QUOTE,
                "%s:%llu:%zu: text behind the closing quote of the field that began at line %llu, "
                "column %llu",
                name, line, col, (unsigned long long)c->q.open_line, (unsigned long long)c->q.open_col);
    return err_hint(e, "a quote within a field is written twice, and the field is quoted; "
                       "--lenient takes bare quotes as text");
}

/* ---- lenient ---- */
/* Follow the quotes of a line and count the rows with bare ones. */
static void scan(struct csv *c, struct str s)
{
    struct csv_split *q = &c->q;
    if (q->state != IN_QUOTED && !memchr(s.p, '"', s.n)) {
        c->bare = false; /* the line's end is the row's end */
        q->state = AT_FIELD;
        return;
    }
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        if (q->state == IN_QUOTED) {
            if (ch == '"') q->state = AFTER_QUOTE;
        } else if (ch == '\n' || ch == '\r') {
            q->state = AT_FIELD;
            c->bare = false;
        } else if (ch == q->delimiter) {
            q->state = AT_FIELD;
        } else if (ch == '"' && q->state != IN_PLAIN) {
            if (q->state == AT_FIELD) {
                q->open_line = c->lines.number;
                q->open_col = i + 1;
            }
            q->state = IN_QUOTED;
        } else if (ch == '"' || q->state == AFTER_QUOTE) {
            if (!c->bare && !c->bare_rows++) c->bare_first = c->lines.number;
            c->bare = true;
            if (q->state == AFTER_QUOTE) q->state = IN_QUOTED; /* as libcsv reads it */
        } else {
            q->state = IN_PLAIN;
        }
    }
}

static void on_field(void *p, size_t n, void *arg)
{
    struct csv *c = arg;
    buf_add(&c->rows.text, p, n);
    csv_rows_field(&c->rows);
}

static void on_row(int terminator, void *arg)
{
    struct csv *c = arg;
    (void)terminator;
    csv_rows_row(&c->rows);
}

/* ---- both ---- */
static int too_large(const struct csv *c, struct err *e)
{
    err_set(e, E_CSV_SIZE, "%s:%llu: field above %d MiB", input_name(c->lines.in), (unsigned long long)c->line,
            LINE_MAX_BYTES >> 20);
    if (c->q.state != IN_QUOTED) return -e->id;
    return err_hint(e, "a quote opens at line %llu, column %llu: is its end missing?",
                    (unsigned long long)c->q.open_line, (unsigned long long)c->q.open_col);
}

static int parse(struct csv *c, struct str s, struct err *e)
{
    if (!c->lenient) {
        const char *bad = csv_split(&c->q, &c->rows, s, c->lines.number);
        return bad ? bare_quote(c, (size_t)(bad - s.p) + 1, e) : 0;
    }
    scan(c, s);
    if (csv_parse(&c->parser, s.p, s.n, on_field, on_row, c) == s.n) return 0;
    return err_set(e, csv_error(&c->parser) == CSV_EPARSE ? E_CSV_QUOTE : E_NOMEM, "%s:%llu: %s",
                   input_name(c->lines.in), (unsigned long long)c->lines.number, csv_strerror(csv_error(&c->parser)));
}

/* The end of the input. 1: it ended a row, 0: none was open. */
static int end(struct csv *c, struct err *e)
{
    if (c->q.state == IN_QUOTED) {
        err_set(e, E_CSV_QUOTE, "%s:%llu:%llu: unterminated quote (the record began on line %llu)",
                input_name(c->lines.in), (unsigned long long)c->q.open_line, (unsigned long long)c->q.open_col,
                (unsigned long long)c->line);
        return err_hint(e, "a quote within a field is written twice");
    }
    c->ended = true;
    if (!c->lenient)
        csv_split_end(&c->q, &c->rows);
    else if (csv_fini(&c->parser, on_field, on_row, c))
        return err_set(e, E_CSV_QUOTE, "%s: unterminated quote", input_name(c->lines.in));
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
    if (parse(c, s, e)) return -e->id;
    size_t open = c->lenient ? c->parser.entry_pos : csv_rows_open(&c->rows);
    if (open > LINE_MAX_BYTES || c->rows.text.n > (size_t)LINE_MAX_BYTES * 4) return too_large(c, e);
    c->first_line = c->line;
    if (c->q.state == AT_FIELD && s.p[s.n - 1] == '\n') c->line = 0;
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
