/* score.c: see score.h. */
#include "libcommon/eval/score.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/msg.h"
#include "libcommon/data/packer.h"

int score_parse(struct score_set *s, const struct strlist *names, struct err *e)
{
    *s = (struct score_set){0};
    if (names->n == 1 && !strcmp(names->v[0], "none")) return 0;
    for (int i = 0; i < names->n; i++) {
        const struct metric *m = metric_find(names->v[i]);
        if (m && s->n < SCORE_METRICS) {
            s->m[s->n++] = m;
            continue;
        }
        const char *known[32];
        int n = 0;
        while (metrics[n] && n < 32) known[n] = metrics[n]->name, n++;
        err_set(e, E_USAGE, "unknown metric %s", err_quotez(names->v[i]));
        const char *near = err_nearest(names->v[i], known, n);
        return err_hint(e, near ? "did you mean %s?" : "metrics: %s", near ? near : metric_names + 2);
    }
    return 0;
}

bool score_generates(const struct score_set *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->m[i]->add) return true;
    return false;
}

/* Rows in the order of their spans: so a call has few kinds, whatever order the stream has. malloc'ed. */
static size_t *by_span(const struct dataset *set, int n_span)
{
    size_t *order = mem_alloc(set->n, sizeof *order), n = 0;
    for (int s = 0; s < (n_span ? n_span : 1); s++)
        for (size_t i = 0; i < set->n; i++)
            if (!n_span || set->row[i].span == s) order[n++] = i;
    return order;
}

int score_nll(struct decoder *d, const struct dataset *set, const char *progress, double *nll, uint64_t *labels,
              struct err *e)
{
    struct packer p;
    struct step_dev sum = {0};
    packer_init(&p, d->size.T, d->size.B, d->hooks);
    if (d->size.spans) packer_spans(&p, d->size.spans);
    size_t *order = by_span(set, d->size.spans);
    int rc = decoder_step_begin(d, &sum, e);
    *labels = 0;
    for (size_t i = 0; i < set->n && rc >= 0;) {
        packer_clear(&p);
        while (i < set->n && packer_add(&p, set, order[i], true)) i++;
        rc = decoder_loss(d, &p.b, false, e);
        *labels += (uint64_t)p.b.n;
        if (progress) msg_progress("%s: %zu of %zu rows", progress, i, set->n);
    }
    if (rc >= 0) rc = decoder_step_end(d, &sum, e);
    *nll = sum.loss;
    packer_fini(&p);
    free(order);
    if (rc < 0 || isfinite(sum.loss)) return rc < 0 ? rc : 0;
    err_set(e, E_DIVERGED, "the loss of the rows that are evaluated is infinite or NaN");
    return err_hint(e, "values of the model, or of the adapter, are so large that sums overflow");
}

struct text_run {
    const struct dataset *set;
    struct score_set *s;
    const char *progress;
    score_emit *emit;
    void *ctx;
};

static int take_text(void *ctx, size_t i, const struct gen_result *r, struct err *e)
{
    struct text_run *t = ctx;
    double score[SCORE_METRICS] = {0};
    for (int k = 0; k < t->s->n; k++)
        if (t->s->m[k]->add) score[k] = t->s->m[k]->add(&t->s->sum[k], r->text, t->set->row[i].target);
    if (t->progress) msg_progress("%s: %zu of %zu rows", t->progress, i + 1, t->set->n);
    return t->emit ? t->emit(t->ctx, i, r, score, e) : 0;
}

int score_texts(struct decoder *d, const struct tokenizer *tok, const struct gen_opts *o, const struct dataset *set,
                struct score_set *s, const char *progress, score_emit *emit, void *ctx, struct err *e)
{
    struct gen_prompt *prompt = mem_alloc(set->n, sizeof *prompt);
    for (size_t i = 0; i < set->n; i++)
        prompt[i] = (struct gen_prompt){set->ids + set->row[i].first, set->row[i].n_prompt, set->row[i].row,
                                        set->row[i].span};
    struct text_run t = {set, s, progress, emit, ctx};
    int rc = generate(d, tok, o, prompt, set->n, take_text, &t, e);
    free(prompt);
    return rc;
}
