/* compose.c: see compose.h. The grammar stands in compose_text.c. */
#include "libcommon/peft/compose.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/model/device_pick.h"

void composition_free(struct composition *c)
{
    for (int i = 0; i < c->n; i++) {
        adapter_free(c->part[i].a);
        free(c->part[i].dir);
    }
    for (int i = 0; i < c->n_route; i++) free(c->route[i]);
    free(c->part);
    free(c->route);
    *c = (struct composition){0};
}

/* Two adapters of which at least one is more than a sum of low-rank paths must not meet on a site: a gain, say, would
 * multiply what the other adds, or not, by the order of binding. */
static const struct site *meeting_place(const struct adapter *a, const struct adapter *b)
{
    for (int i = 0; i < a->n_param; i++)
        for (int k = 0; k < b->n_param && a->param[i].site; k++)
            if (a->param[i].site == b->param[k].site) return a->param[i].site;
    return NULL;
}

static bool same_rows(const struct composed *x, const struct composed *y)
{
    return x->route < 0 || y->route < 0 || x->route == y->route;
}

static int check(const struct composition *c, struct err *e)
{
    for (int i = 0; i < c->n; i++) {
        const struct composed *x = &c->part[i];
        const char *method = x->a->method->name;
        if (!x->a->adds && x->route >= 0)
            return err_set(e, E_ADAPTER, "%s: an adapter of method %s cannot hold for some rows of a batch alone",
                           x->dir, method);
        if (!x->a->adds && x->factor != 1)
            return err_set(e, E_ADAPTER, "%s: the effect of method %s is no sum, a factor of %g means nothing", x->dir,
                           method, x->factor);
        for (int k = 0; k < i; k++) {
            const struct composed *y = &c->part[k];
            if ((x->a->adds && y->a->adds) || !same_rows(x, y)) continue;
            const struct site *s = meeting_place(x->a, y->a);
            if (s)
                return err_set(e, E_ADAPTER, "%s (method %s) and %s (method %s) cannot be on one site, %s", y->dir,
                               y->a->method->name, x->dir, method, s->path);
        }
    }
    return 0;
}

int composition_load(struct composition *c, struct model *m, bool force, struct err *e)
{
    for (int i = 0; i < c->n; i++) {
        struct composed *p = &c->part[i];
        if (!p->a) p->a = adapter_load(p->dir, m, force, e);
        if (!p->a) return -e->id;
        p->a->factor = p->factor;
        p->a->span = p->route;
    }
    return check(c, e);
}

int composition_bind(const struct composition *c, struct hooks *h, const struct model *m, struct err *e)
{
    hooks_init(h, m);
    int rc = 0;
    for (int i = 0; i < c->n && !rc; i++) {
        rc = adapter_add(c->part[i].a, h, e);
        if (rc && c->n > 1) err_prefix(e, "%s: ", c->part[i].dir);
    }
    return rc ? rc : device_error(m->dev, hooks_refresh(h), "derived values of the adapters", e);
}

static int route_of(const struct composition *c, const char *name)
{
    for (int i = 0; i < c->n_route; i++)
        if (!strcmp(c->route[i], name)) return i;
    return -1;
}

static int unknown_route(const struct composition *c, const struct dataset_row *r, struct err *e)
{
    struct buf names = {0};
    for (int i = 0; i < c->n_route; i++) buf_printf(&names, "%s%s", i ? ", " : "", c->route[i]);
    if (r->adapter)
        err_set(e, E_MISMATCH, "row %llu names adapter %s, which is none of the routes: %s", (unsigned long long)r->row,
                err_quotez(r->adapter), buf_str(&names));
    else
        err_set(e, E_MISMATCH, "row %llu names no adapter, and there is no route * for such rows, only %s",
                (unsigned long long)r->row, buf_str(&names));
    buf_fini(&names);
    return err_hint(e, "*=DIR is for all other rows, *=none leaves them to the base model");
}

int composition_rows(const struct composition *c, struct dataset *d, size_t *seen, struct err *e)
{
    for (size_t i = 0; i < d->n && c->n_route; i++) {
        struct dataset_row *r = &d->row[i];
        int at = r->adapter ? route_of(c, r->adapter) : -1;
        if (at < 0) at = route_of(c, "*");
        if (at < 0) return unknown_route(c, r, e);
        r->span = at;
        if (seen) seen[at]++;
    }
    return 0;
}

size_t composition_trained_rows(const struct composition *c, const struct dataset *d)
{
    bool *seen = mem_alloc(d->n, sizeof *seen);
    size_t n = 0;
    for (int i = 0; i < c->n; i++)
        for (size_t r = 0; r < d->n; r++) {
            if (c->part[i].route >= 0 && c->part[i].route != d->row[r].span) continue;
            seen[r] |= row_set_has(&c->part[i].a->trained, d, r);
        }
    for (size_t r = 0; r < d->n; r++) n += seen[r];
    free(seen);
    return n;
}
