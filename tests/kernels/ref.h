/* ref: naive f64 references of the ops, written from the contracts in ops.def and from nothing else. */
#ifndef TESTS_KERNELS_REF_H
#define TESTS_KERNELS_REF_H
#include <math.h>
#include <stdlib.h>
#include "kernels/dropout.h"
#include "tests/kernels/cases.h"

static inline double ref_round(double v, int bf16) { return bf16 ? (double)bf16_to_f32(f32_to_bf16((float)v)) : v; }

static inline void ref_norm(double *y, const double *x, const float *w, long T, long C, double eps)
{
    for (long t = 0; t < T; t++) {
        double s = 0;
        for (long c = 0; c < C; c++) s += x[t * C + c] * x[t * C + c];
        for (long c = 0; c < C; c++) y[t * C + c] = w[c] * x[t * C + c] / sqrt(s / (double)C + eps);
    }
}

/* A fused linear in f64: what struct linear points to as doubles. The same shape holds its gradients, NULL for those
 * that are not wanted. */
enum { REF_LOW = 4 };
struct ref_part {
    double *w, *bias, *gain, *gain_in, *a[REF_LOW], *b[REF_LOW];
};
struct ref_linear {
    const struct linear *l;
    const struct lin_rows *rows;
    struct ref_part part[LIN_PARTS];
    int bf16;
};

static inline int ref_in_span(const struct lowrank *p, const struct lin_rows *rows, long t)
{
    if (p->span < 0) return 1;
    const struct span s = rows->span[p->span];
    return t >= s.first && t < s.first + s.n;
}

/* drop(x) of row t: its factors, 1 where there is no dropout. */
static inline void ref_mask(double *m, const struct lowrank *p, const struct lin_rows *rows, long t, long K)
{
    for (long c = 0; c < K; c++) {
        float f[4] = {1, 1, 1, 1};
        if (p->drop_p > 0 && rows && rows->uid)
            dropout_factors(dropout_key(rows->seed, p->key), rows->step->dropout_step, rows->uid[t], (uint32_t)(c / 4),
                            dropout_threshold(p->drop_p), 1.0f / (1.0f - p->drop_p), f);
        m[c] = f[c % 4];
    }
}

/* h [r] of one path and row; m: its mask. */
static inline void ref_down(double *h, const double *a, const double *m, const double *x, long r, long K)
{
    for (long j = 0; j < r; j++) {
        h[j] = 0;
        for (long k = 0; k < K; k++) h[j] += a[j * K + k] * x[k] * m[k];
    }
}

/* What is f32 before it is rounded to bf16. */
static inline double ref_single(double x, int bf16) { return bf16 ? (double)(float)x : x; }

/* Does W read a dropped x? */
static inline int ref_splits(const struct lin_part *p, const struct ref_linear *q)
{
    return p->s.gain_drops && p->s.low[0].drop_p > 0 && q->rows && q->rows->uid;
}

/* The outputs of part i for row t before the gain; x: the row. */
static inline void ref_raw(double *raw, const double *x, const struct ref_linear *q, int i, long t)
{
    const struct lin_part *p = &q->l->part[i];
    const struct ref_part *v = &q->part[i];
    const long K = q->l->in, N = p->w.rows;
    double *m = malloc(sizeof(double) * (size_t)K), h[512];
    for (long k = 0; k < K; k++) m[k] = p->s.gain_in ? v->gain_in[k] : 1;
    if (ref_splits(p, q)) ref_mask(m, &p->s.low[0], q->rows, t, K);
    for (long n = 0; n < N; n++) {
        double s = p->bias && p->s.gain && p->s.gain_bias ? v->bias[n] : 0;
        for (long k = 0; k < K; k++)
            s += ref_round(ref_single(x[k] * m[k], q->bf16), q->bf16) * ref_round(v->w[n * K + k], q->bf16);
        raw[n] = s;
    }
    for (int j = 0; j < p->s.n_low; j++) {
        const struct lowrank *low = &p->s.low[j];
        if (!ref_in_span(low, q->rows, t)) continue;
        ref_mask(m, low, q->rows, t, K);
        ref_down(h, v->a[j], m, x, low->r, K);
        for (long n = 0; n < N; n++)
            for (long r = 0; r < low->r; r++) raw[n] += low->scale * h[r] * v->b[j][n * low->r + r];
    }
    free(m);
}

