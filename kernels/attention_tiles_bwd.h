/* attention_tiles_bwd: backward attention on tiles (attention_tiles.h): columns after another by groups of AT_BACK, and
 * for each group all blocks of keys that it sees. d_q of a group is summed along its keys; d_k and d_v of a key over
 * the groups in their order, in memory. Included only by attention_body.h. */
#ifndef KERNELS_ATTENTION_TILES_BWD_H
#define KERNELS_ATTENTION_TILES_BWD_H
#include "kernels/attention_tiles.h"

enum { AT_BACK = 256 }; /* columns of a group */

struct attn_bwd {
    struct columns c;
    _Alignas(64) float lse[AT_BACK], delta[AT_BACK], one[AT_BACK]; /* delta: d_o . o */
    struct view view[AT_BACK / AT_CHUNK];
    /* Columns as right factors: of D values (q, d_o), and of columns (q_pairs, d_o_pairs). */
    _Alignas(64) uint16_t q[AT_BACK * ATTN_MAX_D], d_o[AT_BACK * ATTN_MAX_D];
    _Alignas(64) uint16_t q_pairs[AT_BACK * ATTN_MAX_D], d_o_pairs[AT_BACK * ATTN_MAX_D];
    /* A block of keys as left factors, of D values (k, v) and of keys (k_turned). */
    _Alignas(64) uint16_t k[AT_KEYS * ATTN_MAX_D], v[AT_KEYS * ATTN_MAX_D], k_turned[AT_KEYS * ATTN_MAX_D];
    _Alignas(64) float s[AT_KEYS * AT_CHUNK], d_p[AT_KEYS * AT_CHUNK]; /* scores, gradient of the weights */
    /* Weights and gradients of the scores, keys by columns as left factors: [chunk][AT_KEYS / 16] tiles. */
    _Alignas(64) uint16_t p[AT_KEYS * AT_BACK], d_s[AT_KEYS * AT_BACK];
    _Alignas(64) uint16_t d_s_pairs[AT_KEYS * AT_CHUNK]; /* of a chunk, for tiles_values */
    _Alignas(64) float d_q[AT_BACK * ATTN_MAX_D];        /* tiles_values */
};

/* Scores and d_p of a chunk to p, d_s and d_s_pairs. */
VEC_INLINE void gradient_block(const int wide, struct attn_bwd *g, const struct attn *a, long chunk, long j0,
                               const struct view *w)
{
    const vf scale = vec_set(a->scale);
    vf lse[2], delta[2];
    vi seen[2], from[2];
    UNROLL
    for (int t = 0; t <= wide; t++) {
        const long c = chunk * AT_CHUNK + 16 * t;
        seen[t] = ints_load(g->c.seen + c);
        from[t] = ints_load(g->c.from + c);
        lse[t] = vec_load(g->lse + c);
        delta[t] = vec_load(g->delta + c);
    }
    for (long j = w->first * TILE_K; j < w->last * TILE_K; j += 2) {
        vf row[2] = {{0}};
        for (int odd = 0; odd < 2; odd++) {
            const long at = (chunk * AT_KEYS + j + odd) * TILE_K, in = (j + odd) * AT_CHUNK;
            vf p[2] = {{0}}, d[2] = {{0}};
            UNROLL
            for (int t = 0; t <= wide; t++) {
                if (j + odd >= w->end) break;
                vf x = vec_load(g->s + in + 16 * t) * scale, slope = scale;
                if (a->softcap > 0) { /* the cap's slope: 1 - tanh^2 */
                    x = soft_cap(x, a->softcap);
                    const vf c = x * vec_set(1 / a->softcap);
                    slope = scale * (vec_set(1.0f) - c * c);
                }
                p[t] = vec_select(sees(seen[t], from[t], j0 + j + odd), weight_exp(x - lse[t]), (vf){0});
                d[t] = p[t] * (vec_load(g->d_p + in + 16 * t) - delta[t]) * slope;
            }
            row[odd] = vec_pairs(d[0], d[1]);
            vec_store((float *)(void *)(g->p + at), vec_pairs(p[0], p[1]));
            vec_store((float *)(void *)(g->d_s + at), row[odd]);
        }
        weights_pair(g->d_s_pairs, j / 2, row[0], row[1]);
    }
}

