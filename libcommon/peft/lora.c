/* lora: low-rank adaptation (Hu et al. 2021): W x + scale B A x, scale = alpha/r, or alpha/sqrt(r) with rslora
 * (Kalajdzievski 2023). One A [r][in] and B [out][r] for each targeted projection. Names and configuration keys are
 * those of Hugging Face PEFT. */
#include "libcommon/peft/lora.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/model/device_pick.h"
#include "libcommon/peft/adapter.h"
#include "libcommon/peft/per_module.h"

#define ALPHA_MIN    1e-6
#define ALPHA_MAX    1e6
#define BIAS_CHOICES "none|all|lora_only"

static const struct opt rows[] = {
    OPT(struct lora_opts, r, "lora-r", OPT_INT, "peft.lora", .key = "peft.lora.r", .arg = "R", .def = "8", .lo = 1,
        .hi = LORA_R_MAX, .help = "rank of the low-rank update"),
    OPT(struct lora_opts, alpha, "lora-alpha", OPT_FLOAT, "peft.lora", .key = "peft.lora.alpha", .arg = "A",
        .def = "16", .lo = ALPHA_MIN, .hi = ALPHA_MAX, .help = "the update is scaled by alpha/r"),
    OPT(struct lora_opts, rank_pattern, "rank-pattern", OPT_MAP, "peft.lora", .key = "peft.lora.rank_pattern",
        .arg = "NAME=R,...", .help = "ranks of modules whose path ends in a name, or matches an expression"),
    OPT(struct lora_opts, alpha_pattern, "alpha-pattern", OPT_MAP, "peft.lora", .key = "peft.lora.alpha_pattern",
        .arg = "NAME=A,...", .help = "their alpha, likewise"),
    OPT(struct lora_opts, dropout, "lora-dropout", OPT_FLOAT, "peft.lora", .key = "peft.lora.dropout", .arg = "P",
        .def = "0", .lo = 0, .hi = 0.99, .help = "dropout on the input of the update while training"),
    OPT(struct lora_opts, bias, "lora-bias", OPT_ENUM, "peft.lora", .key = "peft.lora.bias", .arg = "WHICH",
        .def = "none", .choices = BIAS_CHOICES, .help = "biases to train (the Llama family has none)"),
    OPT(struct lora_opts, rslora, "rslora", OPT_FLAG, "peft.lora", .key = "peft.lora.use_rslora",
        .help = "scale the update by alpha/sqrt(r) instead"),
    OPT(struct lora_opts, start, "init", OPT_ENUM, "peft.lora", .key = "peft.lora.init_lora_weights", .arg = "HOW",
        .def = "true", .choices = "true|gaussian|orthogonal|pissa|olora", .help = "how A and B begin"),
    OPT(struct lora_opts, dora, "dora", OPT_FLAG, "peft.lora", .key = "peft.lora.use_dora",
        .help = "DoRA: directions by the update, and a trained magnitude of each output"),
    OPT_END};

