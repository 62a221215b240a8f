/* outdir: one output directory. It is built as NAME.tmp-PID beside its final place and renamed when all of it is on
 * disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/base/sums.h"
#include "libcommon/base/tmpname.h"

/* Would replacing path pull the floor from under us? -f means an old result, never the directory that we stand in. */
static bool holds_cwd(const char *path)
{
    char *real = realpath(path, NULL), *cwd = getcwd(NULL, 0);
    size_t n = real ? strlen(real) : 0;
    bool yes = real && cwd && !strncmp(real, cwd, n) && (cwd[n] == '/' || !cwd[n] || n == 1);
    free(real);
    free(cwd);
    return yes;
}

/* -f means an earlier result of these tools: a directory with a MANIFEST that names all that is in it. */
static int check_made(const char *path, struct err *e)
{
    struct sums s = {0};
    struct err unread = {0};
    char *foreign = file_is_dir(path) ? sums_foreign(&s, path) : NULL;
    if (!file_is_dir(path)) {
        err_set(e, E_EXISTS, "%s: is a file, expected the name of a directory", path);
    } else if (foreign && sums_read(&s, path, E_EXISTS, &unread)) {
        err_set(e, E_EXISTS, "%s: was not made by these tools (it has no %s of theirs), and is not replaced", path,
                SUMS_FILE);
        err_hint(e, "give another name, or remove it yourself");
    } else if (foreign) {
        free(foreign);
        foreign = sums_foreign(&s, path);
        if (foreign) {
            err_set(e, E_EXISTS, "%s: holds %s, which these tools did not make, and is not replaced", path,
                    err_quotez(foreign));
            err_hint(e, "give another name, or move that file away");
        }
    }
    free(foreign);
    sums_fini(&s);
    return -e->id;
}

int outdir_open(struct outdir *d, const char *path, enum outdir_old old, struct err *e)
{
    *d = (struct outdir){.fd = -1, .old = old};
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    d->path = mem_dup(path, n);
    if (!*path_base(d->path) || !strcmp(path_base(d->path), ".") || !strcmp(path_base(d->path), ".."))
        err_set(e, E_CREATE, "%s: not a name for an output directory", err_quotez(path));
    else if (file_exists(d->path) && old == OUTDIR_KEEP) {
        err_set(e, E_EXISTS, "%s: exists", d->path);
        err_hint(e, "-f replaces it");
    } else if (file_exists(d->path) && holds_cwd(d->path))
        err_set(e, E_POLICY, "%s: is the current directory or holds it, and is not replaced", d->path);
    else if (file_exists(d->path) && old == OUTDIR_REPLACE_MADE)
        check_made(d->path, e);
    if (!e->id) {
        char *prefix = mem_printf("%s.tmp-", d->path);
        d->fd = tmp_create(prefix, true, &d->tmp);
        if (d->fd < 0) {
            err_sys(e, E_CREATE, "%s: cannot create a directory beside it", d->path);
            out_hint_parent(d->path, e);
        }
        free(prefix);
    }
    if (e->id) outdir_abort(d);
    return -e->id;
}

int outdir_put(struct outdir *d, const char *name, const void *data, size_t n, struct err *e)
{
    if (!path_is_single(name))
        return err_set(e, E_POLICY, "%s: %s is not a plain file name", d->path, err_quotez(name));
    int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) return err_sys(e, E_CREATE, "%s/%s", d->path, name);
    const char *p = data;
    while (n && !e->id) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0)
            err_sys(e, E_IO, "%s/%s: cannot write", d->path, name);
        else
            p += w, n -= (size_t)w;
    }
    if (!e->id && fsync(fd)) err_sys(e, E_IO, "%s/%s: cannot sync", d->path, name);
    if (close(fd) && !e->id) err_sys(e, E_IO, "%s/%s: cannot close", d->path, name);
    return -e->id;
}

int outdir_copy(struct outdir *d, const char *name, const char *from, struct err *e)
{
    struct filemap m;
    if (filemap_open(&m, from, e)) return -e->id;
    int rc = outdir_put(d, name, m.data, m.size, e);
    filemap_close(&m);
    return rc;
}

int outdir_seal(struct outdir *d, struct err *e)
{
    struct sums s = {0};
    struct buf text = {0};
    int rc = sums_add_tree(&s, d->tmp, "", e);
    sums_text(&s, &text);
    if (!rc) rc = outdir_put(d, SUMS_FILE, text.p, text.n, e);
    buf_fini(&text);
    sums_fini(&s);
    return rc;
}

static void forget_tmp(struct outdir *d)
{
    out_unfinished_forget(d->tmp);
    free(d->tmp);
    d->tmp = NULL;
}

int outdir_commit(struct outdir *d, struct err *e)
{
    bool swapped = false;
    if (filemap_check(true, e) || tree_sync(d->tmp, e)) goto done;
    if (d->old == OUTDIR_REPLACE_MADE && file_exists(d->path) && check_made(d->path, e)) goto done; /* still? */
    /* An old directory trades names with the new one in one step; it is removed once the trade is on disk. */
    if (d->old != OUTDIR_KEEP && file_exists(d->path)) {
        swapped = renameat2(AT_FDCWD, d->tmp, AT_FDCWD, d->path, RENAME_EXCHANGE) == 0;
        if (!swapped && errno != EINVAL && errno != ENOSYS) {
            err_sys(e, E_CREATE, "%s: cannot replace it", d->path);
            goto done;
        }
        if (!swapped) tree_remove(d->path); /* a file system that cannot trade names */
    }
    if (!swapped && tmp_rename(d->tmp, d->path, false)) {
        if (errno == EEXIST)
            err_set(e, E_EXISTS, "%s: came into being meanwhile", d->path);
        else
            err_sys(e, E_CREATE, "%s: cannot rename the finished directory", d->path);
        goto done;
    }
    if (!swapped) forget_tmp(d);
    close(d->fd); /* its lock has done its work, and syncing the directory may need the descriptor */
    d->fd = -1;
    tmp_sync_name(d->path, e);
done:
    outdir_abort(d); /* after a trade d->tmp names the old one */
    return -e->id;
}

void outdir_abort(struct outdir *d)
{
    if (d->path && d->fd >= 0) close(d->fd);
    out_unfinished_remove(d->tmp);
    free(d->path);
    *d = (struct outdir){.fd = -1};
}
