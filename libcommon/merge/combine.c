/* combine: see combine.h. Source of the rules: peft 0.21, tuners/lora/model.py and utils/merge_utils.py. */
#include "libcommon/merge/combine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/rng.h"
#include "libcommon/base/svd.h"
#include "libcommon/merge/prune.h"

enum prune { PRUNE_NOTHING, PRUNE_SMALL, PRUNE_RANDOM };
static const struct {
    enum prune prune;
    bool elect, svd;
} rule[] = {
    [COMBINE_LINEAR] = {PRUNE_NOTHING, false, false},
    [COMBINE_CAT] = {PRUNE_NOTHING, false, false},
    [COMBINE_SVD] = {PRUNE_NOTHING, false, true},
    [COMBINE_TIES] = {PRUNE_SMALL, true, false},
    [COMBINE_TIES_SVD] = {PRUNE_SMALL, true, true},
    [COMBINE_DARE_LINEAR] = {PRUNE_RANDOM, false, false},
    [COMBINE_DARE_LINEAR_SVD] = {PRUNE_RANDOM, false, true},
    [COMBINE_DARE_TIES] = {PRUNE_RANDOM, true, false},
    [COMBINE_DARE_TIES_SVD] = {PRUNE_RANDOM, true, true},
    [COMBINE_PRUNE] = {PRUNE_SMALL, false, false},
    [COMBINE_PRUNE_SVD] = {PRUNE_SMALL, false, true},
};
bool combine_prunes(enum combine_how how) { return rule[how].prune != PRUNE_NOTHING; }
bool combine_elects(enum combine_how how) { return rule[how].elect; }
bool combine_decomposes(enum combine_how how) { return rule[how].svd; }

/* The pairs of one module, of the adapters that have it. */
struct group {
    const struct combine *c;
    const struct lora_pair **pair; /* [n] */
    const char **from;             /* [n] the adapters' names */
    double *weight;                /* [n] times the pair's factor */
    int *place;                    /* [n] of the adapter in the list */
    int n;
};

/* ---- values -------------------------------------------------------------------------------- */

/* What stays of one adapter's values x [size], in place. */
static void prune(const struct combine *c, double *x, long size, const char *path, const char *what, int place)
{
    if (c->density >= 1 || rule[c->how].prune == PRUNE_NOTHING) return;
    if (rule[c->how].prune == PRUNE_SMALL) {
        prune_small(x, size, c->density);
    } else {
        char *name = mem_printf("%d %s %s", place, what, path);
        prune_random(x, size, c->density, c->seed ^ rng_hash(0, name, strlen(name)));
        free(name);
    }
}

/* sum [size] of the adapters' x [n][size], each with its weight, signs elected if the rule says so. */
static void add_up(const struct combine *c, const double *x, const double *weight, int n, long size, double *sum)
{
    for (long i = 0; i < size; i++) {
        double votes = 0, all = 0;
        int same = 0;
        for (int k = 0; k < n; k++) {
            const double v = x[k * size + i];
            votes += c->by_number ? (v > 0) - (v < 0) : v;
        }
        for (int k = 0; k < n; k++) {
            const double v = x[k * size + i];
            if (rule[c->how].elect && !(votes >= 0 ? v > 0 : v < 0)) continue;
            all += v * weight[k];
            same++;
        }
        sum[i] = rule[c->how].elect ? all / (same ? same : 1) : all;
    }
}

/* ---- linear: A and B each for itself ------------------------------------------------------- */

static void sum_side(const struct group *g, bool b, long size, float *to)
{
    double *x = mem_alloc((size_t)g->n * (size_t)size, sizeof *x), *sum = mem_alloc((size_t)size, sizeof *sum),
           *weight = mem_alloc((size_t)g->n, sizeof *weight);
    for (int k = 0; k < g->n; k++) {
        const float *v = b ? g->pair[k]->b : g->pair[k]->a;
        double *own = x + k * size;
        for (long i = 0; i < size; i++) own[i] = v[i];
        prune(g->c, own, size, g->pair[k]->path, b ? "B" : "A", g->place[k]);
        weight[k] = sqrt(fabs(g->weight[k])) * (!b && g->weight[k] < 0 ? -1 : 1);
    }
    add_up(g->c, x, weight, g->n, size, sum);
    for (long i = 0; i < size; i++) to[i] = (float)sum[i];
    free(weight);
    free(sum);
    free(x);
}

static int linear(const struct group *g, struct lora_set *out, struct err *e)
{
    const struct lora_pair *first = g->pair[0];
    for (int k = 1; k < g->n; k++)
        if (g->pair[k]->r != first->r) {
            err_set(e, E_MISMATCH, "%s: rank %d in %s, %d in %s: their matrices cannot be added", first->path, first->r,
                    g->from[0], g->pair[k]->r, g->from[k]);
            return err_hint(e, "--combine cat and the kinds that end in svd take any ranks");
        }
    struct lora_pair *p = lora_set_add(out, first->path, first->r, first->in, first->out, 1);
    sum_side(g, false, (long)p->r * p->in, p->a);
    sum_side(g, true, (long)p->out * p->r, p->b);
    return 0;
}

