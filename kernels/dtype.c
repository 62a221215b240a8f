/* dtype: storage types: sizes and conversion, one row at a time, in plain C.
 *
 * Not the fast path: the matrix products dequantise panels on their own (gemm_pack.h). Dequantising is exact in f32: a
 * 4-bit or 8-bit integer times an f16 scale needs fewer than 24 bits. Quantising follows ggml's reference rounding, so
 * that a file written here equals one written by llama.cpp from the same values. Source: the block layouts of GGUF
 * (ggml: quantize_row_q*_ref). */
#include "kernels/dtype.h"
#include <math.h>
#include <string.h>
#include "kernels/nf4.h"

const struct dtype_info dtype_info[DT_COUNT] = {
#define DTYPE(id, name, block, bytes, gguf, st) {name, block, bytes, gguf, st},
#include "kernels/dtypes.def"
#undef DTYPE
};

#define QK 32 /* values of a block of every Q type */

size_t dtype_row_bytes(enum dtype t, long n) { return (size_t)(n / dtype_info[t].block) * (size_t)dtype_info[t].bytes; }

float f16_to_f32(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } x, magic = {.u = 0x77800000u}; /* 2^112 rebases the exponent, subnormals too */
    x.u = (uint32_t)(h & 0x7fffu) << 13;
    x.f *= magic.f;
    if ((h & 0x7c00u) == 0x7c00u) x.u |= 0x7f800000u;
    x.u |= (uint32_t)(h & 0x8000u) << 16;
    return x.f;
}

uint16_t f32_to_f16(float f)
{
    union {
        float f;
        uint32_t u;
    } x = {f};
    uint32_t sign = (x.u >> 16) & 0x8000u, a = x.u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((a >> 13) & 0x1ffu)); /* NaN stays NaN, its payload's top kept */
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);      /* rounds to 65536 or more */
    if (a < 0x38800000u) {
        /* Subnormal: adding 0.5 leaves the value's units of 2^-24 in the low bits, rounded to nearest even by the FPU.
         */
        union {
            uint32_t u;
            float f;
        } y = {.u = a};
        y.f += 0.5f;
        return (uint16_t)(sign | (y.u - 0x3f000000u));
    }
    uint32_t odd = (a >> 13) & 1u;
    return (uint16_t)(sign | ((a - 0x38000000u + 0xfffu + odd) >> 13));
}

static uint16_t get16(const unsigned char *p) { return (uint16_t)(p[0] | p[1] << 8); }
static void put16(unsigned char *p, uint16_t v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

void dtype_to_f32(enum dtype t, const void *src, float *dst, long n)
{
    const unsigned char *p = src;
    switch (t) {
    case DT_F32:
        memcpy(dst, src, (size_t)n * sizeof *dst);
        return;
    case DT_F16:
        for (long i = 0; i < n; i++) dst[i] = f16_to_f32(get16(p + 2 * i));
        return;
    case DT_BF16:
        for (long i = 0; i < n; i++) dst[i] = bf16_to_f32(get16(p + 2 * i));
        return;
    case DT_Q4_0:
        for (; n > 0; n -= QK, p += 18, dst += QK) {
            float d = f16_to_f32(get16(p));
            for (int i = 0; i < QK / 2; i++) {
                dst[i] = (float)((p[2 + i] & 15) - 8) * d;
                dst[i + QK / 2] = (float)((p[2 + i] >> 4) - 8) * d;
            }
        }
        return;
    case DT_Q4_1:
        for (; n > 0; n -= QK, p += 20, dst += QK) {
            float d = f16_to_f32(get16(p)), m = f16_to_f32(get16(p + 2));
            for (int i = 0; i < QK / 2; i++) {
                dst[i] = (float)(p[4 + i] & 15) * d + m;
                dst[i + QK / 2] = (float)(p[4 + i] >> 4) * d + m;
            }
        }
        return;
    case DT_Q8_0:
        for (; n > 0; n -= QK, p += 34, dst += QK) {
            float d = f16_to_f32(get16(p));
            for (int i = 0; i < QK; i++) dst[i] = (float)(signed char)p[2 + i] * d;
        }
        return;
    case DT_NF4:
        for (; n > 0; n -= NF4_BLOCK, p += 36, dst += NF4_BLOCK) nf4_block_values(p, dst);
        return;
    case DT_COUNT:
        break;
    }
}

static int quant4(float x) /* x >= 0 up to rounding */
{
    int q = (int)x;
    return q < 0 ? 0 : q > 15 ? 15 : q;
}

static void block_q4_0(const float *x, unsigned char *p)
{
    float top = 0, size = 0;
    for (int i = 0; i < QK; i++)
        if (fabsf(x[i]) > size) {
            size = fabsf(x[i]);
            top = x[i];
        }
    /* The value of the largest magnitude becomes -8, whatever its sign. */
    float d = top / -8, inv = d != 0 ? 1 / d : 0;
    put16(p, f32_to_f16(d));
    for (int i = 0; i < QK / 2; i++)
        p[2 + i] = (unsigned char)(quant4(x[i] * inv + 8.5f) | quant4(x[i + QK / 2] * inv + 8.5f) << 4);
}

static void block_q4_1(const float *x, unsigned char *p)
{
    float lo = x[0], hi = x[0];
    for (int i = 1; i < QK; i++) {
        if (x[i] < lo) lo = x[i];
        if (x[i] > hi) hi = x[i];
    }
    float d = (hi - lo) / 15, inv = d != 0 ? 1 / d : 0;
    put16(p, f32_to_f16(d));
    put16(p + 2, f32_to_f16(lo));
    for (int i = 0; i < QK / 2; i++)
        p[4 + i] = (unsigned char)(quant4((x[i] - lo) * inv + 0.5f) | quant4((x[i + QK / 2] - lo) * inv + 0.5f) << 4);
}

static void block_q8_0(const float *x, unsigned char *p)
{
    float size = 0;
    for (int i = 0; i < QK; i++) size = fmaxf(size, fabsf(x[i]));
    float d = size / 127, inv = d != 0 ? 1 / d : 0;
    put16(p, f32_to_f16(d));
    for (int i = 0; i < QK; i++) p[2 + i] = (unsigned char)(signed char)roundf(x[i] * inv);
}

void dtype_from_f32(enum dtype t, const float *src, void *dst, long n)
{
    unsigned char *p = dst;
    switch (t) {
    case DT_F32:
        memcpy(dst, src, (size_t)n * sizeof *src);
        return;
    case DT_F16:
        for (long i = 0; i < n; i++) put16(p + 2 * i, f32_to_f16(src[i]));
        return;
    case DT_BF16:
        for (long i = 0; i < n; i++) put16(p + 2 * i, f32_to_bf16(src[i]));
        return;
    case DT_Q4_0:
        for (; n > 0; n -= QK, p += 18, src += QK) block_q4_0(src, p);
        return;
    case DT_Q4_1:
        for (; n > 0; n -= QK, p += 20, src += QK) block_q4_1(src, p);
        return;
    case DT_Q8_0:
        for (; n > 0; n -= QK, p += 34, src += QK) block_q8_0(src, p);
        return;
    case DT_NF4:
        for (; n > 0; n -= NF4_BLOCK, p += 36, src += NF4_BLOCK) nf4_block_from(src, p);
        return;
    case DT_COUNT:
        break;
    }
}
