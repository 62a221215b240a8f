/* vec: float vectors of VW lanes through the compiler's vector extensions, and the exponential.
 *
 * Included only by gemm_body.h and simd_body.h, which are compiled once for each instruction set with another VW. Fused
 * multiply-adds are asked for by name and the compiler makes none of its own (-ffp-contract=off): it fuses in one
 * variant of a loop and not in another, and a row alone would differ from the same row in a batch. AS_AVX512: the bits
 * of AVX-512's instructions without them. Source of the exponential: Cephes expf (Moshier), range reduction by Cody and
 * Waite. */
#ifndef KERNELS_VEC_H
#define KERNELS_VEC_H
#include <stdint.h>
#include <string.h>
#if VW > 4
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifdef __clang__
#define UNROLL   _Pragma("unroll")
#define UNROLL16 _Pragma("unroll")
#else
#define UNROLL   _Pragma("GCC unroll 8")
#define UNROLL16 _Pragma("GCC unroll 16")
#endif
#define VEC_INLINE static inline __attribute__((always_inline))
#define VEC_UNUSED static __attribute__((unused)) /* not every file of a set needs it */

typedef float vf __attribute__((vector_size(4 * VW)));
typedef int32_t vi __attribute__((vector_size(4 * VW)));
typedef float vf_any __attribute__((vector_size(4 * VW), aligned(4), may_alias));
typedef float v4 __attribute__((vector_size(16)));
typedef float v4_any __attribute__((vector_size(16), aligned(4), may_alias));

VEC_INLINE vf vec_load(const float *p) { return *(const vf_any *)p; }
VEC_INLINE void vec_store(float *p, vf v) { *(vf_any *)p = v; }
VEC_INLINE vf vec_set(float x) { return x - (vf){0}; }
/* n < VW values, the other lanes 0. */
VEC_INLINE vf vec_load_n(const float *p, long n)
{
    vf v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
VEC_INLINE void vec_store_n(float *p, vf v, long n) { memcpy(p, &v, (size_t)n * sizeof *p); }
/* a * b + c, rounded once where the set can; twice on every path where it cannot. */
VEC_INLINE vf vec_fma(vf a, vf b, vf c)
{
#if VW == 16 && defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif VW == 8 && defined(__AVX2__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(AS_AVX512)
    for (int i = 0; i < VW; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
#else
    return a * b + c;
#endif
}
/* A lane as a pair of bf16 values: c + a.odd * b.odd, then + a.even * b.even; products of bf16 are exact in f32. This
 * is what vdpbf16ps does, but that it takes denormal numbers for zeros. */
VEC_INLINE vf vec_dot2(vf a, vf b, vf c)
{
#if defined(__AVX512BF16__) && VW == 16
    return (vf)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
    const vi odd = -65536 + (vi){0};
    c = vec_fma((vf)((vi)a & odd), (vf)((vi)b & odd), c);
    return vec_fma((vf)((vi)a << 16), (vf)((vi)b << 16), c);
#endif
}
/* acc + a * b in each lane; with bf16 a lane is a pair of values (vec_dot2). */
VEC_INLINE vf lane_fma(const int bf16, vf a, vf b, vf acc) { return bf16 ? vec_dot2(a, b, acc) : vec_fma(a, b, acc); }
/* The 4 bytes at p in every lane. */
VEC_INLINE vf vec_spread(const float *p)
{
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    return (vf)(bits + (vi){0});
}
VEC_INLINE vf vec_select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
VEC_INLINE vf vec_max(vf a, vf b) { return vec_select(a > b, a, b); }
VEC_INLINE vf vec_min(vf a, vf b) { return vec_select(a < b, a, b); }

/* VW unsigned (or signed) bytes of the 16, from number VW * part. */
typedef uint8_t b16 __attribute__((vector_size(16)));
typedef uint8_t b16_any __attribute__((vector_size(16), aligned(1), may_alias));
VEC_INLINE vf vec_unsigned(b16 b, const int part)
{
#if VW == 16 && defined(__AVX512F__)
    return (void)part, (vf)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32((__m128i)b));
#elif VW == 8 && defined(__AVX2__)
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(part ? _mm_srli_si128((__m128i)b, 8) : (__m128i)b));
#else
    vf v;
    for (int i = 0; i < VW; i++) v[i] = b[VW * part + i];
    return v;
#endif
}
VEC_INLINE vf vec_signed(b16 b, const int part)
{
#if VW == 16 && defined(__AVX512F__)
    return (void)part, (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)b));
