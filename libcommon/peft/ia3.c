/* ia3: vectors of gains (Liu et al. 2022, section 3.3): the output of a targeted projection is multiplied by a vector l
 * [out], or, for feed-forward modules, its input by l [in]. Names and configuration keys are those of Hugging Face
 * PEFT. */
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/peft/match.h"
#include "libcommon/peft/method.h"

#define USUAL "down_proj" /* the feed-forward module that PEFT takes by itself */
enum role { ROLE_OUT, ROLE_IN };

struct ia3_opts {
    struct strlist feedforward; /* names among the targets; "auto": the usual one, if it is a target */
};

static const struct opt rows[] = {
    {.name = "ia3-feedforward",
     .type = OPT_LIST,
     .off = offsetof(struct ia3_opts, feedforward),
     .section = "peft.ia3",
     .key = "peft.ia3.feedforward_modules",
     .arg = "LIST",
     .def = "auto",
     .help = "targets whose input is scaled instead of their output; auto: down_proj, if it is a target"},
    OPT_END};

static const struct json_key keys[] = {
    ADAPTER_KEYS_TARGETS,
    {"feedforward_modules", KEY_LIST, offsetof(struct ia3_opts, feedforward), .text = "[]"},
    {"init_ia3_weights", KEY_INFO, .text = "true"},
    {"fan_in_fan_out", KEY_NEUTRAL, .text = "false"},
    {"modules_to_save", KEY_NEUTRAL, .text = "null"},
    {"inference_mode", KEY_INFO, .text = "true"},
    ADAPTER_KEYS_INFO,
    {.name = NULL}};

/* Feed-forward entries are plain ends of paths, unlike target_modules: PEFT needs no dot before them. */
static bool is_entry(const char *entry, const struct site *s)
{
    const size_t n = strlen(entry), k = strlen(s->path);
    return k >= n && !strcmp(s->path + k - n, entry);
}

/* "auto" becomes what it stands for; other names must be targets, as PEFT demands. */
static int check(struct adapter *a, const struct model *m, struct err *e)
{
    struct ia3_opts *o = a->config;
    const bool automatic = o->feedforward.n == 1 && !strcmp(o->feedforward.v[0], "auto");
    if (automatic) o->feedforward.v[0] = adapter_keep(a, USUAL);
    struct match *match = match_new(m, &a->shared, e);
    if (!match) return -e->id;
    for (int i = 0; i < o->feedforward.n; i++) {
        bool found = false;
        for (int k = 0; k < m->n_site && !found; k++)
            found = match_site(match, &m->site[k]) && is_entry(o->feedforward.v[i], &m->site[k]);
        /* PEFT writes its default even where it is no target, and then nothing is scaled by it */
        if (found || (!automatic && !strcmp(o->feedforward.v[i], USUAL))) continue;
        if (automatic)
            o->feedforward.n = 0;
        else
            err_set(e, E_CONFIG, "feedforward_modules: %s is none of the target_modules",
                    err_quotez(o->feedforward.v[i]));
    }
    match_free(match);
    return -e->id;
}

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    const struct ia3_opts *o = a->config;
    struct match *match = match_new(m, &a->shared, e);
    if (!match) return -e->id;
    for (int i = 0; i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (!match_site(match, s)) continue;
        bool in = false;
        for (int k = 0; k < o->feedforward.n; k++) in |= is_entry(o->feedforward.v[k], s);
        if (in)
            param_add(a, s, ROLE_IN, 1, site_cols(s), INIT_ONE, 0, "base_model.model.%s.ia3_l", s->path);
        else
            param_add(a, s, ROLE_OUT, site_rows(s), 1, INIT_ONE, 0, "base_model.model.%s.ia3_l", s->path);
    }
    match_free(match);
    return 0;
}

static int bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    for (int i = 0; i < a->n_param; i++) {
        const struct param *p = &a->param[i];
        struct lin_slot *s = hooks_slot(h, p->site);
        if (s->gain || s->gain_in) return err_set(e, E_BUG, "ia3: %s has a gain already", p->site->path);
        if (p->role == ROLE_IN)
            s->gain_in = a->data + p->off, s->d_gain_in = param_grad(a, p);
        else
            s->gain = a->data + p->off, s->d_gain = param_grad(a, p), s->gain_bias = 1;
    }
    return 0;
}

static int merge(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int nrows,
                 int ncols, double factor, struct err *e)
{
    (void)e;
    const struct param *out = param_of(a, s, ROLE_OUT), *in = param_of(a, s, ROLE_IN);
    if (!out && (!in || bias)) return 0;
    const float *l = data + (out ? out : in)->off;
    for (long r = 0; r < nrows; r++)
        for (long c = 0; c < ncols; c++) {
            const double gain = 1 + factor * ((double)l[out ? r : c] - 1);
            w[r * ncols + c] = (float)(w[r * ncols + c] * gain);
        }
    return 1;
}

const struct peft_method peft_ia3 = {
    .name = "ia3",
    .peft_type = "IA3",
    .opts = rows,
    .opts_size = sizeof(struct ia3_opts),
    .keys = keys,
    .targets = "k_proj,v_proj,down_proj",
    .promises = PROMISE_IDENTITY | PROMISE_MERGES_BIAS,
    .check = check,
    .declare = declare,
    .bind = bind,
    .merge = merge,
};
