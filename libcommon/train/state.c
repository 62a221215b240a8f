/* state.c: what is written: checkpoints while the run goes on, the adapter and the manifest at its end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"
#include "libcommon/train/checkpoint.h"
#include "libcommon/train/trainer.h"

/* The counters, once, for writing and reading. */
#define INTS(X)  X(updates) X(skips) X(skips_in_row) X(log_steps) X(log_tokens) X(best_step) X(bad_evals)
#define REALS(X) X(log_loss) X(log_norm) X(best)
#define BOOLS(X) X(has_best) X(stopped)

static json_t *real_or_null(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *state_json(const struct trainer *t)
{
    json_t *s = json_object();
#define X(f) json_object_set_new(s, #f, json_integer(t->s.f));
    INTS(X)
#undef X
#define X(f) json_object_set_new(s, #f, real_or_null(t->s.f));
    REALS(X)
#undef X
#define X(f) json_object_set_new(s, #f, json_boolean(t->s.f));
    BOOLS(X)
#undef X
    json_object_set_new(s, "precision", json_string(dtype_info[t->prec].name));
    json_object_set_new(s, "log", run_log_json(&t->log));
    return s;
}

static int state_read(struct trainer *t, const json_t *s, struct err *e)
{
#define X(f) t->s.f = json_integer_value(json_object_get(s, #f));
    INTS(X)
#undef X
#define X(f) t->s.f = json_is_number(json_object_get(s, #f)) ? json_number_value(json_object_get(s, #f)) : NAN;
    REALS(X)
#undef X
#define X(f) t->s.f = json_is_true(json_object_get(s, #f));
    BOOLS(X)
#undef X
    t->s.step = json_integer_value(json_object_get(s, "step"));
    return run_log_read(&t->log, json_object_get(s, "log"), e);
}

int train_save(struct trainer *t, struct err *e)
{
    size_t bytes = (size_t)t->adapter->size * 4;
    if (dev_to_host(t->dev, t->host_m, t->m, bytes) || dev_to_host(t->dev, t->host_v, t->v, bytes))
        return err_set(e, E_DEVICE, "%s: copy of the optimizer state failed", dev_name(t->dev));
    struct ckpt_array a[] = {{"exp_avg", t->host_m, t->adapter->size},
                             {"exp_avg_sq", t->host_v, t->adapter->size},
                             {"best", t->best, t->best ? t->adapter->size : 0}};
    json_t *s = state_json(t);
    int rc = ckpt_save(t->run_dir, t->s.step, t->fingerprint, t->adapter, t->model, a, 3, s, t->o->keep, e);
    json_decref(s);
    return rc;
}

int train_restore(struct trainer *t, const char *path, struct err *e)
{
    struct ckpt_array a[] = {
        {"exp_avg", t->host_m, t->adapter->size}, {"exp_avg_sq", t->host_v, t->adapter->size}, {"best", NULL, -1}};
    json_t *s = NULL;
    int rc = ckpt_load(path, a, 3, &s, e);
    if (rc) return rc;
    if (a[2].n && a[2].n != t->adapter->size) rc = err_set(e, E_CHECKPOINT, "%s: best adapter of another size", path);
    t->best = a[2].n ? a[2].data : NULL;
    if (!rc) rc = state_read(t, s, e);
    json_decref(s);
    size_t bytes = (size_t)t->adapter->size * 4;
    if (!rc && (dev_from_host(t->dev, t->m, t->host_m, bytes) || dev_from_host(t->dev, t->v, t->host_v, bytes)))
        rc = err_set(e, E_DEVICE, "%s: copy of the optimizer state failed", dev_name(t->dev));
    return rc;
}

static void put_hex(json_t *o, const char *key, const unsigned char d[32])
{
    char hex[65];
    digest_hex(d, hex);
    json_object_set_new(o, key, json_string(hex));
}

/* manifest.json: what was computed from what. No times, no host, no absolute paths. */
static json_t *manifest(const struct trainer *t)
{
    json_t *o = json_object(), *last = json_object();
    json_object_set_new(o, "tool", json_string("peft-train"));
    json_object_set_new(o, "version", json_string(peft_version));
    json_object_set_new(o, "git_sha", json_string(peft_revision));
    json_object_set_new(o, "fingerprint", json_string(t->fingerprint));
    put_hex(o, "base_sha256", t->model->digest);
    json_object_set_new(o, "base_quantize", json_string(quantize_name(quantize_of(&t->o->quantize))));
    json_object_set_new(o, "precision", json_string(dtype_info[t->prec].name));
    put_hex(o, "train_stream_sha256", t->train.digest);
    if (t->has_eval) put_hex(o, "eval_stream_sha256", t->eval.digest);
    if (t->train.info.has_tokenizer) put_hex(o, "tokenizer_sha256", t->train.info.tokenizer);
    json_object_set_new(o, "seed", json_integer(t->c->seed));
    json_object_set_new(o, "rows", json_integer((json_int_t)t->train.n));
    json_object_set_new(o, "trained_tokens", json_integer((json_int_t)t->train.labels));
    json_object_set_new(o, "trainable_parameters", json_integer(t->adapter->size));
    json_object_set_new(o, "base_parameters", json_integer((json_int_t)model_parameters(t->model)));
    json_object_set_new(o, "steps", json_integer(t->s.step));
    json_object_set_new(o, "steps_skipped", json_integer(t->s.skips));
    json_object_set_new(o, "stopped_early", json_boolean(t->s.stopped));
    if (t->s.has_best) {
        json_object_set_new(o, "metric", json_string(t->o->metric ? t->o->metric : "eval_loss"));
        json_object_set_new(o, "best", real_or_null(t->s.best));
        json_object_set_new(o, "best_step", json_integer(t->s.best_step));
    }
    for (size_t i = 0; i < t->log.n; i++) { /* last value of each figure */
        const struct run_row *r = &t->log.row[i];
        for (int k = 0; k < r->n; k++) json_object_set_new(last, r->v[k].key, real_or_null(r->v[k].value));
    }
    json_object_set_new(o, "last", last);
    json_t *chain = t->train.provenance ? json_loads(t->train.provenance, 0, NULL) : NULL;
    json_object_set_new(o, "provenance", chain ? chain : json_array());
    return o;
}

int train_finish(struct trainer *t, struct err *e)
{
    char *dir = path_join(t->run_dir, "adapter"), *file = path_join(t->run_dir, "manifest.json");
    json_t *man = manifest(t);
    char *text = json_dumps(man, JSON_INDENT(2) | JSON_SORT_KEYS);
    int rc = adapter_save(t->adapter, dir, true, t->best, t->model, t->train.provenance, e);
    struct out o = {0};
    if (!rc) rc = out_open(&o, file, true, false, e);
    if (!rc) rc = out_printf(&o, e, "%s\n", text);
    if (!rc) rc = out_commit(&o, e);
    if (rc) out_abort(&o);
    json_decref(man);
    free(text);
    free(dir);
    free(file);
    return rc;
}
