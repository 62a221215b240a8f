/* encoder_lstm.c: a bidirectional LSTM over the rows of virtual tokens, once per update, in f32; gates in torch's
 * order: input, forget, cell, output. Source: Hochreiter & Schmidhuber 1997; torch.nn.LSTM. */
#include <math.h>
#include <string.h>
#include "libcommon/peft/encoder.h"

void encoder_lstm_declare(struct adapter *a, int layers, int H, int in, const char *name)
{
    const double spread = 1 / sqrt(H);
    for (int l = 0; l < layers; l++)
        for (int back = 0; back < 2; back++) {
            const char *end = back ? "_reverse" : "";
            param_add(a, NULL, 0, 4 * H, l ? 2 * H : in, INIT_UNIFORM, spread, "%s.weight_ih_l%d%s", name, l, end);
            param_add(a, NULL, 0, 4 * H, 0, INIT_UNIFORM, spread, "%s.bias_ih_l%d%s", name, l, end);
            param_add(a, NULL, 0, 4 * H, H, INIT_UNIFORM, spread, "%s.weight_hh_l%d%s", name, l, end);
            param_add(a, NULL, 0, 4 * H, 0, INIT_UNIFORM, spread, "%s.bias_hh_l%d%s", name, l, end);
        }
}

/* One direction of a layer. */
struct way {
    struct linear ih, hh;
    float *gates;  /* [n][4 H], after their activations */
    float *c, *tc; /* [n][H]: cells, and their tanh */
};
struct lstm_layer {
    struct way way[2];
    const float *x;
    float *d_x;     /* of the rows that the network reads added to, of a layer between overwritten */
    float *y, *d_y; /* [n][2 H] */
};
struct lstm {
    struct derived d;
    const struct ops *ops;
    struct op_ctx cx;
    long n, H;
    int layers;
    float *zero, *d_h, *d_c; /* [H] */
    float *d_gates;          /* [n][4 H], before the activations */
    struct lstm_layer layer[];
};

/* The step's row, and the one before it; the latter is none at the first step. */
static long row_of(const struct lstm *m, int back, long step) { return back ? m->n - 1 - step : step; }
static const float *before(const struct lstm *m, const float *rows, long ld, int back, long step)
{
    return step ? rows + row_of(m, back, step - 1) * ld : m->zero;
}

static int step(const struct lstm *m, const struct lstm_layer *l, int back, long s)
{
    const struct way *w = &l->way[back];
    const struct ops *ops = m->ops;
    const long H = m->H, t = row_of(m, back, s);
    float *g = w->gates + t * 4 * H, *c = w->c + t * H, *tc = w->tc + t * H, *y = l->y + t * 2 * H + back * H;
    const float *y_before = before(m, l->y + back * H, 2 * H, back, s), *c_before = before(m, w->c, H, back, s);
    int rc = ops->linear_fwd(&m->cx, g, 4 * H, g, 4 * H, y_before, H, NULL, &w->hh, NULL, 1);
    if (!rc) rc = ops->act_fwd(&m->cx, g, g, 2 * H, ACT_SIGMOID);
    if (!rc) rc = ops->act_fwd(&m->cx, g + 2 * H, g + 2 * H, H, ACT_TANH);
    if (!rc) rc = ops->act_fwd(&m->cx, g + 3 * H, g + 3 * H, H, ACT_SIGMOID);
    for (long j = 0; j < H; j++) c[j] = g[H + j] * c_before[j] + g[j] * g[2 * H + j];
    if (!rc) rc = ops->act_fwd(&m->cx, tc, c, H, ACT_TANH);
    for (long j = 0; j < H; j++) y[j] = g[3 * H + j] * tc[j];
    return rc;
}

static int refresh(const struct derived *d)
{
    const struct lstm *m = (const struct lstm *)d;
    int rc = DEV_OK;
    for (int i = 0; i < m->layers; i++)
        for (int back = 0; back < 2 && !rc; back++) {
            const struct lstm_layer *l = &m->layer[i];
            const struct linear *ih = &l->way[back].ih;
            rc = m->ops->linear_fwd(&m->cx, l->way[back].gates, ih->out, NULL, 0, l->x, ih->in, NULL, ih, NULL, m->n);
            for (long s = 0; s < m->n && !rc; s++) rc = step(m, l, back, s);
        }
    return rc;
}

