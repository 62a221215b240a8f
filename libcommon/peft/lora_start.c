/* lora_start: how A and B begin, as PEFT's init_lora_weights says. Random values are those of the tensors' names. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/rng.h"
#include "libcommon/base/svd.h"
#include "libcommon/peft/lora.h"

/* A normal random matrix, the use-th of a tensor. */
static double *normal(const struct param *p, uint64_t seed, int use, long rows, long cols)
{
    const uint64_t own = seed ^ rng_hash((uint64_t)use, p->name, strlen(p->name));
    double *v = mem_alloc((size_t)(rows * cols), sizeof *v);
    for (long i = 0; i < rows * cols; i++) v[i] = rng_normal(own, RNG_INIT, (uint64_t)i);
    return v;
}

/* out [rows][cols] f32 = x [half][rows]^T q / 10, q every other row from `first` on of an orthogonal [r][r]; at the
 * strides of out. */
static void combine(float *out, long row_step, long col_step, const double *x, const double *q, int first, long rows,
                    int r)
{
    for (long i = 0; i < rows; i++)
        for (int c = 0; c < r; c++) {
            double sum = 0;
            for (int k = 0; k < r / 2; k++) sum += x[k * rows + i] * q[(2 * k + first) * r + c];
            out[i * row_step + c * col_step] = (float)(sum / 10);
        }
}

/* The rows of A and the columns of B lie in two halves of R^r that are orthogonal to each other: B A is 0. */
static int orthogonal(const struct param *pa, const struct param *pb, uint64_t seed, float *host, struct err *e)
{
    const int r = pa->rows;
    if (r % 2)
        return err_set(e, E_CONFIG, "%s: the orthogonal start needs an even rank, and it is %d", pa->site->path, r);
    double *q = normal(pa, seed, 0, r, r), *upper = mem_alloc((size_t)r * (size_t)r, sizeof *upper),
           *x = normal(pa, seed, 1, r / 2, pa->cols), *y = normal(pb, seed, 1, r / 2, pb->rows);
    int rc = qr_thin(q, r, r, upper, e);
    if (!rc) combine(host + pa->off, 1, pa->cols, x, q, 0, pa->cols, r);
    if (!rc) combine(host + pb->off, r, 1, y, q, 1, pb->rows, r);
    free(q);
    free(upper);
    free(x);
    free(y);
    return rc;
}

int lora_start(const struct adapter *a, uint64_t seed, float *host, struct err *e)
{
    const struct lora_opts *o = a->config;
    int rc = 0;
    for (int i = 0; i < a->n_param && !rc && o->start == LORA_BEGIN_ORTHOGONAL; i++)
        if (a->param[i].role == LORA_A)
            rc = orthogonal(&a->param[i], param_of(a, a->param[i].site, LORA_B), seed, host, e);
    return rc;
}
