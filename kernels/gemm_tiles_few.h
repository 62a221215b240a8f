/* gemm_tiles_few: `dot` of at most 16 rows on tiles. Included only by gemm_body.h.
 *
 * W is the left factor as its rows lie, and the rows of A are columns of the right one, so that nothing of W is turned.
 * The bits are those of tiles_task (tile_dot). */
#ifndef KERNELS_GEMM_TILES_FEW_H
#define KERNELS_GEMM_TILES_FEW_H
#include "kernels/gemm_tiles.h"

enum { FEW_STEPS = 3 }; /* that unpacking is ahead of multiplying */

/* Sums of 16 rows of W and all rows of A, over `steps` steps from k on; x: A as right factors. */
VEC_INLINE void few_columns(const enum dtype t, const struct gemm *g, long n, long k, long steps, const uint16_t *x)
{
    _Alignas(64) float sums[16][16] = {{0}};
    _Alignas(64) static __thread uint16_t w[FEW_STEPS + 1][TILE];
    const long columns = g->n - n < TILE_ROWS ? g->n - n : TILE_ROWS, from_row = k ? g->y_row : g->init_row;
    const float *from = k ? g->y : g->init;
    for (long j = 0; from && j < g->m; j++)
        for (long i = 0; i < columns; i++) sums[i][j] = from[j * from_row + n + i];
    tile_load(0, sums, TILE_BYTES);
    const unsigned char *next = (const unsigned char *)g->b + (n + TILE_ROWS) * g->b_row;
    const long bytes = TILE_ROWS * g->b_row / steps, ahead = n + 2 * TILE_ROWS <= g->n;
    for (long s = 0; s < steps + FEW_STEPS; s++) { /* stores have reached the cache when a tile is loaded */
        if (s < steps) {
            for (long c = 0; ahead && c < bytes; c += 64) __builtin_prefetch(next + c);
            next += bytes;
            take_block(t, g, n, k + s * TILE_K, (float *)(void *)w[s % (FEW_STEPS + 1)]);
        }
        const long done = s - FEW_STEPS;
        if (done < 0) continue;
        tile_load(4, w[done % (FEW_STEPS + 1)], TILE_BYTES);
        tile_load(6, x + done * TILE, TILE_BYTES);
        tile_dot(0, 4, 6);
    }
    tile_store(0, sums, TILE_BYTES);
    for (long j = 0; j < g->m; j++)
        for (long i = 0; i < columns; i++) g->y[j * g->y_row + n + i] = sums[i][j];
}

/* Rows of A, from value k on, as right factors: line p of a tile holds pair p of each row. */
VEC_INLINE void few_rows(const struct gemm *g, long k, long steps, uint16_t *x)
{
    _Alignas(64) static const float zeros[16];
    for (long s = 0; s < steps; s++) {
        float rows[TILE_ROWS][16];
        for (long j = 0; j < TILE_ROWS; j++)
            vec_store(rows[j], vec_load(j < g->m ? (const float *)g->a + j * g->a_row + k / 2 + s * 16 : zeros));
        tile_transpose((float *)(void *)(x + s * TILE), 16, rows[0], 16);
    }
}

VEC_INLINE void few_type(const enum dtype t, const struct gemm *g, long n0, long n1)
{
    _Alignas(64) static __thread uint16_t x[TILES_KS / TILE_K * TILE];
    const long all = (g->k + TILE_K - 1) / TILE_K;
    for (long s = 0; s < all; s += TILES_KS / TILE_K) {
        const long steps = all - s < TILES_KS / TILE_K ? all - s : TILES_KS / TILE_K;
        few_rows(g, s * TILE_K, steps, x);
        for (long n = n0; n < n1; n += TILE_ROWS) few_columns(t, g, n, s * TILE_K, steps, x);
    }
}

/* Columns n0 .. n1, n0 a multiple of 16; at most 16 rows. */
static void tiles_few(const struct gemm *g, long n0, long n1)
{
    tiles_ready();
    switch (g->b_type) {
#define FEW_TYPE(t)             \
    case t:                     \
        few_type(t, g, n0, n1); \
        return;
        FEW_TYPE(DT_F32)
        FEW_TYPE(DT_F16)
        FEW_TYPE(DT_BF16)
        FEW_TYPE(DT_Q4_0)
        FEW_TYPE(DT_Q4_1)
        FEW_TYPE(DT_Q8_0)
        FEW_TYPE(DT_NF4)
#undef FEW_TYPE
    case DT_COUNT:
        return;
    }
}
#endif
