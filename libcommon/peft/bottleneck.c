/* bottleneck: adapters of two linears with an activation between them, behind attention's output, the MLP's, or both:
 * seq_bn (Pfeiffer et al. 2020), double_seq_bn (Houlsby et al. 2019), par_bn (He et al. 2021). What is computed is what
 * AdapterHub computes for pre-norm decoders; its directories are read and written by adapterhub.c.
 *
 * With s what o or down gave, r the residual stream before it, B(z) = scaling * (U act(D z + b_d) + b_u), dropped out:
 * (a learned scaling, one number or one for each column of the width, is folded into U and b_u after each update)
 *   sequential  out = s + r + B(z), z = s, or s + r with ln_before (then r twice unless residual_before_ln)
 *   parallel    out = s + r + B(r) */
#include "libcommon/peft/bottleneck.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/num.h"
#include "libcommon/base/rng.h"

static const struct opt rows[] = {
    OPT(struct bottleneck_opts, kind, "bottleneck-config", OPT_ENUM, "peft.bottleneck", .key = "peft.bottleneck.config",
        .arg = "NAME", .def = "seq_bn", .choices = "seq_bn|double_seq_bn|par_bn",
        .help = "AdapterHub's configuration that the other options start from"),
    OPT(struct bottleneck_opts, reduction, "bottleneck-reduction", OPT_STR, "peft.bottleneck",
        .key = "peft.bottleneck.reduction_factor", .arg = "R",
        .help =
            "the bottleneck is the model's width by R; one for each layer: 0=4,default=16 (seq_bn, double_seq_bn: 16, "
            "par_bn: 2)"),
    OPT(struct bottleneck_opts, act, "bottleneck-activation", OPT_ENUM, "peft.bottleneck",
        .key = "peft.bottleneck.non_linearity", .arg = "NAME", .def = "auto", .choices = BOTTLENECK_ACTS "|auto",
        .help = "between the two linears; auto: relu, double_seq_bn: swish"),
    OPT(struct bottleneck_opts, scaling_text, "bottleneck-scaling", OPT_STR, "peft.bottleneck",
        .key = "peft.bottleneck.scaling", .arg = "X", .def = "auto",
        .help = "factor on the adapter's output: a number, learned, or channel (one is learned for each column); "
                "auto: 1, par_bn: 4"),
    OPT(struct bottleneck_opts, dropout, "bottleneck-dropout", OPT_FLOAT, "peft.bottleneck",
        .key = "peft.bottleneck.dropout", .arg = "P", .def = "0", .lo = 0, .hi = 0.99,
        .help = "dropout of the adapter's output while training"),
    OPT(struct bottleneck_opts, place, "bottleneck-placement", OPT_ENUM, "peft.bottleneck",
        .key = "peft.bottleneck.placement", .arg = "WHERE", .def = "auto", .choices = "auto|attention|mlp|both",
        .help = "behind which half of a layer; auto: mlp, double_seq_bn: both"),
    OPT(struct bottleneck_opts, leave_out, "bottleneck-leave-out", OPT_LIST, "peft.bottleneck",
        .key = "peft.bottleneck.leave_out", .arg = "LAYERS", .help = "layers, from 0, that get no adapter"),
    OPT(struct bottleneck_opts, init, "bottleneck-init", OPT_ENUM, "peft.bottleneck",
        .key = "peft.bottleneck.init_weights", .arg = "HOW", .def = "auto", .choices = "auto|bert|mam_adapter",
        .help =
            "bert: both linears N(0, 0.02); mam_adapter: the second 0, the identity; auto: bert, par_bn: mam_adapter"),
    OPT(struct bottleneck_opts, name, "bottleneck-name", OPT_STR, "peft.bottleneck", .key = "peft.bottleneck.name",
        .arg = "NAME", .def = "adapter", .help = "the adapter's name in its files"),
    OPT_END};

/* ---- configuration ---- */

