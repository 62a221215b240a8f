/* adapter: Hugging Face PEFT's directories: adapter_config.json, adapter_model.safetensors, README.md.
 *
 * Written so that PEFT 0.10 and later loads them: the keys of 0.10, sorted; f32 tensors. What PEFT does not know, above
 * all the digest of the base model, goes into the tensors' file (__metadata__), which PEFT ignores. Read strictly: a
 * tensor too few, too many, of another shape, or not finite is an error that names it. PEFT itself loads such an
 * adapter as zeros with a warning. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"
#include "libcommon/base/tool.h"
#include "libcommon/format/json.h"
#include "libcommon/format/safetensors.h"
#include "libcommon/format/safetensors_write.h"
#include "libcommon/peft/method.h"

#define CONFIG  "adapter_config.json"
#define TENSORS "adapter_model.safetensors"
enum { MAX_CONFIG = 1 << 20 };

/* ---- life ---------------------------------------------------------------------------------- */

static struct adapter *blank(const struct peft_method *method)
{
    struct adapter *a = mem_alloc(1, sizeof *a);
    a->method = method;
    a->config = mem_alloc(1, method->opts_size);
    return a;
}

/* Lay out for the model and allocate. */
static int place(struct adapter *a, struct model *m, struct err *e)
{
    int rc = a->method->layout(a, m, e);
    if (rc) return rc;
    a->dev = m->dev;
    a->data = dev_alloc(m->dev, (size_t)a->size * sizeof *a->data);
    if (!a->data) return err_set(e, E_NOMEM, "%s: cannot allocate %ld adapter parameters", dev_name(m->dev), a->size);
    return 0;
}

struct adapter *adapter_new(const struct peft_method *method, const void *config, struct model *m, struct err *e)
{
    struct adapter *a = blank(method);
    memcpy(a->config, config, method->opts_size);
    a->base_path = mem_dupz(m->path);
    memcpy(a->base_digest, m->digest, sizeof a->base_digest);
    a->has_base_digest = true;
    if (place(a, m, e) == 0) return a;
    adapter_free(a);
    return NULL;
}

void adapter_free(struct adapter *a)
{
    if (!a) return;
    if (a->data) dev_free(a->dev, a->data);
    free(a->config);
    free(a->param);
    free(a->base_path);
    free(a->strings);
    free(a);
}

/* ---- loading ------------------------------------------------------------------------------- */

static const struct peft_method *method_of(const json_t *config, const char *path, struct err *e)
{
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    const struct peft_method *method = type ? peft_method_find(type) : NULL;
    if (method) return method;
    if (type)
        err_set(e, E_VERSION, "%s: peft_type %s is not supported yet", path, err_quotez(type));
    else if (json_object_get(config, "model_type") && json_object_get(config, "config"))
        err_set(e, E_VERSION, "%s: an adapter of AdapterHub, which is not supported yet", path);
    else
        err_set(e, E_ADAPTER, "%s: peft_type is missing", path);
    return NULL;
}

static bool says_nothing(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v));
}

/* Keys that say something and that the method does not know are ignored, but not in silence. */
static void note_unknown(const struct adapter *a, const json_t *config, const char *path)
{
    static const char *const harmless[] = {"peft_version", "peft_type", "base_model_name_or_path", "runtime_config",
                                           "qalora_group_size"};
    struct err e = {0};
    json_t *known = json_object(), *v;
    const char *key;
    if (a->method->config_write(a, known, &e) == 0) {
        for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
            json_object_set_new(known, harmless[i], json_true());
        json_object_foreach((json_t *)config, key, v) if (!says_nothing(v) && !json_object_get(known, key))
            msg_note("%s: key %s is ignored", path, err_quotez(key));
    }
    json_decref(known);
}

static int check_base(struct adapter *a, const struct safetensors *s, const struct model *m, bool force, struct err *e)
{
    const char *hex = safetensors_meta(s, "base_sha256");
    if (!hex) return 0;
    if (digest_parse(hex, a->base_digest))
        return err_set(e, E_ADAPTER, "%s: base_sha256 %s is no SHA-256", s->path, err_quotez(hex));
    a->has_base_digest = true;
    if (!memcmp(a->base_digest, m->digest, sizeof m->digest)) return 0;
    char have[65];
    digest_hex(m->digest, have);
    if (force) {
        msg_warn("%s: was trained on weights %.12s..., %s has %.12s...; used all the same", s->path, hex, m->path,
                 have);
        return 0;
    }
    err_set(e, E_MISMATCH, "%s: was trained on weights with SHA-256 %.12s..., %s has %.12s...", s->path, hex, m->path,
            have);
    return err_hint(e,
                    "the adapter belongs to %s; --force-base (peft-merge: -f) uses it on this base "
                    "all the same",
                    a->base_path ? err_quotez(a->base_path) : "another model");
}

