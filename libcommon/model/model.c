/* model.c: loading a model file into what the ops take. Weights stay where the file has them (mapped, as stored); only
 * norms and biases (to f32) and re-ordered rows are copied. */
#include "libcommon/model/model.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/rng.h"
#include "libcommon/model/device_pick.h"
#include "libcommon/model/model_internal.h"

#define ARCH(name) extern const struct arch arch_##name;
#include "libcommon/model/archs.def"
#undef ARCH
const struct arch *const archs[] = {
#define ARCH(name) &arch_##name,
#include "libcommon/model/archs.def"
#undef ARCH
    NULL};

/* ---- sites ---- */

const struct site *model_site_add(struct model *m, const char *path, struct site s)
{
    s.path = mem_dupz(path);
    const char *dot = strrchr(s.path, '.');
    s.leaf = dot ? dot + 1 : s.path;
    s.key = rng_hash(0, path, strlen(path));
    m->site = mem_grow(m->site, &m->cap_site, (size_t)m->n_site + 1, sizeof *m->site);
    m->site[m->n_site] = s;
    return &m->site[m->n_site++];
}

const struct site *model_site(const struct model *m, const char *path)
{
    for (int i = 0; i < m->n_site; i++)
        if (!strcmp(m->site[i].path, path)) return &m->site[i];
    return NULL;
}

const struct site *model_site_of(const struct model *m, const struct tensor *t)
{
    for (int i = 0; i < m->n_site; i++)
        if (m->site[i].weight == t || m->site[i].bias == t) return &m->site[i];
    return NULL;
}

const struct site *model_site_kind(const struct model *m, enum site_kind kind)
{
    for (int i = 0; i < m->n_site; i++)
        if (m->site[i].kind == kind) return &m->site[i];
    return NULL;
}

int model_projections(const struct model *m)
{
    int n = 0;
    for (int i = 0; i < m->n_site; i++) n += m->site[i].kind == SITE_LINEAR;
    return n;
}

struct lin_part *model_part(struct model *m, const struct site *s)
{
    return &m->layer[s->layer].lin[s->lin].part[s->part];
}

const float *model_norm(const struct model *m, const struct site *s)
{
    if (s->norm == NORM_FINAL) return m->final_norm;
    return s->norm == NORM_ATTN ? m->layer[s->layer].attn_norm : m->layer[s->layer].mlp_norm;
}

static struct mat held(const struct model *m, const struct site *s, bool bias)
{
    struct mat w = {NULL, DT_F32, 1, site_rows(s)};
    if (s->kind == SITE_EMBED || s->kind == SITE_HEAD) return s->kind == SITE_EMBED ? m->embed : m->head;
    if (s->kind == SITE_NORM) {
        w.data = model_norm(m, s);
        return w;
    }
    const struct lin_part *p = model_part((struct model *)m, s);
    if (!bias) return p->w;
    w.data = p->bias;
    return w;
}

int model_values(const struct model *m, const struct site *s, bool bias, float *host, struct err *e)
{
    const struct mat w = held(m, s, bias);
    const size_t bytes = (size_t)w.rows * dtype_row_bytes(w.dtype, w.cols);
    void *copy = dev_kind(m->dev) == DEVICE_CPU ? NULL : mem_alloc(bytes, 1);
    int rc = copy ? device_error(m->dev, dev_to_host(m->dev, copy, w.data, bytes), "copy of a weight", e) : 0;
    if (!rc) dtype_to_f32(w.dtype, copy ? copy : w.data, host, (long)w.rows * w.cols);
    free(copy);
    return rc;
}

/* ---- loading ---- */