/* What the named configuration says where no option does. */
static void resolve(struct bottleneck_opts *o)
{
    const bool twice = o->kind == BOTTLENECK_DOUBLE_SEQ, parallel = o->kind == BOTTLENECK_PAR;
    o->parallel = parallel;
    o->ln_before = o->kind == BOTTLENECK_SEQ;
    o->residual_before_ln = true;
    if (o->act == BOTTLENECK_ACT_AUTO) o->act = twice ? BOTTLENECK_SWISH : BOTTLENECK_RELU;
    if (o->place == PLACE_AUTO) o->place = twice ? PLACE_BOTH : PLACE_MLP;
    if (o->init == BOTTLENECK_INIT_AUTO) o->init = parallel ? BOTTLENECK_INIT_MAM : BOTTLENECK_INIT_BERT;
    o->resolved = true;
}

static int read_scaling(struct bottleneck_opts *o, struct err *e)
{
    const char *text = o->scaling_text;
    o->scaling = o->parallel && !strcmp(text, "auto") ? 4 : 1;
    o->learned = !strcmp(text, "learned")   ? SCALING_LEARNED
                 : !strcmp(text, "channel") ? SCALING_CHANNEL
                                            : SCALING_NUMBER;
    if (!strcmp(text, "auto") || o->learned) return 0;
    if (num_f64(text, strlen(text), &o->scaling) && o->scaling > 0 && o->scaling <= 1e6) return 0;
    return err_set(e, E_CONFIG, "scaling: found %s, expected a number up to 1000000, learned or channel",
                   err_quotez(text));
}

static int check(struct adapter *a, const struct model *m, struct err *e)
{
    struct bottleneck_opts *o = a->config;
    const bool read = o->resolved; /* from a file */
    if (!read) resolve(o);
    if (!read && read_scaling(o, e)) return -e->id;
    if (!o->reduction) o->reduction = adapter_keep(a, o->parallel ? "2" : "16");
    for (int i = 0; i < o->leave_out.n; i++) {
        int64_t l;
        const char *s = o->leave_out.v[i];
        if (!num_i64(s, strlen(s), &l) || l < 0 || l >= m->cfg.L)
            return err_set(e, E_CONFIG, "leave_out: %s is no layer of the model, 0 to %d", err_quotez(s), m->cfg.L - 1);
    }
    const char *n = o->name;
    if (!n || !*n || strlen(n) > 80 || strpbrk(n, ". \t\n/"))
        return err_set(e, E_CONFIG, "the adapter's name %s: expected 1 to 80 characters without dots and spaces",
                       err_quotez(n ? n : ""));
    return 0;
}

static bool left_out(const struct bottleneck_opts *o, int layer)
{
    int64_t l;
    for (int i = 0; i < o->leave_out.n; i++)
        if (num_i64(o->leave_out.v[i], strlen(o->leave_out.v[i]), &l) && l == layer) return true;
    return false;
}

/* The reduction factor of a layer: "16", or "0=4,default=16". < 0: E_CONFIG. */
static double reduction_of(const struct bottleneck_opts *o, int layer, struct err *e)
{
    char key[16];
    snprintf(key, sizeof key, "%d", layer);
    double x = -1;
    for (const char *p = o->reduction; *p;) {
        const size_t n = strcspn(p, ",");
        const char *eq = memchr(p, '=', n);
        const size_t k = eq ? (size_t)(eq - p) : 0;
        const char *v = eq ? eq + 1 : p;
        double got;
        if (!num_f64(v, n - (size_t)(v - p), &got) || !(got > 0))
            return err_set(e, E_CONFIG,
                           "reduction_factor: %s: expected a positive number, or LAYER=NUMBER,default=NUMBER",
                           err_quotez(o->reduction));
        if (eq && strlen(key) == k && !memcmp(p, key, k)) return got; /* the layer's own wins */
        if (!eq || (k == 7 && !memcmp(p, "default", 7))) x = got;
        p += n + (p[n] == ',');
    }
    if (x > 0) return x;
    return err_set(e, E_CONFIG, "reduction_factor: %s says nothing of layer %d, and has no default",
                   err_quotez(o->reduction), layer);
}

/* ---- parameters ---- */

static const char *const place_names[HOOK_PLACES] = {"attention_adapters", "output_adapters"};

static bool placed(const struct bottleneck_opts *o, enum hook_at at, int layer)
{
    return !left_out(o, layer) &&
           (o->place == PLACE_BOTH || o->place == (at == HOOK_ATTN_OUT ? PLACE_ATTENTION : PLACE_MLP));
}