/* y += what the part's W makes of the rest of x beside the dropped one. */
static inline void ref_rest(double *y, const double *x, const struct ref_linear *q, int i, long t)
{
    const struct lin_part *p = &q->l->part[i];
    const long K = q->l->in;
    double *m = malloc(sizeof(double) * (size_t)K);
    ref_mask(m, &p->s.low[0], q->rows, t, K);
    for (long n = 0; n < p->w.rows; n++)
        for (long k = 0; k < K; k++)
            y[n] += ref_round(ref_single(x[k] - ref_single(x[k] * m[k], q->bf16), q->bf16), q->bf16) *
                    ref_round(q->part[i].w[n * K + k], q->bf16);
    free(m);
}

static inline void ref_linear_fwd(double *y, const double *res, const double *x, const struct ref_linear *q, long T)
{
    const struct linear *l = q->l;
    for (long t = 0; t < T; t++)
        for (long i = 0, col = 0; i < l->n; col += l->part[i].w.rows, i++) {
            const struct lin_part *p = &l->part[i];
            double *yt = y + t * l->out + col;
            ref_raw(yt, x + t * l->in, q, (int)i, t);
            for (long n = 0; n < p->w.rows; n++) {
                if (p->s.gain) yt[n] *= q->part[i].gain[n];
                if (p->bias && !(p->s.gain && p->s.gain_bias)) yt[n] += q->part[i].bias[n];
                if (res) yt[n] += res[t * l->out + col + n];
            }
            if (ref_splits(p, q)) ref_rest(yt, x + t * l->in, q, (int)i, t);
        }
}

/* d_x, overwritten, and the gradients d, added to, by the formulas of linear_bwd. */
static inline void ref_linear_bwd(double *d_x, const struct ref_part *d, const double *d_y, const double *x,
                                  const struct ref_linear *q, long T)
{
    const struct linear *l = q->l;
    const long K = l->in;
    double *raw = malloc(sizeof(double) * (size_t)l->out), *gr = malloc(sizeof(double) * (size_t)l->out),
           *m = malloc(sizeof(double) * (size_t)K), *mask = calloc((size_t)K, sizeof(double)), h[512];
    for (long i = 0; i < T * K; i++) d_x[i] = 0;
    for (long t = 0; t < T; t++)
        for (long i = 0, col = 0; i < l->n; col += l->part[i].w.rows, i++) {
            const struct lin_part *p = &l->part[i];
            const struct ref_part *v = &q->part[i], *di = &d[i];
            const long N = p->w.rows;
            const double *g = d_y + t * l->out + col, *xt = x + t * K;
            const int splits = ref_splits(p, q);
            if (splits) ref_mask(mask, &p->s.low[0], q->rows, t, K);
            if (di->gain) ref_raw(raw, xt, q, (int)i, t);
            for (long n = 0; n < N; n++) {
                gr[n] = p->s.gain ? g[n] * v->gain[n] : g[n];
                if (di->gain) di->gain[n] += g[n] * raw[n];
                if (di->bias) di->bias[n] += p->s.gain && p->s.gain_bias ? gr[n] : g[n];
            }
            for (long k = 0; k < K; k++) {
                const double in = p->s.gain_in ? v->gain_in[k] : 1;
                double back = 0, diff = 0;
                for (long n = 0; n < N; n++) {
                    const double w = ref_round(v->w[n * K + k], q->bf16);
                    back += ref_round(splits ? g[n] : gr[n], q->bf16) * w;
                    diff += splits ? ref_round(ref_single(ref_single(gr[n], q->bf16) - g[n], q->bf16), q->bf16) * w : 0;
                }
                d_x[t * K + k] += back * in + diff * mask[k];
                if (di->gain_in) di->gain_in[k] += back * xt[k];
                for (long n = 0; di->w && n < N; n++) di->w[n * K + k] += gr[n] * xt[k] * in;
            }
            for (int j = 0; j < p->s.n_low; j++) {
                const struct lowrank *low = &p->s.low[j];
                const long R = low->r;
                if (!ref_in_span(low, q->rows, t)) continue;
                ref_mask(m, low, q->rows, t, K);
                ref_down(h, v->a[j], m, xt, R, K);
                for (long r = 0; r < R; r++) {
                    double dh = 0;
                    for (long n = 0; n < N; n++) {
                        dh += low->scale * gr[n] * v->b[j][n * R + r];
                        if (di->b[j]) di->b[j][n * R + r] += low->scale * gr[n] * h[r];
                    }
                    for (long k = 0; k < K; k++) {
                        if (di->a[j]) di->a[j][r * K + k] += dh * xt[k] * m[k];
                        d_x[t * K + k] += dh * v->a[j][r * K + k] * m[k];
                    }
                }
            }
        }
    free(raw), free(gr), free(m), free(mask);
}

