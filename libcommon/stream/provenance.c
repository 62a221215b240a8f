/* provenance: the step that a run adds to the chain in a stream's header. Nothing in it tells of the machine, the user
 * or the hour: two runs of one command on one input write the same bytes. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/num.h"
#include "libcommon/stream/body.h"

static bool path_begins(const char *arg, const char *at)
{
    return at == arg || strchr("=,: '\"", at[-1]) || (at == arg + 2 && arg[0] == '-'); /* -m/path */
}

/* Append arg; an absolute path in it, from where it begins to the next separator, is cut to its last part. */
static void redact(struct buf *out, const char *arg)
{
    for (const char *p = arg; *p;) {
        if (*p != '/' || !path_begins(arg, p)) {
            buf_addc(out, *p++);
            continue;
        }
        size_t n = strcspn(p, ",: '\"\n");
        size_t base = n;
        while (base > 0 && p[base - 1] != '/') base--;
        buf_add(out, base < n ? p + base : "/", base < n ? n - base : 1);
        p += n;
    }
}

static void put_redacted(struct buf *list, const char *arg)
{
    struct buf t = {0};
    redact(&t, arg);
    mp_put_lossy(list, t.p ? t.p : "", t.n);
    buf_fini(&t);
}

/* 1: a flag that cannot change the data, 2: an option with an argument that cannot, 0: any other. */
static int neutral_long(const char *name, size_t n)
{
    static const struct {
        const char *name;
        int what;
    } t[] = {{"output", 2}, {"threads", 2}, {"errors", 2}, {"force", 1}, {"quiet", 1}, {"verbose", 1}, {"resume", 1}};
    for (size_t i = 0; n > 2 && i < sizeof t / sizeof *t; i++)
        if (n <= strlen(t[i].name) && !memcmp(t[i].name, name, n)) return t[i].what;
    return 0;
}

void step_argv(struct buf *list, uint32_t *n, int argc, char *const *argv)
{
    bool operands = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (!operands && a[0] == '-' && a[1] == '-' && a[2]) {
            size_t len = strcspn(a + 2, "=");
            int what = neutral_long(a + 2, len);
            if (what == 2 && !a[2 + len]) i++;
            if (what) continue;
        } else if (!operands && a[0] == '-' && a[1] && a[1] != '-') {
            const char *p = a + 1 + strspn(a + 1, "fqv");
            if (*p == 'o') {
                if (!p[1]) i++;
                continue;
            }
            if (!*p) continue;
        }
        if (!strcmp(a, "--")) operands = true;
        put_redacted(list, a);
        ++*n;
    }
}

void step_put(struct chain *steps, const struct tool_run *run)
{
    struct buf list = {0}, *b = &steps->raw;
    uint32_t n = 0;
    unsigned char sha[32] = {0};
    char hex[65];
    int64_t seed = 0;
    mp_put_map(b, 7);
    mp_put_strz(b, "tool");
    mp_put_strz(b, run->tool->name);
    mp_put_strz(b, "version");
    mp_put_strz(b, peft_version);
    mp_put_strz(b, "git_sha");
    mp_put_strz(b, peft_revision);
    mp_put_strz(b, "argv");
    step_argv(&list, &n, run->argc, run->argv);
    mp_put_array(b, n);
    buf_add(b, list.p, list.n);
    mp_put_strz(b, "config_digest");
    if (run->set) opt_digest(run->set, sha);
    digest_hex(sha, hex);
    mp_put_str(b, hex, 64);
    mp_put_strz(b, "seed");
    const char *text = run->set ? opt_text(run->set, "seed") : NULL;
    if (text) num_i64(text, strlen(text), &seed);
    mp_put_int(b, seed);
    mp_put_strz(b, "inputs");
    mp_put_array(b, (uint32_t)run->operands.n);
    for (int i = 0; i < run->operands.n; i++) {
        const char *slash = strrchr(run->operands.v[i], '/');
        const char *name = slash && slash[1] ? slash + 1 : run->operands.v[i];
        mp_put_lossy(b, name, strlen(name));
    }
    steps->n++;
    buf_fini(&list);
}

void chain_add(struct chain *to, const struct chain *from)
{
    buf_add(&to->raw, from->raw.p, from->raw.n);
    to->n += from->n;
}
