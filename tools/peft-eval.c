/* peft-eval: scores of a model, with or without an adapter.
 * Reads a tokens or examples stream (FILE or stdin); writes a predictions stream (-o or stdout), or one JSON object
 * with --json. peft-eval -m model.gguf -a run/adapter --json test.mpz */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "libcommon/base/msg.h"
#include "libcommon/base/utf8.h"
#include "libcommon/eval/report.h"
#include "libcommon/eval/session.h"

struct options {
    struct opt_common c;
    struct eval_opts o;
};

struct work {
    const struct options *o;
    struct session s;
    struct dataset set;
    struct score_set scores;
    struct stream_writer *out; /* NULL: no predictions stream */
    uint64_t generated;
};

static int put_prediction(void *ctx, size_t i, const struct gen_result *r, const double *score, struct err *e)
{
    struct work *w = ctx;
    const struct dataset_row *row = &w->set.row[i];
    w->generated += r->n_tokens;
    if (!w->out) return 0;
    struct named_value v[SCORE_METRICS];
    int n = 0;
    for (int k = 0; k < w->scores.n; k++)
        if (w->scores.m[k]->add) v[n++] = (struct named_value){w->scores.m[k]->results[0], score[k]};
    struct record rec = {.kind = STREAM_PREDICTIONS,
                         .prediction = {.row = row->row,
                                        .prompt = row->prompt,
                                        .target = row->target,
                                        .text = r->text,
                                        .n_tokens = r->n_tokens,
                                        .stopped = gen_end_names[r->end],
                                        .n = n,
                                        .score = v}};
    return stream_put(w->out, &rec, e);
}

static int score_all(struct work *w, struct report *rep, struct err *e)
{
    int rc = session_check_adapter(&w->s, &w->set, e);
    if (!rc && w->o->o.logits) rc = session_logits(&w->s, &w->set, w->o->o.logits, w->o->c.force, e);
    for (int i = 0; i < w->scores.n && !rc; i++)
        if (w->scores.m[i]->add_nll) {
            rc = score_nll(&w->s.dec, &w->set, "likelihood", &rep->nll, &rep->labels, e);
            if (!rc) w->scores.m[i]->add_nll(&w->scores.sum[i], rep->nll, rep->labels);
            rep->has_nll = true;
        }
    if (!rc && score_generates(&w->scores))
        rc = score_texts(&w->s.dec, w->s.tok, &w->s.gen, &w->set, &w->scores, "generation", put_prediction, w, e);
    msg_progress(NULL);
    return rc;
}

static int open_predictions(struct work *w, struct tool_run *r, const struct stream_reader *in, struct err *e)
{
    /* with metrics of likelihood alone the stream is empty, but it is one: the next stage sees its END */
    bool wanted = w->o->c.output || (!w->o->c.json && w->scores.n && !isatty(STDOUT_FILENO));
    if (!wanted) return 0;
    struct stream_info info = {.kind = STREAM_PREDICTIONS, .has_base = true, .eos = -1};
    memcpy(info.base, w->s.model->digest, sizeof info.base);
    w->out = stream_create(w->o->c.output, w->o->c.force, &info, r, in, e);
    if (!w->out) return -e->id;
    stream_upstream(w->out, in);
    return 0;
}

static int check_rows(const struct work *w, struct err *e)
{
    for (size_t i = 0; i < w->set.n; i++)
        if (!w->set.row[i].n_prompt)
            return err_set(e, E_NOROWS, "row %llu has an empty prompt", (unsigned long long)w->set.row[i].row);
    if (!w->set.info.has_tokenizer || !memcmp(w->set.info.tokenizer, tokenizer_digest(w->s.tok), 32)) return 0;
    err_set(e, E_MISMATCH, "the tokens were made with another tokenizer than that of %s", w->o->o.model);
    return err_hint(e, "run peft-tok with -m %s, or give the examples", w->o->o.model);
}

/* Where rows choose their adapter: which took which. */
static int route_rows(struct work *w, struct err *e)
{
    const struct composition *c = &w->s.adapters;
    size_t *n = mem_alloc((size_t)c->n_route, sizeof *n);
    int rc = composition_rows(c, &w->set, n, e);
    struct buf text = {0};
    for (int i = 0; i < c->n_route; i++) buf_printf(&text, "%s%s %zu", i ? ", " : "", c->route[i], n[i]);
    if (!rc && c->n_route) msg_note("rows by route: %s", buf_str(&text));
    buf_fini(&text);
    free(n);
    return rc;
}

/* Scores of rows that the adapter was trained on are no measure of it. */
static void count_seen_rows(const struct work *w, struct report *rep, size_t *seen)
{
    const struct composition *c = &w->s.adapters;
    bool known = false;
    for (int i = 0; i < c->n; i++) known |= c->part[i].a->trained.n > 0;
    rep->has_adapter = c->n > 0;
    if (!known) return;
    *seen = composition_trained_rows(c, &w->set);
    rep->trained_rows = seen;
    if (*seen)
        msg_warn(
            "%zu of %zu rows were trained on: their scores tell nothing of others; peft-prep --split holds rows out",
            *seen, w->set.n);
}

