/* merge_verify: see merge_verify.h. */
#include "libcommon/merge/merge_verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/stream/stream.h"
#include "libcommon/token/tokenizer.h"

enum { MAX_POSITIONS = 64, MAX_ROW = 8192 };

/* ---- rows ---------------------------------------------------------------------------------- */

static int add_row(struct merge_verify *v, const uint32_t *ids, size_t n, size_t n_prompt, int vocab, struct err *e)
{
    if (n == 0 || n_prompt == 0 || n > MAX_ROW) return 0; /* nothing to predict from, or too long to be worth it */
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= (uint32_t)vocab)
            return err_set(e, E_MISMATCH, "row %d: token %u, the model's vocabulary has %d", v->n + 1, ids[i], vocab);
    struct verify_row *r = &v->row[v->n++];
    size_t last = n > n_prompt ? n - 2 : n - 1, first = n_prompt - 1;
    if (last - first + 1 > MAX_POSITIONS) last = first + MAX_POSITIONS - 1;
    r->n = (int)last + 1;
    r->first = (int)first;
    r->ids = mem_alloc((size_t)r->n, sizeof *r->ids);
    for (int i = 0; i < r->n; i++) r->ids[i] = (int32_t)ids[i];
    return 0;
}

static int add_example(struct merge_verify *v, const struct tokenizer *t, const struct example *x, int vocab,
                       struct err *e)
{
    struct u32vec ids = {0};
    int rc = tokenizer_encode(t, x->prompt, TOK_SPECIAL | TOK_BOS, &ids, NULL, e);
    size_t n_prompt = ids.n;
    if (rc >= 0) rc = tokenizer_encode(t, x->target, TOK_SPECIAL, &ids, NULL, e);
    if (rc >= 0) rc = add_row(v, ids.v, ids.n, n_prompt, vocab, e);
    free(ids.v);
    return rc;
}

int merge_verify_read(struct merge_verify *v, const char *path, const struct model *base, int max, struct err *e)
{
    *v = (struct merge_verify){.row = mem_alloc((size_t)max, sizeof *v->row)};
    struct stream_reader *r = stream_open(path, -1, e);
    if (!r) return -e->id;
    enum stream_kind kind = stream_info_of(r)->kind;
    struct tokenizer *t = NULL;
    struct record rec;
    int rc = 0;
    if (kind != STREAM_TOKENS && kind != STREAM_EXAMPLES)
        rc = err_set(e, E_STREAM_KIND, "%s: a stream of %s, expected tokens or examples", path,
                     stream_kind_names[kind]);
    else if (kind == STREAM_EXAMPLES && !(t = tokenizer_load(base->path, e)))
        rc = -e->id;
    while (rc >= 0 && v->n < max && (rc = stream_next(r, &rec, e)) > 0)
        rc = kind == STREAM_TOKENS ? add_row(v, rec.tokens.ids, rec.tokens.n, rec.tokens.n_prompt, base->cfg.V, e)
                                   : add_example(v, t, &rec.example, base->cfg.V, e);
    if (rc >= 0 && v->n == 0) rc = err_set(e, E_NOROWS, "%s: no rows to verify with", path);
    tokenizer_free(t);
    stream_close(r);
    return rc < 0 ? rc : 0;
}

void merge_verify_free(struct merge_verify *v)
{
    for (int i = 0; i < v->n; i++) free(v->row[i].ids);
    free(v->row);
    *v = (struct merge_verify){0};
}

/* ---- logits -------------------------------------------------------------------------------- */

static int logits_of(struct decoder *d, const struct verify_row *r, float *out, struct err *e)
{
    int n = r->n - r->first;
    int32_t *pos = mem_alloc((size_t)r->n, sizeof *pos), start = 0, row[MAX_POSITIONS];
    for (int i = 0; i < r->n; i++) pos[i] = i;
    for (int i = 0; i < n; i++) row[i] = r->first + i;
    struct batch b = {
        .T = r->n, .B = 1, .ids = r->ids, .pos = pos, .q_start = &start, .q_len = &r->n, .n = n, .row = row};
    int rc = decoder_logits(d, &b, out, e);
    free(pos);
    return rc;
}

static int argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void compare(struct merge_verify *v, const float *a, const float *b, int V, double *sum)
{
    double mean = 0;
    for (int i = 0; i < V; i++) {
        double d = fabs((double)a[i] - b[i]);
        *sum += d;
        mean += (double)a[i] / V;
        if (d > v->max_abs) v->max_abs = d;
    }
    for (int i = 0; i < V; i++) v->spread = fmax(v->spread, fabs(a[i] - mean));
    v->agree += argmax(a, V) == argmax(b, V);
    v->positions++;
}

static int run(struct merge_verify *v, struct decoder *base, struct decoder *made, float *a, float *b, struct err *e)
{
    int V = base->m->cfg.V, rc = 0;
    double sum = 0;
    for (int i = 0; i < v->n && !rc; i++) {
        const struct verify_row *r = &v->row[i];
        msg_progress("verifying row %d of %d", i + 1, v->n);
        rc = logits_of(base, r, a, e);
        if (!rc) rc = logits_of(made, r, b, e);
        for (int k = 0; k < r->n - r->first && !rc; k++) compare(v, a + (long)k * V, b + (long)k * V, V, &sum);
    }
    msg_progress(NULL);
    if (!rc) v->mean_abs = sum / ((double)v->positions * V);
    return rc;
}

int merge_verify_run(struct merge_verify *v, struct model *base, const struct hooks *hooks, struct model *made,
                     struct err *e)
{
    struct decoder d[2] = {0};
    struct decoder_size size = {.B = 1};
    if (base->cfg.V != made->cfg.V || base->cfg.L != made->cfg.L)
        return err_set(e, E_VERIFY, "the merged model has other dimensions than its base");
    for (int i = 0; i < v->n; i++) {
        if (v->row[i].n > size.T) size.T = v->row[i].n;
        if (v->row[i].n - v->row[i].first > size.n) size.n = v->row[i].n - v->row[i].first;
    }
    size.logits = size.n;
    int rc = decoder_init(&d[0], base, hooks, DECODER_INFER, DT_F32, &size, e);
    if (!rc) rc = decoder_alloc(&d[0], e);
    int rc1 = rc ? rc : decoder_init(&d[1], made, NULL, DECODER_INFER, DT_F32, &size, e);
    if (!rc1) rc1 = decoder_alloc(&d[1], e);
    if (!rc1) {
        float *a = mem_alloc((size_t)size.n * (size_t)base->cfg.V, sizeof *a);
        float *b = mem_alloc((size_t)size.n * (size_t)base->cfg.V, sizeof *b);
        rc1 = run(v, &d[0], &d[1], a, b, e);
        free(a);
        free(b);
    }
    if (d[1].m) decoder_fini(&d[1]);
    if (d[0].m) decoder_fini(&d[0]);
    return rc1;
}
