/* optim.cu: CUDA twin of optim.c: sum of squares in f64, and AdamW. */
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

static __global__ void __launch_bounds__(BLOCK_MAX) sumsq_total_kernel(double *out, const double *part, long n)
{
    double sum = 0.0;
    for (long i = threadIdx.x; i < n; i += BLOCK_MAX) sum += part[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = sum;
}

int cuda_sumsq(const struct op_ctx *cx, double *out, const float *g, long n)
{
    struct cuda_device *cd = cuda_impl(cx->dev);
    double *part = (double *)cd->workspace;
    const long parts = (n + SUMSQ_BLOCK - 1) / SUMSQ_BLOCK;
    if ((size_t)parts > cd->workspace_bytes / sizeof *part)
        return dev_fail(cx->dev, DEV_UNSUPPORTED, "sumsq: %ld values", n);
    int rc = cuda_launch(cx, "sumsq", sumsq_part_kernel, dim3((unsigned)parts), BLOCK_MAX, part, g, n);
    if (rc) return rc;
    return cuda_launch(cx, "sumsq", sumsq_total_kernel, dim3(1), BLOCK_MAX, out, part, parts);
}

static __global__ void __launch_bounds__(BLOCK_MAX)
    adamw_kernel(float *p, float *m, float *v, const float *g, long n, struct body_adamw step)
{
    const long i = (long)blockIdx.x * BLOCK_MAX + threadIdx.x;
    if (i >= n) return;
    float pi = p[i], mi = m[i], vi = v[i];
    body_adamw(&pi, &mi, &vi, g[i], &step);
    p[i] = pi, m[i] = mi, v[i] = vi;
}

int cuda_adamw(const struct op_ctx *cx, float *p, float *m, float *v, const float *g, long n, const struct adamw *hp)
{
    return cuda_launch(cx, "adamw", adamw_kernel, dim3((unsigned)((n + BLOCK_MAX - 1) / BLOCK_MAX)), BLOCK_MAX, p, m, v,
                       g, n, body_adamw_of(hp));
}
