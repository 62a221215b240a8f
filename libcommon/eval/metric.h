/* metric: how predictions are scored. One file per metric, one line in metrics.def.
 *
 * An accumulator is a plain struct of sums: it starts as {0}, needs no freeing, is copied by assignment, and those of
 * two halves of the data (or of two ranks) are joined by adding them (metric_merge). So the same code serves peft-eval,
 * the evaluation during training, and a distributed run. What a field means is the metric's own business.
 *
 * All scores but perplexity are percentages, 0 to 100. Texts are UTF-8; a byte that is not counts as U+FFFD.
 * Not here: generation, and the stream of predictions. */
#ifndef PEFT_EVAL_METRIC_H
#define PEFT_EVAL_METRIC_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libcommon/base/mem.h"

#define METRIC_RESULTS 4 /* most figures that one metric reports */

struct metric_sum {
    uint64_t n[12];
    double x[2];
};

struct metric {
    const char *name; /* as in --metrics: "em" */
    const char *help; /* one line */
    /* names of its figures, the headline first; ended by NULL. Unique over all metrics */
    const char *results[METRIC_RESULTS + 1];
    bool lower_is_better;
    const char *signature; /* what fixes the figure beyond its name (sacreBLEU's signature line), or NULL */
    /* A text metric: count one row; returns the row's own score. Surrounding white space of both is not compared.
     * NULL for a metric of likelihood. */
    double (*add)(struct metric_sum *s, struct str prediction, struct str target);
    /* A metric of likelihood: count n_tok label tokens whose negative log likelihoods (natural) sum to nll. Returns the
     * score of these tokens alone. NULL for a text metric. */
    double (*add_nll)(struct metric_sum *s, double nll, uint64_t n_tok);
    /* The figures, in the order of `results`. Of an empty accumulator: all 0. */
    void (*get)(const struct metric_sum *s, double value[METRIC_RESULTS]);
    /* Append the line that the metric's own reference tool prints ("BLEU = 61.25 83.3/..."), or NULL. */
    void (*describe)(const struct metric_sum *s, struct buf *out);
};

#define METRIC(name) extern const struct metric metric_##name;
#include "libcommon/eval/metrics.def"
#undef METRIC

extern const struct metric *const metrics[];        /* in the order of metrics.def, ended by NULL */
extern const char metric_names[];                   /* ", em, f1, ...": from [2] on a list for people */
const struct metric *metric_find(const char *name); /* by name; NULL: none */
/* The metric one of whose figures is called `result` ("em_lower"; a leading "eval_" is skipped, and "exact_match" and
 * "perplexity" are taken for "em" and "ppl", as in the configuration of other trainers); *index is the figure's place
 * in `results`. NULL: none. */
const struct metric *metric_find_result(const char *result, int *index);
/* "eval_" and the name that a figure has there, malloc'ed. */
char *metric_eval_name(const char *result);
void metric_merge(struct metric_sum *into, const struct metric_sum *from);
#endif
