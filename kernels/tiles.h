/* tiles: registers of 16 rows of 64 bytes, and the product of two of them: Intel AMX, or the same in plain C with the
 * same bits. Included only by files with 16 lanes (VW).
 *
 * tile_dot: C[i][j] += sum over p of A[i][2p] B[p][2j] + A[i][2p+1] B[p][2j+1], i, j, p < 16: A is 16 rows of 32 values
 * of bf16, B is 16 pairs of rows of 16 columns, the two values of a pair side by side. Order of sums: the values of
 * even and of odd number each from 0 on, 16 fused multiply-adds; the two together; that to C. Denormal numbers are
 * zeros, in and out. An element is thus a function of its row of A, its column of B and what C was: zeros in other
 * places change nothing, and A and B may change sides.
 *
 * Registers are named by constants of the compiler. 0 .. 3 hold sums by convention, 4 .. 7 factors.
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, TDPBF16PS; the order was found by measuring. */
#ifndef KERNELS_TILES_H
#define KERNELS_TILES_H
#include "kernels/vec.h"

enum {
    TILE_ROWS = 16,
    TILE_BYTES = 64, /* of a row */
    TILE_K = 32,     /* values of bf16 in a row of A */
    TILE = 512,      /* values of bf16 in a tile */
};

#if defined(__AMX_BF16__)
/* Own instructions: the compilers' intrinsics say nothing of the memory that they read or write. */
VEC_INLINE void tile_load(const int t, const void *p, long row_bytes)
{
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(row_bytes), "i"(t) : "memory");
}
VEC_INLINE void tile_store(const int t, void *p, long row_bytes)
{
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(row_bytes), "i"(t) : "memory");
}
VEC_INLINE void tile_zero(const int t) { __asm__ volatile("tilezero %%tmm%c0" ::"i"(t)); }
VEC_INLINE void tile_dot(const int c, const int a, const int b)
{
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
}
/* Before a thread's first tile; simd.c has asked the kernel for permission by then. */
VEC_INLINE void tiles_ready(void)
{
    static __thread int ready;
    if (ready) return;
    const struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } all = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    __asm__ volatile("ldtilecfg %0" ::"m"(all));
    ready = 1;
}
#else
VEC_UNUSED _Alignas(64) __thread float tile_register[8][TILE_ROWS][16];

VEC_INLINE void tile_load(const int t, const void *p, long row_bytes)
{
    for (int i = 0; i < TILE_ROWS; i++) memcpy(tile_register[t][i], (const char *)p + i * row_bytes, TILE_BYTES);
}
VEC_INLINE void tile_store(const int t, void *p, long row_bytes)
{
    for (int i = 0; i < TILE_ROWS; i++) memcpy((char *)p + i * row_bytes, tile_register[t][i], TILE_BYTES);
}
VEC_INLINE void tile_zero(const int t) { memset(tile_register[t], 0, sizeof tile_register[t]); }
VEC_INLINE vf tile_flush(vf v)
{
    const vi bits = (vi)v, tiny = (bits & 0x7f800000) == 0;
    return (vf)(bits & ~(tiny & 0x7fffffff));
}
VEC_UNUSED void tile_dot(int c, int a, int b)
{
    const vi high = -65536 + (vi){0};
    for (int i = 0; i < TILE_ROWS; i++) {
        vf even = {0}, odd = {0};
        for (int p = 0; p < TILE_K / 2; p++) {
            const vi x = (vi)vec_spread(&tile_register[a][i][p]), y = (vi)vec_load(tile_register[b][p]);
            even = tile_flush(vec_fma(tile_flush((vf)(x << 16)), tile_flush((vf)(y << 16)), even));
            odd = tile_flush(vec_fma(tile_flush((vf)(x & high)), tile_flush((vf)(y & high)), odd));
        }
        float *to = tile_register[c][i];
        vec_store(to, tile_flush(tile_flush(vec_load(to)) + tile_flush(even + odd)));
    }
}
VEC_INLINE void tiles_ready(void) {}
#endif

/* A block of 16 x 16 values of 4 bytes at `from`, rows `from_row` of them apart, turned about its diagonal. */
VEC_INLINE void tile_transpose(float *to, long to_row, const float *from, long from_row)
{
#if defined(__AVX512F__)
    __m512i r[16], t[16];
    UNROLL16
    for (int i = 0; i < 16; i++) r[i] = (__m512i)vec_load(from + i * from_row);
    UNROLL16
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        vec_store(to + i * to_row, (vf)_mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
        vec_store(to + (i + 8) * to_row, (vf)_mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd));
        vec_store(to + (i + 4) * to_row, (vf)_mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88));
        vec_store(to + (i + 12) * to_row, (vf)_mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd));
    }
#else
    vi r[16]; /* 4 bytes of any kind; to may be from */
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) memcpy((char *)&r[j] + 4 * i, from + i * from_row + j, 4);
    for (int i = 0; i < 16; i++) vec_store(to + i * to_row, (vf)r[i]);
#endif
}

/* Two rows of 32 values as pairs of them: a line of a right factor's tile for the first 16 values, one for the others.
 */
#if defined(__AVX512F__)
static const uint16_t pair_order[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                        8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
#endif
VEC_INLINE void tile_pair(float *left, float *right, vf a, vf b)
{
#if defined(__AVX512F__)
    const __m512i low = _mm512_loadu_si512(pair_order);
    const __m512i high = _mm512_or_si512(low, _mm512_set1_epi16(16));
    vec_store(left, (vf)_mm512_permutex2var_epi16((__m512i)a, low, (__m512i)b));
    vec_store(right, (vf)_mm512_permutex2var_epi16((__m512i)a, high, (__m512i)b));
#else
    uint16_t x[TILE_K], y[TILE_K];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    vec_interleave(left, x, y);
    vec_interleave(right, x + 16, y + 16);
#endif
}
/* Sums of 16 x 16 in register t begin at `from` (NULL: zeros); only rows x columns of them are there. */
VEC_INLINE void sums_load(const int t, const float *from, long row, long rows, long columns)
{
    if (!from || rows <= 0 || columns <= 0) {
        tile_zero(t);
    } else if (rows >= 16 && columns >= 16) {
        tile_load(t, from, row * (long)sizeof *from);
    } else {
        _Alignas(64) float edge[16][16] = {{0}};
        for (long i = 0; i < rows && i < 16; i++)
            memcpy(edge[i], from + i * row, (size_t)(columns < 16 ? columns : 16) * sizeof **edge);
        tile_load(t, edge, TILE_BYTES);
    }
}
VEC_INLINE void sums_store(const int t, float *to, long row, long rows, long columns)
{
    if (rows <= 0 || columns <= 0) return;
    if (rows >= 16 && columns >= 16) {
        tile_store(t, to, row * (long)sizeof *to);
    } else {
        _Alignas(64) float edge[16][16];
        tile_store(t, edge, TILE_BYTES);
        for (long i = 0; i < rows && i < 16; i++)
            memcpy(to + i * row, edge[i], (size_t)(columns < 16 ? columns : 16) * sizeof **edge);
    }
}
#endif
