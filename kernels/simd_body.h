/* simd_body: the loops of an instruction set but for its products (gemm_body.h), and its table. The file that includes
 * it defines VW (lanes of f32) and SIMD (the name of its table), and what its table takes of bf16 if that is not the
 * code of f32 (BF16_UNIT, ATTN_BF16); the Makefile gives that file its target flags. */
#ifndef KERNELS_SIMD_BODY_H
#define KERNELS_SIMD_BODY_H
#include "kernels/simd.h"
#include "kernels/vec.h"
#include "kernels/gemm_pack.h"
#include "kernels/gemm_fetch.h"
#include "kernels/gemm_sum.h"
#include "kernels/rows_simd.h"
#include "kernels/attention_simd.h"

static void exp_values(float *p, long n)
{
    long i = 0;
    for (; i + VW <= n; i += VW) vec_store(p + i, vec_exp(vec_load(p + i)));
    if (i < n) vec_store_n(p + i, vec_exp(vec_load_n(p + i, n - i)), n - i);
}

/* A set's table: its name, what its products of pairs run on, which products and which attention of bf16 it takes. */
#define SIMD_TABLE1(set, unit, f32_of, pairs_of, attn_of) \
    const struct simd simd_##set = {                      \
        .name = #set,                                     \
        .bf16 = unit,                                     \
        .f32 = &gemm_f32_##f32_of,                        \
        .pairs = &gemm_pairs_##pairs_of,                  \
        .attn_f32 = &attn_f32,                            \
        .attn_bf16 = &attn_of,                            \
        .rope_half = ROPE_MAX,                            \
        .norm_fwd = norm_fwd_rows,                        \
        .norm_bwd = norm_bwd_rows,                        \
        .swiglu_fwd = swiglu_fwd_rows,                    \
        .swiglu_bwd = swiglu_bwd_rows,                    \
        .rope = rope_rows,                                \
        .head_row = head_row,                             \
        .sumsq_block = sumsq_block,                       \
        .adamw = adamw_range,                             \
        .drop_rows = drop_rows,                           \
        .undrop_rows = undrop_rows,                       \
        .exp = exp_values,                                \
    }
#define SIMD_TABLE(set, unit, f32_of, pairs_of, attn_of) SIMD_TABLE1(set, unit, f32_of, pairs_of, attn_of)
#ifndef BF16_UNIT
#define BF16_UNIT BF16_EMULATED
#endif
#ifndef ATTN_BF16
#define ATTN_BF16 attn_f32
#endif
SIMD_TABLE(SIMD, BF16_UNIT, SIMD, SIMD, ATTN_BF16);
#endif
