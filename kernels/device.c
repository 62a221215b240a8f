/* device: the CPU device, and the dispatch to the CUDA one (device.cu) where it is built.
 *
 * The CPU's arenas come from calloc: zero pages are mapped when touched, so a generous plan costs nothing until used.
 */
#include "kernels/device.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "kernels/device_internal.h"
#include "kernels/simd.h"

#define CPU_ALIGN 64

#ifdef HAVE_CUDA
#define ON_CUDA(d, call)                           \
    do {                                           \
        if ((d)->kind == DEVICE_CUDA) return call; \
    } while (0)
#else
#define ON_CUDA(d, call) \
    do {                 \
    } while (0)
#endif

int dev_fail(struct device *d, int status, const char *fmt, ...)
{
    if (!d) return status;
    d->last = status;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->message, sizeof d->message, fmt, ap);
    va_end(ap);
    return status;
}

static int open_kind(struct device *d, int index)
{
    if (d->kind == DEVICE_CUDA) {
#ifdef HAVE_CUDA
        return cuda_dev_open(d, index);
#else
        return dev_fail(d, DEV_ABSENT, "CUDA device %d: this program was built without CUDA", index);
#endif
    }
    const char *note;
    simd_vendor(d->vendor);
    d->simd = simd_choose(getenv("PEFT_CPU_ISA"), &note);
    snprintf(d->name, sizeof d->name, "CPU (%s%s)", d->simd->name, note);
    return DEV_OK;
}

struct device *dev_open(enum device_kind kind, int index, struct dev_reason *why)
{
    struct device *d = calloc(1, sizeof *d);
    int rc = DEV_MEMORY;
    if (d) {
        d->kind = kind;
        rc = open_kind(d, index);
    }
    if (rc == DEV_OK) return d;
    if (why) {
        why->status = rc;
        snprintf(why->text, sizeof why->text, "%s", d && *d->message ? d->message : "out of memory");
    }
    free(d);
    return NULL;
}

void dev_close(struct device *d)
{
    if (!d) return;
#ifdef HAVE_CUDA
    if (d->kind == DEVICE_CUDA) cuda_dev_close(d);
#endif
    free(d);
}

enum device_kind dev_kind(const struct device *d) { return d->kind; }
const char *dev_name(const struct device *d) { return d->name; }
const char *dev_message(const struct device *d) { return d->message; }
int dev_last(const struct device *d) { return d->last; }

const char *dev_vendor(const struct device *d) { return d->vendor; }

enum bf16_unit dev_bf16(const struct device *d) { return d->kind == DEVICE_CUDA ? BF16_MATRIX : d->simd->bf16; }

size_t dev_memory_free(const struct device *d)
{
    ON_CUDA(d, cuda_dev_memory_free(d));
    (void)d;
    /* MemAvailable counts what the page cache can give back; free pages alone would refuse plans that fit. */
    unsigned long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lu kB", &kib) == 1) break;
    if (f) fclose(f);
    if (kib) return (size_t)kib * 1024;
    long pages = sysconf(_SC_AVPHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (size_t)pages * (size_t)size : 0;
}

void *dev_alloc(struct device *d, size_t bytes)
{
    ON_CUDA(d, cuda_dev_alloc(d, bytes));
    /* The pointer that free() needs is kept just below the aligned block. */
    const size_t extra = CPU_ALIGN + sizeof(void *);
    void *base = bytes <= SIZE_MAX - extra ? calloc(1, bytes + extra) : NULL;
    if (!base) {
        dev_fail(d, DEV_MEMORY, "allocation of %zu bytes failed", bytes);
        return NULL;
    }
    uintptr_t at = ((uintptr_t)base + extra - 1) & ~(uintptr_t)(CPU_ALIGN - 1);
    ((void **)at)[-1] = base;
    if (bytes >= (size_t)4 << 20) {
        /* Huge pages: a few percent in matrix products. Advice only: failure changes nothing. */
        uintptr_t page = (at + 4095) & ~(uintptr_t)4095;
        (void)madvise((void *)page, at + bytes - page, MADV_HUGEPAGE);
    }
    return (void *)at;
}

void dev_free(struct device *d, void *p)
{
    if (!p) return;
#ifdef HAVE_CUDA
    if (d->kind == DEVICE_CUDA) {
        cuda_dev_free(d, p);
        return;
    }
#endif
    (void)d;
    free(((void **)p)[-1]);
}

static int cpu_copy(void *dst, const void *src, size_t bytes)
{
    if (bytes) memmove(dst, src, bytes);
    return DEV_OK;
}

int dev_from_host(struct device *d, void *dst, const void *src, size_t bytes)
{
    ON_CUDA(d, cuda_dev_from_host(d, dst, src, bytes));
    (void)d;
    return cpu_copy(dst, src, bytes);
}

int dev_to_host(struct device *d, void *dst, const void *src, size_t bytes)
{
    ON_CUDA(d, cuda_dev_to_host(d, dst, src, bytes));
    (void)d;
    return cpu_copy(dst, src, bytes);
}

int dev_copy(struct device *d, void *dst, const void *src, size_t bytes)
{
    ON_CUDA(d, cuda_dev_copy(d, dst, src, bytes));
    (void)d;
    return cpu_copy(dst, src, bytes);
}

int dev_zero(struct device *d, void *dst, size_t bytes)
{
    ON_CUDA(d, cuda_dev_zero(d, dst, bytes));
    (void)d;
    if (bytes) memset(dst, 0, bytes);
    return DEV_OK;
}

int dev_sync(struct device *d)
{
    ON_CUDA(d, cuda_dev_sync(d));
    (void)d;
    return DEV_OK;
}

void *dev_host_alloc(struct device *d, size_t bytes)
{
    ON_CUDA(d, cuda_dev_host_alloc(d, bytes));
    return dev_alloc(d, bytes);
}

void dev_host_free(struct device *d, void *p)
{
#ifdef HAVE_CUDA
    if (d->kind == DEVICE_CUDA) {
        cuda_dev_host_free(d, p);
        return;
    }
#endif
    dev_free(d, p);
}

int dev_upload(struct device *d, void *dst, const void *src, size_t bytes)
{
    ON_CUDA(d, cuda_dev_upload(d, dst, src, bytes));
    (void)d;
    return cpu_copy(dst, src, bytes);
}

int dev_upload_wait(struct device *d)
{
    ON_CUDA(d, cuda_dev_upload_wait(d));
    (void)d;
    return DEV_OK;
}
