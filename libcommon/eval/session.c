/* session.c: see session.h. */
#include "libcommon/eval/session.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/data/packer.h"
#include "libcommon/format/safetensors_write.h"
#include "libcommon/peft/run_manifest.h"

#define CHECK_ROWS 4 /* rows on which an adapter must show an effect */

/* An adapter compensates for what quantising did to its base: say so when it meets another base. */
static int note_quantized(const char *given, struct err *e)
{
    char *dir = adapter_find(given, e);
    json_t *man = dir ? run_manifest_of(dir, e) : NULL;
    const char *q = json_string_value(json_object_get(man, "base_quantize"));
    if (q && !strcmp(q, quantize_name(QUANTIZE_NF4)))
        msg_note("%s was trained on a base held in nf4; --quantize nf4 evaluates it on the same", given);
    json_decref(man);
    free(dir);
    return -e->id;
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
                               .eos = tokenizer_eos(s->tok),
                               .stop = &o->stop};
    if (!o->adapter) return 0;
    if (!q && note_quantized(o->adapter, e)) return -e->id;
    s->adapter = adapter_load(o->adapter, s->model, o->force_base, e);
    return s->adapter ? adapter_bind(s->adapter, &s->hooks, s->model, e) : -e->id;
}

int session_ready(struct session *s, const struct eval_opts *o, uint32_t longest_prompt, uint32_t longest_row,
                  struct err *e)
{
    const struct hooks *hooks = s->adapter ? &s->hooks : NULL;
    const int n_virtual = hooks_virtual(hooks);
    struct decoder_size size = gen_size(&s->gen, longest_prompt, n_virtual);
    if (size.T < o->micro_tokens) size.T = (long)o->micro_tokens;
    if (size.T < longest_row + n_virtual) size.T = longest_row + n_virtual;
    size.B = (int)size.T;
    size.n = size.T;
    size.chunk = DECODER_CHUNK;
    enum dtype prec = precision_pick((enum precision)o->precision, s->dev);
    long full = (long)longest_prompt + s->gen.max_new; /* whether or not a metric generates */
    int rc = model_check_length(&s->model->cfg, n_virtual + (longest_row > full ? (long)longest_row : full), e);
    if (!rc) rc = decoder_init(&s->dec, s->model, hooks, DECODER_INFER, prec, &size, e);
    return rc ? rc : decoder_alloc(&s->dec, e);
}

/* Logits of the last prompt token of rows [first, first + n), n at most s->gen.slots. */
static int prompt_logits(struct session *s, const struct dataset *d, size_t first, size_t n, float *out, struct err *e)
{
    struct packer p;
    packer_init(&p, s->dec.size.T, s->dec.size.B, hooks_virtual(s->dec.hooks));
    int rc = 0, V = s->model->cfg.V;
    for (size_t i = first; i < first + n && rc >= 0;) {
        size_t from = i;
        packer_clear(&p);
        for (; i < first + n; i++) {
            const struct dataset_row *r = &d->row[i];
            const long at = packer_tokens(&p, d->ids + r->first, r->n, r->row);
            if (at < 0) break;
            packer_want(&p, at + (long)r->n_prompt - 1);
        }
        rc = decoder_logits(&s->dec, &p.b, out + (from - first) * (size_t)V, e);
    }
    packer_fini(&p);
    return rc;
}

int session_check_adapter(struct session *s, const struct dataset *d, struct err *e)
{
    if (!s->adapter) return 0;
    size_t n = d->n < CHECK_ROWS ? d->n : CHECK_ROWS, V = (size_t)s->model->cfg.V;
    if (n > (size_t)s->gen.slots) n = (size_t)s->gen.slots;
    float *on = mem_alloc(n * V, sizeof *on), *off = mem_alloc(n * V, sizeof *off);
    int rc = prompt_logits(s, d, 0, n, on, e);
    decoder_bind(&s->dec, NULL);
    if (!rc) rc = prompt_logits(s, d, 0, n, off, e);
    decoder_bind(&s->dec, &s->hooks);
    if (!rc && !memcmp(on, off, n * V * sizeof *on)) {
        err_set(e, E_ADAPTER_NOOP, "the adapter changes no logit of the first %zu rows", n);
        rc = err_hint(e, "it may be untrained (B is zero), scaled by zero, or made for another model");
    }
    free(on);
    free(off);
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
    adapter_free(s->adapter);
    tokenizer_free(s->tok);
    model_free(s->model);
    if (s->dev) dev_close(s->dev);
}
