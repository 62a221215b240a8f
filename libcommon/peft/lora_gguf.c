/* lora_gguf.c: LoRA adapters as llama.cpp has them: one GGUF file, for each matrix of the base NAME.lora_a and
 * NAME.lora_b, and one alpha; a pair's factor is alpha / rank. Where the base's q and k rows are in GGUF's order, B's
 * are too. Source: llama.cpp, src/llama-adapter.cpp and convert_lora_to_gguf.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/tool.h"
#include "libcommon/format/gguf_write.h"
#include "libcommon/model/model.h"
#include "libcommon/peft/lora_set.h"

#define BASE_KEY "peft.base_sha256"
enum { R_MAX = 1 << 16 };

/* ---- writing ------------------------------------------------------------------------------- */

static void put_pairs(const struct lora_set *s, const struct model *m, double alpha, struct gguf_writer *w)
{
    char hex[65];
    gguf_put_str(w, "general.type", STRZ("adapter"));
    gguf_put_str(w, "general.architecture", STRZ(m->arch->gguf_name));
    gguf_put_str(w, "adapter.type", STRZ("lora"));
    gguf_put_f32(w, "adapter.lora.alpha", (float)alpha);
    digest_hex(s->has_base_digest ? s->base_digest : m->digest, hex);
    gguf_put_str(w, BASE_KEY, STRZ(hex));
    gguf_put_str(w, "peft.version", STRZ(peft_version));
}

static int put_name(const struct lora_set *s, const struct model *m, const struct lora_pair *p, const char *half,
                    const int64_t shape[2], struct gguf_writer *w, struct err *e)
{
    char gguf[GGUF_NAME_MAX], *hf = mem_printf("%s.weight", p->path);
    const bool known = gguf_name_from_hf(m->arch->names, hf, gguf);
    free(hf);
    if (!known) return err_set(e, E_VERSION, "%s: %s has no name in GGUF files", s->from, err_quotez(p->path));
    char *name = mem_printf("%s.%s", gguf, half);
    int rc = gguf_put_tensor(w, name, 2, shape, (uint32_t)dtype_info[DT_F32].gguf, e);
    free(name);
    return rc;
}

/* B [out][r] in the order of the base's rows in a GGUF file. */
static int put_b(const struct model *m, const struct lora_pair *p, struct gguf_writer *w, struct err *e)
{
    const size_t row = (size_t)p->r * sizeof *p->b;
    if (!m->arch->gguf_rotated_rows || !model_site(m, p->path)->rotated)
        return gguf_data(w, p->b, (size_t)p->out * row, e);
    float *rows = mem_alloc((size_t)p->out, row);
    gguf_permute_rows(rows, p->b, row, p->out / m->cfg.D, m->cfg.D);
    int rc = gguf_data(w, rows, (size_t)p->out * row, e);
    free(rows);
    return rc;
}

