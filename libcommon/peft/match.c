/* match.c: see match.h. */
#include "libcommon/peft/match.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/peft/pattern.h"

struct match {
    const struct model *model;
    bool *named;      /* [n_site] */
    char *expression; /* NULL: a list of names */
};

bool match_entry(const char *entry, const struct site *s)
{
    const size_t n = strlen(entry), k = strlen(s->path);
    return !strcmp(entry, s->leaf) || !strcmp(entry, s->path) ||
           (k > n && s->path[k - n - 1] == '.' && !strcmp(s->path + k - n, entry));
}

const char **match_leaves(const struct model *m, int *n)
{
    const char **v = mem_alloc((size_t)m->n_site, sizeof *v);
    *n = 0;
    for (int i = 0; i < m->n_site; i++) {
        if (m->site[i].kind != SITE_LINEAR) continue;
        int k = 0;
        while (k < *n && strcmp(v[k], m->site[i].leaf)) k++;
        if (k == *n) v[(*n)++] = m->site[i].leaf;
    }
    return v;
}

static bool names_something(const struct model *m, const char *entry)
{
    for (int i = 0; i < m->n_site; i++)
        if (m->site[i].kind == SITE_LINEAR && match_entry(entry, &m->site[i])) return true;
    return false;
}

static int unknown(const struct model *m, const char *entry, struct err *e)
{
    int n;
    const char **leaf = match_leaves(m, &n);
    struct buf all = {0};
    for (int i = 0; i < n; i++) buf_printf(&all, "%s%s", i ? ", " : "", leaf[i]);
    err_set(e, E_TARGET, "target_modules: %s is no projection of this model", err_quotez(entry));
    const char *near = err_nearest(entry, leaf, n);
    if (near) err_hint(e, "did you mean %s?", near);
    err_hint(e, "projections: %s; or all-linear; or one expression", buf_str(&all));
    buf_fini(&all);
    free(leaf);
    return -e->id;
}

static void match_list(struct match *m, const struct strlist *target)
{
    for (int i = 0; i < m->model->n_site; i++)
        for (int k = 0; k < target->n && !m->named[i]; k++)
            m->named[i] = m->model->site[i].kind == SITE_LINEAR && match_entry(target->v[k], &m->model->site[i]);
}

/* PEFT takes an expression for the names of all modules, and refuses one that also names others than projections: they
 * would be adapted too, or cannot be. So the modules that hold the sites are looked at, as well as the sites. */
static int names_other(const struct pattern *p, const struct site *s, struct err *e)
{
    char *path = mem_dupz(s->path);
    int rc = s->kind == SITE_LINEAR ? 0 : pattern_matches(p, path, e);
    for (char *dot; !rc && (dot = strrchr(path, '.'));) {
        *dot = 0;
        rc = pattern_matches(p, path, e);
    }
    if (rc > 0) {
        rc = err_set(e, E_TARGET, "target_modules: the expression also matches %s, which is no projection of a layer",
                     path);
        err_hint(e, "end it with names of projections, as in .*\\.(q_proj|v_proj); or give all-linear");
    }
    free(path);
    return rc;
}

static int match_expression(struct match *m, struct err *e)
{
    struct pattern *p = pattern_new(m->expression, e);
    if (!p) return -e->id;
    const struct model *model = m->model;
    int rc = 0, n = 0;
    for (int i = 0; i < model->n_site && !rc; i++) {
        if (model->site[i].kind == SITE_LINEAR) {
            const int hit = pattern_matches(p, model->site[i].path, e);
            if (hit < 0) rc = hit;
            m->named[i] = hit > 0;
            n += hit > 0;
        }
        if (!rc) rc = names_other(p, &model->site[i], e);
    }
    pattern_free(p);
    if (rc || n) return rc;
    err_set(e, E_TARGET, "target_modules: %s matches no projection of this model", err_quotez(m->expression));
    return err_hint(e, "it has to match the whole path, such as %s", model_site_kind(model, SITE_LINEAR)->path);
}

/* A list is cut at commas wherever they stand: elements that are no names were one expression. */
static char *expression_of(const struct model *model, const struct strlist *target)
{
    struct buf all = {0};
    bool is = target->n > 0 && !(target->n == 1 && names_something(model, target->v[0]));
    bool special = false;
    for (int i = 0; i < target->n && is; i++) {
        special = special || strpbrk(target->v[i], "*+?[](){}|^$\\");
        buf_printf(&all, "%s%s", i ? "," : "", target->v[i]);
    }
    char *text = special ? mem_dupz(buf_str(&all)) : NULL;
    buf_fini(&all);
    return text;
}

struct match *match_new(const struct model *model, const struct strlist *target, struct err *e)
{
    struct match *m = mem_alloc(1, sizeof *m);
    m->model = model;
    m->named = mem_alloc((size_t)model->n_site, sizeof *m->named);
    m->expression = expression_of(model, target);
    int rc = 0;
    if (!target->n) {
        rc = err_set(e, E_TARGET, "target_modules is empty");
    } else if (target->n == 1 && !strcmp(target->v[0], "all-linear")) {
        for (int i = 0; i < model->n_site; i++) m->named[i] = model->site[i].kind == SITE_LINEAR;
    } else if (m->expression) {
        rc = match_expression(m, e);
    } else {
        for (int i = 0; i < target->n && !rc; i++)
            if (!names_something(model, target->v[i])) rc = unknown(model, target->v[i], e);
        match_list(m, target);
    }
    if (!rc) return m;
    match_free(m);
    return NULL;
}

bool match_site(const struct match *m, const struct site *s) { return m->named[s - m->model->site]; }

const char *match_regex(const struct match *m) { return m->expression; }

void match_free(struct match *m)
{
    if (!m) return;
    free(m->named);
    free(m->expression);
    free(m);
}
