/* simd_attn_amx: attention of bf16 factors on AMX tiles. */
#if defined(__x86_64__)
#define VW   16
#define ATTN attn_amx
#include "kernels/attention_body.h"
#endif
