/* lora: low-rank adaptation (Hu et al. 2021): W x + scale B A x, scale = alpha/r, or alpha/sqrt(r) with rslora
 * (Kalajdzievski 2023). One A [r][in] and B [out][r] for each targeted projection. Names and configuration keys are
 * those of Hugging Face PEFT. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/peft/adapter.h"
#include "libcommon/peft/match.h"
#include "libcommon/peft/method.h"
#include "libcommon/peft/per_module.h"

enum { R_MAX = 1024 };
#define ALPHA_MIN 1e-6
#define ALPHA_MAX 1e6
enum role { ROLE_A, ROLE_B };
enum train_bias { TRAIN_NONE, TRAIN_ALL, TRAIN_LORA_ONLY };
#define BIAS_CHOICES "none|all|lora_only"

struct lora_opts {
    int64_t r;
    double alpha, dropout;
    int bias; /* enum train_bias */
    bool rslora;
    struct strlist rank_pattern, alpha_pattern; /* see per_module.h */
    float *scale;                               /* [pairs of A and B]; the adapter's */
};

static const struct opt rows[] = {
    OPT(struct lora_opts, r, "lora-r", OPT_INT, "peft.lora", .key = "peft.lora.r", .arg = "R", .def = "8", .lo = 1,
        .hi = R_MAX, .help = "rank of the low-rank update"),
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
    OPT_END};

/* Initialisations of PEFT that do not change the base weights: the others make an adapter to a changed base. */
#define STARTS   "gaussian|eva|orthogonal"
#define F(field) offsetof(struct lora_opts, field)
static const struct json_key keys[] = {
    {"r", KEY_INT, F(r), .text = "8", .lo = 1, .hi = R_MAX},
    {"lora_alpha", KEY_WHOLE, F(alpha), .text = "8", .lo = ALPHA_MIN, .hi = ALPHA_MAX},
    {"lora_dropout", KEY_REAL, F(dropout), .text = "0", .lo = 0, .hi = 0.999999},
    {"bias", KEY_ENUM, F(bias), .text = "\"none\"", .choices = BIAS_CHOICES},
    {"use_rslora", KEY_BOOL, F(rslora), .text = "false"},
    ADAPTER_KEYS_TARGETS,
    ADAPTER_KEYS_LAYERS,
    {"init_lora_weights", KEY_ACCEPT, .text = "true", .choices = STARTS},
    {"alpha_pattern", KEY_MAP, F(alpha_pattern), .text = "{}", .lo = ALPHA_MIN, .hi = ALPHA_MAX},
    {"rank_pattern", KEY_MAP, F(rank_pattern), .text = "{}", .lo = 1, .hi = R_MAX},
    {.name = "eva_config", .kind = KEY_INFO}, /* how A began; the tensors are what came of it */
    {"fan_in_fan_out", KEY_NEUTRAL, .text = "false"},
    {"layer_replication", KEY_NEUTRAL, .text = "null"},
    {"modules_to_save", KEY_NEUTRAL, .text = "null"},
    {"use_dora", KEY_NEUTRAL, .text = "false"},
    {"auto_mapping", KEY_INFO, .text = "null"},
    {"inference_mode", KEY_INFO, .text = "true"},
    {"loftq_config", KEY_INFO, .text = "{}"}, /* how the base was quantised, not what is computed */
    {"megatron_config", KEY_NEUTRAL, .text = "null"},
    {"megatron_core", KEY_INFO, .text = "\"megatron.core\""},
    {"revision", KEY_INFO, .text = "null"},
    {"task_type", KEY_INFO, .text = "\"CAUSAL_LM\""},
    {.name = "qalora_group_size", .kind = KEY_INFO}, /* of use_qalora, which is refused */
    {.name = NULL}};

/* A: uniform in +-1/sqrt(in), which is kaiming_uniform with a = sqrt(5); B: zero, so that a fresh adapter is the
 * identity. */
static void declare_pair(struct adapter *a, const struct site *s, int r, double alpha, struct err *e)
{
    struct lora_opts *o = a->config;
    const int in = site_cols(s), out = site_rows(s);
    if (s->bias && o->bias != TRAIN_NONE)
        err_set(e, E_VERSION, "%s has a bias, and training biases is not supported", s->path);
    o->scale[a->n_param / 2] = (float)(o->rslora ? alpha / sqrt((double)r) : alpha / (double)r);
    param_add(a, s, ROLE_A, r, in, INIT_UNIFORM, 1 / sqrt((double)in), "base_model.model.%s.lora_A.weight", s->path);
    param_add(a, s, ROLE_B, out, r, INIT_ZERO, 0, "base_model.model.%s.lora_B.weight", s->path);
}

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    struct lora_opts *o = a->config;
    struct match *match = match_new(m, &a->shared, e);
    if (!match) return -e->id;
    a->adds = true;
    double *r = per_module(&o->rank_pattern, (double)o->r, 1, R_MAX, true, "rank_pattern", m, &a->shared, e),
           *alpha = per_module(&o->alpha_pattern, o->alpha, ALPHA_MIN, ALPHA_MAX, false, "alpha_pattern", m, &a->shared,
                               e);
    o->scale = adapter_own(a, mem_alloc((size_t)m->n_site, sizeof *o->scale));
    for (int i = 0; i < m->n_site && !e->id; i++) {
        const struct site *s = &m->site[i];
        if (match_site(match, s)) declare_pair(a, s, (int)r[i], alpha[i], e);
    }
    free(r);
    free(alpha);
    match_free(match);
    return -e->id;
}

static int bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    (void)e;
    const struct lora_opts *o = a->config;
    for (int i = 0; i < a->n_param; i += 2) {
        const struct param *pa = &a->param[i], *pb = &a->param[i + 1];
        hooks_low(h, pa->site,
                  (struct lowrank){.r = pa->rows,
                                   .scale = (float)(o->scale[i / 2] * a->factor),
                                   .drop_p = (float)o->dropout,
                                   .key = pa->site->key,
                                   .a = a->data + pa->off,
                                   .b = a->data + pb->off,
                                   .d_a = param_grad(a, pa),
                                   .d_b = param_grad(a, pb),
                                   .span = a->span});
    }
    if (o->bias != TRAIN_NONE && a->grad) msg_note("bias: the adapted modules have no bias; nothing to train there");
    return 0;
}

static int merge(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int nrows,
                 int ncols, double factor, struct err *e)
{
    (void)e;
    const struct param *pa = param_of(a, s, ROLE_A), *pb = param_of(a, s, ROLE_B);
    if (!pa || bias) return 0;
    const float *A = data + pa->off, *B = data + pb->off;
    const struct lora_opts *o = a->config;
    double scale = o->scale[(pa - a->param) / 2] * factor, *sum = mem_alloc((size_t)ncols, sizeof *sum);
    for (int row = 0; row < nrows; row++) {
        memset(sum, 0, (size_t)ncols * sizeof *sum);
        for (int k = 0; k < pa->rows; k++)
            for (int c = 0; c < ncols; c++) sum[c] += (double)B[(long)row * pa->rows + k] * A[(long)k * ncols + c];
        for (int c = 0; c < ncols; c++) w[(long)row * ncols + c] = (float)(w[(long)row * ncols + c] + scale * sum[c]);
    }
    free(sum);
    return 1;
}

const struct peft_method peft_lora = {
    .name = "lora",
    .peft_type = "LORA",
    .opts = rows,
    .opts_size = sizeof(struct lora_opts),
    .keys = keys,
    .targets = "q_proj,v_proj",
    .promises = PROMISE_IDENTITY,
    .declare = declare,
    .bind = bind,
    .merge = merge,
};
