/* lora.c: see lora.h. Names and configuration keys are those of Hugging Face PEFT, tensors of its directories. */
#include "libcommon/peft/lora.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/rng.h"
#include "libcommon/peft/match.h"
#include "libcommon/peft/method.h"

#define LORA_R_MAX 1024
#define ROW(opt_name, opt_type, field, ...)                                                                   \
    {                                                                                                         \
        .name = opt_name, .type = opt_type, .off = offsetof(struct lora_opts, field), .section = "peft.lora", \
        __VA_ARGS__                                                                                           \
    }
static const struct opt rows[] = {
    ROW("lora-r", OPT_INT, r, .key = "peft.lora.r", .arg = "R", .def = "8", .lo = 1, .hi = LORA_R_MAX,
        .help = "rank of the low-rank update"),
    ROW("lora-alpha", OPT_FLOAT, alpha, .key = "peft.lora.alpha", .arg = "A", .def = "16", .lo = 1e-6, .hi = 1e6,
        .help = "the update is scaled by alpha/r"),
    ROW("lora-dropout", OPT_FLOAT, dropout, .key = "peft.lora.dropout", .arg = "P", .def = "0", .lo = 0, .hi = 0.99,
        .help = "dropout on the input of the update while training"),
    ROW("target-modules", OPT_LIST, target, .arg = "LIST", .def = "q_proj,v_proj",
        .help = "projections to adapt: names, all-linear, or one expression for the module path"),
    ROW("lora-bias", OPT_ENUM, bias, .key = "peft.lora.bias", .arg = "WHICH", .def = "none",
        .choices = "none|all|lora_only", .help = "biases to train (the Llama family has none)"),
    ROW("rslora", OPT_FLAG, rslora, .key = "peft.lora.use_rslora", .help = "scale the update by alpha/sqrt(r) instead"),
    OPT_END};

static float scale_of(const struct lora_opts *o)
{
    return (float)(o->rslora ? o->alpha / sqrt((double)o->r) : o->alpha / (double)o->r);
}

static void add_param(struct adapter *a, const char *path, const char *leaf, int nrows, int ncols)
{
    struct param *p = &a->param[a->n_param++];
    snprintf(p->name, sizeof p->name, "base_model.model.%s.%s.weight", path, leaf);
    p->rows = nrows, p->cols = ncols, p->off = a->size;
    a->size += (long)nrows * ncols;
}

static int layout(struct adapter *a, const struct model *m, struct err *e)
{
    const struct lora_opts *o = a->config;
    struct match *match = match_new(&o->target, e);
    if (!match) return -e->id;
    a->param = mem_alloc((size_t)m->cfg.L * MOD_COUNT * 2, sizeof *a->param);
    for (int l = 0; l < m->cfg.L; l++)
        for (int i = 0; i < MOD_COUNT; i++) {
            char path[96];
            if (!match_module(match, module_path(l, (enum module)i, path), module_names[i])) continue;
            const struct lin_part *p = model_part((struct model *)m, l, (enum module)i);
            if (p->bias && o->bias != LORA_BIAS_NONE)
                return match_free(match),
                       err_set(e, E_VERSION, "%s has a bias, and training biases is not supported", path);
            add_param(a, path, "lora_A", (int)o->r, p->w.cols);
            add_param(a, path, "lora_B", p->w.rows, (int)o->r);
        }
    match_free(match);
    if (a->n_param) return 0;
    return err_set(e, E_TARGET, "target_modules: %s matches no module of the model", err_quotez(o->target.v[0])),
           err_hint(e, "an expression must match a whole path such as model.layers.0.self_attn.q_proj");
}

/* A: uniform in +-1/sqrt(in), which is kaiming_uniform with a = sqrt(5); B: zero, so that the fresh adapter is the
 * identity. */
static void init(const struct adapter *a, uint64_t seed, float *host)
{
    for (int i = 0; i < a->n_param; i++) {
        const struct param *p = &a->param[i];
        bool is_a = i % 2 == 0;
        double bound = 1 / sqrt((double)p->cols);
        for (long j = 0; j < (long)p->rows * p->cols; j++)
            host[p->off + j] = is_a ? (float)((2 * rng_unit(seed, RNG_INIT, (uint64_t)(p->off + j)) - 1) * bound)
                                    : 0.0f;
    }
}

/* The projection that parameter pair i (A at 2i, B at 2i + 1) belongs to. */
static struct lin_part *part_of(const struct adapter *a, struct model *m, int i)
{
    int layer;
    const char *leaf = strrchr(a->param[i].name, '.');
    const char *at = strstr(a->param[i].name, ".layers.");
    if (!leaf || !at || sscanf(at, ".layers.%d.", &layer) != 1 || layer < 0 || layer >= m->cfg.L) return NULL;
    for (int mod = 0; mod < MOD_COUNT; mod++) {
        char name[48];
        snprintf(name, sizeof name, ".%s.lora_", module_names[mod]);
        if (strstr(at, name)) return model_part(m, layer, (enum module)mod);
    }
    return NULL;
}

