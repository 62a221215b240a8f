/* rope.cu: CUDA twin of rope.c: one block per token. A thread takes V pairs (j, j + D/2) of the same place in several
 * heads, so that each sine is computed once for all of them. */
#include "kernels/block.cuh"
#include "kernels/bodies.h"
#include "kernels/launch.cuh"
#include "kernels/ops.h"

/* Sine and cosine of an f32 angle of any size. sincosf's own reduction of large angles needs local memory; this one is
 * a subtraction in f64, exact to well below one f32 ulp for every position that fits int32. */
static __device__ __forceinline__ void rope_sincos(float angle, float *s, float *c)
{
    double turns = (double)angle * 0.318309886183790671537767526745; /* angle / pi */
    turns -= 2.0 * rint(0.5 * turns);
    sincospif((float)turns, s, c);
}

template <typename T, int V>
static __global__ void __launch_bounds__(BLOCK_MAX)
    rope_kernel(T *x, long ld, const int32_t *pos, const float *inv_freq, int n_heads, int D, float dir)
{
    const int half = D / 2, slots = half / V;
    const int per_pass = blockDim.x / slots > 0 ? blockDim.x / slots : 1; /* heads side by side in a block */
    T *row = x + (long)blockIdx.x * ld;
    const float at = (float)pos[blockIdx.x];
    for (int slot = threadIdx.x; slot < slots * per_pass; slot += blockDim.x) {
        const int j = slot % slots * V;
        float s[V], c[V], a[V], b[V];
#pragma unroll
        for (int i = 0; i < V; i++) {
            rope_sincos(at * inv_freq[j + i], &s[i], &c[i]);
            s[i] *= dir;
        }
        for (int h = slot / slots; h < n_heads; h += per_pass) {
            T *head = row + (long)h * D + j;
            load<V>(a, head);
            load<V>(b, head + half);
#pragma unroll
            for (int i = 0; i < V; i++) body_rope(&a[i], &b[i], c[i], s[i]);
            store<V>(head, a);
            store<V>(head + half, b);
        }
    }
}

template <typename T>
static int rope_act(const struct op_ctx *cx, void *x, long ld, const int32_t *pos, const float *inv_freq, long T_,
                    int n_heads, int D, float dir)
{
    constexpr int V = 16 / sizeof(T);
    const dim3 grid((unsigned)T_);
    const long pairs = (long)n_heads * (D / 2);
    if (pairs == 0) return DEV_OK;
    if (cuda_aligned16(x, ld * sizeof(T), D / 2 * sizeof(T)))
        return cuda_launch(cx, "rope", rope_kernel<T, V>, grid, block_of(pairs, V), (T *)x, ld, pos, inv_freq, n_heads,
                           D, dir);
    return cuda_launch(cx, "rope", rope_kernel<T, 1>, grid, block_of(pairs, 1), (T *)x, ld, pos, inv_freq, n_heads, D,
                       dir);
}

int cuda_rope(const struct op_ctx *cx, void *x, long ld, const int32_t *pos, const float *inv_freq, long T, int n_heads,
              int D, int dir)
{
    const float sign = dir < 0 ? -1.0f : 1.0f;
    return cx->act == DT_BF16 ? rope_act<__nv_bfloat16>(cx, x, ld, pos, inv_freq, T, n_heads, D, sign)
                              : rope_act<float>(cx, x, ld, pos, inv_freq, T, n_heads, D, sign);
}
