/* attention_tiles_fwd: forward attention on tiles: scores, running softmax, sums of values (attention_tiles.h).
 * Included only by attention_body.h. */
#ifndef KERNELS_ATTENTION_TILES_FWD_H
#define KERNELS_ATTENTION_TILES_FWD_H
#include "kernels/attention_tiles.h"

enum { AT_ROWS = 64 }; /* queries of a task */

struct attn_fwd {
    struct columns c;
    _Alignas(64) float top[AT_COLUMNS], sum[AT_COLUMNS]; /* of each column's weights so far */
    int begun[AT_COLUMNS / AT_CHUNK];                    /* has the chunk seen a block? */
    _Alignas(64) uint16_t q[AT_COLUMNS * ATTN_MAX_D], k[AT_KEYS * ATTN_MAX_D], v[AT_KEYS * ATTN_MAX_D];
    _Alignas(64) float s[AT_KEYS * AT_CHUNK];
    _Alignas(64) uint16_t p[AT_KEYS * AT_CHUNK];
    _Alignas(64) float o[AT_COLUMNS * ATTN_MAX_D]; /* tiles_values */
};

/* Scores at f->s to weights at f->p; corr: what older sums are to be multiplied by. */
VEC_INLINE void softmax_block(const int wide, struct attn_fwd *f, const struct attn *a, long chunk, long j0,
                              const struct view *w, vf corr[2])
{
    const vf none = vec_set(-INFINITY), scale = vec_set(a->scale);
    float *top = f->top + chunk * AT_CHUNK, *sum = f->sum + chunk * AT_CHUNK;
    vf most[2], shift[2], acc[2][2] = {{{0}}};
    vi seen[2], from[2];
    UNROLL
    for (int t = 0; t <= wide; t++) {
        seen[t] = ints_load(f->c.seen + chunk * AT_CHUNK + 16 * t);
        from[t] = ints_load(f->c.from + chunk * AT_CHUNK + 16 * t);
        most[t] = vec_load(top + 16 * t);
    }
    for (long j = w->first * TILE_K; j < w->end; j++) {
        float *s = f->s + j * AT_CHUNK;
        UNROLL
        for (int t = 0; t <= wide; t++) {
            vf x = vec_load(s + 16 * t) * scale;
            if (a->softcap > 0) x = soft_cap(x, a->softcap);
            x = vec_select(sees(seen[t], from[t], j0 + j), x, none);
            vec_store(s + 16 * t, x);
            most[t] = vec_max(x, most[t]);
        }
    }
    UNROLL
    for (int t = 0; t <= wide; t++) {
        shift[t] = vec_select(most[t] > none, most[t], (vf){0}); /* it has seen no key yet */
        corr[t] = weight_exp(vec_load(top + 16 * t) - shift[t]);
        vec_store(top + 16 * t, most[t]);
    }
    long j = w->first * TILE_K;
    for (; j < w->end; j += 2) {
        vf row[2] = {{0}};
        for (int odd = 0; odd < 2 && j + odd < w->end; odd++) {
            const float *s = f->s + (j + odd) * AT_CHUNK;
            vf e[2] = {{0}};
            UNROLL
            for (int t = 0; t <= wide; t++) {
                e[t] = weight_exp(vec_load(s + 16 * t) - shift[t]);
                acc[odd][t] += e[t];
            }
            row[odd] = vec_pairs(e[0], e[1]);
        }
        weights_pair(f->p, j / 2, row[0], row[1]);
    }
    for (; j < w->last * TILE_K; j += 2) weights_pair(f->p, j / 2, (vf){0}, (vf){0});
    UNROLL
    for (int t = 0; t <= wide; t++) vec_store(sum + 16 * t, vec_load(sum + 16 * t) * corr[t] + (acc[0][t] + acc[1][t]));
}

VEC_INLINE void fwd_chunk(const int wide, struct attn_fwd *f, const struct attn *a, long chunk, long j0,
                          const struct view *w)
{
    const long steps = steps_of(a->D);
    float *o = f->o + chunk * steps * SUMS_STEP;
    vf corr[2];
    tiles_scores(wide, f->s, f->k, f->q + chunk * 2 * steps * TILE, w->first, w->last, a->D);
    softmax_block(wide, f, a, chunk, j0, w, corr);
    for (long i = 0; f->begun[chunk] && i < steps * 2; i++) UNROLL
    for (int t = 0; t <= wide; t++)
        for (int k = 0; k < 16; k++) {
            float *at = o + (2 * i + t) * SUM_TILE + 16 * k;
            vec_store(at, vec_load(at) * corr[t]);
        }
    tiles_values(wide, o, !f->begun[chunk], f->v, f->p, w->first, w->last, a->D);
    f->begun[chunk] = 1;
}

/* Columns first .. first + n. */
static void fwd_columns(const struct attn *a, float *o, float *lse, const float *q, const float *k, const float *v,
                        int b, int kv_head, long first, long n)
{
    struct attn_fwd f;
    columns_of(&f.c, a, b, kv_head, first, n);
    const long chunks = columns_chunks(&f.c), keys = f.c.seen[n - 1];
    for (long i = 0; i < chunks * AT_CHUNK; i++) f.top[i] = -INFINITY, f.sum[i] = 0;
    memset(f.begun, 0, sizeof f.begun);
    pack_lines(1, f.q, &(struct rows){.base = q, .at = f.c.q, .n = n, .D = a->D});
    for (long j0 = f.c.from[0] / AT_KEYS * AT_KEYS; j0 < keys; j0 += AT_KEYS) {
        const long jn = keys - j0 < AT_KEYS ? keys - j0 : AT_KEYS;
        pack_lines(0, f.k, &(struct rows){.base = k + j0 * a->ldk, .ld = a->ldk, .n = jn, .D = a->D});
        pack_pairs(1, f.v, &(struct rows){.base = v + j0 * a->ldv, .ld = a->ldv, .n = jn, .D = a->D});
        for (long i = 0; i < chunks; i++) {
            const struct view w = view_of(&f.c, i, j0);
            if (w.last && w.wide) fwd_chunk(1, &f, a, i, j0, &w);
            if (w.last && !w.wide) fwd_chunk(0, &f, a, i, j0, &w);
        }
    }
    for (long i = 0; lse && i < n; i++) lse[f.c.lse[i]] = (float)((double)f.top[i] + log((double)f.sum[i]));
    for (long i = 0; i < chunks * AT_CHUNK; i++) f.sum[i] = 1.0f / f.sum[i];
    for (long i = 0; i < chunks; i++)
        columns_store(&f.c, i, o, f.c.o, f.o + i * steps_of(a->D) * SUMS_STEP, f.sum, a->D);
}

static void attn_tiles_fwd(const struct attn *a, float *o, float *lse, const float *q, const float *k, const float *v,
                           int b, int kv_head, long q0)
{
    const long group = a->H / a->K, last = a->q_len[b] - q0 < AT_ROWS ? a->q_len[b] : q0 + AT_ROWS;
    tiles_ready();
    k += (long)a->kv_start[b] * a->ldk + kv_head * a->D;
    v += (long)a->kv_start[b] * a->ldv + kv_head * a->D;
    for (long c = q0 * group; c < last * group; c += AT_COLUMNS)
        fwd_columns(a, o, lse, q, k, v, b, kv_head, c, last * group - c < AT_COLUMNS ? last * group - c : AT_COLUMNS);
}
#endif
