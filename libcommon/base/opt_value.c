/* opt_value: one value between text and its place in the options struct, with its type and range checked. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/num.h"
#include "libcommon/base/opt_set.h"

static bool ranged(const struct opt *o) { return o->lo != 0 || o->hi != 0; }

/* The k-th of "a|b|c"; its length in *n, NULL after the last. */
static const char *choice(const char *choices, int k, size_t *n)
{
    const char *s = choices;
    while (k-- > 0) {
        s = strchr(s, '|');
        if (!s) return NULL;
        s++;
    }
    *n = strcspn(s, "|");
    return s;
}

void opt_value_expected(const struct opt *o, struct buf *b)
{
    char lo[32], hi[32];
    num_format(o->lo, lo);
    num_format(o->hi, hi);
    switch (o->type) {
    case OPT_FLAG:
    case OPT_BOOL:
        buf_addz(b, "yes or no");
        break;
    case OPT_STR:
        buf_addz(b, "text");
        break;
    case OPT_LIST:
        buf_addz(b, "a list with commas and without empty elements");
        break;
    case OPT_MAP:
        buf_addz(b, "NAME=NUMBER, or several with commas between them");
        break;
    case OPT_INT:
    case OPT_FLOAT:
        buf_addz(b, o->type == OPT_INT ? "an integer" : "a number");
        if (ranged(o) && o->hi >= 1e15)
            buf_printf(b, " of at least %s", lo);
        else if (ranged(o))
            buf_printf(b, " from %s to %s", lo, hi);
        break;
    case OPT_ENUM: {
        size_t n;
        const char *c, *sep = "one of ";
        for (int k = 0; (c = choice(o->choices, k, &n)); k++) {
            buf_addz(b, sep);
            buf_add(b, c, n);
            sep = ", ";
        }
        break;
    }
    }
}

static bool refuse(const struct opt *o, const char *text, size_t n, struct buf *why)
{
    buf_printf(why, "found %s, expected ", err_quote(text, n));
    opt_value_expected(o, why);
    return false;
}

static bool is_word(const char *text, size_t n, const char *word)
{
    return strlen(word) == n && !strncasecmp(text, word, n);
}

static bool in_range(const struct opt *o, double x) { return !ranged(o) || (x >= o->lo && x <= o->hi); }

/* Elements between commas; false if one is empty. An empty text is an empty list. */
static bool split(struct opt_set *s, const char *text, size_t n, struct strlist *l)
{
    *l = (struct strlist){0};
    if (!n) return true;
    size_t commas = 0;
    for (size_t i = 0; i < n; i++) commas += text[i] == ',';
    l->v = opt_set_own(s, mem_alloc(commas + 1, sizeof *l->v));
    for (size_t from = 0; from <= n;) {
        const char *comma = memchr(text + from, ',', n - from);
        size_t len = comma ? (size_t)(comma - text) - from : n - from;
        if (!len) return false;
        l->v[l->n++] = opt_set_own(s, mem_dup(text + from, len));
        from += len + 1;
    }
    return true;
}

/* "name=number"; the name may have a = in it. */
static bool is_pair(const char *text)
{
    const char *eq = strrchr(text, '=');
    double x;
    return eq && eq > text && num_f64(eq + 1, strlen(eq + 1), &x);
}

static bool are_pairs(const struct strlist *l)
{
    for (int i = 0; i < l->n; i++)
        if (!is_pair(l->v[i])) return false;
    return true;
}

/* Pairs between commas. A name may have commas too: it is one until a number has come. */
static bool split_pairs(struct opt_set *s, const char *text, size_t n, struct strlist *l)
{
    struct strlist part;
    struct buf pair = {0};
    if (!split(s, text, n, &part)) return false;
    *l = (struct strlist){.v = part.v};
    for (int i = 0; i < part.n; i++) {
        buf_printf(&pair, "%s%s", pair.n ? "," : "", part.v[i]);
        if (!is_pair(buf_str(&pair))) continue;
        l->v[l->n++] = opt_set_own(s, mem_dupz(buf_str(&pair)));
        pair.n = 0;
    }
    const bool whole = !pair.n;
    buf_fini(&pair);
    return whole;
}

