/* generate.c: see generate.h. */
#include "libcommon/eval/generate.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/msg.h"

const char *const gen_end_names[] = {"eos", "stop", "length"};

#define PREFILL_TOKENS 512 /* prompt tokens that join a forward pass, unless one prompt alone is longer */

#define SHARED_TOKENS 64 /* tokens that sharing a prefix must save: about what one more pass over the weights costs */

struct slot {
    size_t index;      /* of its prompt */
    bool busy, fresh;  /* fresh: its prompt has not been computed yet */
    int span;          /* of its prompt */
    uint32_t cached;   /* rows of the cache in use */
    struct u32vec out; /* generated so far */
};
struct result {
    bool done;
    struct buf text;
    uint32_t n_tokens;
    enum gen_end end;
};
struct gen {
    struct decoder *d;
    const struct tokenizer *tok;
    const struct gen_opts *o;
    const struct gen_prompt *prompt;
    void *ctx;
    size_t n, next, emitted;
    struct slot *slot;
    int *slot_of;          /* [slots] slot of each sequence of the current call */
    uint32_t slot_rows;    /* cache rows of a slot */
    uint32_t n_virtual;    /* virtual tokens before every prompt */
    uint32_t shared;       /* prompt tokens that all begin with */
    uint32_t prefix;       /* rows of each slot that hold virtual and shared tokens from the start */
    struct result *result; /* [n] */
    struct batch b;
    struct span *span, *row_span; /* [b.n_span] rows of each kind of prompts in the call, one behind another */
    int32_t *ids, *pos, *q_start, *q_len, *kv_start, *kv_len, *cache_row, *row, *virtual_row, *virtual_id;
    float *logits;
};

static uint32_t slot_rows(const struct gen_opts *o, uint32_t longest, uint32_t n_virtual)
{
    return n_virtual + longest + (uint32_t)o->max_new;
}

struct decoder_size gen_size(const struct gen_opts *o, uint32_t longest, int n_virtual)
{
    long prefill = longest + n_virtual > PREFILL_TOKENS ? longest + n_virtual : PREFILL_TOKENS;
    return (struct decoder_size){.T = prefill + o->slots,
                                 .n = o->slots,
                                 .B = o->slots,
                                 .logits = o->slots,
                                 .cache_rows = (long)o->slots * slot_rows(o, longest, (uint32_t)n_virtual)};
}

static void put(struct gen *g, struct slot *sl, int32_t start, int32_t id)
{
    const long t = g->b.T++;
    g->ids[t] = id;
    g->pos[t] = (int32_t)sl->cached;
    g->cache_row[t] = start + (int32_t)sl->cached++;
}

/* Append a sequence's tokens to the call, virtual ones first if it has none yet; its last token gets logits. */
static void call_add(struct gen *g, int s, const int32_t *ids, uint32_t n)
{
    struct slot *sl = &g->slot[s];
    struct batch *b = &g->b;
    const int32_t start = (int32_t)((uint32_t)s * g->slot_rows);
    g->slot_of[b->B] = s;
    g->q_start[b->B] = (int32_t)b->T;
    g->kv_start[b->B] = start;
    for (uint32_t j = 0; !sl->cached && j < g->n_virtual; j++) {
        g->virtual_row[b->n_virtual] = (int32_t)b->T + (int32_t)j;
        g->virtual_id[b->n_virtual++] = (int32_t)j;
    }
    for (uint32_t j = sl->cached ? g->n_virtual : 0; j < g->n_virtual; j++) put(g, sl, start, 0);
    for (uint32_t i = 0; i < n; i++) put(g, sl, start, ids[i]);
    g->q_len[b->B] = (int32_t)b->T - g->q_start[b->B];
    g->kv_len[b->B++] = (int32_t)sl->cached;
    g->row[b->n++] = (int32_t)b->T - 1;
}

