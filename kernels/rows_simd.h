/* rows_simd: the row-wise loops of norm, SwiGLU, rope, cross entropy and AdamW. Included only by simd_body.h.
 * Each works on rows first .. last of its op; the ops' files split the rows over threads. */
#ifndef KERNELS_ROWS_SIMD_H
#define KERNELS_ROWS_SIMD_H
#include <math.h>
#include "kernels/dropout.h"
#include "kernels/ops.h"

static void norm_fwd_rows(float *y, long ldy, float *rstd, const float *x, long ldx, const float *w, long first,
                          long last, long C, float eps)
{
    long whole = C / VW * VW;
    for (long t = first; t < last; t++) {
        const float *xt = x + t * ldx;
        float *yt = y + t * ldy;
        vf acc = {0};
        for (long c = 0; c < whole; c += VW) {
            vf v = vec_load(xt + c);
            acc = vec_fma(v, v, acc);
        }
        if (whole < C) {
            vf v = vec_load_n(xt + whole, C - whole);
            acc = vec_fma(v, v, acc);
        }
        float r = 1.0f / sqrtf(vec_sum(acc) / (float)C + eps);
        if (rstd) rstd[t] = r;
        for (long c = 0; c < whole; c += VW) vec_store(yt + c, vec_load(w + c) * (vec_load(xt + c) * r));
        for (long c = whole; c < C; c++) yt[c] = w[c] * (xt[c] * r);
    }
}

static void norm_bwd_rows(float *d_x, long ld_dx, const float *d_y, long ld_dy, const float *x, long ldx,
                          const float *w, const float *rstd, long first, long last, long C)
{
    long whole = C / VW * VW;
    for (long t = first; t < last; t++) {
        const float *xt = x + t * ldx, *gt = d_y + t * ld_dy;
        float *dt = d_x + t * ld_dx;
        vf acc = {0};
        for (long c = 0; c < whole; c += VW) acc = vec_fma(vec_load(gt + c) * vec_load(w + c), vec_load(xt + c), acc);
        if (whole < C)
            acc = vec_fma(vec_load_n(gt + whole, C - whole) * vec_load_n(w + whole, C - whole),
                          vec_load_n(xt + whole, C - whole), acc);
        float r = rstd[t], back = vec_sum(acc) * r * r * r / (float)C;
        for (long c = 0; c < whole; c += VW)
            vec_store(dt + c, vec_load(dt + c) + (vec_load(gt + c) * vec_load(w + c) * r - vec_load(xt + c) * back));
        for (long c = whole; c < C; c++) dt[c] = dt[c] + (gt[c] * w[c] * r - xt[c] * back);
    }
}

VEC_INLINE vf sigmoid(vf g) { return vec_set(1.0f) / (vec_set(1.0f) + vec_exp(-g)); }

static void swiglu_fwd_rows(float *h, long ldh, const float *gu, long ldgu, long first, long last, long F)
{
    for (long t = first; t < last; t++) {
        const float *g = gu + t * ldgu, *u = g + F;
        float *ht = h + t * ldh;
        long f = 0;
        for (; f + VW <= F; f += VW) {
            vf v = vec_load(g + f);
            vec_store(ht + f, v * sigmoid(v) * vec_load(u + f));
        }
        if (f < F) {
            vf v = vec_load_n(g + f, F - f);
            vec_store_n(ht + f, v * sigmoid(v) * vec_load_n(u + f, F - f), F - f);
        }
    }
}

VEC_INLINE void swiglu_back(vf g, vf u, vf d_h, vf *d_g, vf *d_u)
{
    vf s = sigmoid(g), silu = g * s;
    *d_u = d_h * silu;
    *d_g = d_h * u * (s + silu * (vec_set(1.0f) - s));
}

static void swiglu_bwd_rows(float *d_gu, long ld_dgu, const float *d_h, long ld_dh, const float *gu, long ldgu,
                            long first, long last, long F)
{
    for (long t = first; t < last; t++) {
        const float *g = gu + t * ldgu, *u = g + F, *dt = d_h + t * ld_dh;
        float *d_g = d_gu + t * ld_dgu, *d_u = d_g + F;
        vf a, b;
        long f = 0;
        for (; f + VW <= F; f += VW) {
            swiglu_back(vec_load(g + f), vec_load(u + f), vec_load(dt + f), &a, &b);
            vec_store(d_g + f, a);
            vec_store(d_u + f, b);
        }
        if (f < F) {
            swiglu_back(vec_load_n(g + f, F - f), vec_load_n(u + f, F - f), vec_load_n(dt + f, F - f), &a, &b);
            vec_store_n(d_g + f, a, F - f);
            vec_store_n(d_u + f, b, F - f);
        }
    }
}

