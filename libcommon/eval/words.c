/* words: see words.h. Ids come from sorting, so nothing depends on a hash. */
#include "libcommon/eval/words.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/eval/fold.h"

void words_add(struct words *w, struct str word)
{
    if (w->n == w->cap) w->v = mem_grow(w->v, &w->cap, w->n + 1, sizeof *w->v);
    w->v[w->n++] = word;
}

void words_split(struct words *w, struct str text)
{
    w->n = 0;
    size_t from = 0;
    for (size_t i = 0; i <= text.n;) {
        size_t k = i < text.n ? fold_space((struct str){text.p + i, text.n - i}) : 1;
        if (k) {
            if (i > from) words_add(w, (struct str){text.p + from, i - from});
            from = i + k;
        }
        i += k ? k : 1; /* a continuation byte begins no white space, so stepping by bytes is right */
    }
}

void words_fini(struct words *w)
{
    free(w->v);
    *w = (struct words){0};
}

struct entry {
    struct str s;
    size_t at;
};

static int entry_cmp(const void *pa, const void *pb)
{
    const struct entry *a = pa, *b = pb;
    int c = memcmp(a->s.p, b->s.p, a->s.n < b->s.n ? a->s.n : b->s.n);
    return c ? c : (a->s.n > b->s.n) - (a->s.n < b->s.n);
}

uint32_t words_ids(const struct words *a, const struct words *b, uint32_t *ids)
{
    size_t n = a->n + b->n;
    struct entry *e = mem_alloc(n, sizeof *e);
    uint32_t id = 0;
    for (size_t i = 0; i < n; i++) e[i] = (struct entry){i < a->n ? a->v[i] : b->v[i - a->n], i};
    if (n) qsort(e, n, sizeof *e, entry_cmp);
    for (size_t i = 0; i < n; i++) {
        if (i && entry_cmp(&e[i - 1], &e[i])) id++;
        ids[e[i].at] = id;
    }
    free(e);
    return n ? id + 1 : 0;
}

size_t words_common(const uint32_t *ids, size_t na, size_t nb, uint32_t n_different)
{
    size_t *count = mem_alloc(n_different, sizeof *count), common = 0;
    for (size_t i = 0; i < na; i++) count[ids[i]]++;
    for (size_t i = na; i < na + nb; i++)
        if (count[ids[i]]) count[ids[i]]--, common++;
    free(count);
    return common;
}

double words_add_row(struct metric_sum *s, const struct words_rule *r, struct str prediction, struct str target)
{
    struct buf a = {0}, b = {0};
    struct words p = {0}, t = {0};
    r->fold(prediction, &a);
    r->fold(target, &b);
    r->split(&p, (struct str){a.p, a.n});
    r->split(&t, (struct str){b.p, b.n});
    double score = r->score(&p, &t);
    s->n[0]++;
    s->x[0] += score;
    words_fini(&p);
    words_fini(&t);
    buf_fini(&a);
    buf_fini(&b);
    return score;
}

void words_mean(const struct metric_sum *s, double value[METRIC_RESULTS])
{
    value[0] = s->n[0] ? s->x[0] / (double)s->n[0] : 0;
}

double words_f(size_t same, size_t n_prediction, size_t n_target)
{
    if (!same) return 0;
    double precision = (double)same / (double)n_prediction, recall = (double)same / (double)n_target;
    return 100 * (2 * precision * recall / (precision + recall));
}
