/* norm.cu: CUDA twin of norm.c: one block per row, read twice (the second time from the cache), sums in block order;
 * the gradient of the weight by columns. */
#include "kernels/block.cuh"
#include "kernels/bodies.h"
#include "kernels/launch.cuh"
#include "kernels/ops.h"

/* y may be x: each thread rewrites only what it has read itself. */
template <typename T, int V>
static __global__ void __launch_bounds__(BLOCK_MAX)
    norm_fwd_kernel(T *y, float *rstd, const T *x, const float *w, int C, float eps)
{
    const long row = (long)blockIdx.x * C;
    float sum = 0.0f, xv[V], wv[V];
    for (int c = threadIdx.x * V; c < C; c += blockDim.x * V) {
        load<V>(xv, x + row + c);
#pragma unroll
        for (int i = 0; i < V; i++) sum += xv[i] * xv[i];
    }
    const float r = 1.0f / sqrtf(block_sum(sum) / C + eps);
    if (rstd && threadIdx.x == 0) rstd[blockIdx.x] = r;
    for (int c = threadIdx.x * V; c < C; c += blockDim.x * V) {
        load<V>(xv, x + row + c);
        load<V>(wv, w + c);
#pragma unroll
        for (int i = 0; i < V; i++) xv[i] = wv[i] * (xv[i] * r);
        store<V>(y + row + c, xv);
    }
}

template <typename T, int V>
static __global__ void __launch_bounds__(BLOCK_MAX)
    norm_bwd_kernel(T *d_x, const T *d_y, const T *x, const float *w, const float *rstd, int C)
{
    const long row = (long)blockIdx.x * C;
    float dot = 0.0f, dv[V], xv[V], wv[V], sum[V];
    for (int c = threadIdx.x * V; c < C; c += blockDim.x * V) {
        load<V>(dv, d_y + row + c);
        load<V>(xv, x + row + c);
        load<V>(wv, w + c);
#pragma unroll
        for (int i = 0; i < V; i++) dot += dv[i] * wv[i] * xv[i];
    }
    const float r = rstd[blockIdx.x], k = r * r * (block_sum(dot) / C);
    for (int c = threadIdx.x * V; c < C; c += blockDim.x * V) {
        load<V>(dv, d_y + row + c);
        load<V>(xv, x + row + c);
        load<V>(wv, w + c);
        load<V>(sum, d_x + row + c);
#pragma unroll
        for (int i = 0; i < V; i++) sum[i] += body_norm_bwd(dv[i], wv[i], xv[i], r, k);
        store<V>(d_x + row + c, sum);
    }
}

template <typename T>
static int norm_fwd_act(const struct op_ctx *cx, void *y, float *rstd, const void *x, const float *w, long T_, int C,
                        float eps)
{
    constexpr int V = 16 / sizeof(T);
    const dim3 grid((unsigned)T_);
    if (cuda_aligned16(y, x, w, C * sizeof(T)))
        return cuda_launch(cx, "norm_fwd", norm_fwd_kernel<T, V>, grid, block_of(C, V), (T *)y, rstd, (const T *)x, w,
                           C, eps);
    return cuda_launch(cx, "norm_fwd", norm_fwd_kernel<T, 1>, grid, block_of(C, 1), (T *)y, rstd, (const T *)x, w, C,
                       eps);
}

int cuda_norm_fwd(const struct op_ctx *cx, void *y, float *rstd, const void *x, const float *w, long T, long C,
                  float eps)
{
    return cx->act == DT_BF16 ? norm_fwd_act<__nv_bfloat16>(cx, y, rstd, x, w, T, (int)C, eps)
                              : norm_fwd_act<float>(cx, y, rstd, x, w, T, (int)C, eps);
}

template <typename T>
static int norm_bwd_act(const struct op_ctx *cx, void *d_x, const void *d_y, const void *x, const float *w,
                        const float *rstd, long T_, int C)
{
    constexpr int V = 16 / sizeof(T);
    const dim3 grid((unsigned)T_);
    if (cuda_aligned16(d_x, d_y, x, w, C * sizeof(T)))
        return cuda_launch(cx, "norm_bwd", norm_bwd_kernel<T, V>, grid, block_of(C, V), (T *)d_x, (const T *)d_y,
                           (const T *)x, w, rstd, C);
    return cuda_launch(cx, "norm_bwd", norm_bwd_kernel<T, 1>, grid, block_of(C, 1), (T *)d_x, (const T *)d_y,
                       (const T *)x, w, rstd, C);
}

/* One thread a column, over the rows in their order. */
template <typename T>
static __global__ void __launch_bounds__(BLOCK_MAX)
    norm_weight_kernel(float *d_w, const T *d_y, const T *x, const float *rstd, long rows, long C)
{
    const long c = (long)blockIdx.x * BLOCK_MAX + threadIdx.x;
    if (c >= C) return;
    float sum = d_w[c];
    for (long t = 0; t < rows; t++) sum += to_f32(d_y[t * C + c]) * to_f32(x[t * C + c]) * rstd[t];
    d_w[c] = sum;
}

int cuda_norm_bwd(const struct op_ctx *cx, void *d_x, float *d_w, const void *d_y, const void *x, const float *w,
                  const float *rstd, long T, long C)
{
    const dim3 columns((unsigned)((C + BLOCK_MAX - 1) / BLOCK_MAX));
    int rc = cx->act == DT_BF16 ? norm_bwd_act<__nv_bfloat16>(cx, d_x, d_y, x, w, rstd, T, (int)C)
                                : norm_bwd_act<float>(cx, d_x, d_y, x, w, rstd, T, (int)C);
    if (rc || !d_w) return rc;
    if (cx->act == DT_BF16)
        return cuda_launch(cx, "norm_bwd (d_w)", norm_weight_kernel<__nv_bfloat16>, columns, BLOCK_MAX, d_w,
                           (const __nv_bfloat16 *)d_y, (const __nv_bfloat16 *)x, rstd, T, C);
    return cuda_launch(cx, "norm_bwd (d_w)", norm_weight_kernel<float>, columns, BLOCK_MAX, d_w, (const float *)d_y,
                       (const float *)x, rstd, T, C);
}
