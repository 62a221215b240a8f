/* source: see source.h. */
#include "libcommon/stream/source.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/utf8.h"
#include "libcommon/stream/stream.h"

enum { READ_BYTES = 65536, WAIT_NS = 100000000, QUIET_S = 10 };

const char *stream_name(const char *path)
{
    if (!path || !strcmp(path, "-")) return "<stdin>";
    uint32_t c;
    for (size_t i = 0, n = strlen(path), len; i < n; i += len)
        if (!(len = (size_t)utf8_next(path + i, n - i, &c)) || utf8_is_control(c)) return err_quotez(path);
    return path;
}

int source_open(struct source *s, const char *path, const char *name, bool follow, struct err *e)
{
    struct stat st;
    *s = (struct source){.fd = STDIN_FILENO, .follow = follow};
    if (path && strcmp(path, "-")) {
        s->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (s->fd < 0) return err_sys(e, E_NOINPUT, "%s: cannot open", name);
        s->owned = true;
    }
    if (fstat(s->fd, &st)) return err_sys(e, E_NOINPUT, "%s: cannot read", name);
    if (S_ISDIR(st.st_mode)) return err_set(e, E_NOINPUT, "%s: is a directory, expected a file", name);
    if (!S_ISREG(st.st_mode)) s->follow = false; /* a pipe's end is its end */
    s->data = mem_alloc(READ_BYTES, 1);
    return 0;
}

int source_mem(struct source *s, const void *data, size_t n)
{
    *s = (struct source){.fd = -1, .data = data, .n = n};
    return 0;
}

bool source_written(const struct source *s)
{
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    return s->fd >= 0 && fcntl(s->fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

/* Is nothing more to be expected at the end of a file that is followed? Who writes with a lock is gone when it is free;
 * who writes without one (a copy under way) has some seconds between writes. */
static bool writer_gone(struct source *s)
{
    struct stat st;
    if (source_written(s)) {
        s->held = true;
        return false;
    }
    if (!s->held && (fstat(s->fd, &st) || time(NULL) - st.st_mtime <= QUIET_S)) return false;
    bool read_again = s->last;
    s->last = true; /* it may have written since the last read */
    return read_again;
}

/* More bytes into the buffer, behind the first `kept` of it: their number, 0 at the end. */
static ssize_t fill(struct source *s, size_t kept)
{
    if (s->fd < 0) return 0;
    for (;;) {
        ssize_t k = read(s->fd, (char *)(uintptr_t)s->data + kept, READ_BYTES - kept);
        if (k < 0 && errno == EINTR) continue;
        if (k == 0 && s->follow && !(s->stop && *s->stop) && !writer_gone(s)) {
            if (!s->last) nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL);
            continue;
        }
        s->n = kept + (k > 0 ? (size_t)k : 0);
        return k;
    }
}

static ssize_t refill(struct source *s)
{
    s->pos = 0;
    return fill(s, 0);
}

ssize_t source_peek(struct source *s, const unsigned char **at, size_t n)
{
    while (s->n - s->pos < n) {
        ssize_t k = fill(s, s->n);
        if (k < 0) return -1;
        if (k == 0) break;
    }
    *at = s->data + s->pos;
    return (ssize_t)(s->n - s->pos < n ? s->n - s->pos : n);
}

ssize_t source_read(struct source *s, void *to, size_t n)
{
    size_t done = 0;
    while (done < n) {
        if (s->pos == s->n) {
            ssize_t k = refill(s);
            if (k < 0) return -1;
            if (k == 0) break;
        }
        size_t k = s->n - s->pos < n - done ? s->n - s->pos : n - done;
        memcpy((char *)to + done, s->data + s->pos, k);
        s->pos += k;
        done += k;
    }
    s->offset += done;
    return (ssize_t)done;
}

ssize_t source_some(struct source *s, void *to, size_t n)
{
    if (s->pos == s->n) {
        ssize_t k = refill(s);
        if (k <= 0) return k;
    }
    return source_read(s, to, n < s->n - s->pos ? n : s->n - s->pos);
}

void source_close(struct source *s)
{
    if (s->owned) close(s->fd);
    if (s->fd >= 0) free((void *)(uintptr_t)s->data);
    *s = (struct source){.fd = -1};
}
