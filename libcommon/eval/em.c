/* em: exact match, three figures, because "exact match" means three things in the field:
 *   em        the same characters, surrounding white space apart
 *   em_lower  the same in lower case (the usual hand-written loop: pred.strip().lower() == answer.lower())
 *   em_squad  the same after SQuAD's normalisation (case, ASCII punctuation and articles apart)
 * Sums: n[0] rows, n[1..3] matches. */
#include "libcommon/eval/fold.h"
#include "libcommon/eval/metric.h"
#include <string.h>

static bool same(const void *a, size_t na, const void *b, size_t nb) { return na == nb && (!na || !memcmp(a, b, na)); }

static double em_add(struct metric_sum *s, struct str prediction, struct str target)
{
    struct str p = fold_strip(prediction), t = fold_strip(target);
    struct buf a = {0}, b = {0};
    bool raw = same(p.p, p.n, t.p, t.n);
    s->n[0]++;
    s->n[1] += raw;
    fold_lower(p, &a);
    fold_lower(t, &b);
    s->n[2] += same(a.p, a.n, b.p, b.n);
    fold_squad(p, &a);
    fold_squad(t, &b);
    s->n[3] += same(a.p, a.n, b.p, b.n);
    buf_fini(&a);
    buf_fini(&b);
    return raw ? 100 : 0;
}

static void em_get(const struct metric_sum *s, double value[METRIC_RESULTS])
{
    for (int i = 0; i < 3; i++) value[i] = s->n[0] ? 100.0 * (double)s->n[1 + i] / (double)s->n[0] : 0;
}

const struct metric metric_em = {
    .name = "em",
    .help = "exact match: as it is, in lower case, after SQuAD's normalisation",
    .results = {"em", "em_lower", "em_squad"},
    .add = em_add,
    .get = em_get,
};
