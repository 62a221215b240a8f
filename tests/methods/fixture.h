/* fixture: a recorded case of tests/parity/model (see record_model.py there) loaded for a test: model, adapter, two
 * packed rows. */
#ifndef TESTS_METHODS_FIXTURE_H
#define TESTS_METHODS_FIXTURE_H
#include <math.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/safetensors.h"
#include "libcommon/data/packer.h"
#include "libcommon/model/decoder.h"
#include "libcommon/peft/method.h"
#include "tests/method_options.h"
#include "tests/test.h"

struct fixture {
    struct device *dev;
    struct model *m;
    struct adapter *a;
    struct hooks hooks; /* of the adapter, once bound */
    struct safetensors *expect;
    struct packer p; /* the recorded rows; 64 tokens at most */
    struct batch *b; /* p.b */
};

static inline const float *fx_f32(const struct fixture *f, const char *name, long n)
{
    const struct st_tensor *t = safetensors_find(f->expect, name);
    CHECK_MSG(t && t->end - t->begin == (uint64_t)n * 4, "tensor %s of %ld values", name, n);
    return t ? (const float *)t->data : NULL;
}

/* The recorded rows into the packer, virtual tokens of the hooks before each; all: every own token gets logits, not
 * only labels. */
static inline void fx_rows(struct fixture *f, const struct hooks *hooks, bool all)
{
    const struct st_tensor *ids = safetensors_find(f->expect, "ids"), *mask = safetensors_find(f->expect, "mask"),
                           *lens = safetensors_find(f->expect, "lens");
    const int32_t *id = (const int32_t *)ids->data, *mk = (const int32_t *)mask->data,
                  *len = (const int32_t *)lens->data;
    if (f->p.ids) packer_fini(&f->p);
    packer_init(&f->p, 64, 4, hooks);
    f->b = &f->p.b;
    for (int s = 0, at = 0; s < (int)lens->shape[0]; at += len[s++]) {
        const long first = packer_tokens(&f->p, id + at, (uint32_t)len[s], (uint64_t)s);
        for (int i = 0; i < len[s]; i++) {
            const bool label = i + 1 < len[s] && mk[at + i + 1];
            if (label) f->p.label[f->b->n] = id[at + i + 1];
            if (label || all) packer_want(&f->p, first + i);
        }
    }
    packer_weight(&f->p, 1.0f / (float)f->b->n);
}

/* The rows again without the first one; those that are left keep their numbers, and so their tokens' names. */
static inline void fx_drop_first(struct fixture *f)
{
    const struct packer old = f->p;
    const int32_t from = old.q_start[1];
    const int lead = old.prefix ? 0 : old.n_virtual; /* virtual tokens among the row's */
    packer_init(&f->p, 64, 4, &f->hooks);
    f->b = &f->p.b;
    for (int s = 1; s < old.b.B; s++)
        packer_tokens(&f->p, old.ids + old.q_start[s] + lead, (uint32_t)(old.q_len[s] - lead), (uint64_t)s);
    for (long i = 0; i < old.b.n; i++) {
        if (old.row[i] < from) continue;
        f->p.label[f->b->n] = old.label[i];
        packer_want(&f->p, old.row[i] - from);
    }
    packer_weight(&f->p, 1.0f / (float)f->b->n);
    struct packer done = old;
    packer_fini(&done);
}

/* A fresh adapter by such a line, started with the seed 7. */
static inline struct adapter *fx_adapter(struct fixture *f, const struct peft_method *method, const char *line,
                                         struct err *e)
{
    struct opt_set *set = method_options(line);
    struct adapter *a = adapter_new(method, opt_block(set, method->opts), opt_block(set, adapter_opt_rows), f->m, e);
    opt_set_free(set);
    if (a && adapter_start(a, f->m, 7, e)) {
        adapter_free(a);
        return NULL;
    }
    return a;
}

