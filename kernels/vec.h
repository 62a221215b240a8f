/* vec: float vectors of VW lanes through the compiler's vector extensions, and the exponential.
 *
 * Included only by simd_body.h, which is compiled once for each instruction set with another VW. Fused multiply-adds are asked
 * for by name and the compiler makes none of its own (-ffp-contract=off): it fuses in one variant of a loop and not in another,
 * and a row alone would differ from the same row in a batch.
 * Source of the exponential: Cephes expf (Moshier), range reduction by Cody and Waite. */
#ifndef KERNELS_VEC_H
#define KERNELS_VEC_H
#include <stdint.h>
#include <string.h>
#if VW > 4
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define VEC_INLINE static inline __attribute__((always_inline))

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
#if VW == 16
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif VW == 8
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}
VEC_INLINE vf vec_select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
VEC_INLINE vf vec_max(vf a, vf b) { return vec_select(a > b, a, b); }
VEC_INLINE vf vec_min(vf a, vf b) { return vec_select(a < b, a, b); }

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
