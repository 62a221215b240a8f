/* weights: see weights.h. Tensors of types that cannot be computed with are refused here, by name, so that nothing
 * behind this file meets a type outside kernels/dtypes.def. */
#include "libcommon/format/weights.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/digest_cache.h"
#include "libcommon/format/finite.h"
#include "libcommon/format/gguf.h"
#include "libcommon/format/hfdir.h"
#include "libcommon/format/hub.h"
#include "libcommon/format/safetensors.h"

struct impl {
    struct safetensors **st; /* HF: one per file */
    int n;
    char **names;       /* GGUF: translated names, one per tensor; a view: its copies */
    struct filemap map; /* of a view */
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int sort_and_check(struct weights *w, enum err_id id, struct err *e)
{
    if (w->n == 0) return err_set(e, id, "%s: no tensors", w->path);
    qsort(w->t, (size_t)w->n, sizeof *w->t, by_name);
    for (int i = 1; i < w->n; i++)
        if (!strcmp(w->t[i - 1].name, w->t[i].name))
            return err_set(e, id, "%s: tensor %s is there twice", w->path, err_quotez(w->t[i].name));
    return 0;
}

/* ---- values -------------------------------------------------------------------------------- */

struct values {
    const struct weights *w;
    const struct tensor *bad; /* NULL: all are finite so far */
    int64_t index;            /* of the value in it */
};

/* The blocks of the tensor that begin within the n bytes at `from`. */
static bool tensor_finite(struct values *v, const struct tensor *t, const char *from, size_t n)
{
    const char *data = t->data;
    const size_t block = (size_t)dtype_info[t->dtype].bytes;
    if (from + n <= data || from >= data + t->bytes) return true;
    const size_t before = from > data ? (size_t)(from - data) : 0, behind = (size_t)(from + n - data);
    const size_t first = (before + block - 1) / block * block;
    size_t end = (behind + block - 1) / block * block;
    if (end > t->bytes) end = t->bytes;
    const int64_t at = first < end ? finite_first_not(t->dtype, data + first, end - first) : -1;
    if (at < 0) return true;
    v->bad = t;
    v->index = (int64_t)(first / block) * dtype_info[t->dtype].block + at;
    return false;
}

static bool values_finite(void *ctx, const void *data, size_t n)
{
    struct values *v = ctx;
    for (int i = 0; i < v->w->n; i++)
        if (!tensor_finite(v, &v->w->t[i], data, n)) return false;
    return true;
}

/* Of the first in the file that is not finite. */
static int refuse_value(const struct weights *w, const struct values *v, enum err_id id, struct err *e)
{
    err_set(e, id, "%s: tensor %s: value %lld%s is infinite or NaN", w->path, err_quotez(v->bad->name),
            (long long)v->index, dtype_info[v->bad->dtype].block > 1 ? " and those of its block" : "");
    return err_hint(e, "all results would be NaN: get the file again, or convert it again from its source");
}

static int check_and_digest(struct weights *w, const struct filemap *const *part, int n, enum err_id id, struct err *e)
{
    struct values v = {.w = w};
    return digest_files(part, n, values_finite, &v, w->digest) ? 0 : refuse_value(w, &v, id, e);
}

/* ---- GGUF ---------------------------------------------------------------------------------- */

static int dtype_of_gguf(uint32_t type)
{
    for (int i = 0; i < DT_COUNT; i++)
        if (dtype_info[i].gguf >= 0 && (uint32_t)dtype_info[i].gguf == type) return i;
    return -1;
}

static int gguf_arch(struct weights *w, struct err *e)
{
    struct str arch = {0};
    int64_t parts = 1;
    int rc = gguf_get_str(w->gguf, "general.architecture", &arch, e);
    if (rc < 0) return rc;
    if (rc == 0) return err_set(e, E_GGUF, "%s: key general.architecture is missing", w->path);
    rc = gguf_get_i64(w->gguf, "split.count", &parts, e);
    if (rc < 0) return rc;
    if (parts > 1)
        return err_set(e, E_VERSION, "%s: one of %lld parts; split GGUF files are not supported", w->path,
                       (long long)parts);
    return 0;
}

static int open_gguf(struct weights *w, struct err *e)
{
    struct impl *im = w->impl;
    w->kind = WEIGHTS_GGUF;
    w->gguf = gguf_open(w->path, e);
    if (!w->gguf) return -e->id;
    int rc = gguf_arch(w, e);
    if (rc) return rc;
    int n = w->gguf->n_t;
    w->t = mem_alloc((size_t)n, sizeof *w->t);
    im->names = mem_alloc((size_t)n, sizeof *im->names);
    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *g = &w->gguf->t[i];
        struct tensor *t = &w->t[i];
        int type = dtype_of_gguf(g->type);
        if (type < 0) {
            err_set(e, E_ARCH, "%s: tensor %s: type %s is not supported yet", w->path, err_quotez(g->name),
                    gguf_type_name(g->type));
            return err_hint(e, "take the same model as F16, BF16, Q8_0, Q4_0 or Q4_1; or its Hugging Face directory, "
                               "with --quantize nf4 if memory is short");
        }
        im->names[i] = mem_dupz(g->name);
        im->n = w->n = i + 1;
        t->name = im->names[i];
        t->dtype = (enum dtype)type;
        t->ndim = g->n_dims;
        for (int d = 0; d < g->n_dims; d++) t->shape[d] = g->ne[g->n_dims - 1 - d];
        t->data = g->data;
        t->bytes = g->bytes;
    }
    rc = sort_and_check(w, E_GGUF, e);
    return rc ? rc : check_and_digest(w, &(const struct filemap *){&w->gguf->map}, 1, E_GGUF, e);
}

