/* gemm: the drivers of the two products: panels and blocks of rows over threads (see gemm.h). */
#include "kernels/gemm.h"
#include "kernels/parallel.h"

/* A grid of panels of n and blocks of m. m is cut only when panels alone leave threads idle, since each block unpacks its
 * panel again; never below 48 rows, where unpacking would show. */
struct grid {
    long panels, blocks;
    int threads;
};

static struct grid grid_of(const struct gemm *g, long nc)
{
    struct grid r = {.panels = (g->n + nc - 1) / nc, .blocks = 1};
    /* A multiply-add in a tile costs about 1/16 of unpacking a value of W. */
    r.threads = parallel_threads(g->n, g->k * (1 + g->m / 16) / 2);
    while (r.threads > 1 && r.panels * r.blocks < 8L * r.threads && r.panels * r.blocks % r.threads && g->m / (r.blocks + 1) >= 48)
        r.blocks++;
    if (r.panels * r.blocks < r.threads) r.threads = (int)(r.panels * r.blocks);
    return r;
}

/* Block edges fall on multiples of the tiles' heights, so that only the last block has a short tile. */
static long edge(const struct gemm *g, long block, long blocks)
{
    return block >= blocks ? g->m : g->m * block / blocks / 12 * 12;
}

void gemm_dot(const struct op_ctx *cx, const struct gemm *g)
{
    const struct grid r = grid_of(g, DOT_NC);
#pragma omp parallel for schedule(static) num_threads(r.threads) if (r.threads > 1)
    for (long t = 0; t < r.panels * r.blocks; t++) {
        long panel = t / r.blocks, block = t % r.blocks;
        cx->dev->simd->dot_task(g, panel * DOT_NC, edge(g, block, r.blocks), edge(g, block + 1, r.blocks));
    }
}

void gemm_sum(const struct op_ctx *cx, const struct gemm *g)
{
    const struct grid r = grid_of(g, SUM_NC);
#pragma omp parallel for schedule(static) num_threads(r.threads) if (r.threads > 1)
    for (long t = 0; t < r.panels * r.blocks; t++) {
        long panel = t / r.blocks, block = t % r.blocks;
        cx->dev->simd->sum_task(g, panel * SUM_NC, edge(g, block, r.blocks), edge(g, block + 1, r.blocks));
    }
}

void gemm_sum_direct(const struct op_ctx *cx, const struct gemm *g)
{
    const struct grid r = grid_of(g, SUM_NC);
#pragma omp parallel for schedule(static) num_threads(r.threads) if (r.threads > 1)
    for (long t = 0; t < r.panels * r.blocks; t++) {
        long n0 = t / r.blocks * SUM_NC, block = t % r.blocks;
        cx->dev->simd->sum_direct_task(g, n0, n0 + SUM_NC < g->n ? n0 + SUM_NC : g->n, edge(g, block, r.blocks),
                                       edge(g, block + 1, r.blocks));
    }
}

void gemm_pack_rows(const struct op_ctx *cx, float *dst, const float *src, long src_row, long m, long k, int round)
{
    const int n = parallel_threads(m, k);
    const long kp = gemm_padded(k);
#pragma omp parallel for schedule(static) num_threads(n) if (n > 1)
    for (int i = 0; i < n; i++) {
        long first = parallel_first(m, i, n), last = parallel_first(m, i + 1, n);
        cx->dev->simd->pack_rows(dst + first * kp, src + first * src_row, src_row, last - first, k, round);
    }
}
