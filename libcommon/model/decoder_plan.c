/* decoder_plan.c: the memory of a decoder, laid out before anything is allocated. */
#include <string.h>
#include "libcommon/model/decoder_internal.h"

static long max_l(long a, long b) { return a > b ? a : b; }

/* What linears and hooks of a layer keep. */
struct kept_widths {
    int rank[LIN_COUNT], raw[LIN_COUNT];
    long hook[HOOK_PLACES]; /* -1: no hook */
};

static struct kept_widths widths_of(const struct decoder *d, int l)
{
    struct kept_widths w;
    for (int i = 0; i < LIN_COUNT; i++) {
        w.rank[i] = decoder_lin(d, l, (enum lin_id)i)->rank;
        w.raw[i] = d->use == DECODER_TRAIN ? decoder_lin(d, l, (enum lin_id)i)->raw : 0;
    }
    for (int at = 0; at < HOOK_PLACES; at++) {
        const struct hook *h = decoder_hook(d, (enum hook_at)at, l);
        w.hook[at] = h ? h->kept : -1;
    }
    return w;
}

/* With shared buffers the widest must fit every layer. */
static struct kept_widths widest(const struct decoder *d)
{
    struct kept_widths most = widths_of(d, 0);
    for (int l = 1; l < d->m->cfg.L; l++) {
        const struct kept_widths w = widths_of(d, l);
        for (int i = 0; i < LIN_COUNT; i++) {
            most.rank[i] = (int)max_l(most.rank[i], w.rank[i]);
            most.raw[i] = (int)max_l(most.raw[i], w.raw[i]);
        }
        for (int at = 0; at < HOOK_PLACES; at++) most.hook[at] = max_l(most.hook[at], w.hook[at]);
    }
    return most;
}

/* Buffers of one layer; in a shared set the residual inputs are still one per layer when recomputing. */
static int plan_layer(struct decoder *d, int l, const struct kept_widths *w, enum plan_arena arena, bool own_input,
                      struct err *e)
{
    static const char *const lin[LIN_COUNT] = {"qkv", "o", "gate_up", "down"};
    static const char *const place[HOOK_PLACES] = {"attention", "mlp"};
    const struct model_config *c = &d->m->cfg;
    struct layer_acts *a = &d->layer[l];
    struct plan *p = &d->plan;
    long T = d->size.T, qkv = (long)(c->H + 2 * c->K) * c->D;
    int s = dtype_info[d->cx.act].bytes, rc = 0;
    if (own_input) rc |= plan_add(p, arena, &a->res_in, s, T, c->C, e, "layer %d residual_in", l);
    rc |= plan_add(p, arena, &a->qkv, s, T, qkv, e, "layer %d qkv", l);
    rc |= plan_add(p, arena, &a->o, s, T, (long)c->H * c->D, e, "layer %d attention", l);
    rc |= plan_add(p, arena, &a->res_mid, s, T, c->C, e, "layer %d residual_mid", l);
    rc |= plan_add(p, arena, &a->gu, s, T, 2L * c->F, e, "layer %d gate_up", l);
    rc |= plan_add(p, arena, &a->rstd1, 4, T, 1, e, "layer %d rstd1", l);
    rc |= plan_add(p, arena, &a->rstd2, 4, T, 1, e, "layer %d rstd2", l);
    rc |= plan_add(p, arena, &a->lse, 4, T, c->H, e, "layer %d lse", l);
    for (int i = 0; i < LIN_COUNT; i++) {
        rc |= plan_add(p, arena, &a->kept[i].h, 4, T, w->rank[i], e, "layer %d low-rank %s", l, lin[i]);
        rc |= plan_add(p, arena, &a->kept[i].raw, s, T, w->raw[i], e, "layer %d before gain %s", l, lin[i]);
    }
    for (int at = 0; at < HOOK_PLACES; at++) {
        if (w->hook[at] < 0) continue;
        rc |= plan_add(p, arena, &a->sub[at], s, T, c->C, e, "layer %d out of %s", l, place[at]);
        rc |= plan_add(p, arena, &a->hook[at], 4, T, w->hook[at], e, "layer %d hook of %s", l, place[at]);
    }
    return rc ? -(int)e->id : 0;
}

