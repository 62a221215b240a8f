/* filter: see filter.h. */
#include "libcommon/format/filter.h"
#include <errno.h>
#include <stdbool.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 65536, LINE_MAX_BYTES_OUT = 64 << 20 };

struct filter {
    char *command;
    filter_feed feed;
    void *ctx;
    pid_t pid;
    int to, from;   /* -1: closed */
    struct buf out; /* not yet written to the program */
    size_t out_pos;
    struct buf in; /* read from it */
    size_t in_pos; /* given out */
    bool unread;   /* it closed its input while lines were left */
};

static int pipe_cloexec(int p[2]) { return pipe2(p, O_CLOEXEC); }

struct filter *filter_open(const char *command, filter_feed feed, void *ctx, struct err *e)
{
    struct filter *f = mem_alloc(1, sizeof *f);
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    f->command = mem_dupz(command);
    f->feed = feed;
    f->ctx = ctx;
    f->to = f->from = -1;
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, dfl;
    sigemptyset(&none);
    sigemptyset(&dfl);
    sigaddset(&dfl, SIGPIPE);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &dfl);
    int rc = pipe_cloexec(to) || pipe_cloexec(from) ? errno : 0;
    if (!rc) {
        posix_spawn_file_actions_adddup2(&fa, to[0], 0);
        posix_spawn_file_actions_adddup2(&fa, from[1], 1);
        char *argv[] = {"sh", "-c", f->command, NULL};
        rc = posix_spawn(&f->pid, "/bin/sh", &fa, &attr, argv, environ);
    }
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    if (to[0] >= 0) close(to[0]);
    if (from[1] >= 0) close(from[1]);
    f->to = to[1];
    f->from = from[0];
    if (!rc) {
        fcntl(f->to, F_SETFL, O_NONBLOCK);
        return f;
    }
    err_set(e, E_FILTER, "filter: cannot start /bin/sh: %s", strerror(rc));
    f->pid = 0;
    filter_close(f);
    return NULL;
}

/* write() that reports a closed pipe by EPIPE instead of a signal, for this thread alone. */
static ssize_t quiet_write(int fd, const void *p, size_t n)
{
    sigset_t pipe_only, old;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
    ssize_t k = write(fd, p, n);
    int err = errno;
    if (k < 0 && err == EPIPE) sigtimedwait(&pipe_only, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = err;
    return k;
}

static void close_to(struct filter *f)
{
    close(f->to);
    f->to = -1;
}

/* Hand over what the program takes now. */
static int push(struct filter *f, struct err *e)
{
    if (f->out_pos == f->out.n) {
        f->out.n = f->out_pos = 0;
        while (f->out.n < CHUNK) {
            int rc = f->feed(f->ctx, &f->out, e);
            if (rc < 0) return rc;
            if (rc == 0) break;
        }
        if (!f->out.n) {
            close_to(f);
            return 0;
        }
    }
    ssize_t k = quiet_write(f->to, f->out.p + f->out_pos, f->out.n - f->out_pos);
    if (k >= 0) {
        f->out_pos += (size_t)k;
    } else if (errno == EPIPE) {
        f->unread = true;
        close_to(f);
    } else if (errno != EAGAIN && errno != EINTR) {
        return err_sys(e, E_FILTER, "filter: cannot write to it");
    }
    return 0;
}

static int pull(struct filter *f, struct err *e)
{
    f->in.p = mem_grow(f->in.p, &f->in.cap, f->in.n + CHUNK, 1);
    ssize_t k = read(f->from, f->in.p + f->in.n, CHUNK);
    if (k < 0) return errno == EINTR ? 0 : err_sys(e, E_FILTER, "filter: cannot read from it");
    if (k == 0) {
        close(f->from);
        f->from = -1;
    }
    f->in.n += (size_t)k;
    if (f->in.n - f->in_pos > LINE_MAX_BYTES_OUT)
        return err_set(e, E_FILTER, "filter: line above %d MiB", LINE_MAX_BYTES_OUT >> 20);
    return 0;
}

/* How it ended. */
static int reap(struct filter *f, struct err *e)
{
    int st;
    if (f->to >= 0) { /* it has closed its output: nothing more can come */
        f->unread = f->unread || f->out_pos < f->out.n;
        close_to(f);
    }
    while (waitpid(f->pid, &st, 0) < 0)
        if (errno != EINTR) return err_sys(e, E_FILTER, "filter: cannot wait for it");
    f->pid = 0;
    if (WIFSIGNALED(st))
        return err_set(e, E_FILTER, "filter: %s died of signal %d", err_quotez(f->command), WTERMSIG(st));
    if (WEXITSTATUS(st))
        return err_set(e, E_FILTER, "filter: %s failed with exit code %d", err_quotez(f->command), WEXITSTATUS(st));
    if (!f->unread) return 0;
    err_set(e, E_FILTER, "filter: %s ended before it had read all rows", err_quotez(f->command));
    return err_hint(e, "to take the first rows only use --limit");
}

int filter_next(struct filter *f, struct str *line, struct err *e)
{
    size_t seen = 0;
    for (;;) {
        char *start = f->in.p ? f->in.p + f->in_pos : NULL;
        size_t have = f->in.n - f->in_pos;
        char *lf = have ? memchr(start + seen, '\n', have - seen) : NULL;
        if (lf || (f->from < 0 && have)) {
            *line = (struct str){start, lf ? (size_t)(lf - start) : have};
            f->in_pos += line->n + (lf ? 1 : 0);
            return 1;
        }
        if (f->from < 0) return f->pid ? reap(f, e) : 0;
        seen = have;
        if (f->in_pos) {
            memmove(f->in.p, start, have);
            f->in.n = have;
            f->in_pos = 0;
        }
        struct pollfd p[2] = {{.fd = f->from, .events = POLLIN}, {.fd = f->to, .events = POLLOUT}};
        if (poll(p, f->to >= 0 ? 2 : 1, -1) < 0 && errno != EINTR) return err_sys(e, E_FILTER, "filter: poll");
        int rc = 0;
        if (f->to >= 0 && p[1].revents) rc = push(f, e);
        if (rc == 0 && p[0].revents) rc = pull(f, e);
        if (rc < 0) return rc;
    }
}

void filter_close(struct filter *f)
{
    if (!f) return;
    if (f->to >= 0) close(f->to);
    if (f->from >= 0) close(f->from);
    if (f->pid) {
        kill(f->pid, SIGTERM);
        waitpid(f->pid, NULL, 0);
    }
    buf_fini(&f->out);
    buf_fini(&f->in);
    free(f->command);
    free(f);
}