/* ---- cat: one behind the other ------------------------------------------------------------- */

static void put_columns(float *to, int to_cols, int at, const float *from, int rows, int cols)
{
    for (long i = 0; i < rows; i++) memcpy(to + i * to_cols + at, from + i * cols, (size_t)cols * sizeof *to);
}

/* All modules get the same rank, zeros where an adapter does not have one: readers know one rank. */
static void cat(const struct group *g, struct lora_set *out, int rank)
{
    const struct lora_pair *first = g->pair[0];
    struct lora_pair *p = lora_set_add(out, first->path, rank, first->in, first->out, 1);
    int at = 0;
    for (int k = 0; k < g->n; k++) {
        const struct lora_pair *q = g->pair[k];
        for (long i = 0; i < (long)q->r * q->in; i++) p->a[(long)at * p->in + i] = (float)(q->a[i] * g->weight[k]);
        put_columns(p->b, rank, at, q->b, q->out, q->r);
        at += q->r;
    }
}

/* ---- svd: of the update -------------------------------------------------------------------- */

static void put_triples(struct lora_pair *p, const double *u, const double *s, const double *vt, int r)
{
    for (int k = 0; k < r; k++) {
        for (long i = 0; i < p->out; i++) p->b[i * p->r + k] = (float)(u[i * r + k] * s[k]);
        for (long i = 0; i < p->in; i++) p->a[(long)k * p->in + i] = (float)vt[(long)k * p->in + i];
    }
}

static int smaller(int a, int b) { return a < b ? a : b; }

int combine_decompose(const double *delta, struct lora_pair *p, struct err *e)
{
    const int r = smaller(p->r, smaller(p->out, p->in));
    double *u = mem_alloc((size_t)p->out * (size_t)r, sizeof *u), *s = mem_alloc((size_t)r, sizeof *s),
           *vt = mem_alloc((size_t)r * (size_t)p->in, sizeof *vt);
    int rc = svd_thin(delta, p->out, p->in, r, u, s, vt, e);
    if (!rc) put_triples(p, u, s, vt, r);
    free(vt);
    free(s);
    free(u);
    return rc;
}

/* The update of one pair, without its weight. */
static void update_of(const struct lora_pair *p, double scale, double *delta)
{
    memset(delta, 0, (size_t)p->out * (size_t)p->in * sizeof *delta);
    for (long i = 0; i < p->out; i++)
        for (long k = 0; k < p->r; k++) {
            const double b = p->b[i * p->r + k] * scale;
            for (long j = 0; j < p->in; j++) delta[i * p->in + j] += b * p->a[k * p->in + j];
        }
}

static int svd(const struct group *g, struct lora_set *out, int rank, const double *plain, struct err *e)
{
    const struct lora_pair *first = g->pair[0];
    const long size = (long)first->out * first->in;
    struct lora_pair *p = lora_set_add(out, first->path, rank, first->in, first->out, 1);
    double *x = mem_alloc((size_t)g->n * (size_t)size, sizeof *x), *sum = mem_alloc((size_t)size, sizeof *sum);
    for (int k = 0; k < g->n; k++) {
        update_of(g->pair[k], g->pair[k]->scale, x + k * size);
        prune(g->c, x + k * size, size, g->pair[k]->path, "W", g->place[k]);
    }
    add_up(g->c, x, plain, g->n, size, sum);
    int rc = combine_decompose(sum, p, e);
    free(sum);
    free(x);
    return rc;
}

/* The same of a plain sum, whose rank is no more than R, that of its factors together: B A = (Qb Rb)(Qa Ra)', and only
 * Rb Ra' [R][R] needs to be decomposed. */
static int svd_of_factors(const struct group *g, struct lora_set *out, int rank, int R, struct err *e)
{
    const struct lora_pair *first = g->pair[0];
    struct lora_pair *p = lora_set_add(out, first->path, rank, first->in, first->out, 1);
    const int r = smaller(rank, R);
    const size_t RR = (size_t)R * (size_t)R;
    double *b = mem_alloc((size_t)p->out * (size_t)R, sizeof *b), *a = mem_alloc((size_t)p->in * (size_t)R, sizeof *a),
           *rb = mem_alloc(RR, sizeof *rb), *ra = mem_alloc(RR, sizeof *ra), *m = mem_alloc(RR, sizeof *m),
           *u = mem_alloc(RR, sizeof *u), *s = mem_alloc((size_t)R, sizeof *s), *vt = mem_alloc(RR, sizeof *vt);
    int at = 0;
    for (int k = 0; k < g->n; k++) {
        const struct lora_pair *q = g->pair[k];
        for (long c = 0; c < q->r; c++) {
            for (long i = 0; i < p->out; i++) b[i * R + at + c] = q->b[i * q->r + c] * g->weight[k];
            for (long i = 0; i < p->in; i++) a[i * R + at + c] = q->a[c * p->in + i];
        }
        at += q->r;
    }
    int rc = qr_thin(b, p->out, R, rb, e);
    if (!rc) rc = qr_thin(a, p->in, R, ra, e);
    for (long i = 0; i < R; i++)
        for (long j = 0; j < R; j++)
            for (long k = 0; k < R; k++) m[i * R + j] += rb[i * R + k] * ra[j * R + k];
    if (!rc) rc = svd_thin(m, R, R, r, u, s, vt, e);
    for (int k = 0; k < r && !rc; k++) {
        for (long i = 0; i < p->out; i++) {
            double x = 0;
            for (long j = 0; j < R; j++) x += b[i * R + j] * u[j * r + k];
            p->b[i * p->r + k] = (float)(x * s[k]);
        }
        for (long i = 0; i < p->in; i++) {
            double x = 0;
            for (long j = 0; j < R; j++) x += a[i * R + j] * vt[k * (long)R + j];
            p->a[(long)k * p->in + i] = (float)x;
        }
    }
    double *all[] = {b, a, rb, ra, m, u, s, vt};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    return rc;
}

