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
    float gscale;
    int want_grad, bf16;
    float *nll;
    int32_t *best; /* may be NULL */
};

static void loss_row(void *job, long i)
{
    const struct row_job *j = job;
    float *z = j->z + i * j->zrow;
    j->simd->head_row(z, j->V, j->labels[i], j->gscale, j->want_grad, j->nll + i, j->best ? j->best + i : NULL);
    if (j->want_grad && j->bf16) j->simd->pairs->pack_rows(z, z, j->zrow, 1, j->V);
}

int cpu_head_loss(const struct op_ctx *cx, float *nll, int32_t *best, void *d_x, const void *x, const struct mat *w,
                  const int32_t *labels, long n, float gscale, int chunk)
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
    const int bf16 = cx->prec == DT_BF16;
    const long V = w->rows, C = w->cols, zrow = logits_row(w), b_row = (long)dtype_row_bytes(w->dtype, C);
    const long most = n < chunk ? n : chunk;
    float *z = cx->scratch, *packed = z + most * zrow;
    for (long c0 = 0; c0 < n; c0 += most) {
        const long rows = n - c0 < most ? n - c0 : most;
        const float *xc = (const float *)x + c0 * C;
        long x_row = C;
        if (rows_packed(cx, w)) {
            gemm_pack_rows(cx, packed, xc, C, rows, C, bf16);
            xc = packed;
            x_row = gemm_lanes(C, bf16);
        }
        struct gemm g = {
            .m = rows, .a_k = 1, .b = w->data, .b_type = w->dtype, .b_row = b_row, .bf16 = bf16, .alpha = 1};
        g.n = V, g.k = C, g.a = xc, g.a_row = x_row, g.y = z, g.y_row = zrow;
        gemm_dot(cx, &g);
        struct row_job j = {cx->dev->simd, z,           zrow, V,        labels + c0,
                            gscale,        d_x != NULL, bf16, nll + c0, best ? best + c0 : NULL};
        parallel_run(parallel_threads(rows, V), rows, loss_row, &j);
        if (!d_x) continue;
        g.n = C, g.k = V, g.a = z, g.a_row = zrow, g.y = (float *)d_x + c0 * C, g.y_row = C;
        gemm_sum(cx, &g);
    }
    return DEV_OK;
}
