/* attention_simd: attention of one task: a block of queries of one sequence and one kv head (forward), or all queries
 * of them (backward). Included only by simd_body.h.
 *
 * Keys are taken in blocks of KEYS counted from key 0 of the sequence, with a running maximum; a key that a query does
 * not see adds exactly 0. So a query's bits depend on its keys alone: not on its neighbours, nor on prefill or decode.
 * Source: Milakov & Gimelshein 2018 (running softmax); Dao 2023, algorithms 1 and 2 (backward from lse). */
#ifndef KERNELS_ATTENTION_SIMD_H
#define KERNELS_ATTENTION_SIMD_H
#include "kernels/attention.h"

enum {
    ATTN_KEYS = 128, /* keys of a block */
    ATTN_ROWS = 48,  /* queries of a block */
    ATTN_GROUP = 8,  /* query heads that share a packed block of keys */
};

/* scores [rows][ATTN_KEYS] of one block to weights; keys at lim and beyond get 0. Returns nothing seen: lim <= 0. */
VEC_INLINE void softmax_step(float *s, long lim, long padded, float *top, float *sum, float *corr)
{
    vf most = vec_set(s[0]);
    long j = 0;
    for (; j + VW <= lim; j += VW) most = vec_max(vec_load(s + j), most);
    float m = vec_top(most);
    for (long i = j; i < lim; i++) m = s[i] > m ? s[i] : m;
    if (*top > m) m = *top;
    vf shift = vec_set(m), acc = {0};
    for (j = 0; j + VW <= lim; j += VW) {
        vf e = vec_exp(vec_load(s + j) - shift);
        acc += e;
        vec_store(s + j, e);
    }
    if (j < lim) {
        vf e = vec_exp(vec_load(s + j) - shift), kept = {0};
        memcpy(&kept, &e, (size_t)(lim - j) * sizeof *s);
        acc += kept;
        vec_store(s + j, kept);
        j += VW;
    }
    for (; j < padded; j += VW) vec_store(s + j, (vf){0});
    vf c = vec_exp(vec_set(*top - m)); /* first block: exp(-inf) = 0 */
    *corr = c[0];
    *sum = *sum * *corr + vec_sum(acc);
    *top = m;
}

/* n scores of one row to what attention sees: soft-capped, keys before `from` (out of the window; may lie before the
 * block) at minus infinity. */
VEC_INLINE void score_rules(const struct attn *a, float *s, long from, long n)
{
    long j = 0;
    for (; j < from && j < n; j++) s[j] = -INFINITY;
    for (; a->softcap > 0 && j < n; j++) s[j] = a->softcap * tanhf(s[j] / a->softcap);
}

/* One query of a sequence, all heads of the kv head as rows of a product: values stay where they are. The bits are
 * those of attn_fwd_task's blocks: a sum's order depends neither on the rows beside it nor on the panel. */
static void attn_fwd_one(const struct attn *a, float *o, float *lse, const float *q, const float *k, const float *v,
                         long keys, long heads)
{
    _Alignas(64) float kt[ATTN_MAX_D * ATTN_KEYS], s[ATTN_GROUP * ATTN_KEYS];
    float top[ATTN_GROUP], sum[ATTN_GROUP];
    const long D = a->D;
    for (long g = 0; g < heads; g++) {
        top[g] = -INFINITY;
        sum[g] = 0;
    }
    const long from = attn_window_start(a, keys), start = from / ATTN_KEYS * ATTN_KEYS;
    for (long j0 = start; j0 < keys; j0 += ATTN_KEYS) {
        const float *kj = k + j0 * a->ldk, *vj = v + j0 * a->ldv;
        const long jn = keys - j0 < ATTN_KEYS ? keys - j0 : ATTN_KEYS;
        const long padded = (jn + SUM_NR - 1) / SUM_NR * SUM_NR;
        for (long j = 0; j < jn; j++)
            for (long d = 0; d < D; d += 16) __builtin_prefetch(vj + j * a->ldv + d);
        pack_columns(kt, kj, a->ldk, jn, D);
        sum_packed(heads, padded, D, q, D, 1, kt, D, a->scale, NULL, 0, s, ATTN_KEYS);
        for (long g = 0; g < heads; g++) {
            float corr;
            score_rules(a, s + g * ATTN_KEYS, from - j0, jn);
            softmax_step(s + g * ATTN_KEYS, jn, padded, &top[g], &sum[g], &corr);
            if (j0 > start)
                for (long d = 0; d < D; d++) o[g * D + d] *= corr;
        }
        sum_direct(heads, D, jn, s, ATTN_KEYS, 1, vj, a->ldv, 1.0f, j0 > start ? o : NULL, D, o, D);
    }
    for (long g = 0; g < heads; g++) {
        const float inv = 1.0f / sum[g];
        for (long d = 0; d < D; d++) o[g * D + d] *= inv;
        if (lse) lse[g] = (float)((double)top[g] + log((double)sum[g]));
    }
}

