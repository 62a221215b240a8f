/* linear: up to three fused projections with what adapters add to them, as products of gemm.h: scratch, and the forward
 * pass. The gradients: linear_bwd.c.
 *
 * The low-rank paths are always f32. Order of sums: the frozen product, then scale * h B^T of each path on top of it.
 * Source: Hu et al. 2021, section 4.1; Liu et al. 2022, section 3.3 (gains). */
#include <string.h>
#include "kernels/cpu.h"
#include "kernels/dropout.h"
#include "kernels/linear_internal.h"
#include "kernels/parallel.h"
#include "kernels/strides.h"

/* ---- scratch ---- */

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

struct lin_layout lin_layout(const struct op_ctx *cx, const struct linear *l, long T, int backward)
{
    struct lin_layout s = {0};
    const int bf16 = cx->prec == DT_BF16, ragged = l->in % GEMM_PAD != 0;
    const long kp = gemm_lanes(l->in, 0);
    int rank = 0, gain_in = 0, trained_w = 0, dropout = 0, splits = 0;
    for (int i = 0; i < l->n; i++) {
        const struct lin_slot *p = &l->part[i].s;
        for (int k = 0; k < p->n_low; k++) {
            rank = p->low[k].r > rank ? p->low[k].r : rank;
            dropout |= p->low[k].drop_p > 0;
        }
        splits |= p->gain_drops && p->n_low && p->low[0].drop_p > 0;
        gain_in |= p->gain_in != NULL;
        trained_w |= p->d_w != NULL;
    }
    if (!backward && (bf16 || ragged)) s.x = take(cx->scratch, &s.bytes, T * gemm_lanes(l->in, bf16));
    if ((rank && (dropout || (!backward && ragged))) || (gain_in && (!backward ? bf16 : trained_w)))
        s.drop = take(cx->scratch, &s.bytes, T * kp);
    for (int i = 0; i < l->n; i++) {
        const struct lin_slot *p = &l->part[i].s;
        const int split = p->gain_drops && p->n_low && p->low[0].drop_p > 0;
        if (!backward && (p->gain_in || split))
            s.gained_x[i] = take(cx->scratch, &s.bytes, T * gemm_lanes(l->in, bf16));
        if (!backward && p->gain) s.raw[i] = take(cx->scratch, &s.bytes, T * l->part[i].w.rows);
        if (backward && p->gain) s.d_raw[i] = take(cx->scratch, &s.bytes, T * l->part[i].w.rows);
    }
    if (!backward && splits) s.rest = take(cx->scratch, &s.bytes, T * gemm_lanes(l->in, bf16));
    if (backward && splits) s.d_diff = take(cx->scratch, &s.bytes, T * widest(l));
    if (backward && bf16) s.d_y = take(cx->scratch, &s.bytes, T * gemm_lanes(widest(l), 1));
    if (backward && gain_in) s.d_xg = take(cx->scratch, &s.bytes, T * l->in);
    if (backward && rank) s.d_h = take(cx->scratch, &s.bytes, T * rank);
    return s;
}

size_t cpu_linear_scratch(const struct op_ctx *cx, const struct linear *l, long T)
{
    size_t fwd = lin_layout(cx, l, T, 0).bytes, bwd = lin_layout(cx, l, T, 1).bytes;
    return fwd > bwd ? fwd : bwd;
}

int lin_check(const struct op_ctx *cx, const struct linear *l, const struct lin_rows *rows, const struct lin_layout *s,
              long T, const char *op)
{
    int rc = cpu_op_check(cx, op);
    if (rc) return rc;
    struct linear counted = *l;
    linear_count(&counted);
    if (counted.rank != l->rank || counted.raw != l->raw)
        return dev_fail(cx->dev, DEV_FAILED, "%s: rank %d, raw %d; the slots have %d, %d", op, l->rank, l->raw,
                        counted.rank, counted.raw);
    for (int i = 0; i < l->n; i++) {
        const struct lin_slot *p = &l->part[i].s;
        if ((p->d_gain && !p->gain) || (p->d_gain_in && !p->gain_in))
            return dev_fail(cx->dev, DEV_FAILED, "%s: the gradient of a gain that is not there", op);
        if (p->gain_drops && (!p->gain || !p->n_low || p->low[0].span >= 0 || p->gain_in || p->gain_bias || p->d_w))
            return dev_fail(cx->dev, DEV_FAILED, "%s: a gain of the dropped input beside what it does not go with", op);
        for (int k = 0; k < p->n_low; k++) {
            if (p->low[k].span < 0) continue;
            if (!rows || !rows->span)
                return dev_fail(cx->dev, DEV_FAILED, "%s: a path asks for its rows, and the call names none", op);
            const struct span at = rows->span[p->low[k].span];
            if (at.first < 0 || at.n < 0 || at.first > T - at.n)
                return dev_fail(cx->dev, DEV_FAILED, "%s: a path on %d rows from %d on, of %ld", op, at.n, at.first, T);
        }
    }
    if (s->bytes > cx->scratch_bytes || (s->bytes && !cx->scratch))
        return dev_fail(cx->dev, DEV_FAILED, "%s: scratch of %zu bytes, expected %zu", op, cx->scratch_bytes, s->bytes);
    return DEV_OK;
}

