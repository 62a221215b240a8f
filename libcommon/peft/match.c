/* match.c: see match.h. Expressions are Python's there and POSIX extended ones here; the common differences are
 * translated
 * (\d, (?:, lazy quantifiers, which do not matter when the whole path must match), the others refused. glibc's matcher
 * builds an automaton, so no expression without back-references runs away. */
#include "libcommon/peft/match.h"
#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"

struct match {
    const struct strlist *names; /* list of names; borrowed */
    bool all, is_regex;
    regex_t regex;
};

bool match_entry(const char *entry, const struct site *s)
{
    const size_t n = strlen(entry), k = strlen(s->path);
    return !strcmp(entry, s->leaf) || !strcmp(entry, s->path) ||
           (k > n && s->path[k - n - 1] == '.' && !strcmp(s->path + k - n, entry));
}

const char **match_leaves(const struct model *m, int *n)
{
    const char **v = mem_alloc((size_t)m->n_site, sizeof *v);
    *n = 0;
    for (int i = 0; i < m->n_site; i++) {
        if (m->site[i].kind != SITE_LINEAR) continue;
        int k = 0;
        while (k < *n && strcmp(v[k], m->site[i].leaf)) k++;
        if (k == *n) v[(*n)++] = m->site[i].leaf;
    }
    return v;
}

static bool names_something(const struct model *m, const char *entry)
{
    for (int i = 0; i < m->n_site; i++)
        if (m->site[i].kind == SITE_LINEAR && match_entry(entry, &m->site[i])) return true;
    return false;
}

static void unknown(const struct model *m, const char *entry, struct err *e)
{
    int n;
    const char **leaf = match_leaves(m, &n);
    struct buf all = {0};
    for (int i = 0; i < n; i++) buf_printf(&all, "%s%s", i ? ", " : "", leaf[i]);
    err_set(e, E_TARGET, "target_modules: %s is no projection of this model", err_quotez(entry));
    const char *near = err_nearest(entry, leaf, n);
    if (near) err_hint(e, "did you mean %s?", near);
    err_hint(e, "projections: %s; or all-linear; or one expression", buf_str(&all));
    buf_fini(&all);
    free(leaf);
}

/* A backslash inside of brackets, where POSIX has none. False: not expressible. */
static bool in_class(char c, struct buf *out)
{
    if (c == 'd') return buf_addz(out, "0-9"), true;
    if (c == 'w') return buf_addz(out, "A-Za-z0-9_"), true;
    if (!c || isalnum((unsigned char)c) || strchr("]^-\\", c)) return false;
    return buf_addc(out, c), true;
}

/* Python's spelling to POSIX's, anchored at both ends. False: not expressible. */
static bool translate(const char *s, struct buf *out)
{
    bool class = false;
    buf_addz(out, "^(");
    for (; *s; s++) {
        if (*s == '\\') {
            s++;
            if (class) {
                if (!in_class(*s, out)) return false;
            } else if (*s == 'd') {
                buf_addz(out, "[0-9]");
            } else if (isdigit((unsigned char)*s) || !*s) {
                return false;
            } else {
                buf_addc(out, '\\'), buf_addc(out, *s);
            }
        } else if (class) {
            class = *s != ']';
            buf_addc(out, *s);
        } else if (*s == '(' && s[1] == '?') {
            if (s[2] != ':') return false;
            buf_addc(out, '(');
            s += 2;
        } else if ((*s == '*' || *s == '+' || *s == '?') && s[1] == '?') {
            buf_addc(out, *s);
            s++;
        } else {
            class = *s == '[';
            buf_addc(out, *s);
        }
    }
    buf_addz(out, ")$");
    return true;
}

static int compile(struct match *m, const char *s, struct err *e)
{
    struct buf b = {0};
    int rc = 0;
    if (strlen(s) > 4096 || !translate(s, &b)) {
        rc = err_set(e, E_TARGET, "target_modules: expression %s uses what is not supported here", err_quotez(s));
        err_hint(e, "supported: . [] () | * + ? {} ^ $ \\d \\w and (?:...)");
    } else {
        int c = regcomp(&m->regex, buf_str(&b), REG_EXTENDED | REG_NOSUB);
        if (c) {
            char why[128];
            regerror(c, &m->regex, why, sizeof why);
            rc = err_set(e, E_TARGET, "target_modules: %s: %s", err_quotez(s), why);
        } else {
            m->is_regex = true;
        }
    }
    buf_fini(&b);
    return rc;
}

struct match *match_new(const struct model *model, const struct strlist *target, struct err *e)
{
    struct match *m = mem_alloc(1, sizeof *m);
    m->names = target;
    int rc = 0;
    if (!target->n) {
        rc = err_set(e, E_TARGET, "target_modules is empty");
    } else if (target->n == 1 && !strcmp(target->v[0], "all-linear")) {
        m->all = true;
    } else if (target->n == 1 && !names_something(model, target->v[0]) && strpbrk(target->v[0], "*+?[](){}|^$\\")) {
        rc = compile(m, target->v[0], e);
    } else {
        for (int i = 0; i < target->n && !rc; i++)
            if (!names_something(model, target->v[i])) {
                unknown(model, target->v[i], e);
                rc = -e->id;
            }
    }
    if (!rc) return m;
    match_free(m);
    return NULL;
}

bool match_site(const struct match *m, const struct site *s)
{
    if (s->kind != SITE_LINEAR) return false;
    if (m->all) return true;
    if (m->is_regex) return !regexec(&m->regex, s->path, 0, NULL, 0);
    for (int i = 0; i < m->names->n; i++)
        if (match_entry(m->names->v[i], s)) return true;
    return false;
}

bool match_is_regex(const struct match *m) { return m->is_regex; }

void match_free(struct match *m)
{
    if (!m) return;
    if (m->is_regex) regfree(&m->regex);
    free(m);
}