/* ---- all modules --------------------------------------------------------------------------- */

static int of_group(const struct group *g, struct lora_set *out, const double *plain, int total, int largest,
                    struct err *e)
{
    const struct lora_pair *p = g->pair[0];
    const int rank = g->c->rank ? g->c->rank : largest;
    int R = 0;
    for (int k = 0; k < g->n; k++) {
        R += g->pair[k]->r;
        if (g->pair[k]->in != p->in || g->pair[k]->out != p->out)
            return err_set(e, E_MISMATCH, "%s is a matrix of %d x %d in %s, %d x %d in %s", p->path, p->out, p->in,
                           g->from[0], g->pair[k]->out, g->pair[k]->in, g->from[k]);
    }
    if (g->c->how == COMBINE_CAT) return cat(g, out, total), 0;
    if (!rule[g->c->how].svd) return linear(g, out, e);
    if (rule[g->c->how].prune == PRUNE_NOTHING && R <= smaller(p->in, p->out))
        return svd_of_factors(g, out, rank, R, e);
    return svd(g, out, rank, plain, e);
}

/* Modules of all adapters, each once. */
static int of_path(const struct combine *c, const struct lora_set *in, const double *weight, int n, const char *path,
                   struct lora_set *out, int total, int largest, struct err *e)
{
    if (lora_set_find(out, path)) return 0;
    struct group g = {.c = c};
    const size_t k = (size_t)n;
    double *plain = mem_alloc(k, sizeof *plain);
    g.pair = mem_alloc(k, sizeof *g.pair);
    g.from = mem_alloc(k, sizeof *g.from);
    g.weight = mem_alloc(k, sizeof *g.weight);
    g.place = mem_alloc(k, sizeof *g.place);
    for (int i = 0; i < n; i++) {
        const struct lora_pair *p = lora_set_find(&in[i], path);
        if (!p) continue;
        g.pair[g.n] = p;
        g.from[g.n] = in[i].from;
        g.place[g.n] = i;
        plain[g.n] = weight[i];
        g.weight[g.n++] = weight[i] * p->scale;
    }
    int rc = of_group(&g, out, plain, total, largest, e);
    free(plain);
    free(g.pair);
    free(g.from);
    free(g.weight);
    free(g.place);
    return rc;
}

/* Names of modules that go for all of them; NULL: one of them has none. */
static json_t *targets_of(const struct lora_set *in, int n)
{
    json_t *all = json_array();
    for (int i = 0; i < n; i++) {
        size_t k;
        json_t *v;
        if (!in[i].targets) {
            json_decref(all);
            return NULL;
        }
        json_array_foreach(in[i].targets, k, v)
        {
            bool there = false;
            for (size_t j = 0; j < json_array_size(all); j++) there |= json_equal(json_array_get(all, j), v);
            if (!there) json_array_append(all, v);
        }
    }
    return all;
}

int combine(const struct combine *c, const struct lora_set *in, const double *weight, int n, struct lora_set *out,
            struct err *e)
{
    int total = 0, largest = 0, rc = 0;
    *out = (struct lora_set){.from = mem_dupz("the combination"), .targets = targets_of(in, n)};
    for (int i = 0; i < n && !rc; i++) {
        int most = 0;
        for (int k = 0; k < in[i].n; k++)
            if (in[i].pair[k].r > most) most = in[i].pair[k].r;
        total += most;
        if (most > largest) largest = most;
        for (int k = 0; k < i && !rc; k++) rc = lora_set_same_base(&in[i], &in[k], c->force, e);
        if (in[i].has_base_digest && !out->has_base_digest) {
            memcpy(out->base_digest, in[i].base_digest, sizeof out->base_digest);
            out->has_base_digest = true;
        }
        if (!out->base_name) out->base_name = mem_dupz(in[i].base_name);
        row_set_join(&out->trained, &in[i].trained);
    }
    for (int i = 0; i < n && !rc; i++)
        for (int k = 0; k < in[i].n && !rc; k++)
            rc = of_path(c, in, weight, n, in[i].pair[k].path, out, total, largest, e);
    lora_set_sort(out);
    return rc;
}
