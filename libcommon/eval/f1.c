/* f1: overlap of words after SQuAD's normalisation, mean over rows. As in SQuAD 2.0, a side without words scores 100 if
 * the other has none either, else 0 (SQuAD 1.1 would divide by zero there). Source: Rajpurkar et al. 2016, section 6.1.
 * Sums: n[0] rows, x[0] sum of the rows' scores. */
#include <stdlib.h>
#include "libcommon/eval/fold.h"
#include "libcommon/eval/words.h"

static double f1_row(const struct words *p, const struct words *t)
{
    if (!p->n || !t->n) return p->n == t->n ? 100 : 0;
    uint32_t *ids = mem_alloc(p->n + t->n, sizeof *ids);
    uint32_t different = words_ids(p, t, ids);
    size_t same = words_common(ids, p->n, t->n, different);
    free(ids);
    return words_f(same, p->n, t->n);
}

static double f1_add(struct metric_sum *s, struct str prediction, struct str target)
{
    static const struct words_rule rule = {fold_squad, words_split, f1_row};
    return words_add_row(s, &rule, prediction, target);
}

const struct metric metric_f1 = {
    .name = "f1",
    .help = "F1 of the words shared by prediction and target (SQuAD), mean over rows",
    .results = {"f1"},
    .add = f1_add,
    .get = words_mean,
};
