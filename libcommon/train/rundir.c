/* rundir.c: see rundir.h. */
#include "libcommon/train/rundir.h"
#include <dirent.h>
#include <errno.h>
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

static const char *const ours[] = {"adapter",       "checkpoints",   "metrics.mpz",
                                   "telemetry.mpz", "manifest.json", "config.yaml"};

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strcmp(name, ours[i])) return true;
    return name[0] == '.'; /* temporaries of an interrupted run */
}

/* Entries of the directory: -1 if one is not a run's, else their number. */
static int survey(const char *run, char foreign[256])
{
    int n = 0;
    DIR *d = opendir(run);
    for (struct dirent *f; d && (f = readdir(d));) {
        if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, "..")) continue;
        if (!is_ours(f->d_name)) {
            snprintf(foreign, 256, "%s", f->d_name);
            closedir(d);
            return -1;
        }
        n++;
    }
    if (d) closedir(d);
    return n;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

int rundir_check(const char *run, bool resume, bool force, struct err *e)
{
    char foreign[256];
    int n = survey(run, foreign);
    if (n < 0 && !resume) {
        err_set(e, E_EXISTS, "%s: is no run directory: it has %s", run, err_quotez(foreign));
        return err_hint(e, "give another -o");
    }
    if (n > 0 && !resume && !force) {
        err_set(e, E_EXISTS, "%s: holds a run already", run);
        return err_hint(e, "--resume continues it, -f starts it over");
    }
    return 0;
}

int rundir_make(const char *run, bool resume, bool force, struct err *e)
{
    if (force && !resume)
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
            char *p = path_join(run, ours[i]);
            nftw(p, remove_one, 16, FTW_DEPTH | FTW_PHYS);
            free(p);
        }
    char *ck = path_join(run, "checkpoints");
    int rc = 0;
    if ((mkdir(run, 0777) && errno != EEXIST) || (mkdir(ck, 0777) && errno != EEXIST))
        rc = err_sys(e, E_CREATE, "%s: cannot create the run directory", run);
    free(ck);
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
        json_decref(m);
    }
    free(p);
    return rc;
}
