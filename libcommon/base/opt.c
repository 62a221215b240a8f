/* opt: from rows to values. This file builds the set and takes in argv, --set and the environment; opt_yaml.c the
 * config. */
#include "libcommon/base/opt.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
#include "libcommon/base/opt_set.h"
#include "libcommon/base/out.h"

#define COMMON(field) offsetof(struct opt_common, field)
const struct opt opt_common_rows[] = {
    {.name = "output",
     .ch = 'o',
     .type = OPT_STR,
     .file = true,
     .off = COMMON(output),
     .arg = "OUT",
     .help = "write to OUT, which appears when it is complete; - is stdout"},
    {.name = "force", .ch = 'f', .type = OPT_FLAG, .off = COMMON(force), .help = "replace OUT if it exists"},
    {.name = "quiet", .ch = 'q', .type = OPT_FLAG, .off = COMMON(quiet), .help = "warnings and errors only"},
    {.name = "verbose", .ch = 'v', .type = OPT_FLAG, .off = COMMON(verbose), .help = "say more on stderr"},
    {.name = "dry-run", .ch = 'n', .type = OPT_FLAG, .off = COMMON(dry_run), .help = "check everything, write nothing"},
    {.name = "print-config",
     .type = OPT_FLAG,
     .off = COMMON(print_config),
     .help = "print the resolved options as YAML, for -c, and exit"},
    {.name = "get",
     .type = OPT_STR,
     .off = COMMON(get),
     .arg = "KEY",
     .help = "print the value of one key of the configuration, as dataset.path, and exit"},
    {.name = "json", .type = OPT_FLAG, .off = COMMON(json), .help = "print results as JSON"},
    {.name = "errors",
     .type = OPT_ENUM,
     .off = COMMON(errors),
     .choices = "text|json",
     .def = "text",
     .help = "form of the messages on stderr"},
    {.name = "seed",
     .type = OPT_INT,
     .off = COMMON(seed),
     .section = "",
     .arg = "N",
     .def = "42",
     .lo = 0,
     .hi = 9e15,
     .help = "seed of every random choice"},
    {.name = "threads",
     .type = OPT_INT,
     .off = COMMON(threads),
     .section = "runtime",
     .key = "threads",
     .arg = "N",
     .def = "0",
     .lo = 0,
     .hi = 1024,
     .help = "threads; 0 is one a physical core; results do not depend on it"},
    OPT_END,
};
const struct opt opt_control_rows[] = {
    {.name = "config",
     .ch = 'c',
     .type = OPT_STR,
     .file = true,
     .arg = "FILE",
     .help = "take options from a YAML file; - is stdin"},
    {.name = "set", .type = OPT_STR, .arg = "KEY=VALUE", .help = "set one key of the config, as peft.lora.r=16"},
    {.name = "help", .ch = 'h', .type = OPT_FLAG, .help = "print this and exit"},
    {.name = "version", .ch = 'V', .type = OPT_FLAG, .help = "print the version and exit"},
    OPT_END,
};

/* ---- the set ---------------------------------------------------------------------------------- */

void *opt_set_own(struct opt_set *s, void *p)
{
    s->owned = mem_grow(s->owned, &s->cap_owned, s->n_owned + 1, sizeof *s->owned);
    return s->owned[s->n_owned++] = p;
}

static int count(const struct opt *rows)
{
    int n = 0;
    while (rows[n].name) n++;
    return n;
}

static void add_rows(struct opt_set *s, const struct opt *rows, void *base)
{
    for (const struct opt *o = rows; o->name; o++)
        s->rows[s->n++] = (struct opt_row){.o = o, .path = opt_path(o, 0), .dest = base ? (char *)base + o->off : NULL};
}

struct opt_set *opt_set_new(const char *tool, const struct opt_group *groups, void *opts)
{
    struct opt_set *s = mem_alloc(1, sizeof *s);
    s->tool = tool;
    int n = count(opt_control_rows);
    for (const struct opt_group *g = groups; g->rows; g++) {
        n += count(g->rows);
        s->n_block += g->block != 0;
    }
    s->rows = mem_alloc((size_t)n, sizeof *s->rows);
    s->block = mem_alloc((size_t)s->n_block, sizeof *s->block);
    int b = 0;
    for (const struct opt_group *g = groups; g->rows; g++) {
        if (g->block) s->block[b++] = (struct opt_set_block){g->rows, opt_set_own(s, mem_alloc(g->block, 1))};
        add_rows(s, g->rows, g->block ? s->block[b - 1].p : (char *)opts + g->base);
    }
    add_rows(s, opt_control_rows, NULL);
    for (int i = 0; i < s->n; i++) {
        struct opt_row *r = &s->rows[i];
        struct buf why = {0};
        if (r->dest && r->o->def) opt_value_set(s, r, r->o->def, strlen(r->o->def), OPT_FROM_DEFAULT, &why);
        buf_fini(&why);
    }
    return s;
}

