/* whole.c: see whole.h. */
#include "libcommon/peft/whole.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/peft/match.h"

static bool names(const char *entry, const struct site *s)
{
    if (!strcmp(entry, "all")) return true;
    return strcmp(entry, "all-linear") ? match_entry(entry, s) : s->kind == SITE_LINEAR;
}

static int unknown(const struct model *m, const char *entry, struct err *e)
{
    const char **leaf = mem_alloc((size_t)m->n_site, sizeof *leaf);
    struct buf all = {0};
    int n = 0;
    for (int i = 0; i < m->n_site; i++) {
        int k = 0;
        while (k < n && strcmp(leaf[k], m->site[i].leaf)) k++;
        if (k < n) continue;
        leaf[n++] = m->site[i].leaf;
        buf_printf(&all, "%s%s", all.n ? ", " : "", m->site[i].leaf);
    }
    err_set(e, E_TARGET, "target_modules: %s is no module of this model", err_quotez(entry));
    const char *near = err_nearest(entry, leaf, n);
    if (near) err_hint(e, "did you mean %s?", near);
    err_hint(e, "modules: %s; all, or all-linear; expressions are not taken here", buf_str(&all));
    buf_fini(&all);
    free(leaf);
    return -e->id;
}

int whole_declare(struct adapter *a, const struct model *m, const char *before, const char *behind, struct err *e)
{
    const struct strlist *target = &a->shared.target;
    if (match_names_only(&a->shared, a->method->name, e)) return -e->id;
    for (int k = 0; k < target->n; k++) {
        bool found = false;
        for (int i = 0; i < m->n_site && !found; i++) found = names(target->v[k], &m->site[i]);
        if (!found) return unknown(m, target->v[k], e);
    }
    for (int i = 0; i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        bool named = false;
        for (int k = 0; k < target->n; k++) named |= names(target->v[k], s);
        if (!named) continue;
        param_add(a, s, HOOK_WEIGHT, site_rows(s), site_cols(s), INIT_ZERO, 0, "%s%s%s.weight", before, s->path,
                  behind);
        if (s->bias)
            param_add(a, s, HOOK_BIAS, site_rows(s), 0, INIT_ZERO, 0, "%s%s%s.bias", before, s->path, behind)->of_bias =
                true;
    }
    return 0;
}

int whole_start(const struct adapter *a, const struct model *m, uint64_t seed, float *host, struct err *e)
{
    (void)seed;
    int rc = 0;
    for (int i = 0; i < a->n_param && !rc; i++)
        rc = model_values(m, a->param[i].site, a->param[i].of_bias, host + a->param[i].off, e);
    return rc;
}

int whole_bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    int rc = 0;
    for (int i = 0; i < a->n_param && !rc; i++) {
        const struct param *p = &a->param[i];
        rc = hooks_replace(h, p->site, (enum hook_weight)p->role,
                           (struct hook_values){a->data + p->off, param_grad(a, p)}, e);
    }
    return rc;
}

int whole_merge(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int rows,
                int cols, double factor, struct err *e)
{
    (void)e;
    const struct param *p = param_of(a, s, bias ? HOOK_BIAS : HOOK_WEIGHT);
    if (!p) return 0;
    const float *to = data + p->off;
    for (long i = 0; i < (long)rows * cols; i++)
        w[i] = factor == 1 ? to[i] : (float)(w[i] + factor * ((double)to[i] - w[i]));
    return 1;
}
