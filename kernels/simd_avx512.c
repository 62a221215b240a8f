/* simd_avx512: the CPU kernels compiled for this instruction set (flags: Makefile). */
#include "kernels/simd.h"
const struct simd simd_avx512 = {.name = "avx512"};