bool opt_value_set(struct opt_set *s, struct opt_row *r, const char *text, size_t n, enum opt_source src,
                   struct buf *why)
{
    const struct opt *o = r->o;
    union {
        bool b;
        int64_t i;
        double f;
        int e;
        char *s;
        struct strlist l;
    } v;
    size_t size = 0;
    if (memchr(text, '\0', n)) return refuse(o, text, n, why);
    switch (o->type) {
    case OPT_FLAG:
    case OPT_BOOL:
        v.b = is_word(text, n, "yes") || is_word(text, n, "true");
        if (!v.b && !is_word(text, n, "no") && !is_word(text, n, "false")) return refuse(o, text, n, why);
        size = sizeof v.b;
        break;
    case OPT_INT:
        if (!num_i64(text, n, &v.i) || !in_range(o, (double)v.i)) return refuse(o, text, n, why);
        size = sizeof v.i;
        break;
    case OPT_FLOAT:
        if (!num_f64(text, n, &v.f) || !in_range(o, v.f)) return refuse(o, text, n, why);
        size = sizeof v.f;
        break;
    case OPT_ENUM: {
        const char *c;
        size_t len;
        for (v.e = 0; (c = choice(o->choices, v.e, &len)); v.e++)
            if (len == n && !memcmp(c, text, n)) break;
        if (!c) return refuse(o, text, n, why);
        size = sizeof v.e;
        break;
    }
    case OPT_STR:
        v.s = opt_set_own(s, mem_dup(text, n));
        size = sizeof v.s;
        break;
    case OPT_LIST:
    case OPT_MAP:
        if (!(o->type == OPT_MAP ? split_pairs : split)(s, text, n, &v.l)) return refuse(o, text, n, why);
        size = sizeof v.l;
        break;
    }
    if (src >= r->src && r->dest) {
        memcpy(r->dest, &v, size);
        r->src = src;
    }
    return true;
}

bool opt_value_set_list(struct opt_set *s, struct opt_row *r, const struct strlist *l, enum opt_source src,
                        struct buf *why)
{
    if (r->o->type == OPT_MAP && !are_pairs(l)) {
        buf_addz(why, "expected a map of numbers, or a list of NAME=NUMBER");
        return false;
    }
    struct strlist copy = {.n = l->n, .v = opt_set_own(s, mem_alloc((size_t)l->n, sizeof *copy.v))};
    for (int i = 0; i < l->n; i++) copy.v[i] = opt_set_own(s, mem_dupz(l->v[i]));
    if (src >= r->src) {
        memcpy(r->dest, &copy, sizeof copy);
        r->src = src;
    }
    return true;
}

bool opt_value_is_set(const struct opt_row *r)
{
    if (r->o->type == OPT_STR) return *(char *const *)r->dest != NULL;
    if (r->o->type == OPT_LIST || r->o->type == OPT_MAP) return ((const struct strlist *)r->dest)->n > 0;
    bool number = r->o->type == OPT_INT || r->o->type == OPT_FLOAT;
    return !number || r->o->def || r->src != OPT_FROM_DEFAULT || in_range(r->o, 0);
}

void opt_value_text(const struct opt_row *r, struct buf *b)
{
    char num[32];
    switch (r->o->type) {
    case OPT_FLAG:
    case OPT_BOOL:
        buf_addz(b, *(const bool *)r->dest ? "yes" : "no");
        break;
    case OPT_INT:
        buf_printf(b, "%lld", (long long)*(const int64_t *)r->dest);
        break;
    case OPT_FLOAT:
        num_format(*(const double *)r->dest, num);
        buf_addz(b, num);
        break;
    case OPT_ENUM: {
        size_t n = 0;
        const char *c = choice(r->o->choices, *(const int *)r->dest, &n);
        if (c) buf_add(b, c, n);
        break;
    }
    case OPT_STR:
        if (opt_value_is_set(r)) buf_addz(b, *(char *const *)r->dest);
        break;
    case OPT_LIST:
    case OPT_MAP: {
        const struct strlist *l = r->dest;
        for (int i = 0; i < l->n; i++) buf_printf(b, "%s%s", i ? "," : "", l->v[i]);
        break;
    }
    }
}
