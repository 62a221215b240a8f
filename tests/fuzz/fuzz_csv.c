/* fuzz_csv: any bytes as CSV. The first byte: bits 0-1 the quoting, bits 2-3 the encoding, bit 4 a tab between fields.
 */
#include <stdlib.h>
#include "libcommon/base/utf8.h"
#include "libcommon/format/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n) return 0;
    struct err e = {0};
    struct csv_row row;
    struct input *in = input_open_mem(data + 1, n - 1, "<memory>");
    struct csv *c = csv_open(in, (enum encoding)(data[0] >> 2 & 3), data[0] & 16 ? '\t' : ',',
                             (enum csv_quoting)((data[0] & 3) % 3));
    int rc;
    while ((rc = csv_next(c, &row, &e)) == 1) {
        if (row.line == 0 || row.n < 1) abort();
        for (int i = 0; i < row.n; i++)
            if (utf8_valid(row.field[i].p, row.field[i].n) != row.field[i].n) abort();
    }
    if (rc < 0 && (!e.id || !e.msg[0])) abort();
    csv_close(c);
    input_close(in);
    return 0;
}