static int evaluate(struct work *w, struct tool_run *r, struct stream_reader *in, struct err *e)
{
    int rc = dataset_read_adapters(&w->set, in, w->s.tok, w->s.model->cfg.V, (uint64_t)w->o->o.limit,
                                   w->s.adapters.n_route > 0, e);
    if (!rc) rc = check_rows(w, e);
    if (!rc) rc = route_rows(w, e);
    if (!rc) rc = session_ready(&w->s, &w->o->o, w->set.max_prompt, w->set.max_len, e);
    if (rc) return rc;
    if (w->o->c.dry_run) return plan_print(&w->s.dec.plan, stdout), 0;
    rc = open_predictions(w, r, in, e);
    struct report rep = {.scores = &w->scores, .set = &w->set};
    size_t seen = 0;
    if (!rc) rc = score_all(w, &rep, e);
    struct accounting a = {.in = w->set.n, .out = w->set.n};
    if (rc) return stream_abort(w->out, e), rc;
    if (w->out && (rc = stream_finish(w->out, &a, NULL, e))) return rc;
    rep.generated_tokens = w->generated;
    report_notes(&rep);
    count_seen_rows(w, &rep, &seen);
    msg_account(a.in, a.out, 0, "");
    if (w->o->c.json) {
        json_t *j = report_json(&rep);
        char *text = json_dumps(j, JSON_INDENT(2));
        rc = printf("%s\n", text) < 0 ? err_set(e, E_IO, "stdout: cannot write") : 0;
        free(text);
        json_decref(j);
    }
    return rc ? rc : report_min(&rep, &w->o->o.min, e);
}

/* --prompt: print the text as it grows, whole characters only. */
struct shown {
    const struct tokenizer *tok;
    size_t bytes;
};

static int show_token(void *ctx, const uint32_t *ids, size_t n, struct err *e)
{
    struct shown *s = ctx;
    struct buf text = {0};
    int rc = tokenizer_decode(s->tok, ids, n, true, false, &text, e);
    size_t whole = rc < 0 ? 0 : utf8_valid(text.p, text.n);
    if (whole > s->bytes) {
        fwrite(text.p + s->bytes, 1, whole - s->bytes, stdout);
        fflush(stdout);
        s->bytes = whole;
    }
    buf_fini(&text);
    return rc < 0 ? rc : 0;
}

static int show_rest(void *ctx, size_t i, const struct gen_result *r, struct err *e)
{
    (void)i, (void)e;
    struct shown *s = ctx;
    if (r->text.n > s->bytes) fwrite(r->text.p + s->bytes, 1, r->text.n - s->bytes, stdout);
    putchar('\n');
    return 0;
}

static int continue_prompt(struct work *w, struct err *e)
{
    struct u32vec ids = {0};
    const char *p = w->o->o.prompt;
    unsigned flags = TOK_SPECIAL | (tokenizer_adds_bos(w->s.tok) ? TOK_BOS : 0);
    int rc = tokenizer_encode(w->s.tok, STRZ(p), flags, &ids, NULL, e);
    if (rc >= 0 && !ids.n) rc = err_set(e, E_USAGE, "--prompt is empty");
    if (rc >= 0) rc = session_ready(&w->s, &w->o->o, (uint32_t)ids.n, (uint32_t)ids.n, e);
    if (rc >= 0) {
        struct shown shown = {.tok = w->s.tok};
        struct gen_prompt prompt = {(const int32_t *)ids.v, (uint32_t)ids.n, 1, 0};
        /* with stop strings the text is only known when it is complete */
        if (!w->o->o.stop.n) w->s.gen.on_token = show_token;
        rc = generate(&w->s.dec, w->s.tok, &w->s.gen, &prompt, 1, show_rest, &shown, e);
    }
    free(ids.v);
    return rc < 0 ? rc : 0;
}

static int run(struct tool_run *r, void *opts, struct err *e)
{
    struct options *o = opts;
    struct work w = {.o = o};
    int rc = score_parse(&w.scores, &o->o.metrics, e);
    if (!rc) rc = report_min_check(&w.scores, &o->o.min, e);
    if (!rc && o->c.output && (o->o.prompt || !score_generates(&w.scores))) {
        rc = err_set(e, E_USAGE, "-o %s: there will be no predictions to write", o->c.output);
        err_hint(e, o->o.prompt ? "--prompt prints its text on stdout"
                                : "em, f1, bleu and rouge generate text, ppl does not");
    }
    struct stream_reader *in = NULL;
    if (!rc && !o->o.prompt) { /* before the model, so that a broken input is reported at once */
        in = stream_open_all(&r->operands, -1, e);
        rc = in ? 0 : -e->id;
    }
    if (!rc) rc = session_open(&w.s, &o->o, o->c.threads, o->c.seed, e);
    if (!rc && o->o.prompt && w.s.adapters.n_route)
        rc = err_set(e, E_USAGE, "--prompt is no row that could choose a route; give one adapter");
    if (!rc) rc = o->o.prompt ? continue_prompt(&w, e) : evaluate(&w, r, in, e);
    if (in) stream_close(in);
    dataset_free(&w.set);
    session_close(&w.s);
    return rc;
}

int main(int argc, char **argv)
{
    const struct opt_group groups[] = {{opt_common_rows, offsetof(struct options, c), 0},
                                       {eval_opt_rows, offsetof(struct options, o), 0},
                                       {quantize_opt_rows, offsetof(struct options, o.quantize), 0},
                                       {NULL, 0, 0}};
    const struct tool tool = {
        .name = "peft-eval",
        .summary = "score a model, with or without an adapter, or continue a prompt",
        .usage = "[OPTION]... -m MODEL [-a ADAPTER] [STREAM...]",
        .example = "peft-eval -m model.gguf -a run/adapter --json test.mpz",
        .groups = groups,
        .opts_size = sizeof(struct options),
        .max_operands = -1,
        .run = run,
    };
    return tool_main(&tool, argc, argv);
}