int lora_gguf_write(struct lora_set *s, const struct model *m, const char *path, bool force, struct err *e)
{
    const double alpha = lora_set_one_alpha(s);
    struct gguf_writer *w = gguf_create(path, force, e);
    if (!w) return -e->id;
    put_pairs(s, m, alpha, w);
    int rc = 0;
    for (int i = 0; i < s->n && !rc; i++) {
        const struct lora_pair *p = &s->pair[i];
        rc = put_name(s, m, p, "lora_a", (const int64_t[]){p->r, p->in}, w, e);
        if (!rc) rc = put_name(s, m, p, "lora_b", (const int64_t[]){p->out, p->r}, w, e);
    }
    if (!rc) rc = gguf_begin(w, e);
    for (int i = 0; i < s->n && !rc; i++) {
        rc = gguf_data(w, s->pair[i].a, (size_t)s->pair[i].r * (size_t)s->pair[i].in * sizeof(float), e);
        if (!rc) rc = put_b(m, &s->pair[i], w, e);
    }
    if (!rc) return gguf_finish(w, e);
    gguf_discard(w);
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------- */

static int expect_key(const struct gguf *g, const char *key, const char *want, struct err *e)
{
    struct str have = {0};
    int rc = gguf_get_str(g, key, &have, e);
    if (rc < 0) return rc;
    if (rc && str_is(have, want)) return 0;
    return err_set(e, E_ADAPTER, "%s: %s is %s, expected %s", g->path, key, rc ? err_quote(have.p, have.n) : "missing",
                   want);
}

static int read_head(struct lora_set *s, const struct gguf *g, const struct model *m, double *alpha, struct err *e)
{
    struct str hex = {0};
    int rc = expect_key(g, "general.type", "adapter", e);
    if (!rc) rc = expect_key(g, "adapter.type", "lora", e);
    if (!rc) rc = expect_key(g, "general.architecture", m->arch->gguf_name, e);
    if (!rc && gguf_find(g, "adapter.alora.invocation_tokens"))
        rc = err_set(e, E_VERSION, "%s: adapter.alora.invocation_tokens is not supported", g->path);
    if (!rc) rc = gguf_get_f64(g, "adapter.lora.alpha", alpha, e);
    if (rc >= 0 && !(isfinite(*alpha) && *alpha >= 0))
        return err_set(e, E_ADAPTER, "%s: adapter.lora.alpha is %g", g->path, *alpha);
    if (rc >= 0) rc = gguf_get_str(g, BASE_KEY, &hex, e);
    if (rc <= 0) return rc;
    char *text = mem_dup(hex.p, hex.n);
    s->has_base_digest = true;
    rc = digest_parse(text, s->base_digest) ? err_set(e, E_ADAPTER, "%s: %s is no SHA-256", g->path, BASE_KEY) : 0;
    free(text);
    return rc;
}

static int values_of(const struct gguf *g, const struct gguf_tensor *t, float *dst, struct err *e)
{
    int type = -1;
    const long n = (long)(t->ne[0] * t->ne[1]);
    for (int i = 0; i < DT_COUNT; i++)
        if (dtype_info[i].gguf == (int)t->type && *dtype_info[i].safetensors) type = i;
    if (type < 0)
        return err_set(e, E_VERSION, "%s: tensor %s has type %s, expected F32, F16 or BF16", g->path,
                       err_quotez(t->name), gguf_type_name(t->type));
    dtype_to_f32((enum dtype)type, t->data, dst, n);
    for (long i = 0; i < n; i++)
        if (!isfinite(dst[i]))
            return err_set(e, E_ADAPTER, "%s: tensor %s: element %ld is not finite", g->path, err_quotez(t->name), i);
    return 0;
}

static int add_pair(struct lora_set *s, const struct gguf *g, const struct gguf_tensor *a, const struct model *m,
                    double alpha, struct err *e)
{
    char hf[GGUF_NAME_MAX], *stem = mem_dup(a->name, strlen(a->name) - strlen(".lora_a"));
    char *other = mem_printf("%s.lora_b", stem);
    const struct gguf_tensor *b = gguf_tensor_find(g, other);
    const bool known = gguf_name_to_hf(m->arch->names, stem, hf) && ends_with(hf, ".weight");
    if (!b)
        err_set(e, E_ADAPTER, "%s: tensor %s is missing", g->path, err_quotez(other));
    else if (!known)
        err_set(e, E_ADAPTER, "%s: tensor %s: %s has no such matrix", g->path, err_quotez(a->name), m->path);
    else if (a->n_dims != 2 || b->n_dims != 2 || a->ne[1] < 1 || a->ne[1] > R_MAX || b->ne[0] != a->ne[1])
        err_set(e, E_ADAPTER, "%s: tensor %s: A is [r][in] and B is [out][r]", g->path, err_quotez(a->name));
    free(other);
    free(stem);
    if (e->id) return -e->id;
    hf[strlen(hf) - strlen(".weight")] = 0;
    const int r = (int)a->ne[1];
    struct lora_pair *p = lora_set_add(s, hf, r, (int)a->ne[0], (int)b->ne[1], alpha > 0 ? alpha / r : 1);
    const struct site *site = model_site(m, hf);
    int rc = values_of(g, a, p->a, e);
    if (!rc) rc = values_of(g, b, p->b, e);
    if (rc || !m->arch->gguf_rotated_rows || !site || !site->rotated || p->out % m->cfg.D) return rc;
    float *rows = mem_alloc((size_t)p->out * (size_t)r, sizeof *rows);
    gguf_unpermute_rows(rows, p->b, (size_t)r * sizeof *rows, p->out / m->cfg.D, m->cfg.D);
    free(p->b);
    p->b = rows;
    return 0;
}

int lora_gguf_read(struct lora_set *s, const char *path, const struct model *m, struct err *e)
{
    struct gguf *g = gguf_open(path, e);
    double alpha = 0;
    int rc = g ? read_head(s, g, m, &alpha, e) : -e->id;
    for (int i = 0; !rc && i < g->n_t; i++) {
        const char *name = g->t[i].name;
        if (ends_with(name, ".lora_a"))
            rc = add_pair(s, g, &g->t[i], m, alpha, e);
        else if (!ends_with(name, ".lora_b"))
            rc = err_set(e, E_VERSION, "%s: tensor %s is neither lora_a nor lora_b of a matrix", path,
                         err_quotez(name));
    }
    if (!rc && 2 * s->n != g->n_t) rc = err_set(e, E_ADAPTER, "%s: a lora_b has no lora_a", path);
    if (!rc && !s->n) rc = err_set(e, E_ADAPTER, "%s: no tensors", path);
    if (g) gguf_close(g);
    lora_set_sort(s);
    return rc;
}
