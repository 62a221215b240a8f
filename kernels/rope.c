/* rope: rotary position embedding in place (Su et al. 2021). The loops: rows_simd.h.
 * Cosines and sines are computed again in each call: vectorised, they cost less than a table's traffic. */
#include "kernels/ops.h"
#include "kernels/parallel.h"

struct job {
    const struct simd *simd;
    void *x;
    long ld;
    const int32_t *pos;
    const float *inv_freq;
    int n_heads, D, dir;
};

static void turn(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->rope(j->x, j->ld, j->pos, j->inv_freq, first, last, j->n_heads, j->D, j->dir);
}

int cpu_rope(const struct op_ctx *cx, void *x, long ld, const int32_t *pos, const float *inv_freq, long T, int n_heads,
             int D, int dir)
{
    int rc = cpu_op_check(cx, "rope");
    if (rc) return rc;
    if (D % 2 || D / 2 > cx->dev->simd->rope_half)
        return dev_fail(cx->dev, DEV_UNSUPPORTED, "rope: head width %d, expected even and at most %d", D,
                        2 * cx->dev->simd->rope_half);
    struct job j = {cx->dev->simd, x, ld, pos, inv_freq, n_heads, D, dir};
    parallel_rows(parallel_threads(T, (long)n_heads * D + 8 * D), T, turn, &j);
    return DEV_OK;
}
