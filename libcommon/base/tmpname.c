/* tmpname: a temporary is locked (flock) from its creation until its process ends, whatever ends it. So a temporary
 * that can be locked belongs to nobody: no guess from process ids, which other containers and a reboot give out again.
 */
#include "libcommon/base/tmpname.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"

static void remove_stale(const char *prefix)
{
    char *dir = path_dir(prefix);
    const char *base = path_base(prefix);
    DIR *d = opendir(dir);
    struct dirent *f;
    while (d && (f = readdir(d))) {
        size_t n = strlen(base);
        if (strncmp(f->d_name, base, n) != 0 || !f->d_name[n]) continue;
        if (f->d_name[n + strspn(f->d_name + n, "0123456789")]) continue;
        char *path = path_join(dir, f->d_name);
        int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) tree_remove(path);
        if (fd >= 0) close(fd);
        free(path);
    }
    if (d) closedir(d);
    free(dir);
}

/* Create, open and lock name; -1 with errno. */
static int create(const char *name, bool dir)
{
    if (dir && mkdir(name, 0777)) return -1;
    int fd = dir ? open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                 : open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        int why = errno;
        if (dir) rmdir(name); /* made, but it cannot be opened */
        errno = why;
        return -1;
    }
    /* Another process that looks for stale names may hold the lock, or have removed the file, at this very moment. A
     * file system without locks leaves nothing that looks stale. */
    struct stat st;
    if ((flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) || fstat(fd, &st) || st.st_nlink == 0) {
        close(fd);
        tree_remove(name);
        errno = EEXIST;
        return -1;
    }
    return fd;
}

int tmp_create(const char *prefix, bool dir, char **name)
{
    remove_stale(prefix);
    *name = mem_printf("%s%ld", prefix, (long)getpid());
    int fd = -1;
    for (int try = 0; try < 100 && fd < 0; try++) {
        fd = create(*name, dir);
        if (fd < 0 && errno != EEXIST) break;
        if (fd < 0) usleep(1000);
    }
    if (fd >= 0) {
        out_unfinished_add(*name);
        return fd;
    }
    int err = errno;
    free(*name);
    *name = NULL;
    errno = err;
    return -1;
}

int tmp_rename(const char *from, const char *to, bool force)
{
    if (force) return rename(from, to);
    if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE)) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (file_exists(to)) { /* a file system without the flag */
        errno = EEXIST;
        return -1;
    }
    return rename(from, to);
}

int tmp_sync_name(const char *path, struct err *e)
{
    char *dir = path_dir(path);
    if (path_sync(dir, e)) {
        err_prefix(e, "%s: is complete, but whether it would survive a power loss is unknown: ", path);
        e->hint[0] = '\0'; /* that of a full disk is about what was not written */
    }
    free(dir);
    return -e->id;
}
