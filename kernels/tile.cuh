/* tile: C[m][n] = sum over k of a(m, k) b(k, n) in f32, for products with one small side (the rank of an adapter),
 * where a library's big tiles would idle. Operands and result are functors, so that dropout, scale, bias and "+=" cost
 * no pass of their own. Not for the base weights: those go to cublasLt.
 *
 * A warp makes 32 x 16 values, 4 x 4 a lane. WM x WN warps cover a tile; KW warps share the k of one tile in fixed
 * slices, whose sums are then added in order. No atomics: an element's order of summation depends on k's length alone.
 */
#ifndef KERNELS_TILE_CUH
#define KERNELS_TILE_CUH
#include "kernels/launch.cuh"

/* A: float operator()(long m, long k);  B: float operator()(long k, int n);  E: void operator()(long m, int n, float
 * sum). A_K, B_K: is the operand contiguous in memory along k? (Neighbouring threads then read neighbouring k.) */
template <int WM, int WN, int KW, bool A_K, bool B_K, class A, class B, class E>
static __global__ void __launch_bounds__(32 * WM * WN * KW) tile_kernel(long M, int N, long K, A a, B b, E e)
{
    constexpr int BM = 32 * WM, BN = 16 * WN, SLICE = 16, BK = SLICE * KW, LA = BM + 4, LB = BN + 4;
    constexpr int THREADS = 32 * WM * WN * KW;
    static_assert(KW == 1 || (WM == 1 && WN == 1), "either the tile or k is shared between warps");
    static_assert(KW == 1 || BK * LA >= KW * BM * BN, "the slices' sums fit where A was");
    alignas(16) __shared__ float sa[BK * LA];
    alignas(16) __shared__ float sb[BK * LB];
    const int tid = threadIdx.x, warp = tid >> 5, lane = tid & 31;
    const int wk = KW > 1 ? warp : 0, wt = KW > 1 ? 0 : warp;
    const int lm = wt % WM * 32 + (lane >> 2) * 4, ln = wt / WM * 16 + (lane & 3) * 4;
    const long m0 = (long)blockIdx.x * BM;
    const int n0 = blockIdx.y * BN;
    float acc[4][4] = {};
    for (long k0 = 0; k0 < K; k0 += BK) {
#pragma unroll 2
        for (int i = tid; i < BM * BK; i += THREADS) {
            const int mm = A_K ? i / BK : i % BM, kk = A_K ? i % BK : i / BM;
            sa[kk * LA + mm] = m0 + mm < M && k0 + kk < K ? a(m0 + mm, k0 + kk) : 0.0f;
        }
#pragma unroll 2
        for (int i = tid; i < BN * BK; i += THREADS) {
            const int nn = B_K ? i / BK : i % BN, kk = B_K ? i % BK : i / BN;
            sb[kk * LB + nn] = n0 + nn < N && k0 + kk < K ? b(k0 + kk, n0 + nn) : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int s = 0; s < SLICE; s++) {
            const float4 x = *(const float4 *)&sa[(wk * SLICE + s) * LA + lm];
            const float4 y = *(const float4 *)&sb[(wk * SLICE + s) * LB + ln];
            const float xv[4] = {x.x, x.y, x.z, x.w}, yv[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) acc[i][j] += xv[i] * yv[j];
        }
        __syncthreads();
    }
    if constexpr (KW == 1) {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (m0 + lm + i < M && n0 + ln + j < N) e(m0 + lm + i, n0 + ln + j, acc[i][j]);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sa[(wk * BM + lm + i) * BN + ln + j] = acc[i][j];
        __syncthreads();
        for (int i = tid; i < BM * BN; i += THREADS) {
            const int mm = i / BN, nn = i % BN;
            float sum = 0.0f;
            for (int w = 0; w < KW; w++) sum += sa[w * BM * BN + i];
            if (m0 + mm < M && n0 + nn < N) e(m0 + mm, n0 + nn, sum);
        }
    }
}

/* Long k, small n: the k of a tile is shared by 8 warps. */
template <bool A_K, bool B_K, class A, class B, class E>
static int tile_deep(const struct op_ctx *cx, const char *op, long M, int N, long K, A a, B b, E e)
{
    return cuda_launch(cx, op, tile_kernel<1, 1, 8, A_K, B_K, A, B, E>,
                       dim3((unsigned)((M + 31) / 32), (unsigned)((N + 15) / 16)), 256, M, N, K, a, b, e);
}
/* Small k: 64 x 64 tiles. */
template <bool A_K, bool B_K, class A, class B, class E>
static int tile_flat(const struct op_ctx *cx, const char *op, long M, int N, long K, A a, B b, E e)
{
    return cuda_launch(cx, op, tile_kernel<2, 4, 1, A_K, B_K, A, B, E>,
                       dim3((unsigned)((M + 63) / 64), (unsigned)((N + 63) / 64)), 256, M, N, K, a, b, e);
}
#endif
