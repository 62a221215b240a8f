/* session.c: see session.h. */
#include "libcommon/eval/session.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/data/packer.h"
#include "libcommon/base/out.h"
#include "libcommon/format/json.h"
#include "libcommon/format/safetensors_write.h"
#include "libcommon/peft/run_manifest.h"

#define CHECK_ROWS 4 /* rows on which an adapter must show an effect */

/* An adapter compensates for what quantising did to its base: say so when it meets another base. */
static int note_quantized(const char *given, struct err *e)
{
    const int rc = run_manifest_quantized(given, e);
    if (rc > 0) msg_note("%s was trained on a base held in nf4; --quantize nf4 evaluates it on the same", given);
    return rc < 0 ? rc : 0;
}

/* Defaults of generation that would change texts, and are not taken. */
static void note_penalty(const char *model)
{
    struct err unread = {0};
    char *path = path_join(model, "generation_config.json");
    json_t *o = file_is_dir(model) && file_exists(path) ? json_parse_file(path, 1 << 20, E_MODEL, &unread) : NULL;
    const json_t *p = json_object_get(o, "repetition_penalty");
    if (json_is_number(p) && json_number_value(p) != 1)
        msg_note("%s: a repetition_penalty of %g is not used here; transformers' generate uses it", path,
                 json_number_value(p));
    json_decref(o);
    free(path);
}

/* The tokens that end a text: the model's, and those of --stop-token. */
static int find_ends(struct session *s, const struct strlist *more, struct err *e)
{
    tokenizer_ends(s->tok, &s->ends);
    for (int i = 0; i < more->n; i++) {
        const int id = tokenizer_find(s->tok, more->v[i]);
        if (id < 0) {
            err_set(e, E_USAGE, "--stop-token: %s is no token of this model", err_quotez(more->v[i]));
            return err_hint(e, "--stop takes any text");
        }
        u32vec_add(&s->ends, (uint32_t)id);
    }
    return 0;
}

int session_open(struct session *s, const struct eval_opts *o, int64_t threads, int64_t seed, struct err *e)
{
    *s = (struct session){0};
    if (!o->model) {
        err_set(e, E_USAGE, "no model");
        return err_hint(e, "-m MODEL, or model.name_or_path in the configuration");
    }
    s->dev = device_pick(o->device, threads, e);
    const enum quantize q = quantize_of(&o->quantize);
    s->model = s->dev ? model_load_as(o->model, s->dev, q, e) : NULL;
    s->tok = s->model ? tokenizer_load(o->model, e) : NULL;
    if (!s->tok) return -e->id;
    s->gen = (struct gen_opts){.max_new = (int)o->max_new,
                               .slots = o->prompt ? 1 : (int)o->batch_size,
                               .temperature = o->temperature,
                               .top_p = o->top_p,
                               .top_k = (int)o->top_k,
                               .seed = (uint64_t)seed,
                               .ends = &s->ends,
                               .stop = &o->stop};
    if (find_ends(s, &o->stop_token, e)) return -e->id;
    note_penalty(o->model);
    if (!o->adapter) return 0;
    int rc = composition_parse(&s->adapters, o->adapter, e);
    for (int i = 0; i < s->adapters.n && !q && !rc; i++) rc = note_quantized(s->adapters.part[i].dir, e);
    if (!rc) rc = composition_load(&s->adapters, s->model, o->force_base, e);
    return rc ? rc : composition_bind(&s->adapters, &s->hooks, s->model, e);
}

int session_ready(struct session *s, const struct eval_opts *o, uint32_t longest_prompt, uint32_t longest_row,
                  struct err *e)
{
    const struct hooks *hooks = s->adapters.n ? &s->hooks : NULL;
    const int n_virtual = hooks_virtual(hooks);
    struct decoder_size size = gen_size(&s->gen, longest_prompt, n_virtual);
    if (size.T < o->micro_tokens) size.T = (long)o->micro_tokens;
    if (size.T < longest_row + n_virtual) size.T = longest_row + n_virtual;
    size.B = (int)size.T;
    size.n = size.T;
    size.spans = s->adapters.n_route;
    size.chunk = DECODER_CHUNK;
    enum dtype prec = precision_pick((enum precision)o->precision, s->dev);
    long full = (long)longest_prompt + s->gen.max_new; /* whether or not a metric generates */
    int rc = model_check_rows(&s->model->cfg, n_virtual + (longest_row > longest_prompt ? longest_row : longest_prompt),
                              e);
    if (!rc) rc = model_check_length(s->model, n_virtual + (longest_row > full ? (long)longest_row : full), e);
    if (!rc) rc = decoder_init(&s->dec, s->model, hooks, DECODER_INFER, prec, &size, e);
    return rc ? rc : decoder_alloc(&s->dec, e);
}

