/* decoder.c: set-up of a decoder, its memory plan, and the forward pass of a layer; training and inference build on it.
 */
#include "libcommon/model/decoder.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/model/decoder_internal.h"

int decoder_status(struct decoder *d, int status, const char *what, struct err *e)
{
    if (status == DEV_OK) return 0;
    enum err_id id = status == DEV_MEMORY ? E_DEVICE_MEM : status == DEV_UNSUPPORTED ? E_DEVICE : E_BUG;
    return err_set(e, id, "%s: %s failed (%d)%s%s", dev_name(d->m->dev), what, status,
                   *dev_message(d->m->dev) ? ": " : "", dev_message(d->m->dev));
}

static long max_l(long a, long b) { return a > b ? a : b; }

/* Buffers of one layer; in a shared set the residual inputs are still one per layer when recomputing. */
static int plan_layer(struct decoder *d, int l, enum plan_arena arena, bool own_input, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    const struct layer *w = &d->m->layer[l];
    struct layer_acts *a = &d->layer[l];
    struct plan *p = &d->plan;
    long T = d->size.T;
    int s = dtype_info[d->cx.act].bytes, rc = 0;
    long qkv = (long)(c->H + 2 * c->K) * c->D;
    if (own_input) rc |= plan_add(p, arena, &a->res_in, s, T, c->C, e, "layer %d residual_in", l);
    rc |= plan_add(p, arena, &a->qkv, s, T, qkv, e, "layer %d qkv", l);
    rc |= plan_add(p, arena, &a->o, s, T, (long)c->H * c->D, e, "layer %d attention", l);
    rc |= plan_add(p, arena, &a->res_mid, s, T, c->C, e, "layer %d residual_mid", l);
    rc |= plan_add(p, arena, &a->gu, s, T, 2L * c->F, e, "layer %d gate_up", l);
    rc |= plan_add(p, arena, &a->rstd1, 4, T, 1, e, "layer %d rstd1", l);
    rc |= plan_add(p, arena, &a->rstd2, 4, T, 1, e, "layer %d rstd2", l);
    rc |= plan_add(p, arena, &a->lse, 4, T, c->H, e, "layer %d lse", l);
    rc |= plan_add(p, arena, &a->h_qkv, 4, T, w->qkv.rank, e, "layer %d lora_qkv", l);
    rc |= plan_add(p, arena, &a->h_o, 4, T, w->o.rank, e, "layer %d lora_o", l);
    rc |= plan_add(p, arena, &a->h_gu, 4, T, w->gate_up.rank, e, "layer %d lora_gate_up", l);
    rc |= plan_add(p, arena, &a->h_down, 4, T, w->down.rank, e, "layer %d lora_down", l);
    return rc ? -(int)e->id : 0;
}

/* With shared buffers the widest low-rank tails must fit every layer: layer 0 is planned with the largest ranks. */
static void widest_ranks(const struct model *m, int rank[4])
{
    memset(rank, 0, 4 * sizeof *rank);
    for (int l = 0; l < m->cfg.L; l++) {
        const struct linear *lin[4] = {&m->layer[l].qkv, &m->layer[l].o, &m->layer[l].gate_up, &m->layer[l].down};
        for (int i = 0; i < 4; i++)
            if (lin[i]->rank > rank[i]) rank[i] = lin[i]->rank;
    }
}

static int plan_shared_layer(struct decoder *d, struct err *e)
{
    struct layer *w = &d->m->layer[0];
    int rank[4], kept[4] = {w->qkv.rank, w->o.rank, w->gate_up.rank, w->down.rank};
    widest_ranks(d->m, rank);
    w->qkv.rank = rank[0], w->o.rank = rank[1], w->gate_up.rank = rank[2], w->down.rank = rank[3];
    int rc = plan_layer(d, 0, ARENA_SCRATCH, false, e);
    w->qkv.rank = kept[0], w->o.rank = kept[1], w->gate_up.rank = kept[2], w->down.rank = kept[3];
    return rc;
}

