/* row_norms: norms of the rows of a weight with its low-rank update, a stretch of columns at a time. */
#include <math.h>
#include "kernels/ops.h"
#include "kernels/parallel.h"

enum { STRETCH = 512 }; /* columns; whole blocks of every type */

struct job {
    float *norm;
    const struct mat *w;
    const struct lowrank *p;
};

static double squares(const struct job *j, long row, long from, long n)
{
    const struct mat *w = j->w;
    const char *src = (const char *)w->data + (size_t)row * dtype_row_bytes(w->dtype, w->cols);
    float v[STRETCH];
    double sum = 0;
    dtype_to_f32(w->dtype, src + dtype_row_bytes(w->dtype, from), v, n);
    for (int k = 0; k < j->p->r; k++) {
        const float b = j->p->scale * j->p->b[row * j->p->r + k], *a = j->p->a + (long)k * w->cols + from;
        for (long c = 0; c < n; c++) v[c] += b * a[c];
    }
    for (long c = 0; c < n; c++) sum += (double)v[c] * v[c];
    return sum;
}

static void rows(void *job, long first, long last)
{
    const struct job *j = job;
    const long K = j->w->cols;
    for (long row = first; row < last; row++) {
        double sum = 0;
        for (long from = 0; from < K; from += STRETCH)
            sum += squares(j, row, from, K - from < STRETCH ? K - from : STRETCH);
        j->norm[row] = (float)sqrt(sum);
    }
}

int cpu_row_norms(const struct op_ctx *cx, float *norm, const struct mat *w, const struct lowrank *p)
{
    int rc = cpu_op_check(cx, "row_norms");
    if (rc) return rc;
    struct job j = {norm, w, p};
    parallel_rows(parallel_threads(w->rows, (long)w->cols * (p->r + 2)), w->rows, rows, &j);
    return DEV_OK;
}
