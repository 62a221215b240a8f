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
    bool better = isfinite(v) && (!t->s.has_best || (lower ? v < t->s.best : v > t->s.best));
    if (!better) {
        t->s.bad_evals++;
        if (t->o->patience && t->s.bad_evals >= t->o->patience) t->s.stopped = true;
        return 0;
    }
    t->s.has_best = true;
    t->s.best = v;
    t->s.best_step = t->s.step;
    t->s.bad_evals = 0;
    if (!t->best) t->best = mem_alloc((size_t)t->adapter->size, sizeof *t->best);
    if (dev_to_host(t->dev, t->best, t->adapter->data, (size_t)t->adapter->size * 4))
        return err_set(e, E_DEVICE, "%s: copy of the adapter failed", dev_name(t->dev));
    return 0;
}

int train_evaluate(struct trainer *t, struct err *e)
{
    double nll;
    uint64_t labels;
    char what[48];
    snprintf(what, sizeof what, "evaluation at step %lld", (long long)t->s.step);
    int rc = score_nll(&t->dec, &t->eval, what, &nll, &labels, e);
    memset(t->scores.sum, 0, sizeof t->scores.sum);
    for (int i = 0; i < t->scores.n; i++)
        if (t->scores.m[i]->add_nll) t->scores.m[i]->add_nll(&t->scores.sum[i], nll, labels);
    if (!rc && t->has_gen) rc = score_texts(&t->gen, t->tok, &t->gen_opts, &t->eval, &t->scores, what, NULL, NULL, e);
    if (rc) return rc;

    double eval_loss = labels ? nll / (double)labels : NAN, epoch = (double)t->s.step / (double)t->steps_per_epoch;
    struct run_row *r = run_log_add(&t->log, "eval", t->s.step, epoch);
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
    r = &t->log.row[t->log.n - 1];
    if (t->s.has_best) run_row_put(r, "best_step", (double)t->s.best_step);
    return rc ? rc : run_log_emit(&t->log, t->log.n - 1, e);
}