/* Cosine and sine of n angles, computed in f64 so that long positions keep f32's precision.
 * Reduction by a two-part pi/2 and the polynomials of fdlibm (Sun Microsystems); no branch, so the loop vectorises. */
static void cos_sin(const float *restrict angle, float *restrict c, float *restrict s, long n)
{
    for (long j = 0; j < n; j++) {
        double x = angle[j];
        union {
            double d;
            uint64_t u;
        } shifted = {.d = x * 0.63661977236758134308 + 6755399441055744.0};
        double q = shifted.d - 6755399441055744.0;
        double r = (x - q * 1.57079632673412561417) - q * 6.07710050650619224932e-11, z = r * r;
        double sine = r + r * z *
                              (-1.66666666666666324348e-01 +
                               z * (8.33333333332248946124e-03 +
                                    z * (-1.98412698298579493134e-04 +
                                         z * (2.75573137070700676789e-06 +
                                              z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)))));
        double cosine = 1 - 0.5 * z +
                        z * z *
                            (4.16666666666666019037e-02 +
                             z * (-1.38888888888741095749e-03 +
                                  z * (2.48015872894767294178e-05 +
                                       z * (-2.75573143513906633035e-07 +
                                            z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)))));
        double odd = (double)(int64_t)(shifted.u & 1), even = 1 - odd; /* odd quadrants swap the two */
        double cs = 1 - 2 * (double)(int64_t)(((shifted.u + 1) >> 1) & 1),
               sn = 1 - 2 * (double)(int64_t)((shifted.u >> 1) & 1);
        c[j] = (float)(cs * (even * cosine + odd * sine));
        s[j] = (float)(sn * (even * sine + odd * cosine));
    }
}

enum { ROPE_MAX = 512 }; /* D / 2 at most */
static void rope_rows(float *x, long ld, const int32_t *pos, const float *inv_freq, long first, long last, int n_heads,
                      int D, int dir)
{
    float angle[ROPE_MAX], c[ROPE_MAX], s[ROPE_MAX];
    const int half = D / 2;
    for (long t = first; t < last; t++) {
        for (int j = 0; j < half; j++) angle[j] = (float)pos[t] * inv_freq[j];
        cos_sin(angle, c, s, half);
        if (dir < 0)
            for (int j = 0; j < half; j++) s[j] = -s[j];
        for (int h = 0; h < n_heads; h++) {
            float *lo = x + t * ld + (long)h * D, *hi = lo + half;
            int j = 0;
            for (; j + VW <= half; j += VW) {
                vf a = vec_load(lo + j), b = vec_load(hi + j), cj = vec_load(c + j), sj = vec_load(s + j);
                vec_store(lo + j, a * cj - b * sj);
                vec_store(hi + j, b * cj + a * sj);
            }
            for (; j < half; j++) {
                float a = lo[j], b = hi[j];
                lo[j] = a * c[j] - b * s[j];
                hi[j] = b * c[j] + a * s[j];
            }
        }
    }
}

/* Cross entropy of one row of logits; the gradient gscale * (p - onehot) takes their place if grad. */
static void head_row(float *z, long V, int32_t label, float gscale, int grad, float *nll, int32_t *best)
{
    long whole = V / VW * VW;
    vf top = vec_set(z[0]);
    for (long v = 0; v < whole; v += VW) top = vec_max(vec_load(z + v), top);
    float m = vec_top(top);
    for (long v = whole; v < V; v++) m = z[v] > m ? z[v] : m;
    if (best) {
        long v = 0;
        while (v < V - 1 && z[v] != m) v++;
        *best = (int32_t)v;
    }
    float at_label = z[label];
    /* Sums of 1024 in f32, those in f64: the error does not grow with the vocabulary. */
    double total = 0;
    for (long v0 = 0; v0 < V; v0 += 1024) {
        long end = v0 + 1024 < V ? v0 + 1024 : V, v = v0;
        vf acc = {0};
        for (; v + VW <= end; v += VW) {
            vf e = vec_exp(vec_load(z + v) - m);
            acc += e;
            if (grad) vec_store(z + v, e);
        }
        if (v < end) {
            vf e = vec_exp(vec_load_n(z + v, end - v) - m);
            vf kept = {0};
            memcpy(&kept, &e, (size_t)(end - v) * sizeof *z);
            acc += kept;
            if (grad) vec_store_n(z + v, e, end - v);
        }
        total += (double)vec_sum(acc);
    }
    *nll = (float)(log(total) + (double)m - (double)at_label);
    if (!grad) return;
    float f = (float)((double)gscale / total);
    for (long v = 0; v < V; v++) z[v] *= f;
    z[label] -= gscale;
}