static void add(struct adapter *a, int layer, int role, int nrows, int ncols, enum init init, double spread,
                enum hook_at at, const char *leaf)
{
    const struct bottleneck_opts *o = a->config;
    param_add(a, NULL, role, nrows, ncols, init, spread, "model.layers.%d.%s.adapters.%s.%s", layer, place_names[at],
              o->name, leaf)
        ->layer = layer;
}

enum role { ROLE_DOWN, ROLE_DOWN_BIAS, ROLE_UP, ROLE_UP_BIAS, ROLE_SCALING, ROLES };

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    const struct bottleneck_opts *o = a->config;
    const int C = m->cfg.C;
    const bool bert = o->init == BOTTLENECK_INIT_BERT;
    for (int l = 0; l < m->cfg.L; l++)
        for (int at = 0; at < HOOK_PLACES; at++) {
            if (!placed(o, (enum hook_at)at, l)) continue;
            const double factor = reduction_of(o, l, e);
            if (factor < 0) return (int)factor;
            const double width = floor(C / factor);
            if (width > 1 << 20)
                return err_set(e, E_CONFIG, "reduction_factor %g: a bottleneck of %.0f", factor, width);
            const int R = width < 1 ? 1 : (int)width;
            const enum hook_at h = (enum hook_at)at;
            add(a, l, ROLES * at + ROLE_DOWN, R, C, bert ? INIT_NORMAL : INIT_UNIFORM, bert ? 0.02 : 1 / sqrt(C), h,
                "adapter_down.0.weight");
            add(a, l, ROLES * at + ROLE_DOWN_BIAS, R, 0, INIT_ZERO, 0, h, "adapter_down.0.bias");
            add(a, l, ROLES * at + ROLE_UP, C, R, bert ? INIT_NORMAL : INIT_ZERO, 0.02, h, "adapter_up.weight");
            add(a, l, ROLES * at + ROLE_UP_BIAS, C, 0, INIT_ZERO, 0, h, "adapter_up.bias");
            if (o->learned)
                add(a, l, ROLES * at + ROLE_SCALING, o->learned == SCALING_CHANNEL ? C : 1, 0, INIT_ONE, 0, h,
                    "scaling");
        }
    return 0;
}

/* ---- the hook ---- */

struct bn_hook {
    struct hook h;
    struct linear down, up;
    enum act act;
    float scaling, dropout;
    uint64_t key;   /* of its dropout */
    float residual; /* how often r counts */
    bool parallel, ln_before;
};

/* Where things lie in a call's scratch: [T] rows each. */
struct places {
    float *x, *a, *u, *d_a, *d_x;
};
static struct places places_of(const struct bn_hook *b, const struct hook_call *c)
{
    const long TC = c->T * c->C, TR = c->T * b->down.out;
    float *s = c->scratch;
    return (struct places){s, s + TC, s + TC + TR, s + 2 * TC + TR, s + 2 * TC + 2 * TR};
}

/* The adapter is computed in f32, as low-rank paths are. */
static struct op_ctx exact(const struct op_ctx *cx)
{
    struct op_ctx f = *cx;
    f.prec = DT_F32;
    return f;
}

static size_t op_scratch(const struct hook *h, const struct op_ctx *cx, long T)
{
    const struct bn_hook *b = (const struct bn_hook *)h;
    const struct op_ctx f = exact(cx);
    const size_t down = op_linear_scratch(&f, &b->down, T), up = op_linear_scratch(&f, &b->up, T);
    return down > up ? down : up;
}

/* What the adapter reads. */
static int input(const struct bn_hook *b, const struct hook_call *c, const void *sub, const void *res, float *sum,
                 const void **x)
{
    *x = b->parallel ? res : b->ln_before ? sum : sub;
    return *x == sum ? c->ops->add_scaled(c->cx, sum, sub, res, 1, c->T * c->C) : DEV_OK;
}

static bool plain(const struct bn_hook *b, const struct hook_call *c)
{
    return b->scaling == 1 && !(b->dropout > 0 && c->rows->uid);
}