/* The widest need of ops and hooks of the layers. */
static size_t layer_scratch(const struct decoder *d, long *hook_scratch)
{
    const struct model_config *c = &d->m->cfg;
    struct attn a = {.B = d->size.B,
                     .H = c->H,
                     .K = c->K,
                     .D = c->D,
                     .max_q = (int)d->size.T,
                     .max_kv = d->size.cache_rows ? (int)d->size.cache_rows : (int)d->size.T};
    size_t need = op_attn_scratch(&d->cx, &a, d->size.T, d->use == DECODER_TRAIN);
    *hook_scratch = 0;
    for (int l = 0; l < c->L; l++) {
        for (int i = 0; i < LIN_COUNT; i++) {
            /* the model's own too: it is what runs without the hooks, and its weights may be of another type */
            size_t s = op_linear_scratch(&d->cx, decoder_lin(d, l, (enum lin_id)i), d->size.T),
                   own = op_linear_scratch(&d->cx, &d->m->layer[l].lin[i], d->size.T);
            if (s > need) need = s;
            if (own > need) need = own;
        }
        for (int at = 0; at < HOOK_PLACES; at++) {
            const struct hook *h = decoder_hook(d, (enum hook_at)at, l);
            size_t s = h && h->op_scratch ? h->op_scratch(h, &d->cx, d->size.T) : 0;
            if (s > need) need = s;
            if (h) *hook_scratch = max_l(*hook_scratch, h->scratch);
        }
    }
    return need;
}

static size_t head_scratch(const struct decoder *d)
{
    const struct mat *of[] = {&d->m->head, &d->head.w}; /* without the hooks and with them */
    size_t need = 0;
    for (int i = 0; i < 2; i++) {
        size_t logits = d->size.logits ? op_logits_scratch(&d->cx, of[i], d->size.logits) : 0;
        size_t loss = d->size.chunk ? op_head_scratch(&d->cx, of[i], d->size.n, d->size.chunk) : 0;
        if (logits > need) need = logits;
        if (loss > need) need = loss;
    }
    return need;
}

/* Place for [T][width] activations behind *at. */
static size_t put(const struct decoder *d, size_t *at, long width)
{
    size_t was = *at, bytes = (size_t)d->size.T * (size_t)width * (size_t)dtype_info[d->cx.act].bytes;
    *at += (bytes + 63) / 64 * 64;
    return was;
}

static int plan_shared(struct decoder *d, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    const bool train = d->use == DECODER_TRAIN;
    long columns;
    size_t at = (layer_scratch(d, &columns) + 63) / 64 * 64, head = head_scratch(d);
    d->cx.scratch_bytes = at;
    d->ffn_at = put(d, &at, c->F);
    d->wide_at = put(d, &at, train ? max_l(2L * c->F, (long)(c->H + 2 * c->K) * c->D) : 0);
    d->d_ffn_at = put(d, &at, train ? c->F : 0);
    d->head_cx = d->cx;
    d->head_cx.scratch_bytes = at > head ? at : head;
    if (d->hooks && d->hooks->embed) columns = max_l(columns, c->C);
    if (hooks_prefix(d->hooks)) columns = max_l(columns, decoder_kv_width(d));
    int rc = plan_add(&d->plan, ARENA_SCRATCH, &d->hook_scratch, 4, d->size.T, columns, e, "hooks");
    return rc ? rc
              : plan_add(&d->plan, ARENA_SCRATCH, &d->shared, 1, (long)d->head_cx.scratch_bytes, 1, e,
                         "op scratch, swiglu, logits of a chunk");
}

static int plan_layers(struct decoder *d, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    const bool train = d->use == DECODER_TRAIN;
    int s = dtype_info[d->cx.act].bytes, rc = 0;
    if (train && !d->size.recompute) {
        for (int l = 0; l < c->L; l++) {
            const struct kept_widths w = widths_of(d, l);
            rc |= plan_layer(d, l, &w, ARENA_SAVED, true, e);
        }
        return rc;
    }
    const struct kept_widths w = widest(d);
    rc |= plan_layer(d, 0, &w, ARENA_SCRATCH, false, e);
    for (int l = 0; l < (train ? c->L : 1); l++)
        rc |= plan_add(&d->plan, train ? ARENA_SAVED : ARENA_SCRATCH, &d->layer[l].res_in, s, d->size.T, c->C, e,
                       "layer %d residual_in", l);
    return rc;
}

