/* rouge: ROUGE-L, the F-measure over the longest common subsequence of words, mean over rows; words are runs of
 * [a-z0-9] of the lower-cased text, without stemming. Equals the package rouge-score's rougeL. Source: Lin 2004,
 * section 3. Sums: n[0] rows, x[0] sum of the rows' scores. */
#include <stdlib.h>
#include "libcommon/eval/fold.h"
#include "libcommon/eval/words.h"

static void alphanumeric(struct words *w, struct str low)
{
    size_t from = 0;
    for (size_t i = 0; i <= low.n; i++) {
        char c = i < low.n ? low.p[i] : ' ';
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) continue;
        if (i > from) words_add(w, (struct str){low.p + from, i - from});
        from = i + 1;
    }
}

static size_t longest_common(const uint32_t *a, size_t na, const uint32_t *b, size_t nb)
{
    size_t *best = mem_alloc(nb + 1, sizeof *best), result; /* best[j]: of a's first i words and b's first j */
    for (size_t i = 0; i < na; i++) {
        size_t diagonal = 0;
        for (size_t j = 0; j < nb; j++) {
            size_t above = best[j + 1];
            if (a[i] == b[j])
                best[j + 1] = diagonal + 1;
            else if (best[j] > above)
                best[j + 1] = best[j];
            diagonal = above;
        }
    }
    result = best[nb];
    free(best);
    return result;
}

static double rouge_row(const struct words *p, const struct words *t)
{
    if (!p->n || !t->n) return 0;
    uint32_t *ids = mem_alloc(p->n + t->n, sizeof *ids);
    words_ids(p, t, ids);
    size_t same = longest_common(ids, p->n, ids + p->n, t->n);
    free(ids);
    return words_f(same, p->n, t->n);
}

static double rouge_add(struct metric_sum *s, struct str prediction, struct str target)
{
    static const struct words_rule rule = {fold_lower, alphanumeric, rouge_row};
    return words_add_row(s, &rule, prediction, target);
}

const struct metric metric_rouge = {
    .name = "rouge",
    .help = "ROUGE-L F-measure, mean over rows, equal to rouge-score's",
    .results = {"rouge_l"},
    .add = rouge_add,
    .get = words_mean,
};
