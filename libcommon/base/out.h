/* out: output that is whole or absent. A file is written under a temporary name in the target's directory
 * (O_CREAT|O_EXCL|O_NOFOLLOW), then fsync, rename, fsync of the directory. A directory is built as NAME.tmp-PID and
 * renamed the same way. What is not committed is removed: by out_abort, by tool_main on error, by the signal handler
 * that tool_main installs for SIGINT/SIGTERM/SIGHUP. kill -9 may leave a temporary, which the next run of the same
 * output removes. */
#ifndef PEFT_BASE_OUT_H
#define PEFT_BASE_OUT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include "libcommon/base/err.h"

struct out {
    int fd;         /* -1 when closed */
    char *path;     /* final name; NULL for stdout */
    char *tmp;      /* temporary name; NULL for stdout */
    uint64_t bytes; /* written so far */
    unsigned char *buf;
    size_t used;
    bool is_pipe; /* no regular file (a pipe, a terminal, a device): flush often */
    bool force;   /* replaces what is there */
};

/* path NULL, "-" or "/dev/stdout": stdout (E_TTY if it is a terminal and `binary`). An existing path is E_EXISTS unless
 * force; a symbolic link is replaced, never written through; a FIFO or a device is written in place. */
int out_open(struct out *o, const char *path, bool force, bool binary, struct err *e);
/* The exception: path itself is written, from its beginning, so that it can be followed while it grows; whatever
 * happens, it stays. For files that say themselves whether they are whole. A lock (F_OFD_SETLK) tells that somebody
 * writes it; it goes with the process. E_EXISTS: another one does. */
int out_open_live(struct out *o, const char *path, struct err *e);
int out_write(struct out *o, const void *data, size_t n, struct err *e); /* buffered, 64 KiB; E_IO */
int out_printf(struct out *o, struct err *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int out_flush(struct out *o, struct err *e); /* hand the buffer to the kernel */
/* patch earlier bytes; files only */
int out_pwrite(struct out *o, const void *data, size_t n, uint64_t at, struct err *e);
int out_commit(struct out *o, struct err *e); /* flush, fsync, rename, fsync directory; the file now exists */
void out_abort(struct out *o);                /* remove the temporary; no-op after commit or on a zeroed struct */

/* What becomes of something that has the name already. */
enum outdir_old {
    OUTDIR_KEEP,         /* E_EXISTS */
    OUTDIR_REPLACE_MADE, /* -f: replaced if it is an empty directory or has a MANIFEST of all that is in it, else
                            E_EXISTS */
    OUTDIR_REPLACE_OWN   /* replaced: a name within a directory of ours */
};
struct outdir {
    char *path; /* final name */
    char *tmp;  /* build the contents here; each file by out_open(tmp/name) or outdir_put */
    int fd;     /* the open tmp, locked while this process lives; -1 when closed */
    enum outdir_old old;
};
int outdir_open(struct outdir *d, const char *path, enum outdir_old old, struct err *e); /* E_EXISTS, E_CREATE */
/* one whole file, fsynced */
int outdir_put(struct outdir *d, const char *name, const void *data, size_t n, struct err *e);
int outdir_copy(struct outdir *d, const char *name, const char *from, struct err *e); /* byte for byte */
int outdir_seal(struct outdir *d, struct err *e); /* MANIFEST: digests of all that has been put there, see sums.h */
/* fsync, rename over (an existing one is swapped out, then removed) */
int outdir_commit(struct outdir *d, struct err *e);
void outdir_abort(struct outdir *d);

/* The registry behind it: a file or a whole directory that goes away unless it is forgotten. path stays valid until
 * then. */
/* -f means an earlier result: E_EXISTS if there is a file at path that is neither empty nor, by made(), one of these
 * tools; what: "stream". */
int out_check_made(const char *path, bool force, bool (*made)(const char *path), const char *what, struct err *e);
/* After a failed creation of path: if its directory is not there, a hint that says how to make it. */
void out_hint_parent(const char *path, struct err *e);
void out_unfinished_add(const char *path);
void out_unfinished_forget(const char *path);
void out_unfinished_remove(char *path); /* now, and free path; or at the end, if it cannot be removed now */
void out_cleanup_all(void);             /* remove every unfinished output of this process; async-signal-safe */

/* A whole file in memory; *len its size; a NUL follows the data. Refuses more than max bytes. free() it. E_NOINPUT,
 * E_IO. */
char *file_read(const char *path, size_t max, size_t *len, struct err *e);
/* The descriptor of a file that is no directory, or -1 with *e filled. */
int file_open(const char *path, struct stat *st, struct err *e);
/* A read-only mapping of a regular file, whole. */
struct filemap {
    const unsigned char *data;
    size_t size;
    struct filemap_entry *entry;
};
int filemap_open(struct filemap *m, const char *path, struct err *e);
void filemap_close(struct filemap *m);
void filemap_forget(const struct filemap *m); /* drop its pages from this process; they come back when touched */
void filemap_identity(const struct filemap *m, struct stat *st); /* of the mapped file, as it was when mapped */
/* E_MISMATCH if a mapped file was written to since; with names_too also if its path leads to another file by now. Every
 * commit asks. */
int filemap_check(bool names_too, struct err *e);
/* From now on a mapped file that is cut ends the process with E_IO and its name, not by SIGBUS. */
void filemap_catch_bus(void);
bool file_exists(const char *path);
bool file_is_dir(const char *path);
bool file_is_same(const char *a, const char *b); /* the same regular file or directory, by whatever names */
/* Names in a directory but for "." and "..", sorted: their number, or E_NOINPUT. Free each, and the array. */
int dir_list(const char *path, char ***names, struct err *e);
char *path_join(const char *dir, const char *name); /* malloc'ed */
char *path_dir(const char *path);        /* what dirname says, malloc'ed: "a/b" -> "a", "b" -> ".", "/b" -> "/" */
const char *path_base(const char *path); /* what follows the last slash */
/* However a file was spelled, outputs name it alike: by its last part where the name is a note, and where a later
 * command shall find it by its path below the current directory, or by its whole path if it is elsewhere; malloc'ed. */
char *path_note(const char *path);
char *path_spelled(const char *path);
/* The same of a text that may name several, as "stack(DIR,NAME=DIR)": one of the two above for each that has a slash.
 * malloc'ed. */
char *paths_in(const char *text, char *(*one)(const char *path));
bool path_is_single(const char *name); /* one plain component: not empty, no '/', not "." or "..", no leading '-' */
int path_sync(const char *path, struct err *e); /* fsync a file or directory by name; E_IO */
int dir_make(const char *path, struct err *e);  /* unless it is there; a new one's name is on disk. E_CREATE, E_IO */
/* A file, or a directory with all in it; follows no link; async-signal-safe. Is it gone? */
bool tree_remove(const char *path);
int tree_sync(const char *path, struct err *e); /* fsync every file and directory below and itself; E_IO */
#endif
