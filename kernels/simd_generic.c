/* simd_generic: the CPU kernels compiled for this instruction set (flags: Makefile). */
#define VW   4
#define SIMD generic
#include "kernels/simd_body.h"
