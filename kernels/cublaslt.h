/* cublaslt: matrix products by cublasLt, which is found at run time: the program neither links it nor needs it to
 * start.
 *
 * One kind of call: D = alpha A op(B) + beta C in row-major terms, sums in f32. Not a wrapper of the library's other
 * features. Algorithms are chosen by the library's heuristic once per shape, among those that reduce without atomics,
 * and kept in a table. A shape's result is the same bits in every call; two shapes may be summed in different orders.
 */
#ifndef KERNELS_CUBLASLT_H
#define KERNELS_CUBLASLT_H
#include "kernels/device_internal.h"
#ifdef __cplusplus
extern "C" {
#endif

struct cublaslt;
/* NULL: no usable library on this machine (message set). */
struct cublaslt *cublaslt_open(struct device *d);
void cublaslt_close(struct cublaslt *lt);

struct matmul {
    long m, n, k;
    enum dtype in;  /* of A and B: F32 (never TF32), BF16 or F16 */
    enum dtype out; /* of C and D: F32, or `in` */
    const void *a;  /* [m][k], row stride lda */
    const void *b;  /* [k][n], or [n][k] if b_rows_n; row stride ldb */
    const void *c;  /* [m][n], row stride ldd; read only if beta != 0; may be d */
    void *d;        /* [m][n], row stride ldd */
    long lda, ldb, ldd;
    int b_rows_n;
    float alpha, beta;
};
int cublaslt_gemm(struct device *d, const struct matmul *g);
#ifdef __cplusplus
}
#endif
#endif
