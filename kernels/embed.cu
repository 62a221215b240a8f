/* embed.cu: CUDA twin of embed.c: one block copies and converts the row of one token. Quantised tables are not taken.
 */
#include "kernels/block.cuh"
#include "kernels/launch.cuh"
#include "kernels/ops.h"
#include "kernels/strides.h"

template <typename T, typename W, int V>
static __global__ void __launch_bounds__(BLOCK_MAX) embed_kernel(T *y, long ldy, const int32_t *ids, const W *w, int C)
{
    T *row = y + blockIdx.x * ldy;
    const W *src = w + (long)ids[blockIdx.x] * C;
    for (int c = threadIdx.x * V; c < C; c += blockDim.x * V) {
        float v[V];
        load<V>(v, src + c);
        store<V>(row + c, v);
    }
}

template <typename T, typename W>
static int embed_run(const struct op_ctx *cx, void *y, long ldy, const int32_t *ids, const struct mat *w, long T_)
{
    const int C = w->cols;
    const bool wide = cuda_aligned16(y, w->data, ldy * sizeof(T), C * sizeof(W)) && C % 8 == 0;
    if (wide)
        return cuda_launch(cx, "embed_fwd", embed_kernel<T, W, 8>, dim3((unsigned)T_), block_of(C, 8), (T *)y, ldy, ids,
                           (const W *)w->data, C);
    return cuda_launch(cx, "embed_fwd", embed_kernel<T, W, 1>, dim3((unsigned)T_), block_of(C, 1), (T *)y, ldy, ids,
                       (const W *)w->data, C);
}

template <typename T>
static int embed_act(const struct op_ctx *cx, void *y, long ldy, const int32_t *ids, const struct mat *w, long T_)
{
    switch (w->dtype) {
    case DT_F32:
        return embed_run<T, float>(cx, y, ldy, ids, w, T_);
    case DT_BF16:
        return embed_run<T, __nv_bfloat16>(cx, y, ldy, ids, w, T_);
    case DT_F16:
        return embed_run<T, __half>(cx, y, ldy, ids, w, T_);
    default:
        return dev_fail(cx->dev, DEV_UNSUPPORTED, "embed_fwd: table in %s", dtype_info[w->dtype].name);
    }
}

int cuda_embed_fwd(const struct op_ctx *cx, void *y, long ldy, const int32_t *ids, const struct mat *w, long T)
{
    const struct op_rows strides[] = {{"ldy", y, ldy, w->cols}};
    int rc = op_strides(cx, "embed_fwd", strides, 1);
    if (rc) return rc;
    return cx->act == DT_BF16 ? embed_act<__nv_bfloat16>(cx, y, ldy, ids, w, T)
                              : embed_act<float>(cx, y, ldy, ids, w, T);
}
