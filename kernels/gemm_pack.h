/* gemm_pack: stored weights to f32 or bf16, in registers and in panels. Included only by gemm_body.h and simd_body.h.
 * Weights may lie at any address: they are mapped from a file. */
#ifndef KERNELS_GEMM_PACK_H
#define KERNELS_GEMM_PACK_H
#include "kernels/dtype.h"
#include "kernels/nf4_simd.h"

typedef uint16_t u16_any __attribute__((aligned(1), may_alias));
typedef uint8_t vb_any __attribute__((vector_size(VW), aligned(1), may_alias));
typedef float vf_byte __attribute__((vector_size(4 * VW), aligned(1), may_alias));
typedef union {
    uint32_t u;
    float f;
} bits32;

VEC_INLINE float half_value(uint16_t h)
{
    bits32 x = {.u = (uint32_t)(h & 0x7fffu) << 13}, magic = {.u = 0x77800000u};
    x.f *= magic.f;
    x.u |= (h & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0;
    x.u |= (uint32_t)(h & 0x8000u) << 16;
    return x.f;
}

/* To nearest even; a NaN stays one. vcvtneps2bf16 takes denormal numbers for zeros. */
VEC_INLINE uint16_t round_bf16(float v)
{
    bits32 x = {.f = v};
#if defined(AS_AVX512)
    if (!(x.u & 0x7f800000u)) x.u &= 0x80000000u;
#endif
    uint32_t r = x.u + 0x7fffu + ((x.u >> 16) & 1u);
    return (uint16_t)(((x.u & 0x7fffffffu) > 0x7f800000u ? x.u | 0x400000u : r) >> 16);
}

/* dst may be src itself: values are written no further than they were read. */
VEC_UNUSED void pack_bf16(uint16_t *dst, const float *src, long n)
{
    long i = 0;
#if defined(__AVX512BF16__) && VW == 16
    for (; i + VW <= n; i += VW) {
        __m256i v = (__m256i)_mm512_cvtneps_pbh((__m512)vec_load(src + i));
        memcpy((u16_any *)dst + i, &v, sizeof v);
    }
#endif
    for (; i < n; i++) ((u16_any *)dst)[i] = round_bf16(src[i]);
}

/* VW bytes, signed bytes, shorts from memory as integers. */
VEC_INLINE vi vec_bytes(const unsigned char *p)
{
#if VW == 16 && defined(__AVX512F__)
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
#elif VW == 8 && defined(__AVX2__)
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
#else
    return __builtin_convertvector(*(const vb_any *)p, vi);
#endif
}
VEC_INLINE vi vec_signed_bytes(const unsigned char *p)
{
#if VW == 16 && defined(__AVX512F__)
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p));
#elif VW == 8 && defined(__AVX2__)
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p));
#else
    return (vec_bytes(p) ^ 0x80) - 0x80;
#endif
}
VEC_INLINE vi vec_shorts(const u16_any *p)
{
#if VW == 16 && defined(__AVX512F__)
    return (vi)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
#elif VW == 8 && defined(__AVX2__)
    return (vi)_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
#else
    return __builtin_convertvector(*(const vh_any *)p, vi);
#endif
}
VEC_INLINE vf vec_halves(const u16_any *p)
{
#if VW == 16 && defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
#elif VW == 8 && defined(__AVX2__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
#else /* half_value, lane by lane */
    const vi h = vec_shorts(p), infinite = (h & 0x7c00) == 0x7c00;
    const vi x = (vi)((vf)((h & 0x7fff) << 13) * vec_set((bits32){.u = 0x77800000u}.f));
    return (vf)(x | (infinite & 0x7f800000) | (h & 0x8000) << 16);
#endif
}
/* 2 * VW values, VW to a vector, as VW pairs of bf16: what pack_bf16 makes of them. */
VEC_INLINE vf vec_pairs(vf a, vf b)
{
#if defined(__AVX512BF16__) && VW == 16
    return (vf)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
#else
    const vf v[2] = {a, b};
    vi high[2];
    UNROLL
    for (int i = 0; i < 2; i++) {
        vi x = (vi)v[i];
#if defined(AS_AVX512)
        x &= ~(((x & 0x7f800000) == 0) & 0x7fffffff);
#endif
        const vi r = x + 0x7fff + ((x >> 16) & 1);
        const vi nan = (x & 0x7fffffff) > 0x7f800000;
        high[i] = (vi)((vu)(((x | 0x400000) & nan) | (r & ~nan)) >> 16);
    }
#if VW == 8 && defined(__AVX2__)
    return (vf)_mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)high[0], (__m256i)high[1]), 0xd8);
