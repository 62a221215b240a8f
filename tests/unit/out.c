/* out: an output is whole or absent, whatever goes wrong. */
#include "libcommon/base/out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "tests/test.h"

static char dir[64];
static char ring[8][128];
static const char *in(const char *name) /* a path in the test's directory */
{
    static unsigned next;
    char *p = ring[next++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(in(name), "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static int holds(const char *name, const char *text)
{
    struct err e = {0};
    size_t n;
    char *s = file_read(in(name), 1 << 20, &n, &e);
    int same = s && n == strlen(text) && !memcmp(s, text, n);
    free(s);
    return same;
}

static int entries(void)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *f; (f = readdir(d));) n += strcmp(f->d_name, ".") && strcmp(f->d_name, "..");
    closedir(d);
    return n;
}

static void fresh(void)
{
    if (dir[0]) tree_remove(dir);
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/peft-out-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    CHECK(mkdtemp(dir) != NULL);
}

static void commit_and_abort(void)
{
    struct out o;
    struct err e = {0};
    fresh();
    CHECK(!out_open(&o, in("f"), false, true, &e) && !out_write(&o, "abc", 3, &e));
    CHECK(!file_exists(in("f")) && entries() == 1);
    CHECK(!out_printf(&o, &e, "%d", 42) && !out_pwrite(&o, "X", 1, 1, &e) && !out_commit(&o, &e));
    CHECK(holds("f", "aXc42") && entries() == 1);
    CHECK(!out_open(&o, in("g"), false, true, &e) && !out_write(&o, "abc", 3, &e) && !out_flush(&o, &e));
    out_abort(&o);
    out_abort(&o);
    CHECK(entries() == 1 && !e.id);
    struct out zero = {0};
    out_abort(&zero);
    CHECK(fcntl(0, F_GETFD) != -1); /* fd 0 of a zeroed struct is not ours */
}

static void large_writes(void)
{
    enum { N = 300000 };
    struct out o;
    struct err e = {0};
    char *a = mem_alloc(N, 1);
    for (int i = 0; i < N; i++) a[i] = (char)(i * 31 >> 3);
    fresh();
    CHECK(!out_open(&o, in("f"), false, true, &e));
    for (int at = 0, step = 1; at < N; at += step, step = step * 3 % 70001 + 1) {
        if (step > N - at) step = N - at;
        CHECK(!out_write(&o, a + at, (size_t)step, &e));
    }
    CHECK(o.bytes == N && !out_commit(&o, &e));
    size_t n = 0;
    char *b = file_read(in("f"), N, &n, &e);
    CHECK(b && n == N && !memcmp(a, b, N));
    free(b);
    CHECK(!file_read(in("f"), N - 1, &n, &e) && e.id == E_NOINPUT);
    struct filemap m;
    e = (struct err){0};
    CHECK(!filemap_open(&m, in("f"), &e) && m.size == N && !memcmp(m.data, a, N));
    filemap_close(&m);
    CHECK(filemap_open(&m, dir, &e) == -E_NOINPUT);
    free(a);
}

static void existing(void)
{
    struct out o;
    struct err e = {0};
    fresh();
    put("f", "old");
    CHECK(out_open(&o, in("f"), false, true, &e) == -E_EXISTS && holds("f", "old"));
    e = (struct err){0};
    CHECK(!out_open(&o, in("f"), true, true, &e) && !out_write(&o, "new", 3, &e) && holds("f", "old"));
    CHECK(!out_commit(&o, &e) && holds("f", "new") && entries() == 1);
    /* It came into being between open and commit. */
    CHECK(!out_open(&o, in("g"), false, true, &e) && !out_write(&o, "mine", 4, &e));
    put("g", "theirs");
    CHECK(out_commit(&o, &e) == -E_EXISTS && holds("g", "theirs") && entries() == 2);
}

static void symlinks(void)
{
    struct out o;
    struct err e = {0};
    fresh();
    put("target", "precious");
    CHECK(!symlink("target", in("link")));
    CHECK(out_open(&o, in("link"), false, true, &e) == -E_EXISTS);
    e = (struct err){0};
    CHECK(!out_open(&o, in("link"), true, true, &e) && !out_write(&o, "x", 1, &e) && !out_commit(&o, &e));
    CHECK(holds("target", "precious") && holds("link", "x"));
    struct stat st;
    CHECK(!lstat(in("link"), &st) && S_ISREG(st.st_mode));
    /* The directory may be reached through a link. */
    CHECK(!mkdir(in("d"), 0777) && !symlink("d", in("dl")));
    CHECK(!out_open(&o, in("dl/f"), false, true, &e) && !out_commit(&o, &e) && holds("d/f", ""));
    struct outdir d;
    CHECK(!outdir_open(&d, in("dl/run"), false, &e) && !outdir_commit(&d, &e) && file_is_dir(in("d/run")));
}

static void impossible_names(void)
{
    struct out o;
    struct err e = {0};
    fresh();
    CHECK(out_open(&o, in("none/f"), false, true, &e) == -E_CREATE && strstr(e.msg, "none"));
    e = (struct err){0};
    CHECK(out_open(&o, dir, true, true, &e) == -E_CREATE);
    e = (struct err){0};
    CHECK(out_open(&o, "", true, true, &e) == -E_CREATE);
    e = (struct err){0};
    CHECK(out_open(&o, in("x/"), true, true, &e) == -E_CREATE);
    CHECK(entries() == 0);
}

static void full_device(void)
{
    struct out o;
    struct err e = {0};
    if (access("/dev/full", W_OK)) return;
    CHECK(!out_open(&o, "/dev/full", false, true, &e) && !out_write(&o, "x", 1, &e));
    CHECK(out_commit(&o, &e) == -E_IO && e.hint[0]);
}

/* A child writes past a file size limit. */
static void size_limit(void)
{
    fresh();
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct out o;
        struct err e = {0};
        struct rlimit r = {100000, 100000};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &r);
        int rc = out_open(&o, in("f"), false, true, &e);
        for (int i = 0; !rc && i < 200; i++) rc = out_write(&o, ring, 1000, &e);
        if (!rc)
            rc = out_commit(&o, &e);
        else
            out_abort(&o);
        _exit(rc == -E_IO ? 7 : 8);
    }
    int status;
    waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    CHECK(entries() == 0);
}

