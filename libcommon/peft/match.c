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
#include "libcommon/model/model.h"

struct match {
    const struct strlist *names; /* list of names; borrowed */
    bool all, is_regex;
    regex_t regex;
};

static bool is_module_name(const char *s)
{
    for (int i = 0; i < MOD_COUNT; i++)
        if (!strcmp(s, module_names[i])) return true;
    return false;
}

/* Python's spelling to POSIX's, anchored at both ends. False: not expressible. */
static bool translate(const char *s, struct buf *out)
{
    buf_addz(out, "^(");
    for (; *s; s++) {
        if (*s == '\\') {
            s++;
            if (*s == 'd')
                buf_addz(out, "[0-9]");
            else if (isdigit((unsigned char)*s) || !*s)
                return false;
            else
                buf_addc(out, '\\'), buf_addc(out, *s);
        } else if (*s == '(' && s[1] == '?') {
            if (s[2] != ':') return false;
            buf_addc(out, '(');
            s += 2;
        } else if ((*s == '*' || *s == '+' || *s == '?') && s[1] == '?') {
            buf_addc(out, *s);
            s++;
        } else {
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

struct match *match_new(const struct strlist *target, struct err *e)
{
    struct match *m = mem_alloc(1, sizeof *m);
    m->names = target;
    if (!target->n) {
        err_set(e, E_TARGET, "target_modules is empty");
        goto fail;
    }
    if (target->n == 1 && !strcmp(target->v[0], "all-linear")) {
        m->all = true;
        return m;
    }
    if (target->n == 1 && strpbrk(target->v[0], ".*+?[](){}|^$\\")) {
        if (compile(m, target->v[0], e)) goto fail;
        return m;
    }
    for (int i = 0; i < target->n; i++) {
        if (is_module_name(target->v[i])) continue;
        err_set(e, E_TARGET, "target_modules: %s is no module of this model", err_quotez(target->v[i]));
        const char *near = err_nearest(target->v[i], module_names, MOD_COUNT);
        if (near) err_hint(e, "did you mean %s?", near);
        err_hint(
            e,
            "modules: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; or all-linear; or one expression");
        goto fail;
    }
    return m;
fail:
    match_free(m);
    return NULL;
}

bool match_module(const struct match *m, const char *path, const char *name)
{
    if (m->all) return true;
    if (m->is_regex) return !regexec(&m->regex, path, 0, NULL, 0);
    for (int i = 0; i < m->names->n; i++)
        if (!strcmp(m->names->v[i], name)) return true;
    return false;
}

bool match_is_regex(const struct match *m) { return m->is_regex; }

void match_free(struct match *m)
{
    if (!m) return;
    if (m->is_regex) regfree(&m->regex);
    free(m);
}
