/* attention_tiles: what forward and backward attention on tiles share: columns of scores, factors packed into tiles,
 * sums of 2 x 2 tiles. Included only by attention_body.h.
 *
 * Scores stand turned: a row is a key, a column is a query of one head, so that softmax, masks and rescaling run along
 * lanes without a fold, and rows of K and V are left factors as they lie. All heads of a KV head are columns side by
 * side, c = query * group + head: tiles fill up with short rows and in generation too, and a key is packed once for
 * all. Columns are taken by chunks of two tiles, keys by blocks of AT_KEYS counted from key 0 of the sequence.
 *
 * A column's bits depend on its query and keys alone: a product's element is a function of its row and column
 * (tiles.h), a key that a column does not see has weight 0, and a weight of 0 changes no sum but for the sign of a
 * zero, which is lost at the end (columns_store). */
#ifndef KERNELS_ATTENTION_TILES_H
#define KERNELS_ATTENTION_TILES_H
#include <math.h>
#include "kernels/attention.h"
#include "kernels/tiles.h"

enum {
    AT_KEYS = 128,    /* keys of a block */
    AT_CHUNK = 32,    /* columns of two tiles */
    AT_COLUMNS = 256, /* columns that share a packed block of keys */
};

/* Columns first .. first + n of a sequence's scores with one KV head. */
struct columns {
    long n;
    long q[AT_COLUMNS], o[AT_COLUMNS], lse[AT_COLUMNS]; /* where its rows of q, o and lse begin */
    int32_t seen[AT_COLUMNS], from[AT_COLUMNS];         /* it sees keys from .. seen - 1; padding sees none */
};
static void columns_of(struct columns *c, const struct attn *a, int b, int kv_head, long first, long n)
{
    const long group = a->H / a->K, before = a->kv_len[b] - a->q_len[b] + 1;
    long query = first / group, head = first % group;
    c->n = n;
    for (long i = 0; i < n; i++) {
        const long row = a->q_start[b] + query, h = kv_head * group + head;
        c->q[i] = row * a->ldq + h * a->D;
        c->o[i] = row * a->ldo + h * a->D;
        c->lse[i] = row * a->H + h;
        c->seen[i] = (int32_t)(before + query);
        c->from[i] = (int32_t)attn_window_start(a, before + query);
        if (++head == group) head = 0, query++;
    }
    for (long i = n; i % AT_CHUNK; i++) c->seen[i] = c->from[i] = 0;
}
static long columns_chunks(const struct columns *c) { return (c->n + AT_CHUNK - 1) / AT_CHUNK; }

/* What a chunk has to do with the block of keys that begins at j0: keys before `end` of the block, in steps (of TILE_K
 * keys) first .. last; none: last is 0. */
struct view {
    long end, first, last;
    int wide; /* two tiles of columns, not one */
};
static struct view view_of(const struct columns *c, long chunk, long j0)
{
    const long c0 = chunk * AT_CHUNK, n = c->n - c0 < AT_CHUNK ? c->n - c0 : AT_CHUNK;
    const long seen = c->seen[c0 + n - 1] - j0, from = c->from[c0] - j0;
    struct view v = {.wide = n > TILE_ROWS};
    if (seen <= 0 || from >= AT_KEYS) return v;
    v.end = seen < AT_KEYS ? seen : AT_KEYS;
    v.first = from > 0 ? from / TILE_K : 0;
    v.last = (v.end + TILE_K - 1) / TILE_K;
    return v;
}

/* Rows of D values: row i begins at base + at[i], or at base + i * ld. */
struct rows {
    const float *base;
    const long *at;
    long ld, n, D;
};
VEC_INLINE const float *row_of(const struct rows *r, long i) { return r->base + (r->at ? r->at[i] : i * r->ld); }

static long steps_of(long D) { return (D + TILE_K - 1) / TILE_K; }

/* Values d .. d + 32 of row i, rounded; zeros where there are none. */
VEC_INLINE vf rounded_32(const struct rows *r, long i, long d)
{
    if (i >= r->n) return (vf){0};
    const float *p = row_of(r, i) + d;
    const long left = r->D - d;
    if (left >= TILE_K) return vec_pairs(vec_load(p), vec_load(p + VW));
    return vec_pairs(vec_load_n(p, left < VW ? left : VW), vec_load_n(p + VW, left < VW ? 0 : left - VW));
}

