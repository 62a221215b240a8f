/* adapter.c: the life of an adapter, and how directories are read.
 *
 * Read strictly: a tensor too few, too many, of another shape, or not finite is an error that names it, and so is a key
 * of the configuration that says something which is not computed. PEFT itself loads such an adapter as zeros with a
 * warning. */
#include "libcommon/peft/adapter.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/rng.h"
#include "libcommon/format/json.h"
#include "libcommon/model/device_pick.h"
#include "libcommon/peft/lora_set.h"
#include "libcommon/peft/run_manifest.h"

enum { MAX_CONFIG = 1 << 20 };

/* ---- life ---------------------------------------------------------------------------------- */

void *adapter_own(struct adapter *a, void *p)
{
    a->strings = mem_grow(a->strings, &a->cap_strings, a->n_strings + 1, sizeof *a->strings);
    return a->strings[a->n_strings++] = p;
}

char *adapter_keep(struct adapter *a, const char *s) { return s ? adapter_own(a, mem_dupz(s)) : NULL; }

struct adapter *adapter_blank(const struct peft_method *method)
{
    struct adapter *a = mem_alloc(1, sizeof *a);
    a->method = method;
    a->factor = 1;
    a->span = -1;
    a->config = mem_alloc(1, method->opts_size);
    return a;
}

/* The options of a group, their strings as the adapter's own. */
static void copy_options(struct adapter *a, const struct opt *rows, void *dst, const void *src, size_t size)
{
    memcpy(dst, src, size);
    for (const struct opt *o = rows; o->name; o++) {
        char *at = (char *)dst + o->off;
        if (o->type == OPT_STR) *(char **)(void *)at = adapter_keep(a, *(char **)(void *)at);
        if (o->type != OPT_LIST && o->type != OPT_MAP) continue;
        struct strlist *l = (struct strlist *)(void *)at;
        char **v = adapter_own(a, mem_alloc((size_t)l->n + 1, sizeof *v));
        for (int i = 0; i < l->n; i++) v[i] = adapter_keep(a, l->v[i]);
        l->v = v;
    }
}

/* What the method usually adapts of this architecture: names up to a space or the end. */
static const char *usual_targets(const struct peft_method *method, const struct arch *arch)
{
    const size_t n = strlen(method->name);
    for (const char *p = arch->usual_targets; p && *p; p += strcspn(p, " "), p += *p == ' ')
        if (!strncmp(p, method->name, n) && p[n] == ':') return p + n + 1;
    return method->targets;
}

/* "auto" is what the method usually adapts. */
static void resolve_targets(struct adapter *a, const struct model *m)
{
    struct strlist *t = &a->shared.target;
    if (!a->method->targets || t->n != 1 || strcmp(t->v[0], "auto") != 0) return;
    const char *usual = usual_targets(a->method, m->arch);
    *t = (struct strlist){0, adapter_own(a, mem_alloc(strlen(usual), sizeof *t->v))};
    for (const char *p = usual; *p && *p != ' '; p += *p == ',') {
        const size_t k = strcspn(p, ", ");
        t->v[t->n++] = adapter_own(a, mem_dup(p, k));
        p += k;
    }
}

/* Declare for the model and allocate. */
static int place(struct adapter *a, const struct model *m, struct err *e)
{
    resolve_targets(a, m);
    int rc = a->method->check ? a->method->check(a, m, e) : 0;
    if (!rc) rc = a->method->declare(a, m, e);
    if (rc) return rc;
    if (a->method->targets) match_note(m, &a->shared);
    if (!a->n_param) return err_set(e, E_CONFIG, "%s: nothing of the model is adapted", a->method->name);
    a->dev = m->dev;
    a->data = device_alloc(m->dev, (size_t)a->size * sizeof *a->data);
    return a->data ? 0 : device_error(m->dev, dev_last(m->dev), "allocation of the adapter's parameters", e);
}

struct adapter *adapter_new(const struct peft_method *method, const void *config, const struct adapter_opts *shared,
                            const struct model *m, struct err *e)
{
    struct adapter *a = adapter_blank(method);
    copy_options(a, method->opts, a->config, config, method->opts_size);
    copy_options(a, adapter_opt_rows, &a->shared, shared, sizeof a->shared);
    a->base_name = mem_dupz(m->name);
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
    for (int i = 0; i < a->n_param; i++) free(a->param[i].name);
    for (size_t i = 0; i < a->n_strings; i++) free(a->strings[i]);
    free(a->strings);
    free(a->param);
    free(a->config);
    free(a->base_name);
    row_set_fini(&a->trained);
    free(a);
}

int adapter_add(const struct adapter *a, struct hooks *h, struct err *e) { return a->method->bind(a, h, e); }

int adapter_bind(const struct adapter *a, struct hooks *h, const struct model *m, struct err *e)
{
    hooks_init(h, m);
    int rc = adapter_add(a, h, e);
    return rc ? rc : device_error(m->dev, hooks_refresh(h), "derived values of the adapter", e);
}

static int to_device(struct adapter *a, const struct model *m, const float *host, struct err *e)
{
    return device_error(m->dev, dev_from_host(m->dev, a->data, host, (size_t)a->size * sizeof *host),
                        "copy of the adapter", e);
}

static float start_value(const struct param *p, uint64_t seed, uint64_t i)
{
    switch (p->init) {
    case INIT_ONE:
        return 1;
    case INIT_UNIFORM:
        return (float)((2 * rng_unit(seed, RNG_INIT, i) - 1) * p->spread);
    case INIT_NORMAL:
        return (float)(rng_normal(seed, RNG_INIT, i) * p->spread);
    default:
        return 0;
    }
}

