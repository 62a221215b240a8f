/* adapter_write.c: adapter directories: adapter_config.json, the tensors, README.md.
 *
 * Written so that PEFT 0.10 and later loads them: the keys of 0.10, sorted; f32 tensors. What PEFT does not know, above
 * all the digest of the base model, goes into the tensors' file (__metadata__), which PEFT ignores. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/tool.h"
#include "libcommon/format/pt_write.h"
#include "libcommon/format/safetensors_write.h"
#include "libcommon/model/device_pick.h"
#include "libcommon/peft/adapter.h"

static int by_string(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The members by name; those of maps within keep their order, as of patterns the first that matches counts. */
static json_t *sorted(json_t *j)
{
    const char *key, **name = mem_alloc(json_object_size(j) + 1, sizeof *name);
    json_t *v, *out = json_object();
    size_t n = 0;
    json_object_foreach(j, key, v) name[n++] = key;
    qsort(name, n, sizeof *name, by_string);
    for (size_t i = 0; i < n; i++) json_object_set(out, name[i], json_object_get(j, name[i]));
    free(name);
    json_decref(j);
    return out;
}

json_t *adapter_config_json(const struct adapter *a, const struct model *m, struct err *e)
{
    json_t *j = json_object();
    int rc;
    if (a->method->format) {
        rc = a->method->format->config_write(a, m, j, e);
    } else {
        json_object_set_new(j, "peft_type", json_string(a->method->peft_type));
        json_object_set_new(j, "base_model_name_or_path", a->base_name ? json_string(a->base_name) : json_null());
        rc = adapter_json_write(a, a->method->keys, m, j, e);
        j = sorted(j);
    }
    if (!rc) return j;
    json_decref(j);
    return NULL;
}

static int put_config(const struct adapter *a, struct outdir *d, const struct model *m, struct err *e)
{
    json_t *j = adapter_config_json(a, m, e);
    if (!j) return -e->id;
    const size_t order = a->method->format ? JSON_SORT_KEYS : 0;
    char *text = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(15) | order);
    int rc = text ? 0 : err_set(e, E_ADAPTER, "%s: its configuration is no valid JSON", d->path);
    if (!rc) rc = outdir_put(d, ADAPTER_CONFIG, text, strlen(text), e);
    free(text);
    json_decref(j);
    return rc;
}

static int put_readme(const struct adapter *a, struct outdir *d, struct err *e)
{
    char *said = a->base_name ? model_card_name(a->base_name) : mem_dupz("unknown");
    json_t *name = json_string(said); /* a JSON string is a YAML string */
    char *base = json_dumps(name, JSON_ENCODE_ANY), hex[65];
    struct buf b = {0};
    digest_hex(a->base_digest, hex);
    buf_printf(&b,
               "---\nbase_model: %s\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- "
               "%s\n---\n\n",
               base, a->method->name);
    buf_printf(&b, "# Adapter (%s)\n\n%ld parameters in %d tensors for the base model %s.\n",
               *a->method->peft_type ? a->method->peft_type : a->method->name, a->size, a->n_param, base);
    if (a->has_base_digest) buf_printf(&b, "SHA-256 of the base model's weights: `%s`.\n", hex);
    buf_printf(&b, "\nWritten by version %s of the peft tools; the layout is that of %s.\n", peft_version,
               a->method->layout   ? a->method->layout
               : a->method->format ? "AdapterHub"
                                   : "Hugging Face PEFT 0.10");
    int rc = outdir_put(d, "README.md", b.p, b.n, e);
    buf_fini(&b);
    free(base);
    free(said);
    json_decref(name);
    return rc;
}

static int write_tensors(const struct adapter *a, struct st_writer *w, const float *host, const char *provenance,
                         struct err *e)
{
    char hex[65];
    int rc = 0;
    if (a->has_base_digest) {
        digest_hex(a->base_digest, hex);
        st_meta(w, "base_sha256", hex);
    }
    st_meta(w, "writer", peft_version);
    if (provenance) st_meta(w, "provenance", provenance);
    for (int i = 0; i < a->n_param && !rc; i++) {
        const struct param *p = &a->param[i];
        rc = st_declare(w, p->name, "F32", p->cols ? 2 : 1, (const int64_t[]){p->rows, p->cols}, e);
    }
    if (!rc) rc = st_begin(w, e);
    for (int i = 0; i < a->n_param && !rc; i++) {
        const struct param *p = &a->param[st_order(w, i)];
        rc = st_data(w, host + p->off, (size_t)param_size(p) * sizeof *host, e);
    }
    return rc;
}

static int put_tensors(const struct adapter *a, struct outdir *d, const float *host, const char *provenance,
                       struct err *e)
{
    char *path = path_join(d->tmp, a->method->format ? a->method->format->tensors : ADAPTER_TENSORS);
    struct st_writer *w = st_create(path, false, e);
    int rc = w ? write_tensors(a, w, host, provenance, e) : -e->id;
    if (w && rc) st_discard(w);
    if (w && !rc) rc = st_finish(w, e);
    free(path);
    return rc;
}