/* ---- rows ---- */

struct job {
    const struct simd *simd;
    float *y;              /* what is written */
    const float *x, *base; /* what is read; may be NULL */
    const float *gain;
    const struct linear *l;
    struct drop_job drop;
    long K, n, padded, y_row, x_row, base_row;
};

static void drop_rows(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->drop_rows(j->y, j->x, j->x_row, first, last, j->K, &j->drop);
}

static void undrop_rows(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->undrop_rows(j->y, j->y_row, j->x, first, last, j->K, &j->drop);
}

static struct drop_job drop_of(const struct lowrank *p, const struct lin_rows *rows, struct span at)
{
    return (struct drop_job){.key = dropout_key(rows->seed, p->key),
                             .p = p->drop_p,
                             .step = rows->step ? rows->step->dropout_step : 0,
                             .uid = rows->uid + at.first};
}

void lin_drop(const struct op_ctx *cx, float *out, const float *x, long ldx, struct span at, long K,
              const struct lowrank *p, const struct lin_rows *rows)
{
    struct job j = {
        .simd = cx->dev->simd, .y = out, .x = x + at.first * ldx, .x_row = ldx, .K = K, .drop = drop_of(p, rows, at)};
    parallel_rows(parallel_threads(at.n, 4 * K), at.n, drop_rows, &j);
}

void lin_undrop(const struct op_ctx *cx, float *d_x, long ld_dx, const float *d, struct span at, long K,
                const struct lowrank *p, const struct lin_rows *rows)
{
    struct job j = {.simd = cx->dev->simd,
                    .y = d_x + at.first * ld_dx,
                    .y_row = ld_dx,
                    .x = d,
                    .K = K,
                    .drop = drop_of(p, rows, at)};
    parallel_rows(parallel_threads(at.n, 4 * K), at.n, undrop_rows, &j);
}

static void scale_rows(void *job, long first, long last)
{
    const struct job *j = job;
    for (long t = first; t < last; t++) {
        float *y = j->y + t * j->y_row;
        const float *x = j->x + t * j->x_row, *base = j->base ? j->base + t * j->base_row : NULL;
        for (long c = 0; c < j->n; c++) y[c] = (base ? base[c] : 0) + x[c] * j->gain[c];
        for (long c = j->n; c < j->padded; c++) y[c] = 0;
    }
}

void lin_scale_rows(const struct op_ctx *cx, float *out, long out_row, const float *base, long base_row, const float *x,
                    long x_row, const float *gain, long T, long n, long padded)
{
    (void)cx;
    struct job j = {.y = out,
                    .x = x,
                    .base = base,
                    .gain = gain,
                    .n = n,
                    .padded = padded,
                    .y_row = out_row,
                    .x_row = x_row,
                    .base_row = base_row};
    parallel_rows(parallel_threads(T, 2 * n), T, scale_rows, &j);
}

static void less_rows(void *job, long first, long last)
{
    const struct job *j = job;
    for (long t = first; t < last; t++)
        for (long c = 0; c < j->n; c++) j->y[t * j->y_row + c] = j->x[t * j->x_row + c] - j->base[t * j->base_row + c];
}

void lin_less(const struct op_ctx *cx, float *out, long out_row, const float *a, long a_row, const float *b, long b_row,
              long T, long n)
{
    (void)cx;
    struct job j = {.y = out, .x = a, .base = b, .n = n, .y_row = out_row, .x_row = a_row, .base_row = b_row};
    parallel_rows(parallel_threads(T, n), T, less_rows, &j);
}

static int bias_first(const struct lin_part *p) { return p->bias && !(p->s.gain && p->s.gain_bias); }

static void bias_rows(void *job, long first, long last)
{
    const struct job *j = job;
    const struct linear *l = j->l;
    for (long t = first; t < last; t++) {
        float *yt = j->y + t * j->y_row;
        if (!j->x)
            memset(yt, 0, (size_t)l->out * sizeof *yt);
        else if (j->x != j->y)
            memcpy(yt, j->x + t * j->x_row, (size_t)l->out * sizeof *yt);
        for (int i = 0; i < l->n; yt += l->part[i].w.rows, i++)
            for (int k = 0; bias_first(&l->part[i]) && k < l->part[i].w.rows; k++) yt[k] += l->part[i].bias[k];
    }
}

