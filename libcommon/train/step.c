/* step.c: one optimizer step: its rows, the gradient over its micro-batches, clipping, AdamW. */
#include <math.h>
#include "libcommon/base/rng.h"
#include "libcommon/train/schedule.h"
#include "libcommon/train/trainer.h"

double train_rate(const struct trainer *t, int64_t step)
{
    return t->o->lr * schedules[t->o->scheduler]->factor((long)step, (long)t->warmup, (long)t->total_steps);
}

size_t train_step_rows(const struct trainer *t, int64_t step, size_t *first)
{
    *first = (size_t)(step % t->steps_per_epoch * t->rows_per_step);
    const size_t left = t->train.n - *first;
    return left < (size_t)t->rows_per_step ? left : (size_t)t->rows_per_step;
}

/* The order of the epoch that the next step is in. */
static void order_rows(struct trainer *t)
{
    const int64_t epoch = t->job->s.step / t->steps_per_epoch;
    if (t->perm_epoch == epoch) return;
    t->perm_epoch = epoch;
    if (t->o->shuffle)
        rng_permute(t->perm, (uint32_t)t->train.n, (uint64_t)t->c->seed, (uint64_t)epoch);
    else
        for (uint32_t r = 0; r < t->train.n; r++) t->perm[r] = r;
}

/* Rows of a micro-batch into the packer, from the i-th of the step's; returns the first that is left. */
static size_t pack(struct trainer *t, size_t first, size_t i, size_t n)
{
    packer_clear(&t->packer);
    while (i < n && (t->o->pack || !t->packer.b.B) && packer_add(&t->packer, &t->train, t->perm[first + i], true)) i++;
    return i;
}

/* Micro-batches are cut by tokens, not by --batch-size: so B x 1 and 1 x B do the same arithmetic in the same order. */
static int gradient(struct trainer *t, size_t *labels, struct err *e)
{
    struct job *j = t->job;
    const struct ops *ops = t->model->ops;
    order_rows(t);
    size_t first, n = train_step_rows(t, j->s.step, &first);
    *labels = 0;
    for (size_t i = 0; i < n; i++) *labels += t->train.row[t->perm[first + i]].n_label;
    if (!*labels)
        return err_set(e, E_NOROWS, "step %lld: none of its %zu rows has a trained token", (long long)j->s.step + 1, n);
    const size_t bytes = (size_t)j->adapter->n_trained * 4;
    int s = dev_zero(t->dev, j->grad, bytes), rc = 0;
    for (size_t i = 0; i < n && !s && !rc;) {
        i = pack(t, first, i, n);
        if (!t->packer.b.n) continue;
        packer_weight(&t->packer, (float)(1.0 / (double)*labels));
        s = dev_zero(t->dev, j->part, bytes);
        if (!s) rc = decoder_loss(&t->dec, &t->packer.b, true, e);
        if (!s && !rc) s = ops->grad_add(&t->dec.cx, j->grad, j->part, j->adapter->n_trained);
    }
    if (s) return device_error(t->dev, s, "the gradient", e);
    j->s.log_tokens += (int64_t)*labels;
    return rc;
}

/* Where the parameters end that are trained at the same rate as the i-th, which is moved to the next. */
static long same_rate(const struct adapter *a, int *i)
{
    const bool fast = a->param[*i].fast;
    while (*i < a->n_param && a->param[*i].off < a->n_trained && a->param[*i].fast == fast) ++*i;
    return *i < a->n_param && a->param[*i].off < a->n_trained ? a->param[*i].off : a->n_trained;
}

static int step_parameters(const struct trainer *t, struct job *j, const struct step_dev *s)
{
    const struct adapter *a = j->adapter;
    const double ratio = t->o->loraplus_ratio;
    int rc = 0, i = 0;
    for (long off = 0, end; off < a->n_trained && !rc; off = end) {
        const float rate = ratio > 0 && a->param[i].fast ? (float)ratio : 1;
        end = ratio > 0 ? same_rate(a, &i) : a->n_trained;
        float *state[OPTIM_STATES];
        for (int k = 0; k < j->optim->n_state; k++) state[k] = j->state[k] + off;
        rc = j->optim->step(t->model->ops, &t->dec.cx, a->data + off, j->grad + off, state, end - off, j->optim_opts,
                            rate, s);
    }
    return rc;
}

static int update(struct trainer *t)
{
    struct job *j = t->job;
    const struct ops *ops = t->model->ops;
    const struct op_ctx *cx = &t->dec.cx;
    struct step_dev *s = t->dec.step;
    int rc = ops->sumsq(cx, s, j->grad, j->adapter->n_trained);
    if (!rc) rc = ops->step_clip(cx, s);
    return rc ? rc : step_parameters(t, j, s);
}

int train_step(struct trainer *t, double *loss, double *grad_norm, struct err *e)
{
    struct job *j = t->job;
    struct step_dev scalars = {
        .lr = (float)train_rate(t, j->s.step), .max_norm = t->o->max_grad_norm, .dropout_step = (uint32_t)j->s.step};
    j->optim->begin(j->optim_opts, j->s.updates + 1, &scalars);
    size_t labels;
    int rc = decoder_step_begin(&t->dec, &scalars, e);
    if (!rc) rc = gradient(t, &labels, e);
    if (rc) return rc;
    if ((rc = device_error(t->dev, update(t), "the optimizer's step", e))) return rc;
    rc = decoder_step_end(&t->dec, &scalars, e); /* the only time in a step that the host waits for the device */
    if (rc) return rc;
    *loss = scalars.loss / (double)labels;
    *grad_norm = sqrt(scalars.sumsq);
    if (scalars.skip) { /* a non-finite gradient never reaches the weights; the rows and the rate move on */
        j->s.skips++;
        j->s.skips_in_row++;
    } else {
        j->s.updates++;
        j->s.skips_in_row = 0;
    }
    j->s.step++;
    if (j->s.skips_in_row > t->o->max_skips) {
        err_set(e, E_DIVERGED, "step %lld: %lld steps in a row had a non-finite loss or gradient (loss %g, norm %g)",
                (long long)j->s.step, (long long)j->s.skips_in_row, *loss, *grad_norm);
        return err_hint(e, "the adapter on disk is from before; try a lower --lr, or --precision f32");
    }
    return 0;
}
