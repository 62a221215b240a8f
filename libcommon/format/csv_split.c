/* csv_split: see csv_split.h. LF, CR and CRLF end a row; where no row has begun they are skipped, so empty lines are no
 * rows. */
#include "libcommon/format/csv_split.h"

#include <stdlib.h>
#include <string.h>

void csv_rows_field(struct csv_rows *r)
{
    r->end = mem_grow(r->end, &r->end_cap, r->n_field + 1, sizeof *r->end);
    r->end[r->n_field++] = r->text.n;
}

void csv_rows_row(struct csv_rows *r)
{
    r->row_end = mem_grow(r->row_end, &r->row_cap, r->n_row + 1, sizeof *r->row_end);
    r->row_end[r->n_row++] = r->n_field;
}

void csv_rows_forget(struct csv_rows *r)
{
    size_t fields = r->n_row ? r->row_end[r->n_row - 1] : 0, bytes = fields ? r->end[fields - 1] : 0;
    if (r->text.n > bytes) memmove(r->text.p, r->text.p + bytes, r->text.n - bytes);
    r->text.n -= bytes;
    for (size_t i = fields; i < r->n_field; i++) r->end[i - fields] = r->end[i] - bytes;
    r->n_field -= fields;
    r->n_row = 0;
}

size_t csv_rows_open(const struct csv_rows *r) { return r->text.n - (r->n_field ? r->end[r->n_field - 1] : 0); }

void csv_rows_fini(struct csv_rows *r)
{
    buf_fini(&r->text);
    free(r->end);
    free(r->row_end);
    *r = (struct csv_rows){0};
}

void csv_split_delimiter(struct csv_split *q, char delimiter)
{
    memset(q->stop, 0, sizeof q->stop);
    q->delimiter = delimiter;
    q->stop[(unsigned char)delimiter] = q->stop['"'] = q->stop['\n'] = q->stop['\r'] = true;
}

/* A delimiter, LF or CR behind a field. */
static void separator(struct csv_split *q, struct csv_rows *r, char c)
{
    csv_rows_field(r);
    q->in_row = c == q->delimiter;
    if (!q->in_row) csv_rows_row(r);
    q->state = AT_FIELD;
}

const char *csv_split(struct csv_split *q, struct csv_rows *r, struct str line, uint64_t number)
{
    const char *p = line.p, *end = p + line.n, *from;
    while (p < end) {
        switch (q->state) {
        case AT_FIELD:
            if (*p == '"') {
                q->open_line = number;
                q->open_col = (uint64_t)(p - line.p) + 1;
                q->state = IN_QUOTED;
                p++;
            } else if (!q->in_row && (*p == '\n' || *p == '\r')) {
                p++;
            } else {
                q->state = IN_PLAIN;
            }
            break;
        case IN_PLAIN:
            for (from = p; p < end && !q->stop[(unsigned char)*p];) p++;
            buf_add(&r->text, from, (size_t)(p - from));
            if (p == end) break;
            if (*p == '"') return p;
            separator(q, r, *p++);
            break;
        case IN_QUOTED:
            from = p;
            p = memchr(from, '"', (size_t)(end - from));
            if (!p) p = end;
            buf_add(&r->text, from, (size_t)(p - from));
            if (p == end) break;
            q->state = AFTER_QUOTE;
            p++;
            break;
        case AFTER_QUOTE:
            if (*p == '"') { /* doubled: one quote of the text */
                buf_addc(&r->text, '"');
                q->state = IN_QUOTED;
                p++;
                break;
            }
            if (*p != q->delimiter && *p != '\n' && *p != '\r') return p;
            separator(q, r, *p++);
            break;
        }
    }
    return NULL;
}

void csv_split_end(struct csv_split *q, struct csv_rows *r)
{
    if (q->state == AT_FIELD && !q->in_row) return;
    separator(q, r, '\n');
}