/* y = res + the biases outside of a gain; products and gained outputs then add to y. */
static void start_rows(float *y, long ldy, const float *res, long ldres, const struct linear *l, long T)
{
    struct job j = {.y = y, .x = res, .l = l, .y_row = ldy, .x_row = ldres};
    parallel_rows(parallel_threads(T, l->out), T, bias_rows, &j);
}

/* ---- forward ---- */

struct out {
    float *y;
    long row;
};

static void gain_input(const struct op_ctx *cx, const struct lin_layout *s, int i, const float *x, long ldx,
                       const float *gain, long T, long K)
{
    const int bf16 = cx->prec == DT_BF16;
    const long kp = gemm_lanes(K, 0);
    float *scaled = bf16 ? s->drop : s->gained_x[i];
    lin_scale_rows(cx, scaled, kp, NULL, 0, x, ldx, gain, T, K, kp);
    if (bf16) gemm_pack_rows(cx, s->gained_x[i], scaled, kp, T, K, 1);
}

/* The dropped x as the part's input; what it left out goes through W into y. */
static void split_input(const struct op_ctx *cx, const struct lin_layout *s, int i, const float *x, long ldx,
                        const struct lin_part *p, const struct lin_rows *rows, float *y, long ldy, long T, long K)
{
    const int bf16 = cx->prec == DT_BF16;
    const long kp = gemm_lanes(K, 0);
    lin_drop(cx, s->drop, x, ldx, (struct span){0, (int32_t)T}, K, &p->s.low[0], rows);
    gemm_pack_rows(cx, s->gained_x[i], s->drop, kp, T, K, bf16);
    lin_less(cx, s->drop, kp, x, ldx, s->drop, kp, T, K);
    gemm_pack_rows(cx, s->rest, s->drop, kp, T, K, bf16);
    const struct gemm rest = {.m = T,
                              .n = p->w.rows,
                              .k = K,
                              .a = s->rest,
                              .a_row = gemm_lanes(K, bf16),
                              .a_k = 1,
                              .b = p->w.data,
                              .b_type = p->w.dtype,
                              .b_row = (long)dtype_row_bytes(p->w.dtype, K),
                              .bf16 = bf16,
                              .alpha = 1,
                              .init = y,
                              .init_row = ldy,
                              .y = y,
                              .y_row = ldy};
    gemm_dot(cx, &rest);
}

/* h = drop(x) A^T of all paths: those of undropped x join the products in dot. */
static int down_products(const struct op_ctx *cx, const struct lin_layout *s, const float *x, long ldx,
                         const struct lin_kept *kept, const struct linear *l, const struct lin_rows *rows,
                         struct gemm *dot, int n, long T)
{
    const long K = l->in, kp = gemm_lanes(K, 0);
    long rank = 0;
    for (int i = 0; i < l->n; i++)
        for (int k = 0; k < l->part[i].s.n_low; k++) {
            const struct lowrank *p = &l->part[i].s.low[k];
            const struct span at = lin_span(p, rows, T);
            const int dropped = lin_dropped(p, rows), whole = at.n == T;
            if (dropped || !whole || n == GEMM_MANY) { /* products of one run have the same rows */
                gemm_dot_many(cx, dot, n);
                n = 0;
            }
            if (dropped)
                lin_drop(cx, s->drop, x, ldx, at, K, p, rows);
            else if (s->drop && K % GEMM_PAD)
                gemm_pack_rows(cx, s->drop, x + at.first * ldx, ldx, at.n, K, 0);
            const int packed = dropped || K % GEMM_PAD;
            dot[n++] = (struct gemm){.m = at.n,
                                     .n = p->r,
                                     .k = K,
                                     .a = packed ? s->drop : x + at.first * ldx,
                                     .a_row = packed ? kp : ldx,
                                     .a_k = 1,
                                     .b = p->a,
                                     .b_row = K * (long)sizeof(float),
                                     .alpha = 1,
                                     .y = kept->h + rank + at.first * l->rank,
                                     .y_row = l->rank};
            rank += p->r;
            if (packed || !whole) { /* s->drop is the next path's */
                gemm_dot_many(cx, dot, n);
                n = 0;
            }
        }
    return n;
}