static size_t layer_scratch(const struct decoder *d)
{
    const struct model_config *c = &d->m->cfg;
    struct attn a = {.B = d->size.B,
                     .H = c->H,
                     .K = c->K,
                     .D = c->D,
                     .max_q = (int)d->size.T,
                     .max_kv = d->size.cache_rows ? (int)d->size.cache_rows : (int)d->size.T};
    size_t need = op_attn_scratch(&d->cx, &a, d->size.T, d->use == DECODER_TRAIN);
    for (int l = 0; l < c->L; l++) {
        const struct linear *lin[4] = {&d->m->layer[l].qkv, &d->m->layer[l].o, &d->m->layer[l].gate_up,
                                       &d->m->layer[l].down};
        for (int i = 0; i < 4; i++) {
            size_t s = op_linear_scratch(&d->cx, lin[i], d->size.T);
            if (s > need) need = s;
        }
    }
    return need;
}

static size_t head_scratch(const struct decoder *d)
{
    struct linear head = {.n = 1, .in = d->m->cfg.C, .out = d->m->cfg.V, .part = {{.w = d->m->head}}};
    size_t logits = d->size.logits ? op_linear_scratch(&d->cx, &head, d->size.logits) : 0;
    size_t loss = d->size.chunk ? op_head_scratch(&d->cx, &d->m->head, d->size.n, d->size.chunk) : 0;
    return logits > loss ? logits : loss;
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
    size_t at = (layer_scratch(d) + 63) / 64 * 64, head = head_scratch(d);
    d->cx.scratch_bytes = at;
    d->ffn_at = put(d, &at, c->F);
    d->wide_at = put(d, &at, train ? max_l(2L * c->F, (long)(c->H + 2 * c->K) * c->D) : 0);
    d->d_ffn_at = put(d, &at, train ? c->F : 0);
    d->head_cx = d->cx;
    d->head_cx.scratch_bytes = at > head ? at : head;
    return plan_add(&d->plan, ARENA_SCRATCH, &d->shared, 1, (long)d->head_cx.scratch_bytes, 1, e,
                    "op scratch, swiglu, logits of a chunk");
}

static int plan_all(struct decoder *d, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    struct plan *p = &d->plan;
    long T = d->size.T, n = d->size.n;
    int s = dtype_info[d->cx.act].bytes, rc = 0;
    bool train = d->use == DECODER_TRAIN;
    long hd = max_l(c->C, (long)c->H * c->D);

    if (train && !d->size.recompute) {
        for (int l = 0; l < c->L; l++) rc |= plan_layer(d, l, ARENA_SAVED, true, e);
    } else {
        rc |= plan_shared_layer(d, e);
        for (int l = 0; l < (train ? c->L : 1); l++)
            rc |= plan_add(p, train ? ARENA_SAVED : ARENA_SCRATCH, &d->layer[l].res_in, s, T, c->C, e,
                           "layer %d residual_in", l);
    }
    enum plan_arena saved = train ? ARENA_SAVED : ARENA_SCRATCH;
    rc |= plan_add(p, saved, &d->last_res, s, n, c->C, e, "label rows residual_in");
    rc |= plan_add(p, saved, &d->last_o, s, n, (long)c->H * c->D, e, "label rows attention");
    rc |= plan_add(p, saved, &d->x_last, s, n, c->C, e, "label rows residual_last");
    rc |= plan_add(p, ARENA_SCRATCH, &d->norm, s, T, c->C, e, "norm");
    rc |= plan_add(p, ARENA_SCRATCH, &d->rows_norm, s, n, c->C, e, "label rows normed");
    rc |= plan_add(p, ARENA_SCRATCH, &d->rows_rstd, 4, n, 1, e, "label rows rstd");
    if (train) {
        rc |= plan_add(p, ARENA_SCRATCH, &d->d_rows, s, n, c->C, e, "d_label rows");
        rc |= plan_add(p, ARENA_SCRATCH, &d->d_res, s, T, c->C, e, "d_residual");
        rc |= plan_add(p, ARENA_SCRATCH, &d->d_norm, s, T, hd, e, "d_norm");
    } else {
        rc |= plan_add(p, ARENA_SCRATCH, &d->logits, s, d->size.logits, c->V, e, "logits");
        for (int l = 0; l < c->L && d->size.cache_rows; l++) {
            rc |= plan_add(p, ARENA_CACHE, &d->k_cache[l], s, d->size.cache_rows, (long)c->K * c->D, e, "layer %d keys",
                           l);
            rc |= plan_add(p, ARENA_CACHE, &d->v_cache[l], s, d->size.cache_rows, (long)c->K * c->D, e,
                           "layer %d values", l);
        }
    }
    if (d->size.chunk) {
        rc |= plan_add(p, ARENA_SCRATCH, &d->nll, 4, n, 1, e, "nll");
        rc |= plan_add(p, ARENA_SCRATCH, &d->best, 4, n, 1, e, "argmax");
    }
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.ids, 4, T, 1, e, "ids");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.pos, 4, T, 1, e, "positions");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.cache_row, 4, T, 1, e, "cache rows");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.uid, 8, T, 1, e, "token uids");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.row_uid, 8, n, 1, e, "label row uids");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.q_start, 4, d->size.B, 1, e, "q_start");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.q_len, 4, d->size.B, 1, e, "q_len");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.kv_start, 4, d->size.B, 1, e, "kv_start");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.kv_len, 4, d->size.B, 1, e, "kv_len");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.row, 4, n, 1, e, "label row numbers");
    rc |= plan_add(p, ARENA_SCRATCH, &d->dev.label, 4, n, 1, e, "labels");
    rc |= plan_shared(d, e);
    return rc ? -e->id : 0;
}

