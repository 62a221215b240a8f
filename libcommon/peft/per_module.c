/* per_module.c: see per_module.h. */
#include "libcommon/peft/per_module.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/peft/match.h"
#include "libcommon/peft/pattern.h"

struct entry {
    char *expression;
    double value;
};

static bool entry_of(struct entry *x, const struct strlist *map, int k, double lo, double hi, bool whole, struct err *e)
{
    const char *eq = strrchr(map->v[k], '=');
    const size_t n = (size_t)(eq - map->v[k]);
    x->expression = mem_dup(map->v[k], n);
    x->value = strtod(eq + 1, NULL);
    for (int i = 0; i < k && !e->id; i++)
        if (!strncmp(map->v[i], map->v[k], n + 1) && strrchr(map->v[i], '=') == map->v[i] + n)
            err_set(e, E_TARGET, "%s stands there twice", err_quotez(x->expression));
    if (!e->id && (!(x->value >= lo && x->value <= hi) || (whole && x->value != floor(x->value))))
        err_set(e, E_CONFIG, "%s: found %s, expected a %s from %g to %g", err_quotez(x->expression), eq + 1,
                whole ? "whole number" : "number", lo, hi);
    return !e->id;
}

static bool apply(const struct entry *x, bool *found, double *value, const struct model *m, const struct match *match,
                  struct err *e)
{
    char *expression = mem_printf("(.*\\.)?(%s)", x->expression);
    struct pattern *p = pattern_new(expression, e);
    bool any = false;
    for (int i = 0; i < m->n_site && p && !e->id; i++) {
        if (pattern_matches(p, m->site[i].path, e) <= 0) continue;
        any |= match_site(match, &m->site[i]);
        if (!found[i]) value[i] = x->value;
        found[i] = true;
    }
    pattern_free(p);
    free(expression);
    return any;
}

double *per_module(const struct strlist *map, double usual, double lo, double hi, bool whole, const char *key,
                   const struct model *m, const struct adapter_opts *targets, struct err *e)
{
    if (e->id) return NULL;
    double *value = mem_alloc((size_t)m->n_site, sizeof *value);
    bool *found = mem_alloc((size_t)m->n_site, sizeof *found);
    struct match *match = match_new(m, targets, e);
    for (int i = 0; i < m->n_site; i++) value[i] = usual;
    for (int k = 0; k < map->n && match && !e->id; k++) {
        struct entry x;
        if (entry_of(&x, map, k, lo, hi, whole, e) && !apply(&x, found, value, m, match, e) && !e->id)
            msg_warn("%s: %s matches no module that is adapted", key, err_quotez(x.expression));
        free(x.expression);
    }
    if (e->id && match) err_prefix(e, "%s: ", key);
    match_free(match);
    free(found);
    if (!e->id) return value;
    free(value);
    return NULL;
}
