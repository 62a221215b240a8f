/* rows: rows picked by index, and put back. */
#include <string.h>
#include "kernels/ops.h"
#include "kernels/parallel.h"

struct job {
    char *y;
    const char *x;
    size_t y_row, x_row, bytes; /* bytes from row to row; bytes of a row */
    const int32_t *idx;
};

static void gather(void *job, long first, long last)
{
    const struct job *j = job;
    for (long i = first; i < last; i++)
        memcpy(j->y + (size_t)i * j->y_row, j->x + (size_t)j->idx[i] * j->x_row, j->bytes);
}

static void scatter(void *job, long first, long last)
{
    const struct job *j = job;
    for (long i = first; i < last; i++)
        memcpy(j->y + (size_t)j->idx[i] * j->y_row, j->x + (size_t)i * j->x_row, j->bytes);
}

static int run(const struct op_ctx *cx, void *y, long ldy, const void *x, long ldx, const int32_t *idx, long n, long C,
               parallel_rows_fn *fn)
{
    const size_t size = (size_t)dtype_info[cx->act].bytes;
    struct job j = {.y = y,
                    .x = x,
                    .y_row = (size_t)ldy * size,
                    .x_row = (size_t)ldx * size,
                    .bytes = (size_t)C * size,
                    .idx = idx};
    parallel_rows(parallel_threads(n, C), n, fn, &j);
    return DEV_OK;
}

int cpu_rows_gather(const struct op_ctx *cx, void *y, long ldy, const void *x, long ldx, const int32_t *idx, long n,
                    long C)
{
    return run(cx, y, ldy, x, ldx, idx, n, C, gather);
}

int cpu_rows_scatter(const struct op_ctx *cx, void *y, long ldy, const void *x, long ldx, const int32_t *idx, long n,
                     long C)
{
    return run(cx, y, ldy, x, ldx, idx, n, C, scatter);
}
