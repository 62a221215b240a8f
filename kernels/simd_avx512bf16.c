/* simd_avx512bf16: AVX-512 with the product of bf16 pairs (flags: Makefile). Zen 4, Cooper Lake, Sapphire Rapids and
 * later. */
#if defined(__x86_64__)
#define VW   16
#define SIMD avx512bf16
#include "kernels/simd_body.h"
#endif
