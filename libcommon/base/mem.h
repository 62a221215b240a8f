/* mem: checked allocation, growing byte buffers, and bump arenas. Sizes are multiplied with overflow checks.
 * mem_* never return NULL for want of memory: they print one E-NOMEM line through the hook that tool_main sets and
 * leave the process with code 71. Large, planned memory (weights, activations) goes through kernels/device.h and the
 * plan instead. */
#ifndef PEFT_BASE_MEM_H
#define PEFT_BASE_MEM_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* reports and ends the process; called with the size that was refused. It must not allocate. */
void mem_on_exhausted(void (*fn)(size_t bytes));
/* What every failed allocation of the process comes to, those of the libraries too (malloc.c). */
_Noreturn void mem_give_up(size_t bytes);
/* Between (true) and (false) an allocation of this thread may return NULL: for planned memory, whose failure has a
 * message of its own. */
void mem_may_fail(bool yes);
void *mem_alloc(size_t n, size_t size); /* zeroed; n * size checked; n may be 0 */
/* *cap elements -> at least need, doubling; new part not zeroed */
void *mem_grow(void *p, size_t *cap, size_t need, size_t size);
char *mem_dup(const char *s, size_t n); /* n bytes and a NUL */
char *mem_dupz(const char *s);          /* NULL stays NULL */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

struct buf { /* {0} is empty and valid */
    char *p;
    size_t n, cap;
};
void buf_add(struct buf *b, const void *data, size_t n);
void buf_addz(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap);
char *buf_str(struct buf *b); /* NUL-terminated view, valid until the next change */
void buf_fini(struct buf *b);

struct str { /* borrowed bytes, not NUL-terminated */
    const char *p;
    size_t n;
};
#define STRZ(z) ((struct str){(z), strlen(z)})
bool str_is(struct str s, const char *z);
bool str_same(struct str a, struct str b);
/* Index of the first of n strings that equals one before it, or -1. By sorting: no choice of strings makes it slow. */
long str_doubled(const struct str *s, size_t n);
bool ends_with(const char *s, const char *end);

struct u32vec { /* growing array of token ids or offsets; {0} is valid */
    uint32_t *v;
    size_t n, cap;
};
static inline void u32vec_add(struct u32vec *a, uint32_t x)
{
    if (a->n == a->cap) a->v = mem_grow(a->v, &a->cap, a->n + 1, sizeof *a->v);
    a->v[a->n++] = x;
}
#endif
