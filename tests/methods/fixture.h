/* fixture: a recorded case of tests/parity/model (see record_model.py there) loaded for a test: model, adapter, two
 * packed rows. */
#ifndef TESTS_METHODS_FIXTURE_H
#define TESTS_METHODS_FIXTURE_H
#include <math.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/safetensors.h"
#include "libcommon/model/decoder.h"
#include "libcommon/peft/method.h"
#include "tests/test.h"

struct fixture {
    struct device *dev;
    struct model *m;
    struct adapter *a;
    struct safetensors *expect;
    struct batch b;
    int32_t ids[64], pos[64], q_start[4], q_len[4], row[64], label[64];
    uint64_t uid[64];
};

static inline const float *fx_f32(const struct fixture *f, const char *name, long n)
{
    const struct st_tensor *t = safetensors_find(f->expect, name);
    CHECK_MSG(t && t->end - t->begin == (uint64_t)n * 4, "tensor %s of %ld values", name, n);
    return t ? (const float *)t->data : NULL;
}

static inline void fx_rows(struct fixture *f)
{
    const struct st_tensor *ids = safetensors_find(f->expect, "ids"), *mask = safetensors_find(f->expect, "mask"),
                           *lens = safetensors_find(f->expect, "lens");
    const int32_t *id = (const int32_t *)ids->data, *mk = (const int32_t *)mask->data,
                  *len = (const int32_t *)lens->data;
    f->b = (struct batch){.ids = f->ids,
                          .pos = f->pos,
                          .uid = f->uid,
                          .q_start = f->q_start,
                          .q_len = f->q_len,
                          .row = f->row,
                          .label = f->label};
    for (int s = 0; s < (int)lens->shape[0]; s++) {
        f->q_start[f->b.B] = (int32_t)f->b.T;
        f->q_len[f->b.B++] = len[s];
        for (int i = 0; i < len[s]; i++) {
            long t = f->b.T + i;
            f->ids[t] = id[t], f->pos[t] = i, f->uid[t] = (uint64_t)t;
            if (i + 1 < len[s] && mk[t + 1]) f->row[f->b.n] = (int32_t)t, f->label[f->b.n++] = id[t + 1];
        }
        f->b.T += len[s];
    }
}

/* adapter: load the recorded one too. */
static inline int fx_open(struct fixture *f, const char *name, bool adapter, struct err *e)
{
    *f = (struct fixture){0};
    char p[256];
    int status;
    f->dev = dev_open(DEVICE_CPU, 0, &status);
    snprintf(p, sizeof p, "tests/parity/model/%s/base", name);
    f->m = model_load(p, f->dev, e);
    if (!f->m) return -1;
    snprintf(p, sizeof p, "tests/parity/model/%s/expect.safetensors", name);
    f->expect = safetensors_open(p, e);
    if (!f->expect) return -1;
    fx_rows(f);
    if (!adapter) return 0;
    snprintf(p, sizeof p, "tests/parity/model/%s/adapter", name);
    f->a = adapter_load(p, f->m, false, e);
    return f->a ? 0 : -1;
}

/* Attach the adapter with a gradient buffer of the test's. */
static inline int fx_train(struct fixture *f, struct decoder *d, bool recompute, enum dtype prec, struct err *e)
{
    f->a->grad = dev_alloc(f->dev, (size_t)f->a->size * 4);
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .chunk = 3, .recompute = recompute};
    int rc = f->a->method->attach(f->a, f->m, e);
    if (!rc) rc = decoder_init(d, f->m, DECODER_TRAIN, prec, &size, e);
    return rc ? rc : decoder_alloc(d, e);
}

static inline void fx_close(struct fixture *f)
{
    if (f->a) {
        if (f->a->grad) dev_free(f->dev, f->a->grad);
        f->a->method->detach(f->a, f->m);
        adapter_free(f->a);
    }
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
