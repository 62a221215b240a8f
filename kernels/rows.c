/* rows: rows picked by index, and put back. */
#include <string.h>
#include "kernels/ops.h"
#include "kernels/parallel.h"

int cpu_rows_gather(const struct op_ctx *cx, void *y, long ldy, const void *x, long ldx,
                    const int32_t *idx, long n, long C)
{
    const size_t size = (size_t)dtype_info[cx->act].bytes;
    const int nt = parallel_threads(n, C);
#pragma omp parallel for schedule(static) num_threads(nt) if (nt > 1)
    for (long i = 0; i < n; i++)
        memcpy((char *)y + (size_t)(i * ldy) * size,
               (const char *)x + (size_t)(idx[i] * ldx) * size, (size_t)C * size);
    return DEV_OK;
}

int cpu_rows_scatter(const struct op_ctx *cx, void *y, long ldy, const void *x, long ldx,
                     const int32_t *idx, long n, long C)
{
    const size_t size = (size_t)dtype_info[cx->act].bytes;
    const int nt = parallel_threads(n, C);
#pragma omp parallel for schedule(static) num_threads(nt) if (nt > 1)
    for (long i = 0; i < n; i++)
        memcpy((char *)y + (size_t)(idx[i] * ldy) * size,
               (const char *)x + (size_t)(i * ldx) * size, (size_t)C * size);
    return DEV_OK;
}
