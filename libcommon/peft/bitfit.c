/* bitfit: biases are trained (Ben Zaken et al. 2022). A tensor is what is added to a module's bias; names and
 * configuration keys are those of PEFT's BEFT, which computes that. Modules without a bias are refused: an update of
 * them could not be merged. */
#include <string.h>
#include "libcommon/peft/match.h"
#include "libcommon/peft/adapter.h"

struct bitfit_opts {
    char none; /* the modules are named by the shared option */
};
static const struct opt rows[] = {OPT_END};
static const struct json_key keys[] = {
    {"target_modules", KEY_TARGETS, offsetof(struct adapter_opts, target), .shared = true},
    {"init_weights", KEY_INFO, .text = "true"},
    {"modules_to_save", KEY_NEUTRAL, .text = "null"},
    {"inference_mode", KEY_INFO, .text = "true"},
    ADAPTER_KEYS_INFO,
    {.name = NULL}};

/* "biased" stands for the modules that have a bias: the list is of their names, as PEFT has no word for them. */
static int check(struct adapter *a, const struct model *m, struct err *e)
{
    struct strlist *t = &a->shared.target;
    const bool biased = t->n == 1 && !strcmp(t->v[0], "biased");
    if (biased) *t = (struct strlist){0, adapter_own(a, mem_alloc((size_t)m->n_site, sizeof *t->v))};
    for (int i = 0; i < m->n_site && biased; i++) {
        int k = 0;
        while (k < t->n && strcmp(t->v[k], m->site[i].leaf)) k++;
        if (m->site[i].bias && k == t->n) t->v[t->n++] = adapter_keep(a, m->site[i].leaf);
    }
    if (t->n) return 0;
    err_set(e, E_TARGET, "bitfit trains biases, and architecture %s has none here", m->cfg.arch);
    return err_hint(e, "models such as Qwen2 have some; ln_tuning trains the norms instead");
}

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    if (match_names_only(&a->shared, a->method->name, e)) return -e->id;
    struct match *match = match_new(m, &a->shared, e);
    for (int i = 0; i < m->n_site && match && !e->id; i++) {
        const struct site *s = &m->site[i];
        if (!match_site(match, s)) continue;
        if (!s->bias) err_set(e, E_TARGET, "bitfit: %s has no bias", s->path);
        param_add(a, s, 0, 1, site_rows(s), INIT_ZERO, 0, "base_model.model.%s.beft_bias", s->path)->of_bias = true;
    }
    match_free(match);
    return -e->id;
}

/* The bias that a module computes with. */
struct sum {
    struct derived d;
    const float *base, *delta;
    float *bias; /* [n] */
    int n;
};

static int refresh(const struct derived *d)
{
    const struct sum *s = (const struct sum *)d;
    for (int i = 0; i < s->n; i++) s->bias[i] = s->base[i] + s->delta[i];
    return DEV_OK;
}

static int bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    int rc = 0;
    for (int i = 0; i < a->n_param && !rc; i++) {
        const struct param *p = &a->param[i];
        struct sum *s = hooks_alloc(h, 1, sizeof *s);
        *s = (struct sum){{.refresh = refresh},
                          model_part((struct model *)h->m, p->site)->bias,
                          a->data + p->off,
                          hooks_floats(h, (size_t)p->cols),
                          p->cols};
        rc = hooks_derive(h, &s->d, e);
        if (!rc) rc = hooks_replace(h, p->site, HOOK_BIAS, (struct hook_values){s->bias, param_grad(a, p)}, e);
    }
    return rc;
}

static int merge(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int nrows,
                 int ncols, double factor, struct err *e)
{
    (void)e;
    const struct param *p = param_of(a, s, 0);
    if (!p || !bias) return 0;
    for (int i = 0; i < nrows * ncols; i++) w[i] = (float)(w[i] + factor * (double)data[p->off + i]);
    return 1;
}

const struct peft_method peft_bitfit = {
    .name = "bitfit",
    .peft_type = "BEFT",
    .opts = rows,
    .opts_size = sizeof(struct bitfit_opts),
    .keys = keys,
    .targets = "biased",
    .promises = PROMISE_IDENTITY,
    .check = check,
    .declare = declare,
    .bind = bind,
    .merge = merge,
};