static int fwd(const struct hook *h, const struct hook_call *c, void *out, const void *sub, const void *res)
{
    const struct bn_hook *b = (const struct bn_hook *)h;
    const struct op_ctx f = exact(c->cx);
    const struct places p = places_of(b, c);
    const struct ops *ops = c->ops;
    const long n = c->T * c->C, R = b->down.out;
    const void *x;
    int s = input(b, c, sub, res, p.x, &x);
    if (!s) s = ops->linear_fwd(&f, c->kept, R, NULL, 0, x, c->C, NULL, &b->down, NULL, c->T);
    if (!s) s = ops->act_fwd(&f, p.a, c->kept, c->T * R, b->act);
    if (!s) s = ops->add_scaled(&f, out, sub, res, b->residual, n);
    if (s || plain(b, c)) return s ? s : ops->linear_fwd(&f, out, c->C, out, c->C, p.a, R, NULL, &b->up, NULL, c->T);
    s = ops->linear_fwd(&f, p.u, c->C, NULL, 0, p.a, R, NULL, &b->up, NULL, c->T);
    if (!s) s = ops->dropout(&f, p.u, p.u, b->dropout, b->key, c->rows, c->T, c->C);
    return s ? s : ops->add_scaled(&f, out, out, p.u, b->scaling, n);
}

static int bwd(const struct hook *h, const struct hook_call *c, void *d_out, void *d_sub, const void *sub,
               const void *res)
{
    const struct bn_hook *b = (const struct bn_hook *)h;
    const struct op_ctx f = exact(c->cx);
    const struct places p = places_of(b, c);
    const struct ops *ops = c->ops;
    const long n = c->T * c->C, R = b->down.out, nr = c->T * R;
    const void *x, *d_u = plain(b, c) ? d_out : p.u;
    int s = input(b, c, sub, res, p.x, &x);
    if (!s) s = ops->act_fwd(&f, p.a, c->kept, nr, b->act);
    if (!s && d_u == p.u) s = ops->add_scaled(&f, p.u, NULL, d_out, b->scaling, n);
    if (!s && d_u == p.u) s = ops->dropout(&f, p.u, p.u, b->dropout, b->key, c->rows, c->T, c->C);
    if (!s) s = ops->linear_bwd(&f, p.d_a, R, 0, d_u, c->C, p.a, R, NULL, &b->up, NULL, c->T);
    if (!s) s = ops->act_bwd(&f, p.d_a, p.d_a, c->kept, nr, b->act);
    if (!s) s = ops->linear_bwd(&f, p.d_x, c->C, 0, p.d_a, R, x, c->C, NULL, &b->down, NULL, c->T);
    if (!s) s = ops->add_scaled(&f, d_sub, b->parallel ? NULL : p.d_x, d_out, 1, n);
    if (!s && b->residual != 1) s = ops->add_scaled(&f, d_out, NULL, d_out, b->residual, n);
    if (!s && (b->parallel || b->ln_before)) s = ops->add_scaled(&f, d_out, d_out, p.d_x, 1, n);
    return s;
}

static struct linear linear_of(const struct adapter *a, const struct param *w, const struct param *bias)
{
    struct linear l = {.n = 1, .in = w->cols, .out = w->rows};
    l.part[0] = (struct lin_part){.w = {a->data + w->off, DT_F32, w->rows, w->cols}, .bias = a->data + bias->off};
    l.part[0].s.d_w = param_grad(a, w);
    l.part[0].s.d_bias = param_grad(a, bias);
    return l;
}

/* The second linear with a learned scaling in it. */
struct scaled {
    struct derived d;
    const float *up, *bias, *by;                          /* parameters: [C][R], [C], [1] or [C] */
    float *d_up, *d_bias, *d_by;                          /* their gradients; NULL: not trained */
    float *made_up, *made_bias, *d_made_up, *d_made_bias; /* [C][R], [C] */
    long C, R, each;                                      /* each: 1 if every column has its own */
};

static int refresh(const struct derived *d)
{
    const struct scaled *s = (const struct scaled *)d;
    for (long c = 0; c < s->C; c++) {
        const float by = s->by[c * s->each];
        for (long k = 0; k < s->R; k++) s->made_up[c * s->R + k] = by * s->up[c * s->R + k];
        s->made_bias[c] = by * s->bias[c];
    }
    return DEV_OK;
}