void opt_set_free(struct opt_set *s)
{
    if (!s) return;
    for (int i = 0; i < s->n; i++) free(s->rows[i].path);
    free(s->rows);
    free(s->block);
    for (size_t i = 0; i < s->n_owned; i++) free(s->owned[i]);
    free(s->owned);
    for (size_t i = 0; i < sizeof s->text / sizeof *s->text; i++) buf_fini(&s->text[i]);
    buf_fini(&s->notes);
    free(s);
}

void *opt_block(const struct opt_set *s, const struct opt *rows)
{
    for (int i = 0; i < s->n_block; i++)
        if (s->block[i].rows == rows) return s->block[i].p;
    return NULL;
}

struct opt_row *opt_row_named(const struct opt_set *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->rows[i].o->name, name)) return &s->rows[i];
    return NULL;
}

static const struct opt *row_of_letter(const struct opt_set *s, int ch)
{
    for (int i = 0; i < s->n; i++)
        if (s->rows[i].o->ch == ch) return s->rows[i].o;
    return NULL;
}

const struct opt *opt_of_word(const struct opt_set *s, const char *word, const char **arg)
{
    const struct opt *o = NULL;
    *arg = NULL;
    if (word[0] != '-' || !word[1]) return NULL;
    if (word[1] == '-') {
        size_t n = strcspn(word + 2, "=");
        char *name = mem_dup(word + 2, n);
        const struct opt_row *r = opt_row_named(s, name);
        free(name);
        if (r && word[2 + n]) *arg = word + 3 + n;
        return r ? r->o : NULL;
    }
    for (const char *p = word + 1; *p && (o = row_of_letter(s, *p)); p++) {
        if (o->type == OPT_FLAG) continue;
        if (p[1]) *arg = p + 1;
        break;
    }
    return o;
}

const struct opt *opt_of_file(const struct opt_set *s, const char *path, const char *but)
{
    for (int i = 0; i < s->n; i++) {
        const struct opt_row *r = &s->rows[i];
        const char *value = r->o->file && r->dest ? *(char *const *)r->dest : NULL;
        if (value && strcmp(r->o->name, but) != 0 && file_is_same(value, path)) return r->o;
    }
    return NULL;
}

bool opt_key_is_file(const struct opt_set *s, const char *key, size_t n)
{
    char *path = mem_dup(key, n);
    const struct opt_row *r = opt_row_at(s, path);
    free(path);
    return r && r->o->file;
}

enum opt_source opt_given(const struct opt_set *s, const char *name)
{
    const struct opt_row *r = opt_row_named(s, name);
    return r ? r->src : OPT_FROM_DEFAULT;
}

/* ---- argv ------------------------------------------------------------------------------------- */

/* One option as it stands in argv: row is its index in the set. text NULL: without argument. */
struct given {
    int row;
    const char *text;
};

struct argv_walk {
    struct option *longs;
    char *shorts;
    const struct opt_set *set;
    int argc;
    char **argv;
};

enum { LONG = 256 }; /* getopt's value of row i is LONG + i, above any short option */

static void walk_init(struct argv_walk *w, const struct opt_set *s, int argc, char **argv)
{
    *w = (struct argv_walk){.set = s, .argc = argc, .argv = argv};
    w->longs = mem_alloc((size_t)s->n + 1, sizeof *w->longs);
    struct buf b = {0};
    buf_addc(&b, ':'); /* tell a missing argument from an unknown option */
    for (int i = 0; i < s->n; i++) {
        const struct opt *o = s->rows[i].o;
        bool flag = o->type == OPT_FLAG;
        int has = flag || o->bare ? optional_argument : required_argument;
        w->longs[i] = (struct option){.name = o->name, .has_arg = has, .val = LONG + i};
        if (o->ch) buf_printf(&b, "%c%s", o->ch, flag ? "" : o->bare ? "::" : ":");
    }
    w->shorts = mem_dupz(buf_str(&b));
    buf_fini(&b);
    opterr = 0;
    optind = 0; /* glibc: start anew, permuting */
}

