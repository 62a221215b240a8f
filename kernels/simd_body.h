/* simd_body: the one source of all instruction sets. The file that includes it defines VW (lanes of f32) and SIMD (the
 * name of its table); the Makefile gives that file its target flags. */
#ifndef KERNELS_SIMD_BODY_H
#define KERNELS_SIMD_BODY_H
#include "kernels/simd.h"
#include "kernels/vec.h"
#include "kernels/gemm_pack.h"
#include "kernels/gemm_fetch.h"
#include "kernels/gemm_dot.h"
#include "kernels/gemm_sum.h"
#include "kernels/gemv_simd.h"
#include "kernels/rows_simd.h"
#include "kernels/attention_simd.h"

#define SIMD_TEXT2(x)  #x
#define SIMD_TEXT(x)   SIMD_TEXT2(x)
#define SIMD_TABLE2(x) simd_##x
#define SIMD_TABLE(x)  SIMD_TABLE2(x)

static void exp_values(float *p, long n)
{
    long i = 0;
    for (; i + VW <= n; i += VW) vec_store(p + i, vec_exp(vec_load(p + i)));
    if (i < n) vec_store_n(p + i, vec_exp(vec_load_n(p + i, n - i)), n - i);
}

const struct simd SIMD_TABLE(SIMD) = {
    .name = SIMD_TEXT(SIMD),
#ifdef __AVX512BF16__
    .native_bf16 = 1,
#endif
    .query_rows = ATTN_ROWS,
    .head_width = ATTN_MAX_D,
    .rope_half = ROPE_MAX,
    .unpack = pack_unpack,
    .pack_rows = pack_rows,
    .dot_task = gemm_dot_task,
    .gemv_task = gemv_task,
    .sum_task = gemm_sum_task,
    .sum_direct_task = gemm_sum_direct_task,
    .norm_fwd = norm_fwd_rows,
    .norm_bwd = norm_bwd_rows,
    .swiglu_fwd = swiglu_fwd_rows,
    .swiglu_bwd = swiglu_bwd_rows,
    .rope = rope_rows,
    .attn_fwd = attn_fwd_task,
    .attn_bwd = attn_bwd_task,
    .head_row = head_row,
    .sumsq_block = sumsq_block,
    .adamw = adamw_range,
    .drop_rows = drop_rows,
    .undrop_rows = undrop_rows,
    .exp = exp_values,
};
#endif