/* adapter: load the recorded one too. */
static inline int fx_open(struct fixture *f, const char *name, bool adapter, struct err *e)
{
    *f = (struct fixture){0};
    char p[256];
    f->dev = dev_open(DEVICE_CPU, 0, NULL);
    snprintf(p, sizeof p, "tests/parity/model/%s/base", name);
    f->m = model_load(p, f->dev, e);
    if (!f->m) return -1;
    snprintf(p, sizeof p, "tests/parity/model/%s/expect.safetensors", name);
    f->expect = safetensors_open(p, e);
    if (!f->expect) return -1;
    fx_rows(f, NULL, false);
    if (!adapter) return 0;
    snprintf(p, sizeof p, "tests/parity/model/%s/adapter", name);
    f->a = adapter_load(p, f->m, false, e);
    return f->a ? 0 : -1;
}

/* Bind the adapter, with a gradient buffer of the test's if it is to be trained; the rows get its virtual tokens. */
static inline int fx_bind(struct fixture *f, bool train, struct err *e)
{
    if (train && !f->a->grad) f->a->grad = dev_alloc(f->dev, (size_t)f->a->size * 4);
    int rc = adapter_bind(f->a, &f->hooks, f->m, e);
    if (!rc) fx_rows(f, &f->hooks, false);
    return rc;
}

static inline int fx_train(struct fixture *f, struct decoder *d, bool recompute, enum dtype prec, struct err *e)
{
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .chunk = 3, .recompute = recompute};
    int rc = fx_bind(f, true, e);
    if (!rc) rc = decoder_init(d, f->m, &f->hooks, DECODER_TRAIN, prec, &size, e);
    return rc ? rc : decoder_alloc(d, e);
}

/* Mean loss of the rows; with backward the gradients are added to. */
static inline double fx_loss(struct fixture *f, struct decoder *d, bool backward)
{
    struct err e = {0};
    struct step_dev s = {0};
    int rc = decoder_step_begin(d, &s, &e);
    if (!rc) rc = decoder_loss(d, f->b, backward, &e);
    if (!rc) rc = decoder_step_end(d, &s, &e);
    CHECK_MSG(!rc, "%s", e.msg);
    return s.loss / (double)f->b->n;
}

/* AdamW as torch does it, clipped at 1, for step t from 1, with LoRA+ at a ratio; then the gradient is cleared. m, v:
 * zero at first. */
static inline void fx_loraplus(struct fixture *f, struct decoder *d, float *m, float *v, float lr, float ratio, int t)
{
    const long n = f->a->n_trained;
    struct adamw hp = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.01f, .rate = 1};
    struct step_dev s = {.lr = lr, .max_norm = 1, .bias1 = 1 - pow(0.9f, t), .bias2 = 1 - pow(0.999f, t)};
    CHECK(!f->m->ops->sumsq(&d->cx, &s, f->a->grad, n) && !f->m->ops->step_clip(&d->cx, &s));
    for (int i = 0; i < f->a->n_param; i++) {
        const struct param *p = &f->a->param[i];
        if (p->off >= n) continue;
        hp.rate = p->fast ? ratio : 1;
        CHECK(!f->m->ops->adamw(&d->cx, f->a->data + p->off, m + p->off, v + p->off, f->a->grad + p->off, param_size(p),
                                &hp, &s));
    }
    memset(f->a->grad, 0, (size_t)n * 4);
}
static inline void fx_adamw(struct fixture *f, struct decoder *d, float *m, float *v, float lr, int t)
{
    fx_loraplus(f, d, m, v, lr, 1, t);
}

static inline void fx_close(struct fixture *f)
{
    if (f->a) {
        if (f->a->grad) dev_free(f->dev, f->a->grad);
        hooks_fini(&f->hooks);
        adapter_free(f->a);
    }
    if (f->p.ids) packer_fini(&f->p);
    if (f->expect) safetensors_close(f->expect);
    model_free(f->m);
    dev_close(f->dev);
}

/* Largest difference relative to the largest magnitude of want. */
static inline double fx_rel(const float *got, const float *want, long n)
{
    double diff = 0, scale = 1e-30;
    for (long i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        if (!(d <= diff)) diff = d;
        if (fabs(want[i]) > scale) scale = fabs(want[i]);
    }
    return diff / scale;
}
#endif
