/* simd_gemm_avx2: the products of the CPU kernels compiled for this instruction set (flags: Makefile). */
#if defined(__x86_64__)
#define VW   8
#define SIMD avx2
#include "kernels/gemm_body.h"
#endif
