/* compose_text.c: the grammar of compositions, see compose.h. Parts are flat: nested sums are sums, so that of the
 * structure only the factors and the routes are left. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/num.h"
#include "libcommon/peft/compose.h"

enum { NESTED_MAX = 16 };
#define FACTOR_MAX 1e6

enum kind { KIND_DIR, KIND_STACK, KIND_PARALLEL, KIND_AVERAGE, KIND_ROUTE };
static const char *const kind_names[] = {
    [KIND_STACK] = "stack", [KIND_PARALLEL] = "parallel", [KIND_AVERAGE] = "average", [KIND_ROUTE] = "route"};

static struct str trim(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\n')) s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\n')) s.n--;
    return s;
}

/* Is it KIND(...)? Then *inside is what stands between. */
static enum kind kind_of(struct str s, struct str *inside)
{
    for (enum kind k = KIND_STACK; k <= KIND_ROUTE; k++) {
        const size_t n = strlen(kind_names[k]);
        if (s.n < n + 2 || memcmp(s.p, kind_names[k], n) != 0 || s.p[n] != '(' || s.p[s.n - 1] != ')') continue;
        *inside = (struct str){s.p + n + 1, s.n - n - 2};
        return k;
    }
    return KIND_DIR;
}

/* The items between commas that stand in no parentheses; malloc'ed, NULL on an error. */
static struct str *split(struct str s, int *n, struct err *e)
{
    struct str *item = NULL;
    size_t cap = 0, from = 0;
    int depth = 0;
    *n = 0;
    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n) depth += (s.p[i] == '(') - (s.p[i] == ')');
        if (depth < 0) break;
        if (i < s.n && (s.p[i] != ',' || depth)) continue;
        item = mem_grow(item, &cap, (size_t)*n + 1, sizeof *item);
        item[(*n)++] = trim((struct str){s.p + from, i - from});
        from = i + 1;
    }
    if (!depth) return item;
    free(item);
    err_set(e, E_USAGE, "adapters %s: a parenthesis has no partner", err_quote(s.p, s.n));
    return NULL;
}

/* X:0.5 -> X and 0.5; what follows the last colon and is no number belongs to the name. 1: there is a factor. */
static int take_factor(struct str *s, double *factor)
{
    const char *colon = memrchr(s->p, ':', s->n);
    *factor = 1;
    if (!colon || !num_f64(colon + 1, s->n - (size_t)(colon + 1 - s->p), factor)) return 0;
    s->n = (size_t)(colon - s->p);
    return 1;
}

static int add_dir(struct composition *c, struct str s, double factor, int route, struct err *e)
{
    if (!s.n) return err_set(e, E_USAGE, "adapters: a name is empty");
    if (memchr(s.p, '(', s.n) || memchr(s.p, ')', s.n)) {
        err_set(e, E_USAGE, "adapters: %s is no composition", err_quote(s.p, s.n));
        return err_hint(e, "there are stack(...), parallel(...), average(...), and around them route(...)");
    }
    for (int i = 0; i < c->n; i++)
        if (c->part[i].route == route && str_is(s, c->part[i].dir))
            return err_set(e, E_USAGE, "adapters: %s stands there twice", err_quote(s.p, s.n));
    c->part = mem_grow(c->part, &c->cap_part, (size_t)c->n + 1, sizeof *c->part);
    c->part[c->n++] = (struct composed){.dir = mem_dup(s.p, s.n), .factor = factor, .route = route};
    return 0;
}

static int add_sum(struct composition *c, struct str s, double factor, int route, int depth, struct err *e);

