/* prompt: prompt tuning (Lester et al. 2021): n virtual tokens in front of every row, whose embeddings [n][C] are
 * trained. They take the positions 0 .. n-1; the row's own tokens follow. Names and configuration keys are those of
 * Hugging Face PEFT. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/rng.h"
#include "libcommon/peft/encoder.h"
#include "libcommon/token/tokenizer.h"

enum { TOKENS_MAX = 4096 };
enum start { START_TEXT, START_RANDOM, START_VOCAB };
#define START_CHOICES "TEXT|RANDOM|SAMPLE_VOCAB"

struct prompt_opts {
    int64_t n;
    int start; /* enum start */
    char *text, *tokenizer;
};

static const struct opt rows[] = {
    OPT(struct prompt_opts, n, "prompt-tokens", OPT_INT, "peft.prompt", .key = "peft.prompt.num_virtual_tokens",
        .arg = "N", .def = "20", .lo = 1, .hi = TOKENS_MAX, .help = "virtual tokens in front of every row"),
    OPT(struct prompt_opts, start, "prompt-init", OPT_ENUM, "peft.prompt", .key = "peft.prompt.prompt_tuning_init",
        .arg = "HOW", .def = "RANDOM", .choices = START_CHOICES,
        .help = "their first values: normal random numbers, embeddings of --prompt-init-text, or of random tokens"),
    OPT(struct prompt_opts, text, "prompt-init-text", OPT_STR, "peft.prompt",
        .key = "peft.prompt.prompt_tuning_init_text", .arg = "TEXT",
        .help = "text whose tokens' embeddings are the first values, repeated or cut to the number of virtual tokens"),
    OPT_END};

#define F(field) offsetof(struct prompt_opts, field)
static const struct json_key keys[] = {
    {"num_virtual_tokens", KEY_INT, F(n), .lo = 1, .hi = TOKENS_MAX},
    {"prompt_tuning_init", KEY_ENUM, F(start), .text = "\"RANDOM\"", .choices = START_CHOICES},
    {"prompt_tuning_init_text", KEY_STR, F(text), .text = "null"},
    {"tokenizer_name_or_path", KEY_STR, F(tokenizer), .text = "null"},
    {.name = "tokenizer_kwargs",
     .kind = KEY_INFO,
     .text = "null"},                                  /* the values are there: nothing is tokenized again */
    {.name = "num_attention_heads", .kind = KEY_INFO}, /* facts of the base, and derived from it here */
    {.name = "num_layers", .kind = KEY_INFO},
    {.name = "token_dim", .kind = KEY_INFO},
    {.name = "num_transformer_submodules", .kind = KEY_NEUTRAL, .text = "1"},
    {.name = "modules_to_save", .kind = KEY_NEUTRAL, .text = "null"},
    {.name = "inference_mode", .kind = KEY_INFO, .text = "true"},
    ADAPTER_KEYS_INFO,
    {.name = NULL}};

static int check(struct adapter *a, const struct model *m, struct err *e)
{
    struct prompt_opts *o = a->config;
    if (o->start == START_TEXT && (!o->text || !*o->text)) {
        err_set(e, E_CONFIG, "prompt_tuning_init TEXT needs a text");
        return err_hint(e, "--prompt-init-text, or prompt_tuning_init_text in the configuration");
    }
    if (o->start != START_TEXT && o->text)
        return err_set(e, E_CONFIG, "prompt_tuning_init_text has no effect without prompt_tuning_init TEXT");
    if (o->start == START_TEXT && !o->tokenizer) o->tokenizer = adapter_keep(a, m->name); /* PEFT wants it named */
    return 0;
}

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    (void)e;
    const struct prompt_opts *o = a->config;
    /* torch.nn.Embedding's own start, of which RANDOM in PEFT makes use */
    param_add(a, NULL, 0, (int)o->n, m->cfg.C, INIT_NORMAL, 1, "prompt_embeddings");
    return 0;
}

