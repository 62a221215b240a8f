/* simd_tiles16: what the set "amx" computes, in plain C: the same bits on any CPU, slowly. For tests, and to repeat
 * elsewhere what such a CPU has computed. */
#define VW   16
#define SIMD tiles16
#define AS_AVX512
#define BF16_UNIT BF16_MATRIX
#define ATTN_BF16 attn_tiles16
#include "kernels/simd_body.h"
