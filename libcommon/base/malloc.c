/* malloc: in the tools no allocation fails. These definitions stand in the executable, so the dynamic linker takes them
 * for every library too (and for their constructors, before main): jansson, libfyaml, libcrypto, msgpack, zstd, zlib,
 * libcsv, the C library itself, CUDA. What they would make of a NULL, a crash or a file with half of its content, does
 * not come up: the process ends as mem_give_up says. The memory itself comes from the next allocator in line, usually
 * the C library's. A sanitizer brings an allocator of its own, which ends the process too. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "libcommon/base/mem.h"

static _Thread_local int may_fail;

void mem_may_fail(bool yes) { may_fail += yes ? 1 : -1; }

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__ && !__has_feature(address_sanitizer) && \
    !__has_feature(thread_sanitizer)

/* The definition of `name` behind this program's, looked up once; two threads may do so at once and find the same. */
static void *next(void *_Atomic *found, const char *name)
{
    void *fn = atomic_load_explicit(found, memory_order_acquire);
    if (!fn) {
        fn = dlsym(RTLD_NEXT, name);
        if (!fn) mem_give_up(0);
        atomic_store_explicit(found, fn, memory_order_release);
    }
    return fn;
}

static void *given(void *p, size_t n, size_t size)
{
    if (p || !n || !size || may_fail) return p;
    size_t bytes;
    mem_give_up(__builtin_mul_overflow(n, size, &bytes) ? SIZE_MAX : bytes);
}

void *malloc(size_t size)
{
    static void *_Atomic found;
    void *(*fn)(size_t) = next(&found, "malloc");
    return given(fn(size), 1, size);
}

void *calloc(size_t n, size_t size)
{
    static void *_Atomic found;
    void *(*fn)(size_t, size_t) = next(&found, "calloc");
    return given(fn(n, size), n, size);
}

void *realloc(void *p, size_t size)
{
    static void *_Atomic found;
    void *(*fn)(void *, size_t) = next(&found, "realloc");
    return given(fn(p, size), 1, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    static void *_Atomic found;
    void *(*fn)(size_t, size_t) = next(&found, "aligned_alloc");
    return given(fn(align, size), 1, size);
}

int posix_memalign(void **p, size_t align, size_t size)
{
    static void *_Atomic found;
    int (*fn)(void **, size_t, size_t) = next(&found, "posix_memalign");
    int rc = fn(p, align, size);
    if (rc == ENOMEM) given(NULL, 1, size);
    return rc;
}
#endif
