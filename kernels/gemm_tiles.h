/* gemm_tiles: both products of gemm.h on tiles, for pairs of bf16. Included only by gemm_body.h.
 *
 * Order of sums, of both forms: init, then 32 values of K after another, each as tile_dot sums them. No blocking of
 * rows, columns or K changes a bit, nor which side W is on. A thread unpacks the next panel of W while it multiplies by
 * the one before: beside tiles loads, shuffles and stores cost next to nothing, behind them as much as the tiles.
 * A panel should stay in L1, the block of A in L2. */
#ifndef KERNELS_GEMM_TILES_H
#define KERNELS_GEMM_TILES_H
#include "kernels/gemm_tiles_take.h"

enum {
    TILES_NC = 32,         /* columns of a panel: two tiles */
    TILES_KC = 18,         /* steps of TILE_K in a panel at most: 36 KiB */
    TILES_KS = 2304,       /* values of K of a block of A; a multiple of TILE_K */
    TILES_MC = 512,        /* rows of a block of A */
    TILES_BLOCK = 1 << 19, /* values of such a block: 1 MiB */
};

/* A panel of the walk over a task: columns from n on, steps of K from k0 on. */
struct panel {
    long n, k0, steps;
    const uint16_t *tiles;
};

/* Unpacking of a panel, piece by piece. */
struct unpacking {
    struct take s;
    take_fn *piece;
    long at, n; /* pieces done, in all */
};

VEC_INLINE void unpack_until(struct unpacking *u, long at)
{
    for (; u->at < at; u->at++) u->piece(&u->s, u->at);
}

/* Rows of A, padded to whole tiles: those of the last tile are a copy if it is not full. */
struct tile_rows {
    const char *row; /* of the block's first row */
    long row_bytes;
    const char *last;   /* [16][last_bytes] or NULL */
    long last_bytes, m; /* rows */
};
VEC_INLINE const char *tile_of_rows(const struct tile_rows *a, long m, long *row_bytes)
{
    const int copy = a->last && m + TILE_ROWS > a->m;
    *row_bytes = copy ? a->last_bytes : a->row_bytes;
    return copy ? a->last : a->row + m * a->row_bytes;
}

/* 16 or (both) 32 rows by 32 columns; `pieces` of the next panel are unpacked and the next 32 rows
 * of sums fetched on the way. */
VEC_INLINE void tiles_multiply(const int both, const char *a0, long a0_row, const char *a1, long a1_row,
                               const uint16_t *b, long steps, struct unpacking *u, long pieces, const float *next,
                               long next_row)
{
    const long from = u->at;
    for (long k = 0; k < steps; k++, a0 += TILE_BYTES, a1 += TILE_BYTES, b += 2 * TILE) {
        tile_load(6, b, TILE_BYTES);
        tile_load(4, a0, a0_row);
        tile_dot(0, 4, 6);
        tile_load(7, b + TILE, TILE_BYTES);
        tile_dot(1, 4, 7);
        if (both) {
            tile_load(5, a1, a1_row);
            tile_dot(2, 5, 6);
            tile_dot(3, 5, 7);
        }
        for (long r = 32 * k / steps; r < 32 * (k + 1) / steps; r++) {
            __builtin_prefetch(next + r * next_row, 1);
            __builtin_prefetch(next + r * next_row + 16, 1);
        }
        unpack_until(u, from + pieces * (k + 1) / steps);
    }
}

/* All rows of A by one panel. */
VEC_INLINE void tiles_panel(const struct gemm *g, const struct panel *p, const struct tile_rows *a, long m0, long n1,
                            struct unpacking *u)
{
    const long columns = n1 - p->n, pairs = (a->m + 31) / 32;
    const float *from = p->k0 ? g->y : g->init;
    const long from_row = p->k0 ? g->y_row : g->init_row;
    for (long i = 0; i < pairs; i++) {
        const long m = i * 32, left = a->m - m, until = u->n * (i + 1) / pairs;
        float *y = g->y + (m0 + m) * g->y_row + p->n;
        const float *next = i + 1 < pairs ? y + 32 * g->y_row : y + 32 - m * g->y_row; /* or the next panel's first */
        const float *c = from ? from + (m0 + m) * from_row + p->n : NULL;
        long row0, row1 = 0;
        const char *a0 = tile_of_rows(a, m, &row0) + p->k0 * 2, *a1 = NULL;
        sums_load(0, c, from_row, left, columns);
        sums_load(1, c ? c + 16 : NULL, from_row, left, columns - 16);
        if (left > 16) {
            a1 = tile_of_rows(a, m + 16, &row1) + p->k0 * 2;
            sums_load(2, c ? c + 16 * from_row : NULL, from_row, left - 16, columns);
            sums_load(3, c ? c + 16 * from_row + 16 : NULL, from_row, left - 16, columns - 16);
            tiles_multiply(1, a0, row0, a1, row1, p->tiles, p->steps, u, until - u->at, next, g->y_row);
            sums_store(2, y + 16 * g->y_row, g->y_row, left - 16, columns);
            sums_store(3, y + 16 * g->y_row + 16, g->y_row, left - 16, columns - 16);
        } else {
            tiles_multiply(0, a0, row0, a1, row1, p->tiles, p->steps, u, until - u->at, next, g->y_row);
        }
        sums_store(0, y, g->y_row, left, columns);
        sums_store(1, y + 16, g->y_row, left, columns - 16);
    }
}

