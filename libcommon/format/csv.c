/* csv: see csv.h. libcsv splits; a scanner of our own goes over the quotes first, because libcsv tells neither where a quote
 * opened nor, in its lenient mode, that it met a bare one. Lines are fed one at a time, so an error's line is known. */
#include "libcommon/format/csv.h"
#include <csv.h>
#include <stdlib.h>
#include <string.h>

enum quote_state { AT_FIELD, IN_PLAIN, IN_QUOTED, AFTER_QUOTE };

struct csv {
    struct textlines lines;
    struct csv_parser parser;
    bool lenient, ended;
    char delimiter;
    /* the scanner */
    enum quote_state state;
    uint64_t open_line, open_col; /* the quote that opened last */
    bool bare;                    /* the current row has a bare quote */
    uint64_t bare_rows, bare_first;
    /* rows that libcsv has finished; a line holds several if CR ends them */
    struct buf text; /* fields of the rows, and of the row in progress */
    size_t *end;     /* [n_field] of each field in text */
    size_t n_field, end_cap;
    size_t *row_end; /* [n_row] number of fields up to the row's end */
    size_t n_row, row_cap, next_row;
    uint64_t line;       /* where the row in progress began; 0: none is */
    uint64_t first_line; /* of the finished rows */
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
    c->delimiter = delimiter;
    c->lenient = lenient;
    csv_init(&c->parser, lenient ? 0 : CSV_STRICT | CSV_STRICT_FINI);
    csv_set_delim(&c->parser, (unsigned char)delimiter);
    csv_set_space_func(&c->parser, no_space); /* blanks belong to the field */
    return c;
}

void csv_delimiter(struct csv *c, char delimiter)
{
    c->delimiter = delimiter;
    csv_set_delim(&c->parser, (unsigned char)delimiter);
}

struct textlines *csv_lines(struct csv *c)
{
    return &c->lines;
}

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
    buf_fini(&c->text);
    free(c->end);
    free(c->row_end);
    free(c->view);
    free(c);
}

/* ---- quotes ---- */
static int bare_quote(struct csv *c, size_t col, struct err *e)
{
    const char *name = input_name(c->lines.in);
    unsigned long long line = c->lines.number;
    if (!c->bare) {
        c->bare = true;
        if (!c->bare_rows++) c->bare_first = line;
    }
    if (c->lenient) return 0;
    if (c->state == IN_PLAIN)
        err_set(e, E_CSV_QUOTE, "%s:%llu:%zu: quote inside a field that does not begin with one",
                name, line, col);
    else
        err_set(e, E_CSV_QUOTE,
                "%s:%llu:%zu: text behind the closing quote of the field that began at line %llu, "
                "column %llu",
                name, line, col, (unsigned long long)c->open_line, (unsigned long long)c->open_col);
    return err_hint(e, "a quote within a field is written twice, and the field is quoted; "
                       "--lenient takes bare quotes as text");
}

/* Follow the quotes of a line. */
static int scan(struct csv *c, struct str s, struct err *e)
{
    if (c->state != IN_QUOTED && !memchr(s.p, '"', s.n)) {
        c->bare = false; /* the line's end is the row's end */
        c->state = AT_FIELD;
        return 0;
    }
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        if (c->state == IN_QUOTED) {
            if (ch == '"') c->state = AFTER_QUOTE;
        } else if (ch == '\n' || ch == '\r') {
            c->state = AT_FIELD;
            c->bare = false;
        } else if (ch == c->delimiter) {
            c->state = AT_FIELD;
        } else if (ch == '"' && c->state != IN_PLAIN) {
            if (c->state == AT_FIELD) {
                c->open_line = c->lines.number;
                c->open_col = i + 1;
            }
            c->state = IN_QUOTED;
        } else if (ch == '"' || c->state == AFTER_QUOTE) {
            if (bare_quote(c, i + 1, e)) return -e->id;
            if (c->state == AFTER_QUOTE) c->state = IN_QUOTED; /* as libcsv reads it */
        } else {
            c->state = IN_PLAIN;
        }
    }
    return 0;
}

