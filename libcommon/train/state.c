/* state.c: what is written: checkpoints while the run goes on, the adapter and the manifest at its end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"
#include "libcommon/base/sums.h"
#include "libcommon/format/json.h"
#include "libcommon/train/checkpoint.h"
#include "libcommon/train/trainer.h"

/* The optimizer's arrays, and the best adapter if there is one. */
static int arrays_of(const struct job *j, struct ckpt_array a[OPTIM_STATES + 1])
{
    int n = 0;
    for (; n < j->optim->n_state; n++)
        a[n] = (struct ckpt_array){j->optim->state[n], j->host_state[n], j->adapter->n_trained};
    a[n++] = (struct ckpt_array){"best", j->best, j->best ? j->adapter->size : 0};
    return n;
}

int train_save(struct trainer *t, struct err *e)
{
    struct job *j = t->job;
    const size_t bytes = (size_t)j->adapter->n_trained * 4;
    int rc = 0;
    for (int i = 0; i < j->optim->n_state && !rc; i++)
        rc = device_error(t->dev, dev_to_host(t->dev, j->host_state[i], j->state[i], bytes),
                          "copy of the optimizer's state", e);
    if (rc) return rc;
    struct ckpt_array a[OPTIM_STATES + 1];
    const int n = arrays_of(j, a);
    json_t *s = train_state_json(&j->s);
    json_object_set_new(s, "precision", json_string(dtype_info[t->prec].name));
    json_object_set_new(s, "identity", json_string(t->identity));
    json_object_set_new(s, "log", run_log_json(&j->log));
    rc = ckpt_save(t->run_dir, j->s.step, t->fingerprint, j->adapter, t->model, a, n, s, t->o->keep, e);
    json_decref(s);
    return rc;
}

int train_restore(struct trainer *t, const char *path, struct err *e)
{
    struct job *j = t->job;
    struct ckpt_array a[OPTIM_STATES + 1];
    const int n = arrays_of(j, a);
    struct ckpt_array *best = &a[n - 1];
    best->n = -1; /* may be there */
    json_t *s = NULL;
    int rc = ckpt_load(path, a, n, &s, e);
    if (rc) return rc;
    if (best->n && best->n != j->adapter->size) rc = err_set(e, E_CHECKPOINT, "%s: best adapter of another size", path);
    j->best = best->n ? best->data : NULL;
    if (!rc) rc = train_state_read(&j->s, s, e);
    if (!rc) rc = run_log_read(&j->log, json_object_get(s, "log"), e);
    json_decref(s);
    const size_t bytes = (size_t)j->adapter->n_trained * 4;
    for (int i = 0; i < j->optim->n_state && !rc; i++)
        rc = device_error(t->dev, dev_from_host(t->dev, j->state[i], j->host_state[i], bytes),
                          "copy of the optimizer's state", e);
    return rc;
}

static void put_hex(json_t *o, const char *key, const unsigned char d[32])
{
    char hex[65];
    digest_hex(d, hex);
    json_object_set_new(o, key, json_string(hex));
}

/* Digests of all that the run has made, but for telemetry.mpz, which has times in it, and the checkpoints, which have a
 * MANIFEST each. */
static json_t *files_json(const struct trainer *t, struct err *e)
{
    struct sums s = {0};
    json_t *o = json_object();
    int rc = sums_add_tree(&s, t->run_dir, "adapter", e);
    if (!rc) rc = sums_add(&s, t->run_dir, "config.yaml", e);
    if (!rc) rc = sums_add(&s, t->run_dir, "metrics.mpz", e);
    for (size_t i = 0; i < s.n; i++) put_hex(o, s.v[i].name, s.v[i].sha256);
    sums_fini(&s);
    return o;
}

static void put_option(void *options, const char *key, enum opt_type type, const char *text)
{
    json_t *v = NULL;
    if (text && type == OPT_INT) v = json_integer(strtoll(text, NULL, 10));
    if (text && type == OPT_FLOAT) v = json_real(strtod(text, NULL));
    if (text && (type == OPT_FLAG || type == OPT_BOOL)) v = json_boolean(!strcmp(text, "yes"));
    if (text && !v) v = json_string(text);
    json_object_set_new(options, key, v ? v : json_null());
}