/* As many new prompts as fit get a slot. */
static void admit(struct gen *g)
{
    long T = g->b.T;
    for (int s = 0; s < g->o->slots; s++) T += g->slot[s].busy;
    for (int s = 0; s < g->o->slots && g->next < g->n; s++) {
        const struct gen_prompt *p = &g->prompt[g->next];
        struct slot *sl = &g->slot[s];
        if (sl->busy) continue;
        T += p->n + g->n_virtual - g->prefix;
        if (T > g->d->size.T) break;
        sl->busy = sl->fresh = true;
        sl->index = g->next++;
        sl->span = p->span;
        sl->cached = g->prefix;
        sl->out.n = 0;
    }
}

/* The busy slots of a kind: decode steps first, then new prompts. */
static void call_fill_span(struct gen *g, int span)
{
    for (int fresh = 0; fresh < 2; fresh++)
        for (int s = 0; s < g->o->slots; s++) {
            struct slot *sl = &g->slot[s];
            if (!sl->busy || sl->span != span || sl->fresh != (fresh == 1)) continue;
            const struct gen_prompt *p = &g->prompt[sl->index];
            const int32_t last = fresh ? 0 : (int32_t)sl->out.v[sl->out.n - 1];
            if (fresh)
                call_add(g, s, p->ids + g->shared, p->n - g->shared);
            else
                call_add(g, s, &last, 1);
        }
}

static void call_fill(struct gen *g)
{
    struct batch *b = &g->b;
    b->T = b->n = b->B = b->n_virtual = 0;
    admit(g);
    for (int i = 0; i < (b->n_span ? b->n_span : 1); i++) {
        const int32_t T = (int32_t)b->T, n = (int32_t)b->n;
        call_fill_span(g, i);
        if (!b->n_span) break;
        g->span[i] = (struct span){T, (int32_t)b->T - T};
        g->row_span[i] = (struct span){n, (int32_t)b->n - n};
    }
    for (int s = 0; s < g->o->slots; s++) g->slot[s].fresh = false;
}

/* Tokens that all prompts begin with. Each prompt keeps one of its own, for its logits. */
static uint32_t shared_prefix(const struct gen_prompt *prompt, size_t n)
{
    uint32_t same = n ? prompt[0].n - 1 : 0;
    for (size_t i = 1; i < n; i++) {
        uint32_t k = 0;
        if (prompt[i].n - 1 < same) same = prompt[i].n - 1;
        while (k < same && prompt[i].ids[k] == prompt[0].ids[k]) k++;
        same = k;
    }
    return same;
}

/* With longrope the rotation of a prompt's beginning depends on the prompt's length: one that all share can be computed
 * once where all are short. Texts that grow past the original length are computed as transformers does. */
static bool turns_alike(const struct gen *g, uint32_t longest)
{
    const uint32_t from = (uint32_t)g->d->m->cfg.rope_scaling.original_max_pos;
    if (!g->d->m->inv_freq_long || g->n_virtual + longest + (uint32_t)g->o->max_new <= from) return true;
    size_t crossing = 0;
    for (size_t i = 0; i < g->n; i++) {
        const uint32_t n = g->n_virtual + g->prompt[i].n;
        crossing += n <= from && n + (uint32_t)g->o->max_new > from;
    }
    if (crossing)
        msg_warn(
            "%zu of %zu prompts are shorter than the %u tokens from which on longrope takes its other factors, but "
            "may grow past them: the tokens before keep their rotation, as in transformers",
            crossing, g->n, from);
    return g->n_virtual + longest <= from;
}

/* What all sequences begin with into the first rows of every slot that will be used. Keys and values of a token depend
 * on the tokens before it alone, so a copy is what each prompt would have computed; those of an adapter's prefix are
 * there without a computation. */
