/* quantize.c: see quantize.h. */
#include "libcommon/model/quantize.h"
#include <stdlib.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/relay.h"
#include "libcommon/format/gguf.h"

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

enum dtype quantize_dtype(enum quantize q) { return q == QUANTIZE_NF4 ? DT_NF4 : DT_F32; }

/* A stretch of rows of one matrix, of about this many values. */
enum { STRETCH = 1 << 15 };
struct stretch {
    const struct quantize_job *job;
    enum dtype to;
    int first, last;
    float *row; /* [the widest] */
};

static int stretch_work(void *ctx, int place, struct err *e)
{
    (void)e;
    const struct stretch *s = (const struct stretch *)ctx + place;
    const struct tensor *t = s->job->from;
    const int cols = (int)t->shape[1], head = s->job->head_rows;
    const size_t from = dtype_row_bytes(t->dtype, cols), to = dtype_row_bytes(s->to, cols);
    for (int r = s->first; r < s->last; r++) {
        const long at = head ? gguf_row_of_hf(r, head) : r;
        dtype_to_f32(t->dtype, (const unsigned char *)t->data + (size_t)at * from, s->row, cols);
        dtype_from_f32(s->to, s->row, s->job->dst + (size_t)r * to, cols);
    }
    return 0;
}

static int matrix(const struct quantize_job *job, enum dtype to, struct relay *relay, struct stretch *place,
                  struct err *e)
{
    const int rows = (int)job->from->shape[0], step = STRETCH / (int)job->from->shape[1] + 1;
    for (int r = 0; r < rows; r += step) {
        int i = relay_place(relay, e);
        if (i < 0) return i;
        place[i].job = job, place[i].to = to;
        place[i].first = r, place[i].last = rows - r < step ? rows : r + step;
        relay_go(relay);
    }
    return relay_drain(relay, e);
}

int quantize_fill(const struct weights *w, const struct quantize_job *job, int n, enum dtype to, struct err *e)
{
    int64_t widest = 0;
    for (int i = 0; i < n; i++)
        if (job[i].from->shape[1] > widest) widest = job[i].from->shape[1];
    int threads = cpu_threads(), rc = 0;
    if (threads > RELAY_PLACES_MAX / 2) threads = RELAY_PLACES_MAX / 2;
    const int places = threads > 1 ? 2 * threads : 1;
    struct stretch *place = mem_alloc((size_t)places, sizeof *place);
    for (int i = 0; i < places; i++) place[i].row = mem_alloc((size_t)widest, sizeof(float));
    struct relay *relay = relay_new(threads, places, (struct relay_calls){.work = stretch_work}, place);
    for (int i = 0; i < n && !rc; i++) {
        rc = matrix(&job[i], to, relay, place, e);
        weights_forget(w);
        msg_progress("%s: matrix %d of %d", dtype_info[to].name, i + 1, n);
    }
    msg_progress(NULL);
    relay_free(relay);
    for (int i = 0; i < places; i++) free(place[i].row);
    free(place);
    return rc;
}