bool decoder_trained(const struct linear *lin)
{
    for (int i = 0; i < lin->n; i++)
        if (lin->part[i].r && lin->part[i].d_a) return true;
    return false;
}

int decoder_init(struct decoder *d, struct model *m, enum decoder_use use, enum dtype prec,
                 const struct decoder_size *size, struct err *e)
{
    *d = (struct decoder){.m = m, .use = use, .size = *size};
    d->cx = (struct op_ctx){.dev = m->dev, .act = DT_F32, .prec = prec};
    if (!m->ops->attn_fwd || !m->ops->attn_bwd)
        return err_set(e, E_DEVICE, "%s: attention has no twin for this device in this version", dev_name(m->dev)),
               err_hint(e, "--device cpu runs the whole model");
    d->layer = mem_alloc((size_t)m->cfg.L, sizeof *d->layer);
    d->k_cache = mem_alloc((size_t)m->cfg.L, sizeof *d->k_cache);
    d->v_cache = mem_alloc((size_t)m->cfg.L, sizeof *d->v_cache);
    d->row_uid = mem_alloc((size_t)size->n, sizeof *d->row_uid);
    d->lowest = m->cfg.L;
    for (int l = m->cfg.L; l-- > 0;) {
        const struct layer *w = &m->layer[l];
        if (decoder_trained(&w->qkv) || decoder_trained(&w->o) || decoder_trained(&w->gate_up) ||
            decoder_trained(&w->down))
            d->lowest = l;
    }
    return plan_all(d, e);
}

int decoder_alloc(struct decoder *d, struct err *e)
{
    int rc = plan_alloc(&d->plan, d->m->dev, 0, e);
    if (rc) return rc;
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
    plan_free(&d->plan);
    free(d->layer);
    free(d->k_cache);
    free(d->v_cache);
    free(d->row_uid);
    *d = (struct decoder){0};
}

int decoder_upload(struct decoder *d, const struct batch *b, struct err *e)
{
    if (b->T < 1 || b->T > d->size.T || b->n > d->size.n || b->n > b->T || b->B < 1 || b->B > d->size.B)
        return err_set(e, E_BUG, "decoder: batch of %ld tokens, %d sequences, %ld rows; planned %ld, %d, %ld", b->T,
                       b->B, b->n, d->size.T, d->size.B, d->size.n);
    struct device *dev = d->m->dev;
    size_t T4 = (size_t)b->T * 4, B4 = (size_t)b->B * 4, n4 = (size_t)b->n * 4;
    int s = dev_from_host(dev, d->dev.ids, b->ids, T4);
    if (!s) s = dev_from_host(dev, d->dev.pos, b->pos, T4);
    if (!s) s = dev_from_host(dev, d->dev.q_start, b->q_start, B4);
    if (!s) s = dev_from_host(dev, d->dev.q_len, b->q_len, B4);
    if (!s && b->uid) s = dev_from_host(dev, d->dev.uid, b->uid, T4 * 2);
    if (!s && b->uid && b->n) {
        for (long i = 0; i < b->n; i++) d->row_uid[i] = b->uid[b->row[i]];
        s = dev_from_host(dev, d->dev.row_uid, d->row_uid, n4 * 2);
    }
    if (!s && b->cache_row) {
        s = dev_from_host(dev, d->dev.cache_row, b->cache_row, T4);
        if (!s) s = dev_from_host(dev, d->dev.kv_start, b->kv_start, B4);
        if (!s) s = dev_from_host(dev, d->dev.kv_len, b->kv_len, B4);
    }
    if (!s && b->n) s = dev_from_host(dev, d->dev.row, b->row, n4);
    if (!s && b->n && b->label) s = dev_from_host(dev, d->dev.label, b->label, n4);
    d->drop.uid = d->dev.uid;
    return decoder_status(d, s, "copy of the batch", e);
}

