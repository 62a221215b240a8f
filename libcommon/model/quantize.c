/* quantize.c: see quantize.h. */
#include "libcommon/model/quantize.h"
#include <stdlib.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/relay.h"
#include "libcommon/model/model_internal.h"

const struct opt quantize_opt_rows[] = {
    OPT(struct quantize_opts, quantize, "quantize", OPT_ENUM, "model", .choices = "none|nf4", .def = "none",
        .arg = "TYPE", .help = "hold the layers' matrices in this type: nf4 is 4-bit NormalFloat, QLoRA's"),
    OPT(struct quantize_opts, load_in_4bit, "load-in-4bit", OPT_FLAG, "model",
        .help = "same as --quantize nf4, under transformers' name"),
    OPT(struct quantize_opts, quant_type, "bnb-4bit-quant-type", OPT_ENUM, "model", .choices = "nf4", .def = "nf4",
        .arg = "TYPE", .help = "the type that --load-in-4bit means"),
    OPT_END};

enum quantize quantize_of(const struct quantize_opts *o)
{
    return o->quantize != QUANTIZE_NONE ? (enum quantize)o->quantize : o->load_in_4bit ? QUANTIZE_NF4 : QUANTIZE_NONE;
}

const char *quantize_name(enum quantize q) { return q == QUANTIZE_NF4 ? "nf4" : "none"; }

/* A stretch of rows of one matrix, of about this many values. */
enum { STRETCH = 1 << 15 };
struct stretch {
    const struct mat *from;
    struct mat to;
    unsigned char *dst; /* to.data */
    int first, last;
    float *row; /* [cols_max] */
};

static int stretch_work(void *ctx, int place, struct err *e)
{
    (void)e;
    const struct stretch *s = (const struct stretch *)ctx + place;
    const size_t from = dtype_row_bytes(s->from->dtype, s->from->cols), to = dtype_row_bytes(s->to.dtype, s->to.cols);
    for (int r = s->first; r < s->last; r++) {
        dtype_to_f32(s->from->dtype, (const unsigned char *)s->from->data + (size_t)r * from, s->row, s->from->cols);
        dtype_from_f32(s->to.dtype, s->row, s->dst + (size_t)r * to, s->to.cols);
    }
    return 0;
}

static int matrix(struct model *m, struct mat *w, enum dtype t, struct relay *relay, struct stretch *place,
                  struct err *e)
{
    struct mat to = {NULL, t, w->rows, w->cols};
    unsigned char *dst = model_own(m, (size_t)w->rows * dtype_row_bytes(t, w->cols), e);
    if (!dst) return -e->id;
    to.data = dst;
    const int step = STRETCH / w->cols + 1;
    for (int r = 0; r < w->rows; r += step) {
        int i = relay_place(relay, e);
        if (i < 0) return i;
        place[i].from = w, place[i].to = to, place[i].dst = dst;
        place[i].first = r, place[i].last = w->rows - r < step ? w->rows : r + step;
        relay_go(relay);
    }
    int rc = relay_drain(relay, e);
    if (rc) return rc;
    model_disown(m, w->data);
    *w = to;
    return 0;
}

/* Refuse what cannot be done before anything is done. *cols_max: the widest matrix; *skipped: how many of *total stay.
 */
static int survey(struct model *m, enum dtype t, int *cols_max, int *skipped, int *total, struct err *e)
{
    if (dev_kind(m->dev) != DEVICE_CPU) {
        err_set(e, E_DEVICE, "--quantize %s: %s has no such matrices", dtype_info[t].name, dev_name(m->dev));
        return err_hint(e, "--device cpu");
    }
    for (int i = 0; i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (s->kind != SITE_LINEAR) continue;
        const struct mat *w = &model_part(m, s)->w;
        if (dtype_info[w->dtype].block > 1) {
            err_set(e, E_MODEL, "%s: %s is quantised already, to %s; --quantize %s takes f32, f16 or bf16", m->path,
                    s->path, dtype_info[w->dtype].name, dtype_info[t].name);
            return err_hint(e, "leave --quantize away to take the weights as they are stored");
        }
        if (w->cols > *cols_max) *cols_max = w->cols;
        *skipped += w->cols % dtype_info[t].block != 0;
        ++*total;
    }
    return 0;
}

int model_quantize(struct model *m, enum quantize q, struct err *e)
{
    if (q == QUANTIZE_NONE) return 0;
    const enum dtype t = DT_NF4;
    int cols_max = 0, skipped = 0, total = 0, threads = cpu_threads();
    int rc = survey(m, t, &cols_max, &skipped, &total, e);
    if (rc) return rc;
    if (threads > RELAY_PLACES_MAX / 2) threads = RELAY_PLACES_MAX / 2;
    const int places = threads > 1 ? 2 * threads : 1;
    struct stretch *place = mem_alloc((size_t)places, sizeof *place);
    for (int i = 0; i < places; i++) place[i].row = mem_alloc((size_t)cols_max, sizeof(float));
    struct relay *relay = relay_new(threads, places, (struct relay_calls){.work = stretch_work}, place);
    for (int i = 0; i < m->n_site && !rc; i++) {
        const struct site *s = &m->site[i];
        if (s->kind != SITE_LINEAR) continue;
        struct mat *w = &model_part(m, s)->w;
        if (w->cols % dtype_info[t].block == 0) rc = matrix(m, w, t, relay, place, e);
        weights_forget(m->weights);
        msg_progress("%s: layer %d of %d", dtype_info[t].name, s->layer + 1, m->cfg.L);
    }
    msg_progress(NULL);
    relay_free(relay);
    for (int i = 0; i < places; i++) free(place[i].row);
    free(place);
    if (skipped && !rc)
        msg_note("%s: %d of %d matrices have rows that are no multiple of %d values: they stay as stored", m->path,
                 skipped, total, dtype_info[t].block);
    return rc;
}
