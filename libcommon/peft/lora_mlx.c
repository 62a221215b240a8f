/* lora_mlx.c: LoRA adapters as mlx-lm has them: a directory with adapter_config.json (no peft_type in it) and
 * adapters.safetensors, matrices transposed against PEFT's, one factor for all. Source: mlx_lm, tuner/lora.py and
 * tuner/utils.py. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/tool.h"
#include "libcommon/format/json.h"
#include "libcommon/format/safetensors_write.h"
#include "libcommon/peft/adapter.h"
#include "libcommon/peft/adapter_source.h"
#include "libcommon/peft/lora_set.h"

#define TENSORS "adapters.safetensors"
enum { MAX_CONFIG = 1 << 20, R_MAX = 1 << 16 };

/* ---- writing ------------------------------------------------------------------------------- */

/* "self_attn.q_proj" of "model.layers.3.self_attn.q_proj"; NULL: not in a layer. */
static const char *within_layer(const char *path)
{
    unsigned layer;
    int n = 0;
    return sscanf(path, "model.layers.%u.%n", &layer, &n) == 1 && n ? path + n : NULL;
}

static json_t *keys_json(const struct lora_set *s)
{
    json_t *keys = json_array();
    for (int i = 0; i < s->n; i++) {
        json_t *key = json_string(within_layer(s->pair[i].path));
        bool there = false;
        for (size_t k = 0; k < json_array_size(keys); k++) there |= json_equal(json_array_get(keys, k), key);
        if (!there) json_array_append(keys, key);
        json_decref(key);
    }
    return keys;
}

/* Modules that the keys name and the file lacks start as zero there: all layers can be asked for. */
static int put_config(const struct lora_set *s, int rank, double scale, struct outdir *d, struct err *e)
{
    json_t *j = json_pack("{s:s, s:s?, s:i, s:{s:o, s:i, s:f, s:f}}", "fine_tune_type", "lora", "model", s->base_name,
                          "num_layers", -1, "lora_parameters", "keys", keys_json(s), "rank", rank, "scale", scale,
                          "dropout", 0.0);
    char *text = json_dumps(j, JSON_INDENT(4) | JSON_REAL_PRECISION(15));
    int rc = text ? outdir_put(d, ADAPTER_CONFIG, text, strlen(text), e)
                  : err_set(e, E_ADAPTER, "%s: its configuration is no valid JSON", d->path);
    free(text);
    json_decref(j);
    return rc;
}

static void transpose(const float *from, long rows, long cols, float *to)
{
    for (long i = 0; i < rows; i++)
        for (long k = 0; k < cols; k++) to[k * rows + i] = from[i * cols + k];
}

/* A [in][rank] or B [rank][out], zeros behind the pair's own rank. */
static int put_half(struct st_writer *w, const struct lora_pair *p, bool b, int rank, double factor, struct err *e)
{
    const long in = p->in, out = p->out, r = p->r;
    float *x = mem_alloc((size_t)rank * (size_t)(b ? out : in), sizeof *x);
    if (b) transpose(p->b, out, r, x);
    for (long i = 0; b && i < r * out; i++) x[i] = (float)(x[i] * factor);
    for (long i = 0; !b && i < in; i++)
        for (long k = 0; k < r; k++) x[i * rank + k] = p->a[k * in + i];
    int rc = st_data(w, x, (size_t)rank * (size_t)(b ? out : in) * sizeof *x, e);
    free(x);
    return rc;
}

static int write_tensors(const struct lora_set *s, int rank, double scale, struct st_writer *w, struct err *e)
{
    char hex[65];
    int rc = 0;
    if (s->has_base_digest) {
        digest_hex(s->base_digest, hex);
        st_meta(w, "base_sha256", hex);
    }
    st_meta(w, "writer", peft_version);
    for (int i = 0; i < 2 * s->n && !rc; i++) {
        const struct lora_pair *p = &s->pair[i / 2];
        char *name = mem_printf("%s.lora_%c", p->path, i % 2 ? 'b' : 'a');
        rc = st_declare(w, name, "F32", 2, i % 2 ? (const int64_t[]){rank, p->out} : (const int64_t[]){p->in, rank}, e);
        free(name);
    }
    if (!rc) rc = st_begin(w, e);
    for (int i = 0; i < 2 * s->n && !rc; i++) {
        const int at = st_order(w, i);
        const struct lora_pair *p = &s->pair[at / 2];
        rc = put_half(w, p, at % 2, rank, p->scale == scale ? 1 : p->scale / scale, e);
    }
    return rc;
}