/* Initialisations of PEFT that do not change the base weights: the others make an adapter to a changed base. */
#define STARTS   "gaussian|eva|orthogonal"
#define F(field) offsetof(struct lora_opts, field)
static const struct json_key keys[] = {
    {"r", KEY_INT, F(r), .text = "8", .lo = 1, .hi = LORA_R_MAX},
    {"lora_alpha", KEY_WHOLE, F(alpha), .text = "8", .lo = ALPHA_MIN, .hi = ALPHA_MAX},
    {"lora_dropout", KEY_REAL, F(dropout), .text = "0", .lo = 0, .hi = 0.999999},
    {"bias", KEY_ENUM, F(bias), .text = "\"none\"", .choices = BIAS_CHOICES},
    {"use_rslora", KEY_BOOL, F(rslora), .text = "false"},
    ADAPTER_KEYS_TARGETS,
    ADAPTER_KEYS_LAYERS,
    {"init_lora_weights", KEY_ACCEPT, .text = "true", .choices = STARTS},
    {"alpha_pattern", KEY_MAP, F(alpha_pattern), .text = "{}", .lo = ALPHA_MIN, .hi = ALPHA_MAX},
    {"rank_pattern", KEY_MAP, F(rank_pattern), .text = "{}", .lo = 1, .hi = LORA_R_MAX},
    {.name = "eva_config", .kind = KEY_INFO}, /* how A began; the tensors are what came of it */
    {"fan_in_fan_out", KEY_NEUTRAL, .text = "false"},
    {"layer_replication", KEY_NEUTRAL, .text = "null"},
    {"modules_to_save", KEY_NEUTRAL, .text = "null"},
    {"use_dora", KEY_BOOL, F(dora), .text = "false"},
    {"frozen_half", KEY_MARK, F(halves), .text = "false"}, /* of checkpoints */
    {"inference_mode", KEY_INFO, .text = "true"},
    {"loftq_config", KEY_INFO, .text = "{}"}, /* how the base was quantised, not what is computed */
    {"megatron_config", KEY_NEUTRAL, .text = "null"},
    {"megatron_core", KEY_INFO, .text = "\"megatron.core\""},
    ADAPTER_KEYS_INFO,
    {.name = "qalora_group_size", .kind = KEY_INFO}, /* of use_qalora, which is refused */
    {.name = NULL}};

/* A: uniform in +-1/sqrt(in), which is kaiming_uniform with a = sqrt(5); B: zero, so that a fresh adapter is the
 * identity. */
static void declare_site(struct adapter *a, const struct site *s, int r, struct err *e)
{
    struct lora_opts *o = a->config;
    const int in = site_cols(s), out = site_rows(s);
    if (s->bias && o->bias != LORA_BIAS_NONE)
        err_set(e, E_VERSION, "%s has a bias, and training biases is not supported", s->path);
    const bool normal = o->start == LORA_BEGIN_GAUSSIAN;
    param_add(a, s, LORA_A, r, in, normal ? INIT_NORMAL : INIT_UNIFORM, normal ? 1.0 / r : 1 / sqrt((double)in),
              "base_model.model.%s.lora_A.weight", s->path);
    param_add(a, s, LORA_B, out, r, INIT_ZERO, 0, "base_model.model.%s.lora_B.weight", s->path);
    a->param[a->n_param - 1].fast = true;
    if (o->dora) dora_declare(a, s);
}

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    struct lora_opts *o = a->config;
    struct match *match = match_new(m, &a->shared, e);
    if (!match) return -e->id;
    a->adds = !o->dora; /* whose gain multiplies */
    double *r = per_module(&o->rank_pattern, (double)o->r, 1, LORA_R_MAX, true, "rank_pattern", m, &a->shared, e),
           *alpha = per_module(&o->alpha_pattern, o->alpha, ALPHA_MIN, ALPHA_MAX, false, "alpha_pattern", m, &a->shared,
                               e);
    o->scale = adapter_own(a, mem_alloc((size_t)m->n_site, sizeof *o->scale));
    o->site = m->site;
    for (int i = 0; i < m->n_site && !e->id; i++) {
        const struct site *s = &m->site[i];
        if (!match_site(match, s)) continue;
        o->scale[i] = (float)(o->rslora ? alpha[i] / sqrt(r[i]) : alpha[i] / r[i]);
        declare_site(a, s, (int)r[i], e);
    }
    for (int i = 0; i < m->n_site && !e->id && o->halves; i++)
        if (match_site(match, &m->site[i])) lora_halves_declare(a, &m->site[i], e);
    free(r);
    free(alpha);
    match_free(match);
    return -e->id;
}

static int check(struct adapter *a, const struct model *m, struct err *e)
{
    const struct lora_opts *o = a->config;
    int rc = lora_halves_check(a, e);
    return rc || !o->dora ? rc : dora_check(a, m, e);
}

