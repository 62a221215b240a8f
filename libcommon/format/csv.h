/* csv: rows of RFC 4180 text. Blanks are kept; LF, CRLF and CR end a row; empty lines are no rows. What holds quotes is
 * parsed by libcsv; nothing here knows of headers: see table.h. */
#ifndef PEFT_FORMAT_CSV_H
#define PEFT_FORMAT_CSV_H
#include <stdbool.h>
#include "libcommon/format/textlines.h"

/* STRICT: a quote inside a field that does not begin with one, or text behind a closing quote, is E_CSV_QUOTE with
 * file:line:column.
 * LENIENT: such a quote is text, and its row is counted; text behind a closing quote belongs to the field, which goes
 * on without quoting, as pandas and Python read it. Not where the quoted part holds a line break: it is as likely that
 * rows would be joined, so that stays an error. NONE: quotes are text like other bytes; a field holds no line break. A
 * quote that is never closed is an error of STRICT and LENIENT, placed where it opens. */
enum csv_quoting { CSV_QUOTES_STRICT, CSV_QUOTES_LENIENT, CSV_QUOTES_NONE };

struct csv;
struct csv_row {
    uint64_t line; /* on which it begins */
    int n;
    const struct str *field; /* [n]; valid until the next call */
};
struct csv *csv_open(struct input *in, enum encoding enc, char delimiter,
                     enum csv_quoting quoting);    /* in is borrowed */
void csv_delimiter(struct csv *c, char delimiter); /* before the first row */
int csv_next(struct csv *c, struct csv_row *row,
             struct err *e); /* 1, 0 at the end, < 0: E_CSV_QUOTE, E_CSV_SIZE, those of textlines.h */
struct textlines *csv_lines(struct csv *c);
uint64_t csv_bare_quotes(const struct csv *c, uint64_t *first_line); /* rows with tolerated quotes so far */
void csv_close(struct csv *c);
#endif
