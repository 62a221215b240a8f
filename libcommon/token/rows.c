/* rows: batches in a relay (base/relay.h). The caller's thread reads, any thread tokenises, and the batches are given
 * out in order. A batch is bounded in rows and in bytes, so memory does not grow with the input. */
#include "libcommon/token/rows.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/msg.h"
#include "libcommon/base/relay.h"

enum { BATCH_ROWS = 256, BATCH_BYTES = 1 << 16, BATCHES = 4 };

struct slot {
    struct example x; /* its texts: lengths only, they lie in batch.text at `at`: prompt, target, what follows */
    size_t at, part;  /* its first part in batch.part */
    struct row_tokens r;
};
struct batch {
    struct slot slot[BATCH_ROWS];
    int n;
    struct buf text;
    struct part *part; /* lengths, likewise */
    size_t n_part, cap_part;
};
struct run {
    const struct rows *o;
    struct rows_count *count;
    struct batch batch[BATCHES];
};

/* Keep what the reader only lends. */
static void keep(struct batch *b, struct slot *s)
{
    s->at = b->text.n;
    s->part = b->n_part;
    buf_add(&b->text, s->x.prompt.p, s->x.prompt.n);
    buf_add(&b->text, s->x.target.p, s->x.target.n);
    size_t bytes = 0, have = s->x.prompt.n + s->x.target.n;
    b->part = mem_grow(b->part, &b->cap_part, b->n_part + s->x.n_parts, sizeof *b->part);
    for (uint32_t i = 0; i < s->x.n_parts; i++) {
        const struct part *p = &s->x.parts[i];
        b->part[b->n_part++] = *p;
        if (bytes >= have && p->text.n) buf_add(&b->text, p->text.p, p->text.n);
        bytes += p->text.n;
    }
    if (s->x.adapter) buf_add(&b->text, s->x.adapter, strlen(s->x.adapter) + 1);
}

/* Point to it, now that it does not move any more. */
static void settle(struct batch *b, struct slot *s)
{
    struct example *x = &s->x;
    const char *at = b->text.p ? b->text.p + s->at : "";
    x->prompt.p = at;
    x->target.p = at + x->prompt.n;
    x->group = (struct str){"", 0};
    x->parts = x->n_parts ? b->part + s->part : NULL;
    size_t bytes = 0;
    for (uint32_t i = 0; i < x->n_parts; i++) {
        b->part[s->part + i].text.p = at + bytes;
        bytes += b->part[s->part + i].text.n;
    }
    if (x->adapter) x->adapter = at + (x->n_parts ? bytes : x->prompt.n + x->target.n);
}

/* 1: filled, 0: there is nothing more to read. */
static int batch_read(struct run *run, struct batch *b, uint64_t *read, struct err *e)
{
    b->n = 0;
    b->text.n = b->n_part = 0;
    while (b->n < BATCH_ROWS && b->text.n < BATCH_BYTES && *read < run->o->limit) {
        struct record rec;
        int rc = stream_next(run->o->in, &rec, e);
        if (rc < 0) return rc;
        if (rc == 0) break;
        struct slot *s = &b->slot[b->n++];
        s->x = rec.example;
        keep(b, s);
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
        settle(b, s);
        if (row_example(run->o->tokenizer, run->o->policy, &s->x, &s->r, e) < 0)
            return err_prefix(e, "%s: row %llu: ", run->o->name, (unsigned long long)s->x.row);
        if (!s->x.n_parts) continue;
        s->x.target = s->x.parts[s->r.last].text; /* cutting may have made an earlier part the last */
        s->x.prompt.n = (size_t)(s->x.target.p - s->x.prompt.p);
    }
    return 0;
}

static void count_specials(struct rows_count *c, uint64_t n)
{
    if (!c->specials_rows || n < c->specials_least) c->specials_least = n, c->specials_least_rows = 0;
    c->specials_rows++;
    c->specials_least_rows += n == c->specials_least;
    c->specials_all += n;
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
        if (r->fate == ROW_KEPT) c->cut_parts += r->cut_parts;
        if (r->fate == ROW_KEPT) c->lost_prompt += r->lost_prompt;
        if (!b->slot[i].x.n_parts) count_specials(c, r->specials);
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
        free(run->batch[i].part);
    }
    free(run);
    return -e->id;
}