static void walk_fini(struct argv_walk *w)
{
    free(w->longs);
    free(w->shorts);
}

/* The word of argv that getopt has just read. */
static const char *current_word(const struct argv_walk *w)
{
    const char *last = w->argv[optind - 1];
    return optarg == last && optind >= 2 ? w->argv[optind - 2] : last;
}

static int unknown(const struct argv_walk *w, const char *word, struct err *e)
{
    size_t n = strcspn(word, "=");
    err_set(e, E_USAGE, "unknown option %s", err_quote(word, n));
    if (n > 3 && word[1] == '-') {
        const char **names = mem_alloc((size_t)w->set->n, sizeof *names);
        char *name = mem_dup(word + 2, n - 2);
        struct buf foreign = {0};
        for (int i = 0; i < w->set->n; i++) names[i] = w->set->rows[i].o->name;
        const char *near = err_nearest(name, names, w->set->n);
        for (int i = 0; !near && i < w->set->n; i++) /* a part of a name, as getopt would complete it */
            if (!strncmp(names[i], name, strlen(name))) near = names[i];
        if (opt_foreign_option(w->set, name, &foreign))
            err_hint(e, "%s", buf_str(&foreign));
        else if (near)
            err_hint(e, "did you mean --%s?", near);
        buf_fini(&foreign);
        free(names);
        free(name);
    }
    return err_hint(e, "%s --help lists the options", w->set->tool);
}

/* The next option into *g: 1, 0 at the end, or an error. */
static int walk_next(struct argv_walk *w, struct given *g, struct err *e)
{
    int at = 0, c = getopt_long(w->argc, w->argv, w->shorts, w->longs, &at);
    if (c == -1) return 0;
    const char *word = current_word(w);
    if (c == ':') {
        err_set(e, E_USAGE, "%s: expected an argument", err_quotez(word));
        return err_hint(e, "%s --help lists the options", w->set->tool);
    }
    if (c == '?') {
        char dash[3] = {'-', (char)optopt, 0};
        bool is_short = optopt > 0 && optopt < LONG;
        return unknown(w, is_short ? dash : word, e);
    }
    g->row = c - LONG;
    for (int i = 0; c < LONG && i < w->set->n; i++)
        if (w->set->rows[i].o->ch == c) g->row = i;
    const struct opt *o = w->set->rows[g->row].o;
    /* getopt completes --lora-dr to --lora-dropout; a script would break when an option is added. */
    if (c >= LONG && strcspn(word + 2, "=") != strlen(o->name)) return unknown(w, word, e);
    g->text = optarg;
    int64_t number;
    if (!optarg && o->bare && o->type == OPT_INT && optind < w->argc &&
        num_i64(w->argv[optind], strlen(w->argv[optind]), &number))
        g->text = w->argv[optind++];
    return 1;
}

int opt_wants(const struct opt_group *groups, int argc, char **argv, bool *json)
{
    size_t size = sizeof(struct opt_common);
    for (const struct opt_group *g = groups; g->rows; g++)
        for (const struct opt *o = g->rows; o->name; o++)
            if (g->base + o->off + 64 > size) size = g->base + o->off + 64; /* 64: above any value's size */
    void *opts = mem_alloc(size, 1);
    struct opt_set *s = opt_set_new("", groups, opts);
    char **copy = mem_alloc((size_t)argc + 1, sizeof *copy); /* getopt permutes it */
    memcpy(copy, argv, (size_t)argc * sizeof *copy);
    struct argv_walk w;
    walk_init(&w, s, argc, copy);
    int wants = 0, rc;
    *json = false;
    do {
        struct err ignored = {0};
        struct given g = {0};
        rc = walk_next(&w, &g, &ignored);
        if (rc <= 0) continue;
        const char *name = s->rows[g.row].o->name;
        if (!strcmp(name, "help") && !wants) wants = 'h';
        if (!strcmp(name, "version") && !wants) wants = 'V';
        if (!strcmp(name, "errors")) *json = !strcmp(g.text, "json");
    } while (rc);
    walk_fini(&w);
    free(copy);
    opt_set_free(s);
    free(opts);
    return wants;
}

/* ---- the sources, weakest first --------------------------------------------------------------- */

