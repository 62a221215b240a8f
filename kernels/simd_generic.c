/* simd_generic: the CPU kernels compiled for this instruction set (flags: Makefile). */
#include "kernels/simd.h"
const struct simd simd_generic = {.name = "generic"};
