/* place.c: the memory of a model's weights. On the CPU a matrix is used where the file's mapping has it; what has to be
 * made of a tensor (f32 vectors, rows in another order, another storage type) and, on other devices, everything is
 * declared while an architecture binds its parts, and then lies in one planned arena. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/format/gguf.h"
#include "libcommon/model/device_pick.h"
#include "libcommon/model/model_internal.h"
#include "libcommon/model/quantize.h"

enum fill {
    FILL_RAW,      /* the bytes of the tensor */
    FILL_F32,      /* its values */
    FILL_ROWS,     /* its rows in Hugging Face's order */
    FILL_QUANTIZE, /* its values in the type that the model's matrices are held in, rows likewise */
    FILL_HOST      /* values that were computed */
};
struct placing {
    void **slot; /* gets the address */
    const struct tensor *t;
    enum fill fill;
    float *host; /* FILL_HOST: owned */
    long n;      /* FILL_F32, FILL_HOST: values */
    bool permuted;
};
struct placings {
    struct placing *p;
    size_t n, cap;
    int held, skipped; /* matrices in the model's own type; those that had to stay as stored */
};

void model_place_free(struct model *m)
{
    struct placings *all = m->placings;
    for (size_t i = 0; all && i < all->n; i++) free(all->p[i].host);
    if (all) free(all->p);
    free(all);
    m->placings = NULL;
    plan_free(&m->plan);
}

static int declare(struct model *m, struct placing p, int elem_bytes, long n0, long n1, const char *name, struct err *e)
{
    struct placings *all = m->placings;
    all->p = mem_grow(all->p, &all->cap, all->n + 1, sizeof *all->p);
    all->p[all->n++] = p;
    return plan_add(&m->plan, ARENA_WEIGHTS, p.slot, elem_bytes, n0, n1, e, "%s", name);
}

/* Can the layers' matrices be held in another type at all? */
static int check_hold(const struct model *m, const struct tensor *t, enum dtype hold, struct err *e)
{
    if (dev_kind(m->dev) != DEVICE_CPU) {
        err_set(e, E_DEVICE, "--quantize %s: %s has no such matrices", dtype_info[hold].name, dev_name(m->dev));
        return err_hint(e, "--device cpu");
    }
    if (dtype_info[t->dtype].block <= 1) return 0;
    err_set(e, E_MODEL, "%s: %s is quantised already, to %s; --quantize %s takes f32, f16 or bf16", m->path, t->name,
            dtype_info[t->dtype].name, dtype_info[hold].name);
    return err_hint(e, "leave --quantize away to take the weights as they are stored");
}

int model_place_matrix(struct model *m, struct mat *w, const struct tensor *t, bool in_layer, bool rotated,
                       struct err *e)
{
    struct placings *all = m->placings;
    const int rows = (int)t->shape[0], cols = (int)t->shape[1];
    const enum dtype hold = quantize_dtype(m->quantize);
    struct placing p = {.slot = (void **)(void *)&w->data, .t = t, .permuted = rotated && model_rows_permuted(m)};
    *w = (struct mat){NULL, t->dtype, rows, cols};
    p.fill = p.permuted ? FILL_ROWS : FILL_RAW;
    if (m->quantize && in_layer) {
        int rc = check_hold(m, t, hold, e);
        if (rc) return rc;
        const bool fits = cols % dtype_info[hold].block == 0;
        if (fits)
            w->dtype = hold, p.fill = FILL_QUANTIZE, all->held++;
        else
            all->skipped++;
    }
    if (p.fill == FILL_RAW && dev_kind(m->dev) == DEVICE_CPU) {
        w->data = t->data;
        m->mapped_bytes += t->bytes;
        return 0;
    }
    return declare(m, p, 1, rows, (long)dtype_row_bytes(w->dtype, cols), t->name, e);
}

int model_place_vector(struct model *m, const float **w, const struct tensor *t, struct err *e)
{
    const long n = (long)t->shape[0];
    return declare(m, (struct placing){.slot = (void **)(void *)w, .t = t, .fill = FILL_F32, .n = n}, 4, n, 1, t->name,
                   e);
}

int model_place_floats(struct model *m, float **w, float *host, long n, const char *name, struct err *e)
{
    return declare(m, (struct placing){.slot = (void **)(void *)w, .fill = FILL_HOST, .host = host, .n = n}, 4, n, 1,
                   name, e);
}

static int fill_one(const struct model *m, const struct placing *p)
{
    const int D = m->cfg.D;
    float *values = NULL;
    void *rows = NULL;
    int s;
    switch (p->fill) {
    case FILL_RAW:
        return dev_from_host(m->dev, *p->slot, p->t->data, p->t->bytes);
    case FILL_HOST:
        return dev_from_host(m->dev, *p->slot, p->host, (size_t)p->n * 4);
    case FILL_F32:
        values = mem_alloc((size_t)p->n, sizeof *values);
        dtype_to_f32(p->t->dtype, p->t->data, values, p->n);
        s = dev_from_host(m->dev, *p->slot, values, (size_t)p->n * 4);
        free(values);
        return s;
    case FILL_ROWS:
        rows = mem_alloc(p->t->bytes, 1);
        gguf_unpermute_rows(rows, p->t->data, dtype_row_bytes(p->t->dtype, (int)p->t->shape[1]),
                            (int)p->t->shape[0] / D, D);
        s = dev_from_host(m->dev, *p->slot, rows, p->t->bytes);
        free(rows);
        return s;
    default:
        return DEV_OK; /* FILL_QUANTIZE: all of them together */
    }
}

static int fill_quantized(const struct model *m, struct err *e)
{
    const struct placings *all = m->placings;
    struct quantize_job *job = mem_alloc((size_t)all->held, sizeof *job);
    int n = 0;
    for (size_t i = 0; i < all->n; i++)
        if (all->p[i].fill == FILL_QUANTIZE)
            job[n++] = (struct quantize_job){all->p[i].t, *all->p[i].slot, all->p[i].permuted ? m->cfg.D : 0};
    int rc = quantize_fill(m->weights, job, n, quantize_dtype(m->quantize), e);
    free(job);
    if (all->skipped && !rc)
        msg_note("%s: %d of %d matrices have rows that are no multiple of %d values: they stay as stored", m->path,
                 all->skipped, all->skipped + all->held, dtype_info[quantize_dtype(m->quantize)].block);
    return rc;
}

int model_place_all(struct model *m, struct err *e)
{
    const struct placings *all = m->placings;
    int rc = plan_alloc(&m->plan, m->dev, 0, e);
    for (size_t i = 0; i < all->n && !rc; i++) rc = device_error(m->dev, fill_one(m, &all->p[i]), "copy of weights", e);
    return rc || !all->held ? rc : fill_quantized(m, e);
}

void model_place_begin(struct model *m) { m->placings = mem_alloc(1, sizeof(struct placings)); }