static int attach(struct adapter *a, struct model *m, struct err *e)
{
    const struct lora_opts *o = a->config;
    for (int i = 0; i < a->n_param; i += 2) {
        struct lin_part *p = part_of(a, m, i);
        if (!p || p->r) return err_set(e, E_BUG, "lora: %s has no free module", a->param[i].name);
        p->r = (int)o->r;
        p->scale = scale_of(o);
        p->a = a->data + a->param[i].off;
        p->b = a->data + a->param[i + 1].off;
        p->d_a = a->grad ? a->grad + a->param[i].off : NULL;
        p->d_b = a->grad ? a->grad + a->param[i + 1].off : NULL;
    }
    if (o->bias != LORA_BIAS_NONE && a->grad)
        msg_note("bias: the adapted modules have no bias; nothing to train there");
    model_ranks(m);
    a->dropout = (float)o->dropout;
    return 0;
}

static void detach(struct adapter *a, struct model *m)
{
    for (int i = 0; i < a->n_param; i += 2) {
        struct lin_part *p = part_of(a, m, i);
        if (!p) continue;
        p->r = 0;
        p->a = p->b = p->d_a = p->d_b = NULL;
    }
    model_ranks(m);
}

static const char *const bias_names[] = {"none", "all", "lora_only"};

static json_t *targets_json(const struct lora_opts *o, struct err *e)
{
    struct match *match = match_new(&o->target, e);
    if (!match) return NULL;
    json_t *t;
    if (match_is_regex(match)) {
        t = json_string(o->target.v[0]);
    } else { /* PEFT resolves all-linear to the names; keep the order of the table */
        t = json_array();
        for (int i = 0; i < MOD_COUNT; i++)
            if (match_module(match, "", module_names[i])) json_array_append_new(t, json_string(module_names[i]));
    }
    match_free(match);
    return t;
}

static int config_write(const struct adapter *a, json_t *out, struct err *e)
{
    const struct lora_opts *o = a->config;
    json_t *target = targets_json(o, e);
    if (!target) return -e->id;
    json_object_set_new(out, "alpha_pattern", json_object());
    json_object_set_new(out, "auto_mapping", json_null());
    json_object_set_new(out, "bias", json_string(bias_names[o->bias]));
    json_object_set_new(out, "fan_in_fan_out", json_false());
    json_object_set_new(out, "inference_mode", json_true());
    json_object_set_new(out, "init_lora_weights", json_true());
    json_object_set_new(out, "layer_replication", json_null());
    json_object_set_new(out, "layers_pattern", json_null());
    json_object_set_new(out, "layers_to_transform", json_null());
    json_object_set_new(out, "loftq_config", json_object());
    double alpha = o->alpha; /* PEFT's type is int: write one where the value is one */
    json_object_set_new(out, "lora_alpha", alpha == floor(alpha) ? json_integer((json_int_t)alpha) : json_real(alpha));
    json_object_set_new(out, "lora_dropout", json_real(o->dropout));
    json_object_set_new(out, "megatron_config", json_null());
    json_object_set_new(out, "megatron_core", json_string("megatron.core"));
    json_object_set_new(out, "modules_to_save", json_null());
    json_object_set_new(out, "r", json_integer(o->r));
    json_object_set_new(out, "rank_pattern", json_object());
    json_object_set_new(out, "revision", json_null());
    json_object_set_new(out, "target_modules", target);
    json_object_set_new(out, "task_type", json_string("CAUSAL_LM"));
    json_object_set_new(out, "use_dora", json_false());
    json_object_set_new(out, "use_rslora", json_boolean(o->rslora));
    return 0;
}

/* target_modules of a file: list or string, copied into one block that the adapter owns. */
static int read_targets(struct adapter *a, struct lora_opts *o, const json_t *t, struct err *e)
{
    size_t n = json_is_string(t) ? 1 : json_array_size(t), bytes = n * sizeof(char *);
    if (!n || n > 4096)
        return err_set(e, E_ADAPTER, "adapter_config.json: target_modules is neither a string nor a list of names");
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_is_string(t) ? t : json_array_get(t, i);
        if (!json_is_string(v))
            return err_set(e, E_ADAPTER, "adapter_config.json: target_modules[%zu] is no string", i);
        bytes += json_string_length(v) + 1;
    }
    char **v = mem_alloc(bytes, 1), *at = (char *)(v + n);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_string(t) ? t : json_array_get(t, i);
        v[i] = memcpy(at, json_string_value(s), json_string_length(s) + 1);
        at += json_string_length(s) + 1;
    }
    free(a->strings);
    a->strings = v;
    o->target = (struct strlist){(int)n, v};
    return 0;
}

