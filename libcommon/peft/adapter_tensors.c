/* adapter_tensors.c: the tensors of an adapter directory, from safetensors, or from a file of torch where there is no
 * other: the latter is read strictly, and nothing in it is executed (format/pt_read.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/format/pt_read.h"
#include "libcommon/peft/adapter.h"

/* One of the two. */
struct source {
    const char *path;
    struct safetensors *st;
    struct pt_file *pt;
};

static int source_size(const struct source *s) { return s->st ? s->st->n : s->pt->n; }
static const char *source_name(const struct source *s, int i) { return s->st ? s->st->t[i].name : s->pt->t[i].name; }

/* The tensor as one of safetensors; false: it is not there. */
static bool source_find(const struct source *s, const char *name, struct st_tensor *out)
{
    const struct st_tensor *t = s->st ? safetensors_find(s->st, name) : NULL;
    if (t) return *out = *t, true;
    const struct pt_tensor *p = s->pt ? pt_find(s->pt, name) : NULL;
    if (!p) return false;
    *out = (struct st_tensor){.name = p->name, .dtype = p->dtype, .size = p->size, .ndim = p->ndim, .data = p->data};
    memcpy(out->shape, p->shape, sizeof out->shape);
    return true;
}

static int source_open(struct source *s, const struct adapter *a, const char *dir, char **path, struct err *e)
{
    const struct adapter_format *f = a->method->format;
    *path = path_join(dir, f ? f->tensors : ADAPTER_TENSORS);
    *s = (struct source){0};
    if (!file_exists(*path)) {
        char *bin = path_join(dir, f ? f->pickled : "adapter_model.bin");
        if (file_exists(bin)) {
            free(*path);
            *path = bin;
            s->pt = pt_open(bin, e);
            if (s->pt) pt_check(s->pt, e);
        } else {
            free(bin);
        }
    }
    if (!s->pt && !e->id) s->st = safetensors_open(*path, e);
    s->path = *path;
    return -e->id;
}

static int check_base(struct adapter *a, const struct source *s, const struct model *m, bool force, struct err *e)
{
    const char *hex = s->st ? safetensors_meta(s->st, "base_sha256") : NULL;
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
                    a->base_name ? err_quotez(a->base_name) : "another model");
}

static int read_param(const struct param *p, const struct st_tensor *t, float *dst, const char *path, struct err *e)
{
    int want = p->cols ? 2 : 1;
    if (t->ndim != want || t->shape[0] != p->rows || (want == 2 && t->shape[1] != p->cols))
        return err_set(e, E_ADAPTER,
                       "%s: tensor %s has shape [%lld%s%lld], the model and " ADAPTER_CONFIG " ask for [%d%s%d]", path,
                       p->name, t->ndim ? (long long)t->shape[0] : 1LL, t->ndim > 1 ? ", " : "",
                       t->ndim > 1 ? (long long)t->shape[1] : 0LL, p->rows, want > 1 ? ", " : "", p->cols);
    int type = -1;
    for (int i = 0; i < DT_COUNT; i++)
        if (*dtype_info[i].safetensors && !strcmp(dtype_info[i].safetensors, t->dtype)) type = i;
    if (type < 0)
        return err_set(e, E_ADAPTER, "%s: tensor %s has type %s, expected F32, F16 or BF16", path, p->name, t->dtype);
    const long n = param_size(p);
    dtype_to_f32((enum dtype)type, t->data, dst, n);
    for (long i = 0; i < n; i++)
        if (!isfinite(dst[i]))
            return err_set(e, E_ADAPTER, "%s: tensor %s: element %ld is not finite", path, p->name, i);
    return 0;
}

/* host[size] from the file: exactly the expected tensors. */
static int read_all(const struct adapter *a, const struct source *s, float *host, struct err *e)
{
    for (int i = 0; i < a->n_param; i++) {
        struct st_tensor t;
        if (!source_find(s, a->param[i].name, &t))
            return err_set(e, E_ADAPTER, "%s: tensor %s is missing", s->path, a->param[i].name);
        int rc = read_param(&a->param[i], &t, host + a->param[i].off, s->path, e);
        if (rc) return rc;
    }
    if (source_size(s) == a->n_param) return 0;
    for (int j = 0; j < source_size(s); j++) {
        int i = 0;
        while (i < a->n_param && strcmp(a->param[i].name, source_name(s, j))) i++;
        if (i == a->n_param)
            return err_set(e, E_ADAPTER,
                           "%s: tensor %s is not expected: no module of the model and " ADAPTER_CONFIG " has it",
                           s->path, err_quotez(source_name(s, j)));
    }
    return err_set(e, E_BUG, "%s: more tensors than names", s->path);
}

int adapter_read_tensors(struct adapter *a, const char *dir, const struct model *m, bool force, float *host,
                         struct err *e)
{
    struct source s;
    char *path;
    int rc = source_open(&s, a, dir, &path, e);
    if (!rc) rc = check_base(a, &s, m, force, e);
    if (!rc) rc = read_all(a, &s, host, e);
    if (s.st) safetensors_close(s.st);
    pt_close(s.pt);
    free(path);
    return rc;
}