VEC_INLINE void bwd_chunk(const int wide, struct attn_bwd *g, const struct attn *a, long chunk, long j0, int begin)
{
    const long steps = steps_of(a->D), at = chunk * 2 * steps * TILE;
    const struct view *w = &g->view[chunk];
    tiles_scores(wide, g->s, g->k, g->q + at, w->first, w->last, a->D);
    tiles_scores(wide, g->d_p, g->v, g->d_o + at, w->first, w->last, a->D);
    gradient_block(wide, g, a, chunk, j0, w);
    tiles_values(wide, g->d_q + chunk * steps * SUMS_STEP, begin, g->k_turned, g->d_s_pairs, w->first, w->last, a->D);
}

/* Rows of step `step` of a block of keys, n of them from row `to` on: += weights (p or d_s) times packed columns. */
VEC_INLINE void add_keys(float *to, long ld, long n, const struct attn_bwd *g, const uint16_t *weights,
                         const uint16_t *columns, long chunks, long step, long D)
{
    const long steps = steps_of(D);
    long first = 0, last = chunks; /* of the chunks that see the step's keys: they stand side by side */
    while (first < last && !(g->view[first].first <= step && step < g->view[first].last)) first++;
    while (first < last && !(g->view[last - 1].first <= step && step < g->view[last - 1].last)) last--;
    for (long d = 0; d < steps && first < last; d++) {
        float *y = to + d * 32;
        const long left = D - d * 32;
        sums_load(0, y, ld, n, left);
        sums_load(1, y + 16, ld, n, left - 16);
        sums_load(2, y + 16 * ld, ld, n - 16, left);
        sums_load(3, y + 16 * ld + 16, ld, n - 16, left - 16);
        tiles_2x2(1,
                  (struct factor){weights + (first * AT_KEYS / TILE_ROWS + 2 * step) * TILE, TILE,
                                  AT_KEYS / TILE_ROWS * TILE},
                  (struct factor){columns + (first * steps + d) * 2 * TILE, TILE, steps * 2 * TILE}, last - first);
        sums_store(0, y, ld, n, left);
        sums_store(1, y + 16, ld, n, left - 16);
        sums_store(2, y + 16 * ld, ld, n - 16, left);
        sums_store(3, y + 16 * ld + 16, ld, n - 16, left - 16);
    }
}

/* d_o . o of each column: lanes along the values, folded by turning 16 columns. */
static void columns_delta(struct attn_bwd *g, const float *d_o, const float *o, long D)
{
    const struct rows x = {.base = d_o, .at = g->c.o, .n = g->c.n, .D = D};
    for (long i = 0; i < x.n; i += 16) {
        _Alignas(64) float turned[16][16] = {{0}};
        for (long k = 0; k < 16 && i + k < x.n; k++) {
            const float *p = d_o + g->c.o[i + k], *r = o + g->c.o[i + k];
            vf acc = {0};
            long d = 0;
            for (; d + VW <= D; d += VW) acc = vec_fma(vec_load(p + d), vec_load(r + d), acc);
            if (d < D) acc = vec_fma(vec_load_n(p + d, D - d), vec_load_n(r + d, D - d), acc);
            vec_store(turned[k], acc);
        }
        tile_transpose(turned[0], 16, turned[0], 16);
        vf sum = {0};
        for (int k = 0; k < 16; k++) sum += vec_load(turned[k]);
        vec_store(g->delta + i, sum);
    }
}

