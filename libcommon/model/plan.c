/* plan.c: see plan.h. */
#include "libcommon/model/plan.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/num.h"
#include "libcommon/model/device_pick.h"

const char *const plan_arena_names[ARENA_COUNT] = {"weights", "adapter", "saved", "cache", "scratch"};

#define PLAN_ALIGN 256u

/* The layer of "layer %d qkv", -1 for other names, and in *name the rest of the name, malloc'ed. */
static int name_read(const char *format, va_list ap, char **name)
{
    static const char of_layer[] = "layer %d ";
    const size_t n = sizeof of_layer - 1;
    int layer = -1;
    if (!strncmp(format, of_layer, n)) {
        layer = va_arg(ap, int);
        format += n;
    }
    struct buf b = {0};
    buf_vprintf(&b, format, ap);
    *name = buf_str(&b);
    return layer;
}

int plan_add(struct plan *p, enum plan_arena arena, void *slot, int elem_bytes, long n0, long n1, struct err *e,
             const char *format, ...)
{
    uint64_t bytes;
    char *name;
    va_list ap;
    va_start(ap, format);
    const int layer = name_read(format, ap, &name);
    va_end(ap);
    if (__builtin_mul_overflow((uint64_t)n0, (uint64_t)n1, &bytes) ||
        __builtin_mul_overflow(bytes, (uint64_t)elem_bytes, &bytes) || bytes > (uint64_t)1 << 46) {
        char of[24] = "";
        if (layer >= 0) snprintf(of, sizeof of, "layer %d ", layer);
        int rc = err_set(e, E_PLAN, "plan: %s%s: [%ld][%ld] of %d bytes is too large", of, name, n0, n1, elem_bytes);
        free(name);
        return rc;
    }
    *(void **)slot = NULL;
    if (!bytes) return free(name), 0;
    p->item = mem_grow(p->item, &p->cap, p->n + 1, sizeof *p->item);
    struct plan_item *it = &p->item[p->n++];
    *it = (struct plan_item){.arena = arena,
                             .name = name,
                             .layer = layer,
                             .dim = {n0, n1},
                             .elem_bytes = elem_bytes,
                             .bytes = bytes,
                             .slot = slot};
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

/* What each arena needs, for messages. */
static void put_table(const struct plan *p, uint64_t extra, struct buf *b)
{
    if (extra) buf_printf(b, "already there %s", num_bytes(extra));
    for (int a = 0; a < ARENA_COUNT; a++)
        if (p->total[a]) buf_printf(b, "%s%s %s", b->n ? ", " : "", plan_arena_names[a], num_bytes(p->total[a]));
}

int plan_alloc(struct plan *p, struct device *dev, uint64_t extra_bytes, struct err *e)
{
    uint64_t need = plan_bytes(p) + extra_bytes, avail = dev_memory_free(dev);
    struct buf table = {0};
    int rc = 0;
    put_table(p, extra_bytes, &table);
    if (need > avail)
        rc = err_set(e, E_PLAN, "%s: needs %s (%s), %s free", dev_name(dev), num_bytes(need), buf_str(&table),
                     num_bytes(avail));
    p->dev = dev;
    for (int a = 0; a < ARENA_COUNT && !rc; a++) {
        if (!p->total[a]) continue;
        p->arena[a] = device_alloc(dev, p->total[a]);
        if (p->arena[a]) continue;
        char *what = mem_printf("allocation of the %s arena of %s, of in all %s (%s) with %s free,",
                                plan_arena_names[a], num_bytes(p->total[a]), num_bytes(need), buf_str(&table),
                                num_bytes(avail));
        rc = device_error(dev, dev_last(dev), what, e);
        free(what);
        plan_free(p);
    }
    buf_fini(&table);
    for (size_t i = 0; i < p->n && !rc; i++) *p->item[i].slot = (char *)p->arena[p->item[i].arena] + p->item[i].off;
    return rc;
}

void plan_free(struct plan *p)
{
    for (int a = 0; a < ARENA_COUNT; a++)
        if (p->arena[a]) dev_free(p->dev, p->arena[a]);
    for (size_t i = 0; i < p->n; i++) free(p->item[i].name);
    free(p->item);
    *p = (struct plan){0};
}

static bool same_line(const struct plan_item *a, const struct plan_item *b)
{
    return a->arena == b->arena && (a->layer < 0) == (b->layer < 0) && !strcmp(a->name, b->name);
}

void plan_print(const struct plan *p, FILE *f)
{
    fprintf(f, "%-8s %-26s %22s %6s %14s\n", "arena", "array", "shape", "count", "bytes");
    bool *printed = mem_alloc(p->n, sizeof *printed);
    for (int a = 0; a < ARENA_COUNT; a++) {
        for (size_t i = 0; i < p->n; i++) {
            const struct plan_item *it = &p->item[i];
            if (it->arena != (enum plan_arena)a || printed[i]) continue;
            uint64_t bytes = 0;
            int count = 0;
            for (size_t j = i; j < p->n; j++)
                if (same_line(it, &p->item[j])) {
                    bytes += p->item[j].bytes;
                    count++;
                    printed[j] = true;
                }
            char shape[64];
            snprintf(shape, sizeof shape, "[%ld][%ld] x %d B", it->dim[0], it->dim[1], it->elem_bytes);
            const char *of = it->layer < 0 ? "" : "layer * ";
            fprintf(f, "%-8s %s%-*s %22s %6d %14llu\n", plan_arena_names[a], of, 26 - (int)strlen(of), it->name, shape,
                    count, (unsigned long long)bytes);
        }
        if (p->total[a])
            fprintf(f, "%-8s %-26s %22s %6s %14llu  %s\n", plan_arena_names[a], "total", "", "",
                    (unsigned long long)p->total[a], num_bytes(p->total[a]));
    }
    free(printed);
}
