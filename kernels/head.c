/* head: LM head, cross entropy and its gradient, a chunk of rows at a time: logits, softmax, gradient in their place,
 * d_x. */
#include "kernels/cpu.h"
#include "kernels/ops.h"
#include "kernels/gemm.h"
#include "kernels/parallel.h"

/* A vocabulary is often a multiple of 1024: rows of logits that far apart would share cache sets. */
static long logits_row(const struct mat *w) { return w->rows + 16; }

static int rows_packed(const struct op_ctx *cx, const struct mat *w)
{
    return cx->prec == DT_BF16 || w->cols % GEMM_PAD;
}

size_t cpu_head_scratch(const struct op_ctx *cx, const struct mat *w, long n, int chunk)
{
    size_t rows = (size_t)(n < chunk ? n : chunk);
    return rows * sizeof(float) *
               (size_t)(logits_row(w) + (rows_packed(cx, w) ? gemm_lanes(w->cols, cx->prec == DT_BF16) : 0)) +
           64;
}

struct row_job {
    const struct simd *simd;
    float *z; /* [rows][zrow]: logits, then their gradient */
    long zrow, V;
    const int32_t *labels;
    const float *gscale; /* of each row; NULL without gradient */
    int want_grad, pack;
    float *nll;
    int32_t *best; /* may be NULL */
};

static void loss_row(void *job, long i)
{
    const struct row_job *j = job;
    float *z = j->z + i * j->zrow;
    j->simd->head_row(z, j->V, j->labels[i], j->want_grad ? j->gscale[i] : 0, j->want_grad, j->nll + i,
                      j->best ? j->best + i : NULL);
    if (j->pack) j->simd->pairs->pack_rows(z, z, j->zrow, 1, j->V);
}

static void pack_row(void *job, long i)
{
    const struct row_job *j = job;
    float *z = j->z + i * j->zrow;
    j->simd->pairs->pack_rows(z, z, j->zrow, 1, j->V);
}

/* d_w += z^T x, x [rows][C]. */
static void weight_gradient(const struct op_ctx *cx, float *d_w, const float *z, long zrow, const float *x, long rows,
                            const struct mat *w)
{
    struct gemm g = {.m = w->rows,
                     .n = w->cols,
                     .k = rows,
                     .a = z,
                     .a_row = 1,
                     .a_k = zrow,
                     .b = x,
                     .b_row = w->cols * (long)sizeof(float),
                     .alpha = 1,
                     .init = d_w,
                     .init_row = w->cols,
                     .y = d_w,
                     .y_row = w->cols};
    gemm_sum(cx, &g);
}

/* z [rows][zrow] = x W^T; packed: place for the rows as the product takes them. */
static void logits_of(const struct op_ctx *cx, float *z, long zrow, const float *x, float *packed, const struct mat *w,
                      long rows)
{
    const int bf16 = cx->prec == DT_BF16, pack = rows_packed(cx, w);
    const long C = w->cols;
    if (pack) gemm_pack_rows(cx, packed, x, C, rows, C, bf16);
    struct gemm g = {.m = rows,
                     .n = w->rows,
                     .k = C,
                     .a = pack ? packed : x,
                     .a_row = pack ? gemm_lanes(C, bf16) : C,
                     .a_k = 1,
                     .b = w->data,
                     .b_type = w->dtype,
                     .b_row = (long)dtype_row_bytes(w->dtype, C),
                     .bf16 = bf16,
                     .alpha = 1,
                     .y = z,
                     .y_row = zrow};
    gemm_dot(cx, &g);
}

size_t cpu_logits_scratch(const struct op_ctx *cx, const struct mat *w, long n)
{
    return rows_packed(cx, w) ? (size_t)n * sizeof(float) * (size_t)gemm_lanes(w->cols, cx->prec == DT_BF16) : 0;
}

int cpu_head_logits(const struct op_ctx *cx, float *logits, const void *x, const struct mat *w, long n)
{
    int rc = cpu_op_check(cx, "head_logits");
    if (rc) return rc;
    if (cx->scratch_bytes < cpu_logits_scratch(cx, w, n))
        return dev_fail(cx->dev, DEV_FAILED, "head_logits: scratch of %zu bytes, expected %zu", cx->scratch_bytes,
                        cpu_logits_scratch(cx, w, n));
    logits_of(cx, logits, w->rows, x, cx->scratch, w, n);
    return DEV_OK;
}

int cpu_head_loss(const struct op_ctx *cx, float *nll, int32_t *best, void *d_x, float *d_w, const void *x,
                  const struct mat *w, const int32_t *labels, long n, const float *gscale, int chunk)
{
    int rc = cpu_op_check(cx, "head_loss");
    if (rc) return rc;
    if (cx->scratch_bytes < cpu_head_scratch(cx, w, n, chunk))
        return dev_fail(cx->dev, DEV_FAILED, "head_loss: scratch of %zu bytes, expected %zu", cx->scratch_bytes,
                        cpu_head_scratch(cx, w, n, chunk));
    for (long i = 0; i < n; i++)
        if (labels[i] < 0 || labels[i] >= w->rows)
            return dev_fail(cx->dev, DEV_FAILED, "head_loss: label %ld is %d, the vocabulary has %d", i, labels[i],
                            w->rows);
    const int bf16 = cx->prec == DT_BF16, want = d_x || d_w;
    const long V = w->rows, C = w->cols, zrow = logits_row(w), b_row = (long)dtype_row_bytes(w->dtype, C);
    const long most = n < chunk ? n : chunk;
    float *z = cx->scratch, *packed = z + most * zrow;
    for (long c0 = 0; c0 < n; c0 += most) {
        const long rows = n - c0 < most ? n - c0 : most;
        const float *x_c = (const float *)x + c0 * C;
        logits_of(cx, z, zrow, x_c, packed, w, rows);
        struct row_job j = {.simd = cx->dev->simd,
                            .z = z,
                            .zrow = zrow,
                            .V = V,
                            .labels = labels + c0,
                            .gscale = want ? gscale + c0 : NULL,
                            .want_grad = want,
                            .pack = bf16 && d_x && !d_w,
                            .nll = nll + c0,
                            .best = best ? best + c0 : NULL};
        parallel_run(parallel_threads(rows, V), rows, loss_row, &j);
        if (d_w) weight_gradient(cx, d_w, z, zrow, x_c, rows, w);
        if (!d_x) continue;
        if (bf16 && d_w) parallel_run(parallel_threads(rows, V), rows, pack_row, &j);
        struct gemm back = {.m = rows,
                            .n = C,
                            .k = V,
                            .a = z,
                            .a_row = zrow,
                            .a_k = 1,
                            .b = w->data,
                            .b_type = w->dtype,
                            .b_row = b_row,
                            .bf16 = bf16,
                            .alpha = 1,
                            .y = (float *)d_x + c0 * C,
                            .y_row = C};
        gemm_sum(cx, &back);
    }
    return DEV_OK;
}
