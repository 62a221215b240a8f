/* encoder.c: see encoder.h. A few rows once per update: the ops of the bottleneck, in f32. */
#include "libcommon/peft/encoder.h"
#include <math.h>
#include <string.h>

void encoder_linear(struct adapter *a, int out, int in, bool zero, const char *name)
{
    const enum init init = zero ? INIT_ZERO : INIT_UNIFORM;
    param_add(a, NULL, 0, out, in, init, 1 / sqrt(in), "%s.weight", name);
    param_add(a, NULL, 0, out, 0, init, 1 / sqrt(in), "%s.bias", name);
}

struct mlp_layer {
    struct linear l;
    float *z;       /* [n][out] */
    float *y, *d_y; /* f(z); of the last layer z, and the gradient of that */
};
struct mlp {
    struct derived d;
    const struct ops *ops;
    struct op_ctx cx;
    enum act f;
    int layers;
    struct rows in;
    struct mlp_layer layer[];
};

static const float *input(const struct mlp *m, int i) { return i ? m->layer[i - 1].y : m->in.v; }

static int refresh(const struct derived *d)
{
    const struct mlp *m = (const struct mlp *)d;
    int s = DEV_OK;
    for (int i = 0; i < m->layers && !s; i++) {
        const struct mlp_layer *x = &m->layer[i];
        s = m->ops->linear_fwd(&m->cx, x->z, x->l.out, NULL, 0, input(m, i), x->l.in, NULL, &x->l, NULL, m->in.n);
        if (!s && x->y != x->z) s = m->ops->act_fwd(&m->cx, x->y, x->z, m->in.n * x->l.out, m->f);
    }
    return s;
}

static int fold(const struct derived *d)
{
    const struct mlp *m = (const struct mlp *)d;
    int s = DEV_OK;
    for (int i = m->layers; i-- > 0 && !s;) {
        const struct mlp_layer *x = &m->layer[i];
        const long n = m->in.n * x->l.out;
        float *d_x = i ? m->layer[i - 1].d_y : m->in.d_v;
        if (x->y != x->z) s = m->ops->act_bwd(&m->cx, x->d_y, x->d_y, x->z, n, m->f);
        if (!s)
            s = m->ops->linear_bwd(&m->cx, d_x, x->l.in, i == 0, x->d_y, x->l.out, input(m, i), x->l.in, NULL, &x->l,
                                   NULL, m->in.n);
    }
    const struct mlp_layer *last = &m->layer[m->layers - 1];
    memset(last->d_y, 0, (size_t)(m->in.n * last->l.out) * sizeof *last->d_y);
    return s;
}

struct linear encoder_linear_of(const struct adapter *a, const struct param *w)
{
    struct linear l = {.n = 1, .in = w->cols, .out = w->rows};
    l.part[0] = (struct lin_part){.w = {a->data + w->off, DT_F32, w->rows, w->cols}, .bias = a->data + w[1].off};
    l.part[0].s.d_w = param_grad(a, w);
    l.part[0].s.d_bias = param_grad(a, w + 1);
    return l;
}

int encoder_mlp(const struct adapter *a, const struct param *p, int layers, enum act f, struct rows in, struct hooks *h,
                struct rows *out, struct err *e)
{
    struct mlp *m = hooks_alloc(h, 1, sizeof *m + (size_t)layers * sizeof *m->layer);
    *m = (struct mlp){.d = {refresh, a->grad ? fold : NULL}, .ops = h->m->ops, .f = f, .layers = layers, .in = in};
    m->cx = (struct op_ctx){.dev = h->m->dev, .act = DT_F32, .prec = DT_F32};
    for (int i = 0; i < layers; i++) {
        struct mlp_layer *x = &m->layer[i];
        x->l = encoder_linear_of(a, p + 2 * i);
        const size_t n = (size_t)in.n * (size_t)x->l.out, need = op_linear_scratch(&m->cx, &x->l, in.n);
        x->z = hooks_alloc(h, n, sizeof *x->z);
        x->y = i + 1 < layers ? hooks_alloc(h, n, sizeof *x->y) : x->z;
        x->d_y = a->grad ? hooks_alloc(h, n, sizeof *x->d_y) : NULL;
        if (need > m->cx.scratch_bytes) m->cx.scratch_bytes = need;
    }
    m->cx.scratch = hooks_alloc(h, m->cx.scratch_bytes, 1);
    const struct mlp_layer *last = &m->layer[layers - 1];
    *out = (struct rows){last->y, last->d_y, in.n, last->l.out};
    return hooks_derive(h, &m->d, e);
}
