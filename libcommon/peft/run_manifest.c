/* run_manifest.c: see run_manifest.h. */
#include "libcommon/peft/run_manifest.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/out.h"
#include "libcommon/format/json.h"
#include "libcommon/peft/adapter.h"
#include "libcommon/peft/lora_set.h"

enum { MANIFEST_MAX = 64 << 20 };
#define ADAPTER_BELOW "adapter/" /* where a run and a checkpoint have theirs */

char *adapter_find(const char *dir, struct err *e)
{
    static const char *const below[] = {ADAPTER_CONFIG, ADAPTER_BELOW ADAPTER_CONFIG};
    for (int i = 0; i < 2; i++) {
        char *path = path_join(dir, below[i]);
        bool there = file_exists(path);
        free(path);
        if (there) return i ? path_join(dir, "adapter") : mem_dupz(dir);
    }
    if (lora_gguf_is(dir)) return mem_dupz(dir);
    if (!file_exists(dir))
        err_set(e, E_NOINPUT, "%s: no such directory", dir);
    else
        err_set(e, E_ADAPTER, "%s: neither %s nor %s is there", dir, below[0], below[1]);
    return NULL;
}

/* Another adapter beside a run's is none of the run's business. */
static bool is_the_adapter_of(const char *above, const char *dir)
{
    struct stat a, b;
    char *own = path_join(above, "adapter");
    bool yes = !stat(own, &a) && !stat(dir, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    free(own);
    return yes;
}

static json_t *manifest_in(const char *run, struct err *e)
{
    char *path = path_join(run, "manifest.json");
    json_t *m = file_exists(path) ? json_parse_file(path, MANIFEST_MAX, E_ADAPTER, e) : NULL;
    const char *tool = json_string_value(json_object_get(m, "tool"));
    free(path);
    if (!m || (tool && !strcmp(tool, "peft-train"))) return m;
    json_decref(m); /* of something else */
    return NULL;
}

json_t *run_manifest_of(const char *adapter_dir, struct err *e)
{
    char *run = path_join(adapter_dir, "..");
    json_t *m = is_the_adapter_of(run, adapter_dir) ? manifest_in(run, e) : NULL;
    free(run);
    return m;
}

int run_manifest_quantized(const char *given, struct err *e)
{
    char *dir = adapter_find(given, e);
    json_t *man = dir ? run_manifest_of(dir, e) : NULL;
    const char *q = json_string_value(json_object_get(man, "base_quantize"));
    const int yes = q && !strcmp(q, "nf4");
    json_decref(man);
    free(dir);
    return e->id ? -e->id : yes;
}

int run_manifest_sums(const json_t *manifest, const char *below, struct sums *s, struct err *e)
{
    const char *name;
    json_t *hex;
    unsigned char d[32];
    json_t *files = json_object_get(manifest, "files");
    if (files && !json_is_object(files))
        return err_set(e, E_ADAPTER, "manifest.json: files: expected names with their SHA-256");
    json_object_foreach(files, name, hex)
    {
        if (strncmp(name, below, strlen(below)) != 0) continue;
        if (digest_parse(json_string_value(hex), d))
            return err_set(e, E_ADAPTER, "manifest.json: files: %s: expected a SHA-256", err_quotez(name));
        if (!sums_is_below(name))
            return err_set(e, E_ADAPTER, "manifest.json: files: %s: is no file of the run", err_quotez(name));
        sums_put(s, name, d);
    }
    return 0;
}

/* A checkpoint lists its files in MANIFEST. */
static int checkpoint_sums(const char *ckpt, struct sums *s, struct err *e)
{
    char *path = path_join(ckpt, SUMS_FILE);
    int rc = file_exists(path) ? sums_read(s, ckpt, E_ADAPTER, e) : 0;
    free(path);
    return rc;
}

int adapter_check_written(const char *adapter_dir, struct err *e)
{
    struct sums s = {0};
    char *above = path_join(adapter_dir, "..");
    if (is_the_adapter_of(above, adapter_dir)) {
        json_t *m = manifest_in(above, e);
        if (m)
            run_manifest_sums(m, ADAPTER_BELOW, &s, e);
        else if (!e->id)
            checkpoint_sums(above, &s, e);
        json_decref(m);
        if (!e->id && sums_check(&s, above, E_ADAPTER, e))
            err_hint(e, "it was changed or damaged after the training; a copy of it elsewhere is taken as it is");
    }
    sums_fini(&s);
    free(above);
    return -e->id;
}
