/* name: what outputs call a model. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/gguf.h"
#include "libcommon/model/model.h"
#include "tests/test.h"

static void ids(void)
{
    static const char *const yes[] = {"org/name", "Org-1/Some.Model_2"};
    static const char *const no[] = {"name",    "/org/name", "org/",      "/name", "org/name/x", "./name",
                                     "../name", "~/name",    "org/.name", "a b/c", "-o/x",       ""};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) CHECK_MSG(model_name_is_id(yes[i]), "%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) CHECK_MSG(!model_name_is_id(no[i]), "%s", no[i]);
}

static void named(const struct weights *w, const char *want)
{
    char *name = model_name_of(w);
    CHECK_STR(name, want);
    free(name);
}

static void last_parts(void)
{
    static const char *const paths[] = {"m.gguf", "./m.gguf", "/nowhere/m.gguf", "dir/m.gguf/", "a/../m.gguf"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char *card = model_card_name(paths[i]);
        CHECK_STR(card, "m.gguf");
        free(card);
    }
    char *note = path_note("."), *cwd = getcwd(NULL, 0);
    CHECK_STR(note, path_base(cwd)); /* a dot says nothing */
    free(note);
    free(cwd);
    note = path_note("/");
    CHECK_STR(note, "/");
    free(note);
}

static void spelled(void)
{
    static const char *const below[] = {"d/m", "./d/m", "d/../d/./m", "/tmp/peft-name/d/m", "l/m"};
    CHECK(!mkdir("/tmp/peft-name", 0777) && !chdir("/tmp/peft-name") && !mkdir("d", 0777) && !symlink("d", "l"));
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        char *s = path_spelled(below[i]);
        CHECK_STR(s, "d/m");
        free(s);
    }
    static const char *const other[][2] = {{"../m", "/tmp/m"}, {"/tmp/x", "/tmp/x"}, {"d/", "d"}, {"d/.", "d"},
                                           {"..", "/tmp"},     {"no/m", "no/m"},     {"-", "-"}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        char *s = path_spelled(other[i][0]);
        CHECK_STR(s, other[i][1]);
        free(s);
    }
    CHECK(!chdir("/"));
    tree_remove("/tmp/peft-name");
}

static void config(void)
{
    struct weights w = {.path = "x/dir", .config_json = "{\"_name_or_path\": \"org/name\"}"};
    named(&w, "org/name");
    w.config_json = "{\"_name_or_path\": \"/home/somebody/dir\"}";
    named(&w, "x/dir");
    CHECK(!mkdir("/tmp/peft-name", 0777) && !chdir("/tmp/peft-name") && !mkdir("org", 0777) &&
          !mkdir("org/name", 0777));
    w.config_json = "{\"_name_or_path\": \"org/name\"}"; /* a directory here */
    named(&w, "x/dir");
    CHECK(!chdir("/"));
    tree_remove("/tmp/peft-name");
}

static void text(struct buf *b, const char *s)
{
    uint64_t n = strlen(s);
    buf_add(b, (const char *)&n, sizeof n);
    buf_add(b, s, n);
}

static void gguf(void)
{
    static const struct {
        const char *key, *value, *want;
    } t[] = {{"general.repo_url", "https://huggingface.co/org/name", "org/name"},
             {"general.source.huggingface.repository", "org/name", "org/name"},
             {"general.repo_url", "https://example.org/org/name", "d/m.gguf"},
             /* what it was made of is another model */
             {"general.base_model.0.repo_url", "https://huggingface.co/org/base", "d/m.gguf"}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct buf b = {0};
        struct err e = {0};
        const uint32_t version = 3, string = 8;
        const uint64_t tensors = 0, pairs = 1;
        buf_add(&b, "GGUF", 4);
        buf_add(&b, (const char *)&version, sizeof version);
        buf_add(&b, (const char *)&tensors, sizeof tensors);
        buf_add(&b, (const char *)&pairs, sizeof pairs);
        text(&b, t[i].key);
        buf_add(&b, (const char *)&string, sizeof string);
        text(&b, t[i].value);
        struct gguf *g = gguf_parse(b.p, b.n, "test", &e);
        CHECK_MSG(g, "%s", e.msg);
        if (g) named(&(struct weights){.path = "d/m.gguf", .gguf = g}, t[i].want);
        gguf_close(g);
        buf_fini(&b);
    }
}

int main(void)
{
    RUN(ids, "name/ids");
    RUN(last_parts, "name/last_parts");
    RUN(spelled, "name/spelled");
    RUN(config, "name/config");
    RUN(gguf, "name/gguf");
    return test_failed;
}
