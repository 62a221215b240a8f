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

static inline double ref_mask(const struct dropout *d, uint32_t module, long t, long c)
{
    if (!d || d->p == 0) return 1;
    float f[4];
    dropout_factors(dropout_key(d->seed, module), d->step, d->uid[t], (uint32_t)(c / 4), dropout_threshold(d->p),
                    1.0f / (1.0f - d->p), f);
    return f[c % 4];
}

/* A fused linear in f64: W_i as dequantised values, adapters as f64. */
struct ref_linear {
    const struct linear *l;
    const float *w[LIN_PARTS];
    double *a[LIN_PARTS], *b[LIN_PARTS];
    const struct dropout *drop;
    int bf16;
};

static inline void ref_linear_fwd(double *y, const double *res, const double *x, const struct ref_linear *q, long T)
{
    const struct linear *l = q->l;
    const long K = l->in, N = l->out;
    for (long t = 0; t < T; t++)
        for (long i = 0, col = 0; i < l->n; col += l->part[i].w.rows, i++) {
            const struct lin_part *p = &l->part[i];
            double h[512] = {0};
            for (long r = 0; r < p->r; r++)
                for (long k = 0; k < K; k++)
                    h[r] += q->a[i][r * K + k] * x[t * K + k] * ref_mask(q->drop, p->module, t, k);
            for (long n = 0; n < p->w.rows; n++) {
                double s = p->bias ? p->bias[n] : 0;
                for (long k = 0; k < K; k++)
                    s += ref_round(x[t * K + k], q->bf16) * ref_round(q->w[i][n * K + k], q->bf16);
                for (long r = 0; r < p->r; r++) s += p->scale * h[r] * q->b[i][n * p->r + r];
                y[t * N + col + n] = s + (res ? res[t * N + col + n] : 0);
            }
        }
}

/* d_x, d_a, d_b by the formulas of linear_bwd, from zero. */
static inline void ref_linear_bwd(double *d_x, double *d_a[], double *d_b[], const double *d_y, const double *x,
                                  const struct ref_linear *q, long T)
{
    const struct linear *l = q->l;
    const long K = l->in, N = l->out;
    for (long i = 0; i < T * K; i++) d_x[i] = 0;
    for (long i = 0, col = 0; i < l->n; col += l->part[i].w.rows, i++) {
        const struct lin_part *p = &l->part[i];
        for (long t = 0; t < T; t++) {
            const double *g = d_y + t * N + col;
            for (long n = 0; n < p->w.rows; n++)
                for (long k = 0; k < K; k++)
                    d_x[t * K + k] += ref_round(g[n], q->bf16) * ref_round(q->w[i][n * K + k], q->bf16);
            for (long r = 0; r < p->r; r++) {
                double dh = 0, h = 0;
                for (long n = 0; n < p->w.rows; n++) dh += p->scale * g[n] * q->b[i][n * p->r + r];
                for (long k = 0; k < K; k++) {
                    double mask = ref_mask(q->drop, p->module, t, k);
                    h += q->a[i][r * K + k] * x[t * K + k] * mask;
                    d_a[i][r * K + k] += dh * x[t * K + k] * mask;
                    d_x[t * K + k] += dh * q->a[i][r * K + k] * mask;
                }
                for (long n = 0; n < p->w.rows; n++) d_b[i][n * p->r + r] += p->scale * g[n] * h;
            }
        }
    }
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
                    const double *kj = k + (a->kv_start[b] + j) * a->ldkv + at;
                    s[j] = 0;
                    for (int d = 0; d < a->D; d++) s[j] += qi[d] * kj[d];
                    s[j] *= a->scale;
                    top = s[j] > top ? s[j] : top;
                }
                for (int j = 0; j < seen; j++) sum += exp(s[j] - top);
                for (int d = 0; d < a->D; d++) oi[d] = 0;
                for (int j = 0; j < seen; j++)
                    for (int d = 0; d < a->D; d++)
                        oi[d] += exp(s[j] - top) / sum * v[(a->kv_start[b] + j) * a->ldkv + at + d];
                if (lse) lse[(a->q_start[b] + i) * a->H + h] = top + log(sum);
                free(s);
            }
}

static inline double ref_silu(double g) { return g / (1 + exp(-g)); }

/* Returns the sum of nll. */
static inline double ref_head(double *nll, int32_t *best, double *d_x, const double *x, const float *w,
                              const int32_t *label, long n, long V, long C, int bf16, double gscale)
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
        total += loss;
        for (long c = 0; d_x && c < C; c++) d_x[i * C + c] = 0;
        for (long v = 0; d_x && v < V; v++) {
            double g = ref_round(gscale * (exp(z[v] - top) / sum - (v == label[i])), bf16);
            for (long c = 0; c < C; c++) d_x[i * C + c] += g * ref_round(w[v * C + c], bf16);
        }
    }
    free(z);
    return total;
}
#endif
