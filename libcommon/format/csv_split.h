/* csv_split: lines of RFC 4180 text into fields and rows; what libcsv gives for the same text in its strict mode, at
 * the speed of memchr. It splits and finds the byte that breaks the rules; messages, limits and lenient reading are
 * csv.c's. */
#ifndef PEFT_FORMAT_CSV_SPLIT_H
#define PEFT_FORMAT_CSV_SPLIT_H
#include <stdbool.h>
#include "libcommon/base/mem.h"

struct csv_rows {    /* finished fields and rows, and the field in progress; {0} is empty and valid */
    struct buf text; /* fields end to end */
    size_t *end;     /* [n_field] of each field in text */
    size_t n_field, end_cap;
    size_t *row_end; /* [n_row] number of fields up to the row's end */
    size_t n_row, row_cap;
};
void csv_rows_field(struct csv_rows *r);        /* the field in progress ends */
void csv_rows_row(struct csv_rows *r);          /* so does the row */
void csv_rows_forget(struct csv_rows *r);       /* drop the finished rows; what is in progress moves to the front */
size_t csv_rows_open(const struct csv_rows *r); /* bytes of the field in progress */
void csv_rows_fini(struct csv_rows *r);

enum quote_state { AT_FIELD, IN_PLAIN, IN_QUOTED, AFTER_QUOTE };
struct csv_split {
    enum quote_state state;
    bool in_row;                  /* a delimiter was met: even an empty field is one */
    uint64_t open_line, open_col; /* the quote that opened last */
    char delimiter;
    bool stop[256]; /* bytes that end a run of plain text */
};
void csv_split_delimiter(struct csv_split *q, char delimiter);
/* Take a line (with its line feed, number `number`). NULL, or the byte that may not be there: a quote inside a field
 * that does not begin with one (state IN_PLAIN), or text behind a closing quote (AFTER_QUOTE). */
const char *csv_split(struct csv_split *q, struct csv_rows *r, struct str line, uint64_t number);
void csv_split_end(struct csv_split *q, struct csv_rows *r); /* the input has ended, outside of quotes */
#endif
