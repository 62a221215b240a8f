/* checkpoint.c: see checkpoint.h. */
#include "libcommon/train/checkpoint.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
#include "libcommon/base/out.h"
#include "libcommon/base/sums.h"
#include "libcommon/format/json.h"
#include "libcommon/format/safetensors.h"
#include "libcommon/format/safetensors_write.h"
#include "libcommon/train/identity.h"

#define CKPT_VERSION 2
#define GONE         ".gone-" /* prefix of a checkpoint that is being removed */
#define STATE_MAX    ((size_t)1 << 30)

static char *checkpoints_dir(const char *run) { return path_join(run, "checkpoints"); }

/* Steps for which a directory step-N exists, descending: their number, or E_NOINPUT. */
static int list_steps(const char *dir, int64_t **step, struct err *e)
{
    char **name = NULL;
    int n = file_exists(dir) ? dir_list(dir, &name, e) : 0, found = 0;
    *step = mem_alloc((size_t)(n > 0 ? n : 0) + 1, sizeof **step);
    for (int i = 0; i < n; i++) {
        int64_t s;
        if (!strncmp(name[i], "step-", 5) && num_i64(name[i] + 5, strlen(name[i] + 5), &s)) {
            int at = found++;
            for (; at > 0 && (*step)[at - 1] < s; at--) (*step)[at] = (*step)[at - 1];
            (*step)[at] = s;
        }
        free(name[i]);
    }
    free(name);
    return n < 0 ? n : found;
}

static char *step_dir(const char *dir, int64_t step) { return mem_printf("%s/step-%06lld", dir, (long long)step); }

/* MANIFEST lists exactly the files that are there. */
static int check_manifest(const char *dir, struct err *e)
{
    struct sums s = {0};
    int rc = sums_read(&s, dir, E_CHECKPOINT, e);
    char *foreign = rc ? NULL : sums_foreign(&s, dir);
    if (foreign) rc = err_set(e, E_CHECKPOINT, "%s: has %s, which its %s does not list", dir, foreign, SUMS_FILE);
    if (!rc) rc = sums_check(&s, dir, E_CHECKPOINT, e);
    free(foreign);
    sums_fini(&s);
    return rc;
}

static json_t *read_state(const char *dir, struct err *e)
{
    char *p = path_join(dir, "state.json");
    json_t *s = json_parse_file(p, STATE_MAX, E_CHECKPOINT, e);
    free(p);
    return s;
}

/* 1: good and of this run; 0: good, of another run; < 0: damaged. */
static int inspect(const char *dir, int64_t step, const char *fingerprint, struct err *e)
{
    int rc = check_manifest(dir, e);
    if (rc) return rc;
    json_t *s = read_state(dir, e);
    if (!s) return -e->id;
    const char *f = json_string_value(json_object_get(s, "fingerprint"));
    if (json_integer_value(json_object_get(s, "version")) != CKPT_VERSION)
        rc = err_set(e, E_VERSION, "%s: checkpoint of another format version", dir);
    else if (json_integer_value(json_object_get(s, "step")) != step) /* which MANIFEST has no word about */
        rc = err_set(e, E_CHECKPOINT, "%s: was written by another step than its name says", dir);
    else
        rc = f && !strcmp(f, fingerprint);
    json_decref(s);
    return rc;
}

/* What a checkpoint of another run was made of that is not so now; malloc'ed, NULL: it does not say. */
static char *difference(const char *dir, const char *identity)
{
    struct err unread = {0};
    json_t *s = read_state(dir, &unread);
    const char *was = json_string_value(json_object_get(s, "identity"));
    char *text = was ? identity_difference(was, identity) : NULL;
    json_decref(s);
    return text;
}

int ckpt_find(const char *run, const char *fingerprint, const char *identity, char **path, int64_t *step, struct err *e)
{
    char *dir = checkpoints_dir(run);
    size_t damaged = 0, other = 0;
    char *differs = NULL;
    int64_t *steps;
    int n = list_steps(dir, &steps, e), found = n < 0 ? n : 0;
    for (int i = 0; i < n && !found; i++) {
        char *p = step_dir(dir, steps[i]);
        struct err why = {0};
        int rc = inspect(p, steps[i], fingerprint, &why);
        if (rc < 0) {
            msg_warn("%s; passed over", why.msg);
            damaged++;
        } else if (!rc) {
            if (!other++) differs = difference(p, identity);
        } else {
            found = 1;
            *path = p;
            *step = steps[i];
            p = NULL;
        }
        free(p);
    }
    free(steps);
    if (!found && other) {
        found = err_set(e, E_MISMATCH, "%s: its checkpoints belong to a run with other options, data or base%s%s", dir,
                        differs ? ": " : "", differs ? differs : "");
        err_hint(e, "use the same options to resume, another -o, or -f to start over");
    } else if (!found && damaged) {
        found = err_set(e, E_CHECKPOINT, "%s: all %zu checkpoints are damaged; nothing was removed", dir, damaged);
        err_hint(e, "-f starts the run over");
    }
    free(differs);
    free(dir);
    return found;
}

