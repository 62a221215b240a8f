/* match.c: see match.h. */
#include "libcommon/peft/match.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
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
    if (rc < 0) err_prefix(e, "target_modules: ");
    if (rc > 0) {
        rc = err_set(e, E_TARGET, "target_modules: the expression also matches %s, which is no projection of a layer",
                     path);
        err_hint(e, "end it with names of projections, as in .*\\.(q_proj|v_proj); or give all-linear");
    }
    free(path);
    return rc;
}

static int name_by_expression(struct match *m, struct err *e)
{
    struct pattern *p = pattern_new(m->expression, e);
    if (!p) return err_prefix(e, "target_modules: ");
    const struct model *model = m->model;
    int rc = 0, n = 0;
    for (int i = 0; i < model->n_site && !rc; i++) {
        if (model->site[i].kind == SITE_LINEAR) {
            const int hit = pattern_matches(p, model->site[i].path, e);
            if (hit < 0) rc = err_prefix(e, "target_modules: ");
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
char *match_expression(const struct model *model, const struct strlist *l)
{
    struct buf all = {0};
    bool is = l->n > 0 && !(l->n == 1 && model && names_something(model, l->v[0]));
    bool special = false;
    for (int i = 0; i < l->n && is; i++) {
        special = special || strpbrk(l->v[i], "*+?[](){}|^$\\");
        buf_printf(&all, "%s%s", i ? "," : "", l->v[i]);
    }
    char *text = special ? mem_dupz(buf_str(&all)) : NULL;
    buf_fini(&all);
    return text;
}

/* ---- what is left of them ---- */

/* Without the sites that are chosen by the entries of a list, or by an expression. */
static int exclude(struct match *m, const struct strlist *l, struct err *e)
{
    char *expression = match_expression(m->model, l);
    struct pattern *p = expression ? pattern_new(expression, e) : NULL;
    for (int i = 0; i < m->model->n_site && !e->id; i++) {
        const struct site *s = &m->model->site[i];
        bool out = p && m->named[i] && pattern_matches(p, s->path, e) > 0;
        for (int k = 0; k < l->n && !expression; k++) out |= match_entry(l->v[k], s);
        if (out) m->named[i] = false;
    }
    pattern_free(p);
    free(expression);
    return e->id ? err_prefix(e, "exclude_modules: ") : 0;
}

bool match_layers(const char *text, int *first, int *last)
{
    const size_t n = strlen(text), k = strcspn(text, "-");
    int64_t a, b;
    if (!num_i64(text, k, &a) || a < 0 || a > INT_MAX) return false;
    b = a;
    if (k < n && (!num_i64(text + k + 1, n - k - 1, &b) || b < a || b > INT_MAX)) return false;
    *first = (int)a;
    *last = (int)b;
    return true;
}

/* PEFT looks for a list of layers, by these names if there are some, in front of the number. */
static bool in_list_named(const struct site *s, const struct strlist *names, struct err *e)
{
    bool found = !names->n;
    for (int i = 0; i < names->n && !found && !e->id; i++) {
        if (strchr(names->v[i], '|')) {
            err_set(e, E_TARGET, "%s: alternatives are not supported here; give a list", err_quotez(names->v[i]));
            break;
        }
        char *expression = mem_printf("(.*\\.)?(%s)\\.%d\\..*", names->v[i], s->layer);
        struct pattern *p = pattern_new(expression, e);
        found = p && pattern_matches(p, s->path, e) > 0;
        pattern_free(p);
        free(expression);
    }
    if (e->id) err_prefix(e, "layers_pattern: ");
    return found;
}

static int keep_layers(struct match *m, const struct adapter_opts *o, struct err *e)
{
    const int L = m->model->cfg.L;
    bool *kept = mem_alloc((size_t)L, sizeof *kept);
    if (m->expression)
        err_set(e, E_TARGET, "layers_to_transform goes with a list of names in target_modules, not with an expression");
    for (int i = 0, first, last; i < o->layers.n && !e->id; i++) {
        if (!match_layers(o->layers.v[i], &first, &last))
            err_set(e, E_TARGET, "layers_to_transform: found %s, expected numbers of layers, or spans such as 0-%d",
                    err_quotez(o->layers.v[i]), L - 1);
        else if (last >= L)
            err_set(e, E_TARGET, "layers_to_transform: %s: the model has the layers 0 to %d", o->layers.v[i], L - 1);
        for (int l = first; l <= last && !e->id; l++) kept[l] = true;
    }
    for (int i = 0; i < m->model->n_site && !e->id; i++) {
        const struct site *s = &m->model->site[i];
        bool by_path = false;
        for (int k = 0; k < o->target.n; k++) by_path |= !strcmp(o->target.v[k], s->path);
        if (m->named[i] && !by_path) m->named[i] = kept[s->layer] && in_list_named(s, &o->layers_pattern, e);
    }
    free(kept);
    return -e->id;
}

static int narrow(struct match *m, const struct adapter_opts *o, struct err *e)
{
    if (o->layers_pattern.n && !o->layers.n)
        return err_set(e, E_TARGET, "layers_pattern says what layers_to_transform counts in, and that is not given");
    int rc = o->layers.n ? keep_layers(m, o, e) : 0;
    if (!rc && o->exclude.n) rc = exclude(m, &o->exclude, e);
    bool left = false;
    for (int i = 0; i < m->model->n_site; i++) left |= m->named[i];
    if (rc || left) return rc;
    return err_set(e, E_TARGET, "exclude_modules and layers_to_transform leave nothing of target_modules");
}

void match_note(const struct model *m, const struct adapter_opts *o)
{
    char *expression = match_expression(m, &o->exclude);
    for (int i = 0; i < o->exclude.n && !expression; i++) {
        bool found = false;
        for (int k = 0; k < m->n_site && !found; k++) found = match_entry(o->exclude.v[i], &m->site[k]);
        if (!found) msg_warn("exclude_modules: %s is no module of this model", err_quotez(o->exclude.v[i]));
    }
    free(expression);
}

int match_names_only(const struct adapter_opts *o, const char *method, struct err *e)
{
    if (!o->exclude.n && !o->layers.n && !o->layers_pattern.n) return 0;
    err_set(e, E_CONFIG, "%s: exclude_modules and layers_to_transform are not taken", method);
    return err_hint(e, "target_modules takes whole paths");
}

struct match *match_new(const struct model *model, const struct adapter_opts *o, struct err *e)
{
    const struct strlist *target = &o->target;
    struct match *m = mem_alloc(1, sizeof *m);
    m->model = model;
    m->named = mem_alloc((size_t)model->n_site, sizeof *m->named);
    m->expression = match_expression(model, target);
    int rc = 0;
    if (!target->n) {
        rc = err_set(e, E_TARGET, "target_modules is empty");
    } else if (target->n == 1 && !strcmp(target->v[0], "all-linear")) {
        for (int i = 0; i < model->n_site; i++) m->named[i] = model->site[i].kind == SITE_LINEAR;
    } else if (m->expression) {
        rc = name_by_expression(m, e);
    } else {
        for (int i = 0; i < target->n && !rc; i++)
            if (!names_something(model, target->v[i])) rc = unknown(model, target->v[i], e);
        match_list(m, target);
    }
    if (!rc) rc = narrow(m, o, e);
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