static void attn_fwd_task(const struct attn *a, float *o, float *lse, const float *q, const float *k, const float *v,
                          int b, int kv_head, long q0)
{
    _Alignas(64) float kt[ATTN_MAX_D * ATTN_KEYS], vp[ATTN_MAX_D * ATTN_KEYS], s[ATTN_ROWS * ATTN_KEYS];
    float top[ATTN_GROUP][ATTN_ROWS], sum[ATTN_GROUP][ATTN_ROWS];
    const long D = a->D, nq = a->q_len[b], nk = a->kv_len[b], group = a->H / a->K;
    const long rows = nq - q0 < ATTN_ROWS ? nq - q0 : ATTN_ROWS, row0 = a->q_start[b] + q0;
    const long seen = nk - nq + q0 + 1; /* keys of the first query of the block */
    const long keys = seen + rows - 1;
    const long start = attn_window_start(a, seen) / ATTN_KEYS *
                       ATTN_KEYS; /* blocks before it are in no query's window */
    k += (long)a->kv_start[b] * a->ldk + kv_head * D;
    v += (long)a->kv_start[b] * a->ldv + kv_head * D;
    for (long g0 = 0; g0 < group; g0 += ATTN_GROUP) {
        long heads = group - g0 < ATTN_GROUP ? group - g0 : ATTN_GROUP;
        if (rows == 1) {
            const long h = kv_head * group + g0;
            attn_fwd_one(a, o + row0 * a->ldo + h * D, lse ? lse + row0 * a->H + h : NULL, q + row0 * a->ldq + h * D, k,
                         v, keys, heads);
            continue;
        }
        for (long g = 0; g < heads; g++)
            for (long i = 0; i < rows; i++) {
                top[g][i] = -INFINITY;
                sum[g][i] = 0;
            }
        for (long j0 = start; j0 < keys; j0 += ATTN_KEYS) {
            long jn = keys - j0 < ATTN_KEYS ? keys - j0 : ATTN_KEYS;
            long padded = (jn + SUM_NR - 1) / SUM_NR * SUM_NR;
            pack_columns(kt, k + j0 * a->ldk, a->ldk, jn, D);
            pack_wide(vp, v + j0 * a->ldv, a->ldv, jn, D);
            for (long g = 0; g < heads; g++) {
                long h = kv_head * group + g0 + g;
                float *oh = o + row0 * a->ldo + h * D;
                sum_packed(rows, padded, D, q + row0 * a->ldq + h * D, a->ldq, 1, kt, D, a->scale, NULL, 0, s,
                           ATTN_KEYS);
                for (long i = 0; i < rows; i++) {
                    long lim = seen + i - j0 < jn ? seen + i - j0 : jn;
                    const long from = attn_window_start(a, seen + i) - j0;
                    if (lim <= 0 || from >= lim) {
                        memset(s + i * ATTN_KEYS, 0, (size_t)padded * sizeof *s);
                        continue;
                    }
                    float corr;
                    score_rules(a, s + i * ATTN_KEYS, from, lim);
                    softmax_step(s + i * ATTN_KEYS, lim, padded, &top[g][i], &sum[g][i], &corr);
                    if (j0 > start)
                        for (long d = 0; d < D; d++) oh[i * a->ldo + d] *= corr;
                }
                sum_packed(rows, D, jn, s, ATTN_KEYS, 1, vp, jn, 1.0f, j0 > start ? oh : NULL, a->ldo, oh, a->ldo);
            }
        }
        for (long g = 0; g < heads; g++)
            for (long i = 0; i < rows; i++) {
                long h = kv_head * group + g0 + g;
                float *oh = o + (row0 + i) * a->ldo + h * D, inv = 1.0f / sum[g][i];
                for (long d = 0; d < D; d++) oh[d] *= inv;
                if (lse) lse[(row0 + i) * a->H + h] = (float)((double)top[g][i] + log((double)sum[g][i]));
            }
    }
}