static int apply_set(struct opt_set *s, const char *text, struct err *e)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text) return err_set(e, E_USAGE, "--set: found %s, expected KEY=VALUE", err_quotez(text));
    char *path = mem_dup(text, (size_t)(eq - text));
    struct opt_row *r = opt_row_at(s, path);
    struct buf why = {0};
    if (r) {
        if (!opt_value_set(s, r, eq + 1, strlen(eq + 1), OPT_FROM_SET, &why))
            err_set(e, E_USAGE, "--set %s: %s", path, buf_str(&why));
    } else if (!opt_config_key(path) && !opt_key_of_method(s, path)) {
        err_set(e, E_USAGE, "--set: unknown key %s", err_quotez(path));
        const char *near = opt_nearest_path(s, path);
        if (opt_foreign_key(path, &why))
            err_hint(e, "%s", buf_str(&why));
        else if (near)
            err_hint(e, "did you mean %s?", near);
    }
    buf_fini(&why);
    free(path);
    return -e->id;
}

static int apply_env(struct opt_set *s, struct err *e)
{
    for (int i = 0; i < s->n && !e->id; i++) {
        struct opt_row *r = &s->rows[i];
        if (!r->path) continue;
        char *name = mem_printf("PEFT_%s", r->o->name);
        for (char *c = name; *c; c++) {
            if (*c == '-') *c = '_';
            if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
        }
        const char *v = getenv(name);
        struct buf why = {0};
        if (v && *v && !opt_value_set(s, r, v, strlen(v), OPT_FROM_ENV, &why))
            err_set(e, E_USAGE, "environment %s: %s", name, buf_str(&why));
        buf_fini(&why);
        free(name);
    }
    return -e->id;
}

static int apply_argv(struct opt_set *s, const struct given *given, size_t n, struct err *e)
{
    for (size_t i = 0; i < n && !e->id; i++) {
        struct opt_row *r = &s->rows[given[i].row];
        const char *text = given[i].text ? given[i].text : r->o->bare ? r->o->bare : "yes";
        struct buf why = {0};
        if (r->dest && !opt_value_set(s, r, text, strlen(text), OPT_FROM_ARGV, &why))
            err_set(e, E_USAGE, "--%s: %s", r->o->name, buf_str(&why));
        buf_fini(&why);
    }
    return -e->id;
}

static int apply_control(struct opt_set *s, const struct given *given, size_t n, const char *name,
                         int (*apply)(struct opt_set *, const char *, struct err *), struct err *e)
{
    for (size_t i = 0; i < n && !e->id; i++)
        if (!strcmp(s->rows[given[i].row].o->name, name)) apply(s, given[i].text, e);
    return -e->id;
}

struct opt_set *opt_parse(const char *tool, const struct opt_group *groups, void *opts, int argc, char **argv,
                          struct strlist *operands, struct err *e)
{
    struct opt_set *s = opt_set_new(tool, groups, opts);
    struct argv_walk w;
    struct given *given = NULL, g;
    size_t n = 0, cap = 0;
    int rc;
    walk_init(&w, s, argc, argv);
    while ((rc = walk_next(&w, &g, e)) > 0) {
        given = mem_grow(given, &cap, n + 1, sizeof *given);
        given[n++] = g;
    }
    walk_fini(&w);
    *operands = (struct strlist){.n = argc - optind, .v = argv + optind};
    if (!rc) rc = apply_control(s, given, n, "config", opt_config_file, e);
    if (!rc) rc = apply_control(s, given, n, "set", apply_set, e);
    if (!rc) rc = apply_env(s, e);
    if (!rc) rc = apply_argv(s, given, n, e);
    free(given);
    if (!rc) return s;
    opt_set_free(s);
    return NULL;
}

/* Keys with the same fate share a line. */
void opt_notes(const struct opt_set *s)
{
    struct opt_set *state = (struct opt_set *)s; /* buf_str only terminates it */
    char *all = mem_dupz(buf_str(&state->notes));
    for (char *line = all; *line;) {
        char *end = strchr(line, '\n'), *why = strchr(line, '\1');
        *end = *why++ = '\0';
        struct buf keys = {0};
        bool several = false;
        buf_addz(&keys, line);
        for (char *next = end + 1; *next;) {
            char *next_end = strchr(next, '\n'), *next_why = strchr(next, '\1') + 1;
            size_t n = (size_t)(next_end - next_why);
            if (strlen(why) != n || memcmp(why, next_why, n) != 0) break;
            buf_printf(&keys, ", %.*s", (int)(next_why - 1 - next), next);
            several = true;
            end = next_end;
            next = end + 1;
        }
        msg_note("%s %s no effect: %s", buf_str(&keys), several ? "have" : "has", why);
        buf_fini(&keys);
        line = end + 1;
    }
    free(all);
}
