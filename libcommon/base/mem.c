/* mem: allocation for everything small and unplanned. Running out of it ends the process, by the one path below. */
#include "libcommon/base/mem.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void (*exhausted)(size_t);

void mem_on_exhausted(void (*fn)(size_t bytes)) { exhausted = fn; }

void mem_give_up(size_t bytes)
{
    static atomic_flag leaving = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&leaving)) pause(); /* another thread has said so and is about to end the process */
    if (exhausted) exhausted(bytes);
    char line[160];
    int n = snprintf(line, sizeof line, "%s: error: out of memory: %zu bytes wanted [E-NOMEM]\n",
                     program_invocation_short_name, bytes);
    if (n > 0 && write(STDERR_FILENO, line, strlen(line)) < 0) _Exit(71);
    _Exit(71);
}

void *mem_alloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) mem_give_up(SIZE_MAX);
    void *p = calloc(bytes ? bytes : 1, 1);
    if (!p) mem_give_up(bytes);
    return p;
}

void *mem_grow(void *p, size_t *cap, size_t need, size_t size)
{
    if (p && need <= *cap) return p;
    size_t n = *cap < 8 ? 8 : *cap, bytes;
    while (n < need)
        if (__builtin_mul_overflow(n, (size_t)2, &n)) mem_give_up(SIZE_MAX);
    if (__builtin_mul_overflow(n, size, &bytes)) mem_give_up(SIZE_MAX);
    void *q = realloc(p, bytes);
    if (!q) mem_give_up(bytes);
    *cap = n;
    return q;
}

char *mem_dup(const char *s, size_t n)
{
    if (n == SIZE_MAX) mem_give_up(n);
    char *p = mem_alloc(n + 1, 1);
    if (n) memcpy(p, s, n);
    return p;
}

char *mem_dupz(const char *s) { return s ? mem_dup(s, strlen(s)) : NULL; }

char *mem_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = NULL;
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) mem_give_up(0);
    return s;
}

static void room(struct buf *b, size_t more)
{
    size_t need;
    if (__builtin_add_overflow(b->n, more, &need)) mem_give_up(SIZE_MAX);
    b->p = mem_grow(b->p, &b->cap, need, 1);
}

void buf_add(struct buf *b, const void *data, size_t n)
{
    if (!n) return;
    room(b, n);
    memcpy(b->p + b->n, data, n);
    b->n += n;
}

void buf_addz(struct buf *b, const char *s) { buf_add(b, s, strlen(s)); }
void buf_addc(struct buf *b, char c) { buf_add(b, &c, 1); }

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) return;
    room(b, (size_t)n + 1);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    b->n += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

char *buf_str(struct buf *b)
{
    room(b, 1);
    b->p[b->n] = '\0';
    return b->p;
}

void buf_fini(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

bool str_is(struct str s, const char *z) { return s.n == strlen(z) && !memcmp(s.p, z, s.n); }

bool str_same(struct str a, struct str b) { return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n)); }

struct ranked {
    struct str s;
    size_t rank;
};

static int by_bytes(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->s.n != y->s.n) return x->s.n < y->s.n ? -1 : 1;
    int c = x->s.n ? memcmp(x->s.p, y->s.p, x->s.n) : 0;
    return c ? c : x->rank < y->rank ? -1 : 1;
}

long str_doubled(const struct str *s, size_t n)
{
    struct ranked *r = mem_alloc(n, sizeof *r);
    size_t first = n;
    for (size_t i = 0; i < n; i++) r[i] = (struct ranked){s[i], i};
    if (n) qsort(r, n, sizeof *r, by_bytes);
    for (size_t i = 1; i < n; i++)
        if (r[i].rank < first && str_same(r[i - 1].s, r[i].s)) first = r[i].rank;
    free(r);
    return first < n ? (long)first : -1;
}

bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && !memcmp(s + n - k, end, k);
}