/* [rows / 16][steps] tiles of 16 rows by 32 values: left factors; turned: right ones, whose columns are the rows. The
 * number of rows is padded to two tiles. */
VEC_INLINE void pack_lines(const int turned, uint16_t *to, const struct rows *r)
{
    const long steps = steps_of(r->D), n = (r->n + AT_CHUNK - 1) / AT_CHUNK * AT_CHUNK;
    for (long i = 0; i < n; i += TILE_ROWS)
        for (long s = 0; s < steps; s++, to += TILE) {
            float *line = (float *)(void *)to;
            UNROLL16
            for (int p = 0; p < TILE_ROWS; p++) vec_store(line + 16 * p, rounded_32(r, i + p, s * TILE_K));
            if (turned) tile_transpose(line, 16, line, 16);
        }
}

/* [rows / 32][2 * steps] tiles of 16 pairs of rows by 16 values: right factors whose columns are the values; turned:
 * left ones, 16 values by 32 rows. */
VEC_INLINE void pack_pairs(const int turned, uint16_t *to, const struct rows *r)
{
    const long steps = steps_of(r->D);
    for (long i = 0; i < r->n; i += TILE_K)
        for (long s = 0; s < steps; s++, to += 2 * TILE) {
            float *left = (float *)(void *)to, *right = (float *)(void *)(to + TILE);
            UNROLL16
            for (int p = 0; p < TILE_ROWS; p++)
                tile_pair(left + 16 * p, right + 16 * p, rounded_32(r, i + 2 * p, s * TILE_K),
                          rounded_32(r, i + 2 * p + 1, s * TILE_K));
            if (turned) tile_transpose(left, 16, left, 16);
            if (turned) tile_transpose(right, 16, right, 16);
        }
}

/* Tiles one after another in a factor: from a tile of a pair to the other, and to the next step of the sum. */
struct factor {
    const uint16_t *tiles;
    long other, step;
};

/* Sums 0 .. 3 (rows 0, 0, 1, 1 by columns 0, 1, 0, 1) += `steps` steps of left and right; not wide: 0 and 2 alone. */
VEC_INLINE void tiles_2x2(const int wide, struct factor left, struct factor right, long steps)
{
    const uint16_t *a = left.tiles, *b = right.tiles;
    for (long s = 0; s < steps; s++, a += left.step, b += right.step) {
        tile_load(6, b, TILE_BYTES);
        tile_load(4, a, TILE_BYTES);
        tile_dot(0, 4, 6);
        tile_load(5, a + left.other, TILE_BYTES);
        tile_dot(2, 5, 6);
        if (!wide) continue;
        tile_load(7, b + right.other, TILE_BYTES);
        tile_dot(1, 4, 7);
        tile_dot(3, 5, 7);
    }
}

VEC_INLINE void tiles_zero(const int wide)
{
    tile_zero(0);
    tile_zero(2);
    if (wide) tile_zero(1);
    if (wide) tile_zero(3);
}
VEC_INLINE void tiles_store(const int wide, float *to0, float *to1, float *to2, float *to3, long row_bytes)
{
    tile_store(0, to0, row_bytes);
    tile_store(2, to2, row_bytes);
    if (wide) tile_store(1, to1, row_bytes);
    if (wide) tile_store(3, to3, row_bytes);
}

/* Scores of steps first .. last of a block of keys, [key][AT_CHUNK] at s: packed rows of keys (or values) by a chunk of
 * packed columns. */
VEC_INLINE void tiles_scores(const int wide, float *s, const uint16_t *keys, const uint16_t *columns, long first,
                             long last, long D)
{
    const long steps = steps_of(D), half = TILE_ROWS * AT_CHUNK;
    for (long k = first; k < last; k++) {
        float *to = s + k * 2 * half;
        tiles_zero(wide);
        tiles_2x2(wide, (struct factor){keys + k * 2 * steps * TILE, steps * TILE, TILE},
                  (struct factor){columns, steps * TILE, TILE}, steps);
        tiles_store(wide, to, to + 16, to + half, to + half + 16, AT_CHUNK * sizeof *s);
    }
}