/* The files that the rows came from, as their streams say: a list of tool, digest, records, accounting. */
static json_t *inputs_json(const struct dataset *d)
{
    json_t *all = d->upstreams ? json_loads(d->upstreams, 0, NULL) : NULL, *files = json_array(), *s;
    size_t i;
    json_array_foreach(all, i, s)
    {
        const char *tool = json_string_value(json_object_get(s, "tool"));
        if (!tool || strncmp(tool, STREAM_FILE, strlen(STREAM_FILE)) != 0) continue;
        json_array_append_new(files, json_pack("{s:s, s:O, s:O}", "name", tool + strlen(STREAM_FILE), "sha256",
                                               json_object_get(s, "digest"), "rows", json_object_get(s, "records")));
    }
    json_decref(all);
    return files;
}

/* The adapters that stood on the base beside the one that was trained: who uses it needs them too. */
static json_t *adapters_json(const struct composition *c, int trained)
{
    json_t *all = json_array();
    for (int i = 0; i < c->n; i++) {
        char *note = path_note(c->part[i].dir);
        json_array_append_new(
            all, json_pack("{s:s, s:f, s:b}", "name", note, "factor", c->part[i].factor, "trained", i == trained));
        free(note);
    }
    return all;
}

/* manifest.json: what was computed from what. No times, no host, no absolute paths. */
static json_t *manifest(const struct trainer *t, struct err *e)
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
    json_object_set_new(o, "trainable_parameters", json_integer(t->job->adapter->n_trained));
    json_object_set_new(o, "base_parameters", json_integer((json_int_t)model_parameters(t->model)));
    json_object_set_new(o, "steps", json_integer(t->job->s.step));
    json_object_set_new(o, "steps_skipped", json_integer(t->job->s.skips));
    json_object_set_new(o, "stopped_early", json_boolean(t->job->s.stopped));
    if (t->job->s.has_best) {
        json_object_set_new(o, "metric", json_string(t->o->metric ? t->o->metric : "eval_loss"));
        json_object_set_new(o, "best", json_real_or_null(t->job->s.best));
        json_object_set_new(o, "best_step", json_integer(t->job->s.best_step));
    }
    for (size_t i = 0; i < t->job->log.n; i++) { /* last value of each figure */
        const struct run_row *r = &t->job->log.row[i];
        for (int k = 0; k < r->n; k++) json_object_set_new(last, r->v[k].key, json_real_or_null(r->v[k].value));
    }
    json_object_set_new(o, "last", last);
    json_t *options = json_object();
    opt_each(t->run->set, put_option, options);
    json_object_set_new(o, "options", options);
    char *base = model_card_name(t->model->name);
    json_object_set_new(o, "base_name", json_string(base));
    free(base);
    if (t->adapters.n > 1) json_object_set_new(o, "adapters", adapters_json(&t->adapters, t->trained));
    json_object_set_new(o, "train_files", inputs_json(&t->train));
    if (t->has_eval) json_object_set_new(o, "eval_files", inputs_json(&t->eval));
    json_object_set_new(o, "files", files_json(t, e));
    json_t *chain = t->train.provenance ? json_loads(t->train.provenance, 0, NULL) : NULL;
    json_object_set_new(o, "provenance", chain ? chain : json_array());
    return o;
}

int train_finish(struct trainer *t, struct err *e)
{
    char *dir = path_join(t->run_dir, "adapter"), *file = path_join(t->run_dir, "manifest.json"), *text = NULL;
    if (!adapter_save(t->job->adapter, dir, OUTDIR_REPLACE_OWN, t->job->best, t->model, t->train.provenance, e)) {
        json_t *man = manifest(t, e);
        text = json_dumps(man, JSON_INDENT(2) | JSON_SORT_KEYS);
        json_decref(man);
    }
    struct out o = {0};
    if (!e->id) out_open(&o, file, true, false, e);
    if (!e->id) out_printf(&o, e, "%s\n", text);
    if (!e->id) out_commit(&o, e);
    if (e->id) out_abort(&o);
    free(text);
    free(dir);
    free(file);
    return -e->id;
}