int weights_rename(struct weights *w, const struct gguf_names *names, struct err *e)
{
    struct impl *im = w->impl;
    for (int i = 0; w->kind == WEIGHTS_GGUF && i < w->n; i++) {
        char hf[GGUF_NAME_MAX];
        const char *old = w->t[i].name;
        if (!gguf_name_to_hf(names, old, hf)) continue;
        int k = 0;
        while (im->names[k] != old) k++;
        w->t[i].name = mem_dupz(hf);
        im->names[k] = (char *)w->t[i].name;
        free((char *)old);
    }
    return sort_and_check(w, E_GGUF, e);
}

/* ---- Hugging Face directory ---------------------------------------------------------------- */

static int dtype_of_safetensors(const char *name)
{
    for (int i = 0; i < DT_COUNT; i++)
        if (!strcmp(dtype_info[i].safetensors, name)) return i;
    return -1;
}

static int add_tensor(struct weights *w, const struct st_tensor *s, const char *file, struct err *e)
{
    struct tensor *t = &w->t[w->n];
    int type = dtype_of_safetensors(s->dtype);
    if (type < 0) {
        err_set(e, E_ARCH, "%s: tensor %s: type %s is not supported yet", file, err_quotez(s->name), s->dtype);
        if (!strcmp(s->dtype, "U8")) /* what bitsandbytes stores */
            err_hint(e, "if the model was quantised before it was saved: take the one it was made from, "
                        "and --quantize nf4");
        return -e->id;
    }
    if (s->ndim > 4)
        return err_set(e, E_ARCH, "%s: tensor %s: %d dimensions, supported are up to 4", file, err_quotez(s->name),
                       s->ndim);
    t->name = s->name;
    t->dtype = (enum dtype)type;
    t->ndim = s->ndim;
    memcpy(t->shape, s->shape, sizeof t->shape);
    t->data = s->data;
    t->bytes = s->end - s->begin;
    w->n++;
    return 0;
}

/* With an index: the tensors of the files are exactly those that it names, each in its file. */
static int check_index(const struct weights *w, const struct hfdir *h, struct err *e)
{
    const struct impl *im = w->impl;
    size_t seen = 0;
    for (int f = 0; f < im->n; f++)
        for (int i = 0; i < im->st[f]->n; i++) {
            const char *name = im->st[f]->t[i].name, *base = strrchr(h->file[f], '/');
            const char *want = json_string_value(json_object_get(h->weight_map, name));
            if (!want || strcmp(want, base ? base + 1 : h->file[f]))
                return err_set(e, E_MODEL, "%s: tensor %s is here, the index has it in %s", h->file[f],
                               err_quotez(name), want ? err_quotez(want) : "no file");
            seen++;
        }
    if (seen == json_object_size(h->weight_map)) return 0;
    const char *key;
    json_t *v;
    json_object_foreach(h->weight_map, key, v) if (!weights_find(w, key)) return err_set(
        e, E_MODEL, "%s: the index has tensor %s in %s, which does not have it", w->path, err_quotez(key),
        err_quotez(json_string_value(v)));
    return err_set(e, E_MODEL, "%s: index and files do not have the same tensors", w->path);
}

static int map_files(struct weights *w, const struct hfdir *h, struct err *e)
{
    struct impl *im = w->impl;
    int total = 0;
    im->st = mem_alloc((size_t)h->n, sizeof *im->st);
    for (int f = 0; f < h->n; f++) {
        im->st[f] = safetensors_open(h->file[f], e);
        if (!im->st[f]) return -e->id;
        im->n = f + 1;
        total += im->st[f]->n;
    }
    w->t = mem_alloc((size_t)total, sizeof *w->t);
    for (int f = 0; f < h->n; f++)
        for (int i = 0; i < im->st[f]->n; i++) {
            int rc = add_tensor(w, &im->st[f]->t[i], h->file[f], e);
            if (rc) return rc;
        }
    int rc = sort_and_check(w, E_MODEL, e);
    return rc || !h->weight_map ? rc : check_index(w, h, e);
}