/* A child is killed with an output open; the next run of the same output removes what it left. */
static void stale_temporaries(void)
{
    struct out o;
    struct err e = {0};
    int ready[2];
    fresh();
    put(".f.tmp-1", "left by a process of long ago, whose id lives again");
    put(".f.tmp-x", "not ours");
    put(".ff.tmp-2", "of another output");
    CHECK(!pipe(ready));
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        out_open(&o, in("f"), false, true, &e);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        pause();
        _exit(1);
    }
    char c;
    CHECK(read(ready[0], &c, 1) == 1);
    CHECK(!file_exists(in(".f.tmp-1")) && entries() == 3);
    CHECK(!out_open(&o, in("f"), false, true, &e) && entries() == 4); /* the living child's is left alone */
    out_abort(&o);
    CHECK(entries() == 3);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    CHECK(entries() == 3);
    CHECK(!out_open(&o, in("f"), false, true, &e) && !out_commit(&o, &e) && entries() == 3);
    close(ready[0]);
    close(ready[1]);
}

static void directories(void)
{
    struct outdir d;
    struct err e = {0};
    fresh();
    put("source", "bytes");
    CHECK(!outdir_open(&d, in("run/"), false, &e));
    CHECK(!outdir_put(&d, "a.json", "{}", 2, &e) && !outdir_copy(&d, "b", in("source"), &e));
    char *sub = path_join(d.tmp, "deep");
    CHECK(!mkdir(sub, 0777));
    free(sub);
    CHECK(!file_exists(in("run")) && !outdir_commit(&d, &e));
    CHECK(holds("run/a.json", "{}") && holds("run/b", "bytes") && file_is_dir(in("run/deep")) && entries() == 2);
    CHECK(outdir_open(&d, in("run"), false, &e) == -E_EXISTS);
    e = (struct err){0};
    CHECK(!outdir_open(&d, in("run"), OUTDIR_REPLACE_OWN, &e) && !outdir_put(&d, "c", "new", 3, &e));
    CHECK(holds("run/a.json", "{}") && !outdir_commit(&d, &e));
    CHECK(holds("run/c", "new") && !file_exists(in("run/a.json")) && entries() == 2);
    CHECK(!outdir_open(&d, in("r2"), false, &e) && !outdir_put(&d, "x", "", 0, &e));
    outdir_abort(&d);
    outdir_abort(&d);
    CHECK(entries() == 2);
    CHECK(!outdir_open(&d, in("r3"), false, &e));
    static const char *const hostile[] = {"../x", "/etc/x", "a/b", "..", ".", "", "-rf"};
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct err h = {0};
        CHECK_MSG(outdir_put(&d, hostile[i], "", 0, &h) == -E_POLICY, "%s", hostile[i]);
    }
    put("r3", "in the way");
    CHECK(outdir_commit(&d, &e) == -E_EXISTS && holds("r3", "in the way") && entries() == 3);
}

