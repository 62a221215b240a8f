/* swiglu.cu: CUDA twin of swiglu.c: element-wise; a row of blocks per token. */
#include "kernels/block.cuh"
#include "kernels/bodies.h"
#include "kernels/launch.cuh"
#include "kernels/ops.h"

template <typename T, int V>
static __global__ void __launch_bounds__(BLOCK_MAX) swiglu_fwd_kernel(T *h, const T *gu, int F)
{
    const int f = (blockIdx.y * blockDim.x + threadIdx.x) * V;
    if (f >= F) return;
    const T *g = gu + (long)blockIdx.x * 2 * F + f;
    float gv[V], uv[V];
    load<V>(gv, g);
    load<V>(uv, g + F);
#pragma unroll
    for (int i = 0; i < V; i++) gv[i] = body_swiglu(gv[i], uv[i]);
    store<V>(h + (long)blockIdx.x * F + f, gv);
}

/* d_gu may be gu: a thread reads its own two places before it writes them. */
template <typename T, int V>
static __global__ void __launch_bounds__(BLOCK_MAX) swiglu_bwd_kernel(T *d_gu, const T *d_h, const T *gu, int F)
{
    const int f = (blockIdx.y * blockDim.x + threadIdx.x) * V;
    if (f >= F) return;
    const long at = (long)blockIdx.x * 2 * F + f;
    float gv[V], uv[V], dv[V];
    load<V>(gv, gu + at);
    load<V>(uv, gu + at + F);
    load<V>(dv, d_h + (long)blockIdx.x * F + f);
#pragma unroll
    for (int i = 0; i < V; i++) {
        float d_g, d_u;
        body_swiglu_bwd(gv[i], uv[i], dv[i], &d_g, &d_u);
        gv[i] = d_g, uv[i] = d_u;
    }
    store<V>(d_gu + at, gv);
    store<V>(d_gu + at + F, uv);
}

static dim3 swiglu_grid(long T, long F, int V, unsigned block)
{
    const long per_block = (long)block * V;
    return dim3((unsigned)T, (unsigned)((F + per_block - 1) / per_block));
}

template <typename T> static int swiglu_fwd_act(const struct op_ctx *cx, void *h, const void *gu, long T_, long F)
{
    constexpr int V = 16 / sizeof(T);
    const bool wide = cuda_aligned16(h, gu, F * sizeof(T));
    const unsigned block = block_of(F, wide ? V : 1);
    return cuda_launch(cx, "swiglu_fwd", wide ? swiglu_fwd_kernel<T, V> : swiglu_fwd_kernel<T, 1>,
                       swiglu_grid(T_, F, wide ? V : 1, block), block, (T *)h, (const T *)gu, (int)F);
}

int cuda_swiglu_fwd(const struct op_ctx *cx, void *h, const void *gu, long T, long F)
{
    return cx->act == DT_BF16 ? swiglu_fwd_act<__nv_bfloat16>(cx, h, gu, T, F) : swiglu_fwd_act<float>(cx, h, gu, T, F);
}

template <typename T>
static int swiglu_bwd_act(const struct op_ctx *cx, void *d_gu, const void *d_h, const void *gu, long T_, long F)
{
    constexpr int V = 16 / sizeof(T);
    const bool wide = cuda_aligned16(d_gu, d_h, gu, F * sizeof(T));
    const unsigned block = block_of(F, wide ? V : 1);
    return cuda_launch(cx, "swiglu_bwd", wide ? swiglu_bwd_kernel<T, V> : swiglu_bwd_kernel<T, 1>,
                       swiglu_grid(T_, F, wide ? V : 1, block), block, (T *)d_gu, (const T *)d_h, (const T *)gu,
                       (int)F);
}

int cuda_swiglu_bwd(const struct op_ctx *cx, void *d_gu, const void *d_h, const void *gu, long T, long F)
{
    return cx->act == DT_BF16 ? swiglu_bwd_act<__nv_bfloat16>(cx, d_gu, d_h, gu, T, F)
                              : swiglu_bwd_act<float>(cx, d_gu, d_h, gu, T, F);
}
