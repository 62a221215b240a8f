/* head.cu: CUDA twin of head.c: LM head, cross entropy and its gradient, some rows at a time. cublasLt makes the logits
 * in f32 (bf16 logits would decide ties of the argmax); one block per row reduces them and turns them in place into the
 * gradient, f32 or bf16 as the second product wants it. */
#include "kernels/block.cuh"
#include "kernels/bodies.h"
#include "kernels/cublaslt.h"
#include "kernels/launch.cuh"
#include "kernels/ops.h"

#define XENT_BLOCK 512

static __device__ __forceinline__ struct body_softmax warp_softmax(struct body_softmax a)
{
#pragma unroll
    for (int o = 16; o; o >>= 1) {
        struct body_softmax b;
        b.max = __shfl_down_sync(0xffffffffu, a.max, o);
        b.sum = __shfl_down_sync(0xffffffffu, a.sum, o);
        b.best = __shfl_down_sync(0xffffffffu, a.best, o);
        a = body_softmax_merge(a, b);
    }
    return a;
}

/* logits [rows][ld] f32, ld a multiple of 8; G is the type of the gradient, written over the row's start (row stride
 * ld * 4 / sizeof(G)) if want_grad. */
template <typename G>
static __global__ void __launch_bounds__(XENT_BLOCK)
    xent_kernel(float *nll, int32_t *best, float *logits, long ld, int V, const int32_t *labels, const float *gscales,
                int want_grad)
{
    __shared__ struct body_softmax part[XENT_BLOCK / 32];
    float *row = logits + (long)blockIdx.x * ld;
    const int label = labels[blockIdx.x];
    const float label_logit = row[label];
    struct body_softmax a = body_softmax_none();
    float x[4];
    for (int c = threadIdx.x * 4; c < V; c += XENT_BLOCK * 4) {
        load<4>(x, row + c);
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (c + i < V) body_softmax_add(&a, x[i], c + i);
    }
    a = warp_softmax(a);
    if (!(threadIdx.x & 31)) part[threadIdx.x >> 5] = a;
    __syncthreads(); /* also: every thread has read label_logit before the row is rewritten */
    a = part[0];
    for (int w = 1; w < XENT_BLOCK / 32; w++) a = body_softmax_merge(a, part[w]);
    if (threadIdx.x == 0) {
        nll[blockIdx.x] = body_nll(a, label_logit);
        if (best) best[blockIdx.x] = a.best;
    }
    if (!want_grad) return;
    const float gscale = gscales[blockIdx.x];
    /* A tile is read by all before any of it is written; what a tile writes lies at or before its own place, so later
     * tiles are still whole. The row's padding takes part, as zeros. */
    for (long base = 0; base < ld; base += XENT_BLOCK * 4) {
        const long c = base + threadIdx.x * 4;
        if (c < ld) load<4>(x, row + c);
        __syncthreads();
        if (c < ld) {
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] = c + i < V ? body_xent_grad(a, x[i], c + i == label, gscale) : 0.0f;
            if constexpr (sizeof(G) == 4) {
                store<4>(row + c, x);
            } else {
                uint2 u;
                u.x = bits16(from_f32<G>(x[0])) | bits16(from_f32<G>(x[1])) << 16;
                u.y = bits16(from_f32<G>(x[2])) | bits16(from_f32<G>(x[3])) << 16;
                *(uint2 *)((G *)row + c) = u;
            }
        }
    }
}

struct head_plan {
    enum dtype in;                   /* type of the operands of both products */
    long ld;                         /* row stride of the logits */
    size_t logits, w, x, d_x, bytes; /* offsets into scratch */
};

/* loss: with place for the logits and the gradient of x. */
static struct head_plan head_plan_of(const struct op_ctx *cx, const struct mat *w, long rows, bool loss)
{
    struct head_plan p;
    p.in = cuda_operand(cx, w->dtype);
    p.ld = ((long)w->rows + 7) & ~7L;
    p.bytes = 0;
    const size_t in_bytes = cuda_act_bytes(p.in);
    p.logits = cuda_take(&p.bytes, loss ? (size_t)rows * p.ld * 4 : 0);
    p.w = cuda_take(&p.bytes, w->dtype == p.in ? 0 : (size_t)w->rows * w->cols * in_bytes);
    p.x = cuda_take(&p.bytes, cx->act == p.in ? 0 : (size_t)rows * w->cols * in_bytes);
    p.d_x = cuda_take(&p.bytes, loss && cuda_via_f32(cx, p.in) ? (size_t)rows * w->cols * 4 : 0);
    return p;
}

