/* csv_quotes: follows the quotes of CSV text. libcsv, which parses it, tells neither where a quote opened nor which
 * byte breaks RFC 4180. */
#ifndef PEFT_FORMAT_CSV_QUOTES_H
#define PEFT_FORMAT_CSV_QUOTES_H
#include <stdint.h>

enum quote_state { AT_FIELD, IN_PLAIN, IN_QUOTED, AFTER_QUOTE };
struct csv_quotes {
    char delimiter;
    enum quote_state state;
    uint64_t open_line, open_col; /* the quote that opened last */
    uint64_t rows;                /* row ends so far */
};
/* Follow the bytes p..end of the line that begins at `line` and has this number. NULL, or the byte that may not be
 * there: a quote inside a field that does not begin with one (state IN_PLAIN), or text behind a closing quote
 * (AFTER_QUOTE). */
const char *csv_quotes_scan(struct csv_quotes *q, const char *p, const char *end, const char *line, uint64_t number);
/* Where the field in which p lies ends if quotes mean nothing in it: at a delimiter, LF, CR or end. */
const char *csv_quotes_field_end(const struct csv_quotes *q, const char *p, const char *end);
#endif