/* Logits of the last prompt token of rows [first, first + n), n at most s->gen.slots. */
static int prompt_logits(struct session *s, const struct dataset *d, size_t first, size_t n, float *out, struct err *e)
{
    struct packer p;
    packer_init(&p, s->dec.size.T, s->dec.size.B, s->dec.hooks);
    if (s->adapters.n_route) packer_spans(&p, s->adapters.n_route);
    int rc = 0, V = s->model->cfg.V;
    for (size_t i = first; i < first + n && rc >= 0;) {
        size_t from = i;
        packer_clear(&p);
        for (; i < first + n; i++) {
            const struct dataset_row *r = &d->row[i];
            const long at = packer_enter(&p, r->span) ? packer_tokens(&p, d->ids + r->first, r->n, r->row) : -1;
            if (at < 0) break;
            packer_want(&p, at + (long)r->n_prompt - 1);
        }
        rc = decoder_logits(&s->dec, &p.b, out + (from - first) * (size_t)V, e);
    }
    packer_fini(&p);
    return rc;
}

/* 1: the logits of rows [first, first + n) are the same to the last bit with and without the adapters. */
static int changes_nothing(struct session *s, const struct dataset *d, size_t first, size_t n, struct err *e)
{
    const size_t V = (size_t)s->model->cfg.V;
    float *on = mem_alloc(n * V, sizeof *on), *off = mem_alloc(n * V, sizeof *off);
    int rc = prompt_logits(s, d, first, n, on, e);
    decoder_bind(&s->dec, NULL);
    if (!rc) rc = prompt_logits(s, d, first, n, off, e);
    decoder_bind(&s->dec, &s->hooks);
    if (!rc) rc = !memcmp(on, off, n * V * sizeof *on);
    free(on);
    free(off);
    return rc;
}

/* Of each route that has adapters, the first row. */
static int check_routes(struct session *s, const struct dataset *d, struct err *e)
{
    const struct composition *c = &s->adapters;
    int rc = 0;
    for (int k = 0; k < c->n_route && !rc; k++) {
        size_t i = 0;
        bool has = false;
        for (int p = 0; p < c->n; p++) has |= c->part[p].route == k;
        while (has && i < d->n && d->row[i].span != k) i++;
        if (!has || i == d->n) continue;
        rc = changes_nothing(s, d, i, 1, e);
        if (rc == 1)
            rc = err_set(e, E_ADAPTER_NOOP, "route %s: its adapter changes no logit of row %llu", c->route[k],
                         (unsigned long long)d->row[i].row);
    }
    return rc;
}

int session_check_adapter(struct session *s, const struct dataset *d, struct err *e)
{
    if (!s->adapters.n) return 0;
    size_t n = d->n < CHECK_ROWS ? d->n : CHECK_ROWS;
    if (n > (size_t)s->gen.slots) n = (size_t)s->gen.slots;
    int rc = s->adapters.n_route ? check_routes(s, d, e) : changes_nothing(s, d, 0, n, e);
    if (rc == 1) rc = err_set(e, E_ADAPTER_NOOP, "the adapter changes no logit of the first %zu rows", n);
    if (rc == -E_ADAPTER_NOOP)
        err_hint(e, "it may be untrained (B is zero), scaled by zero, or made for another model");
    return rc;
}

int session_logits(struct session *s, const struct dataset *d, const char *path, bool force, struct err *e)
{
    struct st_writer *w = st_create(path, force, e);
    if (!w) return -e->id;
    size_t V = (size_t)s->model->cfg.V, step = (size_t)s->gen.slots;
    int64_t shape[2] = {(int64_t)d->n, (int64_t)V};
    float *out = mem_alloc(step * V, sizeof *out);
    int rc = st_declare(w, "logits", "F32", 2, shape, e);
    if (!rc) rc = st_begin(w, e);
    for (size_t i = 0; i < d->n && !rc; i += step) {
        size_t n = d->n - i < step ? d->n - i : step;
        rc = prompt_logits(s, d, i, n, out, e);
        if (!rc) rc = st_data(w, out, n * V * sizeof *out, e);
        msg_progress("logits: %zu of %zu rows", i + n, d->n);
    }
    free(out);
    if (rc) return st_discard(w), rc;
    return st_finish(w, e);
}

void session_close(struct session *s)
{
    decoder_fini(&s->dec);
    hooks_fini(&s->hooks);
    composition_free(&s->adapters);
    tokenizer_free(s->tok);
    free(s->ends.v);
    model_free(s->model);
    if (s->dev) dev_close(s->dev);
}
