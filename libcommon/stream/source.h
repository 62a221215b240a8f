/* source: bytes in order, of a file, a pipe, stdin or memory; never more is taken from the descriptor's reader than
 * asked for. */
#ifndef PEFT_STREAM_SOURCE_H
#define PEFT_STREAM_SOURCE_H
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "libcommon/base/err.h"

struct source {
    int fd;                            /* -1: memory */
    bool follow;                       /* at the end of the input wait for more, while somebody may write it */
    const volatile sig_atomic_t *stop; /* once it is set nothing more is waited for; NULL: never */
    bool held, last;                   /* a writer was seen; it is gone, and what it wrote is being read */
    bool owned;                        /* close fd */
    const unsigned char *data;         /* memory, or the buffer of fd */
    size_t n, pos;
    uint64_t offset; /* bytes given out */
};
/* name: for messages. E_NOINPUT. */
int source_open(struct source *s, const char *path, const char *name, bool follow, struct err *e);
int source_mem(struct source *s, const void *data, size_t n);
/* The first n bytes of all (at most 4096), fewer if the input has no more, without taking them; -1 with errno. */
ssize_t source_peek(struct source *s, const unsigned char **at, size_t n);
/* n bytes, fewer only at the end of the input; -1 with errno. */
ssize_t source_read(struct source *s, void *to, size_t n);
/* What is there already, at least one byte; 0 at the end of the input; -1 with errno. */
ssize_t source_some(struct source *s, void *to, size_t n);
bool source_written(const struct source *s); /* does a process write this file now (out_open_live)? */
void source_close(struct source *s);
#endif