static bool is_default(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v));
}

static int config_read(struct adapter *a, const json_t *in, struct err *e)
{
    static const char *const changes_maths[] = {"layer_replication", "layers_to_transform", "modules_to_save",
                                                "rank_pattern",      "alpha_pattern",       "use_dora",
                                                "use_qalora",        "lora_bias",           "alora_invocation_tokens",
                                                "arrow_config",      "target_parameters",   "trainable_token_indices",
                                                "use_bdlora",        "fan_in_fan_out",      "exclude_modules",
                                                "eva_config",        "corda_config",        "megatron_config"};
    struct lora_opts *o = a->config;
    for (size_t i = 0; i < sizeof changes_maths / sizeof *changes_maths; i++)
        if (!is_default(json_object_get(in, changes_maths[i])))
            return err_set(e, E_VERSION, "adapter_config.json: %s is set, and this version does not support it",
                           changes_maths[i]);
    /* these initialisations change the base weights that the adapter then belongs to */
    const char *start = json_string_value(json_object_get(in, "init_lora_weights"));
    if (start && strcmp(start, "gaussian") && strcmp(start, "eva") && strcmp(start, "orthogonal"))
        return err_set(e, E_VERSION,
                       "adapter_config.json: init_lora_weights is %s, an adapter to a changed "
                       "base, which this version does not support",
                       err_quotez(start));
    json_t *r = json_object_get(in, "r"), *alpha = json_object_get(in, "lora_alpha");
    json_t *drop = json_object_get(in, "lora_dropout");
    double rv = r ? json_number_value(r) : 8, dv = drop ? json_number_value(drop) : 0;
    if (!(rv >= 1 && rv <= LORA_R_MAX) || rv != floor(rv))
        return err_set(e, E_ADAPTER, "adapter_config.json: r is not a whole number from 1 to %d", LORA_R_MAX);
    if (alpha && (!json_is_number(alpha) || !(json_number_value(alpha) > 0)))
        return err_set(e, E_ADAPTER, "adapter_config.json: lora_alpha is not a positive number");
    o->r = (int64_t)rv;
    o->alpha = alpha ? json_number_value(alpha) : 8;
    o->dropout = dv >= 0 && dv < 1 ? dv : 0;
    o->rslora = json_is_true(json_object_get(in, "use_rslora"));
    const char *bias = json_string_value(json_object_get(in, "bias"));
    o->bias = LORA_BIAS_NONE;
    for (int i = 0; bias && i < 3; i++)
        if (!strcmp(bias, bias_names[i])) o->bias = i;
    return read_targets(a, o, json_object_get(in, "target_modules"), e);
}

static int merge(const struct adapter *a, const float *data, const char *name, float *w, int nrows, int ncols,
                 double factor, struct err *e)
{
    const struct lora_opts *o = a->config;
    size_t n = strlen(name), tail = strlen(".weight");
    if (n <= tail || n > 120 || strcmp(name + n - tail, ".weight")) return 0;
    char key[160];
    snprintf(key, sizeof key, "base_model.model.%.*s.lora_A.weight", (int)(n - tail), name);
    for (int i = 0; i < a->n_param; i += 2) {
        if (strcmp(a->param[i].name, key)) continue;
        const struct param *pa = &a->param[i], *pb = &a->param[i + 1];
        if (pa->cols != ncols || pb->rows != nrows)
            return err_set(e, E_MISMATCH, "%s is [%d][%d], its adapter [%d][%d]", name, nrows, ncols, pb->rows,
                           pa->cols);
        const float *A = data + pa->off, *B = data + pb->off;
        double scale = scale_of(o) * factor, *sum = mem_alloc((size_t)ncols, sizeof *sum);
        for (int row = 0; row < nrows; row++) {
            memset(sum, 0, (size_t)ncols * sizeof *sum);
            for (int k = 0; k < pa->rows; k++)
                for (int c = 0; c < ncols; c++) sum[c] += (double)B[(long)row * pa->rows + k] * A[(long)k * ncols + c];
            for (int c = 0; c < ncols; c++)
                w[(long)row * ncols + c] = (float)(w[(long)row * ncols + c] + scale * sum[c]);
        }
        free(sum);
        return 1;
    }
    return 0;
}

const struct peft_method peft_lora = {
    .name = "lora",
    .peft_type = "LORA",
    .opts = rows,
    .opts_size = sizeof(struct lora_opts),
    .layout = layout,
    .init = init,
    .attach = attach,
    .detach = detach,
    .config_write = config_write,
    .config_read = config_read,
    .merge = merge,
};
