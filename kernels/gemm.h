/* gemm: the matrix products of the CPU ops, over weights as they are stored.
 *
 * Two forms, each with one fixed order of sums per output element, whatever m, n, tile or thread:
 *   dot: Y[i][j] = init + alpha * sum_k A[i][k] W[j][k]. K is cut into equal blocks of at most DOT_KC lanes (a function
 * of K alone); in a block each of the vector's lanes sums every VW-th lane of K in order, then they are folded by one
 * tree. sum: Y[i][j] = init + alpha * sum_k A[i][k] B[k][j]. K is cut into blocks of SUM_KC lanes; a block is summed
 * lane by lane. A lane is 4 bytes of K: one f32 value, or with bf16 a pair of bf16 values (2k, 2k+1), of which the odd
 * one is added first (vec_dot2; on CPUs with AVX512_BF16 one instruction). So both precisions are one code. Not a BLAS:
 * no other cases, no errors, sizes are the caller's duty. W is unpacked a panel at a time to f32 on the thread's stack,
 * so scratch does not grow with threads. Source of the blocking: Goto & van de Geijn 2008, cut down to what fits a
 * panel of a transformer's weights. */
#ifndef KERNELS_GEMM_H
#define KERNELS_GEMM_H
#include "kernels/dtype.h"

struct op_ctx;

enum {
    DOT_KC = 768, /* lanes of K in a block; a multiple of 64 */
    DOT_NC = 32,  /* rows of W in a panel */
    DOT_FEW = 48, /* rows of A up to which unpacking and memory show: four rows of W at a time, the next on their way */
    GEMV_M = 8,   /* rows up to which `dot` unpacks W in registers: gemv_simd.h */
    GEMV_N = 16,  /* columns of such a product begin at a multiple of this */
    SUM_KC = 256, /* lanes of K in a block */
    SUM_NC = 64,  /* columns of B in a panel */
    SUM_MC = 272, /* rows of A that a task of `sum` takes at most: a block of them, SUM_KC wide, is half of L2 */
    GEMM_MANY = 6, /* products of one run: W and A of each part of a linear */
    GEMM_PAD = 16  /* lanes: rows given to `dot` are zero-padded to a multiple of this */
};

struct gemm {
    long m, n, k;
    /* A: lane p of row i at (const float *)a + i * a_row + p * a_k; one of the strides is 1. dot and bf16: a_k is 1,
     * rows padded by zeros (gemm_pack_rows). */
    const void *a;
    long a_row, a_k;
    const void *b; /* dot: W [n][k]; sum: B [k][n], or its transpose [n][k] if b_transposed (f32 only) */
    enum dtype b_type;
    long b_row;        /* bytes from row to row of b */
    int b_transposed;  /* sum only */
    int bf16;          /* A is pairs of bf16 values, B is rounded to bf16 */
    float alpha;       /* bf16: 1 */
    const float *init; /* [m][n] or NULL for zeros; may be y */
    long init_row;
    float *y; /* [m][n] */
    long y_row;
};

/* All run in parallel over panels of n and blocks of m. */
void gemm_dot(const struct op_ctx *cx, const struct gemm *g);
/* Up to GEMM_MANY products of the same m, none of which reads what another writes, in one run of the threads. */
void gemm_dot_many(const struct op_ctx *cx, const struct gemm *g, int n);
void gemm_sum(const struct op_ctx *cx, const struct gemm *g);
/* gemm_sum reading B in place (f32, not transposed, no bf16): pays when m is small. The same bits. */
void gemm_sum_direct(const struct op_ctx *cx, const struct gemm *g);

/* Lanes of a packed row of k values. */
static inline long gemm_lanes(long k, int bf16)
{
    return ((bf16 ? (k + 1) / 2 : k) + GEMM_PAD - 1) / GEMM_PAD * GEMM_PAD;
}
/* dst [m][gemm_lanes(k, bf16)] = src rows, zero-padded, as pairs of bf16 if asked. */
void gemm_pack_rows(const struct op_ctx *cx, float *dst, const float *src, long src_row, long m, long k, int bf16);

/* The inner loops of one instruction set, for products of f32 values or of pairs of bf16 values (gemm_body.h). */
struct gemm_loops {
    /* gemm_pack.h: values c0 .. c0+n of a stored row, both multiples of the block, to f32 */
    void (*unpack)(enum dtype t, const unsigned char *restrict row, long c0, long n, float *restrict dst);
    void (*pack_rows)(float *dst, const float *src, long src_row, long m, long k);
    /* gemm_dot.h, gemm_sum.h: columns n0 .. n1 of rows m0 .. m1; dot: at most DOT_NC columns, or DOT_FEW rows */
    void (*dot)(const struct gemm *g, long n0, long n1, long m0, long m1);
    void (*sum)(const struct gemm *g, long n0, long n1, long m0, long m1);
    void (*sum_direct)(const struct gemm *g, long n0, long n1, long m0, long m1); /* f32 alone */
    /* gemv_simd.h, gemm_tiles_few.h: columns n0 .. n1 of a dot of few rows: at most 16, and up to gemv_rows it pays */
    void (*gemv)(const struct gemm *g, long n0, long n1);
    int gemv_rows;
    int tiles; /* dot and sum take any rectangle whose columns begin at a multiple of 32 (gemm_tiles.h) */
};
extern const struct gemm_loops gemm_f32_generic, gemm_f32_avx2, gemm_f32_avx512;
extern const struct gemm_loops gemm_pairs_generic, gemm_pairs_avx2, gemm_pairs_avx512, gemm_pairs_avx512bf16;
extern const struct gemm_loops gemm_f32_tiles16, gemm_pairs_tiles16, gemm_pairs_amx;
#endif
