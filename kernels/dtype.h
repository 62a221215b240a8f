/* dtype: storage types, their sizes, and conversion of rows to and from f32. */
#ifndef KERNELS_DTYPE_H
#define KERNELS_DTYPE_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

enum dtype {
#define DTYPE(id, name, block, bytes, gguf, st) id,
#include "kernels/dtypes.def"
#undef DTYPE
    DT_COUNT
};
struct dtype_info {
    const char *name;
    int block, bytes, gguf;
    const char *safetensors;
};
extern const struct dtype_info dtype_info[DT_COUNT];

/* Bytes of a row of n values; n must be a multiple of the block. */
size_t dtype_row_bytes(enum dtype t, long n);
/* n values (a multiple of the block) from storage type t to f32; exact, but that NF4's product of two f32 is rounded.
 */
void dtype_to_f32(enum dtype t, const void *src, float *dst, long n);
/* n values from f32 to t, rounded to nearest even (F16, BF16) or quantised as ggml's reference (Q*) or bitsandbytes
 * (NF4) does. */
void dtype_from_f32(enum dtype t, const float *src, void *dst, long n);

static inline float bf16_to_f32(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } x;
    x.u = (uint32_t)h << 16;
    return x.f;
}
/* Round to nearest even; NaN stays NaN. */
static inline uint16_t f32_to_bf16(float f)
{
    union {
        float f;
        uint32_t u;
    } x;
    x.f = f;
    if ((x.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((x.u >> 16) | 0x40u);
    return (uint16_t)((x.u + 0x7fffu + ((x.u >> 16) & 1u)) >> 16);
}
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
#ifdef __cplusplus
}
#endif
#endif