int adapter_start(struct adapter *a, const struct model *m, uint64_t seed, struct err *e)
{
    float *host = mem_alloc((size_t)a->size, sizeof *host);
    for (int k = 0; k < a->n_param; k++) {
        const struct param *p = &a->param[k];
        const uint64_t own = seed ^ rng_hash(0, p->name, strlen(p->name)); /* other tensors change none of its values */
        for (long i = 0; i < param_size(p); i++) host[p->off + i] = start_value(p, own, (uint64_t)i);
    }
    int rc = a->method->start ? a->method->start(a, m, seed, host, e) : 0;
    if (!rc) rc = to_device(a, m, host, e);
    free(host);
    return rc;
}

/* ---- loading ------------------------------------------------------------------------------- */

static const struct peft_method *method_of(const json_t *config, const char *path, struct err *e)
{
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    const struct peft_method *method = type ? peft_method_find(type) : NULL;
    for (int i = 0; peft_methods[i] && !method && !type; i++)
        if (peft_methods[i]->format && peft_methods[i]->format->is(config)) method = peft_methods[i];
    if (method) return method;
    if (type)
        err_set(e, E_VERSION, "%s: peft_type %s is not supported", path, err_quotez(type));
    else
        err_set(e, E_ADAPTER, "%s: peft_type is missing", path);
    return NULL;
}

static int load_tensors(struct adapter *a, const char *dir, struct model *m, bool force, struct err *e)
{
    float *host = mem_alloc((size_t)a->size, sizeof *host);
    int rc = adapter_read_tensors(a, dir, m, force, host, e);
    if (!rc) rc = to_device(a, m, host, e);
    free(host);
    return rc;
}

/* From a format of others, whose tensors are those of a lora_set. */
static int fill_from(struct adapter *a, const struct lora_set *s, const struct model *m, struct err *e)
{
    float *host = mem_alloc((size_t)a->size, sizeof *host);
    int rc = 0;
    for (int i = 0; i < a->n_param && !rc; i++) {
        const struct param *p = &a->param[i];
        const struct lora_pair *pair = lora_set_find(s, p->site->path);
        const bool b = ends_with(p->name, ".lora_B.weight");
        if (!pair || param_size(p) != (b ? (long)pair->out * pair->r : (long)pair->r * pair->in))
            rc = err_set(e, E_BUG, "%s: %s is not what the adapter asks for", s->from, p->name);
        else
            memcpy(host + p->off, b ? pair->b : pair->a, (size_t)param_size(p) * sizeof *host);
    }
    if (!rc) rc = to_device(a, m, host, e);
    free(host);
    return rc;
}

static struct adapter *load_foreign(const char *path, struct model *m, bool force, struct err *e)
{
    static const char *const common[] = {"peft_type", "base_model_name_or_path", NULL};
    struct lora_set s;
    if (lora_set_read(&s, path, m, e)) return NULL;
    struct adapter *a = NULL;
    if (!lora_set_fits(&s, m, force, e)) {
        lora_set_name_targets(&s, m);
        json_t *config = lora_set_config(&s, lora_set_one_alpha(&s));
        a = adapter_blank(peft_method_find("LORA"));
        a->base_name = mem_dupz(s.base_name);
        memcpy(a->base_digest, s.has_base_digest ? s.base_digest : m->digest, sizeof a->base_digest);
        a->has_base_digest = s.has_base_digest;
        if (!adapter_json_read(a, a->method->keys, common, m, config, e) && !place(a, m, e)) fill_from(a, &s, m, e);
        json_decref(config);
    }
    lora_set_fini(&s);
    if (e->id) {
        err_prefix(e, "%s: ", path);
        adapter_free(a);
        return NULL;
    }
    return a;
}

/* Keys that PEFT writes whatever the method. */
static const char *const common_keys[] = {"peft_type", "base_model_name_or_path", "peft_version", "runtime_config",
                                          NULL};

static struct adapter *load(const char *dir, struct model *m, bool force, struct err *e)
{
    if (adapter_check_written(dir, e)) return NULL;
    if (lora_gguf_is(dir)) return load_foreign(dir, m, force, e);
    char *path = path_join(dir, ADAPTER_CONFIG);
    json_t *config = json_parse_file(path, MAX_CONFIG, E_ADAPTER, e);
    if (config && lora_mlx_is(config)) {
        json_decref(config);
        free(path);
        return load_foreign(dir, m, force, e);
    }
    const struct peft_method *method = config ? method_of(config, path, e) : NULL;
    struct adapter *a = NULL;
    if (method) {
        a = adapter_blank(method);
        a->base_name = mem_dupz(json_string_value(json_object_get(config, "base_model_name_or_path")));
        int rc = method->format ? method->format->config_read(a, config, m, e)
                                : adapter_json_read(a, method->keys, common_keys, m, config, e);
        if (!rc) rc = place(a, m, e);
        if (rc) err_prefix(e, "%s: ", dir);
        if (!rc) rc = load_tensors(a, dir, m, force, e);
        if (!rc) rc = row_set_read(&a->trained, dir, e);
        if (rc) {
            adapter_free(a);
            a = NULL;
        }
    }
    json_decref(config);
    free(path);
    return a;
}

struct adapter *adapter_load(const char *dir, struct model *m, bool force, struct err *e)
{
    char *found = adapter_find(dir, e);
    struct adapter *a = found ? load(found, m, force, e) : NULL;
    free(found);
    return a;
}
