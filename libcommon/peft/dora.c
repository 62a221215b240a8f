/* dora: see lora.h. The gain m / |W + s B A| is derived of the parameters after each update; its gradient is the
 * magnitudes' alone, as in PEFT (section 4.3 of the paper). The bias of a projection stands outside. */
#include <stdlib.h>
#include "libcommon/base/mem.h"
#include "libcommon/model/device_pick.h"
#include "libcommon/peft/lora.h"

struct dora {
    struct derived derived;
    const struct ops *ops;
    struct op_ctx cx;
    struct mat w;
    struct lowrank low;
    const float *m; /* [rows]; what follows too */
    float *d_m, *norm, *gain, *d_gain;
};

int dora_check(const struct adapter *a, const struct model *m, struct err *e)
{
    (void)a;
    if (dev_kind(m->dev) == DEVICE_CPU) return 0;
    err_set(e, E_DEVICE, "%s: DoRA is computed on the CPU only", dev_name(m->dev));
    return err_hint(e, "--device cpu runs the whole model");
}

void dora_declare(struct adapter *a, const struct site *s)
{
    param_add(a, s, LORA_MAGNITUDE, site_rows(s), 0, INIT_ZERO, 0, "base_model.model.%s.lora_magnitude_vector",
              s->path);
    a->param[a->n_param - 1].fast = true;
}

static struct op_ctx context(const struct model *m)
{
    return (struct op_ctx){.dev = m->dev, .act = DT_F32, .prec = DT_F32};
}

int dora_start(const struct adapter *a, const struct model *m, float *host, struct err *e)
{
    const struct op_ctx cx = context(m);
    for (int i = 0; i < a->n_param && !e->id; i++) {
        const struct param *p = &a->param[i];
        if (p->role != LORA_MAGNITUDE) continue;
        const struct lowrank low = lora_path(a, p->site, host, NULL);
        const struct mat *w = &model_part((struct model *)m, p->site)->w;
        float *norm = host + p->off;
        device_error(m->dev, m->ops->row_norms(&cx, norm, w, &low), "norms of a weight", e);
        for (int r = 0; r < p->rows && !e->id; r++)
            if (!(norm[r] > 0))
                err_set(e, E_MODEL, "%s: row %d is all zeros, and DoRA divides by its norm", p->site->path, r);
    }
    return -e->id;
}

static int refresh(const struct derived *derived)
{
    const struct dora *d = (const struct dora *)derived;
    int rc = d->ops->row_norms(&d->cx, d->norm, &d->w, &d->low);
    for (int i = 0; i < d->w.rows; i++) d->gain[i] = d->m[i] / d->norm[i];
    return rc;
}

static int fold(const struct derived *derived)
{
    const struct dora *d = (const struct dora *)derived;
    for (int i = 0; i < d->w.rows; i++) {
        d->d_m[i] += d->d_gain[i] / d->norm[i];
        d->d_gain[i] = 0;
    }
    return DEV_OK;
}

int dora_bind(const struct adapter *a, const struct site *s, const struct lowrank *low, struct hooks *h, struct err *e)
{
    const struct param *m = param_of(a, s, LORA_MAGNITUDE);
    struct lin_slot *slot = hooks_slot(h, s);
    if (slot->gain) return err_set(e, E_BUG, "dora: %s has a gain already", s->path);
    struct dora *d = hooks_alloc(h, 1, sizeof *d);
    const size_t rows = (size_t)m->rows;
    float *values = hooks_alloc(h, 3 * rows, sizeof *values);
    *d = (struct dora){.derived = {.refresh = refresh, .fold = a->grad ? fold : NULL},
                       .ops = h->m->ops,
                       .cx = context(h->m),
                       .w = h->m->layer[s->layer].lin[s->lin].part[s->part].w,
                       .low = *low,
                       .m = a->data + m->off,
                       .d_m = param_grad(a, m),
                       .norm = values,
                       .gain = values + rows,
                       .d_gain = values + 2 * rows};
    slot->gain = d->gain;
    slot->gain_bias = 0;
    slot->gain_drops = 1;
    slot->d_gain = a->grad ? d->d_gain : NULL;
    return hooks_derive(h, &d->derived, e);
}

int dora_gain(const struct adapter *a, const float *data, const struct site *s, const struct mat *w, float *gain)
{
    const struct op_ctx cx = {.dev = a->dev, .act = DT_F32, .prec = DT_F32};
    const struct lowrank low = lora_path(a, s, data, NULL);
    const float *m = data + param_of(a, s, LORA_MAGNITUDE)->off;
    int rc = ops_of(a->dev)->row_norms(&cx, gain, w, &low);
    for (int i = 0; i < w->rows; i++) gain[i] = m[i] / gain[i];
    return rc;
}
