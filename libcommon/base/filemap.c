/* filemap: files that are used where they are mapped, and what may befall them meanwhile. Every mapping is listed until
 * it is closed: a file that is cut under it is a SIGBUS, whose handler finds the file's name here; one that is written
 * or replaced is found before a result is published. The list only grows, by entries that are used again, so that the
 * handler can read it at any moment. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"

struct filemap_entry {
    _Atomic(const unsigned char *) data; /* NULL: closed */
    size_t size;
    atomic_bool taken;
    int fd;
    struct stat file, name; /* the open file, and what its path led to; the same but for a race */
    char *path;
    char said[400]; /* the path for a message, without anything that a terminal acts on */
    struct filemap_entry *next;
};
static _Atomic(struct filemap_entry *) first;
static _Atomic(struct filemap_entry *) changed; /* one that had been written to when it was closed */

/* An entry that nobody uses. One that is in `changed` is never used again. */
static struct filemap_entry *take(void)
{
    for (struct filemap_entry *m = atomic_load(&first); m; m = m->next)
        if (!atomic_exchange(&m->taken, true)) return m;
    struct filemap_entry *m = mem_alloc(1, sizeof *m);
    atomic_store(&m->taken, true);
    m->next = atomic_load(&first);
    while (!atomic_compare_exchange_weak(&first, &m->next, m)) continue;
    return m;
}

static bool same_content(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool written_to(const struct filemap_entry *m)
{
    struct stat now;
    return fstat(m->fd, &now) == 0 && !same_content(&now, &m->file);
}

/* Does the path lead to another file now? A file that is gone is still what is mapped. */
static bool replaced(const struct filemap_entry *m)
{
    struct stat now;
    return stat(m->path, &now) == 0 && (now.st_ino != m->name.st_ino || now.st_dev != m->name.st_dev);
}

int filemap_open(struct filemap *m, const char *path, struct err *e)
{
    struct stat st;
    *m = (struct filemap){0};
    int fd = file_open(path, &st, e);
    if (fd < 0) return -e->id;
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(e, E_NOINPUT, "%s: not a regular file, so it cannot be mapped", path);
    }
    const size_t size = (size_t)st.st_size;
    void *p = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (p == MAP_FAILED) {
        err_sys(e, E_NOINPUT, "%s: cannot map", path);
        close(fd);
        return -e->id;
    }
    struct filemap_entry *x = take();
    x->fd = fd;
    x->size = size;
    x->file = x->name = st;
    stat(path, &x->name);
    x->path = mem_dupz(path);
    snprintf(x->said, sizeof x->said, "%s", err_quotez(path));
    atomic_store(&x->data, p);
    *m = (struct filemap){.data = size ? p : (const unsigned char *)"", .size = size, .entry = x};
    return 0;
}

void filemap_forget(const struct filemap *m)
{
    if (m->size) (void)madvise((void *)m->data, m->size, MADV_DONTNEED);
}

void filemap_close(struct filemap *m)
{
    struct filemap_entry *x = m->entry, *none = NULL;
    if (x) {
        bool keep = written_to(x) && atomic_compare_exchange_strong(&changed, &none, x);
        atomic_store(&x->data, NULL);
        close(x->fd);
        if (!keep) {
            free(x->path);
            x->path = NULL;
            atomic_store(&x->taken, false);
        }
    }
    if (m->size) munmap((void *)m->data, m->size);
    *m = (struct filemap){0};
}

void filemap_identity(const struct filemap *m, struct stat *st) { *st = m->entry->file; }

static int say_changed(const struct filemap_entry *m, const char *what, struct err *e)
{
    err_set(e, E_MISMATCH, "%s: was %s while it was in use; nothing is made of it", m->path, what);
    return err_hint(e, "run it again when nobody writes to that file");
}

int filemap_check(bool names_too, struct err *e)
{
    const struct filemap_entry *closed = atomic_load(&changed);
    if (closed) return say_changed(closed, "changed", e);
    for (struct filemap_entry *m = atomic_load(&first); m; m = m->next) {
        if (!atomic_load(&m->taken) || !m->path) continue;
        if (written_to(m)) return say_changed(m, "changed", e);
        if (names_too && replaced(m)) return say_changed(m, "replaced", e);
    }
    return 0;
}

/* A page of a mapping could not be had. Several threads may meet it at once: one says so and ends the process, the
 * others wait for that. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    const unsigned char *at = info->si_addr;
    for (struct filemap_entry *m = atomic_load(&first); m; m = m->next) {
        const unsigned char *data = atomic_load(&m->data);
        if (!data || at < data || at >= data + m->size) continue;
        static atomic_flag told = ATOMIC_FLAG_INIT;
        while (atomic_flag_test_and_set(&told)) pause();
        char text[512];
        snprintf(text, sizeof text, "%s: byte %zu of %zu cannot be read any more: the file was cut, or its disk failed",
                 m->said, (size_t)(at - data), m->size);
        out_cleanup_all();
        msg_last(E_IO, text);
        _exit(err_exit_code(E_IO));
    }
    signal(sig, SIG_DFL); /* not ours: the instruction is tried again, and ends the process */
}

void filemap_catch_bus(void)
{
    struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGBUS, &sa, NULL);
}
