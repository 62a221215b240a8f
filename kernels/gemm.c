/* gemm: the drivers of the two products: panels and blocks of rows over threads (see gemm.h). */
#include "kernels/gemm.h"
#include "kernels/ops.h"
#include "kernels/parallel.h"

_Static_assert((int)GEMM_MANY == 2 * LIN_PARTS, "W and A of each part");

static const struct gemm_loops *loops(const struct simd *s, int bf16) { return bf16 ? s->pairs : s->f32; }

/* A grid of panels of n and at least `blocks` blocks of m. m is cut further only when panels alone leave threads idle,
 * since each block unpacks its panel again; never below 48 rows, where unpacking would show. */
struct grid {
    long width, panels, blocks;
    int threads;
};

static struct grid grid_of(const struct gemm *g, long width, long blocks, int threads)
{
    struct grid r = {.width = width, .panels = (g->n + width - 1) / width, .blocks = blocks, .threads = threads};
    while (threads > 1 && r.panels * r.blocks < 8L * threads && r.panels * r.blocks % threads &&
           g->m / (r.blocks + 1) >= 48)
        r.blocks++;
    if (r.panels * r.blocks < threads) r.threads = (int)(r.panels * r.blocks);
    return r;
}

/* A multiply-add in a tile costs about 1/16 of unpacking a value of W. */
static int threads_for(long n, const struct gemm *g) { return parallel_threads(n, g->k * (1 + g->m / 16) / 2); }

static int threads_of(const struct gemm *g) { return threads_for(g->n, g); }

/* Block edges fall on multiples of the tiles' heights, so that only the last block has a short tile. */
enum { EDGE = 12 };
static long edge(const struct gemm *g, long block, long blocks)
{
    return block >= blocks ? g->m : g->m * block / blocks / EDGE * EDGE;
}

struct job {
    const struct gemm *g;
    const struct grid *r;
    void (*task)(const struct gemm *, long n0, long n1, long m0, long m1);
};

static void cell(const struct gemm *g, const struct grid *r, long t,
                 void (*task)(const struct gemm *, long n0, long n1, long m0, long m1))
{
    const long n0 = t / r->blocks * r->width, n1 = n0 + r->width, block = t % r->blocks;
    task(g, n0, n1 < g->n ? n1 : g->n, edge(g, block, r->blocks), edge(g, block + 1, r->blocks));
}

static void grid_task(void *job, long t)
{
    const struct job *j = job;
    cell(j->g, j->r, t, j->task);
}

static void run(const struct gemm *g, const struct grid *r, void (*task)(const struct gemm *, long, long, long, long))
{
    struct job j = {g, r, task};
    parallel_run(r->threads, r->panels * r->blocks, grid_task, &j);
}

struct dot_job {
    const struct simd *simd;
    const struct gemm *g; /* [n]; of both precisions */
    int n;
    long parts;                  /* gemv: of each product */
    struct grid grid[GEMM_MANY]; /* their cells one after another */
};

static void gemv_part(void *job, long i)
{
    const struct dot_job *j = job;
    for (int p = 0; p < j->n; p++) {
        const long n = j->g[p].n, first = n * i / j->parts / GEMV_N * GEMV_N;
        const long last = i + 1 < j->parts ? n * (i + 1) / j->parts / GEMV_N * GEMV_N : n;
        if (first < last) loops(j->simd, j->g[p].bf16)->gemv(j->g + p, first, last);
    }
}

static void dot_cell(void *job, long t)
{
    const struct dot_job *j = job;
    int p = 0;
    for (; t >= j->grid[p].panels * j->grid[p].blocks; p++) t -= j->grid[p].panels * j->grid[p].blocks;
    cell(j->g + p, j->grid + p, t, loops(j->simd, j->g[p].bf16)->dot);
}

/* Tiles: few wide panels, as the first of each is unpacked before anything is multiplied: two of a thread in a run
 * whose products have n columns together. */
