/* f1: overlap of words after SQuAD's normalisation, mean over rows. As in SQuAD 2.0, a side without words scores 100 if
 * the other has none either, else 0 (SQuAD 1.1 would divide by zero there). Source: Rajpurkar et al. 2016, section 6.1.
 * Sums: n[0] rows, x[0] sum of the rows' scores. */
#include <stdlib.h>
#include "libcommon/eval/fold.h"
#include "libcommon/eval/metric.h"
#include "libcommon/eval/words.h"

static double f1_row(const struct words *p, const struct words *t)
{
    if (!p->n || !t->n) return p->n == t->n ? 100 : 0;
    uint32_t *ids = mem_alloc(p->n + t->n, sizeof *ids);
    uint32_t different = words_ids(p, t, ids);
    double same = (double)words_common(ids, p->n, t->n, different);
    free(ids);
    if (same == 0) return 0;
    double precision = same / (double)p->n, recall = same / (double)t->n;
    return 100 * (2 * precision * recall / (precision + recall));
}

static double f1_add(struct metric_sum *s, struct str prediction, struct str target)
{
    struct buf a = {0}, b = {0};
    struct words p = {0}, t = {0};
    fold_squad(prediction, &a);
    fold_squad(target, &b);
    words_split(&p, (struct str){a.p, a.n});
    words_split(&t, (struct str){b.p, b.n});
    double score = f1_row(&p, &t);
    s->n[0]++;
    s->x[0] += score;
    words_fini(&p);
    words_fini(&t);
    buf_fini(&a);
    buf_fini(&b);
    return score;
}

static void f1_get(const struct metric_sum *s, double value[METRIC_RESULTS])
{
    value[0] = s->n[0] ? s->x[0] / (double)s->n[0] : 0;
}

const struct metric metric_f1 = {
    .name = "f1",
    .help = "F1 of the words shared by prediction and target (SQuAD), mean over rows",
    .results = {"f1"},
    .add = f1_add,
    .get = f1_get,
};