/* Ids of the tokens whose embeddings the virtual tokens begin with. */
static int start_ids(const struct prompt_opts *o, const struct model *m, uint64_t seed, struct u32vec *ids,
                     struct err *e)
{
    if (o->start == START_VOCAB) {
        for (int64_t i = 0; i < o->n; i++)
            u32vec_add(ids, (uint32_t)(rng_unit(seed, RNG_INIT, (uint64_t)i) * m->cfg.V));
        return 0;
    }
    struct tokenizer *t = tokenizer_load(m->path, e);
    if (!t) return -e->id;
    /* special tokens as the tokenizer adds them by itself: PEFT calls it on the text as it is */
    int rc = tokenizer_encode(t, STRZ(o->text), tokenizer_adds_bos(t) ? TOK_BOS : 0, ids, NULL, e);
    tokenizer_free(t);
    if (rc < 0) return rc;
    if (!ids->n) return err_set(e, E_CONFIG, "prompt_tuning_init_text has no token");
    for (size_t i = 0; i < ids->n; i++)
        if (ids->v[i] >= (uint32_t)m->cfg.V)
            return err_set(e, E_MISMATCH, "prompt_tuning_init_text: token %u, the model's vocabulary has %d", ids->v[i],
                           m->cfg.V);
    return 0;
}

static int start(const struct adapter *a, const struct model *m, uint64_t seed, float *host, struct err *e)
{
    const struct prompt_opts *o = a->config;
    if (o->start == START_RANDOM) return 0;
    struct u32vec ids = {0};
    int rc = start_ids(o, m, seed, &ids, e);
    const struct tensor *w = model_site_kind(m, SITE_EMBED)->weight;
    const size_t row = dtype_row_bytes(w->dtype, m->cfg.C);
    for (int64_t i = 0; i < o->n && !rc; i++) /* repeated or cut to the number of virtual tokens */
        dtype_to_f32(w->dtype, (const char *)w->data + row * ids.v[(size_t)i % ids.n], host + i * m->cfg.C, m->cfg.C);
    free(ids.v);
    return rc;
}

/* ---- the hook: rows of the residual stream are the virtual tokens' embeddings ---- */

struct prompt_hook {
    struct embed_hook h;
    struct mat w; /* [n][C] f32: the parameters as an embedding */
    float *d_w;
};

static int fwd(const struct embed_hook *h, const struct embed_call *c, void *x)
{
    const struct prompt_hook *p = (const struct prompt_hook *)h;
    int s = c->ops->embed_fwd(c->cx, c->scratch, c->C, c->id, &p->w, c->n);
    return s ? s : c->ops->rows_scatter(c->cx, x, c->C, c->scratch, c->C, c->row, c->n, c->C);
}

static int bwd(const struct embed_hook *h, const struct embed_call *c, const void *d_x)
{
    const struct prompt_hook *p = (const struct prompt_hook *)h;
    int s = c->ops->rows_gather(c->cx, c->scratch, c->C, d_x, c->C, c->row, c->n, c->C);
    return s ? s : c->ops->embed_bwd(c->cx, p->d_w, c->C, c->scratch, c->id, c->n, c->C);
}

int prompt_bind(struct rows w, struct hooks *h, struct err *e)
{
    if (hooks_virtual(h)) return err_set(e, E_ADAPTER, "virtual tokens of another adapter are there already");
    struct prompt_hook *hook = hooks_alloc(h, 1, sizeof *hook);
    hook->h = (struct embed_hook){.n_virtual = (int)w.n, .fwd = fwd, .bwd = bwd, .trained = w.d_v != NULL};
    hook->w = (struct mat){w.v, DT_F32, (int)w.n, (int)w.width};
    hook->d_w = w.d_v;
    h->embed = &hook->h;
    return 0;
}

const float *prompt_rows(const struct hooks *h) { return ((const struct prompt_hook *)h->embed)->w.data; }

static int bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    return prompt_bind(rows_of(a, &a->param[0]), h, e);
}

const struct peft_method peft_prompt = {
    .name = "prompt",
    .peft_type = "PROMPT_TUNING",
    .opts = rows,
    .opts_size = sizeof(struct prompt_opts),
    .keys = keys,
    .check = check,
    .declare = declare,
    .start = start,
    .bind = bind,
};
