/* prefix: prefix tuning (Li & Liang 2021; of every layer: Liu et al. 2021): keys and values of n virtual tokens in
 * front of every row, in each layer; the row's own tokens begin at position n. One tensor [n][L][2][K][D]: keys go
 * where RoPE would leave them. Names and configuration keys are those of Hugging Face PEFT. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/peft/method.h"

enum { TOKENS_MAX = 4096 };
enum start { START_NORMAL, START_ZERO };

struct prefix_opts {
    int64_t n;
    int start;                            /* enum start */
    int64_t layers, heads, width, hidden; /* of the base, as the file says; 0: it does not */
};

static const struct opt rows[] = {
    OPT(struct prefix_opts, n, "prefix-tokens", OPT_INT, "peft.prefix", .key = "peft.prefix.num_virtual_tokens",
        .arg = "N", .def = "20", .lo = 1, .hi = TOKENS_MAX, .help = "virtual tokens in front of every row"),
    OPT(struct prefix_opts, start, "prefix-init", OPT_ENUM, "peft.prefix", .key = "peft.prefix.init_weights",
        .arg = "HOW", .def = "normal", .choices = "normal|zero",
        .help = "first keys and values: normal random numbers, or zero"),
    OPT_END};

#define F(field) offsetof(struct prefix_opts, field)
static const struct json_key keys[] = {
    {"num_virtual_tokens", KEY_INT, F(n), .lo = 1, .hi = TOKENS_MAX},
    {"num_layers", KEY_INT, F(layers), .text = "0", .hi = 1 << 20},
    {"num_attention_heads", KEY_INT, F(heads), .text = "0", .hi = 1 << 20},  /* of keys and values */
    {"token_dim", KEY_INT, F(width), .text = "0", .hi = 1 << 20},            /* K D */
    {"encoder_hidden_size", KEY_INT, F(hidden), .text = "0", .hi = 1 << 20}, /* of how it was trained: it is flat */
    {.name = "prefix_projection", .kind = KEY_INFO, .text = "false"},
    {.name = "init_weights", .kind = KEY_INFO, .text = "null"},
    {.name = "num_transformer_submodules", .kind = KEY_NEUTRAL, .text = "1"},
    {.name = "modules_to_save", .kind = KEY_NEUTRAL, .text = "null"},
    {.name = "auto_mapping", .kind = KEY_INFO, .text = "null"},
    {.name = "inference_mode", .kind = KEY_INFO, .text = "true"},
    {.name = "revision", .kind = KEY_INFO, .text = "null"},
    {.name = "task_type", .kind = KEY_INFO, .text = "\"CAUSAL_LM\""},
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
    if (!o->hidden) o->hidden = o->width; /* as PEFT fills it in */
    return 0;
}

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    (void)e;
    const struct prefix_opts *o = a->config;
    /* torch.nn.Embedding's own start, of which PEFT makes use */
    param_add(a, NULL, 0, (int)o->n, m->cfg.L * 2 * m->cfg.K * m->cfg.D,
              o->start == START_ZERO ? INIT_ZERO : INIT_NORMAL, 1, "prompt_embeddings");
    return 0;
}

struct prefix {
    struct prefix_hook h;
    const float *w; /* [n][ld], of which a layer has 2 K D */
    float *d_w;
    long ld;
};

static int fwd(const struct prefix_hook *h, const struct prefix_call *c, void *kv)
{
    const struct prefix *p = (const struct prefix *)h;
    return c->ops->rows_gather(c->cx, kv, c->width, p->w + c->layer * c->width, p->ld, c->id, c->n, c->width);
}

static int bwd(const struct prefix_hook *h, const struct prefix_call *c, const void *d_kv)
{
    const struct prefix *p = (const struct prefix *)h;
    return c->ops->embed_bwd(c->cx, p->d_w + c->layer * c->width, p->ld, d_kv, c->id, c->n, c->width);
}

static int bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    if (hooks_virtual(h)) return err_set(e, E_BUG, "prefix: there are virtual tokens already");
    const struct param *p = &a->param[0];
    struct prefix *hook = hooks_alloc(h, 1, sizeof *hook);
    hook->h = (struct prefix_hook){.n_virtual = p->rows, .fwd = fwd, .bwd = bwd, .trained = a->grad != NULL};
    hook->w = a->data + p->off;
    hook->d_w = param_grad(a, p);
    hook->ld = p->cols;
    h->prefix = &hook->h;
    return 0;
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
};
