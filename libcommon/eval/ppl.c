/* ppl: perplexity, exp(sum of the label tokens' negative log likelihoods / their number): over tokens, not a mean of
 * rows. Sums: n[0] label tokens, x[0] their negative log likelihood. */
#include <math.h>
#include "libcommon/eval/metric.h"

static double ppl_add(struct metric_sum *s, double nll, uint64_t n_tok)
{
    s->n[0] += n_tok;
    s->x[0] += nll;
    return n_tok ? exp(nll / (double)n_tok) : 0;
}

static void ppl_get(const struct metric_sum *s, double value[METRIC_RESULTS])
{
    value[1] = s->n[0] ? s->x[0] / (double)s->n[0] : NAN; /* of no label: no figure, and no bound that it meets */
    value[0] = exp(value[1]);
}

const struct metric metric_ppl = {
    .name = "ppl",
    .help = "perplexity of the targets, and the mean loss of a target token",
    .results = {"ppl", "loss"},
    .lower_is_better = true,
    .add_nll = ppl_add,
    .get = ppl_get,
};
