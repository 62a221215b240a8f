/* raised: linked into the programs of `make coverage` in front of err_set, err_sys and msg_last (--wrap), it notes the
 * id of each error that is made, a line each, in the file that PEFT_RAISED names. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/err.h"
#include "libcommon/base/msg.h"

int __real_err_set(struct err *e, enum err_id id, const char *fmt, ...);
int __real_err_sys(struct err *e, enum err_id id, const char *fmt, ...);
void __real_msg_last(int id, const char *text);
int __wrap_err_set(struct err *e, enum err_id id, const char *fmt, ...);
int __wrap_err_sys(struct err *e, enum err_id id, const char *fmt, ...);
void __wrap_msg_last(int id, const char *text);

/* Safe in a signal handler, as msg_last is. */
static void note(int id)
{
    static _Bool known[E_COUNT];
    const char *path = getenv("PEFT_RAISED"), *name = err_name(id);
    if (!path || id <= 0 || id >= E_COUNT || known[id]) return;
    known[id] = 1;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    char line[64];
    size_t n = strlen(name);
    if (n > sizeof line - 1) n = sizeof line - 1;
    memcpy(line, name, n);
    line[n++] = '\n';
    if (fd >= 0 && write(fd, line, n) != (ssize_t)n) abort();
    if (fd >= 0) close(fd);
}

int __wrap_err_set(struct err *e, enum err_id id, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!e->id) note(id);
    return __real_err_set(e, id, "%s", text);
}

int __wrap_err_sys(struct err *e, enum err_id id, const char *fmt, ...)
{
    const int number = errno;
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    errno = number;
    const int before = e->id, rc = __real_err_sys(e, id, "%s", text);
    if (!before) note(e->id);
    errno = number;
    return rc;
}

void __wrap_msg_last(int id, const char *text)
{
    note(id);
    __real_msg_last(id, text);
}
