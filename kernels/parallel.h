/* parallel: how CPU ops split work over threads: static, so that a thread meets the same rows each time. */
#ifndef KERNELS_PARALLEL_H
#define KERNELS_PARALLEL_H
#include "kernels/device_internal.h"
#include "kernels/simd.h"

/* Threads for `tasks` tasks of about `cost` simple operations each: below some 50,000 in all, waking a team costs more. */
static inline int parallel_threads(long tasks, long cost)
{
    long n = tasks * (double)cost < 5e4 ? 1 : cpu_threads();
    return (int)(n < tasks ? n : tasks > 0 ? tasks : 1);
}

/* Rows of part i of n parts of [0, rows). */
static inline long parallel_first(long rows, int i, int n)
{
    return rows * i / n;
}

/* What every CPU op takes: f32 activations. */
static inline int cpu_op_check(const struct op_ctx *cx, const char *op)
{
    if (cx->act == DT_F32) return DEV_OK;
    return dev_fail(cx->dev, DEV_UNSUPPORTED,
                    "%s on the CPU: activations %s, only f32 is supported", op,
                    dtype_info[cx->act].name);
}
#endif
