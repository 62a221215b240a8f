/* adapter_source: see adapter_source.h. */
#include "libcommon/peft/adapter_source.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/dtype.h"
#include "libcommon/base/mem.h"

int adapter_source_open(struct adapter_source *s, const char *dir, const char *tensors, const char *pickled,
                        struct err *e)
{
    *s = (struct adapter_source){.path = path_join(dir, tensors)};
    char *bin = file_exists(s->path) || !pickled ? NULL : path_join(dir, pickled);
    if (bin && file_exists(bin)) {
        free(s->path);
        s->path = bin;
        s->pt = pt_open(bin, e);
        if (s->pt) pt_check(s->pt, e);
        return -e->id;
    }
    free(bin);
    s->st = safetensors_open(s->path, e);
    return -e->id;
}

void adapter_source_close(struct adapter_source *s)
{
    if (s->st) safetensors_close(s->st);
    pt_close(s->pt);
    free(s->path);
    *s = (struct adapter_source){0};
}

int adapter_source_size(const struct adapter_source *s) { return s->st ? s->st->n : s->pt->n; }

const char *adapter_source_name(const struct adapter_source *s, int i)
{
    return s->st ? s->st->t[i].name : s->pt->t[i].name;
}

bool adapter_source_find(const struct adapter_source *s, const char *name, struct st_tensor *out)
{
    const struct st_tensor *t = s->st ? safetensors_find(s->st, name) : NULL;
    if (t) return *out = *t, true;
    const struct pt_tensor *p = s->pt ? pt_find(s->pt, name) : NULL;
    if (!p) return false;
    *out = (struct st_tensor){.name = p->name, .dtype = p->dtype, .size = p->size, .ndim = p->ndim, .data = p->data};
    memcpy(out->shape, p->shape, sizeof out->shape);
    return true;
}

const char *adapter_source_meta(const struct adapter_source *s, const char *key)
{
    return s->st ? safetensors_meta(s->st, key) : NULL;
}

int adapter_source_f32(const struct adapter_source *s, const struct st_tensor *t, float *dst, struct err *e)
{
    int type = -1;
    long n = 1;
    for (int i = 0; i < DT_COUNT; i++)
        if (*dtype_info[i].safetensors && !strcmp(dtype_info[i].safetensors, t->dtype)) type = i;
    if (type < 0)
        return err_set(e, E_ADAPTER, "%s: tensor %s has type %s, expected F32, F16 or BF16", s->path,
                       err_quotez(t->name), t->dtype);
    for (int i = 0; i < t->ndim; i++) n *= (long)t->shape[i];
    dtype_to_f32((enum dtype)type, t->data, dst, n);
    for (long i = 0; i < n; i++)
        if (!isfinite(dst[i]))
            return err_set(e, E_ADAPTER, "%s: tensor %s: element %ld is not finite", s->path, err_quotez(t->name), i);
    return 0;
}