static inline void ref_rope(double *x, long ld, const int32_t *pos, const float *inv_freq, long T, int heads, int D,
                            int dir)
{
    for (long t = 0; t < T; t++)
        for (int h = 0; h < heads; h++)
            for (int j = 0; j < D / 2; j++) {
                double g = (double)((float)pos[t] * inv_freq[j]), c = cos(g), s = dir * sin(g);
                double *lo = x + t * ld + h * D + j, *hi = lo + D / 2, a = *lo, b = *hi;
                *lo = a * c - b * s;
                *hi = b * c + a * s;
            }
}

static inline void ref_attn(double *o, double *lse, const double *q, const double *k, const double *v,
                            const struct attn *a)
{
    for (int b = 0; b < a->B; b++)
        for (int h = 0; h < a->H; h++)
            for (int i = 0; i < a->q_len[b]; i++) {
                int seen = a->kv_len[b] - a->q_len[b] + i + 1;
                const double *qi = q + (a->q_start[b] + i) * a->ldq + h * a->D;
                double *oi = o + (a->q_start[b] + i) * a->ldo + h * a->D, top = -INFINITY, sum = 0;
                double *s = malloc(sizeof(double) * (size_t)seen);
                long at = (long)(h * a->K / a->H) * a->D;
                for (int j = 0; j < seen; j++) {
                    const double *kj = k + (a->kv_start[b] + j) * a->ldk + at;
                    s[j] = 0;
                    for (int d = 0; d < a->D; d++) s[j] += qi[d] * kj[d];
                    s[j] *= a->scale;
                    if (a->softcap > 0) s[j] = a->softcap * tanh(s[j] / a->softcap);
                    if (a->window > 0 && j < seen - a->window) s[j] = -INFINITY;
                    top = s[j] > top ? s[j] : top;
                }
                for (int j = 0; j < seen; j++) sum += exp(s[j] - top);
                for (int d = 0; d < a->D; d++) oi[d] = 0;
                for (int j = 0; j < seen; j++)
                    for (int d = 0; d < a->D; d++)
                        oi[d] += exp(s[j] - top) / sum * v[(a->kv_start[b] + j) * a->ldv + at + d];
                if (lse) lse[(a->q_start[b] + i) * a->H + h] = top + log(sum);
                free(s);
            }
}

/* Gradients, added to, by the chain rule: P = exp(S - lse), d_v = P^T d_o, d_S = P (d_o v^T - delta) cap' scale,
 * d_q = d_S k, d_k = d_S^T q; bf16: d_o, P and d_S are rounded where they are factors. */