static double sumsq_block(const float *g, long n)
{
    double lane[8] = {0};
    long i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++) lane[l] += (double)g[i + l] * (double)g[i + l];
    for (int l = 0; i + l < n; l++) lane[l] += (double)g[i + l] * (double)g[i + l];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static void adamw_range(float *restrict p, float *restrict m, float *restrict v, const float *restrict g, long n,
                        const struct adamw *hp, const struct step_dev *s)
{
    const float b1 = hp->beta1, b2 = hp->beta2, gs = s->grad_scale, eps = hp->eps, lr = s->lr * hp->rate;
    /* Factors of the step in f64, as torch computes them. */
    const float decay = (float)(1.0 - (double)lr * (double)hp->weight_decay);
    const float rate = (float)((double)lr / s->bias1), root = (float)sqrt(s->bias2);
    const float c1 = (float)(1.0 - (double)b1), c2 = (float)(1.0 - (double)b2);
    for (long i = 0; i < n; i++) {
        float gi = g[i] * gs;
        m[i] = m[i] + (gi - m[i]) * c1;
        v[i] = v[i] * b2 + gi * gi * c2;
        p[i] = p[i] * decay - rate * (m[i] / (__builtin_sqrtf(v[i]) / root + eps));
    }
}

/* The factors of columns c0 .. c0+n of a token, c0 a multiple of 4: dropout_factors of dropout.h, VW quads at a time.
 */
static void dropout_row(float *mask, long first, long n, const struct drop_job *d, uint64_t uid)
{
    const uint64_t key = d->key;
    const vi top = (vi){0} + INT32_MIN,
             below = (vi)((vu){0} + dropout_threshold(d->p)) ^ top; /* unsigned order by a signed compare */
    const vf keep = vec_set(1.0f / (1.0f - d->p));
    for (long q = 0; 4 * q < n; q += VW) {
        vu c0, c1 = (vu){0} + (uint32_t)uid, c2 = (vu){0} + (uint32_t)(uid >> 32), c3 = (vu){0} + d->step, h0 = {0},
               l0 = {0}, h1 = {0}, l1 = {0};
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
        for (int j = 0; j < VW; j++) c0[j] = (uint32_t)(first / 4 + q + j);
        for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
            vec_mul_wide(c0, 0xD2511F53u, &h0, &l0);
            vec_mul_wide(c2, 0xCD9E8D57u, &h1, &l1);
            c0 = h1 ^ c1 ^ k0;
            c2 = h0 ^ c3 ^ k1;
            c1 = l1;
            c3 = l0;
        }
        const vu word[4] = {c0, c1, c2, c3};
        float out[4][VW], quads[VW][4];
        UNROLL
        for (int w = 0; w < 4; w++) vec_store(out[w], (vf)(~(((vi)word[w] ^ top) < below) & (vi)keep));
        for (int j = 0; j < VW; j++)
            for (int w = 0; w < 4; w++) quads[j][w] = out[w][j];
        memcpy(mask + 4 * q, quads, (size_t)(n - 4 * q < 4 * VW ? n - 4 * q : 4 * VW) * sizeof *mask);
    }
}

/* out = x * mask, then zeros to the padded width. */
static void drop_rows(float *out, const float *x, long ldx, long first, long last, long K, const struct drop_job *d)
{
    const long kp = gemm_lanes(K, 0);
    for (long t = first; t < last; t++) {
        float *o = out + t * kp;
        dropout_row(o, 0, K, d, d->uid[t]);
        for (long c = 0; c < K; c++) o[c] *= x[t * ldx + c];
        for (long c = K; c < kp; c++) o[c] = 0;
    }
}

/* d_x += d * mask; rows of d have the padded width. */
static void undrop_rows(float *d_x, long ld_dx, const float *d, long first, long last, long K,
                        const struct drop_job *drop)
{
    enum { PIECE = 1024 };
    float mask[PIECE];
    const long kp = gemm_lanes(K, 0);
    for (long t = first; t < last; t++)
        for (long c0 = 0; c0 < K; c0 += PIECE) {
            long n = K - c0 < PIECE ? K - c0 : PIECE;
            dropout_row(mask, c0, n, drop, drop->uid[t]);
            for (long c = 0; c < n; c++) d_x[t * ld_dx + c0 + c] += d[t * kp + c0 + c] * mask[c];
        }
}
#endif
