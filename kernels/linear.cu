/* linear.cu: CUDA twin of linear.c: base products by cublasLt, the adapter's side path by lowrank.cuh.
 *
 * Weights are f32, bf16 or f16 (quantised: DEV_UNSUPPORTED). Activations that a product needs in another type are
 * converted as one array, so their rows must be packed; res has y's stride. Parts whose matrices lie one after the
 * other are one product. Of a slot it takes one low-rank path over all rows; what else a slot may hold is refused.
 * Bits: a row's base product is the same in every call with as many rows (cublasLt chooses by shape); the side path of
 * a row is the same in every call. */
#include <string.h>
#include "kernels/cublaslt.h"
#include "kernels/lowrank.cuh"
#include "kernels/ops.h"
#include "kernels/strides.h"

/* Adjacent parts as one matrix [rows][in], at columns [col, col + rows) of y. */
struct stretch {
    const void *data;
    enum dtype dtype;
    int rows, col;
};

static int stretches_of(const struct linear *l, struct stretch *stretch)
{
    int n = 0, col = 0;
    for (int i = 0; i < l->n; i++) {
        const struct mat *w = &l->part[i].w;
        struct stretch *s = n ? &stretch[n - 1] : NULL;
        if (s && s->dtype == w->dtype &&
            (const char *)s->data + (size_t)s->rows * dtype_row_bytes(s->dtype, l->in) == w->data)
            s->rows += w->rows;
        else
            stretch[n++] = (struct stretch){w->data, w->dtype, w->rows, col};
        col += w->rows;
    }
    return n;
}

/* What this twin lacks of the contract, for the message; NULL: nothing. */
static const char *missing(const struct linear *l)
{
    for (int i = 0; i < l->n; i++) {
        const struct lin_slot *s = &l->part[i].s;
        if (s->n_low > 1) return "several adapters on one projection";
        if (s->n_low && s->low[0].span >= 0) return "an adapter on some of the rows";
        if (s->gain || s->gain_in) return "gains";
        if (s->d_w) return "gradients of weights";
        if (s->d_bias) return "gradients of biases";
    }
    return NULL;
}

/* The path of a part; r 0: none. */
static struct lowrank path_of(const struct lin_part *p)
{
    struct lowrank none;
    memset(&none, 0, sizeof none);
    return p->s.n_low ? p->s.low[0] : none;
}

static bool dropped(const struct lowrank *p, const struct lin_rows *rows)
{
    return p->drop_p > 0.0f && rows && rows->uid;
}

/* Groups of parts that share one pass; parts without an adapter fall out. */
static int groups_of(const struct linear *l, const struct lin_rows *rows, struct lowrank_group *group)
{
    int n = 0, off = 0;
    bool any = false;
    for (int i = 0; i < l->n; i++) {
        const struct lowrank p = path_of(&l->part[i]);
        any = any || dropped(&p, rows);
    }
    if (l->rank > 0 && !any) {
        group[n++] = (struct lowrank_group){0, l->n, 0, l->rank};
        return n;
    }
    for (int i = 0; i < l->n; i++) {
        const int r = path_of(&l->part[i]).r;
        if (r > 0) group[n++] = (struct lowrank_group){i, 1, off, r};
        off += r;
    }
    return n;
}

static struct lowrank_mask mask_of(const struct linear *l, const struct lowrank_group *g, const struct lin_rows *rows)
{
    const struct lowrank p = path_of(&l->part[g->first]);
    struct lowrank_mask m = {0, 0, 1.0f, NULL, NULL};
    if (!dropped(&p, rows)) return m;
    m.key = dropout_key(rows->seed, p.key);
    m.threshold = dropout_threshold(p.drop_p);
    m.keep_scale = 1.0f / (1.0f - p.drop_p);
    m.step = rows->step;
    m.uid = rows->uid;
    return m;
}

template <typename P, typename F>
static struct lowrank_stack<P> stack_of(const struct linear *l, const struct lowrank_group *g, F matrix) {
    const struct lowrank p0 = path_of(&l->part[g->first]);
    struct lowrank_stack<P> s = {
        matrix(p0), NULL, NULL, p0.r, 0, l->in
    };
    s.end1 = s.end0;
    if (g->count > 1) {
        const struct lowrank p1 = path_of(&l->part[g->first + 1]);
        s.p1 = matrix(p1), s.end1 += p1.r;
    }
    if (g->count > 2) s.p2 = matrix(path_of(&l->part[g->first + 2]));
    return s;
} static struct lowrank_stack<const float> stack_a(const struct linear *l, const struct lowrank_group *g) {
    return stack_of<const float>(l, g, [](const struct lowrank &p) { return p.a; });
} static struct lowrank_stack<float> stack_d_a(const struct linear *l, const struct lowrank_group *g) {
    return stack_of<float>(l, g, [](const struct lowrank &p) { return p.d_a; });
}

