/* linear_bwd.c: the gradients of linear. Order of sums into d_x: the frozen products of the parts one after another,
 * then the low-rank paths; sums over tokens in token order. */
#include "kernels/linear_internal.h"
#include "kernels/parallel.h"
#include "kernels/strides.h"

/* d_y of a part, as its products see it. */
struct grad {
    const float *y;
    long row;
};

struct sums {
    float *out;
    const float *a, *b; /* b NULL: ones */
    long T, a_row, b_row;
};

static void column_sums(void *job, long first, long last)
{
    const struct sums *j = job;
    for (long t = 0; t < j->T; t++) {
        const float *a = j->a + t * j->a_row, *b = j->b ? j->b + t * j->b_row : NULL;
        for (long c = first; c < last; c++) j->out[c] += b ? a[c] * b[c] : a[c];
    }
}

/* out[c] += sum over rows of a[c] (* b[c]); threads share the columns. */
static void add_columns(float *out, const float *a, long a_row, const float *b, long b_row, long T, long n)
{
    struct sums j = {out, a, b, T, a_row, b_row};
    parallel_rows(parallel_threads(n, 2 * T), n, column_sums, &j);
}

/* The gradient behind the gain, and those of gain and bias. */
static struct grad behind_gain(const struct op_ctx *cx, const struct lin_part *p, float *d_raw, const float *d_y,
                               long ld_dy, const float *raw, long raw_row, long T)
{
    struct grad g = {d_y, ld_dy};
    const long n = p->w.rows;
    if (p->s.gain) {
        if (p->s.d_gain) add_columns(p->s.d_gain, d_y, ld_dy, raw, raw_row, T, n);
        lin_scale_rows(cx, d_raw, n, NULL, 0, d_y, ld_dy, p->s.gain, T, n, n);
        g = (struct grad){d_raw, n};
    }
    const int inside = p->s.gain && p->s.gain_bias;
    if (p->s.d_bias) add_columns(p->s.d_bias, inside ? g.y : d_y, inside ? g.row : ld_dy, NULL, 0, T, n);
    return g;
}

/* d_w += g^T x, or g^T (x * gain_in). */
static void weight_gradient(const struct op_ctx *cx, const struct lin_part *p, const struct lin_layout *s,
                            struct grad g, const float *x, long ldx, long T, long K)
{
    if (p->s.gain_in) {
        const long kp = gemm_lanes(K, 0);
        lin_scale_rows(cx, s->drop, kp, NULL, 0, x, ldx, p->s.gain_in, T, K, kp);
        x = s->drop;
        ldx = kp;
    }
    struct gemm w = {.m = p->w.rows,
                     .n = K,
                     .k = T,
                     .a = g.y,
                     .a_row = 1,
                     .a_k = g.row,
                     .b = x,
                     .b_row = ldx * (long)sizeof(float),
                     .alpha = 1,
                     .init = p->s.d_w,
                     .init_row = K,
                     .y = p->s.d_w,
                     .y_row = K};
    gemm_sum(cx, &w);
}

/* y = (y if add) + g W. */
static void back_through_w(const struct op_ctx *cx, float *y, long ldy, int add, const struct lin_part *p,
                           struct grad g, float *packed, long T, long K)
{
    const struct mat *w = &p->w;
    const int bf16 = cx->prec == DT_BF16;
    if (bf16) gemm_pack_rows(cx, packed, g.y, g.row, T, w->rows, 1);
    struct gemm back = {.m = T,
                        .n = K,
                        .k = w->rows,
                        .a = bf16 ? packed : g.y,
                        .a_row = bf16 ? gemm_lanes(w->rows, 1) : g.row,
                        .a_k = 1,
                        .b = w->data,
                        .b_type = w->dtype,
                        .b_row = (long)dtype_row_bytes(w->dtype, K),
                        .bf16 = bf16,
                        .alpha = 1,
                        .init = add ? y : NULL,
                        .init_row = ldy,
                        .y = y,
                        .y_row = ldy};
    gemm_sum(cx, &back);
}

/* d_x = (d_x if add) + d_y W + drop'((d_y * gain - d_y) W): of a part with a gain of the dropped input. */
static void back_through_split(const struct op_ctx *cx, float *d_x, long ld_dx, int add, const struct lin_part *p,
                               struct grad d_y, struct grad gained, const struct lin_rows *rows,
                               const struct lin_layout *s, long T, long K)
{
    const long n = p->w.rows, kp = gemm_lanes(K, 0);
    back_through_w(cx, d_x, ld_dx, add, p, d_y, s->d_y, T, K);
    lin_less(cx, s->d_diff, n, gained.y, gained.row, d_y.y, d_y.row, T, n);
    back_through_w(cx, s->drop, kp, 0, p, (struct grad){s->d_diff, n}, s->d_y, T, K);
    lin_undrop(cx, d_x, ld_dx, s->drop, (struct span){0, (int32_t)T}, K, &p->s.low[0], rows);
}

