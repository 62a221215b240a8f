/* embed: rows of the embedding matrix, unpacked to f32. */
#include "kernels/ops.h"
#include "kernels/parallel.h"

int cpu_embed_fwd(const struct op_ctx *cx, void *y, const int32_t *ids, const struct mat *w, long T)
{
    int rc = cpu_op_check(cx, "embed_fwd");
    if (rc) return rc;
    for (long t = 0; t < T; t++)
        if (ids[t] < 0 || ids[t] >= w->rows)
            return dev_fail(cx->dev, DEV_FAILED,
                            "embed_fwd: token %ld is %d, the embedding has %d rows", t, ids[t],
                            w->rows);
    const size_t row = dtype_row_bytes(w->dtype, w->cols);
    const int n = parallel_threads(T, w->cols);
#pragma omp parallel for schedule(static) num_threads(n) if (n > 1)
    for (long t = 0; t < T; t++)
        cx->dev->simd->unpack(w->dtype, (const unsigned char *)w->data + (size_t)ids[t] * row, 0,
                              w->cols, (float *)y + t * w->cols);
    return DEV_OK;
}
