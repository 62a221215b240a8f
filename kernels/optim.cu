/* optim.cu: CUDA twin of optim.c. The scalars of a step stay on the device: kernels read and write them there, so that
 * the same launches serve every step. */
#include "kernels/block.cuh"
#include "kernels/bodies.h"
#include "kernels/launch.cuh"
#include "kernels/ops.h"

#define SUMSQ_BLOCK 1024 /* elements to a partial sum: a part of the op's contract */

static __global__ void __launch_bounds__(BLOCK_MAX) sumsq_part_kernel(double *part, const float *g, long n)
{
    const long from = (long)blockIdx.x * SUMSQ_BLOCK;
    const long end = from + SUMSQ_BLOCK < n ? from + SUMSQ_BLOCK : n;
    double sum = 0.0;
    for (long i = from + threadIdx.x; i < end; i += BLOCK_MAX) sum += (double)g[i] * g[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(BLOCK_MAX) sumsq_total_kernel(struct step_dev *s, const double *part, long n)
{
    double sum = 0.0;
    for (long i = threadIdx.x; i < n; i += BLOCK_MAX) sum += part[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) s->sumsq = sum;
}

int cuda_sumsq(const struct op_ctx *cx, struct step_dev *s, const float *g, long n)
{
    struct cuda_device *cd = cuda_impl(cx->dev);
    double *part = (double *)cd->workspace;
    const long parts = (n + SUMSQ_BLOCK - 1) / SUMSQ_BLOCK;
    if ((size_t)parts > cd->workspace_bytes / sizeof *part)
        return dev_fail(cx->dev, DEV_UNSUPPORTED, "sumsq: %ld values", n);
    int rc = cuda_launch(cx, "sumsq", sumsq_part_kernel, dim3((unsigned)parts), BLOCK_MAX, part, g, n);
    if (rc) return rc;
    return cuda_launch(cx, "sumsq", sumsq_total_kernel, dim3(1), BLOCK_MAX, s, part, parts);
}

/* One block: all threads fetch, the first one adds, in order. */
static __global__ void __launch_bounds__(BLOCK_MAX) loss_add_kernel(struct step_dev *s, const float *nll, long n)
{
    __shared__ float v[BLOCK_MAX];
    double sum = s->loss;
    for (long base = 0; base < n; base += BLOCK_MAX) {
        const long left = n - base < BLOCK_MAX ? n - base : BLOCK_MAX;
        if (threadIdx.x < left) v[threadIdx.x] = nll[base + threadIdx.x];
        __syncthreads();
        for (long i = 0; threadIdx.x == 0 && i < left; i++) sum += (double)v[i];
        __syncthreads();
    }
    if (threadIdx.x == 0) s->loss = sum;
}

int cuda_loss_add(const struct op_ctx *cx, struct step_dev *s, const float *nll, long n)
{
    return cuda_launch(cx, "loss_add", loss_add_kernel, dim3(1), BLOCK_MAX, s, nll, n);
}

static __global__ void __launch_bounds__(BLOCK_MAX) grad_add_kernel(float *y, const float *x, long n)
{
    const long i = (long)blockIdx.x * BLOCK_MAX + threadIdx.x;
    if (i < n) y[i] += x[i];
}

static dim3 blocks_for(long n) { return dim3((unsigned)((n + BLOCK_MAX - 1) / BLOCK_MAX)); }

int cuda_grad_add(const struct op_ctx *cx, float *y, const float *x, long n)
{
    return cuda_launch(cx, "grad_add", grad_add_kernel, blocks_for(n), BLOCK_MAX, y, x, n);
}

static __global__ void step_clip_kernel(struct step_dev *s) { body_step_clip(s); }

int cuda_step_clip(const struct op_ctx *cx, struct step_dev *s)
{
    return cuda_launch(cx, "step_clip", step_clip_kernel, dim3(1), 1, s);
}

static __global__ void __launch_bounds__(BLOCK_MAX)
    adamw_kernel(float *p, float *m, float *v, const float *g, long n, struct adamw hp, const struct step_dev *s)
{
    __shared__ struct body_adamw step;
    if (s->skip) return;
    if (threadIdx.x == 0) step = body_adamw_of(&hp, s); /* f64: once a block */
    __syncthreads();
    const long i = (long)blockIdx.x * BLOCK_MAX + threadIdx.x;
    if (i >= n) return;
    float pi = p[i], mi = m[i], vi = v[i];
    body_adamw(&pi, &mi, &vi, g[i], &step);
    p[i] = pi, m[i] = mi, v[i] = vi;
}

int cuda_adamw(const struct op_ctx *cx, float *p, float *m, float *v, const float *g, long n, const struct adamw *hp,
               const struct step_dev *s)
{
    return cuda_launch(cx, "adamw", adamw_kernel, blocks_for(n), BLOCK_MAX, p, m, v, g, n, *hp, s);
}
