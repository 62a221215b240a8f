/* template: see template.h. */
#include "libcommon/format/template.h"
#include <stdlib.h>
#include <string.h>

struct part {
    bool column, optional, met; /* met: some row had the column */
    struct str text;            /* literal, or the column's name; with its question mark */
};

struct template
{
    struct buf store; /* texts of the parts; fixed once parsed */
    struct part *part;
    size_t n, cap;
    char *alias; /* text of replaced names */
};

static void part_add(struct template *t, bool column, size_t from)
{
    if (!column && from == t->store.n) return;
    t->part = mem_grow(t->part, &t->cap, t->n + 1, sizeof *t->part);
    bool optional = column && t->store.n > from + 1 && t->store.p[t->store.n - 1] == '?';
    struct str at = {(const char *)(uintptr_t)from, t->store.n - from};
    t->part[t->n++] = (struct part){.column = column, .optional = optional, .text = at};
}

static int wrong(struct template *t, const char *option, const char *text, const char *at, const char *what,
                 struct err *e)
{
    template_free(t);
    err_set(e, E_TEMPLATE, "%s: character %zu of %s: %s", option, (size_t)(at - text) + 1, err_quotez(text), what);
    return -e->id;
}

struct template *template_parse(const char *text, const char *option, struct err *e)
{
    struct template *t = mem_alloc(1, sizeof *t);
    size_t from = 0; /* of the part in progress, in store */
    for (const char *p = text; *p; p++) {
        if (*p == '\\') {
            static const char codes[] = "n\nt\tr\r\\\\";
            const char *c = p[1] ? strchr("ntr\\", p[1]) : NULL;
            if (!c) {
                wrong(t, option, text, p, "unknown escape", e);
                err_hint(e, "\\n, \\t, \\r and \\\\ are known; a backslash itself is \\\\");
                return NULL;
            }
            buf_addc(&t->store, codes[2 * (c - "ntr\\") + 1]);
            p++;
        } else if ((*p == '{' || *p == '}') && p[1] == *p) {
            buf_addc(&t->store, *p++);
        } else if (*p == '}') {
            wrong(t, option, text, p, "} without {", e);
            err_hint(e, "a brace itself is written twice: }}");
            return NULL;
        } else if (*p == '{') {
            size_t n = strcspn(p + 1, "{}");
            if (p[1 + n] != '}' || n == 0) {
                wrong(t, option, text, p, n ? "{ without }" : "{} without a column's name", e);
                err_hint(e, "a brace itself is written twice: {{");
                return NULL;
            }
            part_add(t, false, from);
            from = t->store.n;
            buf_add(&t->store, p + 1, n);
            part_add(t, true, from);
            from = t->store.n;
            p += n + 1;
        } else {
            buf_addc(&t->store, *p);
        }
    }
    part_add(t, false, from);
    for (size_t i = 0; i < t->n; i++) t->part[i].text.p = t->store.p + (uintptr_t)t->part[i].text.p;
    return t;
}

void template_free(struct template *t)
{
    if (!t) return;
    buf_fini(&t->store);
    free(t->part);
    free(t->alias);
    free(t);
}

void template_alias(struct template *t, const char *name, const char *column)
{
    free(t->alias);
    t->alias = mem_dupz(column);
    for (size_t i = 0; i < t->n; i++)
        if (t->part[i].column && str_is(t->part[i].text, name)) t->part[i].text = STRZ(t->alias);
}

static bool is_blank(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!memchr(" \t\r\n\v\f", s.p[i], 6)) return false;
    return true;
}

/* {name?}: the column "name?", as a question may be one's name; else "name" or nothing. */
static int optional_text(struct part *p, const struct row *row, struct str *s, struct err *e)
{
    struct str name = {p->text.p, p->text.n - 1};
    int there = row_optional(row, p->text, s, e);
    if (there == 0) there = row_optional(row, name, s, e);
    p->met = p->met || there == 1;
    return there < 0 ? there : 0;
}

int template_render(struct template *t, const struct row *row, struct buf *b, bool *blank, struct err *e)
{
    bool columns = false, text = false;
    for (size_t i = 0; i < t->n; i++) {
        struct part *p = &t->part[i];
        struct str s = p->text;
        if (p->column) {
            if (p->optional ? optional_text(p, row, &s, e) : row_text(row, p->text, &s, e)) return -e->id;
            columns = true;
            text = text || !is_blank(s);
        }
        buf_add(b, s.p, s.n);
    }
    *blank = columns && !text;
    return 0;
}

const char *template_unmet(struct template *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->part[i].optional && !t->part[i].met) return err_quote(t->part[i].text.p, t->part[i].text.n - 1);
    return NULL;
}