/* The walk: columns fastest of the panels of a block of K. */
struct walk {
    long n0, n1, steps, per_panel; /* of this block of K, from step k0 on */
    long k0;
};
VEC_INLINE int walk_next(const struct walk *w, struct panel *p) /* from p to the next; 0: there is none */
{
    p->k0 += p->steps * TILE_K;
    if (p->k0 >= (w->k0 + w->steps) * TILE_K) {
        p->k0 = w->k0 * TILE_K;
        p->n += TILES_NC;
    }
    const long left = w->k0 + w->steps - p->k0 / TILE_K;
    p->steps = left < w->per_panel ? left : w->per_panel;
    return p->n < w->n1;
}

static void tiles_begin(struct unpacking *u, const struct gemm *g, const struct panel *p, uint16_t *to, take_fn *piece,
                        int sum)
{
    *u = (struct unpacking){.s = {.g = g, .n = p->n, .k0 = p->k0, .to = to},
                            .piece = piece,
                            .n = sum ? p->steps * (TILE_K / 2) / TAKE_PAIRS : p->steps * 2};
}

/* Rows m0 .. m0 + a->m of a block of K: all columns n0 .. n1. */
VEC_INLINE void tiles_block(const int sum, const struct gemm *g, const struct walk *w, const struct tile_rows *a,
                            long m0)
{
    _Alignas(64) static __thread uint16_t tiles[2][TILES_KC * 2 * TILE];
    take_fn *piece = take_of[sum][g->b_type];
    struct panel p = {.n = w->n0 - TILES_NC, .k0 = (w->k0 + w->steps) * TILE_K}, next;
    struct unpacking u;
    walk_next(w, &p);
    tiles_begin(&u, g, &p, tiles[0], piece, sum);
    for (int turn = 0;; turn ^= 1, p = next) {
        unpack_until(&u, u.n);
        p.tiles = tiles[turn];
        next = p;
        const int more = walk_next(w, &next);
        u.at = u.n = 0;
        if (more) tiles_begin(&u, g, &next, tiles[turn ^ 1], piece, sum);
        tiles_panel(g, &p, a, m0, w->n1, &u);
        if (!more) return;
    }
}

/* Columns n0 .. n1, rows m0 .. m1. */
VEC_INLINE void tiles_task(const int sum, const struct gemm *g, long n0, long n1, long m0, long m1)
{
    _Alignas(64) static __thread uint16_t last[TILE_ROWS][TILES_KS];
    const long steps = (g->k + TILE_K - 1) / TILE_K, a_row = g->a_row * (long)sizeof(float);
    tiles_ready();
    for (long m = m0; m < m1; m += TILES_MC) {
        const long rows = m1 - m < TILES_MC ? m1 - m : TILES_MC, fit = TILES_BLOCK / rows / TILE_K;
        const long most = fit < TILES_KS / TILE_K ? fit : TILES_KS / TILE_K;
        for (long k = 0; k < steps; k += most) {
            struct walk w = {.n0 = n0, .n1 = n1, .k0 = k};
            w.steps = steps - k < most ? steps - k : most;
            const long panels = (w.steps + TILES_KC - 1) / TILES_KC;
            w.per_panel = (w.steps + panels - 1) / panels;
            struct tile_rows a = {.row = (const char *)g->a + m * a_row, .row_bytes = a_row};
            a.m = rows;
            const long odd = a.m % TILE_ROWS;
            if (odd) {
                const size_t bytes = (size_t)w.steps * TILE_BYTES;
                for (long i = 0; i < TILE_ROWS; i++) {
                    const char *row = a.row + (a.m - odd + i) * a_row + k * TILE_BYTES;
                    if (i < odd)
                        memcpy(last[i], row, bytes);
                    else
                        memset(last[i], 0, bytes);
                }
                a.last = (const char *)last - k * TILE_BYTES;
                a.last_bytes = sizeof last[0];
            }
            tiles_block(sum, g, &w, &a, m);
        }
    }
}
#endif
