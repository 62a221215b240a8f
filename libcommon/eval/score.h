/* score: a data set's scores: likelihood of its targets, and metrics of what the model generates for its prompts. Used
 * by peft-eval and by the evaluation during training, so both mean the same by a figure. */
#ifndef PEFT_EVAL_SCORE_H
#define PEFT_EVAL_SCORE_H
#include "libcommon/data/dataset.h"
#include "libcommon/eval/generate.h"
#include "libcommon/eval/metric.h"

#define SCORE_METRICS 8
struct score_set {
    const struct metric *m[SCORE_METRICS];
    struct metric_sum sum[SCORE_METRICS];
    int n;
};
/* Names of metrics.def; "none" alone is the empty set. An unknown one is E_USAGE with the nearest. */
int score_parse(struct score_set *s, const struct strlist *names, struct err *e);
bool score_generates(const struct score_set *s); /* is there a metric of text? */

/* Likelihood: nll summed over the labels of all rows, in order (of their spans first, if d is planned with spans). d:
 * planned with chunk > 0. progress names the work, NULL: none. E_DIVERGED: the sum is not finite. */
int score_nll(struct decoder *d, const struct dataset *set, const char *progress, double *nll, uint64_t *labels,
              struct err *e);
/* Called for each row in order, after its text is scored. */
typedef int score_emit(void *ctx, size_t row, const struct gen_result *r, const double *score, struct err *e);
int score_texts(struct decoder *d, const struct tokenizer *tok, const struct gen_opts *o, const struct dataset *set,
                struct score_set *s, const char *progress, score_emit *emit, void *ctx, struct err *e);
#endif
