/* nf4_simd: blocks of nf4.h in registers: the table times absmax, then values by look-up, so that each is the same
 * single product as in plain C. Included only by gemm_pack.h. */
#ifndef KERNELS_NF4_SIMD_H
#define KERNELS_NF4_SIMD_H
#include "kernels/nf4.h"

/* What the codes of the block at p stand for: in low all 16 (VW == 16), or the first 8 and in high the others (VW ==
 * 8); without a look-up by lane, absmax. */
struct nf4_block {
    vf low, high;
};
VEC_INLINE struct nf4_block nf4_open(const unsigned char *p)
{
    float absmax;
    memcpy(&absmax, p, sizeof absmax);
    struct nf4_block b = {vec_set(absmax), {0}};
#if VW == 16 && defined(__AVX512F__)
    b.low = vec_load(nf4_value) * b.low;
#elif VW == 8 && defined(__AVX2__)
    b.high = vec_load(nf4_value + 8) * b.low;
    b.low = vec_load(nf4_value) * b.low;
#endif
    return b;
}

/* Values at .. at + VW of its 64. */
VEC_INLINE vf nf4_take(struct nf4_block b, const unsigned char *p, const int at)
{
#if VW == 16 && defined(__AVX512F__)
    const __m512i q = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(p + 4)));
    const __m512i shift = _mm512_inserti64x4(_mm512_set1_epi32(at / 2), _mm256_set1_epi32(at / 2 + 4), 1);
    return (vf)_mm512_permutexvar_ps(_mm512_srlv_epi32(q, shift), (__m512)b.low);
#elif VW == 8 && defined(__AVX2__)
    const __m256i q = _mm256_loadu_si256((const void *)(p + 4)), i = _mm256_srli_epi32(q, at / 2);
    return (vf)_mm256_blendv_ps(_mm256_permutevar8x32_ps((__m256)b.low, i), _mm256_permutevar8x32_ps((__m256)b.high, i),
                                (__m256)_mm256_slli_epi32(q, 28 - at / 2));
#else
    vf v;
    for (int i = 0; i < VW; i++) v[i] = nf4_value[nf4_code(p, at + i)];
    return v * b.low;
#endif
}
#endif