struct lin_plan {
    size_t g, act, weight, out, bytes; /* offsets into scratch */
};

static struct lin_plan plan_of(const struct op_ctx *cx, const struct linear *l, long T)
{
    struct stretch stretch[LIN_PARTS];
    const int n = stretches_of(l, stretch);
    const size_t wide = l->in > l->out ? l->in : l->out;
    size_t act = 0, weight = 0, out = 0;
    for (int i = 0; i < n; i++) {
        const enum dtype in = cuda_operand(cx, stretch[i].dtype);
        const size_t e = cuda_act_bytes(in), wb = (size_t)stretch[i].rows * l->in * e;
        if (in != cx->act && T * wide * e > act) act = T * wide * e;
        if (in != stretch[i].dtype && wb > weight) weight = wb;
        if (cuda_via_f32(cx, in)) out = T * wide * 4;
    }
    struct lin_plan p;
    p.bytes = 0;
    p.g = cuda_take(&p.bytes, (size_t)T * l->rank * 4);
    p.act = cuda_take(&p.bytes, act);
    p.weight = cuda_take(&p.bytes, weight);
    p.out = cuda_take(&p.bytes, out);
    return p;
}

size_t cuda_linear_scratch(const struct op_ctx *cx, const struct linear *l, long T) { return plan_of(cx, l, T).bytes; }

/* What the base products of one call read: the activations and a stretch's weights, converted where they must be. */
struct operands {
    const void *act, *weight;
    enum dtype act_type; /* of act as it is now */
};

static int operands_for(const struct op_ctx *cx, const struct lin_plan *p, struct operands *o, const void *act, long n,
                        const struct stretch *s, long K)
{
    const enum dtype in = cuda_operand(cx, s->dtype);
    char *scratch = (char *)cx->scratch;
    int rc = DEV_OK;
    if (in == cx->act) {
        o->act = act;
    } else if (o->act_type != in || o->act == act) { /* not yet converted for an earlier stretch */
        rc = cuda_convert(cx, scratch + p->act, in, act, cx->act, n);
        o->act = scratch + p->act;
    }
    o->act_type = in;
    o->weight = s->data;
    if (!rc && in != s->dtype) {
        rc = cuda_convert(cx, scratch + p->weight, in, s->data, s->dtype, s->rows * K);
        o->weight = scratch + p->weight;
    }
    return rc;
}

static int check(const struct op_ctx *cx, const char *op, const struct linear *l, const struct lin_kept *kept,
                 const struct lin_plan *p)
{
    const char *what = missing(l);
    if (what) return dev_fail(cx->dev, DEV_UNSUPPORTED, "%s on CUDA: %s: not supported yet", op, what);
    if (l->rank && !(kept && kept->h))
        return dev_fail(cx->dev, DEV_FAILED, "%s: no h, which is kept from the forward to the backward pass", op);
    if (p->bytes <= cx->scratch_bytes) return DEV_OK;
    return dev_fail(cx->dev, DEV_FAILED, "%s: scratch of %zu bytes, %zu needed", op, cx->scratch_bytes, p->bytes);
}

/* What the products read, x or d_y. */
static int check_packed(const struct op_ctx *cx, const char *op, const struct linear *l, const struct op_rows *in)
{
    for (int i = 0; i < l->n && in->ld != in->width; i++)
        if (cuda_operand(cx, l->part[i].w.dtype) != cx->act)
            return dev_fail(cx->dev, DEV_UNSUPPORTED,
                            "%s on CUDA: %s %ld for rows of %ld that are to be converted: not supported yet", op,
                            in->name, in->ld, in->width);
    return DEV_OK;
}

/* y = (res) + x W^T */
static int base_fwd(const struct op_ctx *cx, const struct lin_plan *p, void *y, long ldy, const void *res,
                    const void *x, long ldx, const struct linear *l, long T)
{
    struct stretch stretch[LIN_PARTS];
    const int n = stretches_of(l, stretch);
    struct operands o = {x, NULL, cx->act};
    const size_t e = cuda_act_bytes(cx->act);
    for (int i = 0; i < n; i++) {
        const struct stretch *s = &stretch[i];
        int rc = operands_for(cx, p, &o, x, T * l->in, s, l->in);
        if (rc) return rc;
        const bool via = cuda_via_f32(cx, o.act_type);
        char *to = (char *)y + s->col * e;
        const char *add = res ? (const char *)res + s->col * e : NULL;
        float *f32 = (float *)((char *)cx->scratch + p->out);
        struct matmul g = {T,
                           s->rows,
                           l->in,
                           o.act_type,
                           via ? DT_F32 : cx->act,
                           o.act,
                           o.weight,
                           add,
                           via ? (void *)f32 : to,
                           ldx,
                           l->in,
                           via ? s->rows : ldy,
                           1,
                           1.0f,
                           add && !via ? 1.0f : 0.0f};
        rc = cublaslt_gemm(cx->dev, &g);
        if (!rc && via) rc = cuda_add_rows(cx, to, add, f32, T, s->rows, ldy);
        if (rc) return rc;
    }
    return DEV_OK;
}

