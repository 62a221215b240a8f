/* merge_model: see merge_model.h. */
#include "libcommon/merge/merge_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"
#include "libcommon/format/gguf.h"
#include "libcommon/format/json.h"

enum { CHUNK = 1 << 20 };
#define F16_LIMIT  65520.0f /* from here on f16 rounds to infinity */
#define BF16_LIMIT 3.3961776e38f

/* ---- which tensors ------------------------------------------------------------------------- */

/* Tensors of an adapter that change this one of the base. */
static int touching(const struct merge *g, const struct adapter *a, const struct tensor *t)
{
    const struct site *s = model_site_of(g->m, t);
    const bool both = a->method->promises & PROMISE_MERGES_BIAS;
    int n = 0;
    for (int i = 0; i < a->n_param; i++) {
        const struct param *p = &a->param[i];
        n += s && p->site == s && (p->of_bias ? t == s->bias : t == s->weight || both);
    }
    return n;
}

static bool touched(const struct merge *g, const struct tensor *t)
{
    int n = 0;
    for (int i = 0; i < g->adapters->n; i++) n += touching(g, g->adapters->part[i].a, t);
    return n > 0;
}

/* Can all be merged, and has each of their tensors its place among the n items? */
static int check_adapters(const struct merge *g, const struct merge_item *item, int n, struct err *e)
{
    for (int i = 0; i < g->adapters->n; i++) {
        const struct composed *c = &g->adapters->part[i];
        int claimed = 0;
        if (!c->a->method->merge)
            return err_set(e, E_VERSION, "%s: adapters of method %s cannot be merged into weights", c->dir,
                           c->a->method->name);
        for (int t = 0; t < n; t++) {
            const struct site *site = model_site_of(g->m, item[t].t);
            for (int k = 0; k < c->a->n_param && site; k++) {
                const struct param *p = &c->a->param[k];
                claimed += p->site == site && item[t].t == (p->of_bias ? site->bias : site->weight);
            }
        }
        int owing = 0; /* tensors that are of a weight; VeRA's shared ones are of none */
        for (int k = 0; k < c->a->n_param; k++) owing += c->a->param[k].site || !c->a->param[k].frozen;
        if (claimed != owing)
            return err_set(e, E_ADAPTER, "%s: %d of its %d tensors belong to no weight of %s", c->dir, owing - claimed,
                           c->a->n_param, g->m->weights->path);
    }
    return 0;
}

static bool says_tied(const struct weights *w)
{
    struct err e = {0};
    json_t *j = w->config_json ? json_parse(w->config_json, strlen(w->config_json), "config.json", E_MODEL, &e) : NULL;
    bool yes = json_is_true(json_object_get(j, "tie_word_embeddings"));
    json_decref(j);
    return yes;
}

bool merge_head_is_tied(const struct merge *g)
{
    const struct site *h = model_site_kind(g->m, SITE_HEAD), *m = model_site_kind(g->m, SITE_EMBED);
    if (!h) return true;
    const struct tensor *head = h->weight, *embed = m->weight;
    return says_tied(g->m->weights) && head->dtype == embed->dtype && head->bytes == embed->bytes &&
           !memcmp(head->data, embed->data, head->bytes);
}

static enum dtype gguf_dtype(const struct merge *g, const struct tensor *t, bool changes)
{
    if (t->ndim < 2) return DT_F32; /* what GGUF's readers expect of norms and biases */
    if (!changes && !g->convert_all) return t->dtype;
    /* A matrix whose rows are no whole blocks stays at 16 bits. */
    return t->shape[t->ndim - 1] % dtype_info[g->dtype].block ? DT_BF16 : g->dtype;
}

