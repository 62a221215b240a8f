/* cuda_device: what the .cu files share on the host side: the state behind struct device, errors, and conversion of
 * arrays.
 *
 * Not for the C side, which sees device_internal.h only. Everything runs on the one stream of the device, in order. */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH
#include <cuda_runtime.h>
#include <stdint.h>
#include "kernels/device_internal.h"

struct cublaslt;
struct cuda_device {
    int index;
    cudaStream_t stream;
    cudaEvent_t uploaded; /* behind the last dev_upload */
    void *workspace;      /* of cublasLt and of sumsq's partial sums; contents are lost between calls */
    size_t workspace_bytes;
    struct cublaslt *lt;
};

static inline struct cuda_device *cuda_impl(const struct device *d) { return (struct cuda_device *)d->impl; }

/* DEV_OK, or the message "what: reason" and a status. */
int cuda_check(struct device *d, const char *what, cudaError_t e);
/* The stream of the device, made the calling thread's current one. */
cudaStream_t cuda_stream(const struct device *d);

/* n values of dst = src, converted between f32, bf16 and f16 (any other type: DEV_UNSUPPORTED). */
int cuda_convert(const struct op_ctx *cx, void *dst, enum dtype to, const void *src, enum dtype from, long n);
/* y[t][c] = res[t][c] + src[t][c] for [rows][cols]; y, res act with row stride ld, res NULL for none; src f32
 * [rows][cols]. */
int cuda_add_rows(const struct op_ctx *cx, void *y, const void *res, const float *src, long rows, int cols, long ld);

/* Offsets into scratch: each buffer starts on a multiple of 256 bytes. */
static inline size_t cuda_take(size_t *at, size_t bytes)
{
    size_t here = *at;
    *at = (here + bytes + 255) & ~(size_t)255;
    return here;
}

static inline size_t cuda_act_bytes(enum dtype t) { return t == DT_F32 ? 4 : 2; }

/* Type of the operands of an activation-by-weight product: bf16 when asked for, or when both are bf16 as they are
 * (their products are exact in f32); otherwise f32. */
static inline enum dtype cuda_operand(const struct op_ctx *cx, enum dtype weight)
{
    return cx->prec == DT_BF16 || (cx->act == DT_BF16 && weight == DT_BF16) ? DT_BF16 : DT_F32;
}
/* cublasLt has no f32 x f32 -> bf16: such results pass through f32 scratch. */
static inline bool cuda_via_f32(const struct op_ctx *cx, enum dtype operand)
{
    return cx->act == DT_BF16 && operand == DT_F32;
}

/* May all of these pointers and byte strides be read 16 bytes at a time? (NULL may.) */
template <typename... P> static inline bool cuda_aligned16(P... v) { return !(((uintptr_t)v | ...) & 15); }
#endif
