/* sums: MANIFEST of a directory: what is written, what is checked, what is foreign. */
#include "libcommon/base/sums.h"

#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/out.h"
#include "tests/test.h"

static char dir[] = "/tmp/peft-sums-XXXXXX";

static void put(const char *name, const char *text)
{
    char *path = path_join(dir, name);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
    free(path);
}

static void make(struct sums *s, struct err *e)
{
    put("b", "abc");
    put("sub/a", "");
    CHECK(!sums_add_tree(s, dir, "", e) && s->n == 2);
}

static void format(void)
{
    struct sums s = {0}, back = {0};
    struct buf b = {0};
    struct err e = {0};
    make(&s, &e);
    sums_text(&s, &b);
    /* what sha256sum b sub/a prints */
    CHECK_STR(buf_str(&b), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n"
                           "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  sub/a\n");
    put(SUMS_FILE, buf_str(&b));
    CHECK(!sums_read(&back, dir, E_VERIFY, &e) && back.n == 2 && !sums_check(&back, dir, E_VERIFY, &e));
    CHECK(sums_foreign(&back, dir) == NULL);
    sums_fini(&s);
    sums_fini(&back);
    buf_fini(&b);
}

static void differences(void)
{
    struct sums s = {0};
    struct err e = {0};
    make(&s, &e);
    put("b", "abd");
    CHECK(sums_check(&s, dir, E_ADAPTER, &e) == -E_ADAPTER && strstr(e.msg, "/b: has another SHA-256"));
    sums_fini(&s);
    make(&s, &(struct err){0});
    char *path = path_join(dir, "sub/a");
    CHECK(!unlink(path));
    e = (struct err){0};
    CHECK(sums_check(&s, dir, E_ADAPTER, &e) == -E_ADAPTER && strstr(e.msg, "sub/a: is missing"));
    free(path);
    put("sub/a", "");
    put("sub/c", "");
    char *foreign = sums_foreign(&s, dir);
    CHECK(foreign && !strcmp(foreign, "sub/c"));
    free(foreign);
    sums_fini(&s);
}

static void damaged(void)
{
#define HEX "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    static const char *const bad[] = {"",
                                      "x\n",
                                      HEX "  b",
                                      HEX " b\n",
                                      HEX "  \n",
                                      HEX "  /etc/passwd\n",
                                      HEX "  ../b\n",
                                      HEX "  sub/../../b\n",
                                      HEX "  sub/\n",
                                      "g" HEX "  b\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sums s = {0};
        struct err e = {0};
        put(SUMS_FILE, bad[i]);
        CHECK_MSG(sums_read(&s, dir, E_VERIFY, &e) == -E_VERIFY, "%s", bad[i]);
        sums_fini(&s);
    }
    static const char *const good[] = {HEX "  ..b\n", HEX "  a b\n", HEX "  sub/.b\n"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct sums s = {0};
        struct err e = {0};
        put(SUMS_FILE, good[i]);
        CHECK_MSG(sums_read(&s, dir, E_VERIFY, &e) == 0 && s.n == 1, "%s", good[i]);
        sums_fini(&s);
    }
}

int main(void)
{
    CHECK(mkdtemp(dir) != NULL);
    char *sub = path_join(dir, "sub");
    CHECK(!mkdir(sub, 0777));
    free(sub);
    RUN(format, "sums/format");
    RUN(differences, "sums/differences");
    RUN(damaged, "sums/damaged");
    tree_remove(dir);
    return test_failed;
}
