/* provenance: the step that a run adds to the chain in a stream's header. Nothing in it tells of the machine, the user
 * or the hour: two runs of one command on one input write the same bytes. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/num.h"
#include "libcommon/base/out.h"
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

static void put_note(struct buf *list, const char *prefix, size_t n, const char *path)
{
    char *note = strcmp(path, "-") ? paths_in(path, path_note) : mem_dupz(path),
         *text = mem_printf("%.*s%s", (int)n, prefix, note);
    mp_put_lossy(list, text, strlen(text));
    free(text);
    free(note);
}

/* Options that cannot change the data. */
static bool is_neutral(const struct opt *o)
{
    static const char *const names[] = {"output", "threads", "errors", "force", "quiet", "verbose", "resume"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(o->name, names[i])) return true;
    return false;
}

/* The argument of an option: what names a file by its last part, alone or behind the key of --set. */
static void put_argument(struct buf *list, const struct opt_set *set, const struct opt *o, const char *word,
                         const char *arg)
{
    const size_t n = (size_t)(arg - word), key = strcspn(arg, "=");
    if (o->file)
        put_note(list, word, n, arg);
    else if (!strcmp(o->name, "set") && arg[key] && opt_key_is_file(set, arg, key))
        put_note(list, word, n + key + 1, arg + key + 1);
    else
        put_redacted(list, word);
}

void step_argv(struct buf *list, uint32_t *n, const struct opt_set *set, int argc, char *const *argv)
{
    bool operands = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *arg = NULL;
        const struct opt *o = operands ? NULL : opt_of_word(set, a, &arg);
        const bool apart = o && !arg && o->type != OPT_FLAG && !o->bare && i + 1 < argc;
        if (o && is_neutral(o)) {
            i += apart;
            continue;
        }
        if (arg)
            put_argument(list, set, o, a, arg);
        else if (o || (!operands && !strcmp(a, "--")))
            put_redacted(list, a);
        else
            put_note(list, "", 0, a);
        ++*n;
        if (!o && !strcmp(a, "--")) operands = true;
        if (!apart) continue;
        put_argument(list, set, o, argv[i + 1], argv[i + 1]);
        ++*n;
        i++;
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
    if (run->set) step_argv(&list, &n, run->set, run->argc, run->argv);
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
        put_note(b, "", 0, run->operands.v[i]);
    }
    steps->n++;
    buf_fini(&list);
}

void chain_add(struct chain *to, const struct chain *from)
{
    buf_add(&to->raw, from->raw.p, from->raw.n);
    to->n += from->n;
}
