/* gemm_tiles_take: stored weights as bf16 in the order of tiles (tiles.h). Included only by gemm_tiles.h.
 * Roundings are those of pack_value and vec_pairs: 4-bit values are picked from the 16 that their block can hold, each
 * made as pack_value makes it and rounded once. */
#ifndef KERNELS_GEMM_TILES_TAKE_H
#define KERNELS_GEMM_TILES_TAKE_H
#include "kernels/tiles.h"

#if defined(__AVX512BF16__)
/* The values, rounded, that the low four bits of 32 indices pick. */
VEC_INLINE __m512i take_pick(vf values, __m512i index)
{
    return _mm512_permutexvar_epi16(index, (__m512i)_mm512_cvtne2ps_pbh((__m512)values, (__m512)values));
}
/* Low halves of 16 bytes, then the high ones. */
VEC_INLINE __m512i take_nibbles(const unsigned char *p)
{
    const __m512i b = _mm512_cvtepu8_epi16(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)p)));
    return _mm512_mask_srli_epi16(b, 0xffff0000u, b, 4);
}
/* Codes 32 half .. 32 half + 31 of a block of nf4.h. */
VEC_INLINE __m512i take_nf4(const unsigned char *p, long half)
{
    const __m256i words = _mm256_srl_epi32(_mm256_loadu_si256((const void *)(p + 4)), _mm_cvtsi64_si128(16 * half));
    const __m512i four = _mm512_broadcast_i32x4(_mm256_cvtepi32_epi16(words));
    const __m512i shift = _mm512_inserti64x4(
        _mm512_castsi256_si512(_mm256_inserti128_si256(_mm256_setzero_si256(), _mm_set1_epi16(4), 1)),
        _mm256_inserti128_si256(_mm256_set1_epi16(8), _mm_set1_epi16(12), 1), 1);
    return _mm512_srlv_epi16(four, shift);
}
static const float take_0_to_15[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#endif

/* Where values c0 .. c0 + 32 of a stored row begin, c0 a multiple of 32; and which half they are of a block of 64. */
VEC_INLINE long take_offset(const enum dtype t, long c0)
{
    return t == DT_NF4 ? c0 / NF4_BLOCK * 36 : c0 / 32 * pack_bytes(t);
}
VEC_INLINE long take_half(const enum dtype t, long c0) { return t == DT_NF4 ? c0 % NF4_BLOCK / 32 : 0; }

/* Those 32 values. */
VEC_INLINE vf take_32(const enum dtype t, const unsigned char *p, long half)
{
#if defined(__AVX512BF16__)
    if (t == DT_BF16) return *(const vf_byte *)p;
    const struct pack_block b = pack_open(t, p);
    const vf steps = vec_load(take_0_to_15);
    switch (t) {
    case DT_Q4_0:
        return (vf)take_pick((steps - 8) * b.scale, take_nibbles(p + 2));
    case DT_Q4_1:
        return (vf)take_pick(vec_fma(steps, b.scale, b.low), take_nibbles(p + 4));
    case DT_NF4:
        return (vf)take_pick(b.scale, take_nf4(p, half));
    default:
        return vec_pairs(pack_value(t, &b, p, 0), pack_value(t, &b, p, VW));
    }
#else
    _Alignas(64) uint16_t to[NF4_BLOCK];
    pack_values(t, p, 0, t == DT_NF4 ? NF4_BLOCK : 32, to);
    return vec_load((const float *)(const void *)(to + 32 * half));
#endif
}

/* The same of a row that has only `left` values from there on, zeros behind them. */
VEC_INLINE vf take_some(const enum dtype t, const unsigned char *p, long half, long left)
{
    if (left >= TILE_K) return take_32(t, p, half);
    _Alignas(64) uint16_t to[TILE_K] = {0};
    if (left > 0) pack_values(t, p, 0, left, to); /* blocks are whole: a type without them */
    return vec_load((const float *)(const void *)to);
}

/* What is unpacked: W of a product, columns (dot: rows of W) from n on, values of K from k0 on, into tiles at `to`. */
struct take {
    const struct gemm *g;
    long n, k0;
    uint16_t *to;
};

/* 16 rows of W from n on, 32 values each from k on, one under the other. */
VEC_INLINE void take_block(const enum dtype t, const struct gemm *g, long n, long k, float *to)
{
    const unsigned char *p = (const unsigned char *)g->b + n * g->b_row + take_offset(t, k);
    const long half = take_half(t, k), left = g->k - k;
    if (n + TILE_ROWS <= g->n && left >= TILE_K) {
        UNROLL16
        for (int i = 0; i < TILE_ROWS; i++, p += g->b_row) vec_store(to + 16 * i, take_32(t, p, half));
    } else {
        for (int i = 0; i < TILE_ROWS; i++, p += g->b_row)
            vec_store(to + 16 * i, n + i < g->n ? take_some(t, p, half, left) : (vf){0});
    }
}

/* dot: tile `part` % 2 of step `part` / 2: a block as pairs of K by 16 columns. */
VEC_INLINE void take_columns(const enum dtype t, const struct take *s, long part)
{
    float *to = (float *)(void *)(s->to + part * TILE);
    take_block(t, s->g, s->n + part % 2 * TILE_ROWS, s->k0 + part / 2 * TILE_K, to);
    tile_transpose(to, 16, to, 16);
}

/* sum: TAKE_PAIRS pairs of rows of W, 32 columns each: as many lines of the two tiles of a step. */
enum { TAKE_PAIRS = 4 };
VEC_INLINE void take_rows(const enum dtype t, const struct take *s, long part)
{
    const struct gemm *g = s->g;
    const long first = part * TAKE_PAIRS, k = s->k0 + 2 * first, left = g->n - s->n, half = take_half(t, s->n);
    const unsigned char *p = (const unsigned char *)g->b + k * g->b_row + take_offset(t, s->n);
    float *to = (float *)(void *)(s->to + first / 16 * 2 * TILE + first % 16 * TILE_K);
    if (k + 2 * TAKE_PAIRS <= g->k && left >= TILE_K) {
        UNROLL
        for (int i = 0; i < TAKE_PAIRS; i++, p += 2 * g->b_row)
            tile_pair(to + 16 * i, to + 16 * i + TILE / 2, take_32(t, p, half), take_32(t, p + g->b_row, half));
        return;
    }
    for (int i = 0; i < TAKE_PAIRS; i++, p += 2 * g->b_row) {
        const vf a = k + 2 * i < g->k ? take_some(t, p, half, left) : (vf){0};
        const vf b = k + 2 * i + 1 < g->k ? take_some(t, p + g->b_row, half, left) : (vf){0};
        tile_pair(to + 16 * i, to + 16 * i + TILE / 2, a, b);
    }
}

/* By type: one piece of a panel, called between tiles. */
typedef void take_fn(const struct take *s, long part);
#define TAKE_TYPE(t)                                                                            \
    static void take_columns_##t(const struct take *s, long part) { take_columns(t, s, part); } \
    static void take_rows_##t(const struct take *s, long part) { take_rows(t, s, part); }
TAKE_TYPE(DT_F32)
TAKE_TYPE(DT_F16)
TAKE_TYPE(DT_BF16)
TAKE_TYPE(DT_Q4_0)
TAKE_TYPE(DT_Q4_1)
TAKE_TYPE(DT_Q8_0)
TAKE_TYPE(DT_NF4)
#undef TAKE_TYPE
static take_fn *const take_of[2][DT_COUNT] = {
#define TAKE_OF(form)                                                                                        \
    {                                                                                                        \
        form##DT_F32, form##DT_F16, form##DT_BF16, form##DT_Q4_0, form##DT_Q4_1, form##DT_Q8_0, form##DT_NF4 \
    }
    TAKE_OF(take_columns_),
    TAKE_OF(take_rows_),
#undef TAKE_OF
};
#endif