static int fold(const struct derived *d)
{
    const struct scaled *s = (const struct scaled *)d;
    for (long c = 0; c < s->C; c++) {
        const float by = s->by[c * s->each];
        double sum = (double)s->d_made_bias[c] * s->bias[c];
        for (long k = c * s->R; k < (c + 1) * s->R; k++) {
            s->d_up[k] += by * s->d_made_up[k];
            sum += (double)s->d_made_up[k] * s->up[k];
        }
        s->d_bias[c] += by * s->d_made_bias[c];
        s->d_by[c * s->each] += (float)sum;
    }
    memset(s->d_made_up, 0, (size_t)(s->C * s->R) * sizeof(float));
    memset(s->d_made_bias, 0, (size_t)s->C * sizeof(float));
    return DEV_OK;
}

/* The hook reads what is made of p, the tensors of one adapter, instead of its second linear's own. */
static int scale(const struct adapter *a, const struct param *p, struct hooks *h, struct linear *up, struct err *e)
{
    const struct param *w = p + ROLE_UP, *bias = p + ROLE_UP_BIAS, *by = p + ROLE_SCALING;
    struct scaled *s = hooks_alloc(h, 1, sizeof *s);
    *s = (struct scaled){.d = {.refresh = refresh, .fold = a->grad ? fold : NULL},
                         .up = a->data + w->off,
                         .bias = a->data + bias->off,
                         .by = a->data + by->off,
                         .d_up = param_grad(a, w),
                         .d_bias = param_grad(a, bias),
                         .d_by = param_grad(a, by),
                         .made_up = hooks_floats(h, (size_t)param_size(w)),
                         .made_bias = hooks_floats(h, (size_t)w->rows),
                         .C = w->rows,
                         .R = w->cols,
                         .each = by->rows > 1};
    if (a->grad) {
        s->d_made_up = hooks_floats(h, (size_t)param_size(w));
        s->d_made_bias = hooks_floats(h, (size_t)w->rows);
    }
    up->part[0].w.data = s->made_up;
    up->part[0].bias = s->made_bias;
    up->part[0].s.d_w = s->d_made_up;
    up->part[0].s.d_bias = s->d_made_bias;
    return hooks_derive(h, &s->d, e);
}

static const enum act acts[] = {
    [BOTTLENECK_RELU] = ACT_RELU,           [BOTTLENECK_GELU] = ACT_GELU,       [BOTTLENECK_GELU_NEW] = ACT_GELU_TANH,
    [BOTTLENECK_GELU_TANH] = ACT_GELU_TANH, [BOTTLENECK_SWISH] = ACT_SILU,      [BOTTLENECK_SILU] = ACT_SILU,
    [BOTTLENECK_TANH] = ACT_TANH,           [BOTTLENECK_SIGMOID] = ACT_SIGMOID, [BOTTLENECK_LEAKY] = ACT_LEAKY_RELU};

static int bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    const struct bottleneck_opts *o = a->config;
    for (int i = 0; i < a->n_param; i += o->learned ? ROLES : ROLES - 1) {
        const struct param *p = &a->param[i];
        const long C = p->cols, R = p->rows;
        struct bn_hook *b = hooks_alloc(h, 1, sizeof *b);
        b->down = linear_of(a, p + ROLE_DOWN, p + ROLE_DOWN_BIAS);
        b->up = linear_of(a, p + ROLE_UP, p + ROLE_UP_BIAS);
        if (o->learned && scale(a, p, h, &b->up, e)) return -e->id;
        b->act = acts[o->act];
        b->scaling = (float)o->scaling;
        b->dropout = (float)o->dropout;
        b->key = rng_hash(0, p->name, strlen(p->name));
        b->parallel = o->parallel;
        b->ln_before = !o->parallel && o->ln_before;
        b->residual = b->ln_before && !o->residual_before_ln ? 2 : 1;
        b->h = (struct hook){.fwd = fwd,
                             .bwd = bwd,
                             .op_scratch = op_scratch,
                             .kept = R,
                             .scratch = 3 * C + 2 * R,
                             .flops = 4.0 * (double)R * (double)C,
                             .trained = a->grad != NULL};
        int rc = hooks_layer(h, p->role / ROLES == 0 ? HOOK_ATTN_OUT : HOOK_MLP_OUT, p->layer, &b->h, e);
        if (rc) return rc;
    }
    return 0;
}

const struct peft_method peft_bottleneck = {
    .name = "bottleneck",
    .peft_type = "",
    .opts = rows,
    .opts_size = sizeof(struct bottleneck_opts),
    .format = &adapterhub_format,
    .check = check,
    .declare = declare,
    .bind = bind,
};
