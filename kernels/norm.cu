/* norm.cu: CUDA twin of norm.c: one block per row, read twice (the second time from the cache), sums in block order;
 * the gradient of the weight by columns. */
#include "kernels/block.cuh"
#include "kernels/bodies.h"
#include "kernels/launch.cuh"
#include "kernels/ops.h"
#include "kernels/strides.h"

/* y may be x: each thread rewrites only what it has read itself. */
template <typename T, int V>
static __global__ void __launch_bounds__(BLOCK_MAX)
    norm_fwd_kernel(T *y, long ldy, float *rstd, const T *x, long ldx, const float *w, int C, float eps)
{
    x += blockIdx.x * ldx;
    y += blockIdx.x * ldy;
    float sum = 0.0f, xv[V], wv[V];
    for (int c = threadIdx.x * V; c < C; c += blockDim.x * V) {
        load<V>(xv, x + c);
#pragma unroll
        for (int i = 0; i < V; i++) sum += xv[i] * xv[i];
    }
    const float r = 1.0f / sqrtf(block_sum(sum) / C + eps);
    if (rstd && threadIdx.x == 0) rstd[blockIdx.x] = r;
    for (int c = threadIdx.x * V; c < C; c += blockDim.x * V) {
        load<V>(xv, x + c);
        load<V>(wv, w + c);
#pragma unroll
        for (int i = 0; i < V; i++) xv[i] = wv[i] * (xv[i] * r);
        store<V>(y + c, xv);
    }
}

template <typename T, int V>
static __global__ void __launch_bounds__(BLOCK_MAX)
    norm_bwd_kernel(T *d_x, long ld_dx, const T *d_y, long ld_dy, const T *x, long ldx, const float *w,
                    const float *rstd, int C)
{
    d_x += blockIdx.x * ld_dx;
    d_y += blockIdx.x * ld_dy;
    x += blockIdx.x * ldx;
    float dot = 0.0f, dv[V], xv[V], wv[V], sum[V];
    for (int c = threadIdx.x * V; c < C; c += blockDim.x * V) {
        load<V>(dv, d_y + c);
        load<V>(xv, x + c);
        load<V>(wv, w + c);
#pragma unroll
        for (int i = 0; i < V; i++) dot += dv[i] * wv[i] * xv[i];
    }
    const float r = rstd[blockIdx.x], k = r * r * (block_sum(dot) / C);
    for (int c = threadIdx.x * V; c < C; c += blockDim.x * V) {
        load<V>(dv, d_y + c);
        load<V>(xv, x + c);
        load<V>(wv, w + c);
        load<V>(sum, d_x + c);
#pragma unroll
        for (int i = 0; i < V; i++) sum[i] += body_norm_bwd(dv[i], wv[i], xv[i], r, k);
        store<V>(d_x + c, sum);
    }
}

template <typename T>
static int norm_fwd_act(const struct op_ctx *cx, void *y, long ldy, float *rstd, const void *x, long ldx,
                        const float *w, long T_, int C, float eps)
{
    constexpr int V = 16 / sizeof(T);
    const dim3 grid((unsigned)T_);
    if (cuda_aligned16(y, x, w, C * sizeof(T), ldy * sizeof(T), ldx * sizeof(T)))
        return cuda_launch(cx, "norm_fwd", norm_fwd_kernel<T, V>, grid, block_of(C, V), (T *)y, ldy, rstd, (const T *)x,
                           ldx, w, C, eps);
    return cuda_launch(cx, "norm_fwd", norm_fwd_kernel<T, 1>, grid, block_of(C, 1), (T *)y, ldy, rstd, (const T *)x,
                       ldx, w, C, eps);
}

int cuda_norm_fwd(const struct op_ctx *cx, void *y, long ldy, float *rstd, const void *x, long ldx, const float *w,
                  long T, long C, float eps)
{
    const struct op_rows strides[] = {{"ldy", y, ldy, C}, {"ldx", x, ldx, C}};
    int rc = op_strides(cx, "norm_fwd", strides, 2);
    if (rc) return rc;
    return cx->act == DT_BF16 ? norm_fwd_act<__nv_bfloat16>(cx, y, ldy, rstd, x, ldx, w, T, (int)C, eps)
                              : norm_fwd_act<float>(cx, y, ldy, rstd, x, ldx, w, T, (int)C, eps);
}

template <typename T>
static int norm_bwd_act(const struct op_ctx *cx, void *d_x, long ld_dx, const void *d_y, long ld_dy, const void *x,
                        long ldx, const float *w, const float *rstd, long T_, int C)
{
    constexpr int V = 16 / sizeof(T);
    const dim3 grid((unsigned)T_);
    if (cuda_aligned16(d_x, d_y, x, w, C * sizeof(T), ld_dx * sizeof(T), ld_dy * sizeof(T), ldx * sizeof(T)))
        return cuda_launch(cx, "norm_bwd", norm_bwd_kernel<T, V>, grid, block_of(C, V), (T *)d_x, ld_dx, (const T *)d_y,
                           ld_dy, (const T *)x, ldx, w, rstd, C);
    return cuda_launch(cx, "norm_bwd", norm_bwd_kernel<T, 1>, grid, block_of(C, 1), (T *)d_x, ld_dx, (const T *)d_y,
                       ld_dy, (const T *)x, ldx, w, rstd, C);
}

/* One thread a column, over the rows in their order. */
template <typename T>
static __global__ void __launch_bounds__(BLOCK_MAX)
    norm_weight_kernel(float *d_w, const T *d_y, long ld_dy, const T *x, long ldx, const float *rstd, long rows, long C)
{
    const long c = (long)blockIdx.x * BLOCK_MAX + threadIdx.x;
    if (c >= C) return;
    float sum = d_w[c];
    for (long t = 0; t < rows; t++) sum += to_f32(d_y[t * ld_dy + c]) * to_f32(x[t * ldx + c]) * rstd[t];
    d_w[c] = sum;
}

int cuda_norm_bwd(const struct op_ctx *cx, void *d_x, long ld_dx, float *d_w, const void *d_y, long ld_dy,
                  const void *x, long ldx, const float *w, const float *rstd, long T, long C)
{
    const dim3 columns((unsigned)((C + BLOCK_MAX - 1) / BLOCK_MAX));
    const struct op_rows strides[] = {{"ld_dx", d_x, ld_dx, C}, {"ld_dy", d_y, ld_dy, C}, {"ldx", x, ldx, C}};
    int rc = op_strides(cx, "norm_bwd", strides, 3);
    if (rc) return rc;
    rc = cx->act == DT_BF16 ? norm_bwd_act<__nv_bfloat16>(cx, d_x, ld_dx, d_y, ld_dy, x, ldx, w, rstd, T, (int)C)
                            : norm_bwd_act<float>(cx, d_x, ld_dx, d_y, ld_dy, x, ldx, w, rstd, T, (int)C);
    if (rc || !d_w) return rc;
    if (cx->act == DT_BF16)
        return cuda_launch(cx, "norm_bwd (d_w)", norm_weight_kernel<__nv_bfloat16>, columns, BLOCK_MAX, d_w,
                           (const __nv_bfloat16 *)d_y, ld_dy, (const __nv_bfloat16 *)x, ldx, rstd, T, C);
    return cuda_launch(cx, "norm_bwd (d_w)", norm_weight_kernel<float>, columns, BLOCK_MAX, d_w, (const float *)d_y,
                       ld_dy, (const float *)x, ldx, rstd, T, C);
}
