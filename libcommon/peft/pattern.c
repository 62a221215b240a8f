/* pattern.c: see pattern.h. A scan goes before PCRE2: it knows the part of the syntax that both read alike, and names
 * the first thing that is not of it. Python's side is Lib/re/_parser.py of 3.11. */
#include "libcommon/peft/pattern.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    LENGTH_MAX = 4096,
    GROUPS_MAX = 99,
    STEPS_MAX = 1000000,  /* PCRE2's match limit: some 20 ms */
    HEAP_MAX_KIB = 20480, /* and its backtracking points */
};

struct pattern {
    char *expression;
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_code *code;
    pcre2_match_data *data;
};

/* ---- the scan ------------------------------------------------------------------------------ */

struct scan {
    const char *begin, *at;
    bool repeatable;       /* what was read last may be repeated */
    bool flags_may_follow; /* nothing but (?i) and the like was read */
    int depth, groups;
    int behind;                 /* depth of the lookbehind that the place is in; 0: none */
    int number[GROUPS_MAX + 1]; /* of the open groups, 0: one without a number */
    bool closed[GROUPS_MAX + 1];
    struct err *e;
};

/* n bytes at s->at are refused. */
static int refuse(struct scan *s, size_t n, const char *why)
{
    const size_t left = strlen(s->at);
    return err_set(s->e, E_TARGET, "%s: character %td: %s: %s", err_quotez(s->begin), s->at - s->begin + 1,
                   err_quote(s->at, n < left ? n : left), why);
}

/* An escape that stands for a character or a class of them. */
static int escape(struct scan *s, const char *letters)
{
    const unsigned char c = (unsigned char)s->at[1];
    const bool hex = c == 'x' && isxdigit((unsigned char)s->at[2]) && isxdigit((unsigned char)s->at[3]);
    if (!c) return refuse(s, 1, "nothing stands behind it");
    if (!hex && (isdigit(c) || (c < 128 && isalpha(c) && !strchr(letters, c))))
        return refuse(s, 2, "this escape is not supported");
    s->at += hex ? 4 : 2;
    return 0;
}

static int class(struct scan *s)
{
    const char *begin = s->at++;
    if (*s->at == '^') s->at++;
    for (bool first = true; *s->at != ']' || first; first = false) {
        int rc = 0;
        if (!*s->at) return s->at = begin, refuse(s, 1, "a set without its end");
        if (*s->at == '[' && strchr(":.=", s->at[1]) && s->at[1])
            return refuse(s, 2, "classes of POSIX are none of Python's");
        if (*s->at == '\\')
            rc = escape(s, "dDsSwWabfnrt");
        else
            s->at++;
        if (rc) return rc;
    }
    s->at++;
    s->repeatable = true;
    return 0;
}

/* \1 to \9: what a group that is complete has matched. */
static int backreference(struct scan *s)
{
    const int n = s->at[1] - '0';
    if (!n || isdigit((unsigned char)s->at[2])) return refuse(s, 3, "octal escapes are not supported");
    if (n > s->groups || !s->closed[n]) return refuse(s, 2, "there is no complete group of this number before it");
    s->at += 2;
    s->repeatable = true;
    return 0;
}

static int backslash(struct scan *s)
{
    if (isdigit((unsigned char)s->at[1])) return backreference(s);
    s->repeatable = !s->at[1] || !strchr("AbBZ", s->at[1]);
    return escape(s, "AbBZdDsSwWafnrt");
}

/* "i", "i-s" and the like at p; flags that no path of a module depends on, but for i. Returns their end. */
static const char *flags(const char *p)
{
    size_t on = strspn(p, "ims");
    if (p[on] == '-') {
        size_t off = strspn(p + on + 1, "ims");
        return off ? p + on + 1 + off : p;
    }
    return p + on;
}

static int open_group(struct scan *s)
{
    static const char *const kinds[] = {"?:", "?=", "?!", "?<=", "?<!", "?>"};
    const char *begin = s->at++, *end = NULL;
    bool number = *s->at != '?';
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !number; i++)
        if (!strncmp(s->at, kinds[i], strlen(kinds[i]))) end = s->at + strlen(kinds[i]);
    if (!number && !end && s->at[1] == 'P' && s->at[2] == '<') {
        const char *name = s->at + 3;
        size_t n = 0;
        while (isalnum((unsigned char)name[n]) || name[n] == '_') n++;
        if (n && n < 32 && name[n] == '>' && !isdigit((unsigned char)*name)) number = true, end = name + n + 1;
    } else if (!number && !end) {
        const char *p = flags(s->at + 1);
        if (p > s->at + 1 && *p == ':') end = p + 1;
        if (p > s->at + 1 && *p == ')' && s->flags_may_follow && !memchr(s->at, '-', (size_t)(p - s->at)))
            return s->at = p + 1, 0;
    }
    if (!number && !end) return s->at = begin, refuse(s, 4, "this kind of group is not supported here");
    if (end) s->at = end;
    s->flags_may_follow = s->repeatable = false;
    if (s->depth == GROUPS_MAX || (number && s->groups == GROUPS_MAX))
        return s->at = begin, refuse(s, 1, "too many groups");
    s->number[s->depth++] = number ? ++s->groups : 0;
    if (begin[1] == '?' && begin[2] == '<' && !s->behind) s->behind = s->depth;
    return 0;
}