template <typename T_>
static int side_fwd(const struct op_ctx *cx, T_ *y, long ldy, const T_ *x, long ldx, float *h, const struct linear *l,
                    const struct lin_rows *rows, long T)
{
    struct lowrank_group group[LIN_PARTS];
    const int n = groups_of(l, rows, group);
    for (int i = 0; i < n; i++) {
        const struct lowrank_group *g = &group[i];
        const struct lowrank_input<T_> in = {
            x, ldx, mask_of(l, g, rows)
        };
        const struct lowrank_a_t a = {stack_a(l, g)};
        const struct lowrank_put put = {h + g->off, l->rank, 1.0f};
        int rc = tile_deep<true, true>(cx, "linear_fwd (h)", T, g->r, l->in, in, a, put);
        if (rc) return rc;
    }
    int col = 0, off = 0;
    for (int i = 0; i < l->n; i++) {
        const struct lin_part *part = &l->part[i];
        const struct lowrank p = path_of(part);
        if (p.r > 0 || part->bias) {
            const struct lowrank_array<float> hi = {
                h + off, l->rank
            };
            const struct lowrank_array_t<float> b = {
                p.b, p.r
            };
            const struct lowrank_add<T_> add = {
                y + col, ldy, p.scale, part->bias
            };
            int rc = tile_flat<true, true>(cx, "linear_fwd (side path)", T, part->w.rows, p.r, hi, b, add);
            if (rc) return rc;
        }
        col += part->w.rows, off += p.r;
    }
    return DEV_OK;
}

int cuda_linear_fwd(const struct op_ctx *cx, void *y, long ldy, const void *res, long ldres, const void *x, long ldx,
                    const struct lin_kept *kept, const struct linear *l, const struct lin_rows *rows, long T)
{
    const struct lin_plan p = plan_of(cx, l, T);
    const struct op_rows strides[] = {{"ldy", y, ldy, l->out}, {"ldres", res, ldres, l->out}, {"ldx", x, ldx, l->in}};
    float *h = kept ? kept->h : NULL;
    int rc = check(cx, "linear_fwd", l, kept, &p);
    if (!rc) rc = op_strides(cx, "linear_fwd", strides, 3);
    if (!rc) rc = check_packed(cx, "linear_fwd", l, &strides[2]);
    if (!rc && res && ldres != ldy)
        rc = dev_fail(cx->dev, DEV_UNSUPPORTED, "linear_fwd on CUDA: ldres %ld beside ldy %ld: not supported yet",
                      ldres, ldy);
    if (!rc) rc = base_fwd(cx, &p, y, ldy, res, x, ldx, l, T);
    if (rc) return rc;
    if (cx->act == DT_BF16)
        return side_fwd<__nv_bfloat16>(cx, (__nv_bfloat16 *)y, ldy, (const __nv_bfloat16 *)x, ldx, h, l, rows, T);
    return side_fwd<float>(cx, (float *)y, ldy, (const float *)x, ldx, h, l, rows, T);
}

/* d_x = (d_x) + d_y W */
static int base_bwd(const struct op_ctx *cx, const struct lin_plan *p, void *d_x, long ld_dx, int add_dx,
                    const void *d_y, long ld_dy, const struct linear *l, long T)
{
    struct stretch stretch[LIN_PARTS];
    const int n = stretches_of(l, stretch);
    struct operands o = {d_y, NULL, cx->act};
    for (int i = 0; i < n; i++) {
        const struct stretch *s = &stretch[i];
        int rc = operands_for(cx, p, &o, d_y, T * l->out, s, l->in);
        if (rc) return rc;
        const bool via = cuda_via_f32(cx, o.act_type), add = add_dx || i > 0;
        float *f32 = (float *)((char *)cx->scratch + p->out);
        struct matmul g = {T,
                           l->in,
                           s->rows,
                           o.act_type,
                           via ? DT_F32 : cx->act,
                           (const char *)o.act + s->col * cuda_act_bytes(o.act_type),
                           o.weight,
                           d_x,
                           via ? (void *)f32 : d_x,
                           ld_dy,
                           l->in,
                           via ? l->in : ld_dx,
                           0,
                           1.0f,
                           add && !via ? 1.0f : 0.0f};
        rc = cublaslt_gemm(cx->dev, &g);
        if (!rc && via) rc = cuda_add_rows(cx, d_x, add ? d_x : NULL, f32, T, l->in, ld_dx);
        if (rc) return rc;
    }
    return DEV_OK;
}

