/* linear_internal: what the forward and the backward file of linear share; nobody else includes it. */
#ifndef KERNELS_LINEAR_INTERNAL_H
#define KERNELS_LINEAR_INTERNAL_H
#include "kernels/gemm.h"
#include "kernels/ops.h"

/* Where things lie in scratch; bytes is the need. NULL: not needed by this call. */
struct lin_layout {
    float *x;                   /* [T][lanes of K]: x packed: padded, or as bf16 */
    float *gained_x[LIN_PARTS]; /* [T][lanes of K]: x * gain_in, or the dropped x of gain_drops, packed likewise */
    float *rest;                /* forward: [T][lanes of K]: x less the dropped one */
    float *drop;                /* [T][Kp]: drop(x), or x padded, or x * gain_in, f32 */
    float *raw[LIN_PARTS];      /* forward: [T][N_i] outputs before gain, unless they are kept */
    float *d_raw[LIN_PARTS];    /* backward: [T][N_i] d_y * gain */
    float *d_diff;              /* backward: [T][N of the widest part]: d_y * gain - d_y */
    float *d_y;                 /* backward: [T][lanes of the widest part]: d_y of a part as bf16 */
    float *d_xg;                /* backward: [T][K]: gradient of x * gain_in */
    float *d_h;                 /* backward: [T][max r] */
    size_t bytes;
};
struct lin_layout lin_layout(const struct op_ctx *cx, const struct linear *l, long T, int backward);

/* Is there dropout on this path in this call? */
static inline int lin_dropped(const struct lowrank *p, const struct lin_rows *rows)
{
    return p->drop_p > 0 && rows && rows->uid;
}

/* Does W read a dropped x too in this call? */
static inline int lin_splits(const struct lin_part *p, const struct lin_rows *rows)
{
    return p->s.gain_drops && lin_dropped(&p->s.low[0], rows);
}

/* The rows of a path. */
static inline struct span lin_span(const struct lowrank *p, const struct lin_rows *rows, long T)
{
    return p->span < 0 ? (struct span){0, (int32_t)T} : rows->span[p->span];
}

int lin_check(const struct op_ctx *cx, const struct linear *l, const struct lin_rows *rows, const struct lin_layout *s,
              long T, const char *op);
/* out [n][Kp] = drop(x) of the rows from `first` on, zero-padded. */
void lin_drop(const struct op_ctx *cx, float *out, const float *x, long ldx, struct span at, long K,
              const struct lowrank *p, const struct lin_rows *rows);
/* d_x += drop'(d), d [n][Kp]. */
void lin_undrop(const struct op_ctx *cx, float *d_x, long ld_dx, const float *d, struct span at, long K,
                const struct lowrank *p, const struct lin_rows *rows);
/* out row t = a row t - b row t, n columns; each with its stride. */
void lin_less(const struct op_ctx *cx, float *out, long out_row, const float *a, long a_row, const float *b, long b_row,
              long T, long n);
/* out row t (out_row apart) = (base row t, if any) + x row t * gain, n columns; then zeros up to `padded` columns. */
void lin_scale_rows(const struct op_ctx *cx, float *out, long out_row, const float *base, long base_row, const float *x,
                    long x_row, const float *gain, long T, long n, long padded);
#endif
