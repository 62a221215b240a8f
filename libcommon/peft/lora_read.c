/* lora_read.c: a directory as a lora_set; of Hugging Face PEFT: the configuration's numbers for each module, by PEFT's
 * rules for patterns, beside the tensors that are there. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/format/json.h"
#include "libcommon/peft/adapter.h"
#include "libcommon/peft/adapter_source.h"
#include "libcommon/peft/lora_set.h"
#include "libcommon/peft/pattern.h"
#include "libcommon/peft/run_manifest.h"

enum { MAX_CONFIG = 1 << 20, R_MAX = 1 << 16 };
#define PREFIX "base_model.model."

/* What changes the arithmetic and is not said by pairs; methods may learn it, this does not. */
static int only_pairs(const json_t *c, const char *path, struct err *e)
{
    static const char *const more[] = {"use_dora", "modules_to_save", "lora_bias", "fan_in_fan_out", NULL};
    const char *bias = json_string_value(json_object_get(c, "bias"));
    for (int i = 0; more[i]; i++) {
        const json_t *v = json_object_get(c, more[i]);
        if (v && !json_is_null(v) && !json_is_false(v) && !(json_is_array(v) && !json_array_size(v)))
            return err_set(e, E_VERSION, "%s: %s is set: only adapters that are pairs of A and B can be taken here",
                           path, more[i]);
    }
    if (bias && strcmp(bias, "none") != 0)
        return err_set(e, E_VERSION, "%s: bias is %s: only adapters that are pairs of A and B can be taken here", path,
                       err_quotez(bias));
    return 0;
}

/* PEFT's rule: the first expression that matches the end of the path behind a dot, or all of it. */
static double by_pattern(const json_t *map, double usual, const char *path, struct err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)map, key, v)
    {
        char *expression = mem_printf("(.*\\.)?(%s)$", key);
        struct pattern *p = pattern_new(expression, e);
        const bool hit = p && pattern_matches(p, path, e) > 0;
        pattern_free(p);
        free(expression);
        if (hit || e->id) return json_number_value(v);
    }
    return usual;
}

/* The rank comes from the tensor, and the configuration must say the same: alpha/r hangs on it. */
static double scale_of(const json_t *c, const char *path, int r, struct err *e)
{
    const json_t *rank = json_object_get(c, "r"), *given = json_object_get(c, "lora_alpha");
    const double want = by_pattern(json_object_get(c, "rank_pattern"), rank ? json_number_value(rank) : 8, path, e);
    const double alpha = by_pattern(json_object_get(c, "alpha_pattern"), given ? json_number_value(given) : 8, path, e);
    if (!e->id && want != r) err_set(e, E_ADAPTER, "%s has rank %d, " ADAPTER_CONFIG " says %g", path, r, want);
    return json_is_true(json_object_get(c, "use_rslora")) ? alpha / sqrt((double)r) : alpha / r;
}

static int bad_shape(const struct adapter_source *src, const char *name, struct err *e)
{
    return err_set(e, E_ADAPTER, "%s: tensor %s: A is [r][in] and B is [out][r]", src->path, err_quotez(name));
}

/* The pair of one lora_A; its B must be there. */
static int add_pair(struct lora_set *s, const struct adapter_source *src, const json_t *c, const struct st_tensor *a,
                    const char *path, struct err *e)
{
    struct st_tensor b;
    char *other = mem_printf(PREFIX "%s.lora_B.weight", path);
    const bool found = adapter_source_find(src, other, &b);
    if (!found) err_set(e, E_ADAPTER, "%s: tensor %s is missing", src->path, err_quotez(other));
    free(other);
    if (!found) return -e->id;
    if (a->ndim != 2 || a->shape[0] < 1 || a->shape[0] > R_MAX) return bad_shape(src, a->name, e);
    if (b.ndim != 2 || b.shape[1] != a->shape[0]) return bad_shape(src, b.name, e);
    const double scale = scale_of(c, path, (int)a->shape[0], e);
    if (e->id) return err_prefix(e, "%s: ", s->from);
    struct lora_pair *p = lora_set_add(s, path, (int)a->shape[0], (int)a->shape[1], (int)b.shape[0], scale);
    int rc = adapter_source_f32(src, a, p->a, e);
    return rc ? rc : adapter_source_f32(src, &b, p->b, e);
}