/* g_i = scale_i d_y_i B_i, and d_b_i */
template <typename T_>
static int side_bwd_parts(const struct op_ctx *cx, float *g, const T_ *d_y, long ld_dy, const float *h,
                          const struct linear *l, bool want_g, long T)
{
    int col = 0, off = 0, rc = DEV_OK;
    for (int i = 0; i < l->n && !rc; i++) {
        const struct lowrank p = path_of(&l->part[i]);
        const int N = l->part[i].w.rows;
        if (p.r > 0 && want_g) {
            const struct lowrank_array<T_> dy = {
                d_y + col, ld_dy
            };
            const struct lowrank_array<float> b = {
                p.b, p.r
            };
            const struct lowrank_put put = {g + off, l->rank, p.scale};
            rc = tile_deep<true, false>(cx, "linear_bwd (g)", T, p.r, N, dy, b, put);
        }
        if (p.r > 0 && p.d_b && !rc) {
            const struct lowrank_array_t<T_> dy = {
                d_y + col, ld_dy
            };
            const struct lowrank_array<float> hi = {
                h + off, l->rank
            };
            const struct lowrank_add<float> add = {
                p.d_b, p.r, p.scale, NULL
            };
            rc = tile_deep<false, false>(cx, "linear_bwd (d_b)", N, p.r, T, dy, hi, add);
        }
        col += N, off += p.r;
    }
    return rc;
}

template <typename T_>
static int side_bwd(const struct op_ctx *cx, const struct lin_plan *p, T_ *d_x, long ld_dx, const T_ *d_y, long ld_dy,
                    const T_ *x, long ldx, const float *h, const struct linear *l, const struct lin_rows *rows, long T)
{
    float *g = (float *)((char *)cx->scratch + p->g);
    bool want_a = false;
    for (int i = 0; i < l->n; i++) want_a = want_a || path_of(&l->part[i]).d_a;
    int rc = side_bwd_parts<T_>(cx, g, d_y, ld_dy, h, l, want_a || d_x, T);
    struct lowrank_group group[LIN_PARTS];
    const int n = groups_of(l, rows, group);
    for (int i = 0; i < n && !rc; i++) {
        const struct lowrank_group *gr = &group[i];
        const struct lowrank_mask mask = mask_of(l, gr, rows);
        const struct lowrank_array<float> gi = {
            g + gr->off, l->rank
        };
        if (want_a) {
            const struct lowrank_input_t<T_> in = {
                {
                    x, ldx, mask
                }
            };
            const struct lowrank_add_stack add = {stack_d_a(l, gr)};
            rc = tile_deep<false, false>(cx, "linear_bwd (d_a)", l->in, gr->r, T, in, gi, add);
        }
        if (d_x && !rc) {
            const struct lowrank_a a = {stack_a(l, gr)};
            const struct lowrank_add_masked<T_> add = {
                d_x, ld_dx, mask
            };
            rc = tile_flat<true, false>(cx, "linear_bwd (d_x)", T, l->in, gr->r, gi, a, add);
        }
    }
    return rc;
}

int cuda_linear_bwd(const struct op_ctx *cx, void *d_x, long ld_dx, int add_dx, const void *d_y, long ld_dy,
                    const void *x, long ldx, const struct lin_kept *kept, const struct linear *l,
                    const struct lin_rows *rows, long T)
{
    const struct lin_plan p = plan_of(cx, l, T);
    const struct op_rows strides[] = {
        {"ld_dx", d_x, ld_dx, l->in}, {"ld_dy", d_y, ld_dy, l->out}, {"ldx", x, ldx, l->in}};
    int rc = check(cx, "linear_bwd", l, kept, &p);
    if (!rc) rc = op_strides(cx, "linear_bwd", strides, 3);
    if (!rc && d_x) rc = check_packed(cx, "linear_bwd", l, &strides[1]);
    if (!rc && d_x) rc = base_bwd(cx, &p, d_x, ld_dx, add_dx, d_y, ld_dy, l, T);
    if (rc || l->rank == 0) return rc;
    if (cx->act == DT_BF16)
        return side_bwd<__nv_bfloat16>(cx, &p, (__nv_bfloat16 *)d_x, ld_dx, (const __nv_bfloat16 *)d_y, ld_dy,
                                       (const __nv_bfloat16 *)x, ldx, kept->h, l, rows, T);
    return side_bwd<float>(cx, &p, (float *)d_x, ld_dx, (const float *)d_y, ld_dy, (const float *)x, ldx, kept->h, l,
                           rows, T);
}
