/* rows: batches in a relay (base/relay.h). The caller's thread reads, any thread tokenises, and the batches are given
 * out in order. A batch is bounded in rows and in bytes, so memory does not grow with the input. */
#include "libcommon/token/rows.h"

#include <stdlib.h>

#include "libcommon/base/msg.h"
#include "libcommon/base/relay.h"

enum { BATCH_ROWS = 256, BATCH_BYTES = 1 << 16, BATCHES = 4 };

struct slot {
    struct example x; /* its texts: lengths only, they lie in batch.text at `at` */
    size_t at;
    struct row_tokens r;
};
struct batch {
    struct slot slot[BATCH_ROWS];
    int n;
    struct buf text;
};
struct run {
    const struct rows *o;
    struct rows_count *count;
    struct batch batch[BATCHES];
};

/* 1: filled, 0: there is nothing more to read. */
static int batch_read(struct run *run, struct batch *b, uint64_t *read, struct err *e)
{
    b->n = 0;
    b->text.n = 0;
    while (b->n < BATCH_ROWS && b->text.n < BATCH_BYTES && *read < run->o->limit) {
        struct record rec;
        int rc = stream_next(run->o->in, &rec, e);
        if (rc < 0) return rc;
        if (rc == 0) break;
        struct slot *s = &b->slot[b->n++];
        s->x = rec.example;
        s->at = b->text.n;
        buf_add(&b->text, s->x.prompt.p, s->x.prompt.n);
        buf_add(&b->text, s->x.target.p, s->x.target.n);
        ++*read;
    }
    return b->n > 0;
}

static int batch_tokenize(void *ctx, int place, struct err *e)
{
    struct run *run = ctx;
    struct batch *b = &run->batch[place];
    for (int i = 0; i < b->n; i++) {
        struct slot *s = &b->slot[i];
        s->x.prompt.p = b->text.p ? b->text.p + s->at : "";
        s->x.target.p = s->x.prompt.p + s->x.prompt.n;
        s->x.group = (struct str){"", 0};
        if (row_tokenize(run->o->tokenizer, run->o->policy, s->x.prompt, s->x.target, &s->r, e) < 0)
            return err_prefix(e, "%s: row %llu: ", run->o->name, (unsigned long long)s->x.row);
    }
    return 0;
}

static int batch_put(void *ctx, int place, struct err *e)
{
    struct run *run = ctx;
    struct rows_count *c = run->count;
    const struct batch *b = &run->batch[place];
    for (int i = 0; i < b->n; i++) {
        const struct row_tokens *r = &b->slot[i].r;
        c->in++;
        c->had_eos += r->had_eos;
        c->straddles += r->straddles;
        c->truncated += r->truncated;
        if (r->fate == ROW_KEPT)
            c->out++;
        else
            c->dropped[r->fate]++;
        int rc = run->o->put(run->o->ctx, &b->slot[i].x, r, e);
        if (rc < 0) return rc;
    }
    return 0;
}

int rows_run(const struct rows *o, struct rows_count *count, struct err *e)
{
    struct run *run = mem_alloc(1, sizeof *run);
    struct err later = {0}; /* of the reader: rows before it may have failed */
    uint64_t read = 0;
    run->o = o;
    run->count = count;
    *count = (struct rows_count){0};
    struct relay *relay = relay_new(o->threads, o->threads > 1 ? BATCHES : 1,
                                    (struct relay_calls){batch_tokenize, batch_put}, run);
    for (int i; (i = relay_place(relay, e)) >= 0;) {
        if (batch_read(run, &run->batch[i], &read, &later) <= 0) break;
        relay_go(relay);
        msg_progress("%llu rows", (unsigned long long)read);
    }
    relay_drain(relay, e);
    relay_free(relay);
    msg_progress(NULL);
    if (!e->id && later.id) *e = later;
    for (int i = 0; i < BATCHES; i++) {
        for (int k = 0; k < BATCH_ROWS; k++) row_tokens_fini(&run->batch[i].slot[k].r);
        buf_fini(&run->batch[i].text);
    }
    free(run);
    return -e->id;
}
