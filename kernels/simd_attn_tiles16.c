/* simd_attn_tiles16: the attention of simd_attn_amx in plain C: the same bits on any CPU, slowly. */
#define VW   16
#define ATTN attn_tiles16
#define AS_AVX512
#include "kernels/attention_body.h"