/* The same tensors once more, for readers that ask for torch's format. */
static int put_pickled(const struct adapter *a, struct outdir *d, const float *host, struct err *e)
{
    if (!a->method->format || !a->method->format->pickled) return 0;
    char *path = path_join(d->tmp, a->method->format->pickled);
    struct pt_writer *w = pt_create(path, false, e);
    free(path);
    if (!w) return -e->id;
    for (int i = 0; i < a->n_param; i++) {
        const struct param *p = &a->param[i];
        pt_declare(w, p->name, DT_F32, p->cols ? 2 : 1, (const int64_t[]){p->rows, p->cols}, -1);
    }
    int rc = pt_begin(w, e);
    for (int i = 0; i < a->n_param && !rc; i++)
        rc = pt_data(w, host + a->param[i].off, (size_t)param_size(&a->param[i]) * sizeof *host, e);
    if (!rc) rc = pt_complete(w, e);
    if (!rc) return pt_finish(w, e);
    pt_discard(w);
    return rc;
}

static int put_rows(const struct adapter *a, struct outdir *d, struct err *e)
{
    struct buf b = {0};
    if (!a->trained.n) return 0;
    row_set_put(&a->trained, &b);
    int rc = outdir_put(d, ROW_SET_FILE, b.p, b.n, e);
    buf_fini(&b);
    return rc;
}

static int check_finite(const struct adapter *a, const float *host, struct err *e)
{
    for (int i = 0; i < a->n_param; i++) {
        const struct param *p = &a->param[i];
        for (long j = 0; j < param_size(p); j++)
            if (!isfinite(host[p->off + j]))
                return err_set(e, E_DIVERGED, "adapter tensor %s: element %ld is not finite; not saved", p->name, j);
    }
    return 0;
}

static int save(const struct adapter *a, const char *dir, enum outdir_old old, const float *data_host,
                const struct model *m, const char *provenance_json, struct err *e)
{
    float *copy = NULL;
    int rc = 0;
    if (!data_host) {
        data_host = copy = mem_alloc((size_t)a->size, sizeof *copy);
        rc = device_error(m->dev, dev_to_host(m->dev, copy, a->data, (size_t)a->size * sizeof *copy),
                          "copy of the adapter", e);
    }
    if (!rc) rc = check_finite(a, data_host, e);
    struct outdir d = {0};
    if (!rc && (rc = outdir_open(&d, dir, old, e)) == 0) {
        rc = put_config(a, &d, m, e);
        if (!rc) rc = put_tensors(a, &d, data_host, provenance_json, e);
        if (!rc) rc = put_pickled(a, &d, data_host, e);
        if (!rc) rc = put_rows(a, &d, e);
        if (!rc) rc = put_readme(a, &d, e);
        if (!rc && old != OUTDIR_REPLACE_OWN) rc = outdir_seal(&d, e);
        if (!rc) rc = outdir_commit(&d, e);
        if (rc) outdir_abort(&d);
    }
    free(copy);
    return rc;
}

/* The form that others read of the adapter with these values; NULL: it has that already, or an error. */
static struct adapter *exported(const struct adapter *a, const float *data_host, const struct model *m, struct err *e)
{
    if (!a->method->has_other_form || !a->method->has_other_form(a->config)) return NULL;
    struct adapter at = *a, *x = NULL;
    struct hooks h;
    at.grad = NULL;
    if (data_host) at.data = (float *)data_host; /* derived values are the CPU's */
    int rc = adapter_bind(&at, &h, m, e);
    void *config = mem_dup(a->config, a->method->opts_size);
    const float *v = rc ? NULL : a->method->exported(config, &h);
    if (v) x = adapter_new(a->method, config, &a->shared, m, e);
    if (x) {
        memcpy(x->data, v, (size_t)x->size * sizeof *v);
        free(x->base_name);
        x->base_name = a->base_name ? mem_dupz(a->base_name) : NULL;
        memcpy(x->base_digest, a->base_digest, sizeof x->base_digest);
        x->has_base_digest = a->has_base_digest;
        row_set_join(&x->trained, &a->trained);
    }
    free(config);
    hooks_fini(&h);
    return x;
}

int adapter_save(const struct adapter *a, const char *dir, enum outdir_old old, const float *data_host,
                 const struct model *m, const char *provenance_json, struct err *e)
{
    struct adapter *x = exported(a, data_host, m, e);
    int rc = e->id ? -e->id : save(x ? x : a, dir, old, x ? NULL : data_host, m, provenance_json, e);
    adapter_free(x);
    return rc;
}

int adapter_save_trained(const struct adapter *a, const char *dir, enum outdir_old old, const struct model *m,
                         struct err *e)
{
    return save(a, dir, old, NULL, m, NULL, e);
}
