/* csv_rows: see csv_rows.h. */
#include "libcommon/format/csv_rows.h"

#include <stdlib.h>
#include <string.h>

void csv_rows_field(struct csv_rows *r, const char *p, size_t n)
{
    buf_add(&r->text, p, n);
    r->end = mem_grow(r->end, &r->end_cap, r->n_field + 1, sizeof *r->end);
    r->end[r->n_field++] = r->text.n;
}

void csv_rows_row(struct csv_rows *r)
{
    r->row_end = mem_grow(r->row_end, &r->row_cap, r->n_row + 1, sizeof *r->row_end);
    r->row_end[r->n_row++] = r->n_field;
}

void csv_rows_line(struct csv_rows *r, struct str line, char delimiter)
{
    const char *p = line.p, *end = p + line.n;
    if (p < end && end[-1] == '\n') end--;
    while (p < end) {
        const char *cr = memchr(p, '\r', (size_t)(end - p)), *row_end = cr ? cr : end;
        if (p == row_end) {
            p++;
            continue;
        }
        for (const char *stop; (stop = memchr(p, delimiter, (size_t)(row_end - p))); p = stop + 1)
            csv_rows_field(r, p, (size_t)(stop - p));
        csv_rows_field(r, p, (size_t)(row_end - p));
        csv_rows_row(r);
        p = row_end;
    }
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

void csv_rows_fini(struct csv_rows *r)
{
    buf_fini(&r->text);
    free(r->end);
    free(r->row_end);
    *r = (struct csv_rows){0};
}
