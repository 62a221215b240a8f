/* adapter_tensors.c: the tensors that an adapter expects, out of those that there are. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/peft/adapter.h"
#include "libcommon/peft/adapter_source.h"

static int check_base(struct adapter *a, const struct adapter_source *s, const struct model *m, bool force,
                      struct err *e)
{
    const char *hex = adapter_source_meta(s, "base_sha256");
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

static int read_param(const struct param *p, const struct adapter_source *s, const struct st_tensor *t, float *dst,
                      struct err *e)
{
    int want = p->cols ? 2 : 1;
    if (t->ndim == want && t->shape[0] == p->rows && (want == 1 || t->shape[1] == p->cols))
        return adapter_source_f32(s, t, dst, e);
    return err_set(e, E_ADAPTER,
                   "%s: tensor %s has shape [%lld%s%lld], the model and " ADAPTER_CONFIG " ask for [%d%s%d]", s->path,
                   p->name, t->ndim ? (long long)t->shape[0] : 1LL, t->ndim > 1 ? ", " : "",
                   t->ndim > 1 ? (long long)t->shape[1] : 0LL, p->rows, want > 1 ? ", " : "", p->cols);
}

/* host[size] from the file: exactly the expected tensors. */
static int read_all(const struct adapter *a, const struct adapter_source *s, float *host, struct err *e)
{
    for (int i = 0; i < a->n_param; i++) {
        struct st_tensor t;
        if (!adapter_source_find(s, a->param[i].name, &t))
            return err_set(e, E_ADAPTER, "%s: tensor %s is missing", s->path, a->param[i].name);
        int rc = read_param(&a->param[i], s, &t, host + a->param[i].off, e);
        if (rc) return rc;
    }
    if (adapter_source_size(s) == a->n_param) return 0;
    for (int j = 0; j < adapter_source_size(s); j++) {
        int i = 0;
        while (i < a->n_param && strcmp(a->param[i].name, adapter_source_name(s, j))) i++;
        if (i == a->n_param)
            return err_set(e, E_ADAPTER,
                           "%s: tensor %s is not expected: no module of the model and " ADAPTER_CONFIG " has it",
                           s->path, err_quotez(adapter_source_name(s, j)));
    }
    return err_set(e, E_BUG, "%s: more tensors than names", s->path);
}

int adapter_read_tensors(struct adapter *a, const char *dir, const struct model *m, bool force, float *host,
                         struct err *e)
{
    const struct adapter_format *f = a->method->format;
    struct adapter_source s;
    int rc = adapter_source_open(&s, dir, f ? f->tensors : ADAPTER_TENSORS, f ? f->pickled : ADAPTER_PICKLED, e);
    if (!rc) rc = check_base(a, &s, m, force, e);
    if (!rc) rc = read_all(a, &s, host, e);
    adapter_source_close(&s);
    return rc;
}
