/* simd_body: the loops of an instruction set but for its products (gemm_body.h), and its table. The file that includes
 * it defines VW (lanes of f32) and SIMD (the name of its table); the Makefile gives that file its target flags. */
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

/* A set's table: its name, what its products of pairs run on, which products it takes. */
#define SIMD_TABLE1(set, unit, f32_of, pairs_of) \
    const struct simd simd_##set = {             \
        .name = #set,                            \
        .bf16 = unit,                            \
        .f32 = &gemm_f32_##f32_of,               \
        .pairs = &gemm_pairs_##pairs_of,         \
        .query_rows = ATTN_ROWS,                 \
        .head_width = ATTN_MAX_D,                \
        .rope_half = ROPE_MAX,                   \
        .norm_fwd = norm_fwd_rows,               \
        .norm_bwd = norm_bwd_rows,               \
        .swiglu_fwd = swiglu_fwd_rows,           \
        .swiglu_bwd = swiglu_bwd_rows,           \
        .rope = rope_rows,                       \
        .attn_fwd = attn_fwd_task,               \
        .attn_bwd = attn_bwd_task,               \
        .head_row = head_row,                    \
        .sumsq_block = sumsq_block,              \
        .adamw = adamw_range,                    \
        .drop_rows = drop_rows,                  \
        .undrop_rows = undrop_rows,              \
        .exp = exp_values,                       \
    }
#define SIMD_TABLE(set, unit, f32_of, pairs_of) SIMD_TABLE1(set, unit, f32_of, pairs_of)
#ifndef BF16_UNIT
#define BF16_UNIT BF16_EMULATED
#endif
SIMD_TABLE(SIMD, BF16_UNIT, SIMD, SIMD);
#endif
