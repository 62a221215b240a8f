/* words: a text as a sequence of words, and two of them as small numbers so that comparing words costs nothing. */
#ifndef PEFT_EVAL_WORDS_H
#define PEFT_EVAL_WORDS_H
#include "libcommon/eval/metric.h"

struct words { /* {0} is empty and valid; views into the text that was split */
    struct str *v;
    size_t n, cap;
};
void words_split(struct words *w, struct str text); /* at white space, as str.split(); replaces w's content */
void words_add(struct words *w, struct str word);
void words_fini(struct words *w);

/* ids of a.n words of a, then b.n of b, equal words equal ids, counted from 0; returns how many different ones there
 * are. ids has room for a.n + b.n. */
uint32_t words_ids(const struct words *a, const struct words *b, uint32_t *ids);
/* Sum over the different ids of min(times in the first na of ids, times in the nb that follow). */
size_t words_common(const uint32_t *ids, size_t na, size_t nb, uint32_t n_different);

/* A metric of words whose figure is the mean of the rows' scores. Sums: n[0] rows, x[0] sum of the scores. */
struct words_rule {
    void (*fold)(struct str text, struct buf *out);
    void (*split)(struct words *w, struct str text);
    double (*score)(const struct words *p, const struct words *t); /* of a prediction and its target */
};
double words_add_row(struct metric_sum *s, const struct words_rule *r, struct str prediction, struct str target);
void words_mean(const struct metric_sum *s, double value[METRIC_RESULTS]);
/* The harmonic mean, in per cent, of what `same` is of either side's words; 0 if nothing is. */
double words_f(size_t same, size_t n_prediction, size_t n_target);
#endif