static int share(struct gen *g, uint32_t longest, struct err *e)
{
    const uint32_t given = (uint32_t)hooks_prefix(g->d->hooks), computed = g->n_virtual - given + g->shared;
    const bool pays = turns_alike(g, longest) && !g->b.n_span && g->n > 1 &&
                      (double)computed * (double)(g->n - 1) >= SHARED_TOKENS;
    if (!pays) g->shared = 0; /* or would be wrong, as keys and values differ */
    g->prefix = g->slot[0].cached = given;
    int rc = given ? decoder_cache_prefix(g->d, 0, e) : 0;
    if (!rc && pays) {
        g->prefix = g->n_virtual + g->shared;
        g->b.T = g->b.n = g->b.B = g->b.n_virtual = 0;
        call_add(g, 0, g->prompt[0].ids, g->shared);
        g->b.n = 0; /* no logits */
        rc = decoder_logits(g->d, &g->b, NULL, e);
    }
    for (int s = 1; g->prefix && s < g->o->slots && (size_t)s < g->n && !rc; s++)
        rc = decoder_cache_copy(g->d, 0, (long)s * g->slot_rows, g->prefix, e);
    return rc;
}

/* First occurrence of a stop string in the text, or its length. */
static size_t find_stop(const struct strlist *stop, const struct buf *text)
{
    size_t at = text->n;
    for (int i = 0; stop && i < stop->n; i++) {
        size_t len = strlen(stop->v[i]);
        if (!len) continue;
        const char *p = text->n ? memmem(text->p, text->n, stop->v[i], len) : NULL;
        if (p && (size_t)(p - text->p) < at) at = (size_t)(p - text->p);
    }
    return at;
}

static bool is_end(const struct gen_opts *o, int32_t id)
{
    for (size_t i = 0; o->ends && i < o->ends->n; i++)
        if (o->ends->v[i] == (uint32_t)id) return true;
    return false;
}

/* Take the new token of slot s; frees the slot when its text has ended. */
static int take(struct gen *g, int s, int32_t id, struct err *e)
{
    struct slot *sl = &g->slot[s];
    struct result *r = &g->result[sl->index];
    bool eos = is_end(g->o, id), ended = eos;
    if (!eos) u32vec_add(&sl->out, (uint32_t)id);
    if (!eos && g->o->on_token) {
        int rc = g->o->on_token(g->ctx, sl->out.v, sl->out.n, e);
        if (rc < 0) return rc;
    }
    r->end = GEN_EOS;
    if (!ended && g->o->stop && g->o->stop->n) {
        r->text.n = 0;
        int rc = tokenizer_decode(g->tok, sl->out.v, sl->out.n, true, false, &r->text, e);
        if (rc < 0) return rc;
        ended = find_stop(g->o->stop, &r->text) < r->text.n;
        r->end = GEN_STOP;
    }
    if (!ended && sl->out.n >= (size_t)g->o->max_new) {
        ended = true;
        r->end = GEN_LENGTH;
    }
    if (!ended) return 0;
    r->text.n = 0;
    int rc = tokenizer_decode(g->tok, sl->out.v, sl->out.n, true, false, &r->text, e);
    if (rc < 0) return rc;
    r->text.n = find_stop(g->o->stop, &r->text);
    r->n_tokens = (uint32_t)sl->out.n;
    r->done = true;
    sl->busy = false;
    return 0;
}

static int emit_ready(struct gen *g, gen_emit *emit, void *ctx, struct err *e)
{
    int rc = 0;
    for (; g->emitted < g->n && g->result[g->emitted].done && rc >= 0; g->emitted++) {
        struct result *r = &g->result[g->emitted];
        struct gen_result out = {.text = {buf_str(&r->text), r->text.n}, .n_tokens = r->n_tokens, .end = r->end};
        rc = emit ? emit(ctx, g->emitted, &out, e) : 0;
        buf_fini(&r->text);
    }
    return rc < 0 ? rc : 0;
}

