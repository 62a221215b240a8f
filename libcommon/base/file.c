/* file: reading whole files, and what paths need. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"

int file_open(const char *path, struct stat *st, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, st)) {
        err_sys(e, E_NOINPUT, "%s", path);
    } else if (S_ISDIR(st->st_mode)) {
        err_set(e, E_NOINPUT, "%s: is a directory, expected a file", path);
    } else {
        return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
}

char *file_read(const char *path, size_t max, size_t *len, struct err *e)
{
    struct stat st;
    int fd = file_open(path, &st, e);
    if (fd < 0) return NULL;
    size_t cap = S_ISREG(st.st_mode) && (size_t)st.st_size < max ? (size_t)st.st_size + 1 : 4096, n = 0;
    if (cap > max + 1) cap = max + 1;
    char *p = mem_alloc(cap + 1, 1);
    for (;;) {
        if (n == cap) {
            if (n > max) break;
            size_t grown = cap > max / 2 ? max + 1 : 2 * cap;
            p = mem_grow(p, &cap, grown + 1, 1);
            cap = grown; /* leaves room for the NUL, and reads one byte above max at most */
        }
        ssize_t r = read(fd, p + n, cap - n);
        if (r == 0) break;
        if (r > 0)
            n += (size_t)r;
        else if (errno != EINTR) {
            err_sys(e, E_IO, "%s: cannot read", path);
            break;
        }
    }
    close(fd);
    if (!e->id && n > max)
        err_set(e, E_NOINPUT, "%s: larger than %zu bytes, the limit for this kind of file", path, max);
    if (e->id) {
        free(p);
        return NULL;
    }
    p[n] = '\0';
    *len = n;
    return p;
}

bool file_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool file_is_same(const char *a, const char *b)
{
    struct stat x, y;
    if (stat(a, &x) || stat(b, &y) || x.st_dev != y.st_dev || x.st_ino != y.st_ino) return false;
    return S_ISREG(x.st_mode) || S_ISDIR(x.st_mode);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int dir_list(const char *path, char ***names, struct err *e)
{
    size_t n = 0, cap = 0;
    struct dirent *f;
    *names = NULL;
    DIR *d = opendir(path);
    if (!d) return err_sys(e, E_NOINPUT, "%s", path);
    while ((errno = 0, f = readdir(d))) {
        if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, "..")) continue;
        *names = mem_grow(*names, &cap, n + 1, sizeof **names);
        (*names)[n++] = mem_dupz(f->d_name);
    }
    if (errno) err_sys(e, E_NOINPUT, "%s: cannot list", path);
    closedir(d);
    if (e->id) {
        while (n) free((*names)[--n]);
        free(*names);
        return -e->id;
    }
    if (n) qsort(*names, n, sizeof **names, by_text);
    return (int)n;
}

char *path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    if (n == 0 || name[0] == '/') return mem_dupz(name);
    return mem_printf("%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return mem_dupz(".");
    while (slash > path && slash[-1] == '/') slash--;
    return slash == path ? mem_dupz("/") : mem_dup(path, (size_t)(slash - path));
}

char *path_note(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    char *cut = mem_dup(path, n), *real = NULL;
    const char *base = path_base(cut);
    if (!strcmp(base, ".") || !strcmp(base, "..")) real = realpath(cut, NULL); /* these say nothing */
    char *note = mem_dupz(real && *path_base(real) ? path_base(real) : *base ? base : cut);
    free(real);
    free(cut);
    return note;
}

/* The last part stays as it is, also if it is a link: that is the name by which people know the file. */
static char *resolve(const char *path)
{
    const char *base = path_base(path);
    if (!*base || !strcmp(base, ".") || !strcmp(base, "..")) return realpath(path, NULL);
    char *dir = path_dir(path), *real = realpath(dir, NULL), *whole = real ? path_join(real, base) : NULL;
    free(dir);
    free(real);
    return whole;
}

char *path_spelled(const char *path)
{
    char *whole = strcmp(path, "-") ? resolve(path) : NULL, *cwd = getcwd(NULL, 0);
    size_t n = cwd ? strlen(cwd) : 0;
    bool below = whole && n > 1 && !strncmp(whole, cwd, n) && whole[n] == '/';
    char *spelled = mem_dupz(!whole ? path : below ? whole + n + 1 : whole);
    free(whole);
    free(cwd);
    return spelled;
}

bool path_is_single(const char *name)
{
    return name[0] && name[0] != '-' && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int sync_fd(int fd, const char *path, struct err *e)
{
    if (fd < 0) return err_sys(e, E_IO, "%s: cannot open to sync", path);
    int rc = 0;
    if (fsync(fd) && errno != EINVAL && errno != ENOTSUP) rc = err_sys(e, E_IO, "%s: cannot sync", path);
    close(fd);
    return rc;
}

int path_sync(const char *path, struct err *e)
{
    return sync_fd(open(path, O_RDONLY | O_CLOEXEC), path, e); /* a directory may be reached through a link */
}

int dir_make(const char *path, struct err *e)
{
    if (mkdir(path, 0777))
        return errno == EEXIST ? 0 : err_sys(e, E_CREATE, "%s: cannot create the directory", err_quotez(path));
    char *above = path_dir(path);
    int rc = path_sync(above, e);
    free(above);
    return rc;
}

int tree_sync(const char *path, struct err *e)
{
    DIR *d = opendir(path);
    if (!d) return err_sys(e, E_IO, "%s", path);
    struct dirent *f;
    int rc = 0;
    while (!rc && (errno = 0, f = readdir(d))) {
        if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, "..")) continue;
        char *below = path_join(path, f->d_name);
        struct stat st;
        if (lstat(below, &st))
            rc = err_sys(e, E_IO, "%s", below);
        else if (S_ISDIR(st.st_mode))
            rc = tree_sync(below, e);
        else if (S_ISREG(st.st_mode))
            rc = sync_fd(open(below, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), below, e);
        free(below);
    }
    if (!rc && errno) rc = err_sys(e, E_IO, "%s: cannot list", path);
    closedir(d);
    return rc ? rc : path_sync(path, e);
}

char *paths_in(const char *text, char *(*one)(const char *path))
{
    static const char between[] = "(),=";
    const size_t n = strlen(text);
    if (!n || text[n - 1] != ')') return one(text);
    struct buf b = {0};
    for (size_t i = 0; i < n; i++) {
        const size_t k = strcspn(text + i, between);
        char *name = mem_dup(text + i, k), *said = strchr(name, '/') ? one(name) : mem_dupz(name);
        buf_addz(&b, said);
        free(name);
        free(said);
        i += k;
        if (i < n) buf_addc(&b, text[i]);
    }
    return buf_str(&b);
}