static int start(const struct adapter *a, const struct model *m, uint64_t seed, float *host, struct err *e)
{
    const struct lora_opts *o = a->config;
    int rc = o->halves ? lora_halves_start(a, m, host, e) : lora_start(a, seed, host, e);
    return rc || !o->dora ? rc : dora_start(a, m, host, e);
}

struct lowrank lora_path(const struct adapter *a, const struct site *s, const float *data, float *grad)
{
    const struct lora_opts *o = a->config;
    const struct param *pa = param_of(a, s, LORA_A), *pb = param_of(a, s, LORA_B);
    if (!pa) return (struct lowrank){.r = 0};
    return (struct lowrank){.r = pa->rows,
                            .scale = o->scale[s - o->site],
                            .key = s->key,
                            .a = data + pa->off,
                            .b = data + pb->off,
                            .d_a = grad ? grad + pa->off : NULL,
                            .d_b = grad ? grad + pb->off : NULL,
                            .span = -1};
}

static int bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    const struct lora_opts *o = a->config;
    int rc = 0;
    for (int i = 0; i < a->n_param && !rc; i++) {
        const struct site *s = a->param[i].site;
        if (a->param[i].role != LORA_A) continue;
        struct lowrank low = lora_path(a, s, a->data, a->grad);
        low.drop_p = (float)o->dropout;
        low.scale *= (float)a->factor;
        low.span = a->span;
        hooks_low(h, s, low);
        if (o->halves) {
            struct lowrank frozen = lora_frozen_path(a, s, a->data);
            frozen.scale *= (float)a->factor;
            frozen.span = a->span;
            hooks_low(h, s, frozen);
        }
        if (o->dora) rc = dora_bind(a, s, &low, h, e);
    }
    if (o->bias != LORA_BIAS_NONE && a->grad)
        msg_note("bias: the adapted modules have no bias; nothing to train there");
    return rc;
}

/* sum [ncols] += scale times a row of B A. */
static void add_row(double *sum, const struct lowrank *low, int row, int ncols)
{
    for (int k = 0; k < low->r; k++)
        for (int c = 0; c < ncols; c++)
            sum[c] += low->scale * (double)low->b[(long)row * low->r + k] * low->a[(long)k * ncols + c];
}

/* w + factor * (what is computed instead of w, less w). */
static int merge(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int nrows,
                 int ncols, double factor, struct err *e)
{
    const struct lora_opts *o = a->config;
    const struct lowrank low = lora_path(a, s, data, NULL), frozen = lora_frozen_path(a, s, data);
    if (!low.r || bias) return 0;
    float *gain = o->dora ? mem_alloc((size_t)nrows, sizeof *gain) : NULL;
    const struct mat before = {w, DT_F32, nrows, ncols};
    if (gain && device_error(a->dev, dora_gain(a, data, s, &before, gain), "norms of a weight", e)) return -e->id;
    double *sum = mem_alloc((size_t)ncols, sizeof *sum);
    for (int row = 0; row < nrows; row++) {
        const double g = gain ? gain[row] : 1;
        float *to = w + (long)row * ncols;
        memset(sum, 0, (size_t)ncols * sizeof *sum);
        add_row(sum, &low, row, ncols);
        add_row(sum, &frozen, row, ncols);
        for (int c = 0; c < ncols; c++) to[c] = (float)(to[c] + (g - 1) * factor * to[c] + g * factor * sum[c]);
    }
    free(sum);
    free(gain);
    return 1;
}

static bool has_other_form(const void *config) { return ((const struct lora_opts *)config)->halves; }

const struct peft_method peft_lora = {
    .name = "lora",
    .peft_type = "LORA",
    .opts = rows,
    .opts_size = sizeof(struct lora_opts),
    .keys = keys,
    .targets = "q_proj,v_proj",
    .promises = PROMISE_IDENTITY,
    .check = check,
    .declare = declare,
    .start = start,
    .bind = bind,
    .has_other_form = has_other_form,
    .exported = lora_halves_exported,
    .merge = merge,
};
