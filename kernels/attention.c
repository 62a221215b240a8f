/* attention: packed causal attention with grouped heads; tasks over threads. The work: attention_simd.h, and
 * attention_tiles.h for products of bf16 on CPUs with tiles.
 *
 * Tasks differ in size, so threads take them as they come; each task's bits are its own. */
#include "kernels/attention.h"
#include "kernels/cpu.h"
#include "kernels/parallel.h"

static int check(const struct op_ctx *cx, const struct attn *a, const char *op)
{
    int rc = cpu_op_check(cx, op);
    if (rc) return rc;
    if (a->D > ATTN_MAX_D)
        return dev_fail(cx->dev, DEV_UNSUPPORTED, "%s: head width %d, at most %d", op, a->D, ATTN_MAX_D);
    if (a->H % a->K) return dev_fail(cx->dev, DEV_UNSUPPORTED, "%s: %d heads are no multiple of %d", op, a->H, a->K);
    for (int b = 0; b < a->B; b++)
        if (a->q_len[b] > a->kv_len[b] || a->q_len[b] > a->max_q)
            return dev_fail(cx->dev, DEV_FAILED, "%s: sequence %d has %d queries, %d keys, max_q is %d", op, b,
                            a->q_len[b], a->kv_len[b], a->max_q);
    return DEV_OK;
}

static const struct attn_loops *loops(const struct op_ctx *cx)
{
    return cx->prec == DT_BF16 ? cx->dev->simd->attn_bf16 : cx->dev->simd->attn_f32;
}

struct fwd_job {
    const struct attn_loops *loops;
    const struct attn *a;
    void *o;
    float *lse;
    const void *q, *k, *v;
    long blocks; /* of query_rows queries in max_q */
};

static void fwd_task(void *job, long t)
{
    const struct fwd_job *j = job;
    const struct attn *a = j->a;
    const long first = (j->blocks - 1 - t % j->blocks) * j->loops->query_rows; /* the longest first */
    int b = (int)(t / j->blocks / a->K), kv_head = (int)(t / j->blocks % a->K);
    if (first < a->q_len[b]) j->loops->fwd(a, j->o, j->lse, j->q, j->k, j->v, b, kv_head, first);
}

struct bwd_job {
    const struct attn_loops *loops;
    const struct attn *a;
    void *d_q, *d_k, *d_v;
    const void *d_o, *q, *k, *v, *o;
    const float *lse;
};

static void bwd_task(void *job, long t)
{
    const struct bwd_job *j = job;
    j->loops->bwd(j->a, j->d_q, j->d_k, j->d_v, j->d_o, j->q, j->k, j->v, j->o, j->lse, (int)(t / j->a->K),
                  (int)(t % j->a->K));
}

int cpu_attn_fwd(const struct op_ctx *cx, void *o, float *lse, const void *q, const void *k, const void *v,
                 const struct attn *a)
{
    int rc = check(cx, a, "attn_fwd");
    if (rc) return rc;
    const int rows = loops(cx)->query_rows;
    const long blocks = (a->max_q + rows - 1) / rows, tasks = (long)a->B * a->K * blocks;
    struct fwd_job j = {loops(cx), a, o, lse, q, k, v, blocks};
    parallel_run(parallel_threads(tasks, (long)rows * a->D * 64), tasks, fwd_task, &j);
    return DEV_OK;
}

int cpu_attn_bwd(const struct op_ctx *cx, void *d_q, void *d_k, void *d_v, const void *d_o, const void *q,
                 const void *k, const void *v, const void *o, const float *lse, const struct attn *a)
{
    int rc = check(cx, a, "attn_bwd");
    if (rc) return rc;
    const long tasks = (long)a->B * a->K;
    struct bwd_job j = {loops(cx), a, d_q, d_k, d_v, d_o, q, k, v, o, lse};
    parallel_run(parallel_threads(tasks, (long)a->max_q * a->D * 64), tasks, bwd_task, &j);
    return DEV_OK;
}

size_t cpu_attn_scratch(const struct op_ctx *cx, const struct attn *a, long T, int backward)
{
    (void)cx, (void)a, (void)T, (void)backward;
    return 0; /* blocks of scores live on the threads' stacks */
}