int merge_items(struct merge *g, bool gguf, struct merge_item **items, struct err *e)
{
    const struct weights *w = g->m->weights;
    const bool made = w->kind == WEIGHTS_HF || !gguf; /* not the base's own list */
    bool tied = made && merge_head_is_tied(g);
    int n = 0;
    struct merge_item *v = mem_alloc((size_t)w->n, sizeof *v);
    for (int i = 0; i < w->n; i++) {
        const struct tensor *t = &w->t[i];
        if (ends_with(t->name, ".inv_freq")) continue;
        if (made && !strncmp(t->name, "rope_factors_", 13)) continue; /* the configuration has them */
        if (!gguf && !strcmp(t->name, "rope_freqs.weight")) {
            err_set(e, E_VERSION,
                    "%s: its rotary frequencies are a tensor (rope_freqs), which config.json "
                    "cannot say",
                    w->path);
            err_hint(e, "write GGUF instead: --format gguf");
            break;
        }
        const struct site *site = model_site_of(g->m, t);
        if (tied && site && site->kind == SITE_HEAD) continue;
        const bool changes = touched(g, t);
        v[n++] = (struct merge_item){t, gguf ? gguf_dtype(g, t, changes) : g->dtype, changes};
    }
    if (!e->id) check_adapters(g, v, n, e);
    if (e->id) {
        free(v);
        return -e->id;
    }
    *items = v;
    return n;
}

static long tensor_cols(const struct tensor *t) { return t->ndim ? (long)t->shape[t->ndim - 1] : 1; }

static long tensor_rows(const struct tensor *t)
{
    long rows = 1;
    for (int i = 0; i + 1 < t->ndim; i++) rows *= (long)t->shape[i];
    return rows;
}

