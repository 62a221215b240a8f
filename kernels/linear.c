/* linear: up to three fused projections with low-rank adapters, and their gradients, as products of gemm.h.
 *
 * The low-rank path is always f32. Order of sums: the frozen product, then scale * h B^T on top of it; in the backward
 * pass the parts one after another. Source: Hu et al. 2021, section 4.1. */
#include <string.h>
#include "kernels/gemm.h"
#include "kernels/cpu.h"
#include "kernels/ops.h"
#include "kernels/parallel.h"

/* Where things lie in scratch; bytes is the need. */
struct layout {
    float *x;    /* [T][lanes of K]: x packed: padded, or as bf16 */
    float *drop; /* [T][Kp]: drop(x), or x padded, f32 */
    float *d_y;  /* [T][lanes of the widest part]: d_y of a part as bf16 */
    float *d_h;  /* [T][max r] */
    size_t bytes;
};

static int max_rank(const struct linear *l)
{
    int r = 0;
    for (int i = 0; i < l->n; i++) r = l->part[i].r > r ? l->part[i].r : r;
    return r;
}

static int widest(const struct linear *l)
{
    int n = 0;
    for (int i = 0; i < l->n; i++) n = l->part[i].w.rows > n ? l->part[i].w.rows : n;
    return n;
}

static float *take(char *base, size_t *at, long count)
{
    float *p = base ? (float *)(void *)(base + *at) : NULL;
    *at += ((size_t)count * sizeof(float) + 63) / 64 * 64;
    return p;
}

static struct layout layout_of(const struct op_ctx *cx, const struct linear *l, long T, int backward, int dropped)
{
    struct layout s = {0};
    const int bf16 = cx->prec == DT_BF16, ragged = l->in % GEMM_PAD != 0, rank = max_rank(l);
    const long kp = gemm_lanes(l->in, 0);
    if (!backward && (bf16 || ragged)) s.x = take(cx->scratch, &s.bytes, T * gemm_lanes(l->in, bf16));
    if (rank && (dropped || (!backward && ragged))) s.drop = take(cx->scratch, &s.bytes, T * kp);
    if (backward && bf16) s.d_y = take(cx->scratch, &s.bytes, T * gemm_lanes(widest(l), 1));
    if (backward && rank) s.d_h = take(cx->scratch, &s.bytes, T * rank);
    return s;
}

size_t cpu_linear_scratch(const struct op_ctx *cx, const struct linear *l, long T)
{
    size_t fwd = layout_of(cx, l, T, 0, 1).bytes, bwd = layout_of(cx, l, T, 1, 1).bytes;
    return fwd > bwd ? fwd : bwd;
}

static int dropped(const struct dropout *drop) { return drop && drop->p > 0; }

static int check(const struct op_ctx *cx, const struct layout *s, const char *op)
{
    int rc = cpu_op_check(cx, op);
    if (rc) return rc;
    if (s->bytes > cx->scratch_bytes || (s->bytes && !cx->scratch))
        return dev_fail(cx->dev, DEV_FAILED, "%s: scratch of %zu bytes, expected %zu", op, cx->scratch_bytes, s->bytes);
    return DEV_OK;
}

struct job {
    const struct simd *simd;
    float *y;       /* [T][...]: what is written */
    const float *x; /* [T][...]: what is read; may be NULL in start_rows */
    const struct linear *l;
    const struct dropout *drop;
    long K;
    uint32_t module;
};

static void drop_rows(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->drop_rows(j->y, j->x, first, last, j->K, j->drop, j->module);
}

static void undrop_rows(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->undrop_rows(j->y, j->x, first, last, j->K, j->drop, j->module);
}

/* out [T][Kp] = drop(x), zero-padded. */
static void drop_x(const struct op_ctx *cx, float *out, const float *x, long T, long K, const struct dropout *drop,
                   uint32_t module)
{
    struct job j = {.simd = cx->dev->simd, .y = out, .x = x, .K = K, .drop = drop, .module = module};
    parallel_rows(parallel_threads(T, 4 * K), T, drop_rows, &j);
}

/* d_x += drop'(d), d [T][Kp]. */
static void undrop(const struct op_ctx *cx, float *d_x, const float *d, long T, long K, const struct dropout *drop,
                   uint32_t module)
{
    struct job j = {.simd = cx->dev->simd, .y = d_x, .x = d, .K = K, .drop = drop, .module = module};
    parallel_rows(parallel_threads(T, 4 * K), T, undrop_rows, &j);
}