/* out += scale h B^T of each path. */
static void up_products(const struct op_ctx *cx, const struct out *out, const struct lin_kept *kept,
                        const struct linear *l, const struct lin_rows *rows, long T)
{
    long rank = 0;
    for (int i = 0; i < l->n; i++)
        for (int k = 0; k < l->part[i].s.n_low; k++) {
            const struct lowrank *p = &l->part[i].s.low[k];
            const struct span at = lin_span(p, rows, T);
            float *y = out[i].y + at.first * out[i].row;
            struct gemm up = {.m = at.n,
                              .n = l->part[i].w.rows,
                              .k = p->r,
                              .a = kept->h + rank + at.first * l->rank,
                              .a_row = l->rank,
                              .a_k = 1,
                              .b = p->b,
                              .b_row = p->r * (long)sizeof(float),
                              .b_transposed = 1,
                              .alpha = p->scale,
                              .init = y,
                              .init_row = out[i].row,
                              .y = y,
                              .y_row = out[i].row};
            if (at.n) gemm_sum(cx, &up);
            rank += p->r;
        }
}

int cpu_linear_fwd(const struct op_ctx *cx, void *y_act, long ldy, const void *res_act, long ldres, const void *x_act,
                   long ldx, const struct lin_kept *kept, const struct linear *l, const struct lin_rows *rows, long T)
{
    const struct lin_layout s = lin_layout(cx, l, T, 0);
    const struct op_rows strides[] = {
        {"ldy", y_act, ldy, l->out}, {"ldres", res_act, ldres, l->out}, {"ldx", x_act, ldx, l->in}};
    int rc = lin_check(cx, l, rows, &s, T, "linear_fwd");
    if (!rc) rc = op_strides(cx, "linear_fwd", strides, 3);
    if (rc) return rc;
    if (l->rank && !(kept && kept->h))
        return dev_fail(cx->dev, DEV_FAILED, "linear_fwd: no place for what the backward pass needs");
    const long K = l->in;
    const int bf16 = cx->prec == DT_BF16;
    float *y = y_act;
    const float *x = x_act, *res = res_act;
    if (s.x) gemm_pack_rows(cx, s.x, x, ldx, T, K, bf16);
    int started = 0;
    for (int i = 0; i < l->n; i++) started |= bias_first(&l->part[i]) || l->part[i].s.gain;
    if (started) {
        start_rows(y, ldy, res, ldres, l, T);
        res = y;
        ldres = ldy;
    }
    /* The frozen products and, where all parts read the same x, x A^T: one run of the threads. */
    struct gemm dot[GEMM_MANY];
    struct out out[LIN_PARTS];
    int n = 0;
    for (long i = 0, col = 0, raw = 0; i < l->n; col += l->part[i].w.rows, i++) {
        const struct lin_part *p = &l->part[i];
        const struct mat *w = &p->w;
        const int split = lin_splits(p, rows), packed = s.x || p->s.gain_in || split;
        out[i] = (struct out){y + col, ldy};
        if (p->s.gain) out[i] = (struct out){s.raw[i], w->rows};
        if (p->s.d_gain && kept && kept->raw) out[i] = (struct out){(float *)kept->raw + raw, l->raw};
        if (p->s.d_gain) raw += w->rows;
        if (p->s.gain_in) gain_input(cx, &s, (int)i, x, ldx, p->s.gain_in, T, K);
        if (split) split_input(cx, &s, (int)i, x, ldx, p, rows, y + col, ldy, T, K);
        const float *init = !p->s.gain ? (res ? res + col : NULL) : p->s.gain_bias ? p->bias : NULL;
        dot[n++] = (struct gemm){.m = T,
                                 .n = w->rows,
                                 .k = K,
                                 .a = p->s.gain_in || split ? s.gained_x[i]
                                      : s.x                 ? s.x
                                                            : x,
                                 .a_row = packed ? gemm_lanes(K, bf16) : ldx,
                                 .a_k = 1,
                                 .b = w->data,
                                 .b_type = w->dtype,
                                 .b_row = (long)dtype_row_bytes(w->dtype, K),
                                 .bf16 = bf16,
                                 .alpha = 1,
                                 .init = init,
                                 .init_row = p->s.gain ? 0 : ldres,
                                 .y = out[i].y,
                                 .y_row = out[i].row};
    }
    n = down_products(cx, &s, x, ldx, kept, l, rows, dot, n, T);
    gemm_dot_many(cx, dot, n);
    up_products(cx, out, kept, l, rows, T);
    for (long i = 0, col = 0; i < l->n; col += l->part[i].w.rows, i++) {
        const struct lin_part *p = &l->part[i];
        if (p->s.gain)
            lin_scale_rows(cx, y + col, ldy, y + col, ldy, out[i].y, out[i].row, p->s.gain, T, p->w.rows, p->w.rows);
    }
    return DEV_OK;
}