int lora_mlx_write(const struct lora_set *s, const char *dir, enum outdir_old old, struct err *e)
{
    int rank = 0;
    for (int i = 0; i < s->n; i++) {
        if (s->pair[i].r > rank) rank = s->pair[i].r;
        if (!within_layer(s->pair[i].path))
            return err_set(e, E_VERSION, "%s: %s is in no layer, where mlx-lm has its adapters", s->from,
                           err_quotez(s->pair[i].path));
    }
    struct outdir d;
    int rc = outdir_open(&d, dir, old, e);
    if (rc) return rc;
    rc = put_config(s, rank, s->pair[0].scale, &d, e);
    char *path = path_join(d.tmp, TENSORS);
    struct st_writer *w = rc ? NULL : st_create(path, false, e);
    if (w && write_tensors(s, rank, s->pair[0].scale, w, e))
        st_discard(w);
    else if (w)
        st_finish(w, e);
    free(path);
    rc = -e->id;
    if (!rc) rc = outdir_seal(&d, e);
    if (!rc) rc = outdir_commit(&d, e);
    if (rc) outdir_abort(&d);
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------- */

bool lora_mlx_is(const json_t *config)
{
    return !json_object_get(config, "peft_type") && json_is_object(json_object_get(config, "lora_parameters"));
}

static int read_scale(const json_t *c, const char *dir, double *scale, struct err *e)
{
    const char *type = json_string_value(json_object_get(c, "fine_tune_type"));
    const json_t *x = json_object_get(json_object_get(c, "lora_parameters"), "scale");
    if (type && strcmp(type, "lora") != 0)
        return err_set(e, E_VERSION, "%s: fine_tune_type is %s: only lora can be taken here", dir, err_quotez(type));
    *scale = json_number_value(x);
    if (json_is_number(x) && isfinite(*scale)) return 0;
    return err_set(e, E_ADAPTER, "%s: lora_parameters.scale is missing or no number", dir);
}

static int add_pair(struct lora_set *s, const struct adapter_source *src, const struct st_tensor *a, double scale,
                    struct err *e)
{
    struct st_tensor b;
    char *path = mem_dup(a->name, strlen(a->name) - strlen(".lora_a")), *other = mem_printf("%s.lora_b", path);
    if (!adapter_source_find(src, other, &b))
        err_set(e, E_ADAPTER, "%s: tensor %s is missing", src->path, err_quotez(other));
    else if (a->ndim != 2 || b.ndim != 2 || a->shape[1] < 1 || a->shape[1] > R_MAX || b.shape[0] != a->shape[1])
        err_set(e, E_ADAPTER, "%s: tensor %s: A is [in][r] and B is [r][out]", src->path, err_quotez(a->name));
    if (!e->id) {
        const int r = (int)a->shape[1], in = (int)a->shape[0], out = (int)b.shape[1];
        struct lora_pair *p = lora_set_add(s, path, r, in, out, scale);
        float *x = mem_alloc((size_t)r * (size_t)(in > out ? in : out), sizeof *x);
        if (!adapter_source_f32(src, a, x, e)) transpose(x, in, r, p->a);
        if (!e->id && !adapter_source_f32(src, &b, x, e)) transpose(x, r, out, p->b);
        free(x);
    }
    free(other);
    free(path);
    return -e->id;
}

int lora_mlx_read(struct lora_set *s, const char *dir, const json_t *c, struct err *e)
{
    struct adapter_source src = {0};
    double scale = 1;
    int rc = read_scale(c, dir, &scale, e);
    if (!rc) rc = adapter_source_open(&src, dir, TENSORS, NULL, e);
    const char *hex = rc ? NULL : adapter_source_meta(&src, "base_sha256");
    s->has_base_digest = hex && !digest_parse(hex, s->base_digest);
    s->base_name = mem_dupz(json_string_value(json_object_get(c, "model")));
    const int n = rc ? 0 : adapter_source_size(&src);
    for (int i = 0; i < n && !rc; i++) {
        struct st_tensor t;
        const char *name = adapter_source_name(&src, i);
        if (ends_with(name, ".lora_a") && adapter_source_find(&src, name, &t))
            rc = add_pair(s, &src, &t, scale, e);
        else if (!ends_with(name, ".lora_b"))
            rc = err_set(e, E_VERSION, "%s: tensor %s is neither lora_a nor lora_b of a module", src.path,
                         err_quotez(name));
    }
    if (!rc && (2 * s->n != n || !n)) rc = err_set(e, E_ADAPTER, "%s: a lora_b has no lora_a", src.path);
    adapter_source_close(&src);
    lora_set_sort(s);
    return rc;
}