static int read_param(const struct param *p, const struct st_tensor *t, float *dst, const char *path, struct err *e)
{
    int want = p->cols ? 2 : 1;
    if (t->ndim != want || t->shape[0] != p->rows || (want == 2 && t->shape[1] != p->cols))
        return err_set(e, E_ADAPTER, "%s: tensor %s has shape [%lld%s%lld], the model and " CONFIG " ask for [%d%s%d]",
                       path, p->name, t->ndim ? (long long)t->shape[0] : 1LL, t->ndim > 1 ? ", " : "",
                       t->ndim > 1 ? (long long)t->shape[1] : 0LL, p->rows, want > 1 ? ", " : "", p->cols);
    int type = -1;
    for (int i = 0; i < DT_COUNT; i++)
        if (*dtype_info[i].safetensors && !strcmp(dtype_info[i].safetensors, t->dtype)) type = i;
    if (type < 0)
        return err_set(e, E_ADAPTER, "%s: tensor %s has type %s, expected F32, F16 or BF16", path, p->name, t->dtype);
    long n = (long)p->rows * (p->cols ? p->cols : 1);
    dtype_to_f32((enum dtype)type, t->data, dst, n);
    for (long i = 0; i < n; i++)
        if (!isfinite(dst[i]))
            return err_set(e, E_ADAPTER, "%s: tensor %s: element %ld is not finite", path, p->name, i);
    return 0;
}

/* host[size] from the file: exactly the expected tensors. */
static int read_tensors(const struct adapter *a, const struct safetensors *s, float *host, struct err *e)
{
    for (int i = 0; i < a->n_param; i++) {
        const struct st_tensor *t = safetensors_find(s, a->param[i].name);
        if (!t) return err_set(e, E_ADAPTER, "%s: tensor %s is missing", s->path, a->param[i].name);
        int rc = read_param(&a->param[i], t, host + a->param[i].off, s->path, e);
        if (rc) return rc;
    }
    if (s->n == a->n_param) return 0;
    for (int j = 0; j < s->n; j++) {
        int i = 0;
        while (i < a->n_param && strcmp(a->param[i].name, s->t[j].name)) i++;
        if (i == a->n_param)
            return err_set(e, E_ADAPTER, "%s: tensor %s is not expected: no module of the model and " CONFIG " has it",
                           s->path, err_quotez(s->t[j].name));
    }
    return err_set(e, E_BUG, "%s: more tensors than names", s->path);
}

static int load_tensors(struct adapter *a, const char *dir, struct model *m, bool force, struct err *e)
{
    char *path = path_join(dir, TENSORS), *bin = path_join(dir, "adapter_model.bin");
    int rc = 0;
    struct safetensors *s = NULL;
    if (!file_exists(path) && file_exists(bin))
        rc = err_set(e, E_POLICY, "%s: pickled tensors are never read; save the adapter as safetensors", bin);
    else if (!(s = safetensors_open(path, e)))
        rc = -e->id;
    free(path);
    free(bin);
    if (rc) return rc;
    float *host = mem_alloc((size_t)a->size, sizeof *host);
    rc = check_base(a, s, m, force, e);
    if (!rc) rc = read_tensors(a, s, host, e);
    if (!rc && dev_from_host(m->dev, a->data, host, (size_t)a->size * sizeof *host))
        rc = err_set(e, E_DEVICE, "%s: copy of the adapter failed: %s", dev_name(m->dev), dev_message(m->dev));
    free(host);
    safetensors_close(s);
    return rc;
}

