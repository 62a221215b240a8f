/* gemm: the drivers of the two products: panels and blocks of rows over threads (see gemm.h). */
#include "kernels/gemm.h"
#include "kernels/parallel.h"

/* A grid of panels of n and blocks of m. m is cut only when panels alone leave threads idle, since each block unpacks its
 * panel again; never below 48 rows, where unpacking would show. */
struct grid {
    long width, panels, blocks;
    int threads;
};

static struct grid grid_of(const struct gemm *g, long width, int threads)
{
    struct grid r = {
        .width = width, .panels = (g->n + width - 1) / width, .blocks = 1, .threads = threads};
    while (threads > 1 && r.panels * r.blocks < 8L * threads && r.panels * r.blocks % threads &&
           g->m / (r.blocks + 1) >= 48)
        r.blocks++;
    if (r.panels * r.blocks < threads) r.threads = (int)(r.panels * r.blocks);
    return r;
}

/* A multiply-add in a tile costs about 1/16 of unpacking a value of W. */
static int threads_of(const struct gemm *g)
{
    return parallel_threads(g->n, g->k * (1 + g->m / 16) / 2);
}

/* Block edges fall on multiples of the tiles' heights, so that only the last block has a short tile. */
static long edge(const struct gemm *g, long block, long blocks)
{
    return block >= blocks ? g->m : g->m * block / blocks / 12 * 12;
}

/* Tasks are handed out as threads come: cores may be of two speeds, or shared with others. The bits are each task's own. */
static void run(const struct gemm *g, const struct grid *r,
                void (*task)(const struct gemm *, long, long, long, long))
{
#pragma omp parallel for schedule(dynamic) num_threads(r->threads) if (r->threads > 1)
    for (long t = 0; t < r->panels * r->blocks; t++) {
        const long n0 = t / r->blocks * r->width, block = t % r->blocks;
        task(g, n0, n0 + r->width < g->n ? n0 + r->width : g->n, edge(g, block, r->blocks),
             edge(g, block + 1, r->blocks));
    }
}

/* Few rows: each thread streams one stretch of W; a long one is cut for threads that are slower than others. */
static void gemv(const struct op_ctx *cx, const struct gemm *g)
{
    const int threads = threads_of(g);
    const long parts = threads > 1 && g->n * g->b_row > 8L << 20 ? 8L * threads : threads;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (long i = 0; i < parts; i++)
        cx->dev->simd->gemv_task(g, g->n * i / parts / 8 * 8,
                                 i + 1 < parts ? g->n * (i + 1) / parts / 8 * 8 : g->n);
}

void gemm_dot(const struct op_ctx *cx, const struct gemm *g)
{
    if (g->m <= GEMV_M && g->m > 0) {
        gemv(cx, g);
        return;
    }
    const int threads = threads_of(g);
    long width = DOT_NC;
    if (g->m <= DOT_FEW && g->n > 4L * threads * DOT_NC) width = g->n / (4L * threads * DOT_NC) * DOT_NC;
    const struct grid r = grid_of(g, width, threads);
    run(g, &r, cx->dev->simd->dot_task);
}

void gemm_sum(const struct op_ctx *cx, const struct gemm *g)
{
    /* A task's part of Y, met once in every block of K, should stay in L2: 160 KiB. */
    const int threads = threads_of(g);
    long width = 40960 / (g->m ? g->m : 1), most = (g->n + threads - 1) / threads;
    if (width > most) width = most;
    width = width < SUM_NC ? SUM_NC : (width + SUM_NC - 1) / SUM_NC * SUM_NC;
    const struct grid r = grid_of(g, width, threads);
    run(g, &r, cx->dev->simd->sum_task);
}

void gemm_sum_direct(const struct op_ctx *cx, const struct gemm *g)
{
    const struct grid r = grid_of(g, SUM_NC, threads_of(g));
    run(g, &r, cx->dev->simd->sum_direct_task);
}

void gemm_pack_rows(const struct op_ctx *cx, float *dst, const float *src, long src_row, long m,
                    long k, int bf16)
{
    const int n = parallel_threads(m, k);
    const long lanes = gemm_lanes(k, bf16);
#pragma omp parallel for schedule(static) num_threads(n) if (n > 1)
    for (int i = 0; i < n; i++) {
        long first = parallel_first(m, i, n), last = parallel_first(m, i + 1, n);
        cx->dev->simd->pack_rows(dst + first * lanes, src + first * src_row, src_row, last - first, k,
                                 bf16);
    }
}
