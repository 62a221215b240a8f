/* simd_avx2: the CPU kernels compiled for this instruction set (flags: Makefile). */
#include "kernels/simd.h"
const struct simd simd_avx2 = {.name = "avx2"};
