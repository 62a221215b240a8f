/* swiglu.cu: CUDA twin of swiglu.c: element-wise; a row of blocks per token. */
#include "kernels/block.cuh"
#include "kernels/bodies.h"
#include "kernels/launch.cuh"
#include "kernels/ops.h"
#include "kernels/strides.h"

template <typename T, int V>
static __global__ void __launch_bounds__(BLOCK_MAX) swiglu_fwd_kernel(T *h, long ldh, const T *gu, long ldgu, int F)
{
    const int f = (blockIdx.y * blockDim.x + threadIdx.x) * V;
    if (f >= F) return;
    const T *g = gu + blockIdx.x * ldgu + f;
    float gv[V], uv[V];
    load<V>(gv, g);
    load<V>(uv, g + F);
#pragma unroll
    for (int i = 0; i < V; i++) gv[i] = body_swiglu(gv[i], uv[i]);
    store<V>(h + blockIdx.x * ldh + f, gv);
}

/* d_gu may be gu: a thread reads its own two places before it writes them. */
template <typename T, int V>
static __global__ void __launch_bounds__(BLOCK_MAX)
    swiglu_bwd_kernel(T *d_gu, long ld_dgu, const T *d_h, long ld_dh, const T *gu, long ldgu, int F)
{
    const int f = (blockIdx.y * blockDim.x + threadIdx.x) * V;
    if (f >= F) return;
    const T *g = gu + blockIdx.x * ldgu + f;
    T *d_g = d_gu + blockIdx.x * ld_dgu + f;
    float gv[V], uv[V], dv[V];
    load<V>(gv, g);
    load<V>(uv, g + F);
    load<V>(dv, d_h + blockIdx.x * ld_dh + f);
#pragma unroll
    for (int i = 0; i < V; i++) {
        float back_g, back_u;
        body_swiglu_bwd(gv[i], uv[i], dv[i], &back_g, &back_u);
        gv[i] = back_g, uv[i] = back_u;
    }
    store<V>(d_g, gv);
    store<V>(d_g + F, uv);
}

static dim3 swiglu_grid(long T, long F, int V, unsigned block)
{
    const long per_block = (long)block * V;
    return dim3((unsigned)T, (unsigned)((F + per_block - 1) / per_block));
}

template <typename T>
static int swiglu_fwd_act(const struct op_ctx *cx, void *h, long ldh, const void *gu, long ldgu, long T_, long F)
{
    constexpr int V = 16 / sizeof(T);
    const bool wide = cuda_aligned16(h, gu, F * sizeof(T), ldh * sizeof(T), ldgu * sizeof(T));
    const unsigned block = block_of(F, wide ? V : 1);
    return cuda_launch(cx, "swiglu_fwd", wide ? swiglu_fwd_kernel<T, V> : swiglu_fwd_kernel<T, 1>,
                       swiglu_grid(T_, F, wide ? V : 1, block), block, (T *)h, ldh, (const T *)gu, ldgu, (int)F);
}

int cuda_swiglu_fwd(const struct op_ctx *cx, void *h, long ldh, const void *gu, long ldgu, long T, long F)
{
    const struct op_rows strides[] = {{"ldh", h, ldh, F}, {"ldgu", gu, ldgu, 2 * F}};
    int rc = op_strides(cx, "swiglu_fwd", strides, 2);
    if (rc) return rc;
    return cx->act == DT_BF16 ? swiglu_fwd_act<__nv_bfloat16>(cx, h, ldh, gu, ldgu, T, F)
                              : swiglu_fwd_act<float>(cx, h, ldh, gu, ldgu, T, F);
}

template <typename T>
static int swiglu_bwd_act(const struct op_ctx *cx, void *d_gu, long ld_dgu, const void *d_h, long ld_dh, const void *gu,
                          long ldgu, long T_, long F)
{
    constexpr int V = 16 / sizeof(T);
    const bool wide = cuda_aligned16(d_gu, d_h, gu, F * sizeof(T), ld_dgu * sizeof(T), ld_dh * sizeof(T),
                                     ldgu * sizeof(T));
    const unsigned block = block_of(F, wide ? V : 1);
    return cuda_launch(cx, "swiglu_bwd", wide ? swiglu_bwd_kernel<T, V> : swiglu_bwd_kernel<T, 1>,
                       swiglu_grid(T_, F, wide ? V : 1, block), block, (T *)d_gu, ld_dgu, (const T *)d_h, ld_dh,
                       (const T *)gu, ldgu, (int)F);
}

int cuda_swiglu_bwd(const struct op_ctx *cx, void *d_gu, long ld_dgu, const void *d_h, long ld_dh, const void *gu,
                    long ldgu, long T, long F)
{
    const struct op_rows strides[] = {
        {"ld_dgu", d_gu, ld_dgu, 2 * F}, {"ld_dh", d_h, ld_dh, F}, {"ldgu", gu, ldgu, 2 * F}};
    int rc = op_strides(cx, "swiglu_bwd", strides, 3);
    if (rc) return rc;
    return cx->act == DT_BF16 ? swiglu_bwd_act<__nv_bfloat16>(cx, d_gu, ld_dgu, d_h, ld_dh, gu, ldgu, T, F)
                              : swiglu_bwd_act<float>(cx, d_gu, ld_dgu, d_h, ld_dh, gu, ldgu, T, F);
}
