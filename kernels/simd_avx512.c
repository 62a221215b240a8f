/* simd_avx512: the CPU kernels compiled for this instruction set (flags: Makefile). */
#if defined(__x86_64__)
#define VW   16
#define SIMD avx512
#include "kernels/simd_body.h"
/* The same loops; only pairs of bf16 have instructions of their own. */
SIMD_TABLE(avx512bf16, BF16_VECTORS, avx512, avx512bf16, attn_f32);
SIMD_TABLE(amx, BF16_MATRIX, avx512, amx, attn_amx);
#endif
