/* gemm_body: the products of an instruction set, in a file apart from its other loops: they are most of the compiler's
 * work and see nothing of the ops. The file that includes it defines VW (lanes of f32), SIMD (the name of the set) and,
 * if the products of f32 are another set's, PAIRS_ALONE, if those of pairs run on tiles, TILES; the Makefile gives that
 * file its target flags. */
#ifndef KERNELS_GEMM_BODY_H
#define KERNELS_GEMM_BODY_H
#include "kernels/gemm.h"
#include "kernels/vec.h"
#include "kernels/gemm_pack.h"
#include "kernels/gemm_fetch.h"
#include "kernels/gemm_dot.h"
#include "kernels/gemm_sum.h"
#include "kernels/gemv_simd.h"
#ifdef TILES
#include "kernels/gemm_tiles_few.h"
#endif

#define SIMD_NAME2(what, set) what##_##set
#define SIMD_NAME1(what, set) SIMD_NAME2(what, set)
#define SIMD_NAME(what)       SIMD_NAME1(what, SIMD)

#define LOOPS(kind, bf16)                                                                    \
    static void kind##_pack_rows(float *dst, const float *src, long src_row, long m, long k) \
    {                                                                                        \
        pack_rows(bf16, dst, src, src_row, m, k);                                            \
    }                                                                                        \
    static void kind##_dot(const struct gemm *g, long n0, long n1, long m0, long m1)         \
    {                                                                                        \
        dot_task(bf16, g, n0, n1, m0, m1);                                                   \
    }                                                                                        \
    static void kind##_sum(const struct gemm *g, long n0, long n1, long m0, long m1)         \
    {                                                                                        \
        sum_task(bf16, g, n0, n1, m0, m1);                                                   \
    }                                                                                        \
    static void kind##_gemv(const struct gemm *g, long n0, long n1) { gemv_task(bf16, g, n0, n1); }

#ifndef PAIRS_ALONE
LOOPS(f32, 0)
const struct gemm_loops SIMD_NAME(gemm_f32) = {
    .unpack = pack_unpack,
    .pack_rows = f32_pack_rows,
    .dot = f32_dot,
    .sum = f32_sum,
    .sum_direct = sum_direct_task,
    .gemv = f32_gemv,
    .gemv_rows = GEMV_M,
};
#endif

#ifdef TILES
static void pairs_pack_rows(float *dst, const float *src, long src_row, long m, long k)
{
    pack_rows(1, dst, src, src_row, m, k);
}
static void tiles_dot(const struct gemm *g, long n0, long n1, long m0, long m1) { tiles_task(0, g, n0, n1, m0, m1); }
static void tiles_sum(const struct gemm *g, long n0, long n1, long m0, long m1) { tiles_task(1, g, n0, n1, m0, m1); }
const struct gemm_loops SIMD_NAME(gemm_pairs) = {
    .unpack = pack_unpack,
    .pack_rows = pairs_pack_rows,
    .dot = tiles_dot,
    .sum = tiles_sum,
    .gemv = tiles_few,
    .gemv_rows = TILE_ROWS,
    .tiles = 1,
};
#else
LOOPS(pairs, 1)
const struct gemm_loops SIMD_NAME(gemm_pairs) = {
    .unpack = pack_unpack,
    .pack_rows = pairs_pack_rows,
    .dot = pairs_dot,
    .sum = pairs_sum,
    .gemv = pairs_gemv,
    .gemv_rows = GEMV_M,
};
#endif
#undef LOOPS
#endif
