/* identity.c: see identity.h. */
#include "libcommon/train/identity.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"

enum { SHOWN = 4 };

/* The value of a name, up to the end of its line; false: it has none. */
static bool value_of(const char *text, struct str name, struct str *v)
{
    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
        if (!strncmp(p, name.p, name.n) && p[name.n] == '=') {
            *v = (struct str){p + name.n + 1, strcspn(p + name.n + 1, "\n")};
            return true;
        }
    return false;
}

/* Digests say nothing to people: things with a blank in their name are told apart alone. */
static void add(struct buf *b, int *n, struct str name, const struct str *was, const struct str *is)
{
    if ((*n)++ >= SHOWN) return;
    buf_addz(b, *n > 1 ? "; " : "");
    if (memchr(name.p, ' ', name.n))
        buf_printf(b, "%.*s differs", (int)name.n, name.p);
    else if (!is)
        buf_printf(b, "--%.*s was %.*s", (int)name.n, name.p, (int)was->n, was->p);
    else if (!was)
        buf_printf(b, "--%.*s is %.*s, was not given", (int)name.n, name.p, (int)is->n, is->p);
    else
        buf_printf(b, "--%.*s is %.*s, was %.*s", (int)name.n, name.p, (int)is->n, is->p, (int)was->n, was->p);
}

char *identity_difference(const char *was, const char *is)
{
    struct buf b = {0};
    struct str a, c;
    int n = 0;
    for (const char *p = is; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        const struct str name = {p, strcspn(p, "=\n")};
        const bool old = value_of(was, name, &a);
        c = (struct str){p + name.n + (p[name.n] == '='), strcspn(p, "\n") - name.n - (p[name.n] == '=')};
        if (!old || a.n != c.n || memcmp(a.p, c.p, a.n)) add(&b, &n, name, old ? &a : NULL, &c);
    }
    for (const char *p = was; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        const struct str name = {p, strcspn(p, "=\n")};
        if (value_of(is, name, &c)) continue;
        a = (struct str){p + name.n + (p[name.n] == '='), strcspn(p, "\n") - name.n - (p[name.n] == '=')};
        add(&b, &n, name, &a, NULL);
    }
    if (n > SHOWN) buf_printf(&b, "; and %d more", n - SHOWN);
    char *text = n ? mem_dupz(buf_str(&b)) : NULL;
    buf_fini(&b);
    return text;
}
