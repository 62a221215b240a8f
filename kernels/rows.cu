/* rows.cu: CUDA twin of rows.c: whole rows are copied as bits, in the widest words that pointers and strides allow. */
#include "kernels/block.cuh"
#include "kernels/launch.cuh"
#include "kernels/ops.h"

/* Strides and width in words of type W. */
template <typename W, bool SCATTER>
static __global__ void __launch_bounds__(BLOCK_MAX)
    rows_kernel(W *y, long ldy, const W *x, long ldx, const int32_t *idx, long width)
{
    const long i = blockIdx.x, j = idx[i];
    W *dst = y + (SCATTER ? j : i) * ldy;
    const W *src = x + (SCATTER ? i : j) * ldx;
    for (long c = threadIdx.x; c < width; c += blockDim.x) dst[c] = src[c];
}

template <typename W, bool SCATTER>
static int rows_run(const struct op_ctx *cx, void *y, size_t y_bytes, const void *x, size_t x_bytes, const int32_t *idx,
                    long n, size_t row_bytes)
{
    const long width = (long)(row_bytes / sizeof(W));
    return cuda_launch(cx, SCATTER ? "rows_scatter" : "rows_gather", rows_kernel<W, SCATTER>, dim3((unsigned)n),
                       block_of(width, 1), (W *)y, (long)(y_bytes / sizeof(W)), (const W *)x,
                       (long)(x_bytes / sizeof(W)), idx, width);
}

template <bool SCATTER>
static int rows_move(const struct op_ctx *cx, void *y, long ldy, const void *x, long ldx, const int32_t *idx, long n,
                     long C)
{
    const size_t e = cuda_act_bytes(cx->act), yb = ldy * e, xb = ldx * e, rb = C * e;
    if (cuda_aligned16(y, x, yb, xb, rb)) return rows_run<uint4, SCATTER>(cx, y, yb, x, xb, idx, n, rb);
    if (e == 4) return rows_run<uint32_t, SCATTER>(cx, y, yb, x, xb, idx, n, rb);
    return rows_run<uint16_t, SCATTER>(cx, y, yb, x, xb, idx, n, rb);
}

int cuda_rows_gather(const struct op_ctx *cx, void *y, long ldy, const void *x, long ldx, const int32_t *idx, long n,
                     long C)
{
    return rows_move<false>(cx, y, ldy, x, ldx, idx, n, C);
}

int cuda_rows_scatter(const struct op_ctx *cx, void *y, long ldy, const void *x, long ldx, const int32_t *idx, long n,
                      long C)
{
    return rows_move<true>(cx, y, ldy, x, ldx, idx, n, C);
}
