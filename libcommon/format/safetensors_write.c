/* safetensors_write: see safetensors_write.h. */
#include "libcommon/format/safetensors_write.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/safetensors.h"

struct entry {
    char *name;
    const char *dtype;
    int number, width, ndim; /* number: in order of declaration */
    int64_t shape[ST_DIMS];
    uint64_t bytes;
};

struct st_writer {
    struct out out;
    json_t *meta;
    struct entry *t;
    int n;
    size_t cap;
    int at; /* tensor being written */
    uint64_t done;
};

struct st_writer *st_create(const char *path, bool force, struct err *e)
{
    struct st_writer *w = mem_alloc(1, sizeof *w);
    if (out_open(&w->out, path, force, true, e)) {
        free(w);
        return NULL;
    }
    w->meta = json_object();
    st_meta(w, "format", "pt");
    return w;
}

void st_meta(struct st_writer *w, const char *key, const char *value)
{
    json_object_set_new(w->meta, key, json_string(value));
}

int st_declare(struct st_writer *w, const char *name, const char *dtype, int ndim, const int64_t *shape, struct err *e)
{
    struct entry t = {.number = w->n, .ndim = ndim, .dtype = dtype, .width = safetensors_dtype_size(dtype)};
    if (!t.width || ndim < 0 || ndim > ST_DIMS || !*name || strlen(name) > 1024)
        return err_set(e, E_SAFETENSORS, "tensor %s: safetensors cannot hold it", err_quotez(name));
    t.bytes = (uint64_t)t.width;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] <= 0) return err_set(e, E_SAFETENSORS, "tensor %s: empty; not written", err_quotez(name));
        t.bytes *= (uint64_t)shape[i];
        t.shape[i] = shape[i];
    }
    t.name = mem_dupz(name);
    w->t = mem_grow(w->t, &w->cap, (size_t)w->n + 1, sizeof *w->t);
    w->t[w->n++] = t;
    return 0;
}

static int by_width_and_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->width != y->width) return y->width - x->width;
    int d = strcmp(x->dtype, y->dtype);
    return d ? d : strcmp(x->name, y->name);
}

static json_t *entry_json(const struct entry *t, uint64_t at)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++) json_array_append_new(shape, json_integer(t->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->dtype, "shape", shape, "data_offsets", (json_int_t)at,
                     (json_int_t)(at + t->bytes));
}

int st_begin(struct st_writer *w, struct err *e)
{
    if (w->n) qsort(w->t, (size_t)w->n, sizeof *w->t, by_width_and_name);
    json_t *head = json_object();
    json_object_set(head, "__metadata__", w->meta);
    uint64_t at = 0;
    int rc = 0;
    for (int i = 0; i < w->n && !rc; i++) {
        if (json_object_get(head, w->t[i].name))
            rc = err_set(e, E_SAFETENSORS, "tensor %s: given twice", err_quotez(w->t[i].name));
        else if (json_object_set_new(head, w->t[i].name, entry_json(&w->t[i], at)))
            rc = err_set(e, E_SAFETENSORS, "tensor %s: its name is not UTF-8", err_quotez(w->t[i].name));
        at += w->t[i].bytes;
    }
    char *text = rc ? NULL : json_dumps(head, JSON_COMPACT);
    json_decref(head);
    if (!text) return rc ? rc : err_set(e, E_NOMEM, "header of %s", w->out.path);
    uint64_t n = strlen(text), padded = (n + 7) / 8 * 8;
    rc = out_write(&w->out, &padded, sizeof padded, e);
    if (!rc) rc = out_write(&w->out, text, n, e);
    if (!rc) rc = out_write(&w->out, "       ", padded - n, e);
    free(text);
    return rc;
}

int st_order(const struct st_writer *w, int i) { return w->t[i].number; }

int st_data(struct st_writer *w, const void *data, size_t n, struct err *e)
{
    if (w->at >= w->n || n > w->t[w->at].bytes - w->done)
        return err_set(e, E_BUG, "safetensors_write: more data than tensor %d was declared with", w->at);
    int rc = out_write(&w->out, data, n, e);
    w->done += n;
    if (w->done == w->t[w->at].bytes) {
        w->at++;
        w->done = 0;
    }
    return rc;
}

static void release(struct st_writer *w)
{
    for (int i = 0; i < w->n; i++) free(w->t[i].name);
    free(w->t);
    json_decref(w->meta);
    free(w);
}

int st_finish(struct st_writer *w, struct err *e)
{
    int rc = w->at == w->n ? out_commit(&w->out, e)
                           : err_set(e, E_BUG, "safetensors_write: %d of %d tensors written", w->at, w->n);
    if (rc) out_abort(&w->out);
    release(w);
    return rc;
}

void st_discard(struct st_writer *w)
{
    if (!w) return;
    out_abort(&w->out);
    release(w);
}
