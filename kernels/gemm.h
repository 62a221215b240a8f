/* gemm: the matrix products of the CPU ops, over weights as they are stored.
 *
 * Two forms, each with one fixed order of sums per output element, whatever m, n, tile or thread:
 *   dot: Y[i][j] = init + alpha * sum_k A[i][k] W[j][k]. K is cut into equal blocks of at most DOT_KC (a function of K alone);
 *        in a block lane l of the vector sums k = l mod lanes in order, then the lanes are folded by one tree.
 *   sum: Y[i][j] = init + alpha * sum_k A[i][k] B[k][j]. K is cut into blocks of SUM_KC; a block is summed k by k.
 * Not a BLAS: no other cases, no errors, sizes are the caller's duty. W is unpacked a panel at a time to f32 on the thread's
 * stack, so scratch does not grow with threads.
 * Source of the blocking: Goto & van de Geijn 2008, cut down to what fits a panel of a transformer's weights. */
#ifndef KERNELS_GEMM_H
#define KERNELS_GEMM_H
#include "kernels/ops.h"

enum {
    DOT_KC = 640, /* values of K in a block; a multiple of 32 */
    DOT_NC = 32,  /* rows of W in a panel */
    SUM_KC = 256, /* rows of B in a block */
    SUM_NC = 64,  /* columns of B in a panel */
    GEMM_PAD = 16 /* rows given to `dot` are zero-padded to a multiple of this unless k is one */
};

struct gemm {
    long m, n, k;
    const float *
        a; /* A(i, k) = a[i * a_row + k * a_k], one of the strides 1; dot: a_k is 1, rows padded to GEMM_PAD by zeros */
    long a_row, a_k;
    const void
        *b; /* dot: W [n][k]; sum: B [k][n], or its transpose [n][k] if b_transposed (f32 only) */
    enum dtype b_type;
    long b_row;       /* bytes from row to row of b */
    int b_transposed; /* sum only */
    int round;        /* b rounded to bf16; A is rounded by who packs it */
    float alpha;
    const float *init; /* [m][n] or NULL for zeros; may be y */
    long init_row;
    float *y; /* [m][n] */
    long y_row;
};

/* Both run in parallel over panels of n and blocks of m. */
void gemm_dot(const struct op_ctx *cx, const struct gemm *g);
void gemm_sum(const struct op_ctx *cx, const struct gemm *g);
/* gemm_sum reading B in place (f32, aligned, not transposed, not rounded): pays when m is small. The same bits. */
void gemm_sum_direct(const struct op_ctx *cx, const struct gemm *g);

static inline long gemm_padded(long k)
{
    return (k + GEMM_PAD - 1) / GEMM_PAD * GEMM_PAD;
}
/* dst [m][gemm_padded(k)] = src rows, zero-padded, rounded to bf16 if asked. */
void gemm_pack_rows(const struct op_ctx *cx, float *dst, const float *src, long src_row, long m,
                    long k, int round);
#endif