struct adapter *adapter_load(const char *dir, struct model *m, bool force, struct err *e)
{
    char *path = path_join(dir, CONFIG);
    json_t *config = json_parse_file(path, MAX_CONFIG, E_ADAPTER, e);
    const struct peft_method *method = config ? method_of(config, path, e) : NULL;
    struct adapter *a = NULL;
    if (method) {
        a = blank(method);
        a->base_path = mem_dupz(json_string_value(json_object_get(config, "base_model_name_or_path")));
        int rc = method->config_read(a, config, e);
        if (rc) err_prefix(e, "%s: ", dir);
        if (!rc) rc = place(a, m, e);
        if (!rc) rc = load_tensors(a, dir, m, force, e);
        if (!rc) note_unknown(a, config, path);
        if (rc) {
            adapter_free(a);
            a = NULL;
        }
    }
    json_decref(config);
    free(path);
    return a;
}

/* ---- saving -------------------------------------------------------------------------------- */

static int put_config(const struct adapter *a, struct outdir *d, struct err *e)
{
    json_t *j = json_object();
    json_object_set_new(j, "peft_type", json_string(a->method->peft_type));
    json_object_set_new(j, "base_model_name_or_path", a->base_path ? json_string(a->base_path) : json_null());
    int rc = a->method->config_write(a, j, e);
    char *text = rc ? NULL : json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
    if (!rc && !text) rc = err_set(e, E_ADAPTER, "%s: its configuration is no valid JSON", d->path);
    if (!rc) rc = outdir_put(d, CONFIG, text, strlen(text), e);
    free(text);
    json_decref(j);
    return rc;
}

static int put_readme(const struct adapter *a, struct outdir *d, struct err *e)
{
    json_t *name = json_string(a->base_path ? a->base_path : "unknown"); /* a JSON string is a YAML string */
    char *base = json_dumps(name, JSON_ENCODE_ANY), hex[65];
    struct buf b = {0};
    digest_hex(a->base_digest, hex);
    buf_printf(&b,
               "---\nbase_model: %s\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- "
               "%s\n---\n\n",
               base, a->method->name);
    buf_printf(&b, "# Adapter (%s)\n\n%ld parameters in %d tensors for the base model %s.\n", a->method->peft_type,
               a->size, a->n_param, base);
    if (a->has_base_digest) buf_printf(&b, "SHA-256 of the base model's weights: `%s`.\n", hex);
    buf_printf(&b,
               "\nWritten by version %s of the peft tools; the layout is that of Hugging Face PEFT "
               "0.10.\n",
               peft_version);
    int rc = outdir_put(d, "README.md", b.p, b.n, e);
    buf_fini(&b);
    free(base);
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
        rc = st_data(w, host + p->off, (size_t)p->rows * (size_t)(p->cols ? p->cols : 1) * sizeof *host, e);
    }
    return rc;
}

static int put_tensors(const struct adapter *a, struct outdir *d, const float *host, const char *provenance,
                       struct err *e)
{
    char *path = path_join(d->tmp, TENSORS);
    struct st_writer *w = st_create(path, false, e);
    int rc = w ? write_tensors(a, w, host, provenance, e) : -e->id;
    if (w && rc) st_discard(w);
    if (w && !rc) rc = st_finish(w, e);
    free(path);
    return rc;
}

static int check_finite(const struct adapter *a, const float *host, struct err *e)
{
    for (int i = 0; i < a->n_param; i++) {
        const struct param *p = &a->param[i];
        for (long j = 0; j < (long)p->rows * (p->cols ? p->cols : 1); j++)
            if (!isfinite(host[p->off + j]))
                return err_set(e, E_DIVERGED, "adapter tensor %s: element %ld is not finite; not saved", p->name, j);
    }
    return 0;
}

int adapter_save(const struct adapter *a, const char *dir, bool force, const float *data_host, const struct model *m,
                 const char *provenance_json, struct err *e)
{
    float *copy = NULL;
    int rc = 0;
    if (!data_host) {
        data_host = copy = mem_alloc((size_t)a->size, sizeof *copy);
        if (dev_to_host(m->dev, copy, a->data, (size_t)a->size * sizeof *copy))
            rc = err_set(e, E_DEVICE, "%s: copy of the adapter failed: %s", dev_name(m->dev), dev_message(m->dev));
    }
    if (!rc) rc = check_finite(a, data_host, e);
    struct outdir d = {0};
    if (!rc && (rc = outdir_open(&d, dir, force, e)) == 0) {
        rc = put_config(a, &d, e);
        if (!rc) rc = put_tensors(a, &d, data_host, provenance_json, e);
        if (!rc) rc = put_readme(a, &d, e);
        if (!rc) rc = outdir_commit(&d, e);
        if (rc) outdir_abort(&d);
    }
    free(copy);
    return rc;
}
