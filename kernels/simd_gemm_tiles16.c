/* simd_gemm_tiles16: the products of simd_gemm_amx and simd_gemm_avx512 in plain C: the same bits on any CPU, slowly.
 */
#define VW   16
#define SIMD tiles16
#define TILES
#define AS_AVX512
#include "kernels/gemm_body.h"