#else
    vh pair[2];
    vf all;
    UNROLL
    for (int i = 0; i < 2; i++) pair[i] = __builtin_convertvector(high[i], vh);
    memcpy(&all, pair, sizeof all);
    return all;
#endif
#endif
}

/* Bytes of 32 stored values: dtype_row_bytes as a constant of the compiler. */
VEC_INLINE long pack_bytes(const enum dtype t)
{
    return t == DT_F32 ? 128 : t == DT_Q4_0 || t == DT_NF4 ? 18 : t == DT_Q4_1 ? 20 : t == DT_Q8_0 ? 34 : 64;
}

/* Values that are unpacked together. */
VEC_INLINE int pack_step(const enum dtype t) { return t == DT_NF4 ? NF4_BLOCK : 32; }

/* What those share: the scale in all lanes, and the value of a zero. Of NF4, whose blocks are of 64: struct nf4_block.
 */
struct pack_block {
    vf scale, low;
};
VEC_INLINE struct pack_block pack_open(const enum dtype t, const unsigned char *p)
{
    struct pack_block b = {{0}, vec_set(-0.0f)}; /* -0: a sum that changes no sign */
    if (t == DT_NF4) {
        const struct nf4_block n = nf4_open(p);
        return (struct pack_block){n.low, n.high};
    }
    if (t != DT_Q4_0 && t != DT_Q4_1 && t != DT_Q8_0) return b;
#if (VW == 16 && defined(__AVX512F__)) || (VW == 8 && defined(__AVX2__))
    uint16_t one;
    memcpy(&one, p, sizeof one);
    const __m128i h = t == DT_Q4_1 ? (__m128i)_mm_broadcast_ss((const void *)p) : _mm_set1_epi16((short)one);
#if VW == 16
    const __m128 v = _mm_cvtph_ps(h);
    b.scale = (vf)_mm512_broadcastss_ps(v);
    if (t == DT_Q4_1) b.low = (vf)_mm512_broadcastss_ps(_mm_movehdup_ps(v));
#else
    const __m256 v = _mm256_cvtph_ps(h);
    b.scale = (vf)(t == DT_Q4_1 ? _mm256_moveldup_ps(v) : v);
    if (t == DT_Q4_1) b.low = (vf)_mm256_movehdup_ps(v);
#endif
#else
    b.scale = vec_set(half_value(*(const u16_any *)(const void *)p));
    if (t == DT_Q4_1) b.low = vec_set(half_value(*(const u16_any *)(const void *)(p + 2)));
#endif
    return b;
}

/* Values at .. at + VW of the 32 (NF4: 64) at p. A nibble times a scale is exact, so that the sum with low is rounded
 * once whatever vec_fma is. */
VEC_INLINE vf pack_value(const enum dtype t, const struct pack_block *b, const unsigned char *p, const int at)
{
    switch (t) {
    case DT_F32:
        return *(const vf_byte *)(p + 4 * at);
    case DT_F16:
        return vec_halves((const u16_any *)(const void *)(p + 2 * at));
    case DT_BF16:
        return (vf)(vec_shorts((const u16_any *)(const void *)(p + 2 * at)) << 16);
    case DT_Q4_0:
    case DT_Q4_1: { /* byte i holds values i and 16 + i */
        vi q = vec_bytes(p + (t == DT_Q4_0 ? 2 : 4) + at % 16);
        q = at < 16 ? q & 15 : q >> 4;
        if (t == DT_Q4_0) q -= 8;
        return vec_fma(__builtin_convertvector(q, vf), b->scale, b->low);
    }
    case DT_Q8_0:
        return __builtin_convertvector(vec_signed_bytes(p + 2 + at), vf) * b->scale;
    case DT_NF4:
        return nf4_take((struct nf4_block){b->scale, b->low}, p, at);
    case DT_COUNT:
        break;
    }
    return (vf){0};
}