static int save_arrays(const char *path, const struct ckpt_array *a, int n, struct err *e)
{
    struct st_writer *w = st_create(path, true, e);
    if (!w) return -e->id;
    const struct ckpt_array **there = mem_alloc((size_t)n, sizeof *there);
    int n_there = 0, rc = 0;
    for (int i = 0; i < n && !rc; i++) {
        if (!a[i].n) continue;
        there[n_there++] = &a[i];
        int64_t shape[1] = {a[i].n};
        rc = st_declare(w, a[i].name, "F32", 1, shape, e);
    }
    if (!rc) rc = st_begin(w, e);
    for (int i = 0; i < n_there && !rc; i++) {
        const struct ckpt_array *t = there[st_order(w, i)];
        rc = st_data(w, t->data, (size_t)t->n * 4, e);
    }
    free(there);
    if (rc) return st_discard(w), rc;
    return st_finish(w, e);
}

/* What a removal that was interrupted has left. */
static void sweep(const char *dir)
{
    struct err unread = {0};
    char **name;
    int n = dir_list(dir, &name, &unread);
    for (int i = 0; i < n; i++) {
        char *p = path_join(dir, name[i]);
        if (!strncmp(name[i], GONE, strlen(GONE))) tree_remove(p);
        free(p);
        free(name[i]);
    }
    if (n >= 0) free(name);
}

/* First out of sight in one rename, so that a half-removed one is never taken for damaged. */
static void remove_step(const char *dir, const char *path, int64_t step)
{
    char *gone = mem_printf("%s/" GONE "%06lld", dir, (long long)step);
    out_unfinished_add(gone); /* should the process give up in the midst of it */
    if (rename(path, gone) == 0) {
        out_unfinished_remove(gone);
        return;
    }
    msg_warn("%s: cannot be removed (%s): there are more checkpoints than --keep says", path, strerror(errno));
    out_unfinished_forget(gone);
    free(gone);
}

void ckpt_tidy(const char *run, int64_t newest, const char *fingerprint, int64_t keep)
{
    char *dir = checkpoints_dir(run);
    struct err e = {0};
    int64_t *steps, kept = 0;
    int n = list_steps(dir, &steps, &e);
    sweep(dir);
    for (int i = 0; i < n; i++) {
        if (steps[i] > newest) continue;
        char *p = step_dir(dir, steps[i]);
        struct err why = {0};
        bool good = steps[i] == newest || inspect(p, steps[i], fingerprint, &why) == 1;
        if (good && kept++ >= keep) remove_step(dir, p, steps[i]);
        if (why.id == E_IO || why.id == E_NOINPUT) e = why;
        free(p);
    }
    if (e.id) msg_warn("%s: there may be more checkpoints than --keep says", e.msg);
    free(steps);
    free(dir);
}

int ckpt_save(const char *run, int64_t step, const char *fingerprint, const struct adapter *a, const struct model *m,
              const struct ckpt_array *arrays, int n, json_t *state, int64_t keep, struct err *e)
{
    char *dir = checkpoints_dir(run), *path = step_dir(dir, step);
    struct outdir od = {0};
    json_object_set_new(state, "version", json_integer(CKPT_VERSION));
    json_object_set_new(state, "fingerprint", json_string(fingerprint));
    char *text = json_dumps(state, JSON_SORT_KEYS | JSON_INDENT(1));
    int rc = outdir_open(&od, path, OUTDIR_REPLACE_OWN, e);
    if (!rc) {
        char *ad = path_join(od.tmp, "adapter"), *st = path_join(od.tmp, "state.safetensors");
        rc = adapter_save_trained(a, ad, OUTDIR_REPLACE_OWN, m, e);
        if (!rc) rc = save_arrays(st, arrays, n, e);
        free(ad);
        free(st);
    }
    if (!rc) rc = outdir_put(&od, "state.json", text, strlen(text), e);
    if (!rc) rc = outdir_seal(&od, e);
    if (!rc)
        rc = outdir_commit(&od, e);
    else
        outdir_abort(&od);
    if (!rc) ckpt_tidy(run, step, fingerprint, keep);
    free(text);
    free(path);
    free(dir);
    return rc;
}

int ckpt_load(const char *path, struct ckpt_array *arrays, int n, json_t **state, struct err *e)
{
    char *p = path_join(path, "state.safetensors");
    struct safetensors *st = safetensors_open(p, e);
    free(p);
    if (!st) return -e->id;
    int rc = 0;
    for (int i = 0; i < n && !rc; i++) {
        const struct st_tensor *t = safetensors_find(st, arrays[i].name);
        if (!t && arrays[i].n == -1) {
            arrays[i].n = 0;
            continue;
        }
        if (!t || strcmp(t->dtype, "F32") || t->ndim != 1 || (arrays[i].n != -1 && t->shape[0] != arrays[i].n)) {
            rc = err_set(e, E_CHECKPOINT, "%s: state.safetensors has no f32 array %s of the run's size", path,
                         arrays[i].name);
            continue;
        }
        if (arrays[i].n == -1) {
            arrays[i].n = (long)t->shape[0];
            arrays[i].data = mem_alloc((size_t)arrays[i].n, 4);
        }
        memcpy(arrays[i].data, t->data, (size_t)arrays[i].n * 4);
    }
    safetensors_close(st);
    if (rc) return rc;
    *state = read_state(path, e);
    return *state ? 0 : -e->id;
}