/* -f of a user: what has a seal and nothing else in it, or nothing at all. */
static void replaces_what_was_made(void)
{
    struct outdir d;
    struct err e = {0};
    fresh();
    CHECK(!mkdir(in("x"), 0777) && !outdir_open(&d, in("x"), OUTDIR_REPLACE_MADE, &e));
    char *sub = path_join(d.tmp, "deep"), *file = path_join(sub, "b");
    struct out o;
    CHECK(!mkdir(sub, 0777) && !out_open(&o, file, false, true, &e) && !out_commit(&o, &e));
    free(sub);
    free(file);
    CHECK(!outdir_put(&d, "a", "1", 1, &e) && !outdir_seal(&d, &e) && !outdir_commit(&d, &e) && holds("x/a", "1"));
    static const char *const foreign[] = {"x/keep.txt", "x/deep/keep.txt", "x/.hidden"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        put(foreign[i], "precious");
        e = (struct err){0};
        CHECK(outdir_open(&d, in("x"), OUTDIR_REPLACE_MADE, &e) == -E_EXISTS && strstr(e.msg, path_base(foreign[i])));
        CHECK(holds(foreign[i], "precious") && !unlink(in(foreign[i])));
    }
    e = (struct err){0};
    CHECK(!outdir_open(&d, in("x"), OUTDIR_REPLACE_MADE, &e) && !outdir_put(&d, "a", "2", 1, &e));
    put("x/late.txt", "precious"); /* while the new one was being made */
    CHECK(outdir_commit(&d, &e) == -E_EXISTS && holds("x/late.txt", "precious") && holds("x/a", "1") && entries() == 1);
    e = (struct err){0};
    CHECK(!unlink(in("x/late.txt")) && !outdir_open(&d, in("x"), OUTDIR_REPLACE_MADE, &e));
    CHECK(!outdir_commit(&d, &e) && !file_exists(in("x/a")));
    put("y", "a file");
    CHECK(outdir_open(&d, in("y"), OUTDIR_REPLACE_MADE, &e) == -E_EXISTS && holds("y", "a file"));
    static const char *const damaged[] = {"", "keep\n", "../../etc/passwd\n"};
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        put("x/MANIFEST", damaged[i]);
        put("x/keep", "precious");
        e = (struct err){0};
        CHECK(outdir_open(&d, in("x"), OUTDIR_REPLACE_MADE, &e) == -E_EXISTS && holds("x/keep", "precious"));
    }
}

static void not_the_floor(void)
{
    struct outdir d;
    struct err e = {0};
    char cwd[4096];
    fresh();
    CHECK(getcwd(cwd, sizeof cwd) && !mkdir(in("a"), 0777) && !chdir(in("a")));
    CHECK(outdir_open(&d, dir, true, &e) == -E_POLICY);
    e = (struct err){0};
    CHECK(outdir_open(&d, in("a"), true, &e) == -E_POLICY);
    e = (struct err){0};
    CHECK(outdir_open(&d, ".", true, &e) == -E_CREATE && outdir_open(&d, "/", true, &e) == -E_CREATE);
    CHECK(!chdir(cwd) && file_is_dir(in("a")));
}

static void cleanup(void)
{
    struct out o;
    struct outdir d;
    struct err e = {0};
    fresh();
    put("keep", "kept");
    CHECK(!out_open(&o, in("f"), false, true, &e) && !outdir_open(&d, in("r"), false, &e));
    CHECK(!outdir_put(&d, "x", "1", 1, &e));
    char *link = path_join(d.tmp, "link");
    CHECK(!symlink("..", link)); /* removal must not follow it */
    free(link);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        out_cleanup_all(); /* a child owns nothing */
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    CHECK(entries() == 3);
    out_cleanup_all();
    CHECK(entries() == 1 && holds("keep", "kept"));
    out_abort(&o);
    outdir_abort(&d);
}

static void paths(void)
{
    static const char *const c[][3] = {{"a/b", "a", "b"}, {"b", ".", "b"}, {"/b", "/", "b"}, {"a//b", "a", "b"}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        char *d = path_dir(c[i][0]);
        CHECK_STR(d, c[i][1]);
        CHECK_STR(path_base(c[i][0]), c[i][2]);
        free(d);
    }
    char *j = path_join("a/", "b"), *k = path_join("a", "b"), *l = path_join("", "b");
    CHECK(!strcmp(j, "a/b") && !strcmp(k, "a/b") && !strcmp(l, "b"));
    free(j);
    free(k);
    free(l);
}

int main(void)
{
    RUN(commit_and_abort, "out/commit");
    RUN(large_writes, "out/large");
    RUN(existing, "out/existing");
    RUN(symlinks, "out/symlinks");
    RUN(impossible_names, "out/names");
    if (access("/dev/full", W_OK))
        SKIP("out/full", "no /dev/full");
    else
        RUN(full_device, "out/full");
    RUN(size_limit, "out/size-limit");
    RUN(stale_temporaries, "out/stale");
    RUN(directories, "outdir/commit");
    RUN(replaces_what_was_made, "out/replaces_what_was_made");
    RUN(not_the_floor, "outdir/cwd");
    RUN(cleanup, "out/cleanup");
    RUN(paths, "out/paths");
    tree_remove(dir);
    return test_failed;
}