void decoder_attn(const struct decoder *d, const struct batch *b, struct attn *a)
{
    const struct model_config *c = &d->m->cfg;
    long ld = (long)(c->H + 2 * c->K) * c->D;
    bool cached = b->cache_row != NULL;
    *a = (struct attn){.B = b->B,
                       .H = c->H,
                       .K = c->K,
                       .D = c->D,
                       .scale = 1.0f / sqrtf((float)c->D),
                       .q_start = d->dev.q_start,
                       .q_len = d->dev.q_len,
                       .kv_start = cached ? d->dev.kv_start : d->dev.q_start,
                       .kv_len = cached ? d->dev.kv_len : d->dev.q_len,
                       .ldq = ld,
                       .ldkv = cached ? (long)c->K * c->D : ld,
                       .ldo = (long)c->H * c->D};
    for (int i = 0; i < b->B; i++) {
        int kv = cached ? b->kv_len[i] : b->q_len[i];
        if (b->q_len[i] > a->max_q) a->max_q = b->q_len[i];
        if (kv > a->max_kv) a->max_kv = kv;
    }
}

struct mlp_rows decoder_mlp_rows(const struct decoder *d, const struct batch *b, int l)
{
    const struct layer_acts *a = &d->layer[l];
    struct mlp_rows r = {
        .T = b->T, .res_in = a->res_in, .o = a->o, .drop = d->drop, .d_res = d->d_res, .d_o = d->d_norm};
    if (l + 1 < d->m->cfg.L) return r;
    r = (struct mlp_rows){
        .T = b->n, .res_in = d->last_res, .o = d->last_o, .drop = d->drop, .d_res = d->d_rows, .d_o = d->d_wide};
    r.drop.uid = d->dev.row_uid;
    return r;
}

static int attention_half(struct decoder *d, const struct batch *b, const struct attn *at, int l)
{
    const struct model *m = d->m;
    const struct model_config *c = &m->cfg;
    const struct layer *w = &m->layer[l];
    const struct ops *ops = m->ops;
    const struct op_ctx *cx = &d->cx;
    struct layer_acts *a = &d->layer[l];
    long T = b->T, ld = (long)(c->H + 2 * c->K) * c->D, kd = (long)c->K * c->D;
    size_t es = (size_t)dtype_info[cx->act].bytes;
    char *q = a->qkv, *k = q + (size_t)c->H * (size_t)c->D * es, *v = k + (size_t)kd * es;
    const void *keys = k, *values = v;

    int s = ops->norm_fwd(cx, d->norm, a->rstd1, a->res_in, w->attn_norm, T, c->C, c->norm_eps);
    if (!s) s = ops->linear_fwd(cx, q, NULL, d->norm, a->h_qkv, &w->qkv, &d->drop, T);
    if (!s) s = ops->rope(cx, q, ld, d->dev.pos, m->inv_freq, T, c->H + c->K, c->D, 1);
    if (!s && b->cache_row) {
        s = ops->rows_scatter(cx, d->k_cache[l], kd, k, ld, d->dev.cache_row, T, kd);
        if (!s) s = ops->rows_scatter(cx, d->v_cache[l], kd, v, ld, d->dev.cache_row, T, kd);
        keys = d->k_cache[l], values = d->v_cache[l];
    }
    return s ? s : ops->attn_fwd(cx, a->o, a->lse, q, keys, values, at);
}

