/* lock.c: see lock.h. */
#include "libcommon/base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
#include "libcommon/base/out.h"

const char lock_name[] = ".lock";

/* Its owner removes the file before it lets go of it: then what is open here is not what has the name. */
static bool still_named(int fd, const char *path)
{
    struct stat a, b;
    return !fstat(fd, &a) && !lstat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int in_use(int fd, const char *dir, struct err *e)
{
    char text[24] = "";
    int64_t pid = 0;
    for (int try = 0; try < 100 && !pid; try++) { /* the owner writes its id once it has the lock */
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        if (n <= 0 || !num_i64(text, strcspn(text, "\n"), &pid)) pid = 0;
        if (!pid) usleep(1000);
    }
    if (pid)
        err_set(e, E_EXISTS, "%s: in use by pid %lld", dir, (long long)pid);
    else
        err_set(e, E_EXISTS, "%s: in use by another process", dir);
    return err_hint(e, "wait until it has ended, or give another -o");
}

static void own(struct lock *l, const char *dir)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(l->fd, 0) || pwrite(l->fd, text, (size_t)n, 0) != n)
        msg_debug("%s: cannot note the owner of the lock", dir); /* others then say "another process" */
    out_unfinished_add(l->path);
}

/* The file, made if need be; whose lock is ours: *mine. A signal between making the file and noting that it goes with
 * this process would leave it behind. */
static int open_lock(struct lock *l, const char *dir, char *path, bool *mine)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666), number = errno;
    const bool busy = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    *mine = fd >= 0 && !busy && still_named(fd, path); /* a file system without locks cannot tell, and gets none */
    if (*mine) {
        *l = (struct lock){.fd = fd, .path = path};
        own(l, dir);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = fd < 0 ? number : busy ? EWOULDBLOCK : 0;
    return fd;
}

int lock_take(struct lock *l, const char *dir, struct err *e)
{
    char *path = path_join(dir, lock_name);
    bool mine = false;
    *l = (struct lock){.fd = -1};
    while (!mine && !e->id) {
        int fd = open_lock(l, dir, path, &mine);
        if (fd < 0)
            err_sys(e, E_CREATE, "%s: cannot create it", path);
        else if (errno == EWOULDBLOCK)
            in_use(fd, dir, e);
        if (fd >= 0 && !mine) close(fd);
    }
    if (e->id) free(path);
    return -e->id;
}

void lock_release(struct lock *l)
{
    if (!l->path) return;
    out_unfinished_forget(l->path);
    unlink(l->path); /* while it is locked: nobody else's */
    close(l->fd);
    free(l->path);
    *l = (struct lock){.fd = -1};
}