static int open_hf(struct weights *w, struct err *e)
{
    struct impl *im = w->impl;
    struct hfdir h;
    w->kind = WEIGHTS_HF;
    int rc = hfdir_open(&h, w->path, e);
    if (rc) return rc;
    rc = map_files(w, &h, e);
    if (!rc) {
        const struct filemap **part = mem_alloc((size_t)h.n, sizeof *part);
        for (int f = 0; f < h.n; f++) part[f] = &im->st[f]->map;
        rc = check_and_digest(w, part, h.n, E_MODEL, e);
        free(part);
        w->config_json = h.config_json;
        h.config_json = NULL;
    }
    hfdir_fini(&h);
    return rc;
}

/* ---- either -------------------------------------------------------------------------------- */

static int open_file(struct weights *w, struct err *e)
{
    size_t n = strlen(w->path);
    if (n > 12 && !strcmp(w->path + n - 12, ".safetensors")) {
        err_set(e, E_MODEL, "%s: a .safetensors file alone has no configuration", w->path);
        return err_hint(e, "give the directory that holds it and config.json");
    }
    if ((n > 3 && !strcmp(w->path + n - 3, ".pt")) || (n > 4 && !strcmp(w->path + n - 4, ".bin"))) {
        err_set(e, E_POLICY, "%s: pickled weights are never read", w->path);
        return err_hint(e, "use a Hugging Face directory with safetensors, or a .gguf file");
    }
    return open_gguf(w, e);
}

/* A name such as "org/name" is what Python programs fetch from the Hub: nothing is fetched here, but a copy that they
 * have left may be there. */
static int absent(const char *path, struct err *e)
{
    err_set(e, E_NOINPUT, "%s: no such file or directory", path);
    if (!hub_name(path)) return -e->id;
    char *dir = hub_cached(path);
    if (dir)
        err_hint(e, "there is a copy of the Hub's model: %s", dir);
    else
        err_hint(e, "if it is a model of the Hub: nothing is fetched here; get it with: hf download %s --local-dir DIR",
                 path);
    free(dir);
    return -e->id;
}

struct weights *weights_open(const char *path, struct err *e)
{
    struct weights *w = mem_alloc(1, sizeof *w);
    w->path = mem_dupz(path);
    w->impl = mem_alloc(1, sizeof(struct impl));
    int rc = !file_exists(path) ? absent(path, e) : file_is_dir(path) ? open_hf(w, e) : open_file(w, e);
    if (rc == 0) return w;
    weights_close(w);
    return NULL;
}

struct weights *weights_view(const char *path, const char *config_json, const struct tensor *t, int n,
                             struct filemap map, struct err *e)
{
    struct weights *w = mem_alloc(1, sizeof *w);
    struct impl *im = w->impl = mem_alloc(1, sizeof *im);
    w->kind = WEIGHTS_HF;
    w->path = mem_dupz(path);
    w->config_json = mem_dupz(config_json);
    w->t = mem_alloc((size_t)n, sizeof *w->t);
    im->names = mem_alloc((size_t)n, sizeof *im->names);
    im->map = map;
    for (int i = 0; i < n; i++) {
        w->t[i] = t[i];
        w->t[i].name = im->names[i] = mem_dupz(t[i].name);
    }
    im->n = w->n = n;
    struct values v = {.w = w};
    int rc = sort_and_check(w, E_MODEL, e);
    if (!rc && !values_finite(&v, map.data, map.size)) rc = refuse_value(w, &v, E_MODEL, e);
    if (!rc) return w;
    weights_close(w);
    return NULL;
}

void weights_close(struct weights *w)
{
    if (!w) return;
    struct impl *im = w->impl;
    for (int i = 0; i < im->n; i++) {
        if (im->st) safetensors_close(im->st[i]);
        if (im->names) free(im->names[i]);
    }
    if (im->map.data) filemap_close(&im->map);
    free(im->st);
    free(im->names);
    free(im);
    gguf_close(w->gguf);
    free(w->config_json);
    free(w->t);
    free(w->path);
    free(w);
}

void weights_forget(const struct weights *w)
{
    const struct impl *im = w->impl;
    for (int i = 0; i < im->n; i++)
        if (im->st && im->st[i]) filemap_forget(&im->st[i]->map);
    filemap_forget(&im->map);
    if (w->gguf) filemap_forget(&w->gguf->map);
}

const struct tensor *weights_find(const struct weights *w, const char *name)
{
    struct tensor key = {.name = name};
    return w->n ? bsearch(&key, w->t, (size_t)w->n, sizeof *w->t, by_name) : NULL;
}