/* Sums of D values for each column of a chunk, turned: [steps][4] tiles of 16 values by 16 columns. They += values
 * (turned pairs of the rows of a block of keys) times weights ([step][2] tiles, pairs of keys by columns), over steps
 * first .. last; begin: they are 0 before. */
enum { SUM_TILE = 256, SUMS_STEP = 4 * SUM_TILE };
VEC_INLINE void tiles_values(const int wide, float *sums, int begin, const uint16_t *values, const uint16_t *weights,
                             long first, long last, long D)
{
    const long steps = steps_of(D), row = 2 * steps * TILE;
    for (long d = 0; d < steps; d++, sums += SUMS_STEP) {
        if (begin) {
            tiles_zero(wide);
        } else {
            tile_load(0, sums, TILE_BYTES);
            tile_load(2, sums + 2 * SUM_TILE, TILE_BYTES);
            if (wide) tile_load(1, sums + SUM_TILE, TILE_BYTES);
            if (wide) tile_load(3, sums + 3 * SUM_TILE, TILE_BYTES);
        }
        tiles_2x2(wide, (struct factor){values + first * row + 2 * d * TILE, TILE, row},
                  (struct factor){weights + first * 2 * TILE, TILE, 2 * TILE}, last - first);
        tiles_store(wide, sums, sums + SUM_TILE, sums + 2 * SUM_TILE, sums + 3 * SUM_TILE, TILE_BYTES);
    }
}

/* Two rows of weights, as 16 + 16 columns each, to line `pair` of weights' tiles (tiles_values). */
VEC_INLINE void weights_pair(uint16_t *weights, long pair, vf even, vf odd)
{
    float *to = (float *)(void *)(weights + pair / 16 * 2 * TILE + pair % 16 * TILE_K);
    tile_pair(to, to + TILE / 2, even, odd);
}

/* Which of 16 columns see key j; s begins at the chunk's columns. */
VEC_INLINE vi ints_load(const int32_t *p)
{
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}
VEC_INLINE vi sees(vi seen, vi from, long j)
{
    const vi key = (int32_t)j + (vi){0};
    return (key < seen) & (key >= from);
}

/* e^x, but 0 below e^-87: denormal numbers take a CPU a hundred times as long, and to tiles they are zeros anyway. */
VEC_INLINE vf weight_exp(vf x)
{
    const vf least = vec_set(-87.0f);
    return vec_select(x < least, (vf){0}, vec_exp(vec_select(x < least, least, x)));
}

/* cap * tanh(x / cap) */
VEC_INLINE vf soft_cap(vf x, float cap)
{
    const vf c = vec_set(cap), e = vec_exp(x * vec_set(2 / cap));
    return c - vec_set(2 * cap) / (e + vec_set(1.0f));
}

/* Sums of a chunk times a factor of each column, turned back, to the columns' rows at to + at[]. A zero becomes +0. */
VEC_INLINE void columns_store(const struct columns *c, long chunk, float *to, const long *at, const float *sums,
                              const float *factor, long D)
{
    for (long i = chunk * AT_CHUNK; i < c->n && i < (chunk + 1) * AT_CHUNK; i += 16)
        for (long d = 0; d < D; d += 16) {
            _Alignas(64) float turned[16][16];
            const float *from = sums + d / 32 * SUMS_STEP + (d / 16 % 2 * 2 + i / 16 % 2) * SUM_TILE;
            const long n = c->n - i < 16 ? c->n - i : 16, width = D - d < 16 ? D - d : 16;
            for (int k = 0; k < 16; k++)
                vec_store(turned[k], vec_load(from + 16 * k) * vec_load(factor + i) + vec_set(0.0f));
            tile_transpose(turned[0], 16, turned[0], 16);
            for (long k = 0; k < n; k++) {
                float *row = to + at[i + k] + d;
                if (width == 16)
                    vec_store(row, vec_load(turned[k]));
                else
                    vec_store_n(row, vec_load(turned[k]), width);
            }
        }
}
#endif