uint64_t merge_item_bytes(const struct merge_item *it)
{
    return (uint64_t)tensor_rows(it->t) * dtype_row_bytes(it->dtype, tensor_cols(it->t));
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* Inverse of gguf_row_of_hf. */
static long hf_row_of_gguf(long row, int head_rows)
{
    long h = row / head_rows, r = row % head_rows;
    return h * head_rows + (r % 2) * (head_rows / 2) + r / 2;
}

static int check_values(const struct merge_item *it, const float *v, long n, struct err *e)
{
    float limit = it->dtype == DT_F32 ? INFINITY : it->dtype == DT_BF16 ? BF16_LIMIT : F16_LIMIT;
    if (dtype_info[it->dtype].block > 1) limit = BF16_LIMIT; /* blocks carry their own scale */
    for (long i = 0; i < n; i++)
        if (!(fabsf(v[i]) < limit)) {
            if (!isfinite(v[i]))
                return err_set(e, E_MODEL, "tensor %s: the merged value is %g", err_quotez(it->t->name), (double)v[i]);
            err_set(e, E_MODEL, "tensor %s: the merged value %g does not fit %s", err_quotez(it->t->name), (double)v[i],
                    dtype_info[it->dtype].name);
            return err_hint(e, "--dtype f32 has room for it");
        }
    return 0;
}

struct rows { /* conversion and output of rows, through one buffer */
    const struct merge_item *it;
    merge_sink *sink;
    void *writer;
    unsigned char *buf;
    size_t used, row_bytes;
};

static int put_row(struct rows *r, const float *row, struct err *e)
{
    long cols = tensor_cols(r->it->t);
    int rc = check_values(r->it, row, cols, e);
    if (!rc && r->used + r->row_bytes > CHUNK && r->used) {
        rc = r->sink(r->writer, r->buf, r->used, e);
        r->used = 0;
    }
    if (rc) return rc;
    dtype_from_f32(r->it->dtype, row, r->buf + r->used, cols);
    r->used += r->row_bytes;
    return 0;
}

static int copy_raw(const struct tensor *t, merge_sink *sink, void *writer, struct err *e)
{
    int rc = 0;
    for (uint64_t at = 0; at < t->bytes && !rc; at += CHUNK)
        rc = sink(writer, (const char *)t->data + at, t->bytes - at < CHUNK ? (size_t)(t->bytes - at) : CHUNK, e);
    return rc;
}

/* Rows of the base that nothing changes, one at a time. */
static int convert(struct rows *r, bool from_gguf, bool to_gguf, int head_rows, struct err *e)
{
    const struct tensor *t = r->it->t;
    long rows = tensor_rows(t), cols = tensor_cols(t);
    size_t src_row = dtype_row_bytes(t->dtype, cols);
    float *f = mem_alloc((size_t)cols, sizeof *f);
    int rc = 0;
    for (long o = 0; o < rows && !rc; o++) {
        long hf = to_gguf ? hf_row_of_gguf(o, head_rows) : o;
        long src = from_gguf ? gguf_row_of_hf(hf, head_rows) : hf;
        dtype_to_f32(t->dtype, (const char *)t->data + (size_t)src * src_row, f, cols);
        rc = put_row(r, f, e);
    }
    free(f);
    return rc;
}

/* A matrix with the adapter's effect: whole, in Hugging Face's order of rows. */
static int merge_matrix(struct merge *g, struct rows *r, bool from_gguf, bool to_gguf, int head_rows, struct err *e)
{
    const struct tensor *t = r->it->t;
    long rows = tensor_rows(t), cols = tensor_cols(t);
    size_t src_row = dtype_row_bytes(t->dtype, cols);
    float *w = mem_alloc((size_t)rows * (size_t)cols, sizeof *w), *old = mem_alloc((size_t)cols, sizeof *old);
    for (long i = 0; i < rows; i++)
        dtype_to_f32(t->dtype, (const char *)t->data + (size_t)(from_gguf ? gguf_row_of_hf(i, head_rows) : i) * src_row,
                     w + i * cols, cols);
    const struct site *site = model_site_of(g->m, t);
    const bool bias = t == site->bias;
    int rc = 0;
    for (int i = 0; i < g->adapters->n && rc >= 0; i++) {
        const struct composed *c = &g->adapters->part[i];
        const int changed = c->a->method->merge(c->a, c->a->data, site, bias, w, (int)(bias ? cols : rows),
                                                bias ? 1 : (int)cols, g->factor * c->factor, e);
        rc = changed < 0 ? changed : rc | changed;
    }
    if (rc == 0) rc = err_set(e, E_BUG, "%s: the adapter names it but does not change it", t->name);
    for (long o = 0; o < rows && rc > 0; o++) {
        long i = to_gguf ? hf_row_of_gguf(o, head_rows) : o;
        dtype_to_f32(t->dtype, (const char *)t->data + (size_t)(from_gguf ? gguf_row_of_hf(i, head_rows) : i) * src_row,
                     old, cols);
        for (long c = 0; c < cols; c++) g->max_delta = fmax(g->max_delta, fabs((double)w[i * cols + c] - old[c]));
        if (put_row(r, w + i * cols, e)) rc = -e->id;
    }
    free(w);
    free(old);
    if (rc > 0) g->merged++;
    return rc < 0 ? rc : 0;
}

int merge_write(struct merge *g, const struct merge_item *it, bool interleaved, merge_sink *sink, void *writer,
                struct err *e)
{
    const struct site *s = model_site_of(g->m, it->t);
    const bool rotated = s && s->rotated && it->t == s->weight;
    bool from = rotated && model_rows_permuted(g->m), to = rotated && interleaved;
    int rc;
    g->tensors++;
    g->bytes += merge_item_bytes(it);
    if (!it->touched && it->dtype == it->t->dtype && from == to) {
        rc = copy_raw(it->t, sink, writer, e);
    } else {
        struct rows r = {.it = it, .sink = sink, .writer = writer};
        r.row_bytes = dtype_row_bytes(it->dtype, tensor_cols(it->t));
        r.buf = mem_alloc(r.row_bytes > CHUNK ? r.row_bytes : CHUNK, 1);
        rc = it->touched ? merge_matrix(g, &r, from, to, g->m->cfg.D, e) : convert(&r, from, to, g->m->cfg.D, e);
        if (!rc && r.used) rc = sink(writer, r.buf, r.used, e);
        free(r.buf);
    }
    return rc;
}

int merge_changed(const struct merge *g, struct err *e)
{
    if (g->max_delta > 0 || g->force) return 0;
    err_set(e, E_ADAPTER_NOOP, "%s: the adapter changes no weight", g->adapters->part[0].dir);
    return err_hint(e, "an untrained adapter, or --scale 0; -f merges it all the same");
}
