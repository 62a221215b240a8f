/* csv_quotes: see csv_quotes.h. */
#include "libcommon/format/csv_quotes.h"

#include <stddef.h>
#include <string.h>

const char *csv_quotes_scan(struct csv_quotes *q, const char *p, const char *end, const char *line, uint64_t number)
{
    for (; p < end; p++) {
        if (q->state == IN_QUOTED) {
            p = memchr(p, '"', (size_t)(end - p));
            if (!p) return NULL;
            q->state = AFTER_QUOTE;
        } else if (*p == q->delimiter) {
            q->state = AT_FIELD;
        } else if (*p == '\n' || *p == '\r') {
            q->state = AT_FIELD;
            q->rows++;
        } else if (*p == '"' && q->state == AT_FIELD) {
            q->open_line = number;
            q->open_col = (uint64_t)(p - line) + 1;
            q->state = IN_QUOTED;
        } else if (*p == '"' && q->state == AFTER_QUOTE) {
            q->state = IN_QUOTED; /* doubled: one quote of the text */
        } else if (*p == '"' || q->state == AFTER_QUOTE) {
            return p;
        } else {
            q->state = IN_PLAIN;
        }
    }
    return NULL;
}

const char *csv_quotes_field_end(const struct csv_quotes *q, const char *p, const char *end)
{
    while (p < end && *p != q->delimiter && *p != '\n' && *p != '\r') p++;
    return p;
}
