/* parallel: how CPU ops split work over threads: a pool of our own, of which any thread may be late without others
 * waiting.
 *
 * Which thread takes which task is chance, so a task's result must not depend on it. Threads wait for work and for each
 * other by a short spin, then asleep: a neighbour on the machine costs its share of the cores and no more. Not a task
 * graph: no queues, no priorities; a parallel_run within a task, or beside another one, runs in its caller alone. */
#ifndef KERNELS_PARALLEL_H
#define KERNELS_PARALLEL_H
#include "kernels/device_internal.h"
#include "kernels/simd.h"

typedef void parallel_fn(void *job, long i);
typedef void parallel_rows_fn(void *job, long first, long last);

/* fn(job, i) for each i of [0, n) once, on at most `threads` threads, the caller among them; returns when all are done.
 */
void parallel_run(int threads, long n, parallel_fn *fn, void *job);

/* fn(job, first, last) for stretches [first, last) that make up [0, rows). */
void parallel_rows(int threads, long rows, parallel_rows_fn *fn, void *job);

/* Threads for `tasks` tasks of about `cost` simple operations each: below some 50,000 in all, waking a team costs more.
 */
static inline int parallel_threads(long tasks, long cost)
{
    long n = tasks * (double)cost < 5e4 ? 1 : cpu_threads();
    return (int)(n < tasks ? n : tasks > 0 ? tasks : 1);
}

/* Rows of part i of n parts of [0, rows). */
static inline long parallel_first(long rows, long i, long n) { return rows * i / n; }

/* What every CPU op takes: f32 activations. */
static inline int cpu_op_check(const struct op_ctx *cx, const char *op)
{
    if (cx->act == DT_F32) return DEV_OK;
    return dev_fail(cx->dev, DEV_UNSUPPORTED, "%s on the CPU: activations %s, only f32 is supported", op,
                    dtype_info[cx->act].name);
}
#endif
