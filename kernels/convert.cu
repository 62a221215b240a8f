/* convert.cu: arrays between f32, bf16 and f16, for the operands and results of matrix products. Not an op of its own.
 */
#include "kernels/block.cuh"
#include "kernels/launch.cuh"

template <typename D, typename S, int V>
static __global__ void __launch_bounds__(BLOCK_MAX) convert_kernel(D *dst, const S *src, long n)
{
    const long i = ((long)blockIdx.x * BLOCK_MAX + threadIdx.x) * V;
    if (i >= n) return;
    float v[V];
    load<V>(v, src + i);
    store<V>(dst + i, v);
}

template <typename D, typename S> static int convert_run(const struct op_ctx *cx, void *dst, const void *src, long n)
{
    const int V = cuda_aligned16(dst, src) && n % 8 == 0 ? 8 : 1;
    const long per_block = (long)BLOCK_MAX * V;
    return cuda_launch(cx, "convert", V == 8 ? convert_kernel<D, S, 8> : convert_kernel<D, S, 1>,
                       dim3((unsigned)((n + per_block - 1) / per_block)), BLOCK_MAX, (D *)dst, (const S *)src, n);
}

template <typename D>
static int convert_to(const struct op_ctx *cx, void *dst, const void *src, enum dtype from, long n)
{
    switch (from) {
    case DT_F32:
        return convert_run<D, float>(cx, dst, src, n);
    case DT_BF16:
        return convert_run<D, __nv_bfloat16>(cx, dst, src, n);
    case DT_F16:
        return convert_run<D, __half>(cx, dst, src, n);
    default:
        return dev_fail(cx->dev, DEV_UNSUPPORTED, "CUDA: matrix in %s", dtype_info[from].name);
    }
}

int cuda_convert(const struct op_ctx *cx, void *dst, enum dtype to, const void *src, enum dtype from, long n)
{
    return to == DT_BF16 ? convert_to<__nv_bfloat16>(cx, dst, src, from, n) : convert_to<float>(cx, dst, src, from, n);
}

template <typename T>
static __global__ void __launch_bounds__(BLOCK_MAX)
    add_rows_kernel(T *y, const T *res, const float *src, int cols, long ld)
{
    const long at = (long)blockIdx.x * ld;
    for (int c = threadIdx.x; c < cols; c += blockDim.x) {
        float v = src[(long)blockIdx.x * cols + c];
        if (res) v += to_f32(res[at + c]);
        y[at + c] = from_f32<T>(v);
    }
}

int cuda_add_rows(const struct op_ctx *cx, void *y, const void *res, const float *src, long rows, int cols, long ld)
{
    const dim3 grid((unsigned)rows);
    if (cx->act == DT_BF16)
        return cuda_launch(cx, "add_rows", add_rows_kernel<__nv_bfloat16>, grid, block_of(cols, 1), (__nv_bfloat16 *)y,
                           (const __nv_bfloat16 *)res, src, cols, ld);
    return cuda_launch(cx, "add_rows", add_rows_kernel<float>, grid, block_of(cols, 1), (float *)y, (const float *)res,
                       src, cols, ld);
}
