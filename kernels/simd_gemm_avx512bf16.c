/* simd_gemm_avx512bf16: the product of bf16 pairs in one instruction. Zen 4, Cooper Lake, Sapphire Rapids and later. */
#if defined(__x86_64__)
#define VW   16
#define SIMD avx512bf16
#define PAIRS_ALONE
#include "kernels/gemm_body.h"
#endif