#elif VW == 8 && defined(__AVX2__)
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(part ? _mm_srli_si128((__m128i)b, 8) : (__m128i)b));
#else
    vf v;
    for (int i = 0; i < VW; i++) v[i] = (int8_t)b[VW * part + i];
    return v;
#endif
}

/* VW lanes: the 16-bit values of even and odd, side by side. */
typedef uint16_t vh __attribute__((vector_size(2 * VW)));
typedef uint16_t vh_any __attribute__((vector_size(2 * VW), aligned(1), may_alias));
typedef uint32_t vu __attribute__((vector_size(4 * VW)));
VEC_INLINE void vec_interleave(float *to, const uint16_t *even, const uint16_t *odd)
{
    const vh e = *(const vh_any *)even, o = *(const vh_any *)odd;
    const vu lanes = __builtin_convertvector(e, vu) | __builtin_convertvector(o, vu) << 16;
    vec_store(to, (vf)lanes);
}

/* The high and low halves of a * m, lane by lane. */
VEC_INLINE void vec_mul_wide(vu a, uint32_t m, vu *high, vu *low)
{
#if VW == 16 && defined(__AVX512F__)
    __m512i v = (__m512i)a, f = _mm512_set1_epi32((int)m);
    __m512i even = _mm512_mul_epu32(v, f), odd = _mm512_mul_epu32(_mm512_srli_epi64(v, 32), f);
    *high = (vu)_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
    *low = (vu)_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
#elif VW == 8 && defined(__AVX2__)
    __m256i v = (__m256i)a, f = _mm256_set1_epi32((int)m);
    __m256i even = _mm256_mul_epu32(v, f), odd = _mm256_mul_epu32(_mm256_srli_epi64(v, 32), f);
    *high = (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
    *low = (vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
#else
    for (int i = 0; i < VW; i++) {
        uint64_t p = (uint64_t)m * a[i];
        (*high)[i] = (uint32_t)(p >> 32);
        (*low)[i] = (uint32_t)p;
    }
#endif
}

/* Lanes are folded in halves: one fixed tree. */
VEC_INLINE float vec_sum(vf v)
{
    float t[VW];
    memcpy(t, &v, sizeof t);
    for (int w = VW / 2; w; w /= 2)
        for (int i = 0; i < w; i++) t[i] += t[i + w];
    return t[0];
}
VEC_INLINE float vec_top(vf v)
{
    float t[VW];
    memcpy(t, &v, sizeof t);
    for (int w = VW / 2; w; w /= 2)
        for (int i = 0; i < w; i++) t[i] = t[i + w] > t[i] ? t[i + w] : t[i];
    return t[0];
}

/* e^x within 2 ulp; 0 below -104, infinity above 88.73, NaN stays NaN. */
VEC_INLINE vf vec_exp(vf x)
{
    x = vec_select(x < vec_set(-104.0f), vec_set(-104.0f), x);
    x = vec_select(x > vec_set(89.0f), vec_set(89.0f), x);
    /* Adding 1.5 * 2^23 rounds to an integer, to nearest even, and leaves it in the low mantissa bits. */
    const vf magic = vec_set(12582912.0f);
    vf shifted = vec_fma(x, vec_set(1.44269504088896341f), magic);
    vf n = shifted - magic;
    vf r = vec_fma(n, vec_set(-0.693359375f), x);
    r = vec_fma(n, vec_set(2.12194440e-4f), r);
    vf p = vec_set(1.9875691500e-4f);
    p = vec_fma(p, r, vec_set(1.3981999507e-3f));
    p = vec_fma(p, r, vec_set(8.3334519073e-3f));
    p = vec_fma(p, r, vec_set(4.1665795894e-2f));
    p = vec_fma(p, r, vec_set(1.6666665459e-1f));
    p = vec_fma(p, r, vec_set(5.0000001201e-1f));
    p = vec_fma(p * r, r, r);
    p = p + vec_set(1.0f);
    /* 2^n in two factors: n alone leaves the exponent range at both ends. */
    vi i = (vi)shifted - (vi)magic;
    vi half = i >> 1;
    vi one = (vi)vec_set(1.0f);
    return p * (vf)((half << 23) + one) * (vf)(((i - half) << 23) + one);
}
#endif
