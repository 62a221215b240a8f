/* simd_avx512: the CPU kernels compiled for this instruction set (flags: Makefile). */
#if defined(__x86_64__)
#define VW   16
#define SIMD avx512
#include "kernels/simd_body.h"
#endif