static void gen_alloc(struct gen *g)
{
    size_t T = (size_t)g->d->size.T, B = (size_t)g->o->slots;
    g->slot = mem_alloc(B, sizeof *g->slot);
    g->slot_of = mem_alloc(B, sizeof *g->slot_of);
    g->result = mem_alloc(g->n, sizeof *g->result);
    g->ids = mem_alloc(T, 4), g->pos = mem_alloc(T, 4), g->cache_row = mem_alloc(T, 4);
    g->q_start = mem_alloc(B, 4), g->q_len = mem_alloc(B, 4), g->kv_start = mem_alloc(B, 4),
    g->kv_len = mem_alloc(B, 4);
    g->row = mem_alloc(B, 4);
    g->virtual_row = mem_alloc(g->n_virtual ? T : 0, 4), g->virtual_id = mem_alloc(g->n_virtual ? T : 0, 4);
    g->logits = mem_alloc(B * (size_t)g->d->m->cfg.V, sizeof *g->logits);
    const size_t spans = (size_t)g->d->size.spans;
    g->span = mem_alloc(spans, sizeof *g->span);
    g->row_span = mem_alloc(spans, sizeof *g->row_span);
    g->b = (struct batch){.n_span = g->d->size.spans,
                          .span = g->span,
                          .label_span = g->row_span,
                          .ids = g->ids,
                          .pos = g->pos,
                          .q_start = g->q_start,
                          .q_len = g->q_len,
                          .kv_start = g->kv_start,
                          .kv_len = g->kv_len,
                          .cache_row = g->cache_row,
                          .row = g->row,
                          .virtual_row = g->virtual_row,
                          .virtual_id = g->virtual_id};
}

static void gen_free(struct gen *g)
{
    for (int s = 0; s < g->o->slots; s++) free(g->slot[s].out.v);
    for (size_t i = 0; i < g->n; i++) buf_fini(&g->result[i].text);
    void *p[] = {g->slot,  g->slot_of,  g->result, g->ids, g->pos,         g->cache_row,  g->q_start, g->span,
                 g->q_len, g->kv_start, g->kv_len, g->row, g->virtual_row, g->virtual_id, g->logits,  g->row_span};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
}

int generate(struct decoder *d, const struct tokenizer *tok, const struct gen_opts *o, const struct gen_prompt *prompt,
             size_t n, gen_emit *emit, void *ctx, struct err *e)
{
    uint32_t longest = 0;
    for (size_t i = 0; i < n; i++) {
        if (!prompt[i].n)
            return err_set(e, E_NOROWS, "row %llu has an empty prompt", (unsigned long long)prompt[i].row);
        if (prompt[i].n > longest) longest = prompt[i].n;
    }
    struct gen g = {.d = d,
                    .tok = tok,
                    .o = o,
                    .prompt = prompt,
                    .ctx = ctx,
                    .n = n,
                    .n_virtual = (uint32_t)hooks_virtual(d->hooks),
                    .slot_rows = slot_rows(o, longest, (uint32_t)hooks_virtual(d->hooks)),
                    .shared = shared_prefix(prompt, n)};
    struct decoder_size need = gen_size(o, longest, hooks_virtual(d->hooks));
    if (need.T > d->size.T || need.cache_rows > d->size.cache_rows || need.B > d->size.B)
        return err_set(e, E_BUG, "generate: the decoder is planned for shorter prompts");
    gen_alloc(&g);
    int rc = share(&g, longest, e), V = d->m->cfg.V;
    while (g.emitted < n && rc >= 0) {
        call_fill(&g);
        rc = decoder_logits(d, &g.b, g.logits, e);
        for (int i = 0; i < g.b.B && rc >= 0; i++) {
            struct slot *sl = &g.slot[g.slot_of[i]];
            int32_t id = gen_sample(o, g.logits + (size_t)i * (size_t)V, V, prompt[sl->index].row, (uint32_t)sl->out.n);
            rc = take(&g, g.slot_of[i], id, e);
        }
        if (rc >= 0) rc = emit_ready(&g, emit, ctx, e);
    }
    gen_free(&g);
    return rc < 0 ? rc : 0;
}