static void attn_bwd_task(const struct attn *a, float *d_q, float *d_k, float *d_v, const float *d_o, const float *q,
                          const float *k, const float *v, const float *o, const float *lse, int b, int kv_head)
{
    _Alignas(64) float kt[ATTN_MAX_D * ATTN_KEYS], vt[ATTN_MAX_D * ATTN_KEYS], kp[ATTN_MAX_D * ATTN_KEYS];
    _Alignas(64) float p[ATTN_ROWS * ATTN_KEYS], ds[ATTN_ROWS * ATTN_KEYS];
    const long D = a->D, nq = a->q_len[b], nk = a->kv_len[b], group = a->H / a->K;
    const long k0 = (long)a->kv_start[b] * a->ldk + kv_head * D, v0 = (long)a->kv_start[b] * a->ldv + kv_head * D;
    k += k0;
    v += v0;
    d_k += k0;
    d_v += v0;
    for (long j = 0; j < nk; j++) {
        memset(d_k + j * a->ldk, 0, (size_t)D * sizeof *d_k);
        memset(d_v + j * a->ldv, 0, (size_t)D * sizeof *d_v);
    }
    for (long j0 = 0; j0 < nk; j0 += ATTN_KEYS) {
        long jn = nk - j0 < ATTN_KEYS ? nk - j0 : ATTN_KEYS;
        pack_columns(kt, k + j0 * a->ldk, a->ldk, jn, D);
        pack_columns(vt, v + j0 * a->ldv, a->ldv, jn, D);
        pack_wide(kp, k + j0 * a->ldk, a->ldk, jn, D);
        for (long h = kv_head * group; h < (kv_head + 1) * group; h++)
            for (long q0 = 0; q0 < nq; q0 += ATTN_ROWS) {
                long rows = nq - q0 < ATTN_ROWS ? nq - q0 : ATTN_ROWS, row0 = a->q_start[b] + q0;
                long seen = nk - nq + q0 + 1 - j0; /* keys of this block that the first query sees */
                const long live = seen + rows - 1 < jn ? seen + rows - 1
                                                       : jn; /* keys that some query of the block sees */
                const long padded = (live + SUM_NR - 1) / SUM_NR * SUM_NR;
                if (live <= 0) continue;
                const float *qh = q + row0 * a->ldq + h * D, *oh = o + row0 * a->ldo + h * D,
                            *gh = d_o + row0 * a->ldo + h * D;
                float *d_qh = d_q + row0 * a->ldq + h * D;
                sum_packed(rows, padded, D, qh, a->ldq, 1, kt, D, a->scale, NULL, 0, p, ATTN_KEYS);
                sum_packed(rows, padded, D, gh, a->ldo, 1, vt, D, 1.0f, NULL, 0, ds, ATTN_KEYS);
                for (long i = 0; i < rows; i++) {
                    float *pi = p + i * ATTN_KEYS, *di = ds + i * ATTN_KEYS;
                    long lim = seen + i < jn ? seen + i : jn, j = 0;
                    if (lim < 0) lim = 0;
                    const long from = attn_window_start(a, seen + j0 + i) - j0;
                    if (a->softcap > 0) score_rules(a, pi, 0, lim);
                    vf acc = {0};
                    long d = 0;
                    for (; d + VW <= D; d += VW)
                        acc = vec_fma(vec_load(gh + i * a->ldo + d), vec_load(oh + i * a->ldo + d), acc);
                    if (d < D)
                        acc = vec_fma(vec_load_n(gh + i * a->ldo + d, D - d), vec_load_n(oh + i * a->ldo + d, D - d),
                                      acc);
                    vf delta = vec_set(vec_sum(acc)), level = vec_set(lse[(row0 + i) * a->H + h]),
                       scale = vec_set(a->scale);
                    for (; j < padded; j += VW) {
                        vf e = vec_exp(vec_load(pi + j) - level), g = e * (vec_load(di + j) - delta) * scale;
                        if (j + VW > lim) {
                            long n = lim > j ? lim - j : 0;
                            vf ke = {0}, kg = {0};
                            memcpy(&ke, &e, (size_t)n * sizeof *pi);
                            memcpy(&kg, &g, (size_t)n * sizeof *pi);
                            e = ke;
                            g = kg;
                        }
                        if (a->softcap > 0) { /* the cap's slope: 1 - tanh^2 */
                            const vf c = vec_load(pi + j) * vec_set(1 / a->softcap);
                            g *= vec_set(1.0f) - c * c;
                        }
                        vec_store(pi + j, e);
                        vec_store(di + j, g);
                    }
                    for (j = 0; j < from && j < padded; j++) pi[j] = di[j] = 0; /* before the window */
                }
                float *d_kj = d_k + j0 * a->ldk, *d_vj = d_v + j0 * a->ldv;
                sum_direct(live, D, rows, p, 1, ATTN_KEYS, gh, a->ldo, 1.0f, d_vj, a->ldv, d_vj, a->ldv);
                sum_direct(live, D, rows, ds, 1, ATTN_KEYS, qh, a->ldq, 1.0f, d_kj, a->ldk, d_kj, a->ldk);
                sum_packed(rows, D, live, ds, ATTN_KEYS, 1, kp, jn, 1.0f, j0 ? d_qh : NULL, a->ldq, d_qh, a->ldq);
            }
    }
}

static const struct attn_loops attn_f32 = {.query_rows = ATTN_ROWS, .fwd = attn_fwd_task, .bwd = attn_bwd_task};
#endif