/* d_h, d_c: what the step after hands back; become what this one hands to the step before. */
static int step_back(const struct lstm *m, const struct lstm_layer *l, int back, long s)
{
    const struct way *w = &l->way[back];
    const long H = m->H, t = row_of(m, back, s);
    const float *g = w->gates + t * 4 * H, *tc = w->tc + t * H, *d_y = l->d_y + t * 2 * H + back * H;
    const float *y_before = before(m, l->y + back * H, 2 * H, back, s), *c_before = before(m, w->c, H, back, s);
    float *d_g = m->d_gates + t * 4 * H;
    for (long j = 0; j < H; j++) {
        const float in = g[j], keep = g[H + j], cell = g[2 * H + j], out = g[3 * H + j];
        const float d_h = d_y[j] + m->d_h[j], d_c = m->d_c[j] + d_h * out * (1 - tc[j] * tc[j]);
        d_g[j] = d_c * cell * in * (1 - in);
        d_g[H + j] = d_c * c_before[j] * keep * (1 - keep);
        d_g[2 * H + j] = d_c * in * (1 - cell * cell);
        d_g[3 * H + j] = d_h * tc[j] * out * (1 - out);
        m->d_c[j] = d_c * keep;
    }
    return m->ops->linear_bwd(&m->cx, m->d_h, H, 0, d_g, 4 * H, y_before, H, NULL, &w->hh, NULL, 1);
}

static int fold(const struct derived *d)
{
    const struct lstm *m = (const struct lstm *)d;
    int rc = DEV_OK;
    for (int i = m->layers; i-- > 0;)
        for (int back = 0; back < 2 && !rc; back++) {
            const struct lstm_layer *l = &m->layer[i];
            const struct linear *ih = &l->way[back].ih;
            memset(m->d_h, 0, (size_t)m->H * sizeof *m->d_h);
            memset(m->d_c, 0, (size_t)m->H * sizeof *m->d_c);
            for (long s = m->n; s-- > 0 && !rc;) rc = step_back(m, l, back, s);
            if (!rc)
                rc = m->ops->linear_bwd(&m->cx, l->d_x, ih->in, back || !i, m->d_gates, ih->out, l->x, ih->in, NULL, ih,
                                        NULL, m->n);
        }
    float *d_out = m->layer[m->layers - 1].d_y;
    memset(d_out, 0, (size_t)(m->n * 2 * m->H) * sizeof *d_out);
    return rc;
}

static float *floats(struct hooks *h, long n) { return hooks_alloc(h, (size_t)n, sizeof(float)); }

static void widen(struct op_ctx *cx, const struct linear *l, long n)
{
    const size_t need = op_linear_scratch(cx, l, n);
    if (need > cx->scratch_bytes) cx->scratch_bytes = need;
}

int encoder_lstm(const struct adapter *a, const struct param *p, int layers, struct rows in, struct hooks *h,
                 struct rows *out, struct err *e)
{
    struct lstm *m = hooks_alloc(h, 1, sizeof *m + (size_t)layers * sizeof *m->layer);
    const long n = in.n, H = p[2].cols;
    *m = (struct lstm){.d = {refresh, a->grad ? fold : NULL}, .ops = h->m->ops, .n = n, .H = H, .layers = layers};
    m->cx = (struct op_ctx){.dev = h->m->dev, .act = DT_F32, .prec = DT_F32};
    m->zero = floats(h, H), m->d_h = floats(h, H), m->d_c = floats(h, H), m->d_gates = floats(h, n * 4 * H);
    for (int i = 0; i < layers; i++) {
        struct lstm_layer *l = &m->layer[i];
        l->x = i ? l[-1].y : in.v;
        l->d_x = i ? l[-1].d_y : in.d_v;
        l->y = floats(h, n * 2 * H), l->d_y = floats(h, n * 2 * H);
        for (int back = 0; back < 2; back++, p += ENCODER_LSTM_PARAMS / 2) {
            struct way *w = &l->way[back];
            *w = (struct way){encoder_linear_of(a, p), encoder_linear_of(a, p + 2), floats(h, n * 4 * H),
                              floats(h, n * H), floats(h, n * H)};
            widen(&m->cx, &w->ih, n);
            widen(&m->cx, &w->hh, 1);
        }
    }
    m->cx.scratch = hooks_alloc(h, m->cx.scratch_bytes, 1);
    const struct lstm_layer *last = &m->layer[layers - 1];
    *out = (struct rows){last->y, a->grad ? last->d_y : NULL, n, 2 * H};
    return hooks_derive(h, &m->d, e);
}
