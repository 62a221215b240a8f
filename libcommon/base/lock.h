/* lock: one process at a time. The lock is an flock on a file, which holds the process id of its owner and goes when
 * the owner lets go. Whatever ends the owner releases it; a file left by kill -9 is taken over. */
#ifndef PEFT_BASE_LOCK_H
#define PEFT_BASE_LOCK_H
#include "libcommon/base/err.h"

struct lock {
    int fd; /* of the file; meaningful while path is not NULL */
    char *path;
};

/* Take the lock DIR/.lock. E_EXISTS "DIR: in use by pid N": another process has it; E_CREATE. */
int lock_take(struct lock *l, const char *dir, struct err *e);
void lock_release(struct lock *l); /* no-op on a zeroed struct */
extern const char lock_name[];     /* ".lock" */
#endif