static void bias_rows(void *job, long first, long last)
{
    const struct job *j = job;
    const struct linear *l = j->l;
    for (long t = first; t < last; t++) {
        float *yt = j->y + t * l->out;
        if (!j->x)
            memset(yt, 0, (size_t)l->out * sizeof *yt);
        else if (j->x != j->y)
            memcpy(yt, j->x + t * l->out, (size_t)l->out * sizeof *yt);
        for (int i = 0; i < l->n; yt += l->part[i].w.rows, i++)
            for (int k = 0; l->part[i].bias && k < l->part[i].w.rows; k++) yt[k] += l->part[i].bias[k];
    }
}

/* y = res + bias of the parts that have one; the frozen products then add to y. */
static void start_rows(float *y, const float *res, const struct linear *l, long T)
{
    struct job j = {.y = y, .x = res, .l = l};
    parallel_rows(parallel_threads(T, l->out), T, bias_rows, &j);
}

int cpu_linear_fwd(const struct op_ctx *cx, void *y_act, const void *res_act, const void *x_act, float *h,
                   const struct linear *l, const struct dropout *drop, long T)
{
    const struct layout s = layout_of(cx, l, T, 0, dropped(drop));
    int rc = check(cx, &s, "linear_fwd");
    if (rc) return rc;
    const long K = l->in, N = l->out, kp = gemm_lanes(K, 0);
    const int bf16 = cx->prec == DT_BF16;
    float *y = y_act;
    const float *x = x_act, *res = res_act, *wide = x;
    if (s.x) gemm_pack_rows(cx, s.x, x, K, T, K, bf16);
    if (s.x) wide = s.x;
    if (s.drop && !dropped(drop)) gemm_pack_rows(cx, s.drop, x, K, T, K, 0);
    int biased = 0;
    for (int i = 0; i < l->n; i++) biased |= l->part[i].bias != NULL;
    if (biased) {
        start_rows(y, res, l, T);
        res = y;
    }
    /* The frozen products and, where all parts read the same x, x A^T: one run of the threads. */
    struct gemm dot[2 * LIN_PARTS];
    int n = 0;
    for (long i = 0, col = 0; i < l->n; col += l->part[i].w.rows, i++) {
        const struct mat *w = &l->part[i].w;
        dot[n++] = (struct gemm){.m = T,
                                 .n = w->rows,
                                 .k = K,
                                 .a = wide,
                                 .a_row = s.x ? gemm_lanes(K, bf16) : K,
                                 .a_k = 1,
                                 .b = w->data,
                                 .b_type = w->dtype,
                                 .b_row = (long)dtype_row_bytes(w->dtype, K),
                                 .bf16 = bf16,
                                 .alpha = 1,
                                 .init = res ? res + col : NULL,
                                 .init_row = N,
                                 .y = y + col,
                                 .y_row = N};
    }
    for (long i = 0, rank = 0; i < l->n; rank += l->part[i].r, i++) {
        const struct lin_part *p = &l->part[i];
        if (!p->r) continue;
        if (dropped(drop)) {
            gemm_dot_many(cx, dot, n);
            n = 0;
            drop_x(cx, s.drop, x, T, K, drop, p->module);
        }
        dot[n++] = (struct gemm){.m = T,
                                 .n = p->r,
                                 .k = K,
                                 .a = s.drop ? s.drop : x,
                                 .a_row = s.drop ? kp : K,
                                 .a_k = 1,
                                 .b = p->a,
                                 .b_row = K * (long)sizeof(float),
                                 .alpha = 1,
                                 .y = h + rank,
                                 .y_row = l->rank};
    }
    gemm_dot_many(cx, dot, n);
    for (long i = 0, col = 0, rank = 0; i < l->n; col += l->part[i].w.rows, rank += l->part[i].r, i++) {
        const struct lin_part *p = &l->part[i];
        if (!p->r) continue;
        struct gemm up = {.m = T,
                          .n = p->w.rows,
                          .k = p->r,
                          .a = h + rank,
                          .a_row = l->rank,
                          .a_k = 1,
                          .b = p->b,
                          .b_row = p->r * (long)sizeof(float),
                          .b_transposed = 1,
                          .alpha = p->scale,
                          .init = y + col,
                          .init_row = N,
                          .y = y + col,
                          .y_row = N};
        gemm_sum(cx, &up);
    }
    return DEV_OK;
}

