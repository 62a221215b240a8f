/* mem: growth, overflow and exhaustion; and digest, against FIPS 180-4. */
#include "libcommon/base/mem.h"

#include <sys/wait.h>
#include <unistd.h>

#include "libcommon/base/digest.h"
#include "tests/test.h"

static void buffers(void)
{
    struct buf b = {0};
    CHECK_STR(buf_str(&b), "");
    buf_add(&b, NULL, 0);
    for (int i = 0; i < 1000; i++) buf_printf(&b, "%d,", i);
    CHECK(b.n == 10 * 2 + 90 * 3 + 900 * 4);
    buf_addc(&b, '!');
    buf_addz(&b, "end");
    CHECK(!strcmp(buf_str(&b) + b.n - 8, "999,!end"));
    buf_add(&b, "\0x", 2);
    CHECK(b.p[b.n - 1] == 'x');
    buf_fini(&b);
    CHECK(!b.p && !b.n);
    struct u32vec v = {0};
    for (uint32_t i = 0; i < 100000; i++) u32vec_add(&v, i * 7);
    CHECK(v.n == 100000 && v.v[99999] == 99999 * 7);
    free(v.v);
}

static void strings(void)
{
    char *s = mem_dup("abcdef", 3);
    CHECK_STR(s, "abc");
    free(s);
    CHECK(mem_dupz(NULL) == NULL);
    s = mem_printf("%s-%d", "x", 7);
    CHECK_STR(s, "x-7");
    free(s);
    s = mem_alloc(0, 0);
    CHECK(s != NULL);
    free(s);
    int *z = mem_alloc(100, sizeof *z), sum = 0;
    for (int i = 0; i < 100; i++) sum |= z[i];
    CHECK(sum == 0);
    free(z);
}

static void hook(size_t bytes) { _exit(bytes == SIZE_MAX ? 42 : 43); }

/* Exit code of a child that wants too much; with_hook: the hook is asked. */
static int starve(int with_hook, int grow)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (with_hook)
            mem_on_exhausted(hook);
        else
            close(2);
        size_t cap = 16;
        void *p = grow ? mem_grow(NULL, &cap, SIZE_MAX / 2 + 2, 2) : mem_alloc(SIZE_MAX / 2, 3);
        _exit(p ? 0 : 1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__ /* malloc is the sanitizer's there */
/* What a library's call comes to when there is no memory: the exit of mem_give_up, or what the block is told to be. */
static int library_wants(int which, bool may_fail)
{
    volatile size_t huge = SIZE_MAX / 4;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        void *p = NULL;
        mem_on_exhausted(hook);
        if (may_fail) mem_may_fail(true);
        if (which == 0) p = malloc(huge);
        if (which == 1) p = calloc(1, huge);
        if (which == 2) p = realloc(malloc(1), huge);
        if (which == 3) p = aligned_alloc(64, huge);
        if (which == 4 && posix_memalign(&p, 64, huge)) p = NULL;
        if (may_fail) mem_may_fail(false);
        if (p || (may_fail && malloc(huge))) _exit(1);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
#endif

static void exhaustion(void)
{
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    for (int which = 0; which < 5; which++) CHECK(library_wants(which, false) == 43);
    CHECK(library_wants(0, true) == 43 && library_wants(1, true) == 43); /* once told that it ends, the next one does */
#endif
    CHECK(starve(1, 0) == 42);
    CHECK(starve(1, 1) == 42);
    CHECK(starve(0, 0) == 71);
}

static void sha256(void)
{
    unsigned char d[32], d2[32];
    char hex[65];
    sha256_of("abc", 3, d);
    digest_hex(d, hex);
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(digest_parse(hex, d2) == 0 && !memcmp(d, d2, 32));
    CHECK(digest_parse("ba78", d2) == -1);
    hex[10] = 'g';
    CHECK(digest_parse(hex, d2) == -1);
    CHECK(digest_parse(NULL, d2) == -1);
    struct sha256 *s = sha256_new();
    sha256_add(s, "a", 1);
    sha256_peek(s, d2);
    sha256_add(s, "bc", 2);
    sha256_done(s, d2);
    CHECK(!memcmp(d, d2, 32));
    struct err e = {0};
    CHECK(sha256_file("/nonexistent/x", d, &e) == -E_NOINPUT);
    e = (struct err){0};
    CHECK(sha256_file("/", d, &e) == -E_NOINPUT);
    e = (struct err){0};
    CHECK(sha256_file("/dev/null", d, &e) == 0);
    digest_hex(d, hex);
    CHECK_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void texts(void)
{
    CHECK(str_is((struct str){"abc", 2}, "ab") && !str_is((struct str){"abc", 2}, "abc"));
    CHECK(!str_is((struct str){"abc", 3}, "ab") && str_is((struct str){"", 0}, ""));
    CHECK(ends_with("a.gguf", ".gguf") && ends_with(".gguf", ".gguf") && ends_with("x", ""));
    CHECK(!ends_with("gguf", ".gguf") && !ends_with("a.ggufs", ".gguf") && !ends_with("", "x"));
}

int main(void)
{
    RUN(buffers, "mem/buffers");
    RUN(strings, "mem/strings");
    RUN(texts, "mem/texts");
    RUN(exhaustion, "mem/exhaustion");
    RUN(sha256, "digest/sha256");
    return test_failed;
}
