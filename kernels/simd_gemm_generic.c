/* simd_gemm_generic: the products of the CPU kernels compiled for this instruction set (flags: Makefile). */
#define VW   4
#define SIMD generic
#include "kernels/gemm_body.h"