/* The low-rank half of one part: d_a, d_b, and what it adds to d_x. */
static void low_rank_bwd(const struct op_ctx *cx, float *d_x, const float *d_y, const float *x, const float *h,
                         const struct linear *l, const struct lin_part *p, const struct dropout *drop,
                         const struct layout *s, long T)
{
    const long K = l->in, N = l->out, kp = gemm_lanes(K, 0), r = p->r, f = (long)sizeof(float);
    struct gemm back = {.m = T,
                        .n = r,
                        .k = p->w.rows,
                        .a = d_y,
                        .a_row = N,
                        .a_k = 1,
                        .b = p->b,
                        .b_row = r * f,
                        .alpha = p->scale,
                        .y = s->d_h,
                        .y_row = r};
    gemm_sum(cx, &back);
    if (p->d_b) {
        struct gemm g = {.m = p->w.rows,
                         .n = r,
                         .k = T,
                         .a = d_y,
                         .a_row = 1,
                         .a_k = N,
                         .b = h,
                         .b_row = l->rank * f,
                         .alpha = p->scale,
                         .init = p->d_b,
                         .init_row = r,
                         .y = p->d_b,
                         .y_row = r};
        gemm_sum_direct(cx, &g);
    }
    if (p->d_a) {
        if (dropped(drop)) drop_x(cx, s->drop, x, T, K, drop, p->module);
        struct gemm g = {.m = r,
                         .n = K,
                         .k = T,
                         .a = s->d_h,
                         .a_row = 1,
                         .a_k = r,
                         .b = dropped(drop) ? s->drop : x,
                         .b_row = (dropped(drop) ? kp : K) * f,
                         .alpha = 1,
                         .init = p->d_a,
                         .init_row = K,
                         .y = p->d_a,
                         .y_row = K};
        gemm_sum_direct(cx, &g);
    }
    if (!d_x) return;
    struct gemm g = {.m = T,
                     .n = K,
                     .k = r,
                     .a = s->d_h,
                     .a_row = r,
                     .a_k = 1,
                     .b = p->a,
                     .b_row = K * f,
                     .alpha = 1,
                     .init = d_x,
                     .init_row = K,
                     .y = d_x,
                     .y_row = K};
    if (dropped(drop)) {
        g.init = NULL;
        g.y = s->drop;
        g.y_row = kp;
    }
    gemm_sum(cx, &g);
    if (dropped(drop)) undrop(cx, d_x, s->drop, T, K, drop, p->module);
}

int cpu_linear_bwd(const struct op_ctx *cx, void *d_x_act, int add_dx, const void *d_y_act, const void *x,
                   const float *h, const struct linear *l, const struct dropout *drop, long T)
{
    const struct layout s = layout_of(cx, l, T, 1, dropped(drop));
    int rc = check(cx, &s, "linear_bwd");
    if (rc) return rc;
    const long K = l->in, N = l->out;
    const int bf16 = cx->prec == DT_BF16;
    float *d_x = d_x_act;
    const float *d_y = d_y_act;
    for (long i = 0, col = 0; d_x && i < l->n; col += l->part[i].w.rows, i++) {
        const struct mat *w = &l->part[i].w;
        if (bf16) gemm_pack_rows(cx, s.d_y, d_y + col, N, T, w->rows, 1);
        struct gemm g = {.m = T,
                         .n = K,
                         .k = w->rows,
                         .a = bf16 ? s.d_y : d_y + col,
                         .a_row = bf16 ? gemm_lanes(w->rows, 1) : N,
                         .a_k = 1,
                         .b = w->data,
                         .b_type = w->dtype,
                         .b_row = (long)dtype_row_bytes(w->dtype, K),
                         .bf16 = bf16,
                         .alpha = 1,
                         .init = i || add_dx ? d_x : NULL,
                         .init_row = K,
                         .y = d_x,
                         .y_row = K};
        gemm_sum(cx, &g);
    }
    for (long i = 0, col = 0, rank = 0; i < l->n; col += l->part[i].w.rows, rank += l->part[i].r, i++)
        if (l->part[i].r) low_rank_bwd(cx, d_x, d_y + col, x, h + rank, l, &l->part[i], drop, &s, T);
    return DEV_OK;
}
