/* decoder.c: the life of a decoder, the step's scalars and what a call costs. Plan: decoder_plan.c; forward pass:
 * decoder_layer.c; training and inference build on it. */
#include "libcommon/model/decoder.h"
#include <stdlib.h>
#include "libcommon/base/mem.h"
#include "libcommon/model/decoder_internal.h"
#include "libcommon/model/device_pick.h"

int decoder_status(struct decoder *d, int status, const char *what, struct err *e)
{
    return device_error(d->m->dev, status, what, e);
}

bool decoder_trained(const struct linear *lin)
{
    for (int i = 0; i < lin->n; i++) {
        const struct lin_slot *s = &lin->part[i].s;
        if (s->d_gain || s->d_gain_in || s->d_w || s->d_bias) return true;
        for (int k = 0; k < s->n_low; k++)
            if (s->low[k].d_a || s->low[k].d_b) return true;
    }
    return false;
}

bool decoder_reads_x(const struct linear *lin)
{
    for (int i = 0; i < lin->n; i++) {
        const struct lin_slot *s = &lin->part[i].s;
        if (s->d_gain_in || s->d_w) return true;
        for (int k = 0; k < s->n_low; k++)
            if (s->low[k].d_a) return true;
    }
    return false;
}

static bool layer_trained(const struct decoder *d, int l)
{
    for (int i = 0; i < LIN_COUNT; i++)
        if (decoder_trained(decoder_lin(d, l, (enum lin_id)i))) return true;
    for (int at = 0; at < HOOK_PLACES; at++) {
        const struct hook *h = decoder_hook(d, (enum hook_at)at, l);
        if (h && h->trained) return true;
    }
    if (d->hooks && d->hooks->prefix && d->hooks->prefix->trained) return true;
    return decoder_norm(d, l, NORM_ATTN)->d_w || decoder_norm(d, l, NORM_MLP)->d_w;
}

static void replace_table(struct table_weight *t, const struct hook_values *v)
{
    if (!v->data) return;
    t->w.data = v->data;
    t->w.dtype = DT_F32;
    t->d_w = v->d_data;
}

/* What stands for a weight or a bias of the site. */
static void replace(struct decoder *d, const struct hooks *hooks, const struct site *s)
{
    const struct hook_values *w = hooks_values(hooks, s, HOOK_WEIGHT), *bias = hooks_values(hooks, s, HOOK_BIAS);
    if (s->kind == SITE_LINEAR) {
        struct lin_part *p = &decoder_lin(d, s->layer, (enum lin_id)s->lin)->part[s->part];
        struct table_weight t = {p->w, p->s.d_w};
        replace_table(&t, w);
        p->w = t.w;
        p->s.d_w = t.d_w;
        if (bias->data) p->bias = bias->data, p->s.d_bias = bias->d_data;
    } else if (s->kind == SITE_NORM && w->data) {
        *(s->norm == NORM_FINAL ? &d->final_norm
                                : decoder_norm(d, s->layer, s->norm)) = (struct norm_weight){w->data, w->d_data};
    } else if (s->kind == SITE_HEAD) {
        replace_table(&d->head, w);
    } else if (s->kind == SITE_EMBED) {
        replace_table(&d->embed, w);
        if (!d->m->cfg.tied) return;
        replace_table(&d->head, w);
        replace_table(&d->embed, hooks_values(hooks, s, HOOK_EMBED_ALONE));
        replace_table(&d->head, hooks_values(hooks, s, HOOK_HEAD_ALONE));
    }
}

static void bind_model(struct decoder *d)
{
    const struct model *m = d->m;
    for (int l = 0; l < m->cfg.L; l++) {
        for (int i = 0; i < LIN_COUNT; i++) *decoder_lin(d, l, (enum lin_id)i) = m->layer[l].lin[i];
        *decoder_norm(d, l, NORM_ATTN) = (struct norm_weight){.w = m->layer[l].attn_norm};
        *decoder_norm(d, l, NORM_MLP) = (struct norm_weight){.w = m->layer[l].mlp_norm};
    }
    d->final_norm = (struct norm_weight){.w = m->final_norm};
    d->embed = (struct table_weight){.w = m->embed};
    d->head = (struct table_weight){.w = m->head};
}

void decoder_bind(struct decoder *d, const struct hooks *hooks)
{
    struct model *m = d->m;
    d->hooks = hooks;
    bind_model(d);
    for (int i = 0; hooks && i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (s->kind == SITE_LINEAR) decoder_lin(d, s->layer, (enum lin_id)s->lin)->part[s->part].s = hooks->slot[i];
        replace(d, hooks, s);
    }
    for (int i = 0; i < m->cfg.L * LIN_COUNT; i++) linear_count(&d->lin[i]);
    d->lowest = m->cfg.L;
    for (int l = m->cfg.L; l-- > 0;)
        if (layer_trained(d, l)) d->lowest = l;
    if (d->embed.d_w || (hooks && hooks->embed && hooks->embed->trained)) d->lowest = -1;
}

