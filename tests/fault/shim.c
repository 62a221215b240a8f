/* shim: preloaded, it lets the K-th call of one function fail, as FAULT=NAME:K:HOW says. HOW is an errno, "short" (half
 * of what was asked for) or either with "+": that call and all after it. NAME malloc stands for the whole family. The
 * calls of each function are counted into the file FAULT_COUNT, "NAME N" a line. Writes to stderr never fail: what a
 * tool says about a fault is what is looked at. With FAULT_LOG what is done to files is recorded (shim_log.h). */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fault/shim_log.h"

enum fn {
#define FN(name) F_##name,
#include "tests/fault/shim.def"
#undef FN
    FN_COUNT
};
static const char *const names[FN_COUNT] = {
#define FN(name) #name,
#include "tests/fault/shim.def"
#undef FN
};

static atomic_long calls[FN_COUNT];
static int chosen = -1, error;
static long at;
static int half, from_then_on;

__attribute__((constructor)) static void begin(void)
{
    const char *s = getenv("FAULT"), *how;
    char *end;
    log_begin();
    for (int i = 0; s && i < FN_COUNT; i++)
        if (!strncmp(s, names[i], strlen(names[i])) && s[strlen(names[i])] == ':') chosen = i;
    if (chosen < 0) return;
    at = strtol(strchr(s, ':') + 1, &end, 10);
    how = end + 1;
    half = !strncmp(how, "short", 5);
    error = atoi(how);
    from_then_on = how[strlen(how) - 1] == '+';
    unsetenv("FAULT"); /* the tool's own children are spared */
}

__attribute__((destructor)) static void finish(void)
{
    const char *path = getenv("FAULT_COUNT");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    for (int i = 0; fd >= 0 && i < FN_COUNT; i++) dprintf(fd, "%s %ld\n", names[i], atomic_load(&calls[i]));
}

/* Does this call fail? */
static int hit(enum fn f)
{
    long n = atomic_fetch_add(&calls[f], 1);
    if ((int)f != chosen || (from_then_on ? n < at : n != at)) return 0;
    errno = half ? 0 : error;
    return 1;
}

#define REAL(type, name, ...)         \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* ---- memory ---- */
void *malloc(size_t n)
{
    REAL(void *, "malloc", size_t);
    return hit(F_malloc) ? NULL : real(n);
}
void *calloc(size_t n, size_t size)
{
    REAL(void *, "calloc", size_t, size_t);
    return hit(F_malloc) ? NULL : real(n, size);
}
void *realloc(void *p, size_t n)
{
    REAL(void *, "realloc", void *, size_t);
    return hit(F_malloc) ? NULL : real(p, n);
}
void *aligned_alloc(size_t align, size_t n)
{
    REAL(void *, "aligned_alloc", size_t, size_t);
    return hit(F_malloc) ? NULL : real(align, n);
}
int posix_memalign(void **p, size_t align, size_t n)
{
    REAL(int, "posix_memalign", void **, size_t, size_t);
    return hit(F_malloc) ? ENOMEM : real(p, align, n);
}
void *mmap64(void *p, size_t n, int prot, int flags, int fd, off_t off)
{
    REAL(void *, "mmap64", void *, size_t, int, int, int, off_t);
    return hit(F_mmap) ? MAP_FAILED : real(p, n, prot, flags, fd, off);
}

/* ---- data ---- */
ssize_t read(int fd, void *p, size_t n)
{
    REAL(ssize_t, "read", int, void *, size_t);
    if (!hit(F_read)) return real(fd, p, n);
    return half ? real(fd, p, n > 1 ? n / 2 : n) : -1;
}
ssize_t write(int fd, const void *p, size_t n)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    const int fails = fd != STDERR_FILENO && hit(F_write);
    if (fails && !half) return -1;
    log_enter();
    ssize_t done = real(fd, p, fails && n > 1 ? n / 2 : n);
    log_leave(done < 0, p, done < 0 ? 0 : (size_t)done, "write %d %lld ", fd, (long long)lseek(fd, 0, SEEK_CUR) - done);
    return done;
}
ssize_t pwrite64(int fd, const void *p, size_t n, off_t off)
{
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    const int fails = hit(F_pwrite);
    if (fails && !half) return -1;
    log_enter();
    ssize_t done = real(fd, p, fails && n > 1 ? n / 2 : n, off);
    log_leave(done < 0, p, done < 0 ? 0 : (size_t)done, "write %d %lld ", fd, (long long)off);
    return done;
}
int ftruncate64(int fd, off_t size)
{
    REAL(int, "ftruncate64", int, off_t);
    log_enter();
    int rc = real(fd, size);
    log_leave(rc, NULL, 0, "truncate %d %lld", fd, (long long)size);
    return rc;
}
int fsync(int fd)
{
    REAL(int, "fsync", int);
    if (hit(F_fsync)) return -1;
    log_enter();
    int rc = real(fd);
    log_leave(rc, NULL, 0, "fsync %d", fd);
    return rc;
}
int close(int fd)
{
    REAL(int, "close", int);
    int failed = hit(F_close), err = errno, rc = real(fd); /* Linux closes it whatever it says */
    if (!failed) return rc;
    errno = err;
    return -1;
}