static bool has_hooks(const struct decoder *d)
{
    for (int l = 0; l < d->m->cfg.L; l++)
        for (int at = 0; at < HOOK_PLACES; at++)
            if (decoder_hook(d, (enum hook_at)at, l)) return true;
    return false;
}

/* Keys and values of one layer, those of the prefix among them, and their gradients: in order, unlike q|k|v. */
static int plan_prefix(struct decoder *d, struct err *e)
{
    const long width = decoder_kv_width(d);
    const int s = dtype_info[d->cx.act].bytes;
    int rc = plan_add(&d->plan, ARENA_SCRATCH, &d->kv, s, d->size.T, width, e, "keys and values");
    if (rc || d->use != DECODER_TRAIN) return rc;
    return plan_add(&d->plan, ARENA_SCRATCH, &d->d_kv, s, d->size.T, width, e, "d_keys and d_values");
}

int decoder_plan(struct decoder *d, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    struct plan *p = &d->plan;
    long T = d->size.T, n = d->size.n, kd = (long)c->K * c->D;
    int s = dtype_info[d->cx.act].bytes, rc = plan_layers(d, e);
    const bool train = d->use == DECODER_TRAIN;
    enum plan_arena saved = train ? ARENA_SAVED : ARENA_SCRATCH;
    rc |= plan_add(p, saved, &d->last_res, s, n, c->C, e, "label rows residual_in");
    rc |= plan_add(p, saved, &d->last_o, s, n, (long)c->H * c->D, e, "label rows attention");
    rc |= plan_add(p, saved, &d->x_last, s, n, c->C, e, "label rows residual_last");
    rc |= plan_add(p, ARENA_SCRATCH, &d->norm, s, T, c->C, e, "norm");
    if (hooks_prefix(d->hooks)) rc |= plan_prefix(d, e);
    rc |= plan_add(p, ARENA_SCRATCH, &d->rows_norm, s, n, c->C, e, "label rows normed");
    rc |= plan_add(p, ARENA_SCRATCH, &d->rows_rstd, 4, n, 1, e, "label rows rstd");
    if (train) {
        rc |= plan_add(p, ARENA_SCRATCH, &d->d_rows, s, n, c->C, e, "d_label rows");
        rc |= plan_add(p, ARENA_SCRATCH, &d->d_res, s, T, c->C, e, "d_residual");
        rc |= plan_add(p, ARENA_SCRATCH, &d->d_norm, s, T, max_l(c->C, (long)c->H * c->D), e, "d_norm");
        if (has_hooks(d)) rc |= plan_add(p, ARENA_SCRATCH, &d->d_sub, s, T, c->C, e, "d_out of hooked");
    } else {
        rc |= plan_add(p, ARENA_SCRATCH, &d->logits, 4, d->size.logits, c->V, e, "logits");
        for (int l = 0; l < c->L && d->size.cache_rows; l++) {
            rc |= plan_add(p, ARENA_CACHE, &d->k_cache[l], s, d->size.cache_rows, kd, e, "layer %d keys", l);
            rc |= plan_add(p, ARENA_CACHE, &d->v_cache[l], s, d->size.cache_rows, kd, e, "layer %d values", l);
        }
    }
    if (d->size.chunk) {
        rc |= plan_add(p, ARENA_SCRATCH, &d->nll, 4, n, 1, e, "nll");
        rc |= plan_add(p, ARENA_SCRATCH, &d->best, 4, n, 1, e, "argmax");
    }
    rc |= plan_add(p, ARENA_SCRATCH, &d->step, (int)sizeof *d->step, 1, 1, e, "step scalars");
    decoder_block_layout(d, NULL);
    rc |= plan_add(p, ARENA_SCRATCH, &d->block, 1, (long)d->block_bytes, 1, e, "batch");
    rc |= plan_shared(d, e);
    return rc ? -(int)e->id : 0;
}
