/* hfdir: see hfdir.h. */
#include "libcommon/format/hfdir.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/json.h"

enum { MAX_CONFIG = 4 << 20, MAX_INDEX = 64 << 20 };

static bool plain_name(const char *s)
{
    size_t n = strlen(s);
    return n > 12 && n < 256 && s[0] != '.' && s[0] != '-' && !strchr(s, '/') && !strcmp(s + n - 12, ".safetensors");
}

int hfdir_index(const char *text, size_t n, const char *name, json_t **map, struct err *e)
{
    json_t *j = json_parse(text, n, name, E_MODEL, e);
    if (!j) return -e->id;
    json_t *m = json_object_get(j, "weight_map"), *v;
    const char *key;
    int rc = 0;
    if (!json_is_object(m) || json_object_size(m) == 0)
        rc = err_set(e, E_MODEL, "%s: weight_map missing or empty", name);
    json_object_foreach(m, key, v)
    {
        if (rc) break;
        if (!json_is_string(v))
            rc = err_set(e, E_MODEL, "%s: weight_map: %s is given no file name", name, err_quotez(key));
        else if (!plain_name(json_string_value(v)))
            rc = err_set(e, E_POLICY, "%s: weight_map: %s is no plain name of a .safetensors file", name,
                         err_quotez(json_string_value(v)));
    }
    if (!rc) *map = json_incref(m);
    json_decref(j);
    return rc;
}

static int by_string(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* A name of the directory becomes a path of h; it must lead to a regular file. */
static int add_file(struct hfdir *h, const char *dir, const char *name, struct err *e)
{
    char *path = path_join(dir, name);
    struct stat st;
    int rc = 0;
    if (stat(path, &st))
        rc = err_sys(e, E_NOINPUT, "%s", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, E_POLICY, "%s: not a regular file", path);
    if (rc)
        free(path);
    else
        h->file[h->n++] = path;
    return rc;
}

static int add_shards(struct hfdir *h, const char *dir, struct err *e)
{
    size_t count = json_object_size(h->weight_map), i = 0;
    const char *key, **name = mem_alloc(count, sizeof *name);
    json_t *v;
    json_object_foreach(h->weight_map, key, v) name[i++] = json_string_value(v);
    qsort(name, count, sizeof *name, by_string);
    h->file = mem_alloc(count, sizeof *h->file);
    int rc = 0;
    for (i = 0; i < count && !rc; i++)
        if (i == 0 || strcmp(name[i - 1], name[i])) rc = add_file(h, dir, name[i], e);
    free(name);
    return rc;
}

static bool has(const char *dir, const char *name)
{
    char *path = path_join(dir, name);
    bool yes = file_exists(path);
    free(path);
    return yes;
}

static int no_weights(const char *dir, struct err *e)
{
    if (has(dir, "pytorch_model.bin") || has(dir, "pytorch_model.bin.index.json")) {
        err_set(e, E_POLICY, "%s: has only pickled weights (pytorch_model.bin), which are never read", dir);
        return err_hint(e, "convert it to safetensors first (save_pretrained with safe_serialization=True)");
    }
    return err_set(e, E_MODEL, "%s: no model.safetensors and no model.safetensors.index.json", dir);
}

static int find_files(struct hfdir *h, const char *dir, struct err *e)
{
    if (has(dir, "model.safetensors")) {
        h->file = mem_alloc(1, sizeof *h->file);
        return add_file(h, dir, "model.safetensors", e);
    }
    if (!has(dir, "model.safetensors.index.json")) return no_weights(dir, e);
    char *path = path_join(dir, "model.safetensors.index.json");
    size_t n;
    char *text = file_read(path, MAX_INDEX, &n, e);
    int rc = text ? hfdir_index(text, n, path, &h->weight_map, e) : -e->id;
    free(text);
    free(path);
    return rc ? rc : add_shards(h, dir, e);
}

int hfdir_open(struct hfdir *h, const char *dir, struct err *e)
{
    memset(h, 0, sizeof *h);
    if (!has(dir, "config.json")) {
        err_set(e, E_MODEL, "%s: no config.json; not a model directory", dir);
        if (has(dir, "adapter_config.json"))
            err_hint(e, "it is an adapter: give it with -a, and its base model with -m");
        return -e->id;
    }
    char *path = path_join(dir, "config.json");
    size_t n;
    h->config_json = file_read(path, MAX_CONFIG, &n, e);
    json_t *j = h->config_json ? json_parse(h->config_json, n, path, E_MODEL, e) : NULL;
    free(path);
    json_decref(j);
    int rc = j ? find_files(h, dir, e) : -e->id;
    if (rc) hfdir_fini(h);
    return rc;
}

void hfdir_fini(struct hfdir *h)
{
    for (int i = 0; i < h->n; i++) free(h->file[i]);
    free(h->file);
    free(h->config_json);
    json_decref(h->weight_map);
    memset(h, 0, sizeof *h);
}
