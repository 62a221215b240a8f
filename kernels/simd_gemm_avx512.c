/* simd_gemm_avx512: the products of the CPU kernels compiled for this instruction set (flags: Makefile). */
#if defined(__x86_64__)
#define VW   16
#define SIMD avx512
#include "kernels/gemm_body.h"
#endif
