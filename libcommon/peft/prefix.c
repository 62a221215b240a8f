/* prefix: prefix tuning (Li & Liang 2021; of every layer: Liu et al. 2021): keys and values of n virtual tokens in
 * front of every row, in each layer; the row's own tokens begin at position n. One tensor [n][L][2][K][D]: keys go
 * where RoPE would leave them. With a projection (Li & Liang, section 4.3) an MLP makes them of embeddings [n][K D],
 * and those are trained. Names and configuration keys are those of Hugging Face PEFT. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/peft/encoder.h"

enum { TOKENS_MAX = 4096, WIDTH_MAX = 1 << 20 };
enum start { START_NORMAL, START_ZERO };

struct prefix_opts {
    int64_t n;
    int start;                    /* enum start */
    bool projection;              /* keys and values are, or once were, computed */
    bool flat;                    /* there are keys and values alone */
    int64_t hidden;               /* of the projection; 0: width */
    int64_t layers, heads, width; /* of the base, as the file says; 0: it does not */
};

static const struct opt rows[] = {
    OPT(struct prefix_opts, n, "prefix-tokens", OPT_INT, "peft.prefix", .key = "peft.prefix.num_virtual_tokens",
        .arg = "N", .def = "20", .lo = 1, .hi = TOKENS_MAX, .help = "virtual tokens in front of every row"),
    OPT(struct prefix_opts, start, "prefix-init", OPT_ENUM, "peft.prefix", .key = "peft.prefix.init_weights",
        .arg = "HOW", .def = "normal", .choices = "normal|zero",
        .help = "first keys and values: normal random numbers, or zero"),
    OPT(struct prefix_opts, projection, "prefix-projection", OPT_FLAG, "peft.prefix",
        .key = "peft.prefix.prefix_projection",
        .help = "train embeddings and an MLP that makes keys and values of them"),
    OPT(struct prefix_opts, hidden, "prefix-hidden", OPT_INT, "peft.prefix", .key = "peft.prefix.encoder_hidden_size",
        .arg = "N", .def = "0", .lo = 0, .hi = WIDTH_MAX,
        .help = "width of the MLP's hidden layer; 0: that of a layer's keys"),
    OPT_END};

#define F(field) offsetof(struct prefix_opts, field)
static const struct json_key keys[] = {
    {"num_virtual_tokens", KEY_INT, F(n), .lo = 1, .hi = TOKENS_MAX},
    {"num_layers", KEY_INT, F(layers), .text = "0", .hi = WIDTH_MAX},
    {"num_attention_heads", KEY_INT, F(heads), .text = "0", .hi = WIDTH_MAX}, /* of keys and values */
    {"token_dim", KEY_INT, F(width), .text = "0", .hi = WIDTH_MAX},           /* K D */
    {"encoder_hidden_size", KEY_INT, F(hidden), .text = "0", .hi = WIDTH_MAX},
    {"prefix_projection", KEY_BOOL, F(projection), .text = "false"},
    {"inference_mode", KEY_BOOL, F(flat), .text = "true"},
    {.name = "init_weights", .kind = KEY_INFO, .text = "null"},
    {.name = "num_transformer_submodules", .kind = KEY_NEUTRAL, .text = "1"},
    {.name = "modules_to_save", .kind = KEY_NEUTRAL, .text = "null"},
    ADAPTER_KEYS_INFO,
    {.name = NULL}};

static int check(struct adapter *a, const struct model *m, struct err *e)
{
    struct prefix_opts *o = a->config;
    const struct {
        const char *key;
        int64_t *said, is;
    } facts[] = {{"num_layers", &o->layers, m->cfg.L},
                 {"num_attention_heads", &o->heads, m->cfg.K},
                 {"token_dim", &o->width, (int64_t)m->cfg.K * m->cfg.D}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        if (*facts[i].said && *facts[i].said != facts[i].is)
            return err_set(e, E_MISMATCH, "%s is %lld, of the model's keys and values %lld", facts[i].key,
                           (long long)*facts[i].said, (long long)facts[i].is);
        *facts[i].said = facts[i].is;
    }
    if (o->hidden && !o->projection && !o->flat)
        return err_set(e, E_CONFIG, "encoder_hidden_size has no effect without prefix_projection");
    if (!o->projection) o->flat = true;
    if (!o->hidden) o->hidden = o->width; /* as PEFT fills it in */
    return 0;
}

/* Random values as torch.nn.Embedding has them, of which PEFT makes use. */
static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    (void)e;
    const struct prefix_opts *o = a->config;
    const int n = (int)o->n, width = (int)o->width, all = m->cfg.L * 2 * width;
    const bool zero = o->start == START_ZERO;
    if (o->flat) {
        param_add(a, NULL, 0, n, all, zero ? INIT_ZERO : INIT_NORMAL, 1, "prompt_embeddings");
        return 0;
    }
    param_add(a, NULL, 0, n, width, INIT_NORMAL, 1, "prompt_encoder.embedding.weight");
    encoder_linear(a, (int)o->hidden, width, false, "prompt_encoder.transform.0");
    encoder_linear(a, all, (int)o->hidden, zero, "prompt_encoder.transform.2");
    return 0;
}

struct prefix {
    struct prefix_hook h;
    struct rows w; /* [n][L][2][K][D] */
};

static int fwd(const struct prefix_hook *h, const struct prefix_call *c, void *kv)
{
    const struct rows *w = &((const struct prefix *)h)->w;
    return c->ops->rows_gather(c->cx, kv, c->width, w->v + c->layer * c->width, w->width, c->id, c->n, c->width);
}

static int bwd(const struct prefix_hook *h, const struct prefix_call *c, const void *d_kv)
{
    const struct rows *w = &((const struct prefix *)h)->w;
    return c->ops->embed_bwd(c->cx, w->d_v + c->layer * c->width, w->width, d_kv, c->id, c->n, c->width);
}

static int bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    const struct prefix_opts *o = a->config;
    struct rows w = rows_of(a, &a->param[0]);
    if (hooks_virtual(h)) return err_set(e, E_ADAPTER, "virtual tokens of another adapter are there already");
    int rc = o->flat ? 0 : encoder_mlp(a, &a->param[1], 2, ACT_TANH, w, h, &w, e);
    if (rc) return rc;
    struct prefix *p = hooks_alloc(h, 1, sizeof *p);
    p->h = (struct prefix_hook){.n_virtual = (int)w.n, .fwd = fwd, .bwd = bwd, .trained = w.d_v != NULL};
    p->w = w;
    h->prefix = &p->h;
    return 0;
}

static bool has_other_form(const void *config) { return !((const struct prefix_opts *)config)->flat; }

static const float *exported(void *config, struct hooks *h)
{
    struct prefix_opts *o = config;
    o->flat = true;
    return ((const struct prefix *)h->prefix)->w.v;
}

const struct peft_method peft_prefix = {
    .name = "prefix",
    .peft_type = "PREFIX_TUNING",
    .opts = rows,
    .opts_size = sizeof(struct prefix_opts),
    .keys = keys,
    .check = check,
    .declare = declare,
    .bind = bind,
    .has_other_form = has_other_form,
    .exported = exported,
};