static inline void ref_attn_bwd(double *d_q, double *d_k, double *d_v, const float *d_o, const double *q,
                                const double *k, const double *v, const float *o, const float *lse,
                                const struct attn *a, int bf16)
{
    for (int b = 0; b < a->B; b++)
        for (int h = 0; h < a->H; h++)
            for (int i = 0; i < a->q_len[b]; i++) {
                const long row = a->q_start[b] + i, at = (long)(h * a->K / a->H) * a->D;
                const int seen = a->kv_len[b] - a->q_len[b] + i + 1;
                const double *qi = q + row * a->ldq + h * a->D;
                const float *oi = o + row * a->ldo + h * a->D, *gi = d_o + row * a->ldo + h * a->D;
                double *dqi = d_q + row * a->ldq + h * a->D, delta = 0;
                for (int d = 0; d < a->D; d++) delta += (double)gi[d] * oi[d];
                for (int j = a->window > 0 && seen > a->window ? seen - a->window : 0; j < seen; j++) {
                    const long key = a->kv_start[b] + j;
                    const double *kj = k + key * a->ldk + at, *vj = v + key * a->ldv + at;
                    double s = 0, dp = 0, slope = a->scale;
                    for (int d = 0; d < a->D; d++) s += qi[d] * kj[d], dp += ref_round(gi[d], bf16) * vj[d];
                    s *= a->scale;
                    if (a->softcap > 0) {
                        const double t = tanh(s / a->softcap);
                        s = a->softcap * t, slope *= 1 - t * t;
                    }
                    const double p = exp(s - lse[row * a->H + h]), ds = ref_round(p * (dp - delta) * slope, bf16);
                    for (int d = 0; d < a->D; d++) {
                        dqi[d] += ds * kj[d];
                        d_k[key * a->ldk + at + d] += ds * qi[d];
                        d_v[key * a->ldv + at + d] += ref_round(p, bf16) * ref_round(gi[d], bf16);
                    }
                }
            }
}

static inline double ref_silu(double g) { return g / (1 + exp(-g)); }

static inline double ref_act(enum act f, double x)
{
    switch (f) {
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_GELU:
        return x * 0.5 * erfc(-x / sqrt(2.0));
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_SILU:
        return ref_silu(x);
    case ACT_TANH:
        return tanh(x);
    case ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case ACT_LEAKY_RELU:
        return x > 0 ? x : 0.01 * x;
    default:
        return x;
    }
}

/* Returns the sum of gscale * nll (NULL: of nll). */
static inline double ref_head(double *nll, int32_t *best, double *d_x, double *d_w, const double *x, const float *w,
                              const int32_t *label, long n, long V, long C, int bf16, const float *gscale)
{
    double total = 0, *z = malloc(sizeof(double) * (size_t)V);
    for (long i = 0; i < n; i++) {
        double top = -INFINITY, sum = 0;
        for (long v = 0; v < V; v++) {
            z[v] = 0;
            for (long c = 0; c < C; c++) z[v] += ref_round(x[i * C + c], bf16) * ref_round(w[v * C + c], bf16);
            if (z[v] > top) {
                top = z[v];
                if (best) best[i] = (int32_t)v;
            }
        }
        for (long v = 0; v < V; v++) sum += exp(z[v] - top);
        double loss = log(sum) + top - z[label[i]];
        if (nll) nll[i] = loss;
        total += gscale ? gscale[i] * loss : loss;
        for (long c = 0; d_x && c < C; c++) d_x[i * C + c] = 0;
        for (long v = 0; d_x && v < V; v++) {
            const double exact = gscale[i] * (exp(z[v] - top) / sum - (v == label[i])), g = ref_round(exact, bf16);
            for (long c = 0; c < C; c++) {
                d_x[i * C + c] += g * ref_round(w[v * C + c], bf16);
                d_w[v * C + c] += exact * x[i * C + c];
            }
        }
    }
    free(z);
    return total;
}
#endif