static int mlp_half(struct decoder *d, const struct mlp_rows *r, int l, void *out)
{
    const struct model_config *c = &d->m->cfg;
    const struct layer *w = &d->m->layer[l];
    const struct ops *ops = d->m->ops;
    const struct op_ctx *cx = &d->cx;
    struct layer_acts *a = &d->layer[l];
    int s = ops->linear_fwd(cx, a->res_mid, r->res_in, r->o, a->h_o, &w->o, &r->drop, r->T);
    if (!s) s = ops->norm_fwd(cx, d->norm, a->rstd2, a->res_mid, w->mlp_norm, r->T, c->C, c->norm_eps);
    if (!s) s = ops->linear_fwd(cx, a->gu, NULL, d->norm, a->h_gu, &w->gate_up, &r->drop, r->T);
    if (s || (!out && !w->down.rank)) return s;
    s = ops->swiglu_fwd(cx, d->ffn, a->gu, r->T, c->F);
    return s ? s : ops->linear_fwd(cx, out ? out : d->norm, a->res_mid, d->ffn, a->h_down, &w->down, &r->drop, r->T);
}

/* One layer: out = layer(a->res_in). out NULL: only what the backward pass needs (recomputation). */
int decoder_layer(struct decoder *d, const struct batch *b, const struct attn *at, int l, void *out, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    const struct ops *ops = d->m->ops;
    const struct layer_acts *a = &d->layer[l];
    const struct mlp_rows r = decoder_mlp_rows(d, b, l);
    const long hd = (long)c->H * c->D;
    int s = attention_half(d, b, at, l);
    if (!s && r.o != a->o) {
        s = ops->rows_gather(&d->cx, r.o, hd, a->o, hd, d->dev.row, r.T, hd);
        if (!s) s = ops->rows_gather(&d->cx, r.res_in, c->C, a->res_in, c->C, d->dev.row, r.T, c->C);
    }
    if (!s && r.T) s = mlp_half(d, &r, l, out);
    return decoder_status(d, s, "a layer", e);
}

int decoder_forward(struct decoder *d, const struct batch *b, struct attn *at, struct err *e)
{
    int L = d->m->cfg.L, rc = decoder_upload(d, b, e);
    if (rc) return rc;
    decoder_attn(d, b, at);
    rc = decoder_status(d, d->m->ops->embed_fwd(&d->cx, d->layer[0].res_in, d->dev.ids, &d->m->embed, b->T),
                        "embedding", e);
    for (int l = 0; l < L && !rc; l++)
        rc = decoder_layer(d, b, at, l, l + 1 < L ? d->layer[l + 1].res_in : d->x_last, e);
    return rc;
}

int decoder_final_norm(struct decoder *d, const struct batch *b, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    int s = d->m->ops->norm_fwd(&d->cx, d->rows_norm, d->rows_rstd, d->x_last, d->m->final_norm, b->n, c->C,
                                c->norm_eps);
    return decoder_status(d, s, "final norm", e);
}

double decoder_flops(const struct model *m, long T, long n, double mean_len, bool backward)
{
    const struct model_config *c = &m->cfg;
    double qkv = 2.0 * c->C * (c->H + 2 * c->K) * c->D, mlp = 2.0 * c->H * c->D * c->C + 6.0 * (double)c->C * c->F;
    /* the last layer's MLP: label rows alone */
    double dense = c->L * (T * qkv) + ((c->L - 1.0) * (double)T + (double)n) * mlp;
    double attn = 2.0 * c->L * c->H * c->D * mean_len * T; /* causal: half of 4 H D len */
    double head = 2.0 * (double)c->C * c->V * n, lora = 0;
    for (int l = 0; l < c->L; l++)
        for (int i = 0; i < MOD_COUNT; i++) {
            const struct lin_part *p = model_part((struct model *)m, l, (enum module)i);
            lora += 2.0 * p->r * (p->w.rows + p->w.cols) * (l + 1 < c->L || i < MOD_O ? T : n);
        }
    double fwd = dense + attn + lora + head;
    return backward ? fwd + dense + 2.5 * attn + 2 * lora + head : fwd;
}