static int add_items(struct composition *c, enum kind kind, const struct str *item, int n, double factor, int route,
                     int depth, struct err *e)
{
    double *own = mem_alloc((size_t)n, sizeof *own), sum = 0;
    struct str *name = mem_alloc((size_t)n, sizeof *name);
    int rc = 0, given = 0;
    for (int i = 0; i < n; i++) {
        name[i] = item[i];
        given += take_factor(&name[i], &own[i]);
        sum += own[i];
        if (!(own[i] >= -FACTOR_MAX && own[i] <= FACTOR_MAX))
            rc = err_set(e, E_USAGE, "adapters: the factor of %s is out of range", err_quote(item[i].p, item[i].n));
    }
    if (!rc && kind == KIND_AVERAGE && given && given < n)
        rc = err_set(e, E_USAGE, "adapters: average(...) has factors for %d of its %d; all or none", given, n);
    if (!rc && kind == KIND_AVERAGE && sum == 0)
        rc = err_set(e, E_USAGE, "adapters: the factors of average(...) add up to 0");
    for (int i = 0; i < n && !rc; i++) {
        const double share = kind == KIND_AVERAGE ? own[i] / sum : own[i];
        rc = add_sum(c, name[i], factor * share, route, depth + 1, e);
    }
    free(own);
    free(name);
    return rc;
}

static int add_sum(struct composition *c, struct str s, double factor, int route, int depth, struct err *e)
{
    struct str inside;
    const enum kind kind = kind_of(s, &inside);
    if (kind == KIND_DIR) return add_dir(c, s, factor, route, e);
    if (kind == KIND_ROUTE) return err_set(e, E_USAGE, "adapters: route(...) stands outside of all others");
    if (depth > NESTED_MAX) return err_set(e, E_USAGE, "adapters: nested more than %d deep", NESTED_MAX);
    int n;
    struct str *item = split(inside, &n, e);
    int rc = item ? add_items(c, kind, item, n, factor, route, depth, e) : -e->id;
    free(item);
    return rc;
}

/* NAME=X */
static int add_route(struct composition *c, struct str s, struct err *e)
{
    const char *equals = memchr(s.p, '=', s.n);
    if (!equals) {
        err_set(e, E_USAGE, "adapters: %s names no route", err_quote(s.p, s.n));
        return err_hint(e, "route(NAME=DIR,NAME=DIR,*=DIR)");
    }
    char *name = mem_dup(s.p, (size_t)(equals - s.p));
    struct str x = trim((struct str){equals + 1, s.n - (size_t)(equals + 1 - s.p)});
    int rc = 0;
    if (strcmp(name, "*") != 0 && !adapter_name_ok(name))
        rc = err_set(e, E_USAGE, "adapters: route %s is not a name that a row can have", err_quotez(name));
    for (int i = 0; i < c->n_route && !rc; i++)
        if (!strcmp(c->route[i], name)) rc = err_set(e, E_USAGE, "adapters: route %s stands there twice", name);
    c->route = mem_grow(c->route, &c->cap_route, (size_t)c->n_route + 1, sizeof *c->route);
    c->route[c->n_route++] = name;
    if (rc || str_is(x, "none")) return rc;
    return add_items(c, KIND_STACK, &x, 1, 1, c->n_route - 1, 1, e);
}

int composition_parse(struct composition *c, const char *text, struct err *e)
{
    *c = (struct composition){0};
    struct str inside, all = trim(STRZ(text));
    const enum kind kind = kind_of(all, &inside);
    if (kind == KIND_DIR) { /* whatever its name has in it */
        c->part = mem_grow(c->part, &c->cap_part, 1, sizeof *c->part);
        c->part[c->n++] = (struct composed){.dir = mem_dupz(text), .factor = 1, .route = -1};
        return 0;
    }
    if (kind != KIND_ROUTE) return add_sum(c, all, 1, -1, 0, e);
    int n, rc = 0;
    struct str *item = split(inside, &n, e);
    if (!item) rc = -e->id;
    for (int i = 0; i < n && !rc; i++) rc = add_route(c, item[i], e);
    free(item);
    if (!rc && !c->n) rc = err_set(e, E_USAGE, "adapters: no route has an adapter");
    return rc;
}