VEC_INLINE void pack_blocks(const enum dtype t, const unsigned char *restrict p, long n, float *restrict dst)
{
    const int step = pack_step(t);
    for (; n >= step; n -= step, p += step / 32 * pack_bytes(t), dst += step) {
        const struct pack_block b = pack_open(t, p);
        UNROLL
        for (int i = 0; i < step; i += VW) vec_store(dst + i, pack_value(t, &b, p, i));
    }
    for (long i = 0; t == DT_F16 && i < n; i++) dst[i] = half_value(((const u16_any *)p)[i]);
    for (long i = 0; t == DT_BF16 && i < n; i++) dst[i] = (bits32){.u = (uint32_t)((const u16_any *)p)[i] << 16}.f;
}

/* Values c0 .. c0+n of a stored row; both multiples of the type's block. */
VEC_UNUSED void pack_unpack(enum dtype t, const unsigned char *restrict row, long c0, long n, float *restrict dst)
{
    const unsigned char *restrict p = row + dtype_row_bytes(t, c0);
    switch (t) {
    case DT_F32:
        memcpy(dst, p, (size_t)n * sizeof *dst);
        return;
#define PACK_TYPE(t)               \
    case t:                        \
        pack_blocks(t, p, n, dst); \
        return;
        PACK_TYPE(DT_F16)
        PACK_TYPE(DT_BF16)
        PACK_TYPE(DT_Q4_0)
        PACK_TYPE(DT_Q4_1)
        PACK_TYPE(DT_Q8_0)
        PACK_TYPE(DT_NF4)
#undef PACK_TYPE
    case DT_COUNT:
        return;
    }
}

/* The same as bf16. */
VEC_UNUSED void pack_values(enum dtype t, const unsigned char *restrict row, long c0, long n, uint16_t *restrict dst)
{
    enum { PART = 128 };
    _Alignas(64) float part[PART];
    if (t == DT_BF16) {
        memcpy(dst, row + 2 * c0, (size_t)n * sizeof *dst);
        return;
    }
    for (long i = 0; i < n; i += PART) {
        const long k = n - i < PART ? n - i : PART;
        pack_unpack(t, row, c0 + i, k, part);
        pack_bf16(dst + i, part, k);
    }
}

/* n values of a stored row as `lanes` lanes for `dot`, zero-padded. */
VEC_INLINE void pack_lanes(const int bf16, enum dtype t, const unsigned char *row, long c0, long n, float *dst,
                           long lanes)
{
    if (bf16) {
        uint16_t *to = (uint16_t *)(void *)dst;
        pack_values(t, row, c0, n, to);
        memset((u16_any *)to + n, 0, (size_t)(2 * lanes - n) * sizeof *to);
    } else {
        pack_unpack(t, row, c0, n, dst);
        memset(dst + n, 0, (size_t)(lanes - n) * sizeof *dst);
    }
}

/* Rows of activations for `dot`: see gemm_pack_rows; with bf16 dst may be src. */
VEC_INLINE void pack_rows(const int bf16, float *dst, const float *src, long src_row, long m, long k)
{
    const long lanes = gemm_lanes(k, bf16);
    for (long i = 0; i < m; i++, dst += lanes, src += src_row) {
        if (bf16) {
            u16_any *to = (u16_any *)(void *)dst;
            pack_bf16((uint16_t *)(void *)dst, src, k);
            memset(to + k, 0, (size_t)(2 * lanes - k) * sizeof *to);
        } else {
            memcpy(dst, src, (size_t)k * sizeof *dst);
            memset(dst + k, 0, (size_t)(lanes - k) * sizeof *dst);
        }
    }
}
#endif