static struct grid tiles_grid(const struct gemm *g, long n, int threads)
{
    enum { TILE_COLUMNS = 32 };
    const long share = n / (2L * threads), panels = share > 64 ? (g->n + share - 1) / share : (g->n + 63) / 64;
    const long width = ((g->n + panels - 1) / panels + TILE_COLUMNS - 1) / TILE_COLUMNS * TILE_COLUMNS;
    return (struct grid){.width = width, .panels = (g->n + width - 1) / width, .blocks = 1, .threads = threads};
}

void gemm_dot_many(const struct op_ctx *cx, const struct gemm *g, int n)
{
    if (!n) return;
    struct dot_job j = {.simd = cx->dev->simd, .g = g, .n = n};
    long rows = 0, bytes = 0, cells = 0;
    for (int p = 0; p < n; p++) rows += g[p].n, bytes += g[p].n * g[p].b_row;
    const int threads = threads_for(rows, g);
    if (g->m > 0 && g->m <= loops(cx->dev->simd, g->bf16)->gemv_rows) { /* g[0]: the largest of a run, as a rule */
        /* Each thread streams one stretch of W; a long one is cut for threads that are slower than others. */
        j.parts = threads > 1 && bytes > 8L << 20 ? 8L * threads : threads;
        parallel_run(threads, j.parts, gemv_part, &j);
        return;
    }
    for (int p = 0; p < n; p++) {
        if (loops(cx->dev->simd, g[p].bf16)->tiles) {
            j.grid[p] = tiles_grid(g + p, rows, threads);
            cells += j.grid[p].panels * j.grid[p].blocks;
            continue;
        }
        long width = DOT_NC;
        if (g->m <= DOT_FEW && g[p].n > 4L * threads * DOT_NC) width = g[p].n / (4L * threads * DOT_NC) * DOT_NC;
        j.grid[p] = grid_of(g + p, width, 1, threads);
        cells += j.grid[p].panels * j.grid[p].blocks;
    }
    parallel_run(threads, cells, dot_cell, &j);
}

void gemm_dot(const struct op_ctx *cx, const struct gemm *g) { gemm_dot_many(cx, g, 1); }

void gemm_sum(const struct op_ctx *cx, const struct gemm *g)
{
    const int threads = threads_of(g);
    if (loops(cx->dev->simd, g->bf16)->tiles) {
        const struct grid r = tiles_grid(g, g->n, threads);
        run(g, &r, loops(cx->dev->simd, 1)->sum);
        return;
    }
    /* A task's part of Y, met once in every block of K, should stay in L2: 160 KiB. */
    const long blocks = (g->m + SUM_MC - EDGE - 1) / (SUM_MC - EDGE);
    long width = 40960 * blocks / (g->m ? g->m : 1), most = (g->n + threads - 1) / threads;
    if (width > most) width = most;
    width = width < SUM_NC ? SUM_NC : (width + SUM_NC - 1) / SUM_NC * SUM_NC;
    const struct grid r = grid_of(g, width, blocks, threads);
    run(g, &r, loops(cx->dev->simd, g->bf16)->sum);
}

void gemm_sum_direct(const struct op_ctx *cx, const struct gemm *g)
{
    const struct grid r = grid_of(g, SUM_NC, 1, threads_of(g));
    run(g, &r, cx->dev->simd->f32->sum_direct);
}

struct pack_job {
    const struct gemm_loops *loops;
    float *dst;
    const float *src;
    long src_row, k;
    int bf16;
};

static void pack(void *job, long first, long last)
{
    const struct pack_job *j = job;
    j->loops->pack_rows(j->dst + first * gemm_lanes(j->k, j->bf16), j->src + first * j->src_row, j->src_row,
                        last - first, j->k);
}

void gemm_pack_rows(const struct op_ctx *cx, float *dst, const float *src, long src_row, long m, long k, int bf16)
{
    struct pack_job j = {loops(cx->dev->simd, bf16), dst, src, src_row, k, bf16};
    parallel_rows(parallel_threads(m, k), m, pack, &j);
}