/* One low-rank path: d_a, d_b, and what it adds to d_x. g, x, h and d_x begin at row 0 of the call. */
static void low_rank_bwd(const struct op_ctx *cx, float *d_x, long ld_dx, struct grad g, const float *x, long ldx,
                         const float *h, const struct linear *l, const struct lin_part *part, const struct lowrank *p,
                         const struct lin_rows *rows, const struct lin_layout *s, long T)
{
    const struct span at = lin_span(p, rows, T);
    if (!at.n) return;
    const long K = l->in, kp = gemm_lanes(K, 0), r = p->r, f = (long)sizeof(float);
    const int dropped = lin_dropped(p, rows);
    const float *d_y = g.y + at.first * g.row;
    struct gemm back = {.m = at.n,
                        .n = r,
                        .k = part->w.rows,
                        .a = d_y,
                        .a_row = g.row,
                        .a_k = 1,
                        .b = p->b,
                        .b_row = r * f,
                        .alpha = p->scale,
                        .y = s->d_h,
                        .y_row = r};
    gemm_sum(cx, &back);
    if (p->d_b) {
        struct gemm to_b = {.m = part->w.rows,
                            .n = r,
                            .k = at.n,
                            .a = d_y,
                            .a_row = 1,
                            .a_k = g.row,
                            .b = h + at.first * l->rank,
                            .b_row = l->rank * f,
                            .alpha = p->scale,
                            .init = p->d_b,
                            .init_row = r,
                            .y = p->d_b,
                            .y_row = r};
        gemm_sum_direct(cx, &to_b);
    }
    if (p->d_a) {
        if (dropped) lin_drop(cx, s->drop, x, ldx, at, K, p, rows);
        struct gemm to_a = {.m = r,
                            .n = K,
                            .k = at.n,
                            .a = s->d_h,
                            .a_row = 1,
                            .a_k = r,
                            .b = dropped ? s->drop : x + at.first * ldx,
                            .b_row = (dropped ? kp : ldx) * f,
                            .alpha = 1,
                            .init = p->d_a,
                            .init_row = K,
                            .y = p->d_a,
                            .y_row = K};
        gemm_sum_direct(cx, &to_a);
    }
    if (!d_x) return;
    float *to = d_x + at.first * ld_dx;
    struct gemm to_x = {.m = at.n,
                        .n = K,
                        .k = r,
                        .a = s->d_h,
                        .a_row = r,
                        .a_k = 1,
                        .b = p->a,
                        .b_row = K * f,
                        .alpha = 1,
                        .init = dropped ? NULL : to,
                        .init_row = ld_dx,
                        .y = dropped ? s->drop : to,
                        .y_row = dropped ? kp : ld_dx};
    gemm_sum(cx, &to_x);
    if (dropped) lin_undrop(cx, d_x, ld_dx, s->drop, at, K, p, rows);
}

int cpu_linear_bwd(const struct op_ctx *cx, void *d_x_act, long ld_dx, int add_dx, const void *d_y_act, long ld_dy,
                   const void *x_act, long ldx, const struct lin_kept *kept, const struct linear *l,
                   const struct lin_rows *rows, long T)
{
    const struct lin_layout s = lin_layout(cx, l, T, 1);
    const struct op_rows strides[] = {
        {"ld_dx", d_x_act, ld_dx, l->in}, {"ld_dy", d_y_act, ld_dy, l->out}, {"ldx", x_act, ldx, l->in}};
    int rc = lin_check(cx, l, rows, &s, T, "linear_bwd");
    if (!rc) rc = op_strides(cx, "linear_bwd", strides, 3);
    if (rc) return rc;
    if ((l->rank && !(kept && kept->h)) || (l->raw && !(kept && kept->raw)))
        return dev_fail(cx->dev, DEV_FAILED, "linear_bwd: the forward pass kept nothing");
    const long K = l->in;
    float *d_x = d_x_act;
    const float *d_y = d_y_act, *x = x_act;
    struct grad g[LIN_PARTS];
    for (long i = 0, col = 0, raw = 0; i < l->n; col += l->part[i].w.rows, i++) {
        const struct lin_part *p = &l->part[i];
        g[i] = behind_gain(cx, p, s.d_raw[i], d_y + col, ld_dy,
                           kept && kept->raw ? (const float *)kept->raw + raw : NULL, l->raw, T);
        if (p->s.d_gain) raw += p->w.rows;
        if (p->s.d_w) weight_gradient(cx, p, &s, g[i], x, ldx, T, K);
        if (lin_splits(p, rows)) {
            const struct grad outer = {d_y + col, ld_dy};
            if (d_x) back_through_split(cx, d_x, ld_dx, i || add_dx, p, outer, g[i], rows, &s, T, K);
        } else if (!p->s.gain_in) {
            if (d_x) back_through_w(cx, d_x, ld_dx, i || add_dx, p, g[i], s.d_y, T, K);
        } else if (d_x || p->s.d_gain_in) {
            back_through_w(cx, s.d_xg, K, 0, p, g[i], s.d_y, T, K);
            if (p->s.d_gain_in) add_columns(p->s.d_gain_in, s.d_xg, K, x, ldx, T, K);
            if (d_x) lin_scale_rows(cx, d_x, ld_dx, i || add_dx ? d_x : NULL, ld_dx, s.d_xg, K, p->s.gain_in, T, K, K);
        }
    }
    long rank = 0;
    for (int i = 0; i < l->n; i++)
        for (int k = 0; k < l->part[i].s.n_low; k++) {
            const struct lowrank *p = &l->part[i].s.low[k];
            low_rank_bwd(cx, d_x, ld_dx, g[i], x, ldx, kept->h + rank, l, &l->part[i], p, rows, &s, T);
            rank += p->r;
        }
    return DEV_OK;
}
