/* evaluate.c: evaluation between steps, the best adapter so far, and early stopping. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/train/trainer.h"

/* The value that picks the best adapter; sets *better_is_lower. */
static double chosen(const struct trainer *t, double eval_loss, bool *lower)
{
    *lower = t->metric_index == -1 || t->metric->lower_is_better;
    if (t->metric_index == -1) return eval_loss;
    double v[METRIC_RESULTS];
    for (int i = 0; i < t->scores.n; i++)
        if (t->scores.m[i] == t->metric) {
            t->metric->get(&t->scores.sum[i], v);
            return v[t->metric_index];
        }
    return NAN; /* setup has made sure that the metric is among the scores */
}

static int keep_best(struct trainer *t, double eval_loss, struct err *e)
{
    if (t->metric_index == -2) return 0;
    bool lower;
    double v = chosen(t, eval_loss, &lower);
    bool better = isfinite(v) && (!t->job->s.has_best || (lower ? v < t->job->s.best : v > t->job->s.best));
    if (!better) {
        t->job->s.bad_evals++;
        if (t->o->patience && t->job->s.bad_evals >= t->o->patience) t->job->s.stopped = true;
        return 0;
    }
    t->job->s.has_best = true;
    t->job->s.best = v;
    t->job->s.best_step = t->job->s.step;
    t->job->s.bad_evals = 0;
    if (!t->job->best) t->job->best = mem_alloc((size_t)t->job->adapter->size, sizeof *t->job->best);
    const int s = dev_to_host(t->dev, t->job->best, t->job->adapter->data, (size_t)t->job->adapter->size * 4);
    return device_error(t->dev, s, "copy of the adapter", e);
}

int train_evaluate(struct trainer *t, struct err *e)
{
    double nll;
    uint64_t labels;
    char what[48];
    snprintf(what, sizeof what, "evaluation at step %lld", (long long)t->job->s.step);
    int rc = device_error(t->dev, hooks_refresh(&t->hooks), what, e); /* the step before has moved the parameters */
    if (!rc) rc = score_nll(&t->dec, &t->eval, what, &nll, &labels, e);
    memset(t->scores.sum, 0, sizeof t->scores.sum);
    for (int i = 0; i < t->scores.n; i++)
        if (t->scores.m[i]->add_nll) t->scores.m[i]->add_nll(&t->scores.sum[i], nll, labels);
    if (!rc && t->has_gen) rc = score_texts(&t->gen, t->tok, &t->gen_opts, &t->eval, &t->scores, what, NULL, NULL, e);
    if (rc) return rc;

    double eval_loss = labels ? nll / (double)labels : NAN, epoch = (double)t->job->s.step / (double)t->steps_per_epoch;
    struct run_row *r = run_log_add(&t->job->log, "eval", t->job->s.step, epoch);
    run_row_put(r, "eval_loss", eval_loss);
    run_row_put(r, "eval_perplexity", exp(eval_loss));
    for (int i = 0; i < t->scores.n; i++) {
        const struct metric *m = t->scores.m[i];
        double v[METRIC_RESULTS];
        m->get(&t->scores.sum[i], v);
        for (int k = 0; m->results[k]; k++) {
            if (!m->add) continue; /* perplexity stands above */
            char *key = metric_eval_name(m->results[k]);
            run_row_put(r, key, v[k]);
            free(key);
        }
    }
    rc = keep_best(t, eval_loss, e);
    r = &t->job->log.row[t->job->log.n - 1];
    if (t->job->s.has_best) run_row_put(r, "best_step", (double)t->job->s.best_step);
    return rc ? rc : run_log_emit(&t->job->log, t->job->log.n - 1, e);
}
