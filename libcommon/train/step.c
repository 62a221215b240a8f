/* step.c: one optimizer step: its rows, the gradient over its micro-batches, clipping, AdamW. */
#include <math.h>
#include "libcommon/base/rng.h"
#include "libcommon/train/schedule.h"
#include "libcommon/train/trainer.h"

double train_rate(const struct trainer *t, int64_t step)
{
    return t->o->lr * schedules[t->o->scheduler]->factor((long)step, (long)t->warmup, (long)t->total_steps);
}

/* First row (index into the epoch's order) and number of rows of the step that is next. */
static size_t step_rows(struct trainer *t, size_t *first)
{
    int64_t epoch = t->s.step / t->steps_per_epoch, i = t->s.step % t->steps_per_epoch;
    if (t->perm_epoch != epoch) {
        if (t->o->shuffle)
            rng_permute(t->perm, (uint32_t)t->train.n, (uint64_t)t->c->seed, (uint64_t)epoch);
        else
            for (uint32_t r = 0; r < t->train.n; r++) t->perm[r] = r;
        t->perm_epoch = epoch;
    }
    *first = (size_t)(i * t->rows_per_step);
    size_t left = t->train.n - *first;
    return left < (size_t)t->rows_per_step ? left : (size_t)t->rows_per_step;
}

/* Micro-batches are cut by tokens, not by --batch-size: so B x 1 and 1 x B do the same arithmetic in the same order. */
static int gradient(struct trainer *t, double *loss, struct err *e)
{
    size_t first, n = step_rows(t, &first), labels = 0;
    for (size_t i = 0; i < n; i++) labels += t->train.row[t->perm[first + i]].n_label;
    if (!labels)
        return err_set(e, E_NOROWS, "step %lld: none of its %zu rows has a trained token", (long long)t->s.step + 1, n);
    t->dec.drop.step = (uint32_t)t->s.step;
    int s = dev_zero(t->dev, t->grad, (size_t)t->adapter->size * 4), rc = 0;
    double sum = 0;
    for (size_t i = 0; i < n && !s && !rc;) {
        packer_clear(&t->packer);
        while (i < n && (t->o->pack || !t->packer.b.B) && packer_add(&t->packer, &t->train, t->perm[first + i], true))
            i++;
        if (!t->packer.b.n) continue;
        rc = decoder_loss(&t->dec, &t->packer.b, true, (float)(1.0 / (double)labels), t->nll_host, NULL, e);
        for (long k = 0; k < t->packer.b.n && !rc; k++) sum += t->nll_host[k];
    }
    if (s) return err_set(e, E_DEVICE, "%s: clearing the gradient failed", dev_name(t->dev));
    *loss = sum / (double)labels;
    t->s.log_tokens += (int64_t)labels;
    return rc;
}

int train_step(struct trainer *t, double *loss, double *grad_norm, struct err *e)
{
    int rc = gradient(t, loss, e);
    if (rc) return rc;
    double sumsq = 0;
    int s = t->model->ops->sumsq(&t->dec.cx, t->sumsq, t->grad, t->adapter->size);
    if (!s) s = dev_to_host(t->dev, &sumsq, t->sumsq, sizeof sumsq);
    *grad_norm = sqrt(sumsq);
    if (!s && isfinite(*grad_norm) && isfinite(*loss)) {
        const struct train_opts *o = t->o;
        double clip = o->max_grad_norm > 0 ? o->max_grad_norm / (*grad_norm + 1e-6) : 1; /* torch's clip_grad_norm_ */
        struct adamw hp = {.lr = (float)train_rate(t, t->s.step),
                           .beta1 = (float)o->beta1,
                           .beta2 = (float)o->beta2,
                           .eps = (float)o->eps,
                           .weight_decay = (float)o->weight_decay,
                           .grad_scale = clip < 1 ? (float)clip : 1.0f,
                           .step = ++t->s.updates};
        s = t->model->ops->adamw(&t->dec.cx, t->adapter->data, t->m, t->v, t->grad, t->adapter->size, &hp);
        t->s.skips_in_row = 0;
    } else if (!s) { /* a non-finite gradient never reaches the weights; the rows and the rate move on */
        t->s.skips++;
        t->s.skips_in_row++;
    }
    if (s) return err_set(e, E_DEVICE, "%s: optimizer step failed: %s", dev_name(t->dev), dev_message(t->dev));
    t->s.step++;
    if (t->s.skips_in_row > t->o->max_skips) {
        err_set(e, E_DIVERGED, "step %lld: %lld steps in a row had a non-finite loss or gradient (loss %g, norm %g)",
                (long long)t->s.step, (long long)t->s.skips_in_row, *loss, *grad_norm);
        return err_hint(e, "the adapter on disk is from before; try a lower --lr, or --precision f32");
    }
    return 0;
}