/* Every tensor is one half of a pair. */
static int read_pairs(struct lora_set *s, const struct adapter_source *src, const json_t *c, struct err *e)
{
    const int n = adapter_source_size(src);
    int rc = 0;
    for (int i = 0; i < n && !rc; i++) {
        struct st_tensor t;
        const char *name = adapter_source_name(src, i);
        const bool is_a = ends_with(name, ".lora_A.weight"), is_b = ends_with(name, ".lora_B.weight");
        if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || (!is_a && !is_b))
            return err_set(e, E_VERSION, "%s: tensor %s is neither lora_A nor lora_B of a module", src->path,
                           err_quotez(name));
        if (is_b || !adapter_source_find(src, name, &t)) continue;
        char *path = mem_dup(name + strlen(PREFIX), strlen(name) - strlen(PREFIX) - strlen(".lora_A.weight"));
        rc = add_pair(s, src, c, &t, path, e);
        free(path);
    }
    if (!rc && 2 * s->n != n) rc = err_set(e, E_ADAPTER, "%s: a lora_B has no lora_A", src->path);
    if (!rc && !n) rc = err_set(e, E_ADAPTER, "%s: no tensors", src->path);
    return rc;
}

/* Names that go for any model, unless the choice of layers says more than they do. */
static json_t *targets_of(const json_t *c)
{
    json_t *t = json_object_get(c, "target_modules");
    const json_t *layers = json_object_get(c, "layers_to_transform"), *not = json_object_get(c, "exclude_modules");
    const bool all = json_is_array(t) && (!layers || json_is_null(layers)) && (!not || json_is_null(not ));
    return all ? json_incref(t) : NULL;
}

static int read_config(struct lora_set *s, const json_t *c, const char *path, struct err *e)
{
    static const char *const common[] = {"peft_type", "base_model_name_or_path", "peft_version", "runtime_config",
                                         NULL};
    const char *type = json_string_value(json_object_get(c, "peft_type"));
    const struct peft_method *lora = peft_method_find("LORA");
    if (!type || strcmp(type, lora->peft_type) != 0)
        return err_set(e, E_VERSION, "%s: peft_type is %s: only LORA can be taken here", path,
                       type ? err_quotez(type) : "missing");
    int rc = only_pairs(c, path, e);
    if (rc) return rc;
    struct adapter *a = adapter_blank(lora); /* for the checks of its keys */
    rc = adapter_json_read(a, lora->keys, common, NULL, c, e);
    adapter_free(a);
    s->targets = targets_of(c);
    s->base_name = mem_dupz(json_string_value(json_object_get(c, "base_model_name_or_path")));
    return rc ? err_prefix(e, "%s: ", s->from) : 0;
}

static int read_dir(struct lora_set *s, const char *dir, const json_t *c, struct err *e)
{
    struct adapter_source src;
    int rc = adapter_source_open(&src, dir, ADAPTER_TENSORS, ADAPTER_PICKLED, e);
    const char *hex = rc ? NULL : adapter_source_meta(&src, "base_sha256");
    if (hex && digest_parse(hex, s->base_digest))
        rc = err_set(e, E_ADAPTER, "%s: base_sha256 %s is no SHA-256", src.path, err_quotez(hex));
    s->has_base_digest = hex != NULL;
    if (!rc) rc = read_pairs(s, &src, c, e);
    adapter_source_close(&src);
    if (!rc) lora_set_sort(s);
    return rc ? rc : row_set_read(&s->trained, dir, e);
}

static int read_gguf(struct lora_set *s, const char *path, const struct model *m, struct err *e)
{
    if (m) return lora_gguf_read(s, path, m, e);
    err_set(e, E_USAGE, "%s: the tensors of a GGUF file have names that only the base model explains", path);
    return err_hint(e, "-m MODEL");
}

bool lora_gguf_is(const char *path) { return ends_with(path, ".gguf") && file_exists(path) && !file_is_dir(path); }

int lora_set_read(struct lora_set *s, const char *dir, const struct model *m, struct err *e)
{
    *s = (struct lora_set){.from = mem_dupz(dir)};
    if (lora_gguf_is(dir)) {
        int bad = read_gguf(s, dir, m, e);
        if (bad) lora_set_fini(s);
        return bad;
    }
    char *found = adapter_find(dir, e), *path = found ? path_join(found, ADAPTER_CONFIG) : NULL;
    json_t *c = NULL;
    int rc = found ? adapter_check_written(found, e) : -e->id;
    if (!rc) c = json_parse_file(path, MAX_CONFIG, E_ADAPTER, e);
    if (c && lora_mlx_is(c)) {
        rc = lora_mlx_read(s, found, c, e);
    } else {
        rc = c ? read_config(s, c, path, e) : -e->id;
        if (!rc) rc = read_dir(s, found, c, e);
    }
    json_decref(c);
    free(path);
    free(found);
    if (rc) lora_set_fini(s);
    return rc;
}
