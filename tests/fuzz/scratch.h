/* scratch: a directory for a harness whose parser reads files; tests/fuzz/run.sh gives TMPDIR and removes it. */
#ifndef TESTS_FUZZ_SCRATCH_H
#define TESTS_FUZZ_SCRATCH_H
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[200];

/* Once; true: it is new. */
static inline bool scratch_make(void)
{
    const char *tmp = getenv("TMPDIR");
    if (scratch[0]) return false;
    snprintf(scratch, sizeof scratch, "%.150s/fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(scratch)) abort();
    return true;
}

static inline const char *scratch_path(const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

static inline void scratch_dir(const char *name)
{
    if (mkdir(scratch_path(name), 0700)) abort();
}

static inline void scratch_put(const char *name, const void *data, size_t size)
{
    int fd = open(scratch_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size)) abort();
    close(fd);
}
#endif