/* ---- libcsv's calls ---- */
static void on_field(void *p, size_t n, void *arg)
{
    struct csv *c = arg;
    buf_add(&c->text, p, n);
    c->end = mem_grow(c->end, &c->end_cap, c->n_field + 1, sizeof *c->end);
    c->end[c->n_field++] = c->text.n;
}

static void on_row(int terminator, void *arg)
{
    struct csv *c = arg;
    (void)terminator;
    c->row_end = mem_grow(c->row_end, &c->row_cap, c->n_row + 1, sizeof *c->row_end);
    c->row_end[c->n_row++] = c->n_field;
}

/* Drop the rows that were given out; fields of the row in progress move to the front. */
static void forget(struct csv *c)
{
    size_t fields = c->n_row ? c->row_end[c->n_row - 1] : 0,
           bytes = fields ? c->end[fields - 1] : 0;
    if (c->text.n > bytes) memmove(c->text.p, c->text.p + bytes, c->text.n - bytes);
    c->text.n -= bytes;
    for (size_t i = fields; i < c->n_field; i++) c->end[i - fields] = c->end[i] - bytes;
    c->n_field -= fields;
    c->n_row = c->next_row = 0;
}

static int too_large(const struct csv *c, struct err *e)
{
    err_set(e, E_CSV_SIZE, "%s:%llu: field above %d MiB", input_name(c->lines.in),
            (unsigned long long)c->line, LINE_MAX_BYTES >> 20);
    if (c->state != IN_QUOTED) return -e->id;
    return err_hint(e, "a quote opens at line %llu, column %llu: is its end missing?",
                    (unsigned long long)c->open_line, (unsigned long long)c->open_col);
}

/* Feed a line, or the end of the input. 1: go on, 0: ended. */
static int feed(struct csv *c, struct err *e)
{
    struct str s;
    int rc = textlines_next(&c->lines, &s, e);
    if (rc < 0) return rc;
    if (rc == 0 && c->state == IN_QUOTED) {
        err_set(e, E_CSV_QUOTE, "%s:%llu:%llu: unterminated quote (the record began on line %llu)",
                input_name(c->lines.in), (unsigned long long)c->open_line,
                (unsigned long long)c->open_col, (unsigned long long)c->line);
        return err_hint(e, "a quote within a field is written twice");
    }
    if (rc == 0) {
        c->ended = true;
        if (csv_fini(&c->parser, on_field, on_row, c))
            return err_set(e, E_CSV_QUOTE, "%s: unterminated quote", input_name(c->lines.in));
        c->first_line = c->line;
        return c->n_row > 0;
    }
    if (!c->line) c->line = c->lines.number;
    if (scan(c, s, e)) return -e->id;
    if (csv_parse(&c->parser, s.p, s.n, on_field, on_row, c) != s.n)
        return err_set(e, csv_error(&c->parser) == CSV_EPARSE ? E_CSV_QUOTE : E_NOMEM,
                       "%s:%llu: %s", input_name(c->lines.in), (unsigned long long)c->lines.number,
                       csv_strerror(csv_error(&c->parser)));
    if (c->parser.entry_pos > LINE_MAX_BYTES || c->text.n > (size_t)LINE_MAX_BYTES * 4)
        return too_large(c, e);
    c->first_line = c->line;
    if (c->state == AT_FIELD && s.p[s.n - 1] == '\n') c->line = 0;
    return 1;
}

int csv_next(struct csv *c, struct csv_row *row, struct err *e)
{
    while (c->next_row == c->n_row) {
        forget(c);
        int rc = c->ended ? 0 : feed(c, e);
        if (rc <= 0) return rc;
    }
    size_t first = c->next_row ? c->row_end[c->next_row - 1] : 0,
           n = c->row_end[c->next_row++] - first;
    c->view = mem_grow(c->view, &c->view_cap, n + 1, sizeof *c->view);
    for (size_t i = 0; i < n; i++) {
        size_t from = first + i ? c->end[first + i - 1] : 0;
        c->view[i] = (struct str){c->text.p ? c->text.p + from : "", c->end[first + i] - from};
        if (c->view[i].n > LINE_MAX_BYTES) return too_large(c, e);
    }
    *row = (struct csv_row){c->first_line, (int)n, c->view};
    return 1;
}