struct grads {
    float *d_q, *d_k, *d_v; /* of the KV head and sequence: d_k, d_v */
    const float *d_o, *q, *k, *v, *o, *lse;
};

/* Columns first .. first + n. */
static void bwd_columns(const struct attn *a, const struct grads *x, int b, int kv_head, long first, long n)
{
    struct attn_bwd g;
    const long D = a->D, steps = steps_of(D);
    columns_of(&g.c, a, b, kv_head, first, n);
    const long chunks = columns_chunks(&g.c), keys = g.c.seen[n - 1];
    int begun[AT_BACK / AT_CHUNK] = {0};
    for (long i = 0; i < chunks * AT_CHUNK; i++) {
        g.lse[i] = i < n ? x->lse[g.c.lse[i]] : 0;
        g.delta[i] = 0;
        g.one[i] = 1;
    }
    columns_delta(&g, x->d_o, x->o, D);
    const struct rows q = {.base = x->q, .at = g.c.q, .n = n, .D = D},
                      d_o = {.base = x->d_o, .at = g.c.o, .n = n, .D = D};
    pack_lines(1, g.q, &q);
    pack_lines(1, g.d_o, &d_o);
    pack_pairs(0, g.q_pairs, &q);
    pack_pairs(0, g.d_o_pairs, &d_o);
    for (long j0 = g.c.from[0] / AT_KEYS * AT_KEYS; j0 < keys; j0 += AT_KEYS) {
        const long jn = keys - j0 < AT_KEYS ? keys - j0 : AT_KEYS;
        const struct rows k = {.base = x->k + j0 * a->ldk, .ld = a->ldk, .n = jn, .D = D},
                          v = {.base = x->v + j0 * a->ldv, .ld = a->ldv, .n = jn, .D = D};
        pack_lines(0, g.k, &k);
        pack_lines(0, g.v, &v);
        pack_pairs(1, g.k_turned, &k);
        for (long i = 0; i < chunks; i++) {
            g.view[i] = view_of(&g.c, i, j0);
            if (!g.view[i].last) continue;
            if (g.view[i].wide)
                bwd_chunk(1, &g, a, i, j0, !begun[i]);
            else
                bwd_chunk(0, &g, a, i, j0, !begun[i]);
            begun[i] = 1;
        }
        for (long s = 0; s * TILE_K < jn; s++) {
            const long j = j0 + s * TILE_K, rows = a->kv_len[b] - j;
            add_keys(x->d_v + j * a->ldv, a->ldv, rows, &g, g.p, g.d_o_pairs, chunks, s, D);
            add_keys(x->d_k + j * a->ldk, a->ldk, rows, &g, g.d_s, g.q_pairs, chunks, s, D);
        }
    }
    for (long i = 0; i < chunks; i++) columns_store(&g.c, i, x->d_q, g.c.q, g.d_q + i * steps * SUMS_STEP, g.one, D);
}

static void attn_tiles_bwd(const struct attn *a, float *d_q, float *d_k, float *d_v, const float *d_o, const float *q,
                           const float *k, const float *v, const float *o, const float *lse, int b, int kv_head)
{
    const long all = (long)a->q_len[b] * (a->H / a->K);
    const long k0 = (long)a->kv_start[b] * a->ldk + kv_head * a->D, v0 = (long)a->kv_start[b] * a->ldv + kv_head * a->D;
    const struct grads x = {d_q, d_k + k0, d_v + v0, d_o, q, k + k0, v + v0, o, lse};
    tiles_ready();
    for (long j = 0; j < a->kv_len[b]; j++) {
        memset(x.d_k + j * a->ldk, 0, (size_t)a->D * sizeof *d_k);
        memset(x.d_v + j * a->ldv, 0, (size_t)a->D * sizeof *d_v);
    }
    for (long c = 0; c < all; c += AT_BACK) bwd_columns(a, &x, b, kv_head, c, all - c < AT_BACK ? all - c : AT_BACK);
}

#endif
