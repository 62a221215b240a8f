/* gemm_pack: stored weights to f32 panels, for the vectoriser. Included only by simd_body.h.
 * Weights may lie at any address: they are mapped from a file. */
#ifndef KERNELS_GEMM_PACK_H
#define KERNELS_GEMM_PACK_H
#include "kernels/dtype.h"

typedef uint16_t u16_any __attribute__((aligned(1), may_alias));
typedef float f32_any __attribute__((aligned(1), may_alias));
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

VEC_INLINE float round_bf16(float v)
{
    bits32 x = {.f = v};
    uint32_t r = (x.u + 0x7fffu + ((x.u >> 16) & 1u)) & 0xffff0000u;
    x.u = (x.u & 0x7fffffffu) > 0x7f800000u ? x.u | 0x400000u : r;
    return x.f;
}

static void pack_round(float *p, long n)
{
    for (long i = 0; i < n; i++) p[i] = round_bf16(p[i]);
}

/* (q - zero) * scale + low for the 32 nibbles of 16 bytes, the low ones first; exact, however it is rounded. */
VEC_INLINE void pack_nibbles(b16 q, float scale, const float zero, float low, float *dst)
{
    const b16 bytes[2] = {q & 15, q >> 4};
    UNROLL
    for (int i = 0; i < 32; i += VW)
        vec_store(dst + i, vec_fma(vec_unsigned(bytes[i / 16], i % 16 / VW) - zero, vec_set(scale),
                                   vec_set(low)));
}

/* Values c0 .. c0+n of a stored row; both multiples of the type's block. */
static void pack_unpack(enum dtype t, const unsigned char *restrict row, long c0, long n,
                        float *restrict dst)
{
    const unsigned char *restrict p = row + dtype_row_bytes(t, c0);
    switch (t) {
    case DT_F32:
        memcpy(dst, p, (size_t)n * sizeof *dst);
        return;
    case DT_F16:
        for (long i = 0; i < n; i++) dst[i] = half_value(((const u16_any *)p)[i]);
        return;
    case DT_BF16:
        for (long i = 0; i < n; i++)
            dst[i] = (bits32){.u = (uint32_t)((const u16_any *)p)[i] << 16}.f;
        return;
    case DT_Q4_0:
        for (; n > 0; n -= 32, p += 18, dst += 32)
            pack_nibbles(*(const b16_any *)(p + 2), half_value(*(const u16_any *)p), 8, -0.0f,
                         dst); /* -0: a sum that changes no sign */
        return;
    case DT_Q4_1:
        for (; n > 0; n -= 32, p += 20, dst += 32)
            pack_nibbles(*(const b16_any *)(p + 4), half_value(*(const u16_any *)p), 0,
                         half_value(*(const u16_any *)(p + 2)), dst);
        return;
    case DT_Q8_0:
        for (; n > 0; n -= 32, p += 34, dst += 32) {
            vf d = vec_set(half_value(*(const u16_any *)p));
            UNROLL
            for (int i = 0; i < 32; i += VW)
                vec_store(dst + i,
                          vec_signed(*(const b16_any *)(p + 2 + i / 16 * 16), i % 16 / VW) * d);
        }
        return;
    case DT_COUNT:
        return;
    }
}

/* Rows of activations for `dot`: see gemm_pack_rows. */
static void pack_rows(float *dst, const float *src, long src_row, long m, long k, int round)
{
    long kp = (k + GEMM_PAD - 1) / GEMM_PAD * GEMM_PAD;
    for (long i = 0; i < m; i++, dst += kp, src += src_row) {
        memcpy(dst, src, (size_t)k * sizeof *dst);
        memset(dst + k, 0, (size_t)(kp - k) * sizeof *dst);
        if (round) pack_round(dst, k);
    }
}
#endif