const struct tensor *model_tensor(const struct model *m, const char *name, int64_t rows, int64_t cols, struct err *e)
{
    const struct tensor *t = weights_find(m->weights, name);
    if (!t) {
        err_set(e, E_MODEL, "%s: tensor %s is missing", m->weights->path, name);
        return NULL;
    }
    int want = cols ? 2 : 1;
    if (t->ndim != want || t->shape[0] != rows || (cols && t->shape[1] != cols)) {
        err_set(e, E_MODEL, "%s: tensor %s has shape [%lld%s%lld], the configuration says [%lld%s%lld]",
                m->weights->path, name, (long long)t->shape[0], t->ndim > 1 ? ", " : "",
                t->ndim > 1 ? (long long)t->shape[1] : 0LL, (long long)rows, cols ? ", " : "", (long long)cols);
        return NULL;
    }
    if (cols && cols % dtype_info[t->dtype].block) {
        err_set(e, E_MODEL, "%s: tensor %s: %lld columns are no multiple of the block of type %s", m->weights->path,
                name, (long long)cols, dtype_info[t->dtype].name);
        return NULL;
    }
    m->weights->t[t - m->weights->t].used = true;
    return t;
}

static int bind(struct model *m, struct err *e)
{
    int rc = m->arch->bind(m, e);
    if (!rc) rc = model_leftover(m, e);
    if (!rc) rc = model_place_all(m, e);
    if (m->cfg.tied) m->head = m->embed;
    return rc;
}

static struct model *load(struct weights *w, struct device *dev, enum quantize q, struct err *e)
{
    struct model *m = mem_alloc(1, sizeof *m);
    m->weights = w;
    m->dev = dev;
    m->ops = ops_of(dev);
    m->quantize = q;
    m->path = mem_dupz(w->path);
    m->name = model_name_of(w);
    memcpy(m->digest, w->digest, sizeof m->digest);
    model_place_begin(m);
    m->arch = arch_of(w, e);
    int rc = m->arch ? weights_rename(w, m->arch->names, e) : -e->id;
    if (!rc) rc = model_config_read(&m->cfg, m->arch, w, e);
    if (!rc) m->layer = mem_alloc((size_t)m->cfg.L, sizeof *m->layer);
    for (int l = 0; l < m->cfg.L && !rc; l++) m->layer[l].window = m->cfg.slides[l] ? m->cfg.window : 0;
    if (!rc) rc = bind(m, e);
    if (!rc) return weights_forget(w), m;
    model_free(m);
    return NULL;
}

struct model *model_from(struct weights *w, struct device *dev, struct err *e)
{
    return load(w, dev, QUANTIZE_NONE, e);
}

struct model *model_load_as(const char *path, struct device *dev, enum quantize q, struct err *e)
{
    struct weights *w = weights_open(path, e);
    return w ? load(w, dev, q, e) : NULL;
}

struct model *model_load(const char *path, struct device *dev, struct err *e)
{
    return model_load_as(path, dev, QUANTIZE_NONE, e);
}

void model_free(struct model *m)
{
    if (!m) return;
    model_place_free(m);
    weights_close(m->weights);
    for (int i = 0; i < m->n_site; i++) free((char *)m->site[i].path);
    free(m->site);
    free(m->layer);
    free(m->path);
    free(m->name);
    free(m);
}

bool model_rows_permuted(const struct model *m)
{
    return m->weights->kind == WEIGHTS_GGUF && m->arch->gguf_rotated_rows;
}

static uint64_t mat_size(const struct mat *w, bool bytes)
{
    return (uint64_t)w->rows * (bytes ? dtype_row_bytes(w->dtype, w->cols) : (size_t)w->cols);
}

/* Sum over what a forward pass reads; the embedding counts once when it is the head too. */
static uint64_t sum(const struct model *m, bool bytes)
{
    uint64_t total = mat_size(&m->embed, bytes) + (m->cfg.tied ? 0 : mat_size(&m->head, bytes)), vectors = 0;
    for (int i = 0; i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (s->kind == SITE_LINEAR) total += mat_size(&model_part((struct model *)m, s)->w, bytes);
        if (s->kind == SITE_NORM) vectors += (uint64_t)site_rows(s);
        if (s->bias) vectors += (uint64_t)site_rows(s);
    }
    return total + vectors * (bytes ? 4 : 1);
}
uint64_t model_weight_bytes(const struct model *m) { return sum(m, true); }
uint64_t model_parameters(const struct model *m) { return sum(m, false); }
