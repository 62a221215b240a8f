/* csv_rows: finished rows of CSV, and the row in progress; with the fast split of lines without quotes, which gives
 * what libcsv gives at the speed of memchr. */
#ifndef PEFT_FORMAT_CSV_ROWS_H
#define PEFT_FORMAT_CSV_ROWS_H
#include "libcommon/base/mem.h"

struct csv_rows {    /* {0} is empty and valid */
    struct buf text; /* fields end to end */
    size_t *end;     /* [n_field] of each field in text */
    size_t n_field, end_cap;
    size_t *row_end; /* [n_row] number of fields up to the row's end */
    size_t n_row, row_cap;
};
void csv_rows_field(struct csv_rows *r, const char *p, size_t n); /* a field of the row in progress */
void csv_rows_row(struct csv_rows *r);                            /* which ends */
/* Take a whole line in which quotes mean nothing; no row is in progress. LF, CR and CRLF end a row, and so does the end
 * of the line; where no row has begun they are skipped. */
void csv_rows_line(struct csv_rows *r, struct str line, char delimiter);
void csv_rows_forget(struct csv_rows *r); /* drop the finished rows; what is in progress moves to the front */
void csv_rows_fini(struct csv_rows *r);
#endif
