/* out: one output file, or stdout. The file appears under its name only when it is complete and on disk. */
#include "libcommon/base/out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/tmpname.h"

enum { BUFFER = 1 << 16 };

static const char *label(const struct out *o) { return o->path ? o->path : "<stdout>"; }

static int open_stdout(struct out *o, bool binary, struct err *e)
{
    struct stat st;
    if (binary && isatty(STDOUT_FILENO)) {
        err_set(e, E_TTY, "<stdout>: is a terminal, and the output is binary");
        return err_hint(e, "write to a file with -o, or pipe it into the next stage or peft-log");
    }
    if (fstat(STDOUT_FILENO, &st)) return err_sys(e, E_IO, "<stdout>");
    o->fd = STDOUT_FILENO;
    o->is_pipe = !S_ISREG(st.st_mode);
    return 0;
}

int out_check_made(const char *path, bool force, bool (*made)(const char *path), const char *what, struct err *e)
{
    struct stat st;
    if (!force || !path || stat(path, &st) || !S_ISREG(st.st_mode) || !st.st_size || made(path)) return 0;
    err_set(e, E_EXISTS, "%s: is no %s of these tools, and is not replaced", path, what);
    return err_hint(e, "give another name, or remove it yourself");
}

void out_hint_parent(const char *path, struct err *e)
{
    char *dir = path_dir(path);
    if (!file_exists(dir)) err_hint(e, "there is no directory %s; make it first: mkdir -p %s", dir, dir);
    free(dir);
}

static int open_file(struct out *o, const char *path, struct err *e)
{
    struct stat st;
    size_t n = strlen(path);
    if (n == 0 || path[n - 1] == '/') return err_set(e, E_CREATE, "%s: not the name of a file", err_quotez(path));
    o->path = mem_dupz(path);
    if (stat(path, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
        o->fd = open(path, O_WRONLY | O_CLOEXEC);
        o->is_pipe = true;
        return o->fd < 0 ? err_sys(e, E_CREATE, "%s", path) : 0;
    }
    if (lstat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode)) return err_set(e, E_CREATE, "%s: is a directory, expected the name of a file", path);
        if (!o->force) {
            err_set(e, E_EXISTS, "%s: exists", path);
            return err_hint(e, "-f replaces it");
        }
    }
    char *dir = path_dir(path), *prefix = mem_printf("%s/.%s.tmp-", dir, path_base(path));
    o->fd = tmp_create(prefix, false, &o->tmp);
    int rc = o->fd < 0 ? err_sys(e, E_CREATE, "%s: cannot create a file in %s", path, dir) : 0;
    if (rc) out_hint_parent(path, e);
    free(prefix);
    free(dir);
    return rc;
}

int out_open(struct out *o, const char *path, bool force, bool binary, struct err *e)
{
    *o = (struct out){.fd = -1, .force = force};
    bool is_stdout = !path || !strcmp(path, "-") || !strcmp(path, "/dev/stdout");
    int rc = is_stdout ? open_stdout(o, binary, e) : open_file(o, path, e);
    if (rc)
        out_abort(o);
    else
        o->buf = mem_alloc(BUFFER, 1);
    return rc;
}

int out_open_live(struct out *o, const char *path, struct err *e)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    *o = (struct out){.fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666)};
    if (o->fd < 0) return err_sys(e, E_CREATE, "%s: cannot create", path);
    o->path = mem_dupz(path);
    bool taken = fcntl(o->fd, F_OFD_SETLK, &whole) && (errno == EAGAIN || errno == EACCES);
    if (taken || ftruncate(o->fd, 0)) {
        int rc = taken ? err_set(e, E_EXISTS, "%s: another process is writing it", path)
                       : err_sys(e, E_CREATE, "%s: cannot empty it", path);
        close(o->fd);
        o->fd = -1;
        out_abort(o);
        return rc;
    }
    o->buf = mem_alloc(BUFFER, 1);
    return 0;
}

static int write_all(struct out *o, const unsigned char *p, size_t n, struct err *e)
{
    while (n) {
        ssize_t w = write(o->fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return err_sys(e, E_IO, "%s: cannot write", label(o));
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

int out_flush(struct out *o, struct err *e)
{
    size_t n = o->used;
    o->used = 0;
    return n ? write_all(o, o->buf, n, e) : 0;
}

int out_write(struct out *o, const void *data, size_t n, struct err *e)
{
    int rc = 0;
    if (n > BUFFER - o->used) rc = out_flush(o, e);
    if (rc) return rc;
    o->bytes += n;
    if (n >= BUFFER) return write_all(o, data, n, e);
    if (n) memcpy(o->buf + o->used, data, n);
    o->used += n;
    return 0;
}

int out_printf(struct out *o, struct err *e, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    int rc = out_write(o, b.p, b.n, e);
    buf_fini(&b);
    return rc;
}

int out_pwrite(struct out *o, const void *data, size_t n, uint64_t at, struct err *e)
{
    const char *p = data;
    if (!o->tmp || at > o->bytes || n > o->bytes - at)
        return err_set(e, E_BUG, "%s: patch of %zu bytes at %llu is outside what was written", label(o), n,
                       (unsigned long long)at);
    if (out_flush(o, e)) return -e->id;
    while (n) {
        ssize_t w = pwrite(o->fd, p, n, (off_t)at);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return err_sys(e, E_IO, "%s: cannot write", label(o));
        p += w;
        at += (uint64_t)w;
        n -= (size_t)w;
    }
    return 0;
}

static void release(struct out *o)
{
    free(o->path);
    free(o->tmp);
    free(o->buf);
    *o = (struct out){.fd = -1};
}

void out_abort(struct out *o)
{
    if (o->path && o->fd >= 0) close(o->fd); /* stdout stays open for tool_main, which checks its closing */
    out_unfinished_remove(o->tmp);
    o->tmp = NULL;
    release(o);
}

/* Name the complete file: data, then the name, then the directory reach the disk. */
static int publish(struct out *o, struct err *e)
{
    if (tmp_rename(o->tmp, o->path, o->force)) {
        if (errno != EEXIST) return err_sys(e, E_CREATE, "%s: cannot rename the finished file", o->path);
        err_set(e, E_EXISTS, "%s: came into being meanwhile", o->path);
        return err_hint(e, "-f replaces it");
    }
    out_unfinished_forget(o->tmp);
    free(o->tmp);
    o->tmp = NULL;
    int fd = o->fd; /* its lock has done its work, and syncing the directory may need the descriptor */
    o->fd = -1;
    if (close(fd)) return err_sys(e, E_IO, "%s: is complete, but closing it failed", o->path);
    return tmp_sync_name(o->path, e);
}

int out_commit(struct out *o, struct err *e)
{
    int rc = filemap_check(true, e);
    if (!rc) rc = out_flush(o, e);
    if (!rc && !o->is_pipe && fsync(o->fd) && errno != EINVAL && errno != ENOTSUP)
        rc = err_sys(e, E_IO, "%s: cannot sync", label(o));
    if (!rc && o->tmp) rc = publish(o, e);
    if (!rc && o->path && o->fd >= 0) {
        int fd = o->fd;
        o->fd = -1;
        if (close(fd)) rc = err_sys(e, E_IO, "%s: cannot close", label(o));
    }
    out_abort(o);
    return rc;
}
