/* lora_set: see lora_set.h. */
#include "libcommon/peft/lora_set.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/msg.h"
#include "libcommon/model/model.h"
#include "libcommon/peft/adapter.h"

void lora_set_fini(struct lora_set *s)
{
    for (int i = 0; i < s->n; i++) {
        free(s->pair[i].path);
        free(s->pair[i].a);
        free(s->pair[i].b);
    }
    free(s->pair);
    free(s->from);
    free(s->base_name);
    json_decref(s->targets);
    row_set_fini(&s->trained);
    *s = (struct lora_set){0};
}

struct lora_pair *lora_set_add(struct lora_set *s, const char *path, int r, int in, int out, double scale)
{
    s->pair = mem_grow(s->pair, &s->cap, (size_t)s->n + 1, sizeof *s->pair);
    struct lora_pair *p = &s->pair[s->n++];
    *p = (struct lora_pair){.path = mem_dupz(path), .r = r, .in = in, .out = out, .scale = scale};
    p->a = mem_alloc((size_t)r * (size_t)in, sizeof *p->a);
    p->b = mem_alloc((size_t)out * (size_t)r, sizeof *p->b);
    return p;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct lora_pair *)a)->path, ((const struct lora_pair *)b)->path);
}

void lora_set_sort(struct lora_set *s)
{
    if (s->n) qsort(s->pair, (size_t)s->n, sizeof *s->pair, by_path);
}

const struct lora_pair *lora_set_find(const struct lora_set *s, const char *path)
{
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->pair[i].path, path)) return &s->pair[i];
    return NULL;
}

static int other_base(const struct lora_set *s, const char *whom, const unsigned char digest[32], bool force,
                      struct err *e)
{
    char mine[65], theirs[65];
    if (!s->has_base_digest || !memcmp(s->base_digest, digest, 32)) return 0;
    digest_hex(s->base_digest, mine);
    digest_hex(digest, theirs);
    if (force) {
        msg_warn("%s: was trained on weights %.12s..., %s has %.12s...; used all the same", s->from, mine, whom,
                 theirs);
        return 0;
    }
    err_set(e, E_MISMATCH, "%s: was trained on weights with SHA-256 %.12s..., %s has %.12s...", s->from, mine, whom,
            theirs);
    return err_hint(e, "adapters are changes of one base; -f uses them all the same");
}

int lora_set_same_base(const struct lora_set *s, const struct lora_set *t, bool force, struct err *e)
{
    return t->has_base_digest ? other_base(s, t->from, t->base_digest, force, e) : 0;
}

int lora_set_fits(const struct lora_set *s, const struct model *m, bool force, struct err *e)
{
    for (int i = 0; i < s->n; i++) {
        const struct lora_pair *p = &s->pair[i];
        const struct site *site = model_site(m, p->path);
        if (!site || site->kind != SITE_LINEAR)
            return err_set(e, E_ADAPTER, "%s: %s is no projection of %s", s->from, err_quotez(p->path), m->path);
        if (p->in != site_cols(site) || p->out != site_rows(site))
            return err_set(e, E_ADAPTER, "%s: %s is for a matrix of %d x %d, that of %s is %d x %d", s->from, p->path,
                           p->out, p->in, m->path, site_rows(site), site_cols(site));
    }
    return other_base(s, m->path, m->digest, force, e);
}

void lora_set_name_targets(struct lora_set *s, const struct model *m)
{
    json_t *names = json_array();
    bool whole = true;
    for (int i = 0; i < m->n_site && whole; i++) {
        const struct site *site = &m->site[i];
        if (site->kind != SITE_LINEAR) continue;
        bool named = false;
        for (int k = 0; k < s->n && !named; k++) named = !strcmp(model_site(m, s->pair[k].path)->leaf, site->leaf);
        if (!named) continue;
        whole = lora_set_find(s, site->path) != NULL;
        bool there = false;
        for (size_t k = 0; k < json_array_size(names); k++)
            there |= !strcmp(json_string_value(json_array_get(names, k)), site->leaf);
        if (!there) json_array_append_new(names, json_string(site->leaf));
    }
    if (!whole) {
        json_decref(names);
        return;
    }
    json_decref(s->targets);
    s->targets = names;
}

double lora_set_one_alpha(struct lora_set *s)
{
    const double alpha = s->n ? s->pair[0].scale * s->pair[0].r : 1;
    for (int i = 0; i < s->n; i++) {
        struct lora_pair *p = &s->pair[i];
        const double factor = p->scale * p->r / alpha;
        p->scale = alpha / p->r;
        /* what two numbers lost on their way here is no factor */
        if (fabs(factor - 1) < 1e-12) continue;
        for (long k = 0; k < (long)p->out * p->r; k++) p->b[k] = (float)(p->b[k] * factor);
    }
    return alpha;
}

static json_t *paths_json(const struct lora_set *s)
{
    json_t *t = json_array();
    for (int i = 0; i < s->n; i++) json_array_append_new(t, json_string(s->pair[i].path));
    return t;
}

json_t *lora_set_config(const struct lora_set *s, double alpha)
{
    const int r = s->n ? s->pair[0].r : 1;
    json_t *ranks = json_object();
    for (int i = 0; i < s->n; i++)
        if (s->pair[i].r != r) json_object_set_new(ranks, s->pair[i].path, json_integer(s->pair[i].r));
    return json_pack("{s:s, s:i, s:f, s:o, s:o, s:s?}", "peft_type", "LORA", "r", r, "lora_alpha", alpha,
                     "target_modules", s->targets ? json_incref(s->targets) : paths_json(s), "rank_pattern", ranks,
                     "base_model_name_or_path", s->base_name);
}

int lora_set_save(struct lora_set *s, const char *dir, enum outdir_old old, struct err *e)
{
    static const char *const common[] = {"peft_type", "base_model_name_or_path", NULL};
    struct adapter *a = adapter_blank(peft_method_find("LORA"));
    json_t *config = lora_set_config(s, lora_set_one_alpha(s));
    int rc = adapter_json_read(a, a->method->keys, common, NULL, config, e);
    json_decref(config);
    a->base_name = mem_dupz(s->base_name);
    memcpy(a->base_digest, s->base_digest, sizeof a->base_digest);
    a->has_base_digest = s->has_base_digest;
    for (int i = 0; i < s->n; i++) {
        const struct lora_pair *p = &s->pair[i];
        param_add(a, NULL, 0, p->r, p->in, INIT_ZERO, 0, "base_model.model.%s.lora_A.weight", p->path);
        param_add(a, NULL, 1, p->out, p->r, INIT_ZERO, 0, "base_model.model.%s.lora_B.weight", p->path);
    }
    float *host = mem_alloc((size_t)a->size, sizeof *host);
    for (int i = 0; i < s->n; i++) {
        memcpy(host + a->param[2 * i].off, s->pair[i].a, (size_t)param_size(&a->param[2 * i]) * sizeof *host);
        memcpy(host + a->param[2 * i + 1].off, s->pair[i].b, (size_t)param_size(&a->param[2 * i + 1]) * sizeof *host);
    }
    a->trained = s->trained;
    if (!rc) rc = adapter_save(a, dir, old, host, NULL, NULL, e);
    a->trained = (struct row_set){0};
    free(host);
    adapter_free(a);
    return rc;
}
