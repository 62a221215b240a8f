/* hooks.c: see hooks.h. */
#include "libcommon/model/hooks.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"

void hooks_init(struct hooks *h, const struct model *m)
{
    *h = (struct hooks){.m = m};
    h->slot = mem_alloc((size_t)m->n_site, sizeof *h->slot);
    h->values = mem_alloc((size_t)m->n_site * HOOK_WEIGHTS, sizeof *h->values);
    h->at = mem_alloc((size_t)m->cfg.L * HOOK_PLACES, sizeof *h->at);
}

void hooks_fini(struct hooks *h)
{
    for (size_t i = 0; i < h->n_owned; i++) free(h->owned[i]);
    for (int i = 0; h->m && i < h->m->n_site; i++) free((void *)h->slot[i].low);
    free(h->owned);
    free(h->derived);
    free(h->slot);
    free(h->values);
    free(h->at);
    *h = (struct hooks){0};
}

void *hooks_alloc(struct hooks *h, size_t n, size_t size)
{
    h->owned = mem_grow(h->owned, &h->cap_owned, h->n_owned + 1, sizeof *h->owned);
    return h->owned[h->n_owned++] = mem_alloc(n, size);
}

float *hooks_floats(struct hooks *h, size_t n)
{
    h->derived_bytes += n * sizeof(float);
    return hooks_alloc(h, n, sizeof(float));
}

struct lin_slot *hooks_slot(struct hooks *h, const struct site *s) { return &h->slot[s - h->m->site]; }

void hooks_low(struct hooks *h, const struct site *s, struct lowrank low)
{
    struct lin_slot *slot = hooks_slot(h, s);
    size_t n = (size_t)slot->n_low;
    struct lowrank *more = mem_alloc(n + 1, sizeof *more);
    if (n) memcpy(more, slot->low, n * sizeof *more);
    more[n] = low;
    free((void *)slot->low);
    slot->low = more;
    slot->n_low++;
}

static struct hook_values *values_of(const struct hooks *h, const struct site *s, enum hook_weight what)
{
    return &h->values[(s - h->m->site) * HOOK_WEIGHTS + what];
}

const struct hook_values *hooks_values(const struct hooks *h, const struct site *s, enum hook_weight what)
{
    return values_of(h, s, what);
}

int hooks_replace(struct hooks *h, const struct site *s, enum hook_weight what, struct hook_values v, struct err *e)
{
    struct hook_values *all = values_of(h, s, HOOK_WEIGHT), *to = values_of(h, s, what);
    const bool use = what == HOOK_EMBED_ALONE || what == HOOK_HEAD_ALONE;
    if (use ? s->kind != SITE_EMBED || !h->m->cfg.tied : what == HOOK_BIAS && s->kind != SITE_LINEAR)
        return err_set(e, E_BUG, "%s has nothing of that kind to be replaced", s->path);
    const bool both = what == HOOK_WEIGHT && (all[HOOK_EMBED_ALONE].data || all[HOOK_HEAD_ALONE].data);
    if (to->data || (use && all->data) || both)
        return err_set(e, E_BUG, "two adapters stand for one weight of %s", s->path);
    *to = v;
    return 0;
}

int hooks_layer(struct hooks *h, enum hook_at at, int layer, const struct hook *hook, struct err *e)
{
    const struct hook **place = &h->at[(int)at * h->m->cfg.L + layer];
    if (*place) return err_set(e, E_BUG, "layer %d has a hook there already", layer);
    *place = hook;
    return 0;
}

const struct hook *hooks_at(const struct hooks *h, enum hook_at at, int layer)
{
    return h ? h->at[(int)at * h->m->cfg.L + layer] : NULL;
}

int hooks_derive(struct hooks *h, const struct derived *d, struct err *e)
{
    if (dev_kind(h->m->dev) != DEVICE_CPU) {
        err_set(e, E_DEVICE, "%s: what this adapter derives of its parameters is computed on the CPU only",
                dev_name(h->m->dev));
        return err_hint(e, "--device cpu runs the whole model");
    }
    h->derived = mem_grow(h->derived, &h->cap_derived, h->n_derived + 1, sizeof(const struct derived *));
    h->derived[h->n_derived++] = d;
    return 0;
}

int hooks_refresh(const struct hooks *h)
{
    int s = DEV_OK;
    for (size_t i = 0; h && i < h->n_derived && !s; i++) s = h->derived[i]->refresh(h->derived[i]);
    return s;
}

int hooks_fold(const struct hooks *h)
{
    int s = DEV_OK;
    for (size_t i = h ? h->n_derived : 0; i-- > 0 && !s;)
        if (h->derived[i]->fold) s = h->derived[i]->fold(h->derived[i]);
    return s;
}