/* *wt: the matrix as operand, converted into scratch where it must be. */
static int head_weight(const struct op_ctx *cx, const struct head_plan *p, const struct mat *w, const void **wt)
{
    *wt = w->data;
    if (w->dtype == p->in) return DEV_OK;
    *wt = (char *)cx->scratch + p->w;
    return cuda_convert(cx, (char *)cx->scratch + p->w, p->in, w->data, w->dtype, (long)w->rows * w->cols);
}

size_t cuda_head_scratch(const struct op_ctx *cx, const struct mat *w, long n, int chunk)
{
    return head_plan_of(cx, w, n < chunk ? n : chunk, true).bytes;
}

/* logits [rows][ld] f32 = x W^T; wt: the matrix as operand. */
static int head_product(const struct op_ctx *cx, const struct head_plan *p, float *logits, long ld, const void *x,
                        const void *wt, int V, int C, long rows)
{
    int rc = DEV_OK;
    if (cx->act != p->in) {
        void *to = (char *)cx->scratch + p->x;
        rc = cuda_convert(cx, to, p->in, x, cx->act, rows * C);
        x = to;
    }
    struct matmul g = {rows, V, C, p->in, DT_F32, x, wt, NULL, logits, C, C, ld, 1, 1.0f, 0.0f};
    return rc ? rc : cublaslt_gemm(cx->dev, &g);
}

/* Rows [0, rows) of one chunk; the pointers are the chunk's. w: the matrix as operand. */
static int head_chunk(const struct op_ctx *cx, const struct head_plan *p, float *nll, int32_t *best, void *d_x,
                      const void *x, const void *w, int V, int C, const int32_t *labels, long rows, const float *gscale)
{
    char *s = (char *)cx->scratch;
    float *logits = (float *)(s + p->logits);
    int rc = head_product(cx, p, logits, p->ld, x, w, V, C, rows);
    if (!rc)
        rc = cuda_launch(cx, "head_loss", p->in == DT_BF16 ? xent_kernel<__nv_bfloat16> : xent_kernel<float>,
                         dim3((unsigned)rows), XENT_BLOCK, nll, best, logits, p->ld, V, labels, gscale, d_x != NULL);
    if (rc || !d_x) return rc;
    const bool direct = !cuda_via_f32(cx, p->in);
    const long ldg = p->in == DT_BF16 ? 2 * p->ld : p->ld;
    void *to = direct ? d_x : s + p->d_x;
    struct matmul b = {rows, C, V, p->in, direct ? cx->act : DT_F32, logits, w, NULL, to, ldg, C, C, 0, 1.0f, 0.0f};
    rc = cublaslt_gemm(cx->dev, &b);
    if (!rc && !direct) rc = cuda_add_rows(cx, d_x, NULL, (const float *)to, rows, C, C);
    return rc;
}

int cuda_head_loss(const struct op_ctx *cx, float *nll, int32_t *best, void *d_x, float *d_w, const void *x,
                   const struct mat *w, const int32_t *labels, long n, const float *gscale, int chunk)
{
    if (d_w) return dev_fail(cx->dev, DEV_UNSUPPORTED, "head_loss: the gradient of the head's weight");
    const struct head_plan p = head_plan_of(cx, w, n < chunk ? n : chunk, true);
    if (p.bytes > cx->scratch_bytes)
        return dev_fail(cx->dev, DEV_FAILED, "head_loss: scratch of %zu bytes, %zu needed", cx->scratch_bytes, p.bytes);
    const int C = w->cols;
    const size_t row_bytes = C * cuda_act_bytes(cx->act);
    const void *wt;
    int rc = head_weight(cx, &p, w, &wt);
    if (rc) return rc;
    for (long at = 0; at < n; at += chunk) {
        const long rows = n - at < chunk ? n - at : chunk;
        rc = head_chunk(cx, &p, nll + at, best ? best + at : NULL, d_x ? (char *)d_x + at * row_bytes : NULL,
                        (const char *)x + at * row_bytes, wt, w->rows, C, labels + at, rows, d_x ? gscale + at : NULL);
        if (rc) return rc;
    }
    return DEV_OK;
}

size_t cuda_logits_scratch(const struct op_ctx *cx, const struct mat *w, long n)
{
    return head_plan_of(cx, w, n, false).bytes;
}

int cuda_head_logits(const struct op_ctx *cx, float *logits, const void *x, const struct mat *w, long n)
{
    const struct head_plan p = head_plan_of(cx, w, n, false);
    if (p.bytes > cx->scratch_bytes)
        return dev_fail(cx->dev, DEV_FAILED, "head_logits: scratch of %zu bytes, %zu needed", cx->scratch_bytes,
                        p.bytes);
    const void *wt;
    int rc = head_weight(cx, &p, w, &wt);
    return rc ? rc : head_product(cx, &p, logits, w->rows, x, wt, w->rows, w->cols, n);
}