int decoder_init(struct decoder *d, struct model *m, const struct hooks *hooks, enum decoder_use use, enum dtype prec,
                 const struct decoder_size *size, struct err *e)
{
    *d = (struct decoder){.m = m, .use = use, .size = *size};
    d->cx = (struct op_ctx){.dev = m->dev, .act = DT_F32, .prec = prec};
    if (!ops_complete(m->ops)) {
        err_set(e, E_DEVICE, "%s: not every operation has a twin for this device in this version", dev_name(m->dev));
        return err_hint(e, "--device cpu runs the whole model");
    }
    const size_t L = (size_t)m->cfg.L;
    d->lin = mem_alloc(L * LIN_COUNT, sizeof *d->lin);
    d->norms = mem_alloc(L * 2, sizeof *d->norms);
    d->layer = mem_alloc(L, sizeof *d->layer);
    d->k_cache = mem_alloc(L, sizeof *d->k_cache);
    d->v_cache = mem_alloc(L, sizeof *d->v_cache);
    decoder_bind(d, hooks);
    return decoder_plan(d, e);
}

int decoder_alloc(struct decoder *d, struct err *e)
{
    int rc = plan_alloc(&d->plan, d->m->dev, 0, e);
    if (rc) return rc;
    d->block_host = d->block;
    if (dev_kind(d->m->dev) != DEVICE_CPU) {
        d->block_host = dev_host_alloc(d->m->dev, d->block_bytes);
        if (!d->block_host)
            return device_error(d->m->dev, dev_last(d->m->dev), "allocation of page-locked memory for a batch", e);
    }
    decoder_block_layout(d, d->block);
    d->rows = (struct lin_rows){.step = d->step};
    d->label_rows = d->rows;
    char *at = d->shared;
    d->cx.scratch = d->head_cx.scratch = at;
    d->ffn = at + d->ffn_at, d->d_wide = at + d->wide_at, d->d_ffn = at + d->d_ffn_at;
    bool shared = d->use == DECODER_INFER || d->size.recompute;
    for (int l = 0; l < d->m->cfg.L && shared; l++) {
        void *in = d->use == DECODER_TRAIN ? d->layer[l].res_in : d->layer[0].res_in;
        d->layer[l] = d->layer[0];
        d->layer[l].res_in = in;
    }
    return 0;
}

void decoder_fini(struct decoder *d)
{
    if (d->block_host && d->block_host != d->block) dev_host_free(d->m->dev, d->block_host);
    plan_free(&d->plan);
    free(d->lin);
    free(d->norms);
    free(d->layer);
    free(d->k_cache);
    free(d->v_cache);
    *d = (struct decoder){0};
}

int decoder_step_begin(struct decoder *d, const struct step_dev *s, struct err *e)
{
    const int rc = dev_from_host(d->m->dev, d->step, s, sizeof *s);
    return decoder_status(d, rc ? rc : hooks_refresh(d->hooks), "begin of a step", e);
}

int decoder_step_end(struct decoder *d, struct step_dev *s, struct err *e)
{
    return decoder_status(d, dev_to_host(d->m->dev, s, d->step, sizeof *s), "end of a step", e);
}

/* Products of what adapters add, a row; above: of the parts behind attention. */
static void adapter_flops(const struct model *m, const struct hooks *h, int l, double *all, double *above)
{
    for (int i = 0; h && i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (s->kind != SITE_LINEAR || s->layer != l) continue;
        double sum = 0;
        for (int k = 0; k < h->slot[i].n_low; k++) sum += 2.0 * h->slot[i].low[k].r * (site_rows(s) + site_cols(s));
        *(s->lin == LIN_QKV ? all : above) += sum;
    }
    for (int at = 0; at < HOOK_PLACES; at++) {
        const struct hook *hook = hooks_at(h, (enum hook_at)at, l);
        if (hook) *above += hook->flops;
    }
}

/* Products of the gradients of weights. */
static double weight_flops(const struct model *m, const struct hooks *h, long T, long n)
{
    double sum = 0;
    for (int i = 0; h && i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        const bool above = s->kind == SITE_LINEAR && s->lin != LIN_QKV && s->layer + 1 == m->cfg.L;
        const bool trained = h->slot[i].d_w || hooks_values(h, s, HOOK_WEIGHT)->d_data;
        const bool head = s->kind == SITE_HEAD || (s->kind == SITE_EMBED && m->cfg.tied);
        if (trained && (s->kind == SITE_LINEAR || head))
            sum += 2.0 * site_rows(s) * site_cols(s) * (double)(head || above ? n : T);
    }
    return sum;
}

double decoder_flops(const struct model *m, const struct hooks *hooks, long T, long n, double mean_len, bool backward)
{
    const struct model_config *c = &m->cfg;
    double qkv = 2.0 * c->C * (c->H + 2 * c->K) * c->D, mlp = 2.0 * c->H * c->D * c->C + 6.0 * (double)c->C * c->F;
    /* the last layer's MLP: label rows alone */
    double dense = c->L * (T * qkv) + ((c->L - 1.0) * (double)T + (double)n) * mlp;
    /* causal: half of 4 H D len; of a prefix all */
    double attn = 2.0 * c->L * c->H * c->D * (mean_len + 2 * hooks_prefix(hooks)) * T;
    double head = 2.0 * (double)c->C * c->V * n, added = 0;
    for (int l = 0; l < c->L; l++) {
        double all = 0, above = 0;
        adapter_flops(m, hooks, l, &all, &above);
        added += all * T + above * (l + 1 < c->L ? T : n);
    }
    double fwd = dense + attn + added + head;
    return backward ? fwd + dense + 2.5 * attn + 2 * added + head + weight_flops(m, hooks, T, n) : fwd;
}
