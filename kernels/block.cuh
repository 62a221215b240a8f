/* block: device-side helpers: loads and stores of V values as f32, and reductions over a warp or a block.
 *
 * V is 1, or a multiple of what fills 16 bytes of every type involved; then the pointers must be 16-byte aligned. Sums
 * run in an order that depends on the block size only: no atomics anywhere. */
#ifndef KERNELS_BLOCK_CUH
#define KERNELS_BLOCK_CUH
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#define BLOCK_MAX 256 /* threads of a row kernel; also the bound given to the compiler */

/* Threads for a row of n values read V at a time: whole warps, at most BLOCK_MAX. A function of the width alone, so
 * that a row's sum has the same order in every call. */
static inline unsigned block_of(long n, int V)
{
    long t = ((n + V - 1) / V + 31) / 32 * 32;
    return (unsigned)(t > BLOCK_MAX ? BLOCK_MAX : t < 32 ? 32 : t);
}

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_f32(__half x) { return __half2float(x); }
template <typename T> __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <> __device__ __forceinline__ __nv_bfloat16 from_f32<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ __half from_f32<__half>(float x) { return __float2half_rn(x); }

/* The 16 bytes of u as f32: 4 values of f32, 8 of a 2-byte type. */
__device__ __forceinline__ void unpack(uint4 u, float *out, const float *)
{
    out[0] = __uint_as_float(u.x), out[1] = __uint_as_float(u.y);
    out[2] = __uint_as_float(u.z), out[3] = __uint_as_float(u.w);
}
__device__ __forceinline__ void unpack(uint4 u, float *out, const __nv_bfloat16 *)
{
    const uint32_t w[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[2 * i] = __uint_as_float(w[i] << 16);
        out[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
    }
}
__device__ __forceinline__ void unpack(uint4 u, float *out, const __half *)
{
    const uint32_t w[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[2 * i] = __half2float(__ushort_as_half((unsigned short)(w[i] & 0xffffu)));
        out[2 * i + 1] = __half2float(__ushort_as_half((unsigned short)(w[i] >> 16)));
    }
}
__device__ __forceinline__ uint4 pack(const float *v, const float *)
{
    return make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3]));
}
__device__ __forceinline__ uint32_t bits16(__nv_bfloat16 x) { return __bfloat16_as_ushort(x); }
__device__ __forceinline__ uint32_t bits16(__half x) { return __half_as_ushort(x); }
template <typename T> __device__ __forceinline__ uint4 pack(const float *v, const T *)
{
    uint32_t w[4];
#pragma unroll
    for (int i = 0; i < 4; i++) w[i] = bits16(from_f32<T>(v[2 * i])) | bits16(from_f32<T>(v[2 * i + 1])) << 16;
    return make_uint4(w[0], w[1], w[2], w[3]);
}

template <int V, typename T> __device__ __forceinline__ void load(float (&out)[V], const T *p)
{
    if constexpr (V == 1) {
        out[0] = to_f32(*p);
    } else {
        constexpr int per = 16 / sizeof(T);
        static_assert(V % per == 0, "V fills 16-byte words");
#pragma unroll
        for (int i = 0; i < V / per; i++) unpack(((const uint4 *)p)[i], out + i * per, p);
    }
}
template <int V, typename T> __device__ __forceinline__ void store(T *p, const float (&v)[V])
{
    if constexpr (V == 1) {
        *p = from_f32<T>(v[0]);
    } else {
        constexpr int per = 16 / sizeof(T);
        static_assert(V % per == 0, "V fills 16-byte words");
#pragma unroll
        for (int i = 0; i < V / per; i++) ((uint4 *)p)[i] = pack(v + i * per, p);
    }
}

/* Lane 0 has the sum of the warp. */
template <typename T> __device__ __forceinline__ T warp_sum(T v)
{
#pragma unroll
    for (int o = 16; o; o >>= 1) v += __shfl_down_sync(0xffffffffu, v, o);
    return v;
}

/* Every thread gets the sum over the block (whole warps, all threads call). */
template <typename T> __device__ __forceinline__ T block_sum(T v)
{
    __shared__ T part[32];
    v = warp_sum(v);
    __syncthreads(); /* the readers of an earlier sum are done */
    if (!(threadIdx.x & 31)) part[threadIdx.x >> 5] = v;
    __syncthreads();
    T sum = 0;
    for (unsigned w = 0; w < blockDim.x >> 5; w++) sum += part[w];
    return sum;
}
#endif
