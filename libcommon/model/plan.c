/* plan.c: see plan.h. */
#include "libcommon/model/plan.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/num.h"

const char *const plan_arena_names[ARENA_COUNT] = {"adapter", "saved", "cache", "scratch"};

#define PLAN_ALIGN 256u

int plan_add(struct plan *p, enum plan_arena arena, void *slot, int elem_bytes, long n0, long n1, struct err *e,
             const char *name, ...)
{
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)n0, (uint64_t)n1, &bytes) ||
        __builtin_mul_overflow(bytes, (uint64_t)elem_bytes, &bytes) || bytes > (uint64_t)1 << 46)
        return err_set(e, E_PLAN, "plan: %s: [%ld][%ld] of %d bytes is too large", name, n0, n1, elem_bytes);
    *(void **)slot = NULL;
    if (!bytes) return 0;
    p->item = mem_grow(p->item, &p->cap, p->n + 1, sizeof *p->item);
    struct plan_item *it = &p->item[p->n++];
    *it = (struct plan_item){.arena = arena, .dim = {n0, n1}, .elem_bytes = elem_bytes, .bytes = bytes, .slot = slot};
    va_list ap;
    va_start(ap, name);
    vsnprintf(it->name, sizeof it->name, name, ap);
    va_end(ap);
    it->off = p->total[arena];
    p->total[arena] += (bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
    return 0;
}

uint64_t plan_bytes(const struct plan *p)
{
    uint64_t sum = 0;
    for (int a = 0; a < ARENA_COUNT; a++) sum += p->total[a];
    return sum;
}

int plan_alloc(struct plan *p, struct device *dev, uint64_t extra_bytes, struct err *e)
{
    uint64_t need = plan_bytes(p) + extra_bytes, avail = dev_memory_free(dev);
    if (need > avail)
        return err_set(e, E_PLAN, "%s: needs %s (%s%s adapter %s, saved activations %s, cache %s, scratch %s), %s free",
                       dev_name(dev), num_bytes(need), extra_bytes ? num_bytes(extra_bytes) : "",
                       extra_bytes ? " weights," : "", num_bytes(p->total[ARENA_ADAPTER]),
                       num_bytes(p->total[ARENA_SAVED]), num_bytes(p->total[ARENA_CACHE]),
                       num_bytes(p->total[ARENA_SCRATCH]), num_bytes(avail));
    p->dev = dev;
    for (int a = 0; a < ARENA_COUNT; a++) {
        if (!p->total[a]) continue;
        p->arena[a] = dev_alloc(dev, p->total[a]);
        if (!p->arena[a]) {
            plan_free(p);
            return err_set(e, E_NOMEM, "%s: cannot allocate the %s arena of %s", dev_name(dev), plan_arena_names[a],
                           num_bytes(p->total[a]));
        }
    }
    for (size_t i = 0; i < p->n; i++) *p->item[i].slot = (char *)p->arena[p->item[i].arena] + p->item[i].off;
    return 0;
}

void plan_free(struct plan *p)
{
    for (int a = 0; a < ARENA_COUNT; a++)
        if (p->arena[a]) dev_free(p->dev, p->arena[a]);
    free(p->item);
    *p = (struct plan){0};
}

/* "layer 12 qkv" and "layer 13 qkv" have the same key "layer * qkv". */
static void line_key(const struct plan_item *it, char *key, size_t n)
{
    if (sscanf(it->name, "layer %*d %47s", key) == 1) {
        char rest[48];
        snprintf(rest, sizeof rest, "%s", key);
        snprintf(key, n, "layer * %s", rest);
    } else {
        snprintf(key, n, "%s", it->name);
    }
}

void plan_print(const struct plan *p, FILE *f)
{
    fprintf(f, "%-8s %-26s %22s %6s %14s\n", "arena", "array", "shape", "count", "bytes");
    char(*key)[56] = mem_alloc(p->n, sizeof *key);
    for (size_t i = 0; i < p->n; i++) line_key(&p->item[i], key[i], sizeof key[i]);
    for (int a = 0; a < ARENA_COUNT; a++) {
        for (size_t i = 0; i < p->n; i++) {
            if (p->item[i].arena != (enum plan_arena)a || !key[i][0]) continue;
            uint64_t bytes = 0;
            int count = 0;
            for (size_t j = p->n; j-- > i;)
                if (p->item[j].arena == p->item[i].arena && !strcmp(key[j], key[i])) {
                    bytes += p->item[j].bytes;
                    count++;
                    if (j > i) key[j][0] = 0;
                }
            char shape[64];
            snprintf(shape, sizeof shape, "[%ld][%ld] x %d B", p->item[i].dim[0], p->item[i].dim[1],
                     p->item[i].elem_bytes);
            fprintf(f, "%-8s %-26s %22s %6d %14llu\n", plan_arena_names[a], key[i], shape, count,
                    (unsigned long long)bytes);
        }
        if (p->total[a])
            fprintf(f, "%-8s %-26s %22s %6s %14llu  %s\n", plan_arena_names[a], "total", "", "",
                    (unsigned long long)p->total[a], num_bytes(p->total[a]));
    }
    free(key);
}