static int close_group(struct scan *s)
{
    if (!s->depth) return refuse(s, 1, "closes no group");
    s->closed[s->number[--s->depth]] = true;
    if (s->depth < s->behind) s->behind = 0;
    s->at++;
    s->repeatable = true;
    return 0;
}

/* The length of {m}, {m,} or {m,n}; 0: braces that are text. -1: only one of the two engines reads it as a count. */
static int braces(const char *p)
{
    size_t n = 1 + strspn(p + 1, "0123456789, \t"), digits = strspn(p + 1, "0123456789");
    if (p[n] != '}' || n == 1) return 0;
    const char *q = p + 1 + digits;
    if (digits && *q == ',') q += 1 + strspn(q + 1, "0123456789");
    return digits && *q == '}' ? (int)n + 1 : -1;
}

static int repeat(struct scan *s, int n)
{
    if (n < 0) return refuse(s, 1 + strcspn(s->at, "}"), "a count is written {m}, {m,} or {m,n}");
    if (!s->repeatable) return refuse(s, (size_t)n, "nothing that could be repeated stands before it");
    s->at += n;
    if (*s->at == '?' || *s->at == '+') s->at++;
    s->repeatable = false;
    return 0;
}

static int scan_one(struct scan *s)
{
    const char c = *s->at;
    const int count = c == '{' ? braces(s->at) : c == '*' || c == '+' || c == '?';
    if (count) return repeat(s, count);
    if (c == '(') return open_group(s);
    s->flags_may_follow = false;
    if (c == ')') return close_group(s);
    if (c == '[') return class(s);
    if (c == '\\') return backslash(s);
    /* Python wants all of them of one length, PCRE2 each of its own. */
    if (c == '|' && s->behind) return refuse(s, 1, "alternatives within a lookbehind are not supported");
    s->at++;
    s->repeatable = c != '|' && c != '^' && c != '$';
    return 0;
}

static int scan(const char *expression, struct err *e)
{
    struct scan s = {.begin = expression, .at = expression, .flags_may_follow = true, .e = e};
    if (strlen(expression) > LENGTH_MAX)
        return err_set(e, E_TARGET, "an expression of %zu bytes; at most %d are read", strlen(expression), LENGTH_MAX);
    int rc = 0;
    while (*s.at && !rc) rc = scan_one(&s);
    if (rc) return rc;
    return s.depth ? refuse(&s, 1, "a group is not closed") : 0;
}

/* ---- the engine ---------------------------------------------------------------------------- */

static void *allocate(size_t n, void *unused)
{
    (void)unused;
    return mem_alloc(n, 1);
}

static void release(void *p, void *unused)
{
    (void)unused;
    free(p);
}

static int compile(struct pattern *p, struct err *e)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR why[128];
    pcre2_compile_context *c = pcre2_compile_context_create(p->memory);
    pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    p->code = pcre2_compile((PCRE2_SPTR)p->expression, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &at, c);
    pcre2_compile_context_free(c);
    if (p->code) return 0;
    pcre2_get_error_message(code, why, sizeof why);
    return err_set(e, E_TARGET, "%s: character %zu: %s", err_quotez(p->expression), at + 1, (char *)why);
}

struct pattern *pattern_new(const char *expression, struct err *e)
{
    if (scan(expression, e)) return NULL;
    struct pattern *p = mem_alloc(1, sizeof *p);
    p->expression = mem_dupz(expression);
    p->memory = pcre2_general_context_create(allocate, release, NULL);
    if (compile(p, e)) {
        pattern_free(p);
        return NULL;
    }
    p->data = pcre2_match_data_create_from_pattern(p->code, p->memory);
    p->limits = pcre2_match_context_create(p->memory);
    pcre2_set_match_limit(p->limits, STEPS_MAX);
    pcre2_set_heap_limit(p->limits, HEAP_MAX_KIB);
    return p;
}

int pattern_matches(const struct pattern *p, const char *text, struct err *e)
{
    int n = pcre2_match(p->code, (PCRE2_SPTR)text, strlen(text), 0, 0, p->data, p->limits);
    if (n >= 0) return 1;
    if (n == PCRE2_ERROR_NOMATCH) return 0;
    err_set(e, E_TARGET, "%s takes too many steps on %s", err_quotez(p->expression), text);
    return err_hint(e, "a repeat within a repeat, as in (a+)+, can be tried in endless ways: say it with one");
}

void pattern_free(struct pattern *p)
{
    if (!p) return;
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->limits);
    pcre2_code_free(p->code);
    pcre2_general_context_free(p->memory);
    free(p->expression);
    free(p);
}
