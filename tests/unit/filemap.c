/* filemap: files that change while they are mapped, and the digests that are kept of them. */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/digest_cache.h"
#include "tests/test.h"

enum { SIZE = 17 << 20 }; /* large enough for its digest to be kept */
static char dir[] = "/tmp/filemap-XXXXXX";
static char *a, *b;

/* A file of SIZE bytes that ends in `last`. */
static void make(const char *path, char last)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && !ftruncate(fd, SIZE) && pwrite(fd, &last, 1, SIZE - 1) == 1);
    close(fd);
}

static void overwrite(const char *path)
{
    int fd = open(path, O_WRONLY);
    usleep(20000); /* times of files are as coarse as the kernel's tick */
    CHECK(fd >= 0 && pwrite(fd, "!", 1, 100) == 1);
    close(fd);
}

static void open_map(struct filemap *m, const char *path)
{
    struct err e = {0};
    CHECK_MSG(!filemap_open(m, path, &e), "%s", e.msg);
}

static int check(bool names_too)
{
    struct err e = {0};
    int rc = filemap_check(names_too, &e);
    CHECK(rc == (e.id ? -E_MISMATCH : 0) && (!rc || strstr(e.msg, dir)));
    return rc;
}

static void whole_file(const char *path, unsigned char d[32])
{
    struct err e = {0};
    CHECK(!sha256_file(path, d, &e));
}

static bool any(void *ctx, const void *data, size_t n) { return (void)ctx, (void)data, n > 0; }
static void digest(const struct filemap *m, unsigned char d[32]) { CHECK(digest_files(&m, 1, any, NULL, d)); }

/* Renamed over between the mapping and the digest: each keeps its own. */
static void digests(void)
{
    struct filemap m;
    unsigned char of_a[32], of_b[32], got[32];
    make(a, 'a');
    make(b, 'b');
    whole_file(a, of_a);
    whole_file(b, of_b);
    open_map(&m, a);
    CHECK(!rename(b, a));
    digest(&m, got);
    CHECK(!memcmp(got, of_a, 32));
    filemap_close(&m);
    for (int again = 0; again < 2; again++) {
        open_map(&m, a);
        digest(&m, got);
        CHECK(!memcmp(got, of_b, 32));
        filemap_close(&m);
    }
}

static void changes(void)
{
    struct filemap m, other;
    make(a, 'a');
    make(b, 'b');
    open_map(&m, a);
    open_map(&other, b);
    CHECK(!check(true));
    CHECK(!unlink(b) && !check(true)); /* gone is not changed */
    make(b, 'c');
    CHECK(check(true) && !check(false));
    filemap_close(&other);
    CHECK(!check(true));
    filemap_close(&m);
    open_map(&m, a);
    overwrite(a);
    CHECK(check(false));
    filemap_close(&m);
    CHECK(check(false)); /* a commit comes after its inputs were closed */
}

static void cut(void)
{
    int status = 0, said[2];
    char text[600];
    CHECK(!pipe(said));
    pid_t pid = fork();
    if (pid == 0) {
        struct filemap m;
        dup2(said[1], STDERR_FILENO);
        make(a, 'a');
        open_map(&m, a);
        filemap_catch_bus();
        if (truncate(a, 4096)) _exit(1);
        _exit(m.data[SIZE - 1] ? 2 : 3);
    }
    close(said[1]);
    waitpid(pid, &status, 0);
    ssize_t n = read(said[0], text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    close(said[0]);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 74, "status %d", status);
    CHECK_MSG(strstr(text, a) && strstr(text, "byte 17825791 of 17825792") && strstr(text, "[E-IO]\n"), "%s", text);
}

int main(void)
{
    if (!mkdtemp(dir)) return 1;
    setenv("XDG_CACHE_HOME", dir, 1);
    a = path_join(dir, "a");
    b = path_join(dir, "b");
    RUN(cut, "filemap/cut");
    RUN(digests, "filemap/digests");
    RUN(changes, "filemap/changes");
    tree_remove(dir);
    free(a);
    free(b);
    return test_failed;
}