/* ---- names ---- */
static mode_t mode_of(int flags, va_list ap) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0; }
int open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    REAL(int, "open64", const char *, int, ...);
    if (hit(F_open)) return -1;
    log_enter();
    const int created = flags & O_CREAT && access(path, F_OK), fd = real(path, flags, mode);
    log_leave(fd < 0, NULL, 0, "open %d %d %d %s", fd, created, AT_FDCWD, path);
    return fd;
}
int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags) { return open64(path, flags); }
int openat64(int dir, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    REAL(int, "openat64", int, const char *, int, ...);
    if (hit(F_openat)) return -1;
    log_enter();
    const int created = flags & O_CREAT && faccessat(dir, path, F_OK, 0), fd = real(dir, path, flags, mode);
    log_leave(fd < 0, NULL, 0, "open %d %d %d %s", fd, created, dir, path);
    return fd;
}
int fstat64(int fd, struct stat64 *st)
{
    REAL(int, "fstat64", int, struct stat64 *);
    return hit(F_fstat) ? -1 : real(fd, st);
}
int stat64(const char *path, struct stat64 *st)
{
    REAL(int, "stat64", const char *, struct stat64 *);
    return hit(F_stat) ? -1 : real(path, st);
}
int lstat64(const char *path, struct stat64 *st)
{
    REAL(int, "lstat64", const char *, struct stat64 *);
    return hit(F_lstat) ? -1 : real(path, st);
}
DIR *opendir(const char *path)
{
    REAL(DIR *, "opendir", const char *);
    return hit(F_opendir) ? NULL : real(path);
}
int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    if (hit(F_mkdir)) return -1;
    log_enter();
    int rc = real(path, mode);
    log_leave(rc, NULL, 0, "mkdir %d %s", AT_FDCWD, path);
    return rc;
}
int rename(const char *a, const char *b)
{
    REAL(int, "rename", const char *, const char *);
    if (hit(F_rename)) return -1;
    log_enter();
    int rc = real(a, b);
    log_leave(rc, NULL, 0, "rename 0 %d %d %s\t%s", AT_FDCWD, AT_FDCWD, a, b);
    return rc;
}
int renameat2(int da, const char *a, int db, const char *b, unsigned flags)
{
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    if (hit(F_renameat2)) return -1;
    log_enter();
    int rc = real(da, a, db, b, flags);
    log_leave(rc, NULL, 0, "rename %u %d %d %s\t%s", flags, da, db, a, b);
    return rc;
}
int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    if (hit(F_unlink)) return -1;
    log_enter();
    int rc = real(path);
    log_leave(rc, NULL, 0, "unlink %d %s", AT_FDCWD, path);
    return rc;
}
int unlinkat(int dir, const char *path, int flags)
{
    REAL(int, "unlinkat", int, const char *, int);
    if (hit(F_unlinkat)) return -1;
    log_enter();
    int rc = real(dir, path, flags);
    log_leave(rc, NULL, 0, "unlink %d %s", dir, path);
    return rc;
}
int rmdir(const char *path)
{
    REAL(int, "rmdir", const char *);
    log_enter();
    int rc = real(path);
    log_leave(rc, NULL, 0, "unlink %d %s", AT_FDCWD, path);
    return rc;
}
int flock(int fd, int op)
{
    REAL(int, "flock", int, int);
    return hit(F_flock) ? -1 : real(fd, op);
}
