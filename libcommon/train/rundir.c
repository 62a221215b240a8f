/* rundir.c: see rundir.h. */
#include "libcommon/train/rundir.h"
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/json.h"
#include "libcommon/peft/run_manifest.h"

static const char *const ours[] = {"adapter",       "checkpoints",   "metrics.mpz",
                                   "telemetry.mpz", "manifest.json", "config.yaml"};

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strcmp(name, ours[i])) return true;
    return name[0] == '.'; /* temporaries of an interrupted run */
}

/* How many entries of a run the directory has, 0 if it is not there; E_EXISTS: one of them is not a run's. */
static int survey(const char *run, struct err *e)
{
    char **name = NULL;
    int n = file_exists(run) ? dir_list(run, &name, e) : 0, ours_n = 0;
    for (int i = 0; i < n; i++) {
        if (!is_ours(name[i]) && !e->id) {
            err_set(e, E_EXISTS, "%s: is no run directory: it has %s", run, err_quotez(name[i]));
            err_hint(e, "give another -o");
        }
        ours_n += strcmp(name[i], lock_name) != 0;
        free(name[i]);
    }
    free(name);
    return e->id ? -e->id : ours_n;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static int may_be_used(const struct rundir *d, struct err *e)
{
    if (d->resume) return 0;
    int n = survey(d->path, e);
    if (n < 0) return n;
    if (n > 0 && !d->force) {
        err_set(e, E_EXISTS, "%s: holds a run already", d->path);
        return err_hint(e, "--resume continues it, -f starts it over");
    }
    return 0;
}

int rundir_open(struct rundir *d, const char *run, bool resume, bool force, struct err *e)
{
    *d = (struct rundir){.path = run, .resume = resume, .force = force};
    int rc = may_be_used(d, e); /* before a lock is left in a directory of others */
    if (!rc && file_is_dir(run)) rc = lock_take(&d->lock, run, e);
    return rc || !d->lock.path ? rc : may_be_used(d, e);
}

/* A directory that was not there when the run began. Whoever has made it first has it. */
static int make_new(struct rundir *d, struct err *e)
{
    if (dir_make(d->path, e)) return out_hint_parent(d->path, e), -e->id;
    if (lock_take(&d->lock, d->path, e)) return -e->id;
    int n = survey(d->path, e);
    return n > 0 ? err_set(e, E_EXISTS, "%s: came into being meanwhile", d->path) : n;
}

int rundir_make(struct rundir *d, struct err *e)
{
    if (!d->lock.path && make_new(d, e)) return -e->id;
    if (d->force && !d->resume)
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
            char *p = path_join(d->path, ours[i]);
            nftw(p, remove_one, 16, FTW_DEPTH | FTW_PHYS);
            free(p);
        }
    char *ck = path_join(d->path, "checkpoints");
    dir_make(ck, e);
    free(ck);
    return -e->id;
}

void rundir_close(struct rundir *d) { lock_release(&d->lock); }

/* What a finished run has made is still there, as it was made. */
static int check_files(const char *run, const json_t *manifest, struct err *e)
{
    struct sums s = {0};
    int rc = run_manifest_sums(manifest, "", &s, e);
    if (!rc) rc = sums_check(&s, run, E_ADAPTER, e);
    if (rc)
        err_hint(e, "without %s/manifest.json, --resume makes it anew from the last checkpoint; -f starts over", run);
    sums_fini(&s);
    return rc;
}

int rundir_finished(const char *run, const char *fingerprint, struct err *e)
{
    char *p = path_join(run, "manifest.json");
    int rc = 0;
    if (file_exists(p)) {
        json_t *m = json_parse_file(p, 64u << 20, E_CHECKPOINT, e);
        const char *f = json_string_value(json_object_get(m, "fingerprint"));
        rc = !m ? -e->id : f && !strcmp(f, fingerprint);
        if (!rc) {
            rc = err_set(e, E_MISMATCH, "%s: finished by a run with other options, data or base", run);
            err_hint(e, "-f starts it over");
        }
        if (rc == 1 && check_files(run, m, e)) rc = -e->id;
        json_decref(m);
    }
    free(p);
    return rc;
}
