/* simd_gemm_amx: the products of bf16 pairs on AMX tiles. Sapphire Rapids and later. */
#if defined(__x86_64__)
#define VW   16
#define SIMD amx
#define PAIRS_ALONE
#define TILES
#include "kernels/gemm_body.h"
#endif
