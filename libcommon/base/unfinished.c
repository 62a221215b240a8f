/* unfinished: the outputs that go away unless they are committed, and their removal. The signal handler comes here, so
 * the removal calls only what is async-signal-safe: no allocation, no stdio, no readdir (getdents64 instead). */
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libcommon/base/out.h"

enum { MAX = 256, DEPTH = 16 };
static _Atomic(const char *) unfinished[MAX];
static atomic_int owner; /* a forked child must not remove its parent's outputs */

void out_unfinished_add(const char *path)
{
    atomic_store(&owner, (int)getpid());
    for (int i = 0; i < MAX; i++) {
        const char *none = NULL;
        if (atomic_compare_exchange_strong(&unfinished[i], &none, path)) return;
    }
}

void out_unfinished_forget(const char *path)
{
    for (int i = 0; path && i < MAX; i++) {
        const char *mine = path;
        if (atomic_compare_exchange_strong(&unfinished[i], &mine, NULL)) return;
    }
}

static void remove_below(int at, const char *name, int depth)
{
    if (unlinkat(at, name, 0) == 0) return;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) { /* no descriptor is left to look into it with; it may be empty */
        unlinkat(at, name, AT_REMOVEDIR);
        return;
    }
    bool again = depth < DEPTH;
    while (again) { /* some file systems skip entries while others go: until a pass finds nothing */
        char buf[2048] __attribute__((aligned(8)));
        long n;
        again = false;
        lseek(fd, 0, SEEK_SET);
        while ((n = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0) {
            for (long i = 0; i < n;) {
                struct dirent64 *d = (struct dirent64 *)(buf + i);
                i += d->d_reclen;
                if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..")) continue;
                remove_below(fd, d->d_name, depth + 1);
                if (faccessat(fd, d->d_name, F_OK, AT_SYMLINK_NOFOLLOW)) again = true;
            }
        }
    }
    close(fd);
    unlinkat(at, name, AT_REMOVEDIR);
}

void tree_remove(const char *path) { remove_below(AT_FDCWD, path, 0); }

void out_unfinished_remove(char *path)
{
    if (!path) return;
    tree_remove(path);
    if (file_exists(path)) return; /* stays listed: at the end of the process more descriptors are free */
    out_unfinished_forget(path);
    free(path);
}

void out_cleanup_all(void)
{
    if (atomic_load(&owner) != (int)getpid()) return;
    for (int i = 0; i < MAX; i++) {
        const char *path = atomic_exchange(&unfinished[i], NULL);
        if (path) tree_remove(path);
    }
}
